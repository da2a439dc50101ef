"""What a benchmark runs: the rows of its table, and the settings of each."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from recbole.config import Config
from recbole.evaluator.register import metric_types, metrics_dict
from recbole.utils import EvaluatorType
from recbole.utils.argument_list import training_arguments

from .. import boards, zoo
from ..data.training import TrainingTokens
from ..errors import IRLLRecError, did_you_mean
from ..runs.space import (
    RandomDrawer,
    SettingsLoader,
    Space,
    check_space,
    default_space,
    file_of,
    read_space,
    read_yaml,
    refuse_foreign,
    tunable,
)
from ..runs.splits import FAKES, FAKES_SEED, Settings, Splits, refuse_other_kinds
from ..settings.files import parted
from .results import Plan

TRIAL_SEED = 0  # runs have 1, 2, …
_WITHOUT_TEXT = "-without-text"
# Unless the user says otherwise.
_METRICS, _TOPK = ("Recall", "NDCG", "MRR"), (10, 20)
# The last: RecBole's own would rank one user at a time where there are many items.
_DEFAULTS: Settings = {"epochs": 300, "stopping_step": 10, "eval_batch_size": 1 << 20}


@dataclass(frozen=True)
class Variant:
    """A row as it is asked for."""

    name: str
    model: str  # of RecBole's or ours, also IRLLRec:published and IRLLRec-without-text
    settings: Settings = field(default_factory=dict)  # that make it a row of its own


@dataclass(frozen=True)
class Options:
    """What is asked for; None where the data set's settings or the defaults say it."""

    models: Sequence[str]  # rows by names as `named` reads them
    seeds: int
    tune_samples: int
    variants: Sequence[Variant] = ()  # rows after them
    reference: str | None = None  # the row that the others are tested against; else the first, or the folder's
    protocol: Literal["recbole", "paper"] | None = None
    metrics: Sequence[str] | None = None
    topk: Sequence[int] | None = None
    valid_metric: str | None = None
    epochs: int | None = None
    spaces: Path | None = None  # a file, or a folder of <Model>.yaml, above those that come with this package


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
    wanted = [*map(named, options.models), *options.variants]
    names = [variant.name for variant in wanted]
    if len(set(names)) < len(names) or not names:
        raise IRLLRecError(f"The models are {', '.join(names) or 'none'}: name at least one, and each once.")
    common = _common(options, given)
    return [_row(variant, options, common) for variant in wanted]


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


def named(text: str) -> Variant:
    """The row that a name stands for, such as IRLLRec[profile_weight=0,fusion=gate].

    Raises:
        IRLLRecError: what stands in its brackets is no list of settings.
    """
    model, bracket, changes = text.partition("[")
    if not bracket:
        return Variant(text, model)
    if not changes.endswith("]"):
        raise IRLLRecError(f"The row {text} does not end with its bracket: write MODEL[setting=value,setting=value].")
    settings: Settings = {}
    for change in parted(changes[:-1]):
        setting, _, value = (part.strip() for part in change.partition("="))
        try:
            settings[setting] = yaml.load(value, Loader=SettingsLoader)
        except (yaml.YAMLError, ValueError):  # the latter of dates
            value = ""
        if not value:
            raise IRLLRecError(f"The row {text} says {change!r}: write setting=value, parted by commas.")
    return Variant(text, model, settings)


def read_variants(path: Path) -> list[Variant]:
    """The rows of a file, which gives each by its name: ``model``, and ``settings`` unless there are none.

    Raises:
        IRLLRecError: the file is no YAML, or holds something else.
        OSError: it cannot be read.
    """
    _, content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise IRLLRecError(f"{path} holds no rows: give names, each with a model and its settings (docs/benchmark.md).")
    return [_variant(f"{path}, {name}", str(name), given) for name, given in content.items()]


def _variant(where: str, name: str, given: Any) -> Variant:
    if not isinstance(given, dict) or not isinstance(given.get("model"), str):
        raise IRLLRecError(f"{where}: found {given!r}, where a model is needed, such as model: LightGCN.")
    if unknown := [str(key) for key in given if key not in ("model", "settings")]:
        hint = did_you_mean(unknown[0], ("model", "settings"), "what a row changes stands below settings.")
        raise IRLLRecError(f"{where}: there is nothing called {unknown[0]} beside model and settings; {hint}")
    settings = given.get("settings") or {}
    if not isinstance(settings, dict):
        raise IRLLRecError(f"{where}: settings is {settings!r}; give names with values, such as n_layers: 2.")
    return Variant(name, given["model"], {str(setting): value for setting, value in settings.items()})


