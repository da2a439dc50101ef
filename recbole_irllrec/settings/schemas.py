"""The settings that our models add to RecBole's, in parts, with their ranges.

A model's settings are a schema put together from parts. The defaults and meanings of a part stand in
``properties/settings/<part>.yaml``, those of a model's own in ``properties/model/<Model>.yaml``.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ..errors import IRLLRecError

_log = logging.getLogger(__name__)

Weight = Field(ge=0, allow_inf_nan=False)
Temperature = Field(gt=0, allow_inf_nan=False)
Count = Field(ge=1)
FEW_ITEMS = 20_000  # for up to so many, 'auto' takes what grows with items times items, or items times a batch's users
Share = Field(ge=0, le=1)


class Part(BaseModel):
    """Settings that belong together."""

    # of the many schemas a run uses one, and building each takes milliseconds
    model_config = ConfigDict(frozen=True, defer_build=True)
    # the name of the file of defaults; settings without a part of their own are a model's
    part: ClassVar[str | None] = None
    # whose texts are read
    text_sides: ClassVar[tuple[str, ...]] = ("user", "item")

    @classmethod
    def parts(cls) -> list[str]:
        """The files of defaults that these settings have, without the model's own."""
        found = (vars(base).get("part") for base in reversed(cls.__mro__))
        return [part for part in found if part is not None]

    @classmethod
    def names(cls) -> list[str]:
        """The settings; a field that has a value by itself is one that the model lacks."""
        return [name for name, field in cls.model_fields.items() if field.is_required()]

    @property
    def text_kinds(self) -> tuple[str, ...]:
        """The kinds of text that a model with these settings reads: 'profile', 'intent', both or none."""
        return ()

    def of_data(self, n_items: int) -> Self:
        """With what depends on the data, in place of 'auto'; the log says it and why."""
        return self

    def _resolved(self, name: str, n_items: int, few: Any, many: Any) -> Self:
        """With the setting of this name, if it is 'auto', as it is for few or for many items."""
        if getattr(self, name) != "auto":
            return self
        value, compared = (few, "no more") if n_items <= FEW_ITEMS else (many, "more")
        _log.info(
            "%s: auto is %s here: there are %s items, %s than %s.",
            *(name, value, f"{n_items:,}", compared, f"{FEW_ITEMS:,}"),
        )
        return self.model_copy(update={name: value})

    @classmethod
    def without_text(cls) -> dict[str, float]:
        """What to set so that no text is read; empty where there is none to read or where nothing is left without."""
        return {}


class EvaluationSettings(Part):
    """Full ranking; they serve every model of RecBole's, too."""

    part = "evaluation"
    mask_valid_in_test: bool
    valid_users: int | None
    item_boards: bool


# What a data loader depends on.
LOADER_SETTINGS = ("mask_valid_in_test", "valid_users")


class RunSettings(Part):
    """Where a run begins, and who is told of it; ``log_mlflow`` serves every model of RecBole's, too."""

    part = "run"
    resume: bool | str
    warm_start: str | None
    log_mlflow: bool


class PresetSettings(Part):
    """Settings as somebody published them."""

    part = "preset"
    preset: Literal["published"] | None


class TextSettings(Part):
    """Which texts are read."""

    part = "texts"
    user_profile_table: str | None
    item_profile_table: str | None
    user_intent_table: str | None
    item_intent_table: str | None
    default_texts: Literal["features", "intents", "all"]
    default_encoder: str
    user_text: Literal["mean_of_items"] | None
    text_dim: Annotated[int, Count] | None
    min_text_coverage: float = Share
    text_change: Literal["shuffled", "random", "blank"] | None
    text_change_share: float = Share
    text_change_seed: int = Field(ge=0)


