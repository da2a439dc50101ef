"""Search spaces: what a sweep draws, read from YAML. The format is told in ``docs/tune.md``."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import product, takewhile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from recbole.config import Config
from recbole.utils import get_model
from recbole.utils.argument_list import training_arguments

from .. import zoo
from ..errors import IRLLRecError, did_you_mean
from ..settings.schemas import AlignmentTerms
from .splits import TEXT_SETTINGS, bare_config

KINDS = ("choice", "uniform", "loguniform", "randint", "grid")
# A run's evaluation and its length are the same for all trials, or they could not be compared.
_FIXED = ("epochs", "eval_step")
_NOT_TUNED = {"mask_valid_in_test", "valid_users", "item_boards", "resume", "warm_start", "log_mlflow", "preset"}


class Drawer(Protocol):
    """Draws values; what is drawn under one name comes from one distribution."""

    def index(self, name: str, n: int) -> int:
        """One of range(n)."""

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        """A number between the two, uniformly, or its logarithm so."""

    def integer(self, name: str, low: int, high: int) -> int:
        """One of low, low + 1, ..., high."""


@dataclass(frozen=True)
class Parameter:
    """A setting that is drawn."""

    name: str
    kind: str  # of KINDS
    values: tuple  # to choose from; or the bounds, both included
    others: tuple = ()  # with `or`: values beside those between the bounds, all together half of the draws
    when: tuple[tuple[str, tuple], ...] = ()  # drawn only if each of these settings has one of these values

    @property
    def has_bounds(self) -> bool:
        """Whether `values` are bounds."""
        return self.kind in ("uniform", "loguniform", "randint")

    @property
    def possible(self) -> tuple:
        """Values that show everything there can be: all to choose from, or the bounds, and the others."""
        return (*self.values, *self.others)

    def draw(self, drawer: Drawer) -> Any:
        """A value."""
        if self.others and (place := drawer.index(f"{self.name}?", 2 * len(self.others))) < len(self.others):
            return self.others[place]
        if not self.has_bounds:
            return self.values[drawer.index(self.name, len(self.values))]
        low, high = self.values
        if self.kind == "randint":
            return drawer.integer(self.name, low, high)
        return drawer.real(self.name, low, high, self.kind == "loguniform")

    def applies(self, settings: dict[str, Any]) -> bool:
        """Whether it is drawn beside these settings."""
        return all(any(_matches(settings.get(name), value) for value in values) for name, values in self.when)


def _matches(found: Any, wanted: Any) -> bool:
    """`true` stands for whatever is neither 0 nor false nor nothing, `false` for these."""
    return bool(found) is wanted if isinstance(wanted, bool) else found == wanted and type(found) is not bool


@dataclass(frozen=True)
class Space:
    """What a sweep draws and what it fixes."""

    origin: str  # its file
    parameters: tuple[Parameter, ...]  # one that depends on another stands after it
    fixed: dict[str, Any]
    comment: str = ""  # with which the file begins: it says what it is for

    @property
    def grid(self) -> list[dict[str, Any]]:
        """All combinations of the settings that are gone through one by one."""
        grids = [parameter for parameter in self.parameters if parameter.kind == "grid"]
        return [
            dict(zip((p.name for p in grids), values, strict=True)) for values in product(*(p.values for p in grids))
        ]

    @property
    def is_grid_only(self) -> bool:
        """Whether nothing is left to chance."""
        return all(parameter.kind == "grid" and not parameter.others for parameter in self.parameters)

    def draw(self, drawer: Drawer, number: int) -> dict[str, Any]:
        """What a trial draws; ``number``, from 0, picks the grid's combination."""
        combinations = self.grid
        at_hand = combinations[number % len(combinations)]
        drawn: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.applies({**self.fixed, **drawn}):
                drawn[parameter.name] = at_hand[parameter.name] if parameter.kind == "grid" else parameter.draw(drawer)
        return drawn

    def as_plain(self) -> dict[str, Any]:
        """The space as a file would have it."""
        return {p.name: _plain(p) for p in self.parameters} | self.fixed


