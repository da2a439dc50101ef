"""Who loses how much by noise: fake interactions in the training, and texts shuffled or taken away."""

from functools import partial
from typing import NamedTuple

import pandas as pd
from plotly.graph_objects import Figure, Scatter

from ..benchmark import plots, tables
from ..benchmark.plan import Variant
from ..benchmark.results import Results
from ..benchmark.statistics import over_seeds
from ..errors import IRLLRecError
from ..runs.splits import FAKES, Settings
from . import words
from .study import Asked, Study, Told

# What noise there is, and the settings of a share of it.
_OF_INTERACTIONS = "fake interactions"
_OF_TEXTS = {"texts shuffled": "shuffled", "texts blank": "blank"}


class _Noisy(NamedTuple):
    """A row with noise."""

    row: str
    model: str  # the row without
    kind: str
    share: float


def plan(asked: Asked) -> Study:
    """The study.

    Raises:
        IRLLRecError: a share is none, or a model or a setting of one is refused.
    """
    shares = sorted({share for share in asked.shares if share})
    if not shares or not all(0 < share <= 1 for share in shares):
        told = ", ".join(f"{share:g}" for share in asked.shares)
        raise IRLLRecError(f"The shares of noise are {told or 'none'}: give some above 0 and up to 1, such as 0.1,0.4.")
    asked.refuse_repeated()
    rows: dict[str, Variant] = {}
    noisy = []
    for model in asked.models:
        settings = asked.settings(model)
        rows[model.name] = model
        kinds = (_OF_INTERACTIONS, *(_OF_TEXTS if settings is not None and settings.text_kinds else ()))
        for kind in kinds:
            for share in shares:
                one = _Noisy(f"{model.name}, {share:.4g} {kind}", model.name, kind, share)
                rows[one.row] = Variant(one.row, model.model, {**model.settings, **_settings(kind, share)})
                noisy.append(one)
    return Study("noise", "Who loses how much by noise?", list(rows.values()), partial(_tell, noisy=noisy), [_CHANGED])


def _settings(kind: str, share: float) -> Settings:
    if kind == _OF_INTERACTIONS:
        return {FAKES: share}
    return {"text_change": _OF_TEXTS[kind], "text_change_share": share}


_CHANGED = (
    "Fake interactions are added to the training, as many as the share says of the true ones: copies of true ones with "
    "another item, drawn evenly from those of the training, and never an interaction of training, validation or test. "
    "They are the same for all models and seeds, and those of a smaller share are among those of a larger one. Models "
    "take them for interactions, the ranking leaves them out as such, and the texts stay those of the true training "
    "interactions. Validation and test have no noise. Of texts the share is that of a side's nodes: users and items "
    "get each other's, or none."
)


def _tell(results: Results, noisy: list[_Noisy]) -> Told:
    found = {one.row: one for one in words.differences(results, [(one.row, one.model) for one in noisy])}
    there = [one for one in noisy if one.row in found]
    title = f"{words.written(results)} by the share of noise"
    figures = {
        f"{words.written(results)} by the share of {kind}": _figure(results, there, kind)
        for kind in dict.fromkeys(one.kind for one in there)
    }
    about = pd.DataFrame(
        [(one.row, one.model, one.kind, one.share) for one in noisy], columns=["model", "of", "noise", "share"]
    )
    numbers = words.numbers(results, list(found.values())).merge(about, on="model", how="left")
    numbers["of"] = numbers["of"].fillna(numbers["model"])
    return Told(_paragraph(results, there, found), [_table(title, results, there, found)], figures, numbers)


def _loss(results: Results, one: _Noisy, found: dict[str, words.Difference]) -> float:
    """The change in shares of what the model has without noise; 0 where it has nothing."""
    without = words.mean(results, one.model)
    return found[one.row].change / without if without else 0.0


def _paragraph(results: Results, noisy: list[_Noisy], found: dict[str, words.Difference]) -> str:
    metric = words.written(results)
    told = []
    for kind in dict.fromkeys(one.kind for one in noisy):
        most = max(one.share for one in noisy if one.kind == kind)
        of = [one for one in noisy if (one.kind, one.share) == (kind, most)]
        of.sort(key=lambda one: _loss(results, one, found))
        changes = [f"{one.model} by {_loss(results, one, found):+.1%} ({found[one.row]})" for one in of]
        told.append(f"With a share of {most:g} {kind} {metric} changes: {words.listed(changes)}.")
    end = words.how(results, "all rows with noise, each compared with the model without")
    return " ".join([*told, *words.failed(results), end])


def _table(title: str, results: Results, noisy: list[_Noisy], found: dict[str, words.Difference]) -> tables.Table:
    """A row a model and kind of noise, a column a share."""
    shares = sorted({one.share for one in noisy})
    rows = []
    for model, kind in dict.fromkeys((one.model, one.kind) for one in noisy):
        cells = [tables.Cell(model), tables.Cell(kind), tables.Cell(f"{words.mean(results, model):.4f}")]
        of = {one.share: one for one in noisy if (one.model, one.kind) == (model, kind)}
        for share in shares:
            if (one := of.get(share)) is None:
                cells.append(tables.Cell("failed"))
                continue
            rest = f" ({_loss(results, one, found):+.1%}, {words.p_value(found[one.row].p)})"
            cells.append(tables.Cell(f"{words.mean(results, one.row):.4f}", None, rest))
        rows.append(cells)
    return tables.Table(title, ["model", "noise", "0", *(f"{share:g}" for share in shares)], rows, n_left=2)


def _figure(results: Results, noisy: list[_Noisy], kind: str) -> Figure:
    """A line a model, from no noise on."""
    metric = words.selected(results)
    means, deviations = over_seeds(results.runs, [metric])
    title = f"{words.written(results)}, test"
    figure = Figure(layout={**plots.LAYOUT, "xaxis_title": f"share of {kind}", "yaxis_title": title})
    of_kind = [one for one in noisy if one.kind == kind]
    colour = plots.colours(one.model for one in noisy)
    for model in dict.fromkeys(one.model for one in of_kind):
        points = [(0.0, model), *((one.share, one.row) for one in of_kind if one.model == model)]
        rows = [row for _, row in points]
        figure.add_trace(
            Scatter(
                x=[share for share, _ in points],
                y=means.loc[rows, metric].tolist(),
                error_y=plots.error(deviations.loc[rows, metric]),
                mode="lines+markers",
                line={"color": colour[model]},
                name=model,
            )
        )
    return figure
