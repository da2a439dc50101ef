"""What a server takes of a request, as far as it had to be learned.

"OpenAI-compatible" means many things: this or that part of a request is refused, with a status and in words of the
server's own. A refusal that names what it is about is believed; for one that does not, the parts are left out in turn.
What comes of it counts once a request has been answered so, and is kept with the answers for the next run.
"""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from recbole_irllrec.text.endpoint import RequestRefused, Said

_STUBBORN = 3  # so many errors of the server (5xx) that name nothing may be a refusal, too

Part = Literal["length", "temperature", "system", "response_format"]
_OPTIONAL: tuple[Part, ...] = ("response_format", "system", "temperature")  # the likeliest first
_NAMES: dict[Part, re.Pattern] = {
    "temperature": re.compile("temperature", re.IGNORECASE),
    "system": re.compile(
        r"system[ _](role|message|prompt|instruction)|['\"`]system['\"`]|developer instruction|roles must alternate|"
        r"only user and assistant|messages\[0\]\.role",
        re.IGNORECASE,
    ),
    "response_format": re.compile(r"response[_ .]?format|schema|json[_ ](object|mode)|grammar|structured|guided", re.I),
}


class Dialect(BaseModel):
    """What a server takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    length: Literal["max_tokens", "max_completion_tokens"]
    """What it calls the longest answer: OpenAI's newer models know only the second name, many others only the first."""
    temperature: bool = True
    system: bool = True
    """A message of the system; else its text begins the user's."""
    response_format: bool = True
    """A JSON schema as a parameter; else it stands in the prompt."""

    def without(self, *parts: Part) -> "Dialect":
        """A dialect that does without parts; of the length, with its other name."""
        changes: dict[str, object] = dict.fromkeys(parts, False)
        if "length" in parts:
            changes["length"] = "max_completion_tokens" if self.length == "max_tokens" else "max_tokens"
        return self.model_copy(update=changes)

    def named_in(self, said: Said) -> Part | None:
        """The part of a request that a refusal is about, if it says so."""
        told = f"{said.parameter} {said.message}"
        if re.search(rf"\b{self.length}\b", told):
            return "length"
        return next((part for part, name in _NAMES.items() if getattr(self, part) and name.search(told)), None)


class Kept(BaseModel):
    """A dialect as it is kept, and of which server and model it is."""

    format: Literal[1] = 1
    server: str
    dialect: Dialect


def kept_dialect(text: str | None, server: str) -> Dialect | None:
    """The dialect of a server in what was kept; None if that is of another, or of another version of this program."""
    try:
        kept = Kept.model_validate_json(text or "")
    except ValidationError:
        return None
    return kept.dialect if kept.server == server else None


class Search:
    """How to write one request so that the server answers it, found out refusal by refusal."""

    def __init__(self, known: Dialect):
        """
        Args:
            known: the dialect to begin with.
        """
        self.known = known
        self.dialect = known  # to write the next request in
        self.first: RequestRefused | None = None  # refusal
        self.named: dict[Part, RequestRefused] = {}  # refusals, by what they name
        self._base = known  # without what refusals have named
        self._guesses: list[tuple[Part, ...]] | None = None  # what to leave out next
        self._errors = 0
        self._given_up = False

    def is_refusal(self, said: Said) -> bool:
        """Whether what a server says is about the form of the request, whatever its status; called once an error."""
        if self._named(said):
            return True
        self._errors += said.status >= 500
        return said.status == 501 or (said.status >= 500 and self._errors >= _STUBBORN and not self._given_up)

    def refused(self, error: RequestRefused) -> None:
        """The request was refused: write it otherwise.

        Raises:
            RequestRefused: it is refused for what it says, or there is no other way to write it.
        """
        self.first = self.first or error
        if error.said.is_of_one_prompt or self._given_up:
            raise error
        part = self._named(error.said)
        if part:
            self.named[part] = error
            self._base, self.dialect = self._base.without(part), self.dialect.without(part)
            return
        if self._guesses is None:
            there = tuple(part for part in _OPTIONAL if getattr(self._base, part))
            self._guesses = [*((part,) for part in there), there] if len(there) > 1 else [there] if there else []
        if self._guesses:
            self.dialect = self._base.without(*self._guesses.pop(0))
            return
        if error.said.status < 500:
            raise self.first
        self._given_up = True  # the form is not to blame: wait for the server
        self.dialect = self._base

    def _named(self, said: Said) -> Part | None:
        part = self.dialect.named_in(said)
        return None if part in self.named else part  # it has no third name
