"""What the language model answers: a profile with its reasoning, and intents with the evidence they rest on."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

_SHOWN_ERRORS = 3


class InvalidAnswer(ValueError):
    """An answer that is not of the form; the message tells the model what is wrong."""


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


def read_answer(content: str) -> Answer:
    """Read what a model wrote: the outermost JSON object in it, whatever stands around it.

    Raises:
        InvalidAnswer: there is none, or it is not of the form.
    """
    begin, end = content.find("{"), content.rfind("}")
    if begin < 0 or end < begin:
        raise InvalidAnswer("there is no JSON object in it")
    try:
        return Answer.model_validate_json(content[begin : end + 1])
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[:_SHOWN_ERRORS]
        said = (f"{'.'.join(map(str, one['loc'])) or 'the object'}: {one['msg']}" for one in found)
        raise InvalidAnswer("; ".join(said)) from None


def profile_text(answer: Answer) -> str:
    """The text of the profile table: what."""
    return answer.profile


def intent_text(answer: Answer) -> str:
    """The text of the intent table: why, likes and dislikes apart."""
    sides = (("Likes", answer.likes), ("Dislikes", answer.dislikes))
    return " ".join(f"{name}: {'; '.join(one.intent for one in intents)}." for name, intents in sides if intents)
