"""The plots of a benchmark's report."""

from plotly.colors import qualitative
from plotly.graph_objects import Bar, Figure, Scatter

from . import tables
from .results import Results
from .statistics import by_interactions, over_seeds

LAYOUT = {"template": "plotly_white", "height": 480, "margin": {"t": 30}}


def figures(results: Results) -> dict[str, Figure]:
    """The figures, by their titles."""
    names = tables.metric_names(results)
    selected = results.plan["valid_metric"].lower()
    found = {
        **_all_bars(results),
        f"{names[selected]} against training time": _against_time(results, selected, names[selected]),
        "Learning curves": _curves(results, selected, names[selected]),
    }
    if metric := next((name for name in tables.per_user_metrics(results) if name.startswith("recall@")), None):
        title = f"{names[metric]} by the user's number of training interactions"
        found[title] = _by_interactions(results, metric, names[metric])
    return found


def _colours(results: Results) -> dict[str, str]:
    """A colour a model, the same in all figures."""
    scale = qualitative.D3
    return {model: scale[n % len(scale)] for n, model in enumerate(results.plan["models"])}


def _all_bars(results: Results) -> dict[str, Figure]:
    """Of all items, and of each board on which a model has been measured."""
    names = {board: tables.metric_names(results, board) for board in tables.boards_of(results)}
    return {
        f"Test metrics{tables.on(board)}": bars(results, of_board)
        for board, of_board in names.items()
        if any(name in results.runs for name in of_board)
    }


def bars(results: Results, names: dict[str, str]) -> Figure:
    """A bar a model and test metric; the metrics by name and as they are written."""
    means, deviations = over_seeds(results.runs, list(names))
    figure = Figure(layout={**LAYOUT, "barmode": "group", "yaxis_title": "mean, standard deviation over the seeds"})
    for name, title in names.items():
        error = {"type": "data", "array": deviations[name].tolist()}
        figure.add_trace(Bar(x=means.index.tolist(), y=means[name].tolist(), error_y=error, name=title))
    return figure


def _against_time(results: Results, metric: str, title: str) -> Figure:
    means, deviations = over_seeds(results.runs, [metric, "seconds"])
    figure = Figure(layout={**LAYOUT, "xaxis_title": "seconds of training", "yaxis_title": title, "showlegend": False})
    figure.update_xaxes(type="log")
    colours = _colours(results)
    for model in means.index:
        (value, seconds), (up, aside) = means.loc[model], deviations.loc[model]
        figure.add_trace(
            Scatter(
                x=[seconds],
                y=[value],
                error_x={"type": "data", "array": [aside]},
                error_y={"type": "data", "array": [up]},
                text=[model],
                textposition="top center",
                mode="markers+text",
                marker={"size": 10, "color": colours[model]},
                name=model,
            )
        )
    return figure


def _curves(results: Results, metric: str, title: str) -> Figure:
    """A line a seed; a model that is computed at once has a point."""
    figure = Figure(layout={**LAYOUT, "xaxis_title": "epoch", "yaxis_title": f"{title}, validation"})
    colours = _colours(results)
    for model, seed in results.runs[["model", "seed"]].itertuples(index=False):
        curve = results.curves[(results.curves["model"] == model) & (results.curves["seed"] == seed)]
        once = len(curve) == 1
        figure.add_trace(
            Scatter(
                x=curve["epoch"].tolist(),
                y=curve[metric].tolist(),
                mode="markers" if once else "lines",
                line={"color": colours[model], "width": 1.5},
                marker={"color": colours[model], "size": 9},
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
    colours = _colours(results)
    for model in results.models:
        rows = found[found["model"] == model]
        figure.add_trace(
            Scatter(
                x=(rows["group"] + " (" + rows["users"].map("{:,}".format) + ")").tolist(),
                y=rows["mean"].tolist(),
                error_y={"type": "data", "array": rows["std"].tolist()},
                mode="lines+markers",
                line={"color": colours[model]},
                name=model,
            )
        )
    return figure
