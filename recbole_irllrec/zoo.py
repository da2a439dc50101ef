"""Our models, as data: what the rest of the package needs to know of each, without importing any.

RecBole looks models, trainers, data sets and settings up by the model's name, and so does the rest of this package,
here.
"""

import importlib
from dataclasses import dataclass

from .settings.schemas import (
    AdditiveEASESettings,
    CollectiveEASESettings,
    IRLLRecSettings,
    L3AESettings,
    Part,
)


@dataclass(frozen=True)
class Model:
    """A model of ours."""

    name: str
    location: str  # module:class, imported when the class is first asked for
    settings: type[Part]  # what it adds to RecBole's settings
    gives_vectors: bool = False  # `scoring_embeddings()` gives vectors of users and items whose products are scores
    # Our trainer: named loss terms, plain checkpoints, exact resuming. Without it RecBole's of the model's type.
    own_trainer: bool = False
    has_chance: bool = True  # whether another seed gives another model
    # Scores need no more memory than their own: many users may be ranked at once.
    ranks_in_blocks: bool = True

    def load(self) -> type:
        """The model's class."""
        module, _, name = self.location.partition(":")
        return getattr(importlib.import_module(module), name)

    @property
    def can_do_without_text(self) -> bool:
        """Whether there are settings with which it reads no text and still is a model."""
        return bool(self.settings.without_text())


# RecBole's models of which another seed gives the same one.
WITHOUT_CHANCE = frozenset({"Pop", "ItemKNN", "AsymKNN", "EASE"})

_MODELS = {
    model.name: model
    for model in (
        Model(
            "IRLLRec",
            "recbole_irllrec.model.irllrec:IRLLRec",
            IRLLRecSettings,
            gives_vectors=True,
            own_trainer=True,
        ),
        *(
            Model(name, f"recbole_irllrec.model.text_ease:{name}", settings, has_chance=False)
            for name, settings in (
                ("CollectiveEASE", CollectiveEASESettings),
                ("AdditiveEASE", AdditiveEASESettings),
                ("L3AE", L3AESettings),
            )
        ),
    )
}


def find(name: str) -> Model | None:
    """Our model of that name; None for RecBole's and for none."""
    return _MODELS.get(name)


def has_chance(name: str) -> bool:
    """Whether another seed gives another model of that name, RecBole's or ours."""
    model = find(name)
    return model.has_chance if model else name not in WITHOUT_CHANCE


def text_sides(name: str) -> tuple[str, ...]:
    """Whose texts the model of that name may read: users', items'; nobody's if it is not ours."""
    model = find(name)
    return model.settings.text_sides if model else ()


def models() -> list[Model]:
    """All our models."""
    return list(_MODELS.values())