def _plain(parameter: Parameter) -> dict[str, Any]:
    plain: dict[str, Any] = {parameter.kind: list(parameter.values)}
    if parameter.others:
        plain["or"] = list(parameter.others)
    if parameter.when:
        plain["when"] = {name: list(values) for name, values in parameter.when}
    return plain


class RandomDrawer:
    """Draws trial after trial by chance; a trial's draws depend on the seed and its number alone."""

    def __init__(self, seed: int, number: int):
        self._rng = np.random.default_rng([seed, number])

    def index(self, _name: str, n: int) -> int:
        return int(self._rng.integers(n))

    def real(self, _name: str, low: float, high: float, log: bool) -> float:
        if log:
            return float(np.exp(self._rng.uniform(np.log(low), np.log(high))))
        return float(self._rng.uniform(low, high))

    def integer(self, _name: str, low: int, high: int) -> int:
        return int(self._rng.integers(low, high + 1))


# ---- reading ---------------------------------------------------------------------------------------------------------


class SettingsLoader(yaml.SafeLoader):
    """YAML in which 1e-7 is a number, as in RecBole's files."""


SettingsLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def default_space(model: str) -> Space:
    """The space that comes with the package for a model: what the parts of its settings draw, and above them its own.

    Raises:
        IRLLRecError: there is none, or no such model.
    """
    get_model(model)
    folder = Path(str(files("recbole_irllrec.properties").joinpath("tune")))
    ours = zoo.find(model)
    parts = [folder / "settings" / f"{part}.yaml" for part in ours.settings.parts()] if ours else []
    names = (*(ours.inherits if ours else ()), *((ours.recboles,) if ours and ours.recboles else ()), model)
    own = [folder / f"{name}.yaml" for name in names if (folder / f"{name}.yaml").is_file()]
    if not own:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise IRLLRecError(f"There is no search space for {model}, only for {known}: write one and name it in --space.")
    content: dict = {}
    for path in own:
        content |= read_yaml(path)[1]
    for path in filter(Path.is_file, parts):
        content = {**content, **{name: how for name, how in read_yaml(path)[1].items() if name not in content}}
    return _space(own[-1], content, "")


def file_of(space: Path, model: str) -> Path:
    """A model's file in what ``--space`` names: that file, or ``<model>.yaml`` in that folder."""
    return space / f"{model}.yaml" if space.is_dir() else space


def read_space(path: Path) -> Space:
    """Read a space.

    Raises:
        IRLLRecError: the file is no YAML, or what it says of a setting makes no sense.
        OSError: it cannot be read.
    """
    text, content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise IRLLRecError(f"{path} holds no search space: give settings with what to draw, such as n_layers: ...")
    lines = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return _space(path, content, " ".join(line.lstrip("# ").rstrip() for line in lines))


def _space(path: Path, content: dict, comment: str) -> Space:
    parameters, fixed = [], {}
    for name, given in content.items():
        if isinstance(given, dict) and any(key in given for key in (*KINDS, "or", "when")):
            parameters.append(_parameter(f"{path}, {name}", str(name), given))
        elif isinstance(given, dict) and given and name != "train_neg_sample_args" and name != "clip_grad_norm":
            way = str(next(iter(given)))
            hint = did_you_mean(way, KINDS, f"give one of {', '.join(KINDS)}.")
            raise IRLLRecError(f"{path}, {name}: there is no way to draw called {way!r}; {hint}")
        else:
            fixed[str(name)] = given
    if not parameters:
        raise IRLLRecError(f"{path} draws no setting: give one such as n_layers: {{choice: [1, 2, 3]}}.")
    return Space(str(path), tuple(_in_order(path, parameters, fixed)), fixed, comment)


