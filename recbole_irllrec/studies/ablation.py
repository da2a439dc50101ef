"""What each part of a model brings: the model without it, everything else as it is."""

from functools import partial
from typing import Any

from ..benchmark import plots, tables
from ..benchmark.plan import Variant
from ..benchmark.results import Results
from ..errors import IRLLRecError
from . import words
from .study import Asked, Study, Told

# What is without a part: the setting, and its value then.
PARTS: dict[str, tuple[str, Any]] = {
    "profile": ("profile_weight", 0.0),
    "reconstruction": ("reconstruction_weight", 0.0),
    "pairwise": ("pairwise_weight", 0.0),
    "translation": ("translation_weight", 0.0),
    "matching": ("matching_weight", 0.0),
    "fusion": ("fusion", "text"),
    "linear part": ("linear_weight", 0.0),
    "item bias": ("item_bias", False),
    "softmax loss": ("ranking_loss", "bpr"),
}


def plan(asked: Asked) -> Study:
    """The study.

    Raises:
        IRLLRecError: the model has no part that could be left out.
    """
    model = asked.model
    settings = asked.settings(model)
    known = {part: off for part, off in PARTS.items() if settings is not None and off[0] in type(settings).names()}
    on = [part for part in known if _is_on(settings, part)]
    if not on:
        raise IRLLRecError(
            f"{model.name} has no part to leave out with these settings: take a model that wears the alignment, such "
            f"as IRLLRec."
        )
    off = [part for part in known if part not in on]
    without = {f"{model.name} without {part}": part for part in on}
    rows = [Variant(name, model.model, {**model.settings, **dict([PARTS[part]])}) for name, part in without.items()]
    notes = [_CHANGED.format(model=model.name)]
    if off:
        notes.append(f"Left out, for the settings on this data set have switched it off: {words.listed(off)}.")
    return Study(
        "ablation",
        f"What the parts of {model.name} bring",
        [model, *rows],
        partial(_tell, full=model.name, without=without),
        notes,
    )


_CHANGED = (
    "Each row has the settings of {model} on this data set but for one part, which is switched off by its weight; they "
    "were not tuned anew. Without fusion, intents are matched on their text side alone; without the softmax loss, "
    "items are ranked by BPR."
)


def _is_on(settings: Any, part: str) -> bool:
    """Whether the model would be another one without it."""
    name, off = PARTS[part]
    return getattr(settings, name) != off and (part != "fusion" or settings.matching_weight > 0)


def _tell(results: Results, full: str, without: dict[str, str]) -> Told:
    found = words.differences(results, [(row, full) for row in without])
    table = words.with_differences(results, found)
    names = tables.metric_names(results)
    return Told(
        _paragraph(results, full, without, found),
        [table],
        {f"{table.title.split(',')[0]} without each part": plots.bars(results, names)},
        words.numbers(results, found),
    )


def _paragraph(results: Results, full: str, without: dict[str, str], found: list[words.Difference]) -> str:
    return " ".join(
        [
            f"{full} reaches {words.written(results)} {words.mean(results, full):.4f} on the test set.",
            *words.by_verdict(
                found, without, ("It is better without", "It is worse without", "No difference is found without")
            ),
            *words.failed(results),
            words.how(results, "the parts"),
        ]
    )
