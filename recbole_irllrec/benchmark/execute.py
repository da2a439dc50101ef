"""Runs a benchmark on Ray: as many runs at a time as there is room for, each that counts in a fresh process."""

import math
import os
import platform
import resource
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd
import ray
import torch
from recbole.evaluator.register import smaller_metrics
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .. import __version__
from ..runs import Run, Settings, Splits, config_of, train
from ..tuning.trial import reason_of
from .plan import TRIAL_SEED, Row, fingerprint, tuned_file
from .results import Key, Plan, Record, read_record, write_plan, write_record


@dataclass(frozen=True)
class Resources:
    """What runs may use."""

    cpus: float = 1
    gpus: float = 0
    max_concurrent: int | None = None  # None for as many as there is room for
    retries: int = 0  # of a run whose process has died, or its node


class _Task(NamedTuple):
    """A run to be made."""

    row: Row
    drawn: Settings
    key: Key

    def __str__(self) -> str:
        return f"{self.row.name}, {'a trial' if self.key.seed is None else f'seed {self.key.seed}'}"


def execute(rows: Sequence[Row], n_seeds: int, splits: Splits, folder: Path, plan: Plan, resources: Resources) -> None:
    """Make the runs that the folder lacks, and keep each when it has ended; Ray is connected.

    Args:
        rows: the rows of the table.
        n_seeds: how many runs each has with its chosen settings; one of those without chance.
        splits: of all runs.
        folder: where runs are kept; failed ones in it are made again.
        plan: what the folder knows; gets what is chosen for each row.
        resources: of a run, and of all.

    Raises:
        IRLLRecError: a setting or a text is refused; nothing has run.
    """
    for model in dict.fromkeys(row.model for row in rows):
        variants = [row.settings(drawn) for row in rows if row.model == model for drawn in row.drawn]
        splits = splits.with_texts(model, variants)
    trials = {row.name: [_trial(row, drawn, splits) for drawn in row.drawn] for row in rows}
    n_runs = sum(len(row.seeds(n_seeds)) + (len(row.drawn) if row.is_drawn else 0) for row in rows)
    with _Progress(n_runs) as progress:
        _Execution(trials, n_seeds, splits, folder, plan, resources, progress).run()


def _trial(row: Row, drawn: Settings, splits: Splits) -> _Task:
    config = config_of(row.model, splits, row.settings(drawn))
    return _Task(row, drawn, Key(row.name, fingerprint(config, splits)))


