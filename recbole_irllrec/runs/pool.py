"""Runs on Ray: as many at a time as there is room for, each kept by who asked for it when it has ended."""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import ray
from ray.util.queue import Queue

from ..cluster import here
from ..failures import reason_of_ray
from .progress import Progress, Watched
from .splits import Splits
from .training import Evaluation
from .worker import Done, Job, memory, work

T = TypeVar("T")
Tell = Callable[[Evaluation], None]
_POLL = 1.0  # seconds


@dataclass(frozen=True)
class Resources:
    """What runs may use."""

    cpus: float = 1
    gpus: float = 0
    max_concurrent: int | None = None  # None for as many as there is room for
    retries: int = 0  # of a run whose process has died, or its node

    @property
    def threads(self) -> int:
        """Of a run."""
        return max(1, int(self.cpus))


class Pool:
    """Makes runs on the Ray that is joined.

    Args:
        splits: of all runs; those that do not test get them without the test set.
        resources: of a run, and of all.
        progress: is told which runs begin, and how they stand.
        afresh: whether each run that tests has a process of its own, whose memory is measured.
    """

    def __init__(self, splits: Splits, resources: Resources, progress: Progress, *, afresh: bool):
        self._resources, self._progress = resources, progress
        self.running: dict[Any, Any] = {}  # by the references to their results
        self._begun: list[Watched] = []
        self._news = Queue(actor_options=here())  # (a place in that list, an evaluation) as plain values
        self._splits = {True: ray.put(splits), False: ray.put(splits.without_test())}  # by whether a run tests
        needs: dict[str, Any] = {
            "num_cpus": resources.cpus,
            "num_gpus": resources.gpus,
            "max_retries": resources.retries,
        }
        again = ray.remote(**needs)(_work)
        self._work = {True: ray.remote(max_calls=1, **needs)(_work_afresh) if afresh else again, False: again}

    def run(
        self, waiting: deque[T], job: Callable[[T], Job], watched: Callable[[T], Watched]
    ) -> Iterator[tuple[T, Done]]:
        """Make runs until nothing waits and nothing runs.

        Args:
            waiting: what to run, first come first served; more may be added meanwhile.
            job: the run that stands for it.
            watched: what the progress is told of it.

        Yields:
            What has run, as it ends, and what has become of it.
        """
        while waiting or self.running:
            while waiting and len(self.running) < self._room():
                each = waiting.popleft()
                self.running[self._start(job(each), watched(each))] = each
            ended, _ = ray.wait(list(self.running), num_returns=1, timeout=_POLL)
            self._hear()
            if not ended:
                continue
            each, done = self.running.pop(ended[0]), self._done(ended[0])
            if done is None:  # the process was not a fresh one, and is gone now
                waiting.appendleft(each)
            else:
                yield each, done

    def _start(self, job: Job, about: Watched) -> Any:
        tests = job.tests or job.checkpoint is not None
        self._progress.began(about)
        self._begun.append(about)
        tell = partial(_tell, self._news, len(self._begun) - 1)
        return self._work[tests].remote(job, self._splits[tests], self._resources.threads, tell)

    def _hear(self) -> None:
        with contextlib.suppress(ray.exceptions.RayError):  # news may be lost, runs may not
            for number, evaluation in self._news.get_nowait_batch(self._news.qsize()):
                self._progress.evaluated(self._begun[number].run, Evaluation(*evaluation))
        self._progress.tick()

    def _done(self, reference: Any) -> Done | None:
        try:
            return ray.get(reference)
        except ray.exceptions.RayError as error:
            return Done({"error": reason_of_ray(error, self._resources.retries + 1)})

    def _room(self) -> float:
        """For how many runs at a time there is room; nodes come and go."""
        there = ray.cluster_resources()
        wanted = {"CPU": self._resources.cpus, "GPU": self._resources.gpus}
        fitting = min((there.get(kind, 0) // n for kind, n in wanted.items() if n), default=math.inf)
        return max(1, min(fitting, self._resources.max_concurrent or math.inf))


# ---- in the worker ---------------------------------------------------------------------------------------------------


_process = {"is fresh": True}


def _tell(news: Queue, number: int, evaluation: Evaluation) -> None:
    actor: Any = news.actor
    actor.put_nowait.remote((number, tuple(evaluation)))  # without waiting for it: the run's time is measured


def _work(job: Job, splits: Splits, threads: int, tell: Tell) -> Done:
    _process["is fresh"] = False
    return work(job, splits, threads, tell)


def _work_afresh(job: Job, splits: Splits, threads: int, tell: Tell) -> Done | None:
    """None where this process has run something before."""
    if not _process["is fresh"]:
        return None
    done = _work(job, splits, threads, tell)
    return done if done.record["error"] else done._replace(record=done.record | memory())
