"""The documentation as a site: built without a warning, with links that lead somewhere, asking no other host."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import browser
import pytest

from recbole_irllrec import zoo

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://example.org/somebody/recbole-irllrec"


class Page(HTMLParser):
    """What a page calls its places, where it leads, and what it loads."""

    def __init__(self, html: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        has = dict(attributes)
        self.ids |= {has[name] for name in ("id", "name") if has.get(name)}
        if tag == "a" and has.get("href"):
            self.links.append(has["href"])
        elif tag == "link" and has.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(has["href"])
        elif has.get("src"):
            self.loads.append(has["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", ROOT / "mkdocs.yml", "-d", made]
    environment = os.environ | {"REPOSITORY": REPOSITORY, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stdout + done.stderr
    return made


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    found = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert {site / "index.html", site / "intents" / "index.html"} <= found.keys()
    return found


def test_links_and_what_is_loaded_lead_somewhere(site, pages):
    missing = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            address, place = urldefrag(link)
            if ":" in address.partition("/")[0]:
                continue
            above = site if address.startswith("/") else path.parent
            there = (above / unquote(address.lstrip("/"))).resolve() if address else path
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file() or (place and there in pages and unquote(place) not in pages[there].ids):
                missing.append((str(path.relative_to(site)), link))
    assert not missing


def test_what_lies_outside_the_site_is_linked_in_the_repository(pages):
    there = [link for page in pages.values() for link in page.links if link.startswith(REPOSITORY)]
    files = {urldefrag(link).url.removeprefix(f"{REPOSITORY}/blob/HEAD/") for link in there}
    assert {"examples/first_steps.ipynb", "results/sweeps", "properties/model/IRLLRec.yaml"} <= files
    assert not [file for file in files if not (ROOT / file).exists()]


def test_nothing_is_loaded_from_another_host(site, pages):
    assert not [each for page in pages.values() for each in page.loads if "//" in each]
    seen = browser.look_at(site / "intents" / "index.html")
    assert not [address for address in seen.requests if not address.startswith("file:")]


def test_docstrings_are_there(pages, site):
    interface = pages[site / "reference" / "interface" / "index.html"]
    names = ("api.fit", "api.load", "api.Model.recommend", "own_models.register", "model.encoder.GraphEncoder.encode")
    assert {f"recbole_irllrec.{name}" for name in names} <= interface.ids


ROW = r"<td><code>(\w+)</code></td>\s*<td><code>([^<]+)</code></td>\s*<td>(.*?)</td>\s*<td>(.*?)</td>"


def test_every_setting_of_every_model_is_told(site):
    told = {}
    for page in (site / "reference" / "settings", *sorted((site / "models").iterdir())):
        if page.is_dir():
            rows = re.findall(ROW, (page / "index.html").read_text(encoding="utf-8"))
            told |= {name: (kind, meaning) for name, _, kind, meaning in rows}
    names = {name for model in zoo.models() for name in model.settings.names()}
    assert {"n_intents", "drop_ratio", "text_share", "default_encoder"} <= names
    assert {name: told.get(name) for name in names if not all(told.get(name, (None,)))} == {}
