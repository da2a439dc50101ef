"""What a benchmark runs: the rows of its table, the settings of each, and the names that runs are found by."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import yaml
from recbole.config import Config
from recbole.evaluator.register import metric_types, metrics_dict
from recbole.utils import EvaluatorType
from recbole.utils.argument_list import training_arguments

from .. import zoo
from ..compat.baselines import MENDED
from ..data.training import TrainingTokens
from ..errors import IRLLRecError
from ..runs import Settings, Splits, refuse_other_kinds, text_sources
from ..tuning.space import RandomDrawer, SettingsLoader, Space, default_path, read_space, tunable
from .results import Plan

TRIAL_SEED = 0  # runs have 1, 2, …
_WITHOUT_TEXT = "-without-text"
# Settings that leave a run's results as they are.
_FREE = {"seed", "resume", "device", "gpu_id", "use_gpu", "worker", "state", "data_path", "checkpoint_dir"}
_FREE |= {"show_progress", "log_wandb", "wandb_project", "local_rank", "single_spec", "dataset_save_path"}
# Unless the user says otherwise.
_METRICS, _TOPK = ("Recall", "NDCG", "MRR"), (10, 20)
# The last: RecBole's own would rank one user at a time where there are many items.
_DEFAULTS: Settings = {"epochs": 300, "stopping_step": 10, "eval_batch_size": 1 << 20}


@dataclass(frozen=True)
class Options:
    """What is asked for; None where the data set's settings or the defaults say it."""

    models: Sequence[str]
    seeds: int
    tune_samples: int
    protocol: Literal["recbole", "paper"] | None = None
    metrics: Sequence[str] | None = None
    topk: Sequence[int] | None = None
    valid_metric: str | None = None
    epochs: int | None = None
    spaces: Path | None = None  # a folder of <Model>.yaml, above those that come with this package


@dataclass(frozen=True)
class Row:
    """A row of the table: a model, with what is fixed and what is drawn for it."""

    name: str
    model: str
    common: Settings  # as for the other rows
    fixed: Settings  # by the row's name
    drawn: list[Settings]  # different ones; without any there is nothing to choose
    tune_samples: int
    space: Space | None
    origin: dict[str, Any] | None  # what the folder of results keeps of the space
    tunable: bool

    @property
    def is_drawn(self) -> bool:
        """Whether there is something to choose from."""
        return len(self.drawn) > 1

    def seeds(self, n: int) -> range:
        """Of the runs with its chosen settings, where so many are asked for."""
        return range(1, n + 1 if zoo.has_chance(self.model) else 2)

    def settings(self, drawn: Settings) -> Settings:
        """All that a run is given."""
        return {**drawn, **self.common, **self.fixed}


def rows(options: Options, given: Settings) -> list[Row]:
    """The rows that are asked for.

    Args:
        options: what is asked for.
        given: the settings of the data set and of the user's files, for all models. They are not drawn.

    Raises:
        IRLLRecError: an option cannot be met.
    """
    if len(set(options.models)) < len(options.models) or not options.models:
        raise IRLLRecError(f"The models are {', '.join(options.models) or 'none'}: name at least one, and each once.")
    common = _common(options, given)
    return [_row(name, options, common) for name in options.models]


def _common(options: Options, given: Settings) -> Settings:
    """What is the same for all runs: what the user gave, and what makes runs comparable."""
    metrics = [_metric(name) for name in options.metrics or given.get("metrics") or _METRICS]
    topk = list(options.topk or given.get("topk") or _TOPK)
    first = "NDCG" if "NDCG" in metrics else metrics[0]
    paper = given.get("mask_valid_in_test") is False if options.protocol is None else options.protocol == "paper"
    return {
        **{name: value for name, value in given.items() if name != "data_path" and value is not None},
        "metrics": metrics,
        "topk": topk,
        "valid_metric": options.valid_metric or given.get("valid_metric") or f"{first}@{topk[0]}",
        "mask_valid_in_test": not paper,
        "metric_decimal_place": 6,
        **{name: given.get(name, value) for name, value in _DEFAULTS.items()},
        **({} if options.epochs is None else {"epochs": options.epochs}),
    }


def _metric(name: str) -> str:
    """RecBole's spelling of a metric of rankings."""
    ranking = [metric for metric, kind in metric_types.items() if kind == EvaluatorType.RANKING]
    if str(name).lower() not in ranking:
        known = ", ".join(metrics_dict[metric].__name__ for metric in ranking)
        raise IRLLRecError(f"There is no metric {name} of rankings: take some of {known}.")
    return metrics_dict[str(name).lower()].__name__


def _row(name: str, options: Options, common: Settings) -> Row:
    base, _, changes = name.partition("[")
    model, _, preset = base.partition(":")
    fixed: Settings = {}
    ours = zoo.find(base.removesuffix(_WITHOUT_TEXT))
    if preset:
        with_presets = [found.name for found in zoo.models() if found.preset]
        if model not in with_presets:
            raise IRLLRecError(f"There is no model {name}: presets are of {', '.join(with_presets)}.")
        fixed = {"preset": preset}
    elif base.endswith(_WITHOUT_TEXT) and ours and ours.can_do_without_text:
        model, fixed = ours.name, ours.settings.without_text()
    refuse_other_kinds(model)
    if changes:
        fixed |= _changes(name, model, changes)
    space = _space(model, options.spaces) if options.tune_samples and not preset else None
    drawn: list[Settings] = [{}]
    origin = None
    if space is not None:
        drawn = _drawn(space, options.tune_samples, {**common, **fixed})
        origin = _origin(space, options.spaces)
    return Row(name, model, common, fixed, drawn, options.tune_samples, space, origin, tunable=not preset)


