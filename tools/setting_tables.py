"""Tables of settings for the site, from the files that hold the defaults.

A paragraph that is a link to such a file is followed by what stands in it: there is no second list to keep.
"""

import posixpath
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from recbole_irllrec import zoo

PROPERTIES = Path(__file__).resolve().parents[1] / "properties"
SHARED = "reference/settings.md"
_LINK = re.compile(r"^\[properties/(settings|model)/(\w+)\.yaml\]\(.*\)$", re.MULTILINE)
_SETTING = re.compile(r"(\w+): *(.*?) *(?:# \(([^)]*)\) (.*))?")
_MORE = re.compile(r" +# +(.*)")


class Setting(NamedTuple):
    """A default with its comment; without one type and meaning are empty."""

    name: str
    default: str
    type: str
    meaning: str


@cache
def settings(folder: str, name: str) -> list[Setting]:
    """What a file of defaults holds."""
    found: list[Setting] = []
    for line in (PROPERTIES / folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if more := _MORE.fullmatch(line):
            found[-1] = found[-1]._replace(meaning=f"{found[-1].meaning} {more[1]}")
        elif setting := _SETTING.fullmatch(line):
            found.append(Setting(*(part or "" for part in setting.groups())))
    return found


@cache
def shared() -> dict[str, Setting]:
    """The settings that models share, by name."""
    files = (PROPERTIES / "settings").glob("*.yaml")
    return {setting.name: setting for file in files for setting in settings("settings", file.stem)}


def table(folder: str, name: str) -> str:
    """The settings of a file in Markdown; what a model has otherwise means what it means to all."""
    rows = ["| setting | default | type | |", "| --- | --- | --- | --- |"]
    for own in settings(folder, name):
        told = own if own.meaning else shared().get(own.name, own._replace(meaning="RecBole's."))
        meaning = told.meaning.replace("|", "\\|").replace("<", "&lt;")
        rows.append(f"| `{own.name}` | `{own.default}` | {told.type} | {meaning} |")
    return "\n".join(rows)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    def followed(link: re.Match) -> str:
        folder, name = link.groups()
        parts = [link[0], table(folder, name)]
        if folder == "model" and (model := zoo.find(name)):
            there = posixpath.relpath(SHARED, posixpath.dirname(page.file.src_uri))
            kinds = [part.replace("_", " ") for part in model.settings.parts()]
            links = [f"[{kind}]({there}#{kind.replace(' ', '-')})" for kind in kinds]
            parts.append(f"Shared with other models: {', '.join(links)}.")
        return "\n\n".join(parts)

    return _LINK.sub(followed, markdown)
