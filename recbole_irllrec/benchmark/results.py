"""The folder of a benchmark: a file a run, written when the run has ended, so that nothing is lost or done twice.

benchmark.json            what all runs share, and what was chosen for each model
split/                    the data set's split, where the data set comes without one
users.parquet             the users and their numbers of training interactions
trials/MODEL-ID.json      a run with drawn settings, of which validation alone is known
runs/MODEL-ID-SEED.json   a run with the chosen settings, and beside it, in Parquet, its test metrics by user
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..data.training import TrainingTokens
from ..errors import IRLLRecError
from ..files import atomic_write, locked, write_json
from ..runs import Splits

Plan = dict[str, Any]
Record = dict[str, Any]
PLAN, USERS, SPLIT = "benchmark.json", "users.parquet", "split"
# Models without chance, of which one run is all that there is to know.
DETERMINISTIC = {"Pop", "ItemKNN", "AsymKNN", "EASE"}


class Key(NamedTuple):
    """Which run it is."""

    model: str  # as the table names it
    settings: str  # the fingerprint of all its settings but the seed
    seed: int | None = None  # None for a trial

    def file(self, folder: Path) -> Path:
        """Where the run's record is, or will be."""
        stem = f"{self.model.replace(':', '-')}-{self.settings}"
        return folder / (f"trials/{stem}.json" if self.seed is None else f"runs/{stem}-{self.seed}.json")


def read_record(folder: Path, key: Key) -> Record | None:
    """What is known of a run; None before it has ended."""
    return _read_json(key.file(folder))


def write_record(folder: Path, key: Key, record: Record, users: pd.DataFrame | None) -> None:
    """Keep a run that has ended. Its record comes last: with it, the run is complete."""
    file = key.file(folder)
    if users is not None:
        write_table(users, file.with_suffix(".parquet"))
    write_json(file, record, default=str)


def read_plan(folder: Path) -> Plan | None:
    """What all runs of the folder share; None where there is no benchmark.

    Raises:
        IRLLRecError: the folder holds something else.
    """
    plan = _read_json(folder / PLAN)
    if plan is None and folder.is_dir() and any(f.name[0] != "." and f.name != SPLIT for f in folder.iterdir()):
        raise IRLLRecError(f"{folder} holds other files and no {PLAN}: give another folder with --out.")
    return plan


def write_plan(folder: Path, plan: Plan) -> None:
    """Keep what all runs of the folder share."""
    write_json(folder / PLAN, plan, default=str)


def begin(folder: Path, plan: Plan, splits: Splits, command: str) -> None:
    """Keep what all runs share, and the command that asks for more of them."""
    if command not in plan["commands"]:
        plan["commands"].append(command)
    write_plan(folder, plan)  # first: without it, files in the folder are taken for something else's
    counts = TrainingTokens(splits.train).pairs["user"].value_counts()
    write_table(pd.DataFrame({"user": counts.index, "interactions": counts.to_numpy()}), folder / USERS)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise IRLLRecError(f"{path} is not as a benchmark has written it: restore or delete it.")
    return found


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet or CSV by the file's name, atomically."""
    with atomic_write(path) as file:
        if path.suffix == ".parquet":
            table.to_parquet(file, index=False)
        else:
            table.to_csv(file, index=False)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let no other process write into the folder meanwhile; it is made if it is not there.

    Raises:
        IRLLRecError: another does.
    """
    with locked(folder / ".lock", f"Another irllrec benchmark is writing into {folder}: wait for it, or stop it."):
        yield


@dataclass(frozen=True)
class Results:
    """All that a folder knows of the models' chosen settings; models in the order in which they were asked for."""

    plan: Plan
    runs: pd.DataFrame  # a row a finished run: model, seed, the test metrics, and the record's numbers
    failures: pd.DataFrame  # a row a failed run, of chosen or drawn settings: model, seed (NaN of a trial), error
    trials: pd.DataFrame  # a row a finished trial: model, settings, the validation metrics
    users: pd.DataFrame  # a row a model, seed and user: model, seed, user, the test metrics
    curves: pd.DataFrame  # a row a run and validation: model, seed, epoch, seconds, the validation metrics
    interactions: pd.Series  # the number of training interactions by user

    @property
    def models(self) -> list[str]:
        """The models with at least one finished run."""
        return list(self.runs["model"].unique())

    @property
    def without_chance(self) -> set[str]:
        """Those of the plan's models that have one run, since it is the same for each seed."""
        return {model for model, row in self.plan["models"].items() if row["model"] in DETERMINISTIC}

    @property
    def reference(self) -> str:
        """The model that the others are tested against: IRLLRec, where it is there."""
        return "IRLLRec" if "IRLLRec" in self.models else self.models[0]


def read_results(folder: Path) -> Results:
    """Read a folder.

    Raises:
        IRLLRecError: there is no benchmark in it, or no run has ended well.
    """
    plan = read_plan(folder)
    if plan is None:
        raise IRLLRecError(f"There is no benchmark in {folder}: give the folder of one, which holds {PLAN}.")
    runs, failures, trials, users, curves = [], [], [], [], []
    for model, row in plan["models"].items():
        finals = sorted(_finals(folder, model, row["run"]), key=lambda key: key.seed or 0)
        if row["model"] in DETERMINISTIC:
            finals = finals[:1]
        for key in [*(Key(model, settings) for settings in row["trials"]), *finals]:
            record = read_record(folder, key)
            if record is None:
                continue
            about = {"model": model, "seed": key.seed}
            if record["error"]:
                failures.append({**about, "error": record["error"]})
            elif key.seed is None:
                trials.append({**_numbers(about, record), **record["valid"]})
            else:
                runs.append({**_numbers(about, record), **record["test"]})
                users.append(pd.read_parquet(key.file(folder).with_suffix(".parquet")).assign(**about))
                curves += [{**about, **e, **e.pop("metrics")} for e in record["history"]]
    if not runs:
        reason = f" ({failures[0]['model']}: {failures[0]['error']})" if failures else ""
        raise IRLLRecError(f"No run in {folder} has ended well{reason}: there is nothing to report.")
    counts = pd.read_parquet(folder / USERS).set_index("user")["interactions"]
    return Results(
        plan,
        pd.DataFrame(runs),
        pd.DataFrame(failures, columns=["model", "seed", "error"]),
        pd.DataFrame(trials),
        pd.concat(users, ignore_index=True),
        pd.DataFrame(curves),
        counts,
    )


def _finals(folder: Path, model: str, settings: str | None) -> Iterator[Key]:
    """The runs with a model's chosen settings."""
    if settings is not None:
        pattern = Key(model, settings, 0).file(folder)
        for file in pattern.parent.glob(f"{pattern.stem.removesuffix('0')}*.json"):
            yield Key(model, settings, int(file.stem.rpartition("-")[2]))


def _numbers(about: dict[str, Any], record: Record) -> dict[str, Any]:
    """A record's values as a table's row."""
    plain = {name: value for name, value in record.items() if not isinstance(value, dict | list) and name != "error"}
    return {**about, **plain, "settings": json.dumps(record["settings"], sort_keys=True)}
