"""A sweep: trials on Ray Tune, the best of them tested, and everything kept in a folder to go on from."""

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
from ray import tune
from ray.tune.callback import Callback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from tqdm import tqdm

from .. import zoo
from ..cluster import here, is_remote, on_a_node
from ..data.training import TrainingTokens
from ..errors import IRLLRecError
from ..files import atomic_write
from ..runs import Evaluation, Splits, config_of, popularity_of, text_sources
from . import report
from .progress import Progress
from .records import FAILED, FINISHED, RUNNING, STOPPED, Folder, Trial, best_trial, history_of
from .search import PROPOSERS, Proposer, Queue
from .space import Space, check_space, text_variants
from .trial import EPOCHS, SCORE, Task, reason_of, run_seed, run_trial, test_best

# How often a trial begins again whose process or node was lost; an error in training ends it at once.
_RETRIES = 2
_REDUCTION = 3  # ASHA lets one in three go on
# Ray Tune keeps no books of its own and leaves Ctrl-C alone: the recorder keeps all that there is to go on from.
_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}


@dataclass(frozen=True)
class Plan:
    """What a sweep is to do."""

    model: str
    space: Space
    n_trials: int
    metric: str = "NDCG@10"
    search: str = "random"  # of PROPOSERS
    scheduler: str = "asha"  # or "none"
    grace_epochs: int | None = None  # before ASHA may stop a trial; None for a tenth of all, at least 5
    seed: int = 0  # of the search
    n_seeds: int = 1  # with how many seeds of the model the best settings are run, the trial's own included
    cpus: float = 1  # for a trial
    gpus: float = 0
    max_concurrent: int | None = None
    time_budget: float | None = None  # seconds


@dataclass(frozen=True)
class Checked:
    """A plan that fits its data."""

    plan: Plan
    splits: Splits  # with the texts that trials read
    task: Task
    epochs: int
    about: dict[str, Any]  # what makes this sweep another than others, as JSON has it


def check(plan: Plan, splits: Splits) -> Checked:
    """Refuse what cannot work, and resolve the texts.

    Raises:
        IRLLRecError: a setting, the space, the metric or a text is refused.
    """
    for name, value, known in (
        ("search", plan.search, PROPOSERS),
        ("scheduler", plan.scheduler, ("asha", "none")),
    ):
        if value not in known:
            raise IRLLRecError(f"There is no {name} called {value!r}: give {' or '.join(known)}.")
    fixed = {**plan.space.fixed, "valid_metric": plan.metric}
    config = config_of(plan.model, splits, {"valid_metric": plan.metric})
    check_space(plan.space, plan.model, partial(config_of, plan.model, splits))
    config = config_of(plan.model, splits, fixed)
    if config["eval_step"] < 1:
        raise IRLLRecError(f"The setting eval_step is {config['eval_step']}, so nothing is validated: give at least 1.")
    PROPOSERS[plan.search](plan.space, plan.seed, 0)
    task = Task(plan.model, fixed, plan.metric.lower(), config["valid_metric_bigger"], max(1, int(plan.cpus)))
    variants = text_variants(plan.space)
    splits = splits.with_texts(plan.model, variants)
    sources = [text_sources(config_of(plan.model, splits, variant), splits) for variant in variants]
    return Checked(plan, splits, task, config["epochs"], _about(plan, splits, sources))


def _about(plan: Plan, splits: Splits, sources: list[list[str]]) -> dict[str, Any]:
    about = {
        "model": plan.model,
        "dataset": splits.dataset,
        "interactions": [TrainingTokens(part).fingerprint for part in (splits.train, splits.valid)],
        "texts": sources,
        "settings": splits.settings,
        "space": plan.space.as_plain(),
        "metric": plan.metric,
        "search": plan.search,
        "scheduler": plan.scheduler,
        "grace_epochs": plan.grace_epochs,
        "seed": plan.seed,
    }
    return json.loads(json.dumps(about, default=str))


def run(checked: Checked, folder: Folder, resume: bool) -> dict[str, Any]:
    """Begin or go on with a sweep on the Ray that is joined.

    By ``ray://`` the work is done on a node, in the folder of the same path there, and the results are copied here.

    Args:
        checked: the sweep.
        folder: where it is kept.
        resume: whether the folder may hold it already.

    Returns:
        What `report.write` returns.

    Raises:
        IRLLRecError: the folder holds another sweep, or this one and is not to go on with it; or no trial ends well.
    """
    found, files = on_a_node(partial(_run, checked, folder, resume), partial(tqdm.write, file=sys.stderr))
    if is_remote():
        for name, content in files.items():
            with atomic_write(folder.path / name) as file:
                file.write(content)
    return found


