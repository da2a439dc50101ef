"""A trained model's embeddings beside those of its texts: densities, alignment and uniformity, and a map of items."""

import html
import textwrap
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from plotly.colors import qualitative
from plotly.graph_objects import Contour, Figure, Scatter
from plotly.subplots import make_subplots

from .data.text import tables
from .errors import IRLLRecError
from .files import atomic_write
from .geometry import (
    Map,
    alignment,
    density_of_angles,
    density_on_the_plane,
    distance_of_any,
    in_two_dimensions,
    on_the_circle,
    uniformity,
)
from .html_page import html_page, plots, table_of
from .scorer import Scorer
from .titles import titles

_FEWEST = 3  # nodes that have a density
_MOST_ITEMS = 3000  # on the map
_MOST_PAIRS = 50_000  # training interactions whose ends are compared
_GRID, _REACH = 70, 1.4  # places a side, and half the side
_LETTERS, _LINE = 320, 60  # of a text under the pointer
_ANGLES = np.linspace(-np.pi, np.pi, 181)


@dataclass(frozen=True)
class Picture:
    """What is drawn, in numbers."""

    numbers: pd.DataFrame
    """A row a number: measure, side (users, items or both), of, beside, value, of_any, n; see `picture`."""
    angles: pd.DataFrame
    """Columns ``angle``, in radians, and one of densities for each of the embeddings."""
    planes: dict[str, np.ndarray]
    """[70, 70] densities on the plane of each of the embeddings."""
    items: pd.DataFrame
    """A row an item: item, title, x, y, interactions, text."""


def picture(served: Scorer, path: str, title: str | None = None, how: Map = "tsne", sample: int = 500) -> Picture:
    """Compare a model's embeddings with those of its texts, on a sample of the users and items.

    The numbers are the uniformity of each of the embeddings; the alignment of each two, and, of what interactions give,
    of users with their training items, each beside the same of any two (``of_any``).

    Args:
        served: the model with its texts (``serve(..., texts=True)``).
        path: what messages call it.
        title: the column of the ``.item`` file that names items; None for the first whose name has title or name in it.
        how: how the plane is found.
        sample: how many users and items, at most, numbers and densities are of.

    Raises:
        IRLLRecError: the model compares nothing with texts, too few nodes have any, or there is no such column.
    """
    named = titles(served, title, "--title-field")
    n_users, n_items = len(served.user_tokens) - 1, len(served.item_tokens) - 1
    of_users, of_items = (_drawn(n, sample) for n in (n_users, n_items))
    found = _embeddings(served, np.concatenate([of_users, n_users + of_items]), path)
    shown = {name: on_the_circle(in_two_dimensions(rows.to_numpy(), how)) for name, rows in found.items()}
    numbers = pd.DataFrame([*_numbers(found, n_users), *_of_pairs(served, n_users)])
    densities = {name: density_of_angles(angles, _ANGLES) for name, angles in shown.items()}
    return Picture(
        numbers,
        pd.DataFrame({"angle": _ANGLES, **densities}),
        {name: density_on_the_plane(angles, _grid()).reshape(_GRID, _GRID) for name, angles in shown.items()},
        _map_of_items(served, named, how, path),
    )


def write_picture(folder: Path, made: Picture, title: str) -> list[Path]:
    """Write ``plot.html``, ``numbers.csv``, ``angles.csv`` and ``items.csv``; they take their places together."""
    page = html_page(title, _numbers_in_html(made.numbers) + plots(_figures(made)))
    frames = {"numbers": made.numbers, "angles": made.angles, "items": made.items}
    contents = {"plot.html": page, **{f"{name}.csv": frame.to_csv(index=False) for name, frame in frames.items()}}
    paths = [folder / name for name in contents]
    with ExitStack() as stack:
        for path, content in zip(paths, contents.values(), strict=True):
            stack.enter_context(atomic_write(path)).write(content.encode())
    return paths


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _drawn(n: int, most: int) -> np.ndarray:
    """At most so many of n places, sorted, the same ones each time."""
    return np.sort(np.random.default_rng(0).choice(n, min(n, most), replace=False))


def _embeddings(served: Scorer, nodes: np.ndarray, path: str) -> dict[str, pd.DataFrame]:
    """What the model's loss terms compare, by its name: a row a node, users first, by the node's place.

    Raises:
        IRLLRecError: no text is compared, or of too few nodes.
    """
    compared = getattr(served.model, "compared", None)
    device = served.config["device"]
    found = {} if compared is None else compared(torch.as_tensor(nodes, device=device))
    if not {"profile", "intent"} & found.keys():
        raise IRLLRecError(
            f"{path} is a checkpoint of {served.config['model']} that aligns no embeddings with texts: give one of a "
            f"model that does, such as IRLLRec, trained with a profile_weight or an intents' weight above 0."
        )
    frames = {name: pd.DataFrame(e.embedding.cpu().numpy(), e.nodes.cpu().numpy()) for name, e in found.items()}
    for name, frame in frames.items():
        if len(frame) < _FEWEST:
            raise IRLLRecError(f"{path}: {len(frame)} nodes of the sample have {name} embeddings: draw a larger one.")
    return frames


def _numbers(found: dict[str, pd.DataFrame], n_users: int) -> list[dict[str, object]]:
    """The uniformity of each of the embeddings and the alignment of each two, on either side."""
    rows: list[dict[str, object]] = []
    for side, first, last in (("users", 0, n_users - 1), ("items", n_users, None)):
        its = {name: frame.loc[first:last] for name, frame in found.items()}
        for name, x in its.items():
            if len(x) > 1:
                rows.append(_row("uniformity", side, name, "", uniformity(x.to_numpy()), None, len(x)))
        for (name, x), (other, y) in combinations(its.items(), 2):
            both = x.index.intersection(y.index)
            if len(both):
                rows.append(_aligned(side, name, other, x.loc[both].to_numpy(), y.loc[both].to_numpy()))
    return rows