def _row(variant: Variant, options: Options, common: Settings) -> Row:
    model, _, preset = variant.model.partition(":")
    fixed: Settings = {}
    ours = zoo.find(variant.model.removesuffix(_WITHOUT_TEXT))
    if preset:
        with_presets = [found.name for found in zoo.models() if found.preset]
        if model not in with_presets:
            raise IRLLRecError(f"There is no model {variant.model}: presets are of {', '.join(with_presets)}.")
        fixed = {"preset": preset}
    elif model.endswith(_WITHOUT_TEXT) and ours and ours.can_do_without_text:
        model, fixed = ours.name, ours.settings.without_text()
        if contrary := [name for name, value in fixed.items() if variant.settings.get(name, value) != value]:
            raise IRLLRecError(
                f"The row {variant.name} is of {variant.model} and gives {contrary[0]} "
                f"{variant.settings[contrary[0]]}, which reads texts: leave that out, or take {model}."
            )
    refuse_other_kinds(model)
    of_model = [name for name in variant.settings if name not in (FAKES, FAKES_SEED)]
    refuse_foreign(f"The row {variant.name}", model, of_model)
    fixed |= variant.settings
    space = _space(model, options.spaces) if options.tune_samples and not preset else None
    drawn: list[Settings] = [{}]
    origin: dict[str, Any] | None = None
    if space is not None:
        drawn = _drawn(space, options.tune_samples, {**common, **fixed})
        own = options.spaces is not None and Path(space.origin) == file_of(options.spaces, model)
        origin = {"file": space.origin if own else None, "comment": space.comment if own else ""}
        origin["settings"] = space.as_plain()
    return Row(variant.name, model, common, fixed, drawn, options.tune_samples, space, origin, tunable=not preset)


def check_row(row: Row, options: Options, config_with: Callable[[Row, Settings], Config]) -> None:
    """Refuse a row whose settings the model refuses, or whose search space of the user's own does not fit it.

    Args:
        row: of the table.
        options: what is asked for.
        config_with: a run's settings.

    Raises:
        IRLLRecError: says what is wrong with which.
    """
    try:
        config_with(row, row.drawn[0])
    except IRLLRecError as error:
        raise IRLLRecError(f"The row {row.name}: {error}") from None
    if row.space is not None and options.spaces is not None:
        check_space(row.space, row.model, partial(config_with, row))


def _space(model: str, given: Path | None) -> Space | None:
    """The user's search space of a model, or that of this package; None for a model without any setting."""
    if given is not None and (own := file_of(given, model)).is_file():
        return read_space(own)
    if not tunable(model) - set(training_arguments):
        return None
    try:
        return default_space(model)
    except IRLLRecError:
        raise IRLLRecError(
            f"There is no search space for {model}: write {model}.yaml and name its folder with --space, or ask for "
            f"--samples 0."
        ) from None


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
    preset = {**row.common, **row.fixed}.get("preset")  # which does not mix with it
    return f"properties/tuned/{name}" if found and zoo.find(row.model) and not preset else None


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
        "boards": boards.sizes(splits.train, splits.test) if common.get("item_boards") else {},
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
        shared = {name: plan[name] for name in ("dataset", "protocol", "metrics", "topk", "valid_metric")}
        shared["item_boards"] = bool(plan.get("boards"))  # older folders have none
        shared["split"] = plan["split"]["how"]  # the one in the folder is used, whatever the settings would draw now
        return shared | prints

    there = compared(before)
    for name, value in compared(now).items():
        if there[name] != value:
            raise IRLLRecError(
                f"{folder} holds runs whose {name} is {there[name]}, and here it is {value}: ask for the same, or give "
                f"another folder with --out."
            )
    return before


def with_tables(plan: Plan, made: dict[str, str], folder: Path) -> Plan:
    """What runs share, with what the default text tables are made of (`runs.fingerprints.default_tables`).

    Raises:
        IRLLRecError: those of runs that are there were made of something else.
    """
    there = plan.get("default_tables", {})  # older folders have none
    for name, digest in made.items():
        if there.get(name, digest) != digest:
            raise IRLLRecError(
                f"{folder} holds runs whose default text tables ({name}) were made of other .item and .user files, or "
                f"by another release of this package or scikit-learn: take these, or give another folder with --out."
            )
    return {**plan, "default_tables": {**there, **made}}


def referred(plan: Plan, wanted: str | None, rows: Iterable[Row] = ()) -> Plan:
    """What runs share, with the row that the others are tested against: the one wanted, or before, or the first.

    Raises:
        IRLLRecError: there is no such row.
    """
    there = list(dict.fromkeys([*plan["models"], *(row.name for row in rows)]))
    chosen = wanted or plan.get("reference") or there[0]
    if chosen not in there:
        raise IRLLRecError(f"There is no row {chosen} to refer to: take one of {', '.join(there)} (--reference).")
    return {**plan, "reference": chosen}