class AlignmentTerms(Part):
    """The loss terms by which embeddings are aligned with texts; a model has some of them."""

    WEIGHTS: ClassVar[tuple[str, ...]] = (
        *("profile_weight", "pairwise_weight", "translation_weight", "matching_weight", "reconstruction_weight"),
    )
    linear_weight: float | Literal["auto"] = 0.0  # of models with the part `LinearSettings`
    profile_weight: float = 0.0
    pairwise_weight: float = 0.0
    translation_weight: float = 0.0
    matching_weight: float = 0.0
    reconstruction_weight: float = 0.0

    @property
    def uses_profiles(self) -> bool:
        """Whether any loss term reads the profile texts."""
        return self.profile_weight > 0 or self.reconstruction_weight > 0

    @property
    def uses_intents(self) -> bool:
        """Whether any loss term reads the intent texts."""
        return self.pairwise_weight > 0 or self.translation_weight > 0 or self.matching_weight > 0

    @property
    def reveals_intents(self) -> bool:
        """Whether any loss term reads the intents that the graph reveals."""
        return False

    @property
    def text_kinds(self) -> tuple[str, ...]:
        return ("profile",) * self.uses_profiles + ("intent",) * self.uses_intents

    @classmethod
    def without_text(cls) -> dict[str, float]:
        return {name: 0.0 for name in cls.WEIGHTS if name in cls.names()}


class ContrastSettings(Part):
    """How many nodes a step contrasts."""

    part = "contrast"
    contrast_nodes: Annotated[int, Count] | Literal["all"]


class ProfileSettings(AlignmentTerms, ContrastSettings, TextSettings):
    """RLMRec-Con's term."""

    part = "profile_alignment"
    profile_weight: float = Weight
    profile_temperature: float = Temperature


class AlignmentSettings(ProfileSettings):
    """IRLLRec's terms."""

    part = "intent_alignment"
    n_intents: int = Count
    intent_neighbours: Annotated[int, Count] | Literal["all"]
    fusion: Literal["text", "sum", "gate"]
    pairwise_weight: float = Weight
    pairwise_temperature: float = Temperature
    translation_weight: float = Weight
    matching_weight: float = Weight
    teacher_momentum: float = Share

    @property
    def reveals_intents(self) -> bool:
        return self.pairwise_weight > 0 or (self.matching_weight > 0 and self.fusion != "text")


class ReconstructionSettings(AlignmentTerms, ContrastSettings, TextSettings):
    """RLMRec-Gen's term."""

    part = "reconstruction"
    mask_ratio: float = Field(gt=0, lt=1)
    reconstruction_weight: float = Weight
    reconstruction_temperature: float = Temperature


class RecommenderSettings(EvaluationSettings, RunSettings):
    """What every model of ours that our trainer trains adds to RecBole's."""


class UnseenItemsSettings(Part):
    """Vectors from texts, for items that training has not seen."""

    part = "unseen_items"
    unseen_items: Literal["text"] | None
    unseen_sharpness: float = Field(gt=0, allow_inf_nan=False)
    unseen_reg_weight: float = Field(gt=0, allow_inf_nan=False)
    unseen_neighbours: float = Share
    unseen_scale: float = Field(gt=0, allow_inf_nan=False)
    text_evidence: float = Weight


class LinearSettings(Part):
    """A closed form whose scores are added to the encoder's; before the alignment's part among a class's bases."""

    part = "linear"
    # where it is affordable: weights of 20,000 items take 5 to 13 GB while they are found
    AUTO_WEIGHT: ClassVar[float] = 1.5

    linear_weight: Annotated[float, Weight] | Literal["auto"]
    linear_reg_weight: float = Field(gt=0, allow_inf_nan=False)
    linear_text_weight: float = Weight
    linear_popularity_discount: float = Weight
    linear_neighbours: int = Count

    @property
    def text_kinds(self) -> tuple[str, ...]:
        """'auto' makes use of what is read anyway, and asks for no text where nothing else does."""
        reads_text = self.linear_weight not in ("auto", 0) and self.linear_text_weight > 0
        return super().text_kinds or ("profile",) * reads_text

    def of_data(self, n_items: int) -> Self:
        found = super().of_data(n_items)._resolved("linear_weight", n_items, few=self.AUTO_WEIGHT, many=0.0)
        if found.text_kinds == self.text_kinds:
            return found
        return found.model_copy(update={"linear_text_weight": 0.0})

    def reads_texts(self, n_items: int) -> bool:
        """Whether there is a linear part, on so many items, and it reads texts."""
        few = self.linear_weight == "auto" and n_items <= FEW_ITEMS
        return bool((few or self.linear_weight not in ("auto", 0)) and self.linear_text_weight > 0 and self.text_kinds)

    @classmethod
    def without_text(cls) -> dict[str, float]:
        return super().without_text() | {"linear_text_weight": 0.0}


