"""Runs for people who watch: which are under way and how they stand, a line at the end of each, and the time left."""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from itertools import islice
from typing import NamedTuple

from tqdm import tqdm

from .remaining import Ended, Running, left, left_of
from .training import Evaluation
from .worker import Record

_SHOWN = 2  # of the runs under way
_SELDOM = 30.0, 0.1  # seconds, or this share of the time so far, between lines where there is no terminal


def to_stderr(line: str) -> None:
    """Print a line, above a bar if there is one."""
    tqdm.write(line, file=sys.stderr)


class Watched(NamedTuple):
    """What is told of a run under way."""

    run: Hashable  # which it is
    name: str
    kind: str  # as of `remaining.Running`
    epochs: int  # at most


class _Begun:
    """A run under way."""

    def __init__(self, about: Watched, now: float):
        self.about, self.begun, self.last = about, now, now
        self.epoch, self.pace, self.score = 0, 0.0, ""

    def at(self, now: float) -> Running:
        kind, epochs = self.about.kind, self.about.epochs
        return Running(kind, now - self.begun, epochs, self.epoch, self.pace, now - self.last)


class Progress:
    """Tells of runs: on a terminal in one line on standard error that is kept up to date, else in lines now and then.

    Args:
        runs: how many there are of each kind.
        metric: whose validation scores are told, such as NDCG@10.
        say: gets the lines.
        clock: tells the seconds.
    """

    def __init__(
        self,
        runs: Mapping[str, int],
        metric: str,
        say: Callable[[str], None] = to_stderr,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._runs, self._metric, self._say, self._clock = Counter(runs), metric, say, clock
        self._running: dict[Hashable, _Begun] = {}
        self._over: Counter[str] = Counter()  # by kind
        self._ended: defaultdict[str, list[Ended]] = defaultdict(list)  # by kind, those that tell how long they take
        self._places = 1
        self._standing = ""
        self._begun = self._told = clock()
        self._bar = tqdm(
            # one line, and never two
            bar_format="{n_fmt}/{total_fmt} |{bar:10}| {desc}",
            total=self._runs.total(),
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    # ---- what has become of the runs -------------------------------------------------------------------------------

    def less(self, kind: str, n: int) -> None:
        """So many runs of a kind need not be made."""
        self._runs[kind] -= n

    def made_before(self, kind: str, record: Record) -> None:
        """A run of this kind is over already, and its record tells how long they take."""
        self._over_after(kind, record, record.get("seconds", 0.0) + record.get("inference_seconds", 0.0))

    def began(self, about: Watched) -> None:
        """A run is under way."""
        self._running[about.run] = _Begun(about, self._clock())
        self._places = max(self._places, len(self._running))

    def evaluated(self, run: Hashable, evaluation: Evaluation) -> None:
        """A run under way has been validated."""
        if begun := self._running.get(run):  # what it said may come after its end
            begun.epoch, begun.last = evaluation.epoch + 1, self._clock()
            begun.pace = evaluation.seconds / begun.epoch
            begun.score = f"{self._metric} {evaluation.metrics[self._metric.lower()]:.4f}"

    def ended(self, run: Hashable, record: Record | None, line: str) -> None:
        """Tell of a run that is under way no more.

        Args:
            run: the run; it may not have begun.
            record: its own; None of one that is not over.
            line: what has become of it.
        """
        begun = self._running.pop(run, None)
        if begun and record is not None:
            self._over_after(begun.about.kind, record, self._clock() - begun.begun)
        self._tell(line)
        self.tick()

    def _over_after(self, kind: str, record: Record, seconds: float) -> None:
        self._over[kind] += 1
        if not record["error"] and "epochs" in record:
            self._ended[kind].append(Ended(seconds, record["epochs"]))

    def standing(self, text: str) -> None:
        """Say from now on how it stands: the best so far, for instance."""
        self._standing = text

    # ---- what is told ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Time has passed."""
        if not self._bar.disable:
            self._bar.total, self._bar.n = self._runs.total(), self._over.total()
            self._bar.set_description_str(f"{self._head()}: {self._under_way()}")
            return
        now = self._clock()
        at_least, share = _SELDOM
        if self._running and now - self._told >= max(at_least, share * (now - self._begun)):
            self._told = now
            self._tell(f"under way: {self._under_way()}")

    def _tell(self, line: str) -> None:
        self._say(f"[{self._over.total()}/{self._runs.total()}, {self._head()}] {line}")

    def _head(self) -> str:
        now = self._clock()
        running = [begun.at(now) for begun in self._running.values()]
        waiting = self._runs - self._over - Counter(run.kind for run in running)
        time_left = f"{left(running, waiting, self._ended, self._places)} left"
        return ", ".join(filter(None, [self._standing, time_left]))

    def _under_way(self) -> str:
        """The runs under way, those that began first."""
        now = self._clock()
        told = [self._stands(begun, now) for begun in islice(self._running.values(), _SHOWN)]
        more = len(self._running) - len(told)
        return "; ".join([*told, f"{more} more"] if more else told)

    def _stands(self, begun: _Begun, now: float) -> str:
        run, about = begun.at(now), begun.about
        seconds = left_of(run, self._ended[run.kind])
        so_far = f"no epoch yet after {tqdm.format_interval(run.seconds)}"
        stands = f"epoch {run.epoch} of {run.epochs}, {begun.score}" if run.epoch else so_far
        return f"{about.name}: {stands}" + (f", {tqdm.format_interval(seconds)} left" if seconds is not None else "")


def told(record: Record, title: str) -> str:
    """What a person reads of a run that has ended.

    Args:
        record: the run's.
        title: the validation metric, such as NDCG@10.
    """
    if record["error"]:
        return f"failed: {record['error']}"
    return (
        f"{title} {record['valid'][title.lower()]:.4f} on validation, epoch {record['best_epoch']} of "
        f"{record['epochs']}, {record['seconds']:.0f} s"
    )
