"""Draw the README's pictures.

    python tools/pictures.py docs/pictures

writes ``method.svg``, how IRLLRec is put together, and ``results.svg``, the results on citeulike-a, from
``results/citeulike-a/summary.csv``. They are plain SVG: text stays text, and colours follow the reader's light or dark
mode.
"""

import csv
import sys
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

SUMMARY = Path(__file__).resolve().parents[1] / "results" / "citeulike-a" / "summary.csv"
METRIC = "ndcg@20"
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328; }
.small { font-size: 12px; fill: #59636e; }
.strong { font-weight: 600; }
.box, .bar { fill: #e3ebf6; stroke: #57789f; }
.text, .text.bar { fill: #fbe9d0; stroke: #b2752a; }
.line { fill: none; stroke: #59636e; stroke-width: 1.5; }
.head { fill: #59636e; }
.dashed { stroke-dasharray: 5 4; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9aa4af; }
  .box, .bar { fill: #22324a; stroke: #7ea3d4; }
  .text, .text.bar { fill: #4a3416; stroke: #d9a050; }
  .line { stroke: #9aa4af; }
  .head { fill: #9aa4af; }
}
"""


class Row(NamedTuple):
    """A bar: a model of the summary, and what the picture calls it."""

    model: str
    label: str
    reads_text: bool


ROWS = (
    Row("IRLLRec, 64 wide, with a linear part", "IRLLRec, 64 wide, with a linear part", True),
    Row("WeightedEASE", "WeightedEASE, that part by itself", True),
    Row("L3AE, λ_X below 0", "L3AE, λ_X below 0", True),
    Row("CollectiveEASE", "CollectiveEASE", True),
    Row("IRLLRec", "IRLLRec without it, 256 wide", True),
    Row("L3AE", "L3AE", True),
    Row("IRLLRec-without-text", "IRLLRec without text", False),
    Row("EASE", "EASE", False),
    Row("LightGCN", "LightGCN", False),
)


def picture(width: int, height: int, title: str, told: str, parts: list[str]) -> str:
    """An SVG of these parts; the title and what is told are for who does not see it."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="title told">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="told">{escape(told)}</desc>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto-start-reverse"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>',
        *parts,
        "</svg>\n",
    ]
    return "\n".join(lines)


def words(x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}" class={quoteattr(kind)} text-anchor="{anchor}">{escape(said)}</text>'


def box(x: float, y: float, width: float, first: str, second: str, kind: str = "box") -> str:
    """A box with a name and a line about it."""
    middle = x + width / 2
    return "\n".join(
        [
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="56" rx="6"/>',
            words(middle, y + 24, first, "strong", "middle"),
            words(middle, y + 43, second, "small", "middle"),
        ]
    )


def arrow(path: str, kind: str = "") -> str:
    """A line that ends in an arrow's head."""
    return f'<path class="line {kind}" d="{path}" marker-end="url(#head)"/>'


def method() -> str:
    """How IRLLRec is put together."""
    told = (
        "In training, a language model writes profiles and intents from reviews and item descriptions; towers map "
        "their embeddings. LightGCN makes embeddings of the interaction graph, which also reveals intents. Profiles "
        "are aligned with the embeddings, intents with those that the graph reveals. Serving ranks by the graph's "
        "embeddings alone, with the scores of a linear part beside them where items are few."
    )
    parts = [
        words(16, 22, "In training", "small"),
        box(16, 32, 180, "Reviews, descriptions", "training interactions alone", "text"),
        box(256, 32, 180, "Language model", "profiles and intents", "text"),
        box(496, 32, 180, "Text towers", "p of profiles, z of intents", "text"),
        arrow("M196 60H254"),
        arrow("M436 60H494"),
        box(16, 160, 180, "Interactions", "users and items", "box"),
        box(256, 160, 180, "Graph encoder", "LightGCN, or another", "box"),
        box(496, 160, 180, "Embeddings E", "and the intents r in them", "box"),
        arrow("M196 188H254"),
        arrow("M436 188H494"),
        '<path class="line dashed" d="M556 90V158" marker-start="url(#head)" marker-end="url(#head)"/>',
        '<path class="line dashed" d="M616 90V158" marker-start="url(#head)" marker-end="url(#head)"/>',
        words(546, 128, "E with p", "small", "end"),
        words(626, 128, "r with z: aligned", "small"),
        words(16, 262, "Serving", "small"),
        box(496, 272, 180, "Scores", "no text is needed", "box"),
        arrow("M586 216V270"),
        box(256, 272, 180, "Linear part", "a closed form, of few items", "box"),
        arrow("M106 216V300H254"),
        arrow("M436 300H494"),
    ]
    return picture(752, 344, "How IRLLRec is put together", told, parts)


def results(summary: Path) -> str:
    """Bars of a metric, from a benchmark's summary; those that read texts in another colour.

    Args:
        summary: a file with a row a model, columns ``model``, ``seeds``, the metric and its ``std``.
    """
    with open(summary, encoding="utf-8", newline="") as file:
        found = {row["model"]: row for row in csv.DictReader(file)}
    left, length, most = 320, 400, max(float(found[row.model][METRIC]) for row in ROWS)
    parts, told = [], []
    for n, (model, label, reads_text) in enumerate(ROWS):
        row, y = found[model], 40 + 30 * n
        value, deviation = float(row[METRIC]), row[f"{METRIC} std"]
        said = f"{value:.4f}" + (f" ± {float(deviation):.4f}" if deviation else "")
        width = length * value / most
        parts += [
            words(left - 10, y + 15, label, "strong" if n == 0 else "", "end"),
            f'<rect class="{"text " if reads_text else ""}bar" x="{left}" y="{y}" width="{width:.1f}" height="20"/>',
            words(left + width + 8, y + 15, said, "small"),
        ]
        told.append(f"{label} {said}")
    below = 40 + 30 * len(ROWS) + 10
    parts += [
        words(left, 24, "NDCG@20 on citeulike-a, one split; ± over five seeds", "small"),
        f'<rect class="text bar" x="{left}" y="{below}" width="14" height="14"/>',
        words(left + 22, below + 12, "reads the items' texts", "small"),
        f'<rect class="bar" x="{left + 200}" y="{below}" width="14" height="14"/>',
        words(left + 222, below + 12, "does without", "small"),
    ]
    return picture(850, below + 30, "NDCG@20 on citeulike-a", "; ".join(told) + ".", parts)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawn in (("method", method()), ("results", results(SUMMARY))):
        (folder / f"{name}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