def _of_pairs(served: Scorer, n_users: int) -> list[dict[str, object]]:
    """The alignment of users with their training items, which is what ranking is about."""
    users, items = (ids.astype(np.int64) for ids in served.train_items.nonzero())
    drawn = _drawn(len(users), _MOST_PAIRS)
    nodes, places = np.unique(np.stack([users[drawn] - 1, n_users + items[drawn] - 1]), return_inverse=True)
    found = served.model.compared(torch.as_tensor(nodes, device=served.config["device"]))["interaction"]
    x, y = (found.embedding.cpu().numpy()[places.reshape(2, -1)[side]] for side in (0, 1))
    return [_aligned("both", "interaction", "interaction", x, y)]


def _aligned(side: str, name: str, other: str, x: np.ndarray, y: np.ndarray) -> dict[str, object]:
    return _row("alignment", side, name, other, alignment(x, y), distance_of_any(x, y), len(x))


def _row(measure: str, side: str, of: str, beside: str, value: float, of_any: float | None, n: int) -> dict:
    return {"measure": measure, "side": side, "of": of, "beside": beside, "value": value, "of_any": of_any, "n": n}


def _map_of_items(served: Scorer, named: pd.Series, how: Map, path: str) -> pd.DataFrame:
    """Items by the embeddings of their intents, or of their profiles where the model reads no intents."""
    n_users = len(served.user_tokens) - 1
    found = _embeddings(served, n_users + _drawn(len(served.item_tokens) - 1, _MOST_ITEMS), path)
    kind = "intent" if "intent" in found else "profile"
    ids = found[kind].index.to_numpy() - n_users + 1
    tokens = served.item_tokens[ids]
    x, y = in_two_dimensions(found[kind].to_numpy(), how).T
    by_kind = tables(served.config, served.train)
    table = by_kind[kind if kind in by_kind else "profile"].item  # kinds that come from the same files are given once
    assert table is not None  # `tables`
    interactions = np.bincount(served.train_items.indices, minlength=len(served.item_tokens))[ids]
    return pd.DataFrame(
        {
            "item": served.item_names.take(ids).to_pylist(),
            "title": named.reindex(tokens, fill_value="").to_numpy(),
            "x": x,
            "y": y,
            "interactions": interactions,
            "text": table.texts_for(tokens),
        }
    )


# ---- the page --------------------------------------------------------------------------------------------------------


def _grid() -> np.ndarray:
    """[70 * 70, 2] places, row by row."""
    axis = np.linspace(-_REACH, _REACH, _GRID)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def _figures(made: Picture) -> dict[str, Figure]:
    return {
        "Density on the unit circle, and by the angle": _densities(made),
        "Items by intent": _items(made.items),
    }


def _densities(made: Picture) -> Figure:
    """A column for each of the embeddings: the plane above, the angles below."""
    names = [*made.planes]
    figure = make_subplots(2, len(names), row_heights=[0.7, 0.3], subplot_titles=names, shared_yaxes=True)
    axis = np.linspace(-_REACH, _REACH, _GRID)
    for column, name in enumerate(names, start=1):
        plane = Contour(x=axis, y=axis, z=made.planes[name], colorscale="Blues", showscale=False, ncontours=14)
        line = {"color": qualitative.D3[0]}
        angles = Scatter(x=made.angles["angle"], y=made.angles[name], fill="tozeroy", line=line, showlegend=False)
        figure.add_trace(plane, row=1, col=column)
        figure.add_trace(angles, row=2, col=column)
    figure.update_xaxes(title_text="angle", row=2)
    return figure.update_layout(template="plotly_white", height=480)


def _items(items: pd.DataFrame) -> Figure:
    said = [_under_the_pointer(*row) for row in items[["item", "title", "interactions", "text"]].to_numpy()]
    marker = {
        "size": 6,
        "opacity": 0.75,
        "color": np.log10(items["interactions"] + 1),
        "colorscale": "Viridis",
        "colorbar": {"title": "training<br>interactions", **_ticks(items["interactions"].max())},
    }
    points = Scatter(x=items["x"], y=items["y"], mode="markers", marker=marker, text=said, hoverinfo="text")
    return Figure(points, layout={"template": "plotly_white", "height": 720})


def _ticks(most: int) -> dict[str, Sequence[float] | Sequence[str]]:
    values = [n for n in (0, *(10**power for power in range(10))) if n <= max(most, 1)]
    return {"tickvals": [float(np.log10(n + 1)) for n in values], "ticktext": [f"{n:,}" for n in values]}


def _under_the_pointer(item: str, title: str, interactions: int, text: str) -> str:
    lines = textwrap.wrap(textwrap.shorten(text, _LETTERS, placeholder=" …"), _LINE)
    head = f"<b>{html.escape(title or item)}</b> ({html.escape(item)}, {interactions:,})"
    return "<br>".join([head, *map(html.escape, lines)])


def _numbers_in_html(numbers: pd.DataFrame) -> str:
    said = (
        "<p>Embeddings are scaled to length 1. Alignment is the mean squared distance of what belongs together, of_any "
        "that of any two; uniformity is log mean exp(-2 d²) over all pairs, the lower, the more evenly they are "
        "spread. Of a sample of n.</p>"
    )
    return said + table_of(numbers)
