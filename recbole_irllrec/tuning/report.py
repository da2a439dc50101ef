"""What a sweep leaves behind for people: the best settings, a table of the trials, and a page of plots."""

from typing import Any

import numpy as np
import pandas as pd
import yaml

from ..files import atomic_write
from ..popularity import Course, compared
from ..runs.space import tunable
from ..runs.splits import config_of
from ..runs.training import is_cut_short
from ..runs.worker import Record
from ..settings.files import run_command
from .page import page
from .plan import Checked
from .records import FINISHED, Folder, Trial

RESULTS = ("best.yaml", "trials.csv", "seeds.csv", "report.html")


def write(
    checked: Checked,
    folder: Folder,
    trials: list[Trial],
    best: Trial,
    seeds: dict[int, Record],
    popular: dict[str, float] | None,
) -> dict[str, Any]:
    """Write the files of `RESULTS`.

    Args:
        checked: the sweep.
        folder: its folder.
        trials: all its trials; best: the best of them.
        seeds: the records of runs with the best settings by seed; the trial's own first.
        popular: the test metrics of popularity, if there are any.

    Returns:
        ``seeds``: a row a seed; ``command``: what reproduces the best run; ``trials``: a row a trial; ``compared``: the
        best settings beside popularity, in a line.
    """
    task, splits = checked.task, checked.splits
    command = run_command(task.model, splits.dataset, [folder.given / "best.yaml"])
    _write_text(folder, "best.yaml", _best_yaml(checked, best, command))
    table = trials_table(trials)
    _write_text(folder, "trials.csv", table.to_csv(index=False))
    by_seed = seeds_table(seeds)
    _write_text(folder, "seeds.csv", by_seed.to_csv(index=False))
    beside = _beside_popularity(checked, best, seeds, popular)
    _write_text(folder, "report.html", page(checked, trials, table, best, by_seed, beside, command))
    return {"trials": table, "seeds": by_seed, "command": command, "best": best, "compared": beside}


def _beside_popularity(
    checked: Checked, best: Trial, seeds: dict[int, Record], popular: dict[str, float] | None
) -> str:
    """The best settings' test, the mean over the seeds, beside popularity's; nothing where one of them is not there."""
    task, tests = checked.task, [record["test"] for record in seeds.values() if not record["error"]]
    if not tests or not popular:
        return ""
    config = config_of(task.model, checked.splits, {**task.settings, **best.settings})
    assert best.best
    epochs = best.history[-1].epoch + 1
    course = Course(epochs, best.best.epoch + 1, best.status == FINISHED and is_cut_short(config, epochs))
    means = {name: float(np.mean([test[name] for test in tests])) for name in popular}
    return compared(config, means, popular, course)[0]


def trials_table(trials: list[Trial]) -> pd.DataFrame:
    """A row a trial: how it ended, its best validation, the settings drawn for it, and why it failed."""
    rows = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        row: dict[str, Any] = {"trial": trial.number, "status": trial.status}
        if trial.best:
            row |= {"best_epoch": trial.best.epoch + 1, "epochs": trial.history[-1].epoch + 1}
            row |= {"seconds": round(trial.history[-1].seconds, 1), **trial.best.metrics}
            row |= {f"loss {name}": value for name, value in trial.best.losses.items()}
        rows.append({**row, **trial.settings, "reason": trial.reason})
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "reason"))
    return pd.DataFrame(rows, columns=[*columns, "reason"])


def seeds_table(seeds: dict[int, Record]) -> pd.DataFrame:
    """A row a seed: best epoch, seconds, validation and test metrics, and why it failed."""
    rows = [
        {"seed": seed, **{name: record.get(name) for name in ("best_epoch", "seconds")}}
        | {f"{part} {name}": value for part in ("valid", "test") for name, value in record.get(part, {}).items()}
        | {"reason": record["error"] or ""}
        for seed, record in seeds.items()
    ]
    return pd.DataFrame(rows).astype({"best_epoch": "Int64"})  # which a failed seed has not


def _best_yaml(checked: Checked, best: Trial, command: str) -> str:
    """The drawn settings, and all others that the run depends on, as they were."""
    assert best.best
    task, splits = checked.task, checked.splits
    config = config_of(task.model, splits, {**task.settings, **best.settings})
    others = {name: config[name] for name in sorted(tunable(task.model) - {"train_neg_sample_args"})}
    others |= splits.settings | task.settings | {"seed": config["seed"]}
    rest = {name: value for name, value in others.items() if name not in best.settings}
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in best.best.metrics.items())
    return (
        f"# {task.model} on {splits.dataset}: trial {best.number} of a sweep, epoch {best.best.epoch + 1}, validation: "
        f"{metrics}.\n# {command}\n\n# drawn\n{_yaml(best.settings)}\n# the rest, as it was\n{_yaml(rest)}"
    )


def _yaml(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings, sort_keys=False, default_flow_style=False) if settings else ""


def _write_text(folder: Folder, name: str, text: str) -> None:
    with atomic_write(folder.path / name) as file:
        file.write(text.encode())
