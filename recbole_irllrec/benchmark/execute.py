"""Makes the runs of a benchmark that its folder lacks: a row's trials, and then the settings that they chose."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..objective import Objective
from ..runs.fingerprints import default_tables, fingerprint
from ..runs.folder import Key, read_record, write_record
from ..runs.pool import Pool, Resources
from ..runs.progress import Progress, Watched, to_stderr, told
from ..runs.splits import Settings, Splits, config_of
from ..runs.training import most_epochs
from ..runs.worker import Job
from .plan import TRIAL_SEED, Row, tuned_file, with_tables
from .results import Plan, write_plan


class _Task(NamedTuple):
    """A run to be made."""

    row: Row
    drawn: Settings
    key: Key
    epochs: int  # at most

    def __str__(self) -> str:
        return f"{self.row.name}, {'a trial' if self.key.seed is None else f'seed {self.key.seed}'}"


def execute(
    rows: Sequence[Row],
    n_seeds: int,
    splits: Splits,
    folder: Path,
    plan: Plan,
    resources: Resources,
    say: Callable[[str], None] = to_stderr,
    afresh: bool = True,
) -> None:
    """Make the runs that the folder lacks, and keep each when it has ended; Ray is connected.

    Args:
        rows: the rows of the table.
        n_seeds: how many runs each has with its chosen settings; one of those without chance.
        splits: of all runs.
        folder: where runs are kept; failed ones in it are made again.
        plan: what the folder knows; gets what default texts are made of, and what is chosen for each row.
        resources: of a run, and of all.
        say: gets a line at the end of each run.
        afresh: as of `pool.Pool`.

    Raises:
        IRLLRecError: a setting or a text is refused, or the folder's runs had other texts; nothing has run.
    """
    drawn = [
        (row, settings, config_of(row.model, splits, row.settings(settings))) for row in rows for settings in row.drawn
    ]
    configs = [config for _, _, config in drawn]
    plan |= with_tables(plan, default_tables(configs, splits), folder)
    write_plan(folder, plan)
    splits = splits.with_texts(configs).with_fakes(configs)
    trials: dict[str, list[_Task]] = {row.name: [] for row in rows}
    for row, settings, config in drawn:
        trials[row.name].append(_Task(row, settings, Key(row.name, fingerprint(config, splits)), most_epochs(config)))
    n_runs = {row.name: len(row.seeds(n_seeds)) + (len(row.drawn) if row.is_drawn else 0) for row in rows}
    with Progress(n_runs, plan["valid_metric"], say) as progress:
        _Execution(trials, n_seeds, folder, plan, progress).run(Pool(splits, resources, progress, afresh=afresh))


class _Execution:
    """One execution: what waits, what runs, and what has ended."""

    def __init__(
        self,
        trials: dict[str, list[_Task]],  # by row
        n_seeds: int,
        folder: Path,
        plan: Plan,
        progress: Progress,
    ):
        self._trials, self._n_seeds, self._folder, self._plan = trials, n_seeds, folder, plan
        self._progress, self._objective = progress, Objective(plan["valid_metric"])
        self._order = list(dict.fromkeys([*plan["models"], *trials]))  # of the rows, whichever is ready first
        self._waiting: deque[_Task] = deque()
        self._open: Counter[str] = Counter()  # trials that have not ended, by row

    def run(self, pool: Pool) -> None:
        """Until nothing waits and nothing runs."""
        for tasks in self._trials.values():
            if tasks[0].row.is_drawn:
                missing = self._missing(tasks)
                self._open[tasks[0].row.name] = len(missing)
                self._waiting.extend(missing)
        for name in reversed(self._trials):  # what is chosen comes first, and so the first row's last
            self._choose(name)
        for task, done in pool.run(self._waiting, _job, _watched):
            write_record(self._folder, task.key, {"settings": task.drawn, **done.record}, done.users, done.items)
            self._progress.ended(task.key, done.record, f"{task}: {told(done.record, self._objective.title)}")
            if task.key.seed is None:
                self._open[task.row.name] -= 1
                self._choose(task.row.name)

    def _missing(self, tasks: Sequence[_Task]) -> list[_Task]:
        """Those without a record of success."""
        missing = []
        for task in tasks:
            record = read_record(self._folder, task.key)
            if record is None or record["error"]:
                missing.append(task)
            else:
                self._progress.made_before(task.row.name, record)
        return missing

    def _choose(self, name: str) -> None:
        """Once a row's trials have ended: choose its settings, whose runs come first from now on."""
        if self._open[name]:
            return
        tasks = self._trials[name]
        row = tasks[0].row
        best = self._best(tasks) if row.is_drawn else tasks[0]
        models = self._plan["models"]
        models[name] = {
            "model": row.model,
            "common": row.common,
            "fixed": row.fixed,
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
            self._progress.less(name, len(row.seeds(self._n_seeds)))
            return
        runs = [best._replace(key=best.key._replace(seed=seed)) for seed in row.seeds(self._n_seeds)]
        self._waiting.extendleft(reversed(self._missing(runs)))

    def _best(self, tasks: Sequence[_Task]) -> _Task | None:
        """The trial with the best validation; None if all have failed."""
        records = [(task, read_record(self._folder, task.key)) for task in tasks]
        return self._objective.best(
            (record["valid"], task) for task, record in records if record and not record["error"]
        )


def _job(task: _Task) -> Job:
    tests = task.key.seed is not None
    settings = {**task.row.settings(task.drawn), "seed": task.key.seed if tests else TRIAL_SEED}
    return Job(task.row.model, settings, tests)


def _watched(task: _Task) -> Watched:
    return Watched(task.key, str(task), task.row.name, task.epochs)
