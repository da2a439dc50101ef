"""Whether the content of the texts helps a model, or only the loss that reads them."""

from functools import partial

from .. import zoo
from ..benchmark import plots, tables
from ..benchmark.plan import Variant
from ..benchmark.results import Results
from . import words
from .study import Asked, Study, Told

TEXT_ALONE = ("AlphaRec", "ContentMean")


def plan(asked: Asked) -> Study:
    """The study.

    Raises:
        IRLLRecError: the model reads no texts.
    """
    own = asked.model
    settings = asked.settings_with_text(own)
    rows = {
        how: Variant(f"{own.name} with {name}", own.model, {**own.settings, "text_change": how})
        for how, name in (("shuffled", "shuffled texts"), ("random", "random vectors"))
    }
    notes = [_CHANGED]
    if without := _without(own):
        rows["none"] = without
    else:
        notes.append(f"{own.name} is no model without text, so there is no such row.")
    alone = [Variant(name, name, {"text_kind": settings.text_kinds[0]}) for name in TEXT_ALONE if name != own.model]
    question = f"Does the content of the texts help {own.name}?"
    tell = partial(
        _tell, own=own.name, rows={how: row.name for how, row in rows.items()}, alone=[v.name for v in alone]
    )
    return Study("controls", question, [own, *rows.values(), *alone], tell, notes)


_CHANGED = (
    "Shuffled: each node has the text of another node of its side, of users or of items, drawn once for all runs. "
    "Random: vectors as long as its texts' and of random directions. Without text: the weights of all loss terms that "
    "read it are 0. AlphaRec and ContentMean rank by the items' texts alone. What users' texts owe to their training "
    "items is lost with the content when they are shuffled. The settings are the same in all rows of the model, and "
    "were not tuned anew."
)


def _without(own: Variant) -> Variant | None:
    model, _, _ = own.model.partition(":")
    entry = zoo.find(model)
    assert entry is not None  # it reads texts
    if not entry.can_do_without_text:
        return None
    settings = {**own.settings, **entry.settings.without_text()}
    return Variant(f"{own.name} without text", own.model, settings)


def _tell(results: Results, own: str, rows: dict[str, str], alone: list[str]) -> Told:
    # What the sentence compares, and then what else there is.
    shuffled, random, none = rows["shuffled"], rows["random"], rows.get("none", "")
    pairs = [(own, shuffled), (shuffled, none), (own, random), (own, none), *((own, other) for other in alone)]
    found = {(one.row, one.base): one for one in words.differences(results, pairs)}
    against_own = [
        one._replace(row=base, base=row, change=-one.change, good=not one.good)
        for (row, base), one in found.items()
        if row == own
    ]
    names = tables.metric_names(results)
    paragraph = " ".join(
        [
            _answer(results, own, found.get((own, shuffled)), found.get((shuffled, none))),
            *_rest(results, own, found, [random, none, *alone]),
            *words.failed(results),
            words.how(results, "these comparisons"),
        ]
    )
    return Told(
        paragraph,
        [words.with_differences(results, against_own)],
        {"Test metrics by what the model is given": plots.bars(results, names)},
        words.numbers(results, against_own),
    )


def _answer(results: Results, own: str, content: words.Difference | None, loss: words.Difference | None) -> str:
    """The study's question, answered in one sentence."""
    if content is None:
        return "Whether the content helps cannot be told, since the row with shuffled texts has failed."
    metric, none = words.written(results), "makes no difference that is found"
    said = (
        f"The texts' content {content.verdict('helps', 'harms', none)} ({metric} {words.mean(results, own):.4f} with "
        f"its own texts, {words.mean(results, content.base):.4f} with the same texts shuffled; {content})"
    )
    if loss is None:
        return f"{said}."
    return (
        f"{said}; the extra loss without the content {loss.verdict('helps', 'harms', none)} "
        f"({words.mean(results, loss.row):.4f} with the texts shuffled, {words.mean(results, loss.base):.4f} without "
        f"text; {loss})."
    )


def _rest(results: Results, own: str, found: dict[tuple[str, str], words.Difference], others: list[str]) -> list[str]:
    there = [found[own, other] for other in others if (own, other) in found]
    told = [f"{one} beside {one.base} ({words.mean(results, one.base):.4f})" for one in there]
    return [f"With its own texts {own} has {words.listed(told)}."] if told else []
