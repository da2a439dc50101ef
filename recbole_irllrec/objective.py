"""Which value wins: the one rule by which epochs, trials and settings are chosen, and models compared."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from recbole.evaluator.register import smaller_metrics

T = TypeVar("T")


class Objective(NamedTuple):
    """What validation chooses by.

    Of a run's epochs the last of equals is the best, as RecBole's checkpoint has it; of several runs the first.
    """

    title: str  # as people write it: NDCG@10

    @property
    def metric(self) -> str:
        """As RecBole reports it: ndcg@10."""
        return self.title.lower()

    @property
    def smaller_is_better(self) -> bool:
        """Whether a smaller value is better, as of GiniIndex."""
        return self.metric.partition("@")[0] in smaller_metrics

    def score(self, metrics: Mapping[str, float]) -> float:
        """The higher the better."""
        value = metrics[self.metric]
        return -value if self.smaller_is_better else value

    def best(self, runs: Iterable[tuple[Mapping[str, float], T]]) -> T | None:
        """Of runs, each with its validation metrics, the best; None if there is none."""
        return max(
            ((self.score(metrics), run) for metrics, run in runs), key=lambda found: found[0], default=(0, None)
        )[1]
