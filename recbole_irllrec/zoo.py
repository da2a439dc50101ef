"""Our models, as data: what the rest of the package needs to know of each, without importing any.

RecBole looks models, trainers, data sets and settings up by the model's name, and so does the rest of this package,
here. A name says what is aligned and what wears it: `IRLLRec` + the name of an encoder of ours, or of any general
recommender of RecBole.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from . import recboles
from .settings.schemas import (
    AdditiveEASESettings,
    AlignmentSettings,
    AlphaRecSettings,
    BIGCFSettings,
    CollectiveEASESettings,
    ContentMeanSettings,
    DCCFSettings,
    EncoderSettings,
    EvaluationSettings,
    IRLLRecSettings,
    L3AESettings,
    LightGCNSettings,
    LinearSettings,
    Part,
    ProfileSettings,
    RecommenderSettings,
    ReconstructionSettings,
    SGLSettings,
    SimGCLSettings,
    UnseenItemsSettings,
    WeightedEASESettings,
)


@dataclass(frozen=True)
class Model:
    """A model of ours."""

    name: str
    location: str  # module:class, imported when the class is first asked for
    settings: type[Part]  # what it adds to RecBole's settings
    aligned: bool = False  # whether it is the class at that location wearing the alignment, or the class itself
    # The models whose files of defaults lie below its own, each over those before; RecBole's has one if it is named.
    inherits: tuple[str, ...] = ()
    recboles: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)  # over those of files
    preset: str = ""  # the file of published settings
    gives_vectors: bool = False  # `scoring_embeddings()` gives vectors of users and items whose products are scores
    # Our trainer: named loss terms, plain checkpoints, exact resuming. Without it RecBole's of the model's type.
    own_trainer: bool = False
    has_chance: bool = True  # whether another seed gives another model
    scores_unseen: bool = False  # whether texts tell it something of items without training interactions
    # Scores need no more memory than their own: many users may be ranked at once.
    ranks_in_blocks: bool = True
    registered: type | None = None  # the class, where a user has registered it

    def load(self) -> type:
        """The model's class.

        Raises:
            IRLLRecError: the class cannot wear the alignment.
        """
        if self.registered is not None:
            return self.registered
        module, _, name = self.location.partition(":")
        found = getattr(importlib.import_module(module), name)
        if self.aligned:
            wearing = importlib.import_module("recbole_irllrec.model.wearing")
            found = wearing.aligned(found, self.name)
        return found

    @property
    def is_recboles(self) -> bool:
        """Whether it is a model of RecBole that wears the alignment."""
        return self.recboles is not None and self.location.startswith("recbole.")

    @property
    def can_do_without_text(self) -> bool:
        """Whether there are settings with which it reads no text and still is a model."""
        return bool(self.settings.without_text())


# RecBole's models of which another seed gives the same one.
WITHOUT_CHANCE = frozenset({"Pop", "ItemKNN", "AsymKNN", "EASE"})

# What is aligned with texts: the terms' settings.
_ALIGNMENTS: dict[str, type[Part]] = {
    "IRLLRec": AlignmentSettings,
    "RLMRecCon": ProfileSettings,
    "RLMRecGen": ReconstructionSettings,
}
# What wears it: our graph encoders, LightGCN being the one that needs no name.
_ENCODERS: dict[str, tuple[str, type[EncoderSettings]]] = {
    "": ("encoder:GraphEncoder", LightGCNSettings),
    "SGL": ("sgl:SGL", SGLSettings),
    "SimGCL": ("simgcl:SimGCL", SimGCLSettings),
    "DCCF": ("dccf:DCCF", DCCFSettings),
    "BIGCF": ("bigcf:BIGCF", BIGCFSettings),
}


def _encoder(encoder: str, alignment: str = "") -> Model:
    """An encoder, plain or wearing an alignment."""
    location, settings = _ENCODERS[encoder]
    name = alignment + encoder
    return Model(
        name,
        f"recbole_irllrec.model.{location}",
        with_alignment(name, settings, alignment) if alignment else settings,
        aligned=bool(alignment),
        inherits=(encoder or "IRLLRec",) if alignment else (),
        recboles="SGL" if encoder == "SGL" else None,
        preset=encoder or "LightGCN",
        gives_vectors=True,
        own_trainer=True,
        scores_unseen=bool(alignment),
    )


def with_alignment(name: str, settings: type[Part], alignment: str = "IRLLRec") -> type[Part]:
    """The settings of a recommender that wears the alignment."""
    parts = [_ALIGNMENTS[alignment]]
    if issubclass(settings, EncoderSettings):
        # RLMRec's models stay what they are
        parts = [*([LinearSettings] if alignment == "IRLLRec" else []), *parts, UnseenItemsSettings]
    return type(f"{name}Settings", (*parts, settings), {"__module__": __name__})


_MODELS = {
    model.name: model
    for model in (
        Model(
            "IRLLRec",
            "recbole_irllrec.model.irllrec:IRLLRec",
            IRLLRecSettings,
            preset="LightGCN",
            gives_vectors=True,
            own_trainer=True,
            scores_unseen=True,
        ),
        *(_encoder(name) for name in _ENCODERS if name),
        *(_encoder(name, "IRLLRec") for name in _ENCODERS if name),
        *(_encoder(name, rlmrec) for rlmrec in ("RLMRecCon", "RLMRecGen") for name in _ENCODERS),
        Model(
            "AlphaRec",
            "recbole_irllrec.model.alpharec:AlphaRec",
            AlphaRecSettings,
            preset="AlphaRec",
            gives_vectors=True,
            own_trainer=True,
            scores_unseen=True,
        ),
        *(
            Model(name, f"recbole_irllrec.model.text_ease:{name}", settings, has_chance=False, scores_unseen=True)
            for name, settings in (
                ("ContentMean", ContentMeanSettings),
                ("CollectiveEASE", CollectiveEASESettings),
                ("WeightedEASE", WeightedEASESettings),
                ("AdditiveEASE", AdditiveEASESettings),
                ("L3AE", L3AESettings),
            )
        ),
    )
}


def find(name: object) -> Model | None:
    """Our model of that name; None for RecBole's and for none."""
    if not isinstance(name, str):
        return None
    return _MODELS.get(name) or _aligned_recommender(name)