class _Execution:
    """One execution: what waits, what runs, and what has ended."""

    def __init__(
        self,
        trials: dict[str, list[_Task]],  # by row
        n_seeds: int,
        splits: Splits,
        folder: Path,
        plan: Plan,
        resources: Resources,
        progress: "_Progress",
    ):
        self._trials, self._n_seeds, self._folder, self._plan = trials, n_seeds, folder, plan
        self._resources, self._progress = resources, progress
        self._splits = {True: ray.put(splits), False: ray.put(splits.without_test())}  # by whether a run tests
        needs: dict[str, Any] = {
            "num_cpus": resources.cpus,
            "num_gpus": resources.gpus,
            "max_retries": resources.retries,
        }
        self._work = {True: ray.remote(max_calls=1, **needs)(_work), False: ray.remote(**needs)(_work)}
        self._order = list(dict.fromkeys([*plan["models"], *trials]))  # of the rows, whichever is ready first
        self._waiting: deque[_Task] = deque()
        self._running: dict[Any, _Task] = {}  # by the references to their results

    def run(self) -> None:
        """Until nothing waits and nothing runs."""
        for tasks in self._trials.values():
            if tasks[0].row.is_drawn:
                self._waiting.extend(self._missing(tasks))
        for name in self._trials:
            self._choose(name)
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self._room():
                self._start(self._waiting.popleft())
            (reference, *_), _ = ray.wait(list(self._running), num_returns=1)
            self._keep(self._running.pop(reference), reference)

    def _missing(self, tasks: Sequence[_Task]) -> list[_Task]:
        """Those without a record of success."""
        records = [read_record(self._folder, task.key) for task in tasks]
        missing = [task for task, record in zip(tasks, records, strict=True) if record is None or record["error"]]
        self._progress.less(len(tasks) - len(missing))
        return missing

    def _room(self) -> float:
        """For how many runs at a time there is room; nodes come and go."""
        there = ray.cluster_resources()
        wanted = {"CPU": self._resources.cpus, "GPU": self._resources.gpus}
        fitting = min((there.get(kind, 0) // n for kind, n in wanted.items() if n), default=math.inf)
        return max(1, min(fitting, self._resources.max_concurrent or math.inf))

    def _start(self, task: _Task) -> None:
        tests = task.key.seed is not None
        settings = {**task.row.settings(task.drawn), "seed": task.key.seed if tests else TRIAL_SEED}
        threads = max(1, int(self._resources.cpus))
        reference = self._work[tests].remote(task.row.model, self._splits[tests], settings, tests, threads)
        self._running[reference] = task

    def _keep(self, task: _Task, reference: Any) -> None:
        """Keep a run that has ended."""
        try:
            found = ray.get(reference)
        except ray.exceptions.RayError as error:
            found = {"error": _reason(error)}, None
        if found is None:  # the process was not a fresh one, and is gone now
            self._waiting.appendleft(task)
            return
        record, users = found
        write_record(self._folder, task.key, {"settings": task.drawn, **record}, users)
        self._progress.ended(f"{task}: {_told(record, self._plan['valid_metric'])}")
        if task.key.seed is None:
            self._choose(task.row.name)

    def _choose(self, name: str) -> None:
        """Once a row's trials have ended: choose its settings, whose runs come first from now on."""
        if any(task.row.name == name for task in (*self._waiting, *self._running.values())):
            return
        tasks = self._trials[name]
        row = tasks[0].row
        best = _best(tasks, self._folder, self._plan["valid_metric"]) if row.is_drawn else tasks[0]
        models = self._plan["models"]
        models[name] = {
            "model": row.model,
            "common": row.common,
            "tunable": row.tunable,
            "tune_samples": row.tune_samples,
            "space": row.origin,
            "tuned_file": tuned_file(row, self._plan["dataset"]),
            "trials": [task.key.settings for task in tasks] if row.is_drawn else [],
            "chosen": best and {**best.drawn, **row.fixed},
            "run": best and best.key.settings,
        }
        self._plan["models"] = {each: models[each] for each in self._order if each in models}
        write_plan(self._folder, self._plan)
        if best is None:
            self._progress.less(len(row.seeds(self._n_seeds)))
            return
        runs = [best._replace(key=best.key._replace(seed=seed)) for seed in row.seeds(self._n_seeds)]
        self._waiting.extendleft(reversed(self._missing(runs)))


class _Progress:
    """A line a run on standard error, with the time left, and a bar for terminals."""

    def __init__(self, total: int):
        self._ended, self._total, self._begun = 0, total, time.monotonic()
        self._bar = tqdm(total=total, unit="run", desc="runs", smoothing=0, disable=not sys.stderr.isatty())

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def less(self, n: int) -> None:
        """So many runs need not be made."""
        self._total -= n
        self._bar.total = self._total
        self._bar.refresh()

    def ended(self, line: str) -> None:
        """A run has ended."""
        self._ended += 1
        self._bar.update()
        seconds = (time.monotonic() - self._begun) / self._ended * (self._total - self._ended)
        tqdm.write(f"[{self._ended}/{self._total}, {tqdm.format_interval(seconds)} left] {line}", file=sys.stderr)


def _best(tasks: Sequence[_Task], folder: Path, metric: str) -> _Task | None:
    """The trial with the best validation; None if all have failed."""
    records = [(task, read_record(folder, task.key)) for task in tasks]
    well = [(record["valid"][metric.lower()], task) for task, record in records if record and not record["error"]]
    choose = min if metric.lower().partition("@")[0] in smaller_metrics else max
    return choose(well, key=lambda found: found[0], default=(None, None))[1]


def _told(record: Record, metric: str) -> str:
    """What a person reads of a run that has ended."""
    if record["error"]:
        return f"failed: {record['error']}"
    return (
        f"{metric} {record['valid'][metric.lower()]:.4f} on validation, epoch {record['best_epoch']} of "
        f"{record['epochs']}, {record['seconds']:.0f} s"
    )


def _reason(error: Exception) -> str:
    """What was raised, in one line."""
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "out of memory: Ray ended it before the machine's memory was used up"
    if isinstance(error, ray.exceptions.RayTaskError):
        error = error.cause
    return reason_of(error)


# ---- in the worker ---------------------------------------------------------------------------------------------------


_process = {"is fresh": True}


def _work(
    model: str, splits: Splits, settings: Settings, tests: bool, threads: int
) -> tuple[Record, pd.DataFrame | None] | None:
    """Train, and test where that is wanted.

    Returns:
        The run's record, and its test metrics by user. What was raised is told in the record. None where a test is
        wanted, whose process is measured, and this one has run something before.
    """
    if tests and not _process["is fresh"]:
        return None
    _process["is fresh"] = False
    import torch._dynamo  # else an optimizer does, in the time of training

    torch.set_num_threads(threads)
    with threadpool_limits(threads), TemporaryDirectory(prefix="irllrec-") as own:
        try:
            run = train(model, splits, settings, own)
            record = _validated(run)
            if not tests:
                return record, None
            tested = run.test()
        except Exception as error:  # whatever it is, the other runs go on
            return {"error": _reason(error)}, None
    history = [
        {"epoch": e.epoch + 1, "seconds": e.seconds, "metrics": e.metrics, "losses": e.losses} for e in run.history
    ]
    about = {"machine": _machine(), "threads": threads, "versions": _versions()}
    measured = {"test": tested.metrics, "inference_seconds": tested.seconds, **_memory()}
    return {**record, **measured, **about, "history": history}, tested.per_user


def _validated(run: Run) -> Record:
    return {
        "error": None,
        "valid": run.best.metrics,
        "best_epoch": run.best.epoch + 1,
        "epochs": run.history[-1].epoch + 1,
        "parameters": run.n_parameters,
        "seconds": run.seconds,
        "seconds_to_best": run.best.seconds,
    }


def _memory() -> dict[str, int]:
    """The largest memory of this process so far, in bytes; on a GPU, that of its tensors."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.cuda.is_available():
        found["peak_gpu_memory"] = torch.cuda.max_memory_allocated()
    return found


def _machine() -> str:
    """The processor, its cores, the memory, the GPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([processor, f"{os.cpu_count()} cores", f"{memory:.0f} GiB", *gpu])


def _versions() -> str:
    packages = [f"{name} {metadata.version(name)}" for name in ("recbole", "torch", "numpy")]
    return ", ".join([f"recbole-irllrec {__version__}", *packages, f"Python {platform.python_version()}"])
