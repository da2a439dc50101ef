"""What is computed from the runs: spread over the seeds, and paired tests over the users. Pure functions of tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats


def over_seeds(runs: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and standard deviations over the seeds.

    Args:
        runs: a row a run: ``model``, and the columns.
        columns: numbers; of one that is not there they are NaN.

    Returns:
        The means and the sample standard deviations (n - 1; NaN of one seed): a row a model, in the order of the runs.
    """
    groups = runs.reindex(columns=["model", *columns]).groupby("model", sort=False)
    return groups.mean(), groups.std()


def ranks(means: pd.Series, smaller_is_better: bool = False) -> pd.Series:
    """1 for the best, 2 for the second, and so on; equal values share a rank, NaN has none."""
    return means.rank(method="dense", ascending=smaller_is_better)


def paired_tests(users: pd.DataFrame, reference: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Whether a model's metrics differ from every other model's, user by user.

    A user's value is its mean over the model's seeds. Differences are rounded to nine decimals, since means of equal
    values over other numbers of seeds differ in the last digit. The tests are Student's t and Wilcoxon's signed ranks,
    both paired by user and two-sided; Wilcoxon's leaves out users without a difference. Per metric and test, Holm's
    correction is made over the models.

    Args:
        users: a row a model, seed and user: ``model``, ``seed``, ``user`` and the metrics.
        reference: the model that is compared with the others.
        metrics: columns of ``users``; a user without a number counts for none.

    Returns:
        A row a metric and other model, if there are pairs: ``metric``, ``model``, ``users`` (the number of pairs),
        ``difference`` (the mean of reference - model), ``better`` and ``worse`` (the numbers of users for whom the
        reference is), ``t`` and ``wilcoxon`` (p values), ``t_holm`` and ``wilcoxon_holm`` (corrected).
    """
    values = users.groupby(["model", "user"], sort=False, observed=True)[list(metrics)].mean()
    ours = values.loc[reference]
    others = [model for model in users["model"].unique() if model != reference]
    rows = []
    for metric in metrics:
        for model in others:
            differences = (ours[metric] - values.loc[model][metric]).dropna().round(9).to_numpy()
            if len(differences):
                rows.append({"metric": metric, "model": model, **_tests(differences)})
    columns = ["metric", "model", "users", "difference", "better", "worse", "t", "wilcoxon", "t_holm", "wilcoxon_holm"]
    found = pd.DataFrame(rows, columns=columns)
    for test in ("t", "wilcoxon"):
        found[f"{test}_holm"] = found.groupby("metric", sort=False)[test].transform(lambda p: holm(p.to_numpy()))
    return found


def _tests(differences: np.ndarray) -> dict[str, float]:
    """Of paired differences, [n]. Of a single pair, or without a difference other than zero, neither finds anything."""
    found = {
        "users": len(differences),
        "difference": differences.mean(),
        "better": int((differences > 0).sum()),
        "worse": int((differences < 0).sum()),
        "t": 1.0,
        "wilcoxon": 1.0,
    }
    if differences.any() and len(differences) > 1:
        found["t"] = stats.ttest_1samp(differences, 0).pvalue
        found["wilcoxon"] = stats.wilcoxon(differences).pvalue
    return found


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p values, [m], which keeps the chance of a single false finding."""
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def by_interactions(users: pd.DataFrame, interactions: pd.Series, metric: str, n_groups: int = 5) -> pd.DataFrame:
    """A metric by the users' number of training interactions.

    Args:
        users: a row a model, seed and user: ``model``, ``seed``, ``user`` and the metric.
        interactions: the number of each user, by its token.
        metric: a column of ``users``.
        n_groups: as many groups of about as many users each; fewer where many users have the same number.

    Returns:
        A row a group and model, in the groups' order: ``group`` (such as "12 to 20"), ``users``, ``model``, ``mean``
        and ``std`` over the seeds.
    """
    group, names, sizes = grouped(interactions.reindex(users["user"].unique(), fill_value=0), n_groups)
    placed = users.assign(place=users["user"].map(group))
    by_seed = placed.groupby(["place", "model", "seed"], sort=False, observed=True)[metric].mean()
    found = by_seed.groupby(["place", "model"], sort=False).agg(["mean", "std"])
    return _in_order(found, names, users=sizes)[["group", "users", "model", "mean", "std"]]


def grouped(counts: pd.Series, n_groups: int = 5) -> tuple[pd.Series, np.ndarray, np.ndarray]:
    """Part users or items by their number of training interactions.

    Args:
        counts: the number of each.
        n_groups: as many groups of about as many each; fewer where many have the same number.

    Returns:
        The group of each, from 0, those with the fewest; the groups' names, such as "12 to 20"; and their sizes.
    """
    bounds = np.unique(np.quantile(counts, np.arange(1, n_groups) / n_groups, method="lower"))
    group = pd.Series(np.searchsorted(bounds, counts), counts.index)
    spans = counts.groupby(group).agg(["min", "max", "size"])
    names = [
        f"{low} to {high}" if low < high else f"{low}" for low, high in zip(spans["min"], spans["max"], strict=True)
    ]
    return group, np.array(names), spans["size"].to_numpy()


def found_by_interactions(items: pd.DataFrame, interactions: pd.Series, column: str, n_groups: int = 5) -> pd.DataFrame:
    """The share of the test interactions that are found, by the items' number of training interactions.

    Args:
        items: a row a model, seed and item: ``model``, ``seed``, ``item``, ``interactions`` (of the test), the column.
        interactions: the number of each item's training interactions, by its token.
        column: how many of the test interactions are found.
        n_groups: as of `grouped`.

    Returns:
        A row a group and model: ``group``, ``items``, ``interactions`` (of the test), ``model``, ``mean``, ``std``.
    """
    group, names, sizes = grouped(interactions.reindex(items["item"].unique(), fill_value=0), n_groups)
    placed = items.assign(place=items["item"].map(group))
    sums = placed.groupby(["place", "model", "seed"], sort=False)[[column, "interactions"]].sum()
    sums["share"] = sums[column] / sums["interactions"]
    by_model = sums.groupby(["place", "model"], sort=False)
    found = by_model["share"].agg(["mean", "std"]).assign(interactions=by_model["interactions"].first())
    return _in_order(found, names, items=sizes)[["group", "items", "interactions", "model", "mean", "std"]]


def _in_order(found: pd.DataFrame, names: np.ndarray, **sizes: np.ndarray) -> pd.DataFrame:
    """Rows by the place of a group and by model, in the groups' order, with their names and sizes."""
    rows = found.reset_index().sort_values("place", kind="stable")
    place = rows.pop("place").astype(int).to_numpy()
    return rows.assign(group=names[place], **{name: size[place] for name, size in sizes.items()})
