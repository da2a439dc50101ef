"""A trial on a worker of Ray Tune's."""

import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ray import tune

from ..objective import Objective
from ..runs.splits import Splits
from ..runs.training import Evaluation, best_of, read_history
from ..runs.worker import Job, attempt
from .records import STATE, history_of

SCORE, EPOCHS = "score", "epochs"  # what ASHA compares, and by what it is reached


class Task(NamedTuple):
    """What all trials of a sweep share."""

    model: str
    settings: dict[str, Any]  # below the trial's own
    objective: Objective
    threads: int

    def score(self, evaluation: Evaluation) -> float:
        """The higher the better."""
        return self.objective.score(evaluation.metrics)


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
    state = states.read(config["number"])
    with tempfile.TemporaryDirectory(prefix="irllrec-") as own:
        folder = Path(own)
        for name, content in state.items():
            (folder / name).write_bytes(content)
        _run_trial(config, task, splits, states, folder, history_of(state))


def _run_trial(
    config: dict[str, Any], task: Task, splits: Splits, states: States, folder: Path, unsaid: list[Evaluation]
) -> None:
    """See `run_trial`; ``unsaid`` was perhaps not reported: a process can be lost between keeping and reporting."""
    last = {SCORE: math.nan, EPOCHS: 0}

    def tell(**more: Any) -> None:
        tune.report({**last, "evaluations": [evaluation._asdict() for evaluation in unsaid], **more})
        unsaid.clear()

    def report(evaluation: Evaluation) -> None:
        last.update({SCORE: task.score(best_of(read_history(folder))), EPOCHS: evaluation.epoch + 1})
        states.keep(
            config["number"], {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix in STATE}
        )
        unsaid.append(evaluation)
        tell()

    job = Job(task.model, {**task.settings, **config["settings"]})
    record = attempt(job, splits, task.threads, folder, on_evaluation=report, resume=True).record
    if record["error"]:
        tell(failed=record["error"], traceback=record["traceback"])
    else:
        tell(finished=True)
