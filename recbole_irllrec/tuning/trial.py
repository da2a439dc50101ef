"""What happens on a Ray worker: one trial, or one run of the best settings."""

import math
import tempfile
import traceback
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from ray import tune

from ..errors import IRLLRecError
from ..runs import Evaluation, Splits, best_of, read_history, test, train
from .records import STATE, history_of

SCORE, EPOCHS = "score", "epochs"  # what ASHA compares, and by what it is reached


class Task(NamedTuple):
    """What all trials of a sweep share."""

    model: str
    settings: dict[str, Any]  # below the trial's own
    metric: str  # as RecBole reports it
    bigger_is_better: bool
    n_threads: int

    def score(self, evaluation: Evaluation) -> float:
        """The higher the better."""
        return evaluation.metrics[self.metric] * (1 if self.bigger_is_better else -1)


class _NotANumber(Exception):
    pass


class States(Protocol):
    """The files of trials that have not ended, kept where the sweep runs: nodes need not share a file system."""

    def keep(self, number: int, files: dict[str, bytes]) -> None:
        """Keep a trial's files in place of those kept before."""

    def read(self, number: int) -> dict[str, bytes]:
        """What was kept last; nothing of a trial that begins."""


def run_trial(config: dict[str, Any], task: Task, splits: Splits, states: States) -> None:
    """Train with a trial's settings; keep the run's files at every evaluation, and report it to Ray Tune.

    An error of the training itself is reported as the trial's end; Ray runs a trial again whose process was lost.

    Args:
        config: ``number`` and ``settings`` of the trial.
        task: what all trials share.
        splits: without the test set.
        states: what a trial goes on from that was lost, or that an earlier sweep has left unfinished.
    """
    torch.set_num_threads(task.n_threads)
    state = states.read(config["number"])
    with tempfile.TemporaryDirectory(prefix="irllrec-") as folder:
        _write(Path(folder), state)
        _run_trial(config, task, splits, states, Path(folder), history_of(state))


def _run_trial(
    config: dict[str, Any], task: Task, splits: Splits, states: States, folder: Path, unsaid: list[Evaluation]
) -> None:
    """See `run_trial`; ``unsaid`` was perhaps not reported: a process can be lost between keeping and reporting."""
    last = {SCORE: math.nan, EPOCHS: 0}

    def tell(**more: Any) -> None:
        tune.report({**last, "evaluations": [evaluation._asdict() for evaluation in unsaid], **more})
        unsaid.clear()

    def report(evaluation: Evaluation) -> None:
        value = evaluation.metrics[task.metric]
        if not math.isfinite(value):
            raise _NotANumber(f"the validation metric {task.metric} is {value} after epoch {evaluation.epoch}")
        last.update({SCORE: task.score(best_of(read_history(folder))), EPOCHS: evaluation.epoch + 1})
        states.keep(
            config["number"], {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix in STATE}
        )
        unsaid.append(evaluation)
        tell()

    try:
        train(task.model, splits, {**task.settings, **config["settings"]}, folder, on_evaluation=report, resume=True)
    except Exception as error:
        tell(failed=reason_of(error), traceback=traceback.format_exc())
    else:
        tell(finished=True)


def reason_of(error: BaseException) -> str:
    """Why a trial failed, in a line."""
    said = " ".join(str(error).split())
    if isinstance(error, IRLLRecError | _NotANumber):
        return said
    # torch has no exception of its own for the CPU's memory
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "DefaultCPUAllocator" in said:
        return f"out of memory{': ' if said else ''}{said}"
    return f"{type(error).__name__}: {said}"


def test_best(task: Task, splits: Splits, settings: dict[str, Any], checkpoint: bytes) -> dict[str, float]:
    """The test metrics of the best trial, whose checkpoint this is."""
    torch.set_num_threads(task.n_threads)
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), {"best.pth": checkpoint})
        return test(task.model, splits, {**task.settings, **settings}, Path(folder) / "best.pth").metrics


def run_seed(task: Task, splits: Splits, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train with the best settings and another seed; returns its validation and test metrics."""
    torch.set_num_threads(task.n_threads)
    with tempfile.TemporaryDirectory() as folder:
        run = train(task.model, splits, {**task.settings, **settings, "seed": seed}, folder)
        return {
            "seed": seed,
            "epoch": run.best.epoch,
            "seconds": run.seconds,
            "valid": run.best.metrics,
            "test": run.test().metrics,
        }


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)
