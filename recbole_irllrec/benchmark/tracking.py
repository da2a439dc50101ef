"""A benchmark's or a study's folder as trackers are told of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..runs.folder import Key
from ..runs.splits import Settings
from ..runs.tracking import Entry, Whole, tell
from . import tables
from .plan import TRIAL_SEED
from .results import Results, kept, read_results


def tell_folder(trackers: Sequence[str], folder: Path, files: Sequence[Path]) -> None:
    """Tell trackers of a folder, with these files of its report but those that name users.

    Raises:
        IRLLRecError: a tracker cannot be told; or as `read_results`.
    """
    if not trackers:
        return
    results = read_results(folder)
    plan = results.plan
    split = {name: plan["split"][name] for name in ("users", "items", "how")}
    shared = ("dataset", "protocol", "metrics", "topk", "valid_metric")
    whole = Whole(
        folder.resolve().name,
        {name: plan[name] for name in shared} | split | plan["split"]["interactions"],
        {name: "\n".join(plan[name]) for name in ("models", "commands")} | {"reference": results.reference},
        _summary(results),
        [file for file in files if file.suffix != ".parquet"],
        [Entry(_name(key), _settings(plan["models"][key.model], key, r), r) for key, r in kept(folder, plan)],
    )
    tell(trackers, folder, whole, f"irllrec benchmark report {folder} --track {','.join(trackers)}")


def _name(key: Key) -> str:
    return f"{key.model}, {f'trial {key.settings}' if key.seed is None else f'seed {key.seed}'}"


def _settings(row: dict[str, Any], key: Key, record: dict[str, Any]) -> Settings:
    seed = TRIAL_SEED if key.seed is None else key.seed
    fixed = row.get("fixed", {})  # older folders do not tell it
    return {**record["settings"], **row["common"], **fixed, "model": row["model"], "row": key.model, "seed": seed}


def _summary(results: Results) -> dict[str, float]:
    """The test metrics of each row, the means over the seeds, and popularity's."""
    means = tables.flat(results).set_index("model").drop(columns="seeds")
    found = {f"{model}/{name}": value for model, row in means.iterrows() for name, value in row.dropna().items()}
    popular = results.plan.get("popularity") or {}
    return found | {f"popularity/{name}": value for name, value in popular.items()}
