"""The plots of a benchmark's report."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from plotly.colors import qualitative
from plotly.graph_objects import Bar, Figure, Scatter
from plotly.subplots import make_subplots

from . import tables
from .results import Results
from .statistics import by_interactions, over_seeds

# The legend lies above: beside a plot it would leave no room for it on a narrow screen.
LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "height": 540,
    "margin": {"t": 30, "l": 60, "r": 20},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
}
_HEIGHT = 170  # of a metric's bars


def figures(results: Results) -> dict[str, Figure]:
    """The figures, by their titles."""
    names = tables.metric_names(results)
    selected = results.plan["valid_metric"].lower()
    found = {
        **_all_bars(results),
        f"{names[selected]} against training time": _against_time(results, selected, names[selected]),
        "Learning curves": _curves(results, selected, names[selected]),
    }
    if metric := tables.grouped_metric(results):
        title = f"{names[metric]} by the user's number of training interactions"
        found[title] = _by_interactions(results, metric, names[metric])
    return found


def colours(models: Iterable[str]) -> dict[str, str]:
    """A colour for each model, which no other has."""
    names = list(dict.fromkeys(models))
    if len(names) <= len(qualitative.D3):
        return dict(zip(names, qualitative.D3, strict=False))
    return {name: _colour(n / len(names), (0.45, 0.72, 0.58)[n % 3]) for n, name in enumerate(names)}


def _colour(turn: float, lightness: float) -> str:
    """Of a hue, from 0 to 1, in OKLab, where equal steps look about equal."""
    a, b = 0.14 * np.cos(2 * np.pi * turn), 0.14 * np.sin(2 * np.pi * turn)
    cones = _OKLAB_TO_CONES @ [lightness, a, b]
    linear = np.clip(_CONES_TO_RGB @ cones**3, 0, 1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * part):02x}" for part in shown)


# https://bottosson.github.io/posts/oklab/
_OKLAB_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_CONES_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def colours_of(results: Results) -> dict[str, str]:
    """A colour a model, the same in all figures."""
    return colours(results.plan["models"])


def axis(values: Sequence[float], deviations: Sequence[float]) -> tuple[float, float]:
    """From where to where bars are drawn, so that their differences show, and the lowest itself.

    Args:
        values: their lengths, [n], NaN for none.
        deviations: how far the error of each reaches, [n], NaN for not at all.
    """
    there, around = np.asarray(values, dtype=float), np.nan_to_num(np.asarray(deviations, dtype=float))
    if np.isnan(there).all():
        return 0.0, 1.0
    low, high = float(np.nanmin(there - around)), float(np.nanmax(there + around))
    span = (high - low) or abs(high) or 1.0
    begins = low - 0.15 * span
    return (begins if low < 0 else max(0.0, begins)), high + 0.05 * span


def error(deviations: Iterable[float]) -> dict[str, Any]:
    """How far errors reach; without caps, which would stand where there is none."""
    return {"type": "data", "array": list(deviations), "width": 0}


def numbers(figure: Figure) -> pd.DataFrame:
    """What a figure shows: a row a point, with the ``series`` that it belongs to, and what its errors reach."""
    frames = []
    for trace in figure.data:
        columns = {"x": trace.x, "y": trace.y, "x error": trace.error_x.array, "y error": trace.error_y.array}
        there = {name: list(values) for name, values in columns.items() if values is not None}
        frames.append(pd.DataFrame(there).assign(series=trace.name))
    found = pd.concat(frames, ignore_index=True)
    return found[["series", *(name for name in found if name != "series")]]


def _all_bars(results: Results) -> dict[str, Figure]:
    """Of all items, and of each board on which a model has been measured."""
    names = {board: tables.metric_names(results, board) for board in tables.boards_of(results)}
    return {
        f"Test metrics{tables.on(board)}": bars(results, of_board)
        for board, of_board in names.items()
        if any(name in results.runs for name in of_board)
    }


def bars(results: Results, names: dict[str, str]) -> Figure:
    """A bar a model and test metric, each metric by itself; the metrics by name and as they are written."""
    means, deviations = over_seeds(results.runs, list(names))
    figure = make_subplots(len(names), 1, shared_xaxes=True, vertical_spacing=0.15 / len(names))
    colour = colours_of(results)
    begins = {}
    for row, (name, title) in enumerate(names.items(), start=1):
        error_y = error(deviations[name])
        marker = {"color": [colour[model] for model in means.index]}
        bar = Bar(x=means.index.tolist(), y=means[name].tolist(), error_y=error_y, marker=marker, name=title)
        figure.add_trace(bar, row=row, col=1)
        begins[title], end = axis(means[name].tolist(), deviations[name].tolist())
        figure.update_yaxes(title=title, range=[begins[title], end], row=row, col=1)
    above = [f"{title} at {begin:.2g}" for title, begin in begins.items() if begin > 0]
    said = f", and axes begin where the differences show: {', '.join(above)}, not at 0" if above else ""
    note = f"Bars are means, lines the standard deviation over the seeds{said}."
    return figure.update_layout(**LAYOUT | {"height": _HEIGHT * len(names) + 130, "showlegend": False}, meta=note)


def _against_time(results: Results, metric: str, title: str) -> Figure:
    means, deviations = over_seeds(results.runs, [metric, "seconds"])
    figure = Figure(layout={**LAYOUT, "xaxis_title": "seconds of training", "yaxis_title": title})
    figure.update_xaxes(type="log")
    colour = colours_of(results)
    for model in means.index:
        (value, seconds), (up, aside) = means.loc[model], deviations.loc[model]
        figure.add_trace(
            Scatter(
                x=[seconds],
                y=[value],
                error_x=error([aside]),
                error_y=error([up]),
                mode="markers",
                marker={"size": 10, "color": colour[model]},
                name=model,
            )
        )
    return figure


def _curves(results: Results, metric: str, title: str) -> Figure:
    """A line a seed; a model that is computed at once has a point."""
    figure = Figure(layout={**LAYOUT, "xaxis_title": "epoch", "yaxis_title": f"{title}, validation"})
    colour = colours_of(results)
    for model, seed in results.runs[["model", "seed"]].itertuples(index=False):
        curve = results.curves[(results.curves["model"] == model) & (results.curves["seed"] == seed)]
        once = len(curve) == 1
        figure.add_trace(
            Scatter(
                x=curve["epoch"].tolist(),
                y=curve[metric].tolist(),
                mode="markers" if once else "lines",
                line={"color": colour[model], "width": 1.5},
                marker={"color": colour[model], "size": 9},
                name=model,
                legendgroup=model,
                showlegend=bool(seed == results.runs.loc[results.runs["model"] == model, "seed"].iloc[0]),
                hovertemplate=f"seed {seed}, epoch %{{x}}: %{{y:.4f}}",
            )
        )
    return figure


def _by_interactions(results: Results, metric: str, title: str) -> Figure:
    found = by_interactions(results.users, results.interactions, metric)
    figure = Figure(layout={**LAYOUT, "xaxis_title": "training interactions (users)", "yaxis_title": f"{title}, test"})
    figure.update_xaxes(type="category")
    colour = colours_of(results)
    for model in results.models:
        rows = found[found["model"] == model]
        figure.add_trace(
            Scatter(
                x=(rows["group"] + " (" + rows["users"].map("{:,}".format) + ")").tolist(),
                y=rows["mean"].tolist(),
                error_y=error(rows["std"]),
                mode="lines+markers",
                line={"color": colour[model]},
                name=model,
            )
        )
    return figure
