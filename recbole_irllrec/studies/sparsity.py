"""How models do where training knows little: metrics by the number of training interactions, of users and of items."""

from collections.abc import Sequence

import pandas as pd
from plotly.graph_objects import Bar, Figure, Scatter

from ..benchmark import plots, tables
from ..benchmark.results import Results
from ..benchmark.statistics import by_interactions, found_by_interactions, grouped
from ..errors import IRLLRecError
from . import words
from .study import Asked, Study, Told


def plan(asked: Asked) -> Study:
    """The study.

    Raises:
        IRLLRecError: a model or a setting of one is refused.
    """
    asked.refuse_repeated()
    for model in asked.models:
        asked.settings(model)
    return Study("sparsity", "How do models do where training knows little?", list(asked.models), _tell, [_GROUPS])


_GROUPS = (
    "Users are parted into groups of about as many by their number of training interactions, and so are the items of "
    "the test. A group's metric is the mean over its users; of items it is the share of the group's test interactions "
    "that are among the first of their user's ranking, which is of all items. p values compare models within a group "
    "of users."
)


def _tell(results: Results) -> Told:
    if results.items.empty:
        raise IRLLRecError("The runs of this folder do not say which items they found: give another folder with --out.")
    metric = words.selected(results)
    cutoff = metric.partition("@")[2]
    found = f"found@{cutoff}"
    titles = {name: title for name, title in tables.metric_names(results).items() if name in results.users}
    alike = [name for name in titles if name.endswith(f"@{cutoff}")]
    of_users = {name: by_interactions(results.users, results.interactions, name) for name in alike}
    of_items = found_by_interactions(results.items, results.of_items, found)
    tests = _tests(results)
    title = f"Share of the test interactions in the first {cutoff}"
    by_users, by_items = (f"by the {side}'s number of training interactions" for side in ("user", "item"))
    figures = {
        f"{titles[name]} {by_users}": _figure(results, of_users[name], "users", titles[name]) for name in alike
    } | {f"{title} {by_items}": _figure(results, of_items, "items", title)}
    return Told(
        _paragraph(results, of_users[metric], of_items, tests, cutoff),
        [
            _table(f"{titles[metric]} {by_users}", "users", of_users[metric], tests),
            _table(f"{title} {by_items}", "items", of_items),
        ],
        figures,
        _numbers(of_users, of_items, found, metric, tests),
    )


# By group, the differences of the first model's rivals from it.
_Tests = dict[str, list[words.Difference]]


def _tests(results: Results) -> _Tests:
    """The first model against the others in each group of users; corrected over groups and models."""
    first, *others = results.models
    group, names, _ = grouped(results.interactions.reindex(results.users["user"].unique(), fill_value=0))
    by_group = results.users["user"].map(group)
    pairs = [(other, first) for other in others]
    found = words.differences_in([(results.users[by_group == n], pairs) for n in range(len(names))], results)
    return dict(zip(names, found, strict=True))


def _paragraph(results: Results, of_users: pd.DataFrame, of_items: pd.DataFrame, tests: _Tests, cutoff: str) -> str:
    def reached(frame: pd.DataFrame, group: str) -> str:
        rows = frame[frame["group"] == group].to_dict("records")
        return words.listed([f"{row['model']} {row['mean']:.4f}" for row in rows])

    metric = words.written(results)
    few, many = of_users["group"].iloc[0], of_users["group"].iloc[-1]
    rare, common = of_items["group"].iloc[0], of_items["group"].iloc[-1]
    told = [
        f"For the users with the fewest training interactions ({few}) {metric} is {reached(of_users, few)}; for those "
        f"with the most ({many}) {reached(of_users, many)}.",
    ]
    first, *others = results.models
    for other in others:
        found = {group: one for group, of in tests.items() for one in of if one.row == other and one.is_found}
        said = []
        for good, word in ((True, "better"), (False, "worse")):
            if groups := [f"{group} ({one})" for group, one in found.items() if one.good == good]:
                said.append(f"{word} for those with {words.listed(groups)}")
        told.append(f"Compared with {first}, {other} is {' and '.join(said) or 'not found to differ in any group'}.")
    told.append(
        f"Of the test interactions with the items that have the fewest training interactions ({rare}) the share in the "
        f"first {cutoff} is {reached(of_items, rare)}; of those with the most ({common}) {reached(of_items, common)}."
    )
    told += words.failed(results)
    if others:
        told.append(words.how(results, "groups and models"))
    return " ".join(told)


def _table(title: str, side: str, frame: pd.DataFrame, tests: _Tests | None = None) -> tables.Table:
    """A row a group, and for each model its metric."""
    models = list(frame["model"].unique())
    rows = []
    for group, of_group in frame.groupby("group", sort=False):
        by_model = of_group.set_index("model")
        p = {one.row: f", {words.p_value(one.p)}" for one in (tests or {}).get(str(group), [])}
        best = by_model["mean"].round(4).rank(method="dense", ascending=False)
        cells = [
            tables.Cell(
                f"{by_model.loc[model, 'mean']:.4f}",
                int(best[model]),
                ("" if pd.isna(std := by_model.loc[model, "std"]) else f" ± {std:.4f}") + p.get(model, ""),
            )
            for model in models
        ]
        rows.append([tables.Cell(str(group)), tables.Cell(f"{by_model[side].iloc[0]:,}"), *cells])
    return tables.Table(title, ["training interactions", side, *models], rows)


def _figure(results: Results, frame: pd.DataFrame, side: str, title: str) -> Figure:
    """Bars of the groups' sizes, and a line a model."""
    layout = {
        **plots.LAYOUT,
        "xaxis": {"title": f"training interactions ({side})", "type": "category"},
        "yaxis": {"title": side, "showgrid": False, "side": "right"},
        "yaxis2": {"title": f"{title}, test", "overlaying": "y", "side": "left", "rangemode": "tozero"},
    }
    figure = Figure(layout=layout)
    groups, colour = frame.drop_duplicates("group"), plots.colours_of(results)
    figure.add_trace(Bar(x=groups["group"].tolist(), y=groups[side].tolist(), name=side, marker={"color": "#e5e5e5"}))
    for model, rows in frame.groupby("model", sort=False):
        figure.add_trace(
            Scatter(
                x=rows["group"].tolist(),
                y=rows["mean"].tolist(),
                error_y=plots.error(rows["std"]),
                mode="lines+markers",
                yaxis="y2",
                line={"color": colour[str(model)]},
                name=str(model),
            )
        )
    return figure


def _numbers(
    of_users: dict[str, pd.DataFrame], of_items: pd.DataFrame, found: str, tested: str, tests: _Tests
) -> pd.DataFrame:
    """A row a side, metric, group and model."""
    p = {(group, one.row): one.p for group, of in tests.items() for one in of}
    frames = [
        frame.rename(columns={"users": "size"}).assign(side="user", metric=name) for name, frame in of_users.items()
    ]
    frames.append(of_items.rename(columns={"items": "size"}).assign(side="item", metric=found))
    numbers = pd.concat(frames, ignore_index=True)
    keys: Sequence[tuple[str, str, str]] = list(zip(numbers["metric"], numbers["group"], numbers["model"], strict=True))
    numbers["p"] = [p.get((group, model)) if metric == tested else None for metric, group, model in keys]
    return numbers[["side", "metric", "group", "size", "interactions", "model", "mean", "std", "p"]]
