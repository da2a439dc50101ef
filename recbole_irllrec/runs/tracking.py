"""What a folder of runs holds, told to trackers once it is there: no process that trains needs one.

A run of the tracker's for the whole, and below it one for each run or trial. What was told stands in ``tracking.json``
of the folder, so that it is told once, however often a folder is.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..files import write_json
from ..tracking import RUNS, headed, of_losses, plain, refused_by
from .folder import read_json
from .worker import Record

TOLD = "tracking.json"
_NUMBERS = ("best_epoch", "epochs", "seconds", "seconds_to_best", "inference_seconds", "parameters", "peak_memory")


class Entry(NamedTuple):
    """A run or a trial."""

    name: str
    settings: dict[str, Any]
    record: Record  # as of `worker.attempt`


class Whole(NamedTuple):
    """A benchmark, a study or a sweep."""

    name: str
    settings: dict[str, Any]  # that stay as they are when more is added
    facts: dict[str, Any]  # that may not
    metrics: dict[str, float]
    files: Sequence[Path]  # the report's
    entries: Sequence[Entry]


def refuse_unreachable(trackers: Iterable[str]) -> None:
    """Ask the trackers, before any work, where they would keep runs.

    Raises:
        IRLLRecError: one of them cannot say.
    """
    for tracker in trackers:
        with refused_by(tracker, "say in its environment variables where it is, or leave --track out."):
            RUNS[tracker].place()


def tell(trackers: Iterable[str], folder: Path, whole: Whole, again: str) -> None:
    """Tell trackers what a folder holds and they have not been told.

    Args:
        trackers: by name.
        folder: keeps what has been told.
        whole: what it holds.
        again: the command that tells it again.

    Raises:
        IRLLRecError: a tracker cannot be told.
    """
    for tracker in trackers:
        with refused_by(tracker, f"the results are in {folder}, and `{again}` tells it again."):
            _tell(tracker, folder, whole)


def _tell(tracker: str, folder: Path, whole: Whole) -> None:
    kind = RUNS[tracker]
    told = read_json(folder / TOLD) or {}
    place = f"{tracker} {_digest(kind.place())}"  # an address may hold a password
    known = told.get(place)
    if known is None or not kind.is_there(known["id"]):
        known = told[place] = {"id": None, "entries": {}}
    run = kind(whole.name, plain(whole.settings), id=known["id"])
    known["id"] = run.id
    write_json(folder / TOLD, told)
    run.note(whole.facts)
    run.log({0: whole.metrics})
    run.keep(whole.files)
    run.end()
    for entry in whole.entries:
        digest = _digest(entry)
        if known["entries"].get(entry.name) != digest:
            _tell_entry(kind(entry.name, plain(entry.settings), parent=run.id), entry.record)
            known["entries"][entry.name] = digest
            write_json(folder / TOLD, told)


def _tell_entry(run: Any, record: Record) -> None:
    history, error = record.get("history", ()), record["error"]
    run.log(
        {
            each["epoch"] - 1: headed("train", of_losses(each["losses"])) | headed("valid", each["metrics"])
            for each in history
        }
    )
    numbers = {name: record[name] for name in _NUMBERS if record.get(name) is not None}
    run.log({record.get("best_epoch", 1) - 1: headed("eval", record.get("test", {})) | numbers})
    if error:
        run.note({"error": error})
    run.end("FAILED" if error else "FINISHED")


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
