"""What a sweep has found, as plain files in its folder: what it is, and one file a trial."""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import IRLLRecError
from ..files import atomic_write, write_json
from ..objective import Objective
from ..runs.folder import alone, read_json
from ..runs.training import Evaluation, best_of
from ..runs.worker import Record, validated

PLAN = "sweep.json"  # what the sweep is
STATE = (".pth", ".json")  # the files of a run that there is to go on from
# How trials end. A trial that has not ended is `running`: it is gone on with.
RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


@dataclass
class Trial:
    """A trial and what is known of it."""

    number: int  # from 1
    settings: dict[str, Any]  # what was drawn for it
    params: dict[str, Any] = field(default_factory=dict)  # the same as Optuna names it
    status: str = RUNNING
    reason: str = ""  # why it failed
    traceback: str = ""
    history: list[Evaluation] = field(default_factory=list)
    checkpoint: str | None = None  # where a sweep begun under Ray 2.6 has its state, until it has ended

    @classmethod
    def of(cls, record: Record) -> "Trial":
        """The trial of which a record tells, or one of a sweep from before trials had records."""
        history = [Evaluation(**entry) for entry in record.get("history", ())]
        if "reason" in record:
            return cls(**{**record, "history": history})
        return cls(
            **{name: record[name] for name in ("number", "settings", "params", "status", "traceback", "checkpoint")},
            reason=record["error"] or "",
            history=[evaluation._replace(epoch=evaluation.epoch - 1) for evaluation in history],
        )

    @property
    def record(self) -> Record:
        """As `runs.worker.attempt` has it, with what makes it a trial."""
        about = {name: getattr(self, name) for name in ("number", "status", "params", "settings", "checkpoint")}
        about |= {"error": self.reason or None, "traceback": self.traceback}
        if self.history:
            about |= {"seconds": self.history[-1].seconds, **validated(self.history)}
        return about

    @property
    def best(self) -> Evaluation | None:
        """Its best evaluation, if there is any."""
        return best_of(self.history) if self.history else None

    def evaluated(self, evaluation: Evaluation) -> None:
        """Add an evaluation; later ones of a run that is done again are dropped."""
        self.history = [*(e for e in self.history if e.epoch < evaluation.epoch), evaluation]


def history_of(state: dict[str, bytes]) -> list[Evaluation]:
    """The evaluations of a trial whose files these are."""
    return [Evaluation(**entry) for entry in json.loads(state["history.json"])] if state else []


def best_trial(trials: Iterable[Trial], objective: Objective) -> Trial | None:
    """Of those that have not failed, the one with the best evaluation; None if nothing was evaluated."""
    in_order = sorted(trials, key=lambda trial: trial.number)
    return objective.best((trial.best.metrics, trial) for trial in in_order if trial.status != FAILED and trial.best)


class Folder:
    """A sweep's folder."""

    def __init__(self, path: Path):
        self.given = path  # for commands, which move with the folder that they are given in
        self.path = path.resolve()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes here meanwhile.

        Raises:
            IRLLRecError: somebody does.
        """
        with alone(self.path):
            yield

    def begin(self, about: dict[str, Any], resume: bool) -> None:
        """Say what the sweep is; errors are those of `refuse_another`."""
        self.refuse_another(about, resume)
        self.write(PLAN, {**(self.read(PLAN) or {}), **about})

    def refuse_another(self, about: dict[str, Any], resume: bool) -> None:
        """Make sure that the sweep can begin here, or is the one that is here.

        Raises:
            IRLLRecError: there is a sweep that is not to be resumed, or another one.
        """
        before = self.read(PLAN)
        if before is None:
            return
        if not resume:
            raise IRLLRecError(f"{self.path} holds a sweep: go on with it (--resume), or give another folder (--out).")
        before = {"default_tables": about.get("default_tables"), **before}  # older folders do not tell it
        changed = [name for name in about if before.get(name) != about[name]]
        if changed:
            raise IRLLRecError(
                f"{self.path} holds another sweep, with other {' and '.join(changed)}: give what it was begun "
                f"with, or another folder (--out)."
            )

    def trials(self) -> dict[int, Trial]:
        """All trials by number."""
        files = sorted((self.path / "trials").glob("*.json"))
        return {trial.number: trial for trial in map(_trial, files)}

    def keep(self, trial: Trial) -> None:
        """Write what is known of a trial."""
        self.write(f"trials/{trial.number:04}.json", trial.record)

    def checkpoint(self, number: int) -> Path:
        """Where a trial's best epoch is kept, if that is the best of all so far."""
        return self.path / "checkpoints" / f"{number:04}.pth"

    def keep_state(self, number: int, files: dict[str, bytes]) -> None:
        """Keep the files of a trial that has not ended, all at once, in place of those kept before."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, bits in files.items():
                archive.writestr(name, bits)
        with atomic_write(self._state(number)) as file:
            file.write(content.getbuffer())

    def state(self, trial: Trial) -> dict[str, bytes]:
        """The files that were kept of a trial, by name; none if there are none."""
        file = self._state(trial.number)
        if file.is_file():
            with zipfile.ZipFile(file) as archive:
                return {name: archive.read(name) for name in archive.namelist()}
        if trial.checkpoint and (folder := Path(trial.checkpoint)).is_dir():
            return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in STATE}
        return {}

    def drop_state(self, number: int) -> None:
        """Of a trial that has ended, or that begins."""
        self._state(number).unlink(missing_ok=True)

    def _state(self, number: int) -> Path:
        return self.path / "unfinished" / f"{number:04}.zip"

    def read(self, name: str) -> dict[str, Any] | None:
        """The content of a file of JSON; None if it is not there."""
        return read_json(self.path / name)

    def write(self, name: str, content: Any) -> None:
        """Write a file of JSON."""
        write_json(self.path / name, content)


def _trial(path: Path) -> Trial:
    try:
        return Trial.of(read_json(path) or {})
    except (TypeError, KeyError):
        raise IRLLRecError(f"{path} is no trial of a sweep: delete it, and the trial is run again.") from None
