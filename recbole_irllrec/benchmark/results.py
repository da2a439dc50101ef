"""What a benchmark's folder holds, see `runs.folder`, and beside the runs:

benchmark.json   what all runs share, and what was chosen for each model
split/           the data set's split, where the data set comes without one
texts/           tables that were made for it, if they were
users.parquet    the users and their numbers of training interactions
items.parquet    the items and theirs
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from .. import zoo
from ..data.training import TrainingTokens
from ..errors import IRLLRecError
from ..files import write_json
from ..runs.folder import Key, read_json, read_record, write_table
from ..runs.splits import Splits
from ..runs.worker import Record
from . import PLAN, refuse_another

Plan = dict[str, Any]
USERS, ITEMS, SPLIT = "users.parquet", "items.parquet", "split"
TEXTS = "texts"


def read_plan(folder: Path) -> Plan | None:
    """What all runs of the folder share; None where there is no benchmark.

    Raises:
        IRLLRecError: the folder holds something else, or its plan is damaged.
    """
    plan = read_json(folder / PLAN, "restore it, or give another folder with --out")
    if (
        plan is None
        and folder.is_dir()
        and any(f.name[0] != "." and f.name not in (SPLIT, TEXTS) for f in folder.iterdir())
    ):
        raise IRLLRecError(f"{folder} holds other files and no {PLAN}: give another folder with --out.")
    return plan


def write_plan(folder: Path, plan: Plan) -> None:
    """Keep what all runs of the folder share."""
    write_json(folder / PLAN, plan, default=str)


def begin(folder: Path, plan: Plan, splits: Splits, command: str) -> None:
    """Keep what all runs share, and the command that asks for more of them, if one does."""
    if command and command not in plan["commands"]:
        plan["commands"].append(command)
    write_plan(folder, plan)  # first: without it, files in the folder are taken for something else's
    pairs = TrainingTokens(splits.train).pairs
    for side, name in (("user", USERS), ("item", ITEMS)):
        counts = pairs[side].value_counts()
        write_table(pd.DataFrame({side: counts.index, "interactions": counts.to_numpy()}), folder / name)


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
    items: pd.DataFrame  # a row a model, seed and item: model, seed, and as of `evaluation.found_by_item`
    of_items: pd.Series  # the number of training interactions by item

    @property
    def models(self) -> list[str]:
        """The models with at least one finished run."""
        return list(self.runs["model"].unique())

    @property
    def without_chance(self) -> set[str]:
        """Those of the plan's models that have one run, since it is the same for each seed."""
        return {model for model, row in self.plan["models"].items() if not zoo.has_chance(row["model"])}

    @property
    def reference(self) -> str:
        """The model that the others are tested against: the plan's, or the first where that has no finished run."""
        wanted = self.plan.get("reference")  # older folders have none
        return wanted if wanted in self.models else self.models[0]


def some(results: Results, models: Sequence[str]) -> Results:
    """The same of these models alone, in this order."""
    plan = {**results.plan, "models": {name: results.plan["models"][name] for name in models}}
    changed: dict[str, Any] = {"plan": plan}
    for name in (field.name for field in fields(results)):
        frame = getattr(results, name)
        if isinstance(frame, pd.DataFrame) and "model" in frame:
            kept = frame[frame["model"].isin(models)]
            changed[name] = kept.sort_values("model", key=lambda column: column.map(models.index), kind="stable")
    return replace(results, **changed)


def read_results(folder: Path) -> Results:
    """Read a folder.

    Raises:
        IRLLRecError: there is no benchmark in it, or no run has ended well.
    """
    refuse_another(folder)
    plan = read_plan(folder)
    assert plan is not None
    runs, failures, trials, users, items, curves = [], [], [], [], [], []
    for key, record in kept(folder, plan):
        about = {"model": key.model, "seed": key.seed}
        if record["error"]:
            failures.append({**about, "error": record["error"]})
        elif key.seed is None:
            trials.append({**_numbers(about, record), **record["valid"]})
        else:
            runs.append({**_numbers(about, record), **record["test"]})
            users.append(pd.read_parquet(key.file(folder).with_suffix(".parquet")).assign(**about))
            if (by_item := key.file(folder).with_suffix(".items.parquet")).is_file():  # older folders have none
                items.append(pd.read_parquet(by_item).assign(**about))
            curves += [{**about, **e.pop("metrics"), **e} for e in record["history"]]
    if not runs:
        reason = f" ({failures[0]['model']}: {failures[0]['error']})" if failures else ""
        raise IRLLRecError(f"No run in {folder} has ended well{reason}: there is nothing to report.")
    return Results(
        plan,
        pd.DataFrame(runs),
        pd.DataFrame(failures, columns=["model", "seed", "error"]),
        pd.DataFrame(trials),
        pd.concat(users, ignore_index=True),
        pd.DataFrame(curves),
        _counts(folder / USERS, "user"),
        pd.concat(items, ignore_index=True) if items else pd.DataFrame(columns=["model", "seed", "item"]),
        _counts(folder / ITEMS, "item"),
    )


def kept(folder: Path, plan: Plan) -> Iterator[tuple[Key, Record]]:
    """The records of a folder's trials and runs with chosen settings, row by row."""
    for model, row in plan["models"].items():
        finals = sorted(_finals(folder, model, row["run"]), key=lambda key: key.seed or 0)
        if not zoo.has_chance(row["model"]):
            finals = finals[:1]
        for key in [*(Key(model, settings) for settings in row["trials"]), *finals]:
            if (record := read_record(folder, key)) is not None:
                yield key, record


def _counts(file: Path, side: str) -> pd.Series:
    """The numbers of training interactions by user or item; of items, older folders have none."""
    if not file.is_file():
        return pd.Series(dtype=int)
    return pd.read_parquet(file).set_index(side)["interactions"]


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
