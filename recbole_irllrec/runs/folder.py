"""The folder of a benchmark or a sweep: a file a run, so that nothing is lost or done twice.

benchmark.json, sweep.json   what all runs share
trials/*.json                a run with drawn settings, of which validation alone is known
runs/MODEL-ID-SEED.json      a run with the chosen settings, and beside it, in Parquet, its test metrics by user, and
                             in .items.parquet how often it found each item of the test

A run's file is the record of `worker.attempt` with ``settings``, what was drawn for it.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..errors import IRLLRecError
from ..files import atomic_write, locked, write_json
from .worker import Record


class Key(NamedTuple):
    """Which run it is."""

    model: str  # as the table names it
    settings: str  # the fingerprint of all its settings but the seed
    seed: int | None = None  # None for a trial

    def file(self, folder: Path) -> Path:
        """Where the run's record is, or will be."""
        stem = f"{re.sub('[^A-Za-z0-9_.]+', '-', self.model).strip('-')}-{self.settings}"
        return folder / (f"trials/{stem}.json" if self.seed is None else f"runs/{stem}-{self.seed}.json")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let no other process write into the folder meanwhile; it is made if it is not there.

    Raises:
        IRLLRecError: another does.
    """
    refusal = f"Another process is writing into {folder}: wait for it or stop it, or give another folder (--out)."
    with locked(folder / ".lock", refusal):
        yield


def read_json(
    path: Path, advice: str = "delete it, and what it held is done again, or restore it"
) -> dict[str, Any] | None:
    """What a file of the folder holds; None if it is not there.

    Raises:
        IRLLRecError: it is damaged, with the advice.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise IRLLRecError(f"{path} is damaged: {advice}.")
    return found


def read_record(folder: Path, key: Key) -> Record | None:
    """What is known of a run; None before it has ended."""
    return read_json(key.file(folder))


def write_record(
    folder: Path, key: Key, record: Record, users: pd.DataFrame | None, items: pd.DataFrame | None = None
) -> None:
    """Keep a run that has ended. Its record comes last: with it, the run is complete."""
    file = key.file(folder)
    for table, suffix in ((users, ".parquet"), (items, ".items.parquet")):
        if table is not None:
            write_table(table, file.with_suffix(suffix))
    write_json(file, record, default=str)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet or CSV by the file's name, atomically."""
    with atomic_write(path) as file:
        if path.suffix == ".parquet":
            table.to_parquet(file, index=False)
        else:
            table.to_csv(file, index=False)
