"""What the language model answers: a profile with its reasoning, and intents with the evidence they rest on."""

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

_SHOWN_ERRORS = 3


# The tags between which models think, each with its end; and the channels of gpt-oss.
_BEGIN = r"<(?:seed:)?(?:think|thinking|thought|reasoning)>|\[THINK\]|◁think▷|<\|channel\|>analysis<\|message\|>"
_END = r"</(?:seed:)?(?:think|thinking|thought|reasoning)>|\[/THINK\]|◁/think▷|<\|channel\|>final<\|message\|>"
_MARK = re.compile(rf"(?P<begin>{_BEGIN})|(?P<end>{_END})|(?P<object>{{)", re.IGNORECASE)
_THOUGHT = re.compile(_END, re.IGNORECASE)
_decoder = json.JSONDecoder(strict=False)  # line breaks in a string are read


class InvalidAnswer(ValueError):
    """An answer that is not of the form; the message tells the model what is wrong."""

    def __init__(self, why: str, breaks_schema: bool = False):
        """
        Args:
            why: the message.
            breaks_schema: whether a server that keeps to a JSON schema could not have sent it.
        """
        super().__init__(why)
        self.breaks_schema = breaks_schema


class Filtered(InvalidAnswer):
    """The server has stopped the answer for what it says; asked again, it does so again."""


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def _some(evidence: list[str]) -> list[str]:
    if not evidence:
        raise ValueError("must name at least one piece of evidence")
    return evidence


Words = Annotated[str, AfterValidator(_words)]  # a constraint in the schema itself is not understood by every server


class Intent(BaseModel):
    """One reason to like or to dislike."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    intent: Words = Field(description="one concrete intent, in a short phrase")
    evidence: Annotated[list[Words], AfterValidator(_some)] = Field(
        description="what it rests on: ids as they stand in square brackets, or short literal quotes"
    )


class Answer(BaseModel):
    """What a model says about one user or item. The reasoning comes first, so that the rest can follow from it."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    reasoning: Words = Field(description="the steps from the evidence to the conclusions, in a few sentences")
    profile: Words = Field(description="what it is, or what the user enjoys, in one to three sentences")
    likes: list[Intent] = Field(description="why it is chosen")
    dislikes: list[Intent] = Field(description="why it is avoided; may be empty")

    @model_validator(mode="before")
    @classmethod
    def _none_is_empty(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        missing = {"dislikes"} - data.keys() | {side for side in ("likes", "dislikes") if data.get(side, "") is None}
        return data | {side: [] for side in missing}

    @model_validator(mode="after")
    def _has_an_intent(self) -> "Answer":
        if not (self.likes or self.dislikes):
            raise ValueError("name at least one intent in likes or in dislikes")
        return self


_SCHEMA = Answer.model_json_schema()
RESPONSE_FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "profile_and_intents", "strict": True, "schema": _SCHEMA},
}
INSTRUCTION = (
    "Answer with one JSON object and with nothing before or after it. It must be valid under this JSON schema:\n"
    + json.dumps(_SCHEMA)
)


def read_answer(text: str, is_cut_off: bool = False) -> Answer:
    """Read what a model wrote: the last object of the form that stands after its thinking, whatever stands around it.

    What stands between the tags of thinking, before an end without a beginning, or after a beginning without an end,
    are drafts.

    Args:
        text: what it wrote.
        is_cut_off: whether it was to go on; then only an object with nothing after it is no draft.

    Raises:
        InvalidAnswer: there is none.
    """
    found: Answer | None = None
    wrong = InvalidAnswer("there is no JSON object in it", breaks_schema=True)
    place = end_of_found = read_to = 0  # of several things wrong the one counts that was read furthest
    while mark := _MARK.search(text, place):
        place = mark.end()
        if mark["begin"]:
            thought = _THOUGHT.search(text, place)
            place = thought.end() if thought else len(text)
        elif mark["end"]:
            found = None
        else:
            try:
                known, end = _decoder.raw_decode(text, mark.start())
            except (ValueError, RecursionError) as error:
                if getattr(error, "pos", 0) > read_to:
                    wrong = InvalidAnswer(f"its JSON cannot be read ({error})", breaks_schema=True)
                    read_to = getattr(error, "pos", 0)
                continue
            try:
                found, end_of_found, place = _answer(known), end, end
            except InvalidAnswer as error:  # what is of the form may stand in it
                if end > read_to:
                    wrong, read_to = error, end
    if found is None or (is_cut_off and text[end_of_found:].strip(" \n\r\t`")):
        raise wrong
    return found


def _answer(known: object) -> Answer:
    try:
        return Answer.model_validate(known)
    except ValidationError as error:
        every = error.errors(include_url=False, include_input=False)
        said = (f"{'.'.join(map(str, one['loc'])) or 'the object'}: {one['msg']}" for one in every[:_SHOWN_ERRORS])
        breaks_schema = any(one["type"] != "value_error" for one in every)
        raise InvalidAnswer("; ".join(said), breaks_schema) from None


def profile_text(answer: Answer) -> str:
    """The text of the profile table: what."""
    return answer.profile


def intent_text(answer: Answer) -> str:
    """The text of the intent table: why, likes and dislikes apart."""
    sides = (("Likes", answer.likes), ("Dislikes", answer.dislikes))
    return " ".join(f"{name}: {'; '.join(one.intent for one in intents)}." for name, intents in sides if intents)