class EncoderSettings(RecommenderSettings, PresetSettings):
    """A graph encoder and how it learns to rank."""

    part = "encoder"
    AUTO_NEGATIVES: ClassVar[int] = 4096

    embedding_size: int = Count
    n_layers: int = Count
    layer_aggregation: Literal["sum", "mean"]
    ranking_loss: Literal["bpr", "softmax"]
    softmax_negatives: Annotated[int, Count] | Literal["all", "auto"]
    softmax_temperature: float = Temperature
    item_bias: bool
    interaction_weight: str | None
    reg_weight: float = Weight

    def of_data(self, n_items: int) -> Self:
        resolved = super().of_data(n_items)
        if self.ranking_loss != "softmax":
            return resolved
        return resolved._resolved("softmax_negatives", n_items, few="all", many=self.AUTO_NEGATIVES)


class LightGCNSettings(EncoderSettings):
    """IRLLRec's own encoder."""

    edge_dropout: float = Field(ge=0, lt=1)


class SelfSupervisedSettings(EncoderSettings):
    """An encoder with contrasts of its own."""

    ssl_weight: float = Weight
    ssl_tau: float = Temperature


class ViewContrastSettings(SelfSupervisedSettings):
    """An encoder that contrasts two views of its nodes."""

    part = "view_contrast"
    ssl_nodes: Annotated[int, Count] | Literal["all"]


class SGLSettings(ViewContrastSettings):
    type: Literal["ED", "ND", "RW"]
    drop_ratio: float = Field(ge=0, lt=1)


class SimGCLSettings(ViewContrastSettings):
    eps: float = Weight


class DCCFSettings(SelfSupervisedSettings):
    n_intents: int = Count


class BIGCFSettings(DCCFSettings):
    prototype_weight: float = Weight


class AlphaRecSettings(EncoderSettings, TextSettings):
    """Its users are what their items' texts say, and there are no weights to switch off."""

    text_sides = ("item",)

    text_kind: Literal["profile", "intent"]
    hidden_ratio: float = Field(gt=0, allow_inf_nan=False)

    @property
    def text_kinds(self) -> tuple[str, ...]:
        return (self.text_kind,)


class IRLLRecSettings(LinearSettings, AlignmentSettings, UnseenItemsSettings, LightGCNSettings):
    """All that IRLLRec adds."""


class ContentMeanSettings(TextSettings, EvaluationSettings):
    """Of a model that reads the items' texts alone."""

    text_sides = ("item",)

    text_kind: Literal["profile", "intent"]

    @property
    def text_kinds(self) -> tuple[str, ...]:
        return (self.text_kind,)


class TextEASESettings(ContentMeanSettings):
    """Of the linear models with text (`model/text_ease.py`)."""

    reg_weight: float = Field(gt=0, allow_inf_nan=False)


class CollectiveEASESettings(TextEASESettings):
    text_weight: float = Weight


class WeightedEASESettings(CollectiveEASESettings):
    popularity_discount: float = Weight


class AdditiveEASESettings(TextEASESettings):
    text_reg_weight: float = Field(gt=0, allow_inf_nan=False)
    text_share: float = Share


class L3AESettings(TextEASESettings):
    reg_weight: float = Field(allow_inf_nan=False)
    text_reg_weight: float = Field(gt=0, allow_inf_nan=False)
    distillation_weight: float = Weight

    @field_validator("distillation_weight")
    @classmethod
    def _leaves_a_ridge(cls, value: float, info: ValidationInfo) -> float:
        # reg_weight is not there where it is a default, which comes later
        if "reg_weight" in info.data and value + info.data["reg_weight"] <= 0:
            raise PydanticCustomError("no_ridge", "Its sum with reg_weight should be above 0")
        return value


def refusal(error: Mapping[str, Any], origin: str, value: Any) -> IRLLRecError:
    """What is said of a setting's impossible value.

    Args:
        error: pydantic's.
        origin: where the value comes from, in words.
        value: what it is.
    """
    complaint = error["msg"][0].lower() + error["msg"][1:]
    return IRLLRecError(f"The setting {error['loc'][0]} ({origin}) is {value!r}: {complaint.replace('input', 'it')}.")
