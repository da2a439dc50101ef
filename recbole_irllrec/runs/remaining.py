"""How long runs will take, from what was measured of their own kind: a quick model says nothing of a slow one."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from tqdm import tqdm


class Ended(NamedTuple):
    """A run that is over."""

    seconds: float
    epochs: int


class Running(NamedTuple):
    """A run under way."""

    kind: str  # runs of one kind take about as long as each other
    seconds: float  # since it began
    epochs: int  # at most
    epoch: int = 0  # how many have been validated
    pace: float = 0.0  # seconds an epoch, once there is one
    since: float = 0.0  # seconds since the last of them


class Left(NamedTuple):
    """The time left, in seconds."""

    measured: float | None  # of the runs of kinds that were measured; None if none of what is left was
    perhaps: float | None  # of all, the others as long as the mean of those kinds

    def __str__(self) -> str:
        if self.measured is None or self.perhaps is None:
            return "?"
        least, all_of_it = tqdm.format_interval(self.measured), tqdm.format_interval(self.perhaps)
        return all_of_it if self.measured == self.perhaps else f"at least {least}, perhaps {all_of_it}"


def left_of(run: Running, ended: Sequence[Ended] = ()) -> float | None:
    """Seconds until a run is over; None while nothing is known.

    At its own pace, for as many epochs as those of its kind have had, or all that it may have.

    Args:
        run: the run.
        ended: those of its kind.
    """
    if not run.epoch:
        return max(0.0, _mean(ended) - run.seconds) if ended else None
    epochs = fmean(one.epochs for one in ended) if ended else run.epochs
    return max(0.0, run.pace * (min(epochs, run.epochs) - run.epoch) - run.since)


def left(
    running: Collection[Running], waiting: Mapping[str, int], ended: Mapping[str, Sequence[Ended]], places: int
) -> Left:
    """The time until all runs are over.

    Args:
        running: the runs under way.
        waiting: how many runs of each kind have not begun.
        ended: the runs that are over, by kind.
        places: how many run at a time.
    """
    to_come = list(Counter(waiting).elements())
    of_running = [(run, left_of(run, ended.get(run.kind, ()))) for run in running]
    whole = {kind: _mean(runs) for kind, runs in ended.items() if runs}
    for kind in {run.kind for run in running} - whole.keys():
        if known := [run.seconds + rest for run, rest in of_running if run.kind == kind and rest is not None]:
            whole[kind] = fmean(known)
    measured = [
        max(0.0, whole[run.kind] - run.seconds) if rest is None else rest
        for run, rest in of_running
        if run.kind in whole
    ]
    measured += [whole[kind] for kind in to_come if kind in whole]
    if not measured and (running or to_come):
        return Left(None, None)
    mean = fmean(whole.values()) if whole else 0.0
    others = [max(0.0, mean - run.seconds) for run in running if run.kind not in whole]
    others += [mean for kind in to_come if kind not in whole]
    return Left(_together(measured, places), _together(measured + others, places))


def _mean(ended: Sequence[Ended]) -> float:
    return fmean(one.seconds for one in ended)


def _together(seconds: Sequence[float], places: int) -> float:
    """What runs of so many seconds take side by side: none is shared out."""
    return max([sum(seconds) / places, *seconds])
