"""The studies that there are, by name."""

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..errors import IRLLRecError, did_you_mean

if TYPE_CHECKING:
    from .study import Asked, Study


class Kind(NamedTuple):
    """A kind of study."""

    module: str  # in this folder; it is imported when the study is planned
    models: str  # where none is named
    takes: tuple[str, ...] = ()  # what may be asked of it beside what may be of all

    def plan(self, asked: "Asked") -> "Study":
        """What to run, and how to tell the answer."""
        return importlib.import_module(f".{self.module}", __package__).plan(asked)

    def refuse_options(self, name: str, given: Iterable[str]) -> None:
        """Refuse what it does not take.

        Raises:
            IRLLRecError: says what.
        """
        for option in given:
            if option not in self.takes:
                raise IRLLRecError(f"The study {name} takes no --{option}: leave it out.")


STUDIES = {
    "ablation": Kind("ablation", "IRLLRec"),
    "controls": Kind("controls", "IRLLRec"),
    "encoders": Kind("encoders", "IRLLRec", takes=("encoders", "fields")),
    "noise": Kind("noise", "IRLLRec,LightGCN,EASE", takes=("shares",)),
    "sparsity": Kind("sparsity", "IRLLRec,LightGCN,EASE"),
}


def find(name: str) -> Kind:
    """The kind of study of that name.

    Raises:
        IRLLRecError: there is none.
    """
    if name not in STUDIES:
        hint = did_you_mean(name, STUDIES, f"take one of {', '.join(STUDIES)}.")
        raise IRLLRecError(f"There is no study {name}: {hint}")
    return STUDIES[name]
