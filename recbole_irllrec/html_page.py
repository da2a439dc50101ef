"""Pages for people: one HTML file each that asks no other host for anything."""

import base64
import hashlib
import html
import json
from collections.abc import Callable
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def html_page(title: str, style: str, body: str) -> str:
    """A whole page; the title, as plain text, is its heading, too."""
    title = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'  # else phones take it for a wide one
        f'<link rel="icon" href="data:,"><style>{style}</style></head>\n'  # else browsers ask for an icon
        f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def plots(figures: "dict[str, Figure]", below: "Callable[[str, Figure], str]" = lambda _title, _figure: "") -> str:
    """Figures under their titles, which are plain text; the first brings plotly along.

    Args:
        figures: by their titles.
        below: gives what stands below a figure, as HTML.
    """
    told = []
    for n, (title, figure) in enumerate(figures.items()):
        drawn = figure.to_html(full_html=False, include_plotlyjs=n == 0, config={"responsive": True})
        told += [f"<h2>{html.escape(title)}</h2>", drawn, below(title, figure)]
    return "\n".join(told)


def download(name: str, content: bytes, kind: str) -> str:
    """The address of a file that the page itself holds, as the attributes of a link to it.

    Args:
        name: of the file; plain text.
        content: what it holds.
        kind: of content, such as text/csv.
    """
    return f'download="{html.escape(name)}" href="data:{kind};base64,{base64.b64encode(content).decode()}"'


def page_of_data(name: str, title: str, data: Any) -> str:
    """A page whose script shows data: ``properties/pages/<name>.html`` with the style and the script beside it.

    Nothing but this style and this script is allowed to do anything in it, whatever stands in the data.

    Args:
        name: of the files.
        title: plain text.
        data: what JSON can hold, without NaN.
    """
    folder = files("recbole_irllrec.properties").joinpath("pages")
    frame, style, script = (folder.joinpath(f"{name}.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    policy = (
        f"default-src 'none'; script-src {_allowed(script)}; style-src {_allowed(style)}; img-src data:; "
        f"base-uri 'none'; form-action 'none'"
    )
    # "<" would let a text end the element that the data stand in
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Template(frame).substitute(title=html.escape(title), policy=policy, style=style, script=script, data=text)


def _allowed(content: str) -> str:
    """How a page's policy names the content of an element."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
