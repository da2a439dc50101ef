"""What happens on a Ray worker: one trial, or one run of the best settings."""

import math
import shutil
import tempfile
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ray.air import Checkpoint, session

from ..errors import IRLLRecError
from ..runs import Evaluation, Splits, best_of, read_history, test, train

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


def run_trial(config: dict[str, Any], task: Task, splits: Splits, checkpoints: dict[int, dict[str, bytes]]) -> None:
    """Train with a trial's settings and report every evaluation to Ray Tune, with a checkpoint.

    An error of the training itself is reported as the trial's end; Ray runs a trial again whose process was lost.

    Args:
        config: ``number`` and ``settings`` of the trial.
        task: what all trials share.
        splits: without the test set.
        checkpoints: the files of trials that an earlier sweep has left unfinished, by number.
    """
    torch.set_num_threads(task.n_threads)
    folder = Path(session.get_trial_dir()) / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if (checkpoint := session.get_checkpoint()) is not None:
        checkpoint.to_directory(str(folder))
    else:
        _write(folder, checkpoints.get(config["number"], {}))
    last = {SCORE: math.nan, EPOCHS: 0}

    def report(evaluation: Evaluation) -> None:
        value = evaluation.metrics[task.metric]
        if not math.isfinite(value):
            raise _NotANumber(f"the validation metric {task.metric} is {value} after epoch {evaluation.epoch}")
        last.update({SCORE: task.score(best_of(read_history(folder))), EPOCHS: evaluation.epoch + 1})
        session.report({**last, "evaluation": evaluation._asdict()}, checkpoint=Checkpoint.from_directory(str(folder)))

    try:
        train(task.model, splits, {**task.settings, **config["settings"]}, folder, on_evaluation=report, resume=True)
    except Exception as error:
        session.report({**last, "failed": reason_of(error), "traceback": traceback.format_exc()})
    else:
        session.report({**last, "finished": True})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
