"""What a study's differences are worth: tables of them, and sentences."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..benchmark import tables
from ..benchmark.results import Results
from ..benchmark.statistics import holm, over_seeds, paired_tests
from ..objective import Objective

LEVEL = 0.05  # p values below are taken for a difference


class Difference(NamedTuple):
    """Of a row from another, by the metric that the study is told by."""

    row: str
    base: str
    change: float  # of the metric, by which the row has more than the base
    p: float  # corrected
    good: bool  # whether the change is one for the better

    @property
    def is_found(self) -> bool:
        """Whether chance is an unlikely reason."""
        return self.p < LEVEL

    def __str__(self) -> str:
        return f"{self.change:+.4f}, {p_value(self.p)}"

    def verdict(self, better: str, worse: str, none: str) -> str:
        """The one of these words that holds."""
        return none if not self.is_found else better if self.good else worse


def differences(results: Results, pairs: Sequence[tuple[str, str]]) -> list[Difference]:
    """Rows compared with others, user by user; Holm's correction is made over all of these comparisons.

    Args:
        results: of the study's rows.
        pairs: a row and its base each; those of which one has no run are left out.
    """
    (found,) = differences_in([(results.users, pairs)], results)
    return found


def differences_in(
    parts: Sequence[tuple[pd.DataFrame, Sequence[tuple[str, str]]]], results: Results
) -> list[list[Difference]]:
    """As `differences`, of some of the users each; the correction is made over all parts."""
    metric = selected(results)
    smaller_is_better = Objective(metric).smaller_is_better
    found: list[list[Difference]] = []
    for users, pairs in parts:
        of_part = []
        there = set(users["model"])
        for row, base in pairs:
            if {row, base} <= there:
                of_both = users[users["model"].isin([row, base])]
                (test,) = paired_tests(of_both, row, [metric]).to_dict("records")
                change = round(test["difference"], 9) + 0.0  # no -0.0
                of_part.append(Difference(row, base, change, test["wilcoxon"], (change > 0) != smaller_is_better))
        found.append(of_part)
    corrected = iter(holm(np.array([one.p for of_part in found for one in of_part])))
    return [[one._replace(p=float(next(corrected))) for one in of_part] for of_part in found]


def selected(results: Results) -> str:
    """The metric that a study is told by: the one that validation chooses by, such as ``ndcg@10``."""
    return str(results.plan["valid_metric"]).lower()


def written(results: Results) -> str:
    """How texts write it, such as NDCG@10."""
    return tables.metric_names(results)[selected(results)]


def mean(results: Results, row: str) -> float:
    """What a row reaches in it, over its seeds."""
    means, _ = over_seeds(results.runs, [selected(results)])
    return float(means[selected(results)].loc[row])


def p_value(p: float) -> str:
    """A p value for texts."""
    written = tables.p_value(p)
    return f"p {written}" if written.startswith("<") else f"p = {written}"


def with_differences(results: Results, found: Sequence[Difference]) -> tables.Table:
    """The test metrics of all rows, and by what each differs from its base."""
    summary = tables.summary(results)
    by_row = {difference.row: difference for difference in found}
    heads = (f"Δ {written(results)}", "p")
    for row, model in zip(summary.rows, _models(results, summary), strict=True):
        one = by_row.get(model)
        row += [tables.Cell(text) for text in ((f"{one.change:+.4f}", tables.p_value(one.p)) if one else ("", ""))]
    return tables.Table(summary.title, [*summary.head, *heads], summary.rows, summary.n_left)


def _models(results: Results, summary: tables.Table) -> list[str]:
    names = {shown: model for model, shown in tables.model_names(results).items()}
    return [names[row[0].text] for row in summary.rows]


def numbers(results: Results, found: Sequence[Difference]) -> pd.DataFrame:
    """The same as numbers: a row a model."""
    metric = selected(results)
    by_row = {one.row: {"compared with": one.base, f"{metric} difference": one.change, "p": one.p} for one in found}
    columns = ["compared with", f"{metric} difference", "p"]
    beside = pd.DataFrame.from_dict(by_row, orient="index", columns=columns)
    return tables.flat(results).join(beside, on="model")


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)


def by_verdict(found: Sequence[Difference], called: Mapping[str, str], leads: tuple[str, str, str]) -> list[str]:
    """Sentences on what is better, worse, and not found to differ; none on what there is none of.

    Args:
        found: the differences.
        called: how a sentence calls their rows.
        leads: how the three sentences begin.
    """
    verdicts = ("better", "worse", "none")
    by_size = sorted(found, key=lambda one: -abs(one.change))
    told = []
    for verdict, lead in zip(verdicts, leads, strict=True):
        of = [f"{called[one.row]} ({one})" for one in by_size if one.verdict(*verdicts) == verdict]
        told += [f"{lead} {listed(of)}."] if of else []
    return told


def how(results: Results, over: str) -> str:
    """What the p values of a paragraph are, in a sentence that ends it."""
    users = results.users["user"].nunique()
    return (
        f"p is that of Wilcoxon's signed ranks, paired by user ({users:,} users; a user's value is its mean over the "
        f"seeds), with Holm's correction over {over}."
    )


def failed(results: Results) -> list[str]:
    """A sentence on rows without a run that ended well; none if there are none."""
    lost = [row for row in results.plan["models"] if row not in results.models]
    return [f"Failed: {listed(lost)} (report.html says why)."] if lost else []
