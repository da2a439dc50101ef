"""Where our models' settings come from, and what is refused before any work starts."""

import difflib
import re
from collections.abc import Iterable
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError
from recbole.config import Config
from recbole.utils.argument_list import (
    dataset_arguments,
    evaluation_arguments,
    general_arguments,
    training_arguments,
)

from .. import zoo
from ..errors import IRLLRecError, did_you_mean
from .schemas import AlignmentTerms, PresetSettings, refusal

_Loader: TypeAlias = type[yaml.SafeLoader] | type[yaml.FullLoader]
# what was done before there was a setting, where its default does something else
_BEFORE = {"linear_weight": 0.0, "item_bias": False}


def read_settings(config: Config) -> Any:
    """Check the settings of a RecBole ``Config`` and return what its model, one of ours, adds to RecBole's.

    Returns:
        An instance of the model's schema (`zoo.Model.settings`).

    Raises:
        IRLLRecError: a setting has an impossible value, or one that the user gave is a misspelling of one of ours.
    """
    entry = _entry(config["model"])
    schema = entry.settings
    if config["preset"] is not None and not entry.preset and issubclass(schema, AlignmentTerms | PresetSettings):
        raise IRLLRecError(
            f"The setting preset ({_origin(config, 'preset')}) is {config['preset']}, but there are no published "
            f"settings of {entry.name}: leave it out, or take a model such as IRLLRec."
        )
    _refuse_misspelt(config, schema.names())
    _complete(config, schema.names())
    try:
        return schema.model_validate({name: config[name] for name in schema.names()})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise refusal(first, _origin(config, name), config[name]) from None


def defaults(model: str, dataset: str, user_settings: dict[str, Any], yaml_loader: _Loader) -> dict[str, Any]:
    """The settings of ``model`` on ``dataset`` that lie below the user's own.

    Args:
        model: the model's name.
        dataset: the dataset's name.
        user_settings: what the user gave in files, in ``config_dict`` or on the command line.
        yaml_loader: RecBole's YAML loader, which reads ``1e-7`` as a number.

    Returns:
        Later sources over earlier ones: ``settings/<part>.yaml`` of each part that the model's settings have,
        ``model/<model>.yaml`` of the models whose defaults it takes and its own, those that it was registered with,
        ``tuned/<model>-<dataset>.yaml``, the preset. What was tuned does not mix with a preset.
    """
    entry = _entry(model)
    settings: dict[str, Any] = {}
    for part in entry.settings.parts():
        settings |= _read_property_file("settings", part, yaml_loader)
    for name in (*entry.inherits, model):
        settings |= _read_property_file("model", name, yaml_loader) | dict(_entry(name).defaults)
    preset = user_settings.get("preset", settings.get("preset"))
    if preset is None or "preset" not in settings:
        return settings | _read_property_file("tuned", f"{model}-{dataset}", yaml_loader)
    published = _read_property_file(f"presets/{preset}", entry.preset, yaml_loader)
    if not published:
        return settings  # `read_settings` refuses it
    found = _read_property_file(f"presets/{preset}", "common", yaml_loader)
    for values in (published, published.get("models", {}).get(model, {})):
        found |= values.get("common", {}) | _of_dataset(values.get("datasets", {}), dataset)
    others = {name for ours in zoo.models() for name in ours.settings.names()} - set(entry.settings.names())
    return settings | {name: value for name, value in found.items() if name not in others}


def _of_dataset(settings_by_dataset: dict[str, dict], dataset: str) -> dict[str, Any]:
    """The entry whose name begins the dataset's name, or the first."""

    def plain(name: str) -> str:
        return re.sub(r"[^a-z0-9]", "", name.lower())

    for name, settings in settings_by_dataset.items():
        if plain(dataset).startswith(plain(name)):
            return settings
    return next(iter(settings_by_dataset.values()), {})


def _read_property_file(folder: str, name: str, yaml_loader: _Loader) -> dict[str, Any]:
    return deepcopy(_parsed(folder, name, yaml_loader))  # type: ignore[arg-type]  # classes can be hashed


@cache
def _parsed(folder: str, name: str, yaml_loader: _Loader) -> dict[str, Any]:
    path = files("recbole_irllrec.properties").joinpath(folder, f"{name}.yaml")
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml_loader) if path.is_file() else {}


def _entry(model: str) -> zoo.Model:
    found = zoo.find(model)
    assert found is not None, f"{model} is none of our models"
    return found


def _complete(config: Config, names: Iterable[str]) -> None:
    """Give the settings of an earlier release's checkpoint those that have come since, by default.

    Not as they have been tuned since: the checkpoint's model is without them.
    """
    missing = [name for name in names if name not in config]
    if missing:
        known = defaults(config["model"], "", {"preset": config["preset"]}, yaml.SafeLoader) | _BEFORE
        for name in missing:
            config[name] = known[name]


def refuse_unknown(config: Config, names: Iterable[str]) -> None:
    """Refuse settings of these names that nobody knows, whatever they look like.

    Raises:
        IRLLRecError: there is one.
    """
    known = _known(config["model"])
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known, "leave it out.")
            raise IRLLRecError(f"There is no setting {name} of {config['model']}: {hint}")


def _refuse_misspelt(config: Config, ours: Iterable[str]) -> None:
    """Refuse a setting that the user gave, that nobody knows and that looks like one of ours."""
    known = _known(config["model"])
    for name in config.external_config_dict:
        if name in known:
            continue
        alike = difflib.get_close_matches(str(name), list(ours), n=1, cutoff=0.8)
        if alike:
            raise IRLLRecError(f"There is no setting {name} ({_origin(config, name)}): did you mean {alike[0]}?")


def _known(model: str) -> set[str]:
    """Every setting that RecBole, the model or one of ours has."""
    every = {name for each in zoo.models() for name in each.settings.names()}
    own = zoo.find(model)
    return every | _known_to_recbole() | set(own.settings.names() if own else ())


def _origin(config: Config, name: str) -> str:
    """Where a setting's value comes from."""
    if name in config.cmd_config_dict:
        return "on the command line"
    if name in config.variable_config_dict:
        return "in config_dict"
    if name in config.file_config_dict:
        return f"in {', '.join(config.__dict__.get('config_file_list') or ['the configuration files'])}"
    return "by default"


@cache
def _known_to_recbole() -> frozenset[str]:
    """Every setting that RecBole or one of its models reads from a property file."""
    names = {*general_arguments, *training_arguments, *evaluation_arguments, *dataset_arguments}
    for folder in ("", "model", "dataset", "quick_start_config"):
        for file in files("recbole").joinpath("properties", folder).iterdir():
            if file.name.endswith(".yaml"):
                content = yaml.safe_load(file.read_text(encoding="utf-8"))
                names.update(content or ())
    return frozenset(names)
