"""What a server sends in answer to a prompt, whatever server it is."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from recbole_irllrec.text.endpoint import Failed, error_in, said_in


class Completion(NamedTuple):
    """What is read of an answer. The openai client's own class takes longer to fill than the answer to send."""

    content: str
    reasoning: str  # what some servers put apart
    refusal: str
    finish: str  # why it ends
    prompt_tokens: int | None  # None where the server does not say
    answer_tokens: int | None


def completion_in(sent: object) -> Completion:
    """Read the decoded JSON of an answer.

    Raises:
        Failed: it holds no answer, but what the server has to say.
    """
    body = sent if isinstance(sent, dict) else {}
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    error = error_in(sent)
    if error or not isinstance(message, dict):
        said = said_in(error or sent)
        raise Failed(said if said.message else said._replace(message="an answer without choices"))
    usage = body.get("usage")
    used = usage if isinstance(usage, dict) else {}
    return Completion(
        content=_text(message.get("content")),
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")),
        refusal=_text(message.get("refusal")),
        finish=str(choice.get("finish_reason") or ""),
        prompt_tokens=_number(used.get("prompt_tokens")),
        answer_tokens=_number(used.get("completion_tokens")),
    )


def _text(said: object) -> str:
    """A text, or a list of parts; of these without what is thought."""
    return "".join(_parts(said))


def _parts(said: object) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, list):
        for part in said:
            yield from _parts(part)
    elif isinstance(said, dict) and "think" not in (kind := str(said.get("type"))) and "reason" not in kind:
        yield from _parts(said.get("text"))


def _number(used: object) -> int | None:
    """A number of tokens, rounded up; None if it is none."""
    return math.ceil(used) if isinstance(used, int | float) and 0 <= used < math.inf else None
