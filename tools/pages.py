"""What the site (mkdocs.yml) makes of the repository's pages, which are written to be read there as well.

The README is its first page. A link that leads out of the site leads to the repository's file.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs/"
# Pages that do not lie in docs, by what they are called on the site.
OTHERS = {"index.md": "README.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
_PLACES = {source: page for page, source in OTHERS.items()}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> None:
    for page, source in OTHERS.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    here = page.file.src_uri
    source = OTHERS.get(here, DOCS + here)

    def led(link: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        place = _PLACES.get(target, target.removeprefix(DOCS))
        if files.get_file_from_path(place) and (target in _PLACES or target.startswith(DOCS)):
            return posixpath.relpath(place, posixpath.dirname(here) or ".")
        return f"{repository}/{target}"

    address = config.extra["repository"]
    repository = f"{address}/blob/HEAD" if address else ROOT.as_uri()
    return _LINK.sub(led, markdown)