@cache
def _aligned_recommender(name: str) -> Model | None:
    """A general recommender of RecBole that wears the alignment, if the name says so."""
    for alignment in ("IRLLRec", "RLMRecCon"):
        base = name.removeprefix(alignment)
        if base in ("", name) or not base.isidentifier():
            continue
        module = recboles.module_of("general", base)
        if module is None:
            continue
        return Model(
            name,
            f"{module}:{base}",
            with_alignment(name, settings_of_recboles(base), alignment),
            aligned=True,
            recboles=base,
            own_trainer=not has_recboles_trainer(base),
            ranks_in_blocks=False,
        )
    return None


def has_recboles_trainer(name: str | None) -> bool:
    """Whether RecBole trains a model of its own in a manner of its own."""
    return f"{name}Trainer" in vars(importlib.import_module("recbole.trainer"))


def settings_of_recboles(name: str | None) -> type[Part]:
    """What a model of RecBole's that wears the alignment adds by itself; RecBole's trainers know nothing of ours."""
    return EvaluationSettings if has_recboles_trainer(name) else RecommenderSettings


def add(model: Model) -> None:
    """Make a model known, in place of another of that name."""
    _MODELS[model.name] = model


def has_chance(name: str) -> bool:
    """Whether another seed gives another model of that name, RecBole's or ours."""
    model = find(name)
    return model.has_chance if model else name not in WITHOUT_CHANCE


def text_sides(name: str) -> tuple[str, ...]:
    """Whose texts the model of that name may read: users', items'; nobody's if it is not ours."""
    model = find(name)
    return model.settings.text_sides if model else ()


def models() -> list[Model]:
    """Our models, without those of RecBole that wear the alignment."""
    return list(_MODELS.values())
