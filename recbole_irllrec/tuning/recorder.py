"""What trials report, kept at once and told."""

import math
from pathlib import Path
from typing import Any

from ray.tune.callback import Callback
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import TrialScheduler

from ..failures import reason_of_loss
from ..files import atomic_write
from ..runs.progress import Progress, Watched, told
from ..runs.training import Evaluation
from .plan import Checked
from .records import FAILED, FINISHED, RUNNING, STOPPED, Folder, Trial, best_trial, history_of
from .search import Proposer
from .trial import Task

KIND = "trial"  # of runs


def score_of(trial: Trial, task: Task) -> float:
    """The higher the better; NaN of a trial that has failed."""
    return math.nan if trial.status == FAILED or trial.best is None else task.score(trial.best)


class Recorder(Callback):
    """Keeps what the trials report, at once."""

    def __init__(
        self,
        folder: Folder,
        checked: Checked,
        trials: dict[int, Trial],
        proposer: Proposer,
        scheduler: TrialScheduler,
        progress: Progress,
    ):
        self._folder, self._task, self._epochs, self._trials = folder, checked.task, checked.epochs, trials
        self._proposer, self._scheduler, self._progress = proposer, scheduler, progress
        self._ended: dict[int, dict[str, Any]] = {}  # what trials say when they end by themselves

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        config = trial.config
        found = self._trials.setdefault(config["number"], Trial(config["number"], config["settings"], config["params"]))
        self._folder.keep(found)
        self._progress.began(Watched(found.number, f"trial {found.number}", KIND, self._epochs))

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict[str, Any], **info: Any
    ) -> None:
        found = self._of(trial)
        for evaluation in result.get("evaluations", ()):
            found.evaluated(Evaluation(**evaluation))
            self._progress.evaluated(found.number, found.history[-1])
        if "finished" in result or "failed" in result:
            self._ended[found.number] = result
        else:
            self._folder.keep(found)
            self._progress.standing(self._standing())

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        self._progress.tick()

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        found, said = self._of(trial), self._ended.pop(trial.config["number"], {})
        if "failed" in said:
            found.status, found.reason, found.traceback = FAILED, said["failed"], said["traceback"]
        elif "finished" in said:
            found.status = FINISHED
        elif trial.trial_id in getattr(self._scheduler, "stopped", ()):
            found.status = STOPPED
        else:
            return  # `out_of_time`
        self._end(found)

    def on_trial_error(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        found = self._of(trial)
        found.status = FAILED
        found.traceback = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
        found.reason = reason_of_loss(found.traceback, trial.num_failures)
        self._end(found)

    def out_of_time(self) -> None:
        """Take the trials that have been cut short as their states have them."""
        for found in self._trials.values():
            if found.status == RUNNING:
                if state := self._folder.state(found):
                    found.history = history_of(state)
                    self._folder.keep(found)
                    self._keep_if_best(found)
                self._tell(found)

    def _of(self, trial: RayTrial) -> Trial:
        return self._trials[trial.config["number"]]

    def _end(self, found: Trial) -> None:
        if found.status != FAILED:
            self._keep_if_best(found)
        found.checkpoint = None
        self._folder.keep(found)
        self._folder.drop_state(found.number)
        self._proposer.tell(found, score_of(found, self._task))
        self._tell(found)

    def _keep_if_best(self, found: Trial) -> None:
        """Keep the best trial's checkpoint and no other's: they are large."""
        others = [path for path in self._folder.path.glob("checkpoints/*.pth")]
        # somebody may have deleted a trial's record
        rivals = [self._trials[number] for path in others if (number := int(path.stem)) in self._trials]
        if best_trial([*rivals, found], self._task.objective) is not found or not (state := self._folder.state(found)):
            return
        kept = self._folder.checkpoint(found.number)
        with atomic_write(kept) as file:
            file.write(state["best.pth"])
        for path in others:
            if path != kept:
                path.unlink()

    # ---- what is told ------------------------------------------------------------------------------------------------

    def _tell(self, found: Trial) -> None:
        record = found.record
        parts = [told(record, self._task.objective.title)] if found.reason or found.history else []
        drawn = ", ".join(f"{name} {_short(value)}" for name, value in found.settings.items())
        line = f"trial {found.number}: {', '.join([*parts, *_HOW[found.status]])} ({drawn})"
        self._progress.standing(self._standing())
        self._progress.ended(found.number, None if found.status == RUNNING else record, line)

    def _standing(self) -> str:
        objective = self._task.objective
        best = best_trial(self._trials.values(), objective)
        if best is None or best.best is None:
            return "no best yet"
        return f"best {objective.title} {best.best.metrics[objective.metric]:.4f} (trial {best.number})"


_HOW = {
    FINISHED: ["finished"],
    STOPPED: ["stopped by ASHA"],
    FAILED: [],
    RUNNING: ["out of time (--resume goes on)"],
}


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