def _run(checked: Checked, folder: Folder, resume: bool, say: Callable[[str], None]) -> tuple[dict, dict[str, bytes]]:
    with folder.locked():
        folder.begin(checked.about, resume)
        found = sweep(checked, folder, say)
        return found, {name: (folder.path / name).read_bytes() for name in report.RESULTS}


def sweep(checked: Checked, folder: Folder, say: Callable[[str], None]) -> dict[str, Any]:
    """Run what is left of a sweep, and write its results.

    Args:
        checked: the sweep.
        folder: where it is kept.
        say: gets a line at the end of each trial.

    Returns:
        What `report.write` returns.

    Raises:
        IRLLRecError: no trial has ended well.
    """
    trials = folder.trials()
    _run_trials(checked, folder, trials, say)
    best = chosen_trial(trials.values(), checked.task)
    splits = ray.put(checked.splits)
    seeds = [_test_best(checked, splits, folder, best)]
    seeds += _run_seeds(checked, splits, folder, best, seeds[0]["seed"])
    return report.write(checked, folder, list(trials.values()), best, seeds, _popularity(checked, folder))


def chosen_trial(trials: Collection[Trial], task: Task) -> Trial:
    """The trial with the best evaluation of all.

    Raises:
        IRLLRecError: there is none.
    """
    best = best_trial(trials, task.score)
    if best is None:
        reasons = [f"trial {trial.number} failed: {trial.reason}" for trial in trials if trial.reason]
        raise IRLLRecError(
            f"No trial has ended well ({'; '.join(reasons[:1]) or 'none was validated'}): change the space, or give "
            f"more time."
        )
    return best


# ---- trials ----------------------------------------------------------------------------------------------------------


def _run_trials(checked: Checked, folder: Folder, trials: dict[int, Trial], say: Callable[[str], None]) -> None:
    """Run the trials that have not ended; they are added to those at hand."""
    plan, task = checked.plan, checked.task
    unfinished = [trial for trial in trials.values() if trial.status == RUNNING]
    n_trials = len(plan.space.grid) if plan.space.is_grid_only else plan.n_trials
    numbers = [number for number in range(1, n_trials + 1) if number not in trials]
    if not unfinished and not numbers:
        return
    for number in numbers:  # of trials whose records somebody has deleted
        folder.drop_state(number)
    proposer = PROPOSERS[plan.search](plan.space, plan.seed, len(trials))
    scheduler = _scheduler(checked, trials.values(), folder)
    for trial in trials.values():
        if trial.status != RUNNING:
            proposer.tell(trial, _score(trial, task))
    trainable = tune.with_parameters(
        run_trial,
        task=task,
        splits=checked.splits.without_test(),
        states=_StatesHere.on_this_node(folder, unfinished),
    )
    os.environ.update(_QUIET)
    session = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    with Progress(plan.metric, task, trials, n_trials, say) as progress:
        recorder = _Recorder(folder, task, trials, proposer, scheduler, progress)
        tune.run(
            trainable,
            name=session,
            storage_path=str(folder.path / "ray"),
            search_alg=Queue(unfinished, numbers, proposer),
            scheduler=scheduler,
            num_samples=len(unfinished) + len(numbers),
            resources_per_trial={"cpu": plan.cpus, "gpu": plan.gpus},
            max_concurrent_trials=plan.max_concurrent,
            time_budget_s=plan.time_budget,
            max_failures=_RETRIES,
            callbacks=[recorder],
            trial_name_creator=lambda trial: f"{trial.config['number']:04}",
            trial_dirname_creator=lambda trial: f"{trial.config['number']:04}",
            raise_on_failed_trial=False,
            reuse_actors=True,
            verbose=0,
        )
        recorder.out_of_time()
    if all(trial.status != RUNNING for trial in trials.values()):
        for rest in ("ray", "unfinished"):  # there is nothing to go on from
            shutil.rmtree(folder.path / rest, ignore_errors=True)