def _changes(name: str, model: str, text: str) -> Settings:
    """The settings in the brackets of a row such as IRLLRec[profile_weight=0,fusion=gate]."""
    if not text.endswith("]"):
        raise IRLLRecError(f"The row {name} does not end with its bracket: write MODEL[setting=value,setting=value].")
    changed: Settings = {}
    for change in text[:-1].split(","):
        setting, equals, value = (part.strip() for part in change.partition("="))
        if not equals or not value:
            raise IRLLRecError(f"The row {name} says {change!r}: write setting=value, parted by commas.")
        if setting not in (known := tunable(model)):
            close = difflib.get_close_matches(setting, sorted(known), n=1)
            hint = f"did you mean {close[0]}?" if close else "leave it out, or give it to all with --config-files."
            raise IRLLRecError(f"The row {name} changes {setting}, which is no setting of {model}: {hint}")
        changed[setting] = yaml.load(value, Loader=SettingsLoader)
    return changed


def _space(model: str, folder: Path | None) -> Space | None:
    """The user's search space of a model, or that of this package; None for a model without any setting."""
    if folder is not None and (own := folder / f"{model}.yaml").is_file():
        return read_space(own)
    if not tunable(model) - set(training_arguments):
        return None
    try:
        return read_space(default_path(model))
    except IRLLRecError:
        raise IRLLRecError(
            f"There is no search space for {model}: write {model}.yaml and name its folder with --spaces, or ask for "
            f"--tune-samples 0."
        ) from None


def _origin(space: Space, folder: Path | None) -> dict[str, Any]:
    """What a space holds; of the user's also its file and how that begins, which is where it says what it is for."""
    file = Path(space.origin)
    if file.parent != folder:
        return {"file": None, "comment": "", "settings": space.as_plain()}
    lines = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
    comment = " ".join(line.lstrip("# ").rstrip() for line in lines)
    return {"file": str(file), "comment": comment, "settings": space.as_plain()}


def _drawn(space: Space, n: int, given: Settings) -> list[Settings]:
    """So many settings, those that differ; what is given is not drawn."""
    left = tuple(parameter for parameter in space.parameters if parameter.name not in given)
    fixed = {name: value for name, value in space.fixed.items() if name not in given}
    narrowed = replace(space, parameters=left, fixed={**space.fixed, **given})
    draws = [{**fixed, **narrowed.draw(RandomDrawer(TRIAL_SEED, number), number)} for number in range(n)]
    return list({json.dumps(one, sort_keys=True): one for one in draws}.values())


def tuned_file(row: Row, dataset: str) -> str | None:
    """The file of settings found before that lies below the row's own, if there is one."""
    name = f"{row.model}-{dataset}.yaml"
    found = files("recbole_irllrec.properties").joinpath("tuned", name).is_file()
    return f"properties/tuned/{name}" if found and zoo.find(row.model) and "preset" not in row.fixed else None


# ---- what all runs share --------------------------------------------------------------------------------------------


def shared(rows: Sequence[Row], splits: Splits, how: str) -> Plan:
    """What runs must share to be comparable, without any model yet.

    Args:
        rows: the rows of the table.
        splits: of all runs.
        how: where the split comes from, in words.
    """
    parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    common = rows[0].common
    return {
        "dataset": splits.dataset,
        "split": {
            "how": how,
            "fingerprints": {part: TrainingTokens(dataset).fingerprint for part, dataset in parts.items()},
            "interactions": {part: len(dataset) for part, dataset in parts.items()},
            "users": splits.train.user_num - 1,
            "items": splits.train.item_num - 1,
        },
        "protocol": "recbole" if common["mask_valid_in_test"] else "paper",
        **{name: common[name] for name in ("metrics", "topk", "valid_metric")},
        "models": {},
        "commands": [],
    }


def continued(before: Plan, now: Plan, folder: Path) -> Plan:
    """What a folder has, for runs that are added to it.

    Raises:
        IRLLRecError: these would not be comparable with those that are there.
    """

    def compared(plan: Plan) -> dict[str, Any]:
        prints = {f"{part} set": fingerprint[:16] for part, fingerprint in plan["split"]["fingerprints"].items()}
        return {name: plan[name] for name in ("dataset", "protocol", "metrics", "topk", "valid_metric")} | prints

    there = compared(before)
    for name, value in compared(now).items():
        if there[name] != value:
            raise IRLLRecError(
                f"{folder} holds runs whose {name} is {there[name]}, and here it is {value}: ask for the same, or give "
                f"another folder with --out."
            )
    return before


# ---- what a run is found by ------------------------------------------------------------------------------------------


def fingerprint(config: Config, splits: Splits) -> str:
    """The same for runs that differ in nothing but their seed: 12 hexadecimal digits of a SHA-256.

    It is of all settings, defaults included, of the text tables' files, and of what is mended in RecBole's model.
    """
    settings = {name: value for name, value in config.final_config_dict.items() if name not in _FREE}
    mended = [MENDED[config["model"]]] if config["model"] in MENDED else []
    content = json.dumps([settings, text_sources(config, splits), *mended], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
