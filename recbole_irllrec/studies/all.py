"""The studies that there are, by name."""

import difflib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..errors import IRLLRecError
from . import ablation, controls, encoders, noise, sparsity
from .study import Asked, Study


class Kind(NamedTuple):
    """A kind of study."""

    plan: Callable[[Asked], Study]
    models: str  # where none is named
    takes: tuple[str, ...] = ()  # what may be asked of it beside what may be of all

    def refuse_options(self, name: str, given: Iterable[str]) -> None:
        """Refuse what it does not take.

        Raises:
            IRLLRecError: says what.
        """
        for option in given:
            if option not in self.takes:
                raise IRLLRecError(f"The study {name} takes no --{option}: leave it out.")


STUDIES = {
    "ablation": Kind(ablation.plan, "IRLLRec"),
    "controls": Kind(controls.plan, "IRLLRec"),
    "encoders": Kind(encoders.plan, "IRLLRec", takes=("encoders", "fields")),
    "noise": Kind(noise.plan, "IRLLRec,LightGCN,EASE", takes=("shares",)),
    "sparsity": Kind(sparsity.plan, "IRLLRec,LightGCN,EASE"),
}


def find(name: str) -> Kind:
    """The kind of study of that name.

    Raises:
        IRLLRecError: there is none.
    """
    if name not in STUDIES:
        close = difflib.get_close_matches(name, STUDIES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"take one of {', '.join(STUDIES)}."
        raise IRLLRecError(f"There is no study {name}: {hint}")
    return STUDIES[name]
