"""Pages for people: one HTML file each that asks no other host for anything."""

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def html_page(title: str, style: str, body: str) -> str:
    """A whole page; the title, as plain text, is its heading, too."""
    title = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        f'<link rel="icon" href="data:,"><style>{style}</style></head>\n'  # else browsers ask for an icon
        f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def plots(figures: "dict[str, Figure]") -> str:
    """Figures under their titles, which are plain text; the first brings plotly along."""
    return "\n".join(
        f"<h2>{html.escape(title)}</h2>\n{figure.to_html(full_html=False, include_plotlyjs=n == 0)}"
        for n, (title, figure) in enumerate(figures.items())
    )