def _scheduler(checked: Checked, trials: Collection[Trial], folder: Folder) -> TrialScheduler:
    """A scheduler that knows what the trials of earlier processes had reported."""
    if checked.plan.scheduler == "none":
        return FIFOScheduler()
    grace = checked.plan.grace_epochs or max(5, checked.epochs // 10)
    # it would stop a trial at the last epoch itself, before that has ended
    most = checked.epochs + 1
    scheduler = _Asha(EPOCHS, SCORE, "max", max_t=most, grace_period=min(grace, most), reduction_factor=_REDUCTION)
    scheduler.reported = {trial.number: _reported(trial, checked.task, folder) for trial in trials}
    for trial in trials:
        if trial.status != RUNNING:  # Ray adds the others
            ended: Any = SimpleNamespace(trial_id=f"ended {trial.number}", config={"number": trial.number})
            scheduler.on_trial_add(None, ended)  # type: ignore[arg-type]
    return scheduler


class _Asha(ASHAScheduler):
    """ASHA, which knows whom it has stopped, and what trials reported before they were added."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.stopped: set[str] = set()
        self.reported: dict[int, list[dict[str, float]]] = {}  # by number

    def on_trial_add(self, trial_runner, trial):
        super().on_trial_add(trial_runner, trial)
        for result in self.reported.pop(trial.config["number"], ()):
            super().on_trial_result(trial_runner, trial, result)  # whatever it says: the trial went on then

    def on_trial_result(self, trial_runner, trial, result):
        action = super().on_trial_result(trial_runner, trial, result)
        if action == TrialScheduler.STOP:
            self.stopped.add(trial.trial_id)
        return action


def _reported(trial: Trial, task: Task, folder: Folder) -> list[dict[str, float]]:
    """What a trial had reported until it ended, or until the state that it goes on from."""
    history = history_of(folder.state(trial)) if trial.status == RUNNING else trial.history
    bests = accumulate(map(task.score, history), max)
    return [{EPOCHS: e.epoch + 1, SCORE: best} for e, best in zip(history, bests, strict=True)]


def _score(trial: Trial, task: Task) -> float:
    return math.nan if trial.status == FAILED or trial.best is None else task.score(trial.best)


class _StateKeeper:
    """Keeps trials' files in the sweep's folder; an actor on the node that runs the sweep."""

    def __init__(self, folder: Folder, unfinished: list[Trial]):
        self._folder, self._unfinished = folder, {trial.number: trial for trial in unfinished}

    def keep(self, number: int, files: dict[str, bytes]) -> None:
        self._folder.keep_state(number, files)

    def read(self, number: int) -> dict[str, bytes]:
        return self._folder.state(self._unfinished.get(number) or Trial(number, {}))


class _StatesHere:
    """What trials know of the keeper, wherever they run; see `trial.States`."""

    def __init__(self, keeper: Any):
        self._keeper = keeper

    @classmethod
    def on_this_node(cls, folder: Folder, unfinished: list[Trial]) -> "_StatesHere":
        return cls(ray.remote(**here())(_StateKeeper).remote(folder, unfinished))

    def keep(self, number: int, files: dict[str, bytes]) -> None:
        ray.get(self._keeper.keep.remote(number, files))

    def read(self, number: int) -> dict[str, bytes]:
        return ray.get(self._keeper.read.remote(number))


class _Recorder(Callback):
    """Keeps what the trials report, at once."""

    def __init__(self, folder, task: Task, trials: dict[int, Trial], proposer: Proposer, scheduler, progress: Progress):
        self._folder, self._task, self._trials = folder, task, trials
        self._proposer, self._scheduler, self._progress = proposer, scheduler, progress
        self._ended: dict[int, dict[str, Any]] = {}  # what trials say when they end by themselves

    def on_trial_start(self, iteration, trials, trial, **info):
        config = trial.config
        found = self._trials.setdefault(config["number"], Trial(config["number"], config["settings"], config["params"]))
        self._folder.keep(found)
        self._progress.going_on(found)

    def on_trial_result(self, iteration, trials, trial, result, **info):
        found = self._of(trial)
        for evaluation in result.get("evaluations", ()):
            found.evaluated(Evaluation(**evaluation))
        if "finished" in result or "failed" in result:
            self._ended[found.number] = result
        else:
            self._folder.keep(found)
            self._progress.going_on(found)

    def on_trial_complete(self, iteration, trials, trial, **info):
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

    def on_trial_error(self, iteration, trials, trial, **info):
        found = self._of(trial)
        found.status = FAILED
        found.traceback = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
        found.reason = report.reason_of_loss(found.traceback, trial.num_failures)
        self._end(found)

    def out_of_time(self) -> None:
        """Take the trials that have been cut short as their states have them."""
        for found in self._trials.values():
            if found.status == RUNNING:
                if state := self._folder.state(found):
                    found.history = history_of(state)
                    self._folder.keep(found)
                    self._keep_if_best(found)
                self._progress.ended(found)

    def _of(self, trial) -> Trial:
        return self._trials[trial.config["number"]]

    def _end(self, found: Trial) -> None:
        if found.status != FAILED:
            self._keep_if_best(found)
        found.checkpoint = None
        self._folder.keep(found)
        self._folder.drop_state(found.number)
        self._proposer.tell(found, _score(found, self._task))
        self._progress.ended(found)

    def _keep_if_best(self, found: Trial) -> None:
        """Keep the best trial's checkpoint and no other's: they are large."""
        others = [path for path in self._folder.path.glob("checkpoints/*.pth")]
        rivals = [self._trials[int(path.stem)] for path in others]
        if best_trial([*rivals, found], self._task.score) is not found or not (state := self._folder.state(found)):
            return
        kept = self._folder.checkpoint(found.number)
        with atomic_write(kept) as file:
            file.write(state["best.pth"])
        for path in others:
            if path != kept:
                path.unlink()


# ---- after the trials ------------------------------------------------------------------------------------------------


def _remote(function, plan: Plan):
    return ray.remote(num_cpus=plan.cpus, num_gpus=plan.gpus, max_retries=_RETRIES)(function)


def _test_best(checked: Checked, splits: ray.ObjectRef, folder: Folder, best: Trial) -> dict[str, Any]:
    """What the best trial is worth: validation and test metrics, or why they failed, which is tried again.

    Test metrics are looked at once, and kept.
    """
    assert best.best
    task, epoch = checked.task, best.best.epoch
    found = folder.read("best.json")
    if found and (found["trial"], found["epoch"]) == (best.number, epoch):
        return found
    seed = config_of(task.model, checked.splits, {**task.settings, **best.settings})["seed"]
    checkpoint = folder.checkpoint(best.number)
    found = {"seed": seed, "epoch": epoch, "seconds": best.best.seconds, "valid": best.best.metrics}
    try:
        if checkpoint.is_file():
            tested = _remote(test_best, checked.plan).remote(task, splits, best.settings, checkpoint.read_bytes())
            found["test"] = ray.get(tested)
        else:  # of a trial that has not ended, and others have since
            found = ray.get(_remote(run_seed, checked.plan).remote(task, splits, best.settings, seed))
    except ray.exceptions.RayError as error:
        return {**found, "failed": _reason(error)}
    found = {"trial": best.number, **found}
    folder.write("best.json", found)
    return found


def _popularity(checked: Checked, folder: Folder) -> dict[str, float] | None:
    """The test metrics of popularity, which are kept; None as by `runs.popularity_of`."""
    found = folder.read("popularity.json")
    if found is None:
        found = {"test": popularity_of(checked.task.model, checked.splits, checked.task.settings)}
        folder.write("popularity.json", found)
    return found["test"]


def _run_seeds(checked: Checked, splits: ray.ObjectRef, folder: Folder, best: Trial, own: int) -> list[dict[str, Any]]:
    """The best settings with other seeds than the trial's own: validation and test metrics of each, or why it failed.

    Those that had failed are run again.
    """
    plan, task = checked.plan, checked.task
    wanted = range(own + 1, own + (plan.n_seeds if zoo.has_chance(task.model) else 1))
    kept = folder.read("seeds.json") or {}
    before = kept["runs"] if kept.get("settings") == best.settings else []
    runs = {run["seed"]: run for run in before if "failed" not in run}
    work = _remote(run_seed, plan)
    waiting = {work.remote(task, splits, best.settings, seed): seed for seed in wanted if seed not in runs}
    with tqdm(total=len(waiting), desc="seeds of the best", unit="run", disable=not waiting) as bar:
        while waiting:
            (ready,), _ = ray.wait(list(waiting))
            seed = waiting.pop(ready)
            try:
                runs[seed] = ray.get(ready)
            except ray.exceptions.RayError as error:
                runs[seed] = {"seed": seed, "failed": _reason(error)}
            folder.write("seeds.json", {"settings": best.settings, "runs": [runs[seed] for seed in sorted(runs)]})
            bar.update()
    return [runs[seed] for seed in wanted]


def _reason(error: ray.exceptions.RayError) -> str:
    """Why a test or a seed failed, in a line: what was raised, or what became of the process."""
    if isinstance(error, ray.exceptions.RayTaskError):
        return reason_of(error.cause)
    return report.reason_of_loss(str(error), _RETRIES + 1)
