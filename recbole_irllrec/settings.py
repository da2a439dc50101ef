"""IRLLRec's own settings: where their values come from, and what is refused before any work starts."""

import difflib
import re
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from recbole.utils.argument_list import (
    dataset_arguments,
    evaluation_arguments,
    general_arguments,
    training_arguments,
)

from .errors import IRLLRecError

Weight = Field(ge=0, allow_inf_nan=False)
Temperature = Field(gt=0, allow_inf_nan=False)
Count = Field(ge=1)
Share = Field(ge=0, le=1)


# With all of them zero no text is needed.
ALIGNMENT_WEIGHTS = ("profile_weight", "pairwise_weight", "translation_weight", "matching_weight")


class Settings(BaseModel):
    """The settings that IRLLRec adds to RecBole's, with their ranges.

    Their defaults and meanings stand in ``properties/model/IRLLRec.yaml``.
    """

    model_config = ConfigDict(frozen=True)

    embedding_size: int = Count
    n_layers: int = Count
    layer_aggregation: Literal["sum", "mean"]
    edge_dropout: float = Field(ge=0, lt=1)
    ranking_loss: Literal["bpr", "softmax"]
    softmax_negatives: Annotated[int, Count] | Literal["all"]
    softmax_temperature: float = Temperature
    item_bias: bool
    reg_weight: float = Weight
    n_intents: int = Count
    fusion: Literal["text", "sum", "gate"]
    profile_weight: float = Weight
    profile_temperature: float = Temperature
    pairwise_weight: float = Weight
    pairwise_temperature: float = Temperature
    translation_weight: float = Weight
    matching_weight: float = Weight
    teacher_momentum: float = Share
    contrast_nodes: Annotated[int, Count] | Literal["all"]
    text_dim: Annotated[int, Count] | None
    user_profile_table: str | None
    item_profile_table: str | None
    user_intent_table: str | None
    item_intent_table: str | None
    user_text: Literal["mean_of_items"] | None
    min_text_coverage: float = Share
    mask_valid_in_test: bool
    valid_users: int | None
    preset: Literal["published"] | None
    resume: bool | str

    @property
    def uses_profiles(self) -> bool:
        """Whether any loss term reads the profile texts."""
        return self.profile_weight > 0

    @property
    def uses_intents(self) -> bool:
        """Whether any loss term reads the intent texts."""
        return self.pairwise_weight > 0 or self.translation_weight > 0 or self.matching_weight > 0

    @property
    def text_kinds(self) -> tuple[str, ...]:
        """The kinds of text that the loss terms read: 'profile', 'intent', both or none."""
        return ("profile",) * self.uses_profiles + ("intent",) * self.uses_intents


def read_settings(config) -> Settings:
    """Check the settings of a RecBole ``Config`` and return IRLLRec's own.

    Raises:
        IRLLRecError: a setting has an impossible value, or one that the user gave is a misspelling of one of ours.
    """
    _refuse_misspelt(config)
    try:
        return Settings.model_validate({name: config[name] for name in Settings.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        complaint = first["msg"][0].lower() + first["msg"][1:]
        raise IRLLRecError(
            f"The setting {name} ({_origin(config, name)}) is {config[name]!r}: {complaint.replace('input', 'it')}."
        ) from None


def defaults(model: str, dataset: str, user_settings: dict[str, Any], yaml_loader) -> dict[str, Any]:
    """The settings of ``model`` on ``dataset`` that lie below the user's own.

    Args:
        model: the model's name.
        dataset: the dataset's name.
        user_settings: what the user gave in files, in ``config_dict`` or on the command line.
        yaml_loader: RecBole's YAML loader, which reads ``1e-7`` as a number.

    Returns:
        Later sources over earlier ones: ``model/<model>.yaml``, ``tuned/<model>-<dataset>.yaml``, the preset. What was
        tuned does not mix with a preset.
    """
    settings = _read_property_file("model", model, yaml_loader)
    preset = user_settings.get("preset", settings["preset"])
    if preset is None:
        return settings | _read_property_file("tuned", f"{model}-{dataset}", yaml_loader)
    published = _read_property_file("presets", str(preset), yaml_loader)
    if not published:
        return settings  # `read_settings` refuses the name
    return settings | published["common"] | _of_dataset(published["datasets"], dataset)


def _of_dataset(settings_by_dataset: dict[str, dict], dataset: str) -> dict[str, Any]:
    """The entry whose name begins the dataset's name, or the first."""

    def plain(name: str) -> str:
        return re.sub(r"[^a-z0-9]", "", name.lower())

    for name, settings in settings_by_dataset.items():
        if plain(dataset).startswith(plain(name)):
            return settings
    return next(iter(settings_by_dataset.values()))


def _read_property_file(folder: str, name: str, yaml_loader) -> dict[str, Any]:
    path = files("recbole_irllrec.properties").joinpath(folder, f"{name}.yaml")
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml_loader) if path.is_file() else {}


def _refuse_misspelt(config) -> None:
    """Refuse a setting that the user gave, that nobody knows and that looks like one of ours."""
    known = _known_to_recbole() | set(Settings.model_fields)
    for name in config.external_config_dict:
        if name in known:
            continue
        alike = difflib.get_close_matches(str(name), list(Settings.model_fields), n=1, cutoff=0.8)
        if alike:
            raise IRLLRecError(f"There is no setting {name} ({_origin(config, name)}): did you mean {alike[0]}?")


def _origin(config, name: str) -> str:
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
