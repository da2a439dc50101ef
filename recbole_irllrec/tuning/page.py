"""The page of plots of a sweep: one HTML file that asks no other host for anything."""

import html
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..html_page import html_page, plots, table_of
from .plan import Checked
from .records import FAILED, Trial

_MISSING = "not drawn"
_FEWEST = 4  # trials that an importance can be computed from


def page(
    checked: Checked,
    trials: list[Trial],
    table: pd.DataFrame,
    best: Trial,
    seeds: pd.DataFrame,
    compared: str,
    command: str,
) -> str:
    """The whole page.

    Args:
        checked: the sweep; trials: all of it; best: the best of them.
        table: `report.trials_table`; seeds: `report.seeds_table`.
        compared: the best settings beside popularity; command: what reproduces the best run.
    """
    objective = checked.task.objective
    bigger = not objective.smaller_is_better
    good = table[(table["status"] != FAILED) & table.get(objective.metric, pd.Series(np.nan, table.index)).notna()]
    names = [p.name for p in checked.plan.space.parameters if p.name in good and good[p.name].notna().any()]
    names = [name for name in names if good[name].astype(str).nunique() > 1]
    figures = {"Every trial": _parallel(good, names, objective.metric, bigger)}
    if len(good) >= _FEWEST and names:
        figures["What matters"] = _importance(good, names, objective.metric)
    figures["Trial after trial"] = _course(good, objective.metric, bigger)
    figures["Learning curves"] = _curves(trials, objective.metric, best)
    counts = ", ".join(f"{n} {status}" for status, n in table["status"].value_counts().items())
    title = f"{checked.plan.model} on {checked.splits.dataset}"
    head = (
        f"<p>{len(table)} trials ({counts}), chosen by {html.escape(objective.title)} on "
        f"validation. Best: trial {best.number}. Test metrics are those of the best settings alone.</p>"
        f"<p>Again: <code>{html.escape(command)}</code></p>"
        f"<h2>Best settings</h2>{table_of(pd.DataFrame(best.settings.items(), columns=['setting', 'value']))}"
        f"<h2>Validation and test, by seed</h2>{table_of(seeds)}<p>{html.escape(compared)}</p>"
    )
    return html_page(title, head + plots(figures))


def _parallel(good: pd.DataFrame, names: list[str], metric: str, bigger: bool) -> go.Figure:
    line = {"color": good[metric], "colorscale": "Viridis", "showscale": True, "reversescale": not bigger}
    dimensions = [_axis(name, good[name]) for name in names]
    return go.Figure(go.Parcoords(line=line, dimensions=[*dimensions, {"label": metric, "values": good[metric]}]))


def _axis(name: str, values: pd.Series) -> dict[str, Any]:
    """An axis of the plot; what was not drawn stands below all other values."""
    at = encoded(values)
    missing = values.isna().to_numpy()
    numeric = pd.to_numeric(values, errors="coerce")
    if numeric[~missing].notna().all() and (numeric > 0).sum() > 1 and numeric.max() / numeric[numeric > 0].min() > 50:
        least = np.log10(numeric[numeric > 0].min())
        at = np.where(numeric > 0, np.log10(numeric.where(numeric > 0, 1)), least - 1)
        ticks = [*range(int(np.floor(least)), int(np.ceil(np.log10(numeric.max()))) + 1)]
        labels = {float(tick): f"1e{tick}" for tick in ticks} | ({least - 1: "0"} if (numeric == 0).any() else {})
        at = np.where(missing, least - 2, at)
        labels |= {least - 2: _MISSING} if missing.any() else {}
    elif numeric[~missing].notna().all() and values.nunique() > 8:
        labels = {at[missing][0]: _MISSING} if missing.any() else {}
        labels |= {value: f"{value:.3g}" for value in np.linspace(numeric.min(), numeric.max(), 5)}
    else:
        labels = {
            place: _MISSING if gone else str(value) for place, gone, value in zip(at, missing, values, strict=True)
        }
    return {"label": name, "values": at, "tickvals": list(labels), "ticktext": list(labels.values())}


def _importance(good: pd.DataFrame, names: list[str], metric: str) -> go.Figure:
    found = importance(good, names, metric)[::-1]
    figure = go.Figure(go.Bar(x=found.to_numpy(), y=list(found.index), orientation="h"))
    figure.update_layout(xaxis_title=f"share of what a random forest knows of {metric} (permutation)")
    return figure


def _course(good: pd.DataFrame, metric: str, bigger: bool) -> go.Figure:
    best_so_far = good[metric].cummax() if bigger else good[metric].cummin()
    points = go.Scatter(x=good["trial"], y=good[metric], mode="markers", name="trial", text=good["status"])
    figure = go.Figure([points, go.Scatter(x=good["trial"], y=best_so_far, mode="lines", name="best so far")])
    figure.update_layout(xaxis_title="trial", yaxis_title=f"{metric}, validation")
    return figure


def _curves(trials: list[Trial], metric: str, best: Trial) -> go.Figure:
    figure = go.Figure()
    for trial in sorted(trials, key=lambda trial: trial is best):
        figure.add_scatter(
            x=[evaluation.epoch for evaluation in trial.history],
            y=[evaluation.metrics[metric] for evaluation in trial.history],
            mode="lines",
            name=f"trial {trial.number}",
            line={"color": "#d62728", "width": 3} if trial is best else {"color": "#999", "width": 1},
            showlegend=trial is best,
        )
    figure.update_layout(xaxis_title="epoch", yaxis_title=f"{metric}, validation")
    return figure


def importance(table: pd.DataFrame, names: list[str], target: str) -> pd.Series:
    """How much of a random forest's prediction of the target rests on each setting, by permutation; largest first.

    Args:
        table: a row a trial; a setting that was not drawn is empty.
        names: the settings' columns.
        target: the column that is predicted.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    x = np.column_stack([encoded(table[name]) for name in names])
    forest = RandomForestRegressor(200, min_samples_leaf=2, random_state=0).fit(x, table[target])
    found = permutation_importance(forest, x, table[target], n_repeats=20, random_state=0).importances_mean
    total = found.clip(0).sum() or 1.0
    return pd.Series(found.clip(0) / total, index=names).sort_values(ascending=False)


def encoded(values: pd.Series) -> np.ndarray:
    """A setting as numbers: its own, or the places of its values; less than all of them where it was not drawn."""
    present = values.dropna()
    if len(present) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return values.astype(float).fillna(float(present.min()) - 1).to_numpy()
    return pd.Categorical(values.map(str).where(values.notna())).codes.astype(float)
