"""The prompt files, and the prompts written from them.

A prompt file names what it is for, and holds a system and a user message for items and for users. ``$names`` in the
user messages are filled in; nothing in a file is ever evaluated.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.text.counting import TokenCounter

from .inputs import ItemInput, UserInput
from .schema import INSTRUCTION

_NAMES = {"item": {"features", "reviews"}, "user": {"features", "liked", "disliked"}}
_NOTHING = "(nothing)"
_SHORTEST = 8  # tokens; what would be cut to fewer is left out
_GLUE = 16  # tokens of a line beside its texts: the names of its parts, and an id
_ID = 4  # tokens of an id for which that is enough
_LINE = _GLUE + 4 * _SHORTEST  # tokens that a line needs at least
# What the server's chat format adds, and the sentence about an invalid answer when a prompt is sent again.
_OVERHEAD = 350


@dataclass(frozen=True)
class Prompt:
    """A prompt about one user or item, as it is sent."""

    side: str  # "item" or "user"
    token: str  # RecBole's external id
    system: str
    user: str
    key: str  # a hash of the model and both messages: what an answer is stored under
    count: Callable[[], int]

    @cached_property
    def tokens(self) -> int:
        """How long both messages are, as far as can be counted here."""
        return self.count()


class _Pair(BaseModel):
    model_config = ConfigDict(extra="forbid")

    system: str = Field(min_length=1)
    user: str = Field(min_length=1)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: str = Field(min_length=1)
    item: _Pair
    user: _Pair


class Prompts:
    """Writes prompts for one model."""

    def __init__(self, name_or_path: str, model: str, counter: TokenCounter, context_length: int, answer_tokens: int):
        """
        Args:
            name_or_path: "books", "films", "places", "general", or the path of a file of the same form.
            model: the model's name.
            counter: counts its tokens.
            context_length: how many tokens a prompt and its answer may have together.
            answer_tokens: how many of these are the answer's.

        Raises:
            IRLLRecError: there is no such file, it is not of the form, or nothing fits into the context beside it.
        """
        self._file, content = _read(name_or_path)
        self._model = model
        self._counter = counter
        self._fixed = {}  # tokens beside the user message
        self._room = {}  # tokens for what is known
        for side in _NAMES:
            pair: _Pair = getattr(self._file, side)
            self._fixed[side] = counter.count(pair.system) + counter.count(INSTRUCTION)
            fixed = self._fixed[side] + counter.count(pair.user) + _OVERHEAD
            self._room[side] = context_length - answer_tokens - fixed
            if self._room[side] < _LINE:
                raise IRLLRecError(
                    f"A context of {context_length} tokens (--context-length) has no room for the {side} prompt "
                    f"({fixed}) and an answer of {answer_tokens} (--answer-tokens): raise the first or lower the last."
                )
        self.version = f"{self._file.version} {hashlib.sha256(content).hexdigest()[:8]}"

    def for_item(self, known: ItemInput) -> Prompt:
        """Ask about an item."""
        reviews, (features,) = self._fit("item", known.reviews, [known.features], _GLUE)
        return self._prompt("item", known.token, features=features or _NOTHING, reviews=_list(reviews))

    def for_user(self, known: UserInput) -> Prompt:
        """Ask about a user."""
        n = len(known.liked) + len(known.disliked)
        ids = (one.token for one in (*known.liked, *known.disliked))
        more = max([0, *(self._counter.count(token) - _ID for token in ids)])  # for a longer id
        kept = min(self._room["user"] // (_LINE + more), n)  # of the history, if the context is that small
        n_liked = -(-kept * len(known.liked) // n)
        read = [*known.liked[:n_liked], *known.disliked[: kept - n_liked]]
        parts = [part for one in read for part in (one.features, one.profile)]
        others = [known.features, *parts]
        reviews, (features, *parts) = self._fit("user", [one.review for one in read], others, _GLUE + more)
        said = zip(read, parts[::2], parts[1::2], reviews, strict=True)
        lines = [_line(one.token, *texts) for one, *texts in said]
        return self._prompt(
            "user",
            known.token,
            features=features or _NOTHING,
            liked=_list(lines[:n_liked]),
            disliked=_list(lines[n_liked:]),
        )

    def _prompt(self, side: str, token: str, **values: str) -> Prompt:
        pair: _Pair = getattr(self._file, side)
        user = Template(pair.user).substitute(values)
        key = hashlib.sha256(json.dumps([self._model, pair.system, user]).encode()).hexdigest()
        return Prompt(side, token, pair.system, user, key, lambda: self._fixed[side] + self._counter.count(user))

    def _fit(self, side: str, reviews: Sequence[str], others: Sequence[str], glue: int) -> tuple[list[str], list[str]]:
        """Cut texts until they have room: the longest reviews first, and other texts where that is not enough.

        A line for each review has ``glue`` tokens beside its texts.
        """
        room = self._room[side] - glue * len(reviews) - _GLUE
        texts = [*reviews, *others]
        if sum(len(text.encode(errors="replace")) for text in texts) <= room:  # no token is shorter than a byte
            return list(reviews), list(others)
        lengths = np.array([self._counter.count(text) for text in texts], dtype=np.int64)
        if lengths.sum() <= room:
            return list(reviews), list(others)
        n = len(reviews)
        most_other = _cap(lengths[n:], room)
        left = room - int(np.minimum(lengths[n:], most_other).sum())
        most_review = _cap(lengths[:n], left)
        return self._cut(reviews, lengths[:n], most_review), self._cut(others, lengths[n:], most_other)

    def _cut(self, texts: Sequence[str], lengths: np.ndarray, most: int) -> list[str]:
        if most < _SHORTEST:
            return [text if length <= most else "" for text, length in zip(texts, lengths, strict=True)]
        return [
            text if length <= most else self._counter.cut(text, most)
            for text, length in zip(texts, lengths, strict=True)
        ]


def _cap(lengths: np.ndarray, room: int) -> int:
    """The greatest length that texts can be cut to, the longest first, so that all have room together."""
    if lengths.sum() <= room:
        return int(lengths.max(initial=0))
    ascending = np.sort(lengths)
    before = np.concatenate([[0], np.cumsum(ascending)[:-1]])
    # Where the texts from the i-th on share what the shorter ones leave.
    shares = (room - before) // np.arange(len(ascending), 0, -1)
    return max(int(shares[shares < ascending][0]), 0)


def _line(token: str, features: str, profile: str, review: str) -> str:
    said = [("", features), ("about it: ", profile), ("the review of it: ", review)]
    return f"[{token}] " + " | ".join(f"{name}{text}" for name, text in said if text)


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines if line) or _NOTHING


def _read(name_or_path: str) -> tuple[_File, bytes]:
    shipped = files("recbole_irllrec.properties").joinpath("prompts", f"{name_or_path}.yaml")
    source = shipped if shipped.is_file() else Path(name_or_path)
    if not source.is_file():
        raise IRLLRecError(
            f"There are no prompts {name_or_path!r} (--prompts): name books, films, places or general, or a file."
        )
    content = source.read_bytes()
    try:
        file = _File.model_validate(yaml.safe_load(content.decode("utf-8")))
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise IRLLRecError(
            f"{source} is no file of prompts ({' '.join(str(error).split())[:200]}): write it as those in "
            f"properties/prompts."
        ) from None
    for side, names in _NAMES.items():
        found = Template.pattern.finditer(getattr(file, side).user)
        if sorted(str(one["named"] or one["braced"]) for one in found if not one["escaped"]) != sorted(names):
            raise IRLLRecError(
                f"{source}, {side}.user, has to hold {', '.join(f'${name}' for name in sorted(names))} once each, no "
                f"other $name, and $$ for a dollar sign: correct it."
            )
    return file, content