def read_yaml(path: Path) -> tuple[str, Any]:
    """A file's text and what it says, its numbers as in RecBole's files.

    Raises:
        IRLLRecError: it is no YAML.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return text, yaml.load(text, Loader=SettingsLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise IRLLRecError(f"{path} is no YAML ({reason}): mend it.") from None


def _parameter(where: str, name: str, given: dict) -> Parameter:
    ways = [key for key in given if key in KINDS]
    unknown = [key for key in given if key not in (*KINDS, "or", "when")]
    if len(ways) != 1 or unknown:
        found = ", ".join(map(str, given))
        raise IRLLRecError(f"{where}: found {found}, where exactly one of {', '.join(KINDS)} is needed, and or, when.")
    (kind,) = ways
    values, others = given[kind], given.get("or", ())
    if not isinstance(values, list) or not values:
        raise IRLLRecError(f"{where}: {kind} is {values!r}; give a list, such as {kind}: [1, 2].")
    parameter = Parameter(
        name, kind, tuple(values), tuple(others if isinstance(others, list | tuple) else [others]), _when(where, given)
    )
    if parameter.has_bounds:
        _check_bounds(where, parameter)
    elif parameter.others:
        raise IRLLRecError(f"{where}: or goes with bounds; add its values to those of {kind}.")
    return parameter


def _when(where: str, given: dict) -> tuple[tuple[str, tuple], ...]:
    when = given.get("when", {})
    if not isinstance(when, dict) or ("when" in given and not when):
        raise IRLLRecError(f"{where}: when is {when!r}; give settings with values, such as when: {{fusion: gate}}.")
    return tuple((str(name), tuple(values) if isinstance(values, list) else (values,)) for name, values in when.items())


def _check_bounds(where: str, parameter: Parameter) -> None:
    kind, bounds = parameter.kind, parameter.values
    numbers = (int,) if kind == "randint" else (int, float)
    if len(bounds) != 2 or any(type(bound) not in numbers for bound in bounds):
        what = "whole numbers" if kind == "randint" else "numbers"
        raise IRLLRecError(f"{where}: {kind} is {list(bounds)}; give two {what}, the least and the most.")
    low, high = bounds
    if not low < high or not np.isfinite(bounds).all():
        raise IRLLRecError(f"{where}: {kind} is {list(bounds)}; the second number must be above the first.")
    if kind == "loguniform" and low <= 0:
        raise IRLLRecError(f"{where}: loguniform begins at {low:g}, which has no logarithm; begin above 0, with or: 0.")


def _in_order(path: Path, parameters: list[Parameter], fixed: dict) -> Iterator[Parameter]:
    """Each after those that it depends on."""
    left = list(parameters)
    names = {parameter.name for parameter in parameters}
    done = set(fixed)
    while left:
        ready = [p for p in left if all(name in done for name, _ in p.when)]
        if not ready:
            stuck = left[0]
            missing = [name for name, _ in stuck.when if name not in names and name not in fixed]
            why = f"{missing[0]}, which is not in the file" if missing else "settings that depend on it in turn"
            raise IRLLRecError(f"{path}, {stuck.name}: when names {why}; correct it.")
        yield from ready
        done |= {parameter.name for parameter in ready}
        left = [parameter for parameter in left if parameter not in ready]


# ---- does it fit the model? ------------------------------------------------------------------------------------------


def check_space(space: Space, model: str, config_with: Callable[[dict[str, Any]], Config]) -> None:
    """Refuse settings that the model does not have, that are not the model's to tune, or that it refuses.

    Args:
        space: what to draw.
        model: whose settings these are.
        config_with: a run's settings with these ones; raises `IRLLRecError` for one that is refused.

    Raises:
        IRLLRecError: says which, and what to do.
    """
    refuse_foreign(space.origin, model, [*(p.name for p in space.parameters), *space.fixed])
    drawn_lengths = [p.name for p in space.parameters if p.name in _FIXED]
    if drawn_lengths:
        raise IRLLRecError(
            f"{space.origin}, {drawn_lengths[0]}: it must be the same in all trials, which are compared by their "
            f"epochs; give one value."
        )
    others = {p.name: p.possible[0] for p in space.parameters if not p.when}
    for parameter in space.parameters:
        if parameter.has_bounds and parameter.name in TEXT_SETTINGS:
            raise IRLLRecError(f"{space.origin}, {parameter.name}: give its values with choice, as texts are shared.")
        for value in parameter.possible:
            with_it = {**space.fixed, **_condition(parameter), parameter.name: value}
            # what is allowed may depend on another setting that is drawn
            refusal = _refusal(config_with, with_it)
            if refusal and _refusal(config_with, {**others, **with_it}):
                raise IRLLRecError(f"{space.origin}, {parameter.name}: {refusal}.")


def _refusal(config_with: Callable[[dict[str, Any]], Config], settings: dict[str, Any]) -> str | None:
    """Why these settings are refused, without a full stop; None if they are not."""
    try:
        config_with(settings)
    except IRLLRecError as error:
        return str(error).rstrip(".")
    return None


def tunable(model: str) -> set[str]:
    """The settings of a model that a sweep may draw or fix: its own and those of training."""
    ours = zoo.find(model)
    own = set(ours.settings.names()) - _NOT_TUNED if ours else set()
    path = files("recbole").joinpath("properties", "model", f"{ours.recboles if ours else model}.yaml")
    if path.is_file():
        own |= set(yaml.safe_load(path.read_text(encoding="utf-8")) or ())
    return own | set(training_arguments) - {"loss_decimal_place"}


def refuse_foreign(where: str, model: str, names: Iterable[str]) -> None:
    """Refuse settings that are not the model's to tune.

    Args:
        where: where they are given, which begins the sentence.
        model: whose settings these are to be.
        names: theirs.

    Raises:
        IRLLRecError: says which, and what to do.
    """
    known = tunable(model)
    for name in names:
        if name in known:
            continue
        close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
        if close:
            raise IRLLRecError(f"{where}: the model {model} has no setting {name}; did you mean {close[0]}?")
        if name in bare_config(model, "", {}).final_config_dict:
            raise IRLLRecError(
                f"{where}: {name} is not a setting of the model, but of the data, the evaluation or the run; give it "
                f"in a file with --config-files."
            )
        raise IRLLRecError(
            f"{where}: the model {model} has no setting {name}; remove it, or give the model that has it."
        )


def _condition(parameter: Parameter) -> dict[str, Any]:
    """Settings beside which a parameter is drawn."""
    return {name: values[0] for name, values in parameter.when if not isinstance(values[0], bool)}


# ---- texts -----------------------------------------------------------------------------------------------------------


def text_variants(space: Space) -> list[dict[str, Any]]:
    """Settings that read every text that a trial can read: all weights on that can be, each choice of texts."""
    weights = {
        p.name: max(numbers)
        for p in space.parameters
        if p.name in (*AlignmentTerms.WEIGHTS, "linear_weight", "linear_text_weight")
        and (numbers := [value for value in p.possible if isinstance(value, int | float)])
    }
    variants = [{**space.fixed, **weights}]
    for parameter in space.parameters:
        if parameter.name in TEXT_SETTINGS:
            variants = [variant | drawn for variant in variants for drawn in _draws(parameter, variant)]
    return variants


def _draws(parameter: Parameter, variant: dict[str, Any]) -> list[dict[str, Any]]:
    """What can be drawn for a setting of texts beside others; nothing as well, where it depends on what is open."""
    drawn = [{parameter.name: value} for value in parameter.values]
    if any(name not in variant and name not in TEXT_SETTINGS for name, _ in parameter.when):
        return [*drawn, {}]
    return drawn if parameter.applies(variant) else [{}]
