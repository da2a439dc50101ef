"""Pages for people: one HTML file each that asks no other host for anything."""

import base64
import hashlib
import html
import json
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { overflow-wrap: anywhere; line-height: 1.25; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
table { display: block; overflow-x: auto; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
thead th { border-bottom: 2px solid #222; white-space: normal; }
tbody th { font-weight: normal; }
.left { text-align: left; white-space: normal; }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
code { background: #f3f3f3; padding: .15rem .3rem; overflow-wrap: anywhere; }
.plotly-graph-div { background: #fff; }
@media (prefers-color-scheme: dark) {
  body { background: #181a1d; color: #ddd; }
  a { color: #8ab4f8; }
  code { background: #2b2f34; }
  th, td { border-color: #444; }
  thead th { border-color: #aaa; }
}
"""


def html_page(title: str, body: str) -> str:
    """A whole page; the title, as plain text, is its heading, too."""
    title = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'  # else phones take it for a wide one
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head>\n'  # else browsers ask for an icon
        f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[bool]) -> str:
    """A table of cells that are HTML; the first of a row says what the others are of.

    Args:
        head: a cell a column.
        rows: as long as ``head``.
        left: which columns hold texts; numbers stand on the right.
    """

    def line(cells: Sequence[str], first: str, others: str) -> str:
        tags = [first, *[others] * (len(cells) - 1)]
        sides = [' class="left"' if is_left else "" for is_left in left]
        told = (f"<{tag}{side}>{cell}</{tag[:2]}>" for tag, side, cell in zip(tags, sides, cells, strict=True))
        return f"<tr>{''.join(told)}</tr>"

    column = 'th scope="col"'
    body = "\n".join(line(row, 'th scope="row"', "td") for row in rows)
    return f"<table>\n<thead>{line(head, column, column)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"


def table_of(frame: "pd.DataFrame") -> str:
    """A frame's values, numbers to four digits, and nothing where one is missing."""
    values = frame.astype(object).where(frame.notna(), "").to_numpy()
    rows = [[html.escape(f"{one:.4g}" if isinstance(one, float) else str(one)) for one in row] for row in values]
    return table([html.escape(str(name)) for name in frame], rows, [kind.kind not in "biuf" for kind in frame.dtypes])


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
