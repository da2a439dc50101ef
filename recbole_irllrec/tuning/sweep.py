"""A sweep: trials on Ray Tune, the best of them tested, and everything kept in a folder to go on from."""

import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from functools import partial
from itertools import accumulate
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from .. import zoo
from ..cluster import here, is_remote, on_a_node
from ..errors import IRLLRecError
from ..files import atomic_write
from ..runs.fingerprints import fingerprint
from ..runs.folder import Key, read_record, write_record
from ..runs.pool import Pool
from ..runs.progress import Progress, Watched, to_stderr, told
from ..runs.splits import config_of
from ..runs.training import popularity_of
from ..runs.worker import Job, Record
from . import report
from .plan import RETRIES, Checked, Plan, check_plan
from .recorder import KIND, Recorder, score_of
from .records import PLAN, RUNNING, Folder, Trial, best_trial, history_of
from .search import PROPOSERS, Queue
from .trial import EPOCHS, SCORE, Task, run_trial

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

__all__ = ["Checked", "Plan", "check_plan", "run"]
_REDUCTION = 3  # ASHA lets one in three go on
# Ray Tune keeps no books of its own and leaves Ctrl-C alone: the recorder keeps all that there is to go on from.
_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}


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
    found, files = on_a_node(partial(_run, checked, folder, resume), to_stderr)
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
    seeds = _run_best(checked, folder, best, say)
    return report.write(checked, folder, list(trials.values()), best, seeds, _popularity(checked, folder))


def chosen_trial(trials: Collection[Trial], task: Task) -> Trial:
    """The trial with the best evaluation of all.

    Raises:
        IRLLRecError: there is none.
    """
    best = best_trial(trials, task.objective)
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
            proposer.tell(trial, score_of(trial, task))
    trainable = tune.with_parameters(
        run_trial,
        task=task,
        splits=checked.splits.without_test(),
        states=_StatesHere.on_this_node(folder, unfinished),
    )
    os.environ.update(_QUIET)
    session = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    with Progress({KIND: len(trials) + len(numbers)}, plan.metric, say) as progress:
        for trial in trials.values():
            if trial.status != RUNNING:
                progress.made_before(KIND, trial.record)
        recorder = Recorder(folder, checked, trials, proposer, scheduler, progress)
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
            max_failures=RETRIES,
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

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.stopped: set[str] = set()
        self.reported: dict[int, list[dict[str, float]]] = {}  # by number

    def on_trial_add(self, trial_runner: "TuneController", trial: RayTrial) -> None:
        super().on_trial_add(trial_runner, trial)
        for result in self.reported.pop(trial.config["number"], ()):
            super().on_trial_result(trial_runner, trial, result)  # whatever it says: the trial went on then

    def on_trial_result(self, trial_runner: "TuneController", trial: RayTrial, result: dict[str, Any]) -> str:
        action = super().on_trial_result(trial_runner, trial, result)
        if action == TrialScheduler.STOP:
            self.stopped.add(trial.trial_id)
        return action


def _reported(trial: Trial, task: Task, folder: Folder) -> list[dict[str, float]]:
    """What a trial had reported until it ended, or until the state that it goes on from."""
    history = history_of(folder.state(trial)) if trial.status == RUNNING else trial.history
    bests = accumulate(map(task.score, history), max)
    return [{EPOCHS: e.epoch + 1, SCORE: best} for e, best in zip(history, bests, strict=True)]


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


# ---- after the trials ------------------------------------------------------------------------------------------------


def _run_best(checked: Checked, folder: Folder, best: Trial, say: Callable[[str], None]) -> dict[int, Record]:
    """What the best settings are worth: by seed, the trial's own first, validation and test, or why they failed.

    The trial itself is tested, and others are run as it was. The test set is looked at once, and what is found is kept;
    what has failed is tried again.
    """
    assert best.best
    plan, task, own_epoch = checked.plan, checked.task, best.best.epoch + 1
    settings = {**task.settings, **best.settings}
    config = config_of(task.model, checked.splits, settings)
    own, checkpoint = config["seed"], folder.checkpoint(best.number)
    key = Key(task.model, fingerprint(config, checked.splits))
    keys = {
        seed: key._replace(seed=seed) for seed in range(own, own + (plan.n_seeds if zoo.has_chance(task.model) else 1))
    }

    def is_done(seed: int) -> bool:
        record = read_record(folder.path, keys[seed])
        # a trial that was out of time may have gone on
        return record is not None and not record["error"] and (seed != own or record["best_epoch"] == own_epoch)

    def job(seed: int) -> Job:
        if seed == own and checkpoint.is_file():  # it is not of a trial that has not ended, and others have since
            return Job(task.model, settings, checkpoint=checkpoint.read_bytes())
        return Job(task.model, {**settings, "seed": seed}, tests=True)

    def watched(seed: int) -> Watched:
        tests_alone = job(seed).checkpoint is not None
        return Watched(seed, f"seed {seed}", "test" if tests_alone else "seed", 0 if tests_alone else checked.epochs)

    waiting = deque(seed for seed in keys if not is_done(seed))
    if waiting:
        kinds = Counter(watched(seed).kind for seed in waiting)
        with Progress(kinds, plan.metric, say) as progress:
            for seed, done in Pool(checked.splits, plan.resources, progress, afresh=False).run(waiting, job, watched):
                known = best.record if seed == own else {"settings": best.settings}
                record = {**known, **done.record}
                write_record(folder.path, keys[seed], record, done.users, done.items)
                progress.ended(seed, record, f"seed {seed}: {told(record, plan.metric)}")
    found = {seed: read_record(folder.path, each) for seed, each in keys.items()}
    return {seed: record for seed, record in found.items() if record is not None}


def _popularity(checked: Checked, folder: Folder) -> dict[str, float] | None:
    """The test metrics of popularity, which are kept; None as by `runs.popularity_of`."""
    about = folder.read(PLAN) or {}
    if "popularity" not in about:
        about["popularity"] = popularity_of(checked.task.model, checked.splits, checked.task.settings)
        folder.write(PLAN, about)
    return about["popularity"]
