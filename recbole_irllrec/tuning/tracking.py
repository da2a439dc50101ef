"""A sweep's folder as trackers are told of it."""

from collections.abc import Sequence
from typing import Any

from ..runs.folder import read_json
from ..runs.tracking import Entry, Whole, tell
from .plan import Checked
from .records import RUNNING, Folder
from .report import RESULTS


def tell_sweep(trackers: Sequence[str], checked: Checked, folder: Folder, found: dict[str, Any], again: str) -> None:
    """Tell trackers of a sweep that has ended, and of those of its trials and runs whose records are here.

    Args:
        trackers: by name.
        checked: the sweep.
        folder: its folder.
        found: as of `report.write`.
        again: the command that tells it again.

    Raises:
        IRLLRecError: a tracker cannot be told.
    """
    if not trackers:
        return
    about, task = checked.about, checked.task
    below = {**checked.splits.settings, **task.settings, "model": task.model, "dataset": about["dataset"]}
    entries = [
        Entry(f"trial {trial.number}", {**below, **trial.settings}, trial.record)
        for trial in folder.trials().values()
        if trial.status != RUNNING
    ]
    for file in sorted(folder.path.glob("runs/*.json")):
        record, seed = read_json(file) or {}, int(file.stem.rpartition("-")[2])
        entries.append(Entry(file.stem, {**below, **record["settings"], "seed": seed}, record))
    seeds = found["seeds"][found["seeds"]["reason"] == ""]
    heads = {"valid": "valid", "test": "eval"}  # as RecBole's logger calls them
    metrics = {
        f"{heads[part]}/{name}": float(seeds[column].mean())
        for column in ([] if seeds.empty else seeds)
        for part, _, name in [column.partition(" ")]
        if part in heads
    }
    whole = Whole(
        f"{task.model}-{about['dataset']} sweep",
        {name: value for name, value in about.items() if name not in ("interactions", "texts", "settings")},
        {"best": str(found["best"].settings), "command": found["command"]},
        metrics,
        [folder.path / name for name in RESULTS],
        entries,
    )
    tell(trackers, folder.path, whole, again)
