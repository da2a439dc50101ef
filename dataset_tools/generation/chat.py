"""One prompt, one valid answer."""

import logging
from typing import Any

from pydantic import BaseModel, ValidationError

from recbole_irllrec.text.endpoint import Endpoint, NoAnswer, RequestRefused

from .budget import Budget
from .prompts import Prompt
from .schema import INSTRUCTION, RESPONSE_FORMAT, Answer, InvalidAnswer, read_answer
from .store import Result

_SHOWN_REASON = 300  # characters of what was wrong that the model is told


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Completion(BaseModel):
    """What is read of a server's answer. The openai client's own class takes longer to fill than the answer to send."""

    choices: list[_Choice] = []
    usage: _Usage | None = None


class Chat:
    """Asks one model, and learns with the first request what its server does not understand."""

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        budget: Budget,
        *,
        answer_tokens: int,
        temperature: float | None,
        tries: int,
    ):
        """
        Args:
            endpoint: the server.
            model: the model's name.
            budget: counts what is used, and stops.
            answer_tokens: the longest answer.
            temperature: of the model; None is the server's own.
            tries: how often a prompt is sent until its answer is valid.
        """
        self._endpoint = endpoint
        self._model = model
        self._budget = budget
        self.answer_tokens = answer_tokens
        self._temperature = temperature
        self.tries = tries
        self._structured = True  # whether the server takes a JSON schema
        self.answered = False  # whether the server ever has: it takes what we send

    async def ask(self, prompt: Prompt) -> Result:
        """Ask until the answer is valid, or often enough.

        Raises:
            LimitReached, Stopped: it was not asked often enough.
            IRLLRecError: no prompt has a chance.
        """
        used = [0, 0]
        reason = None
        for asked in range(1, self.tries + 1):
            try:
                completion = await self._send(prompt, reason)
            except NoAnswer as error:
                return Result(None, str(error), asked, *used)
            except RequestRefused as error:
                if not self.answered:
                    raise  # it may well refuse all
                return Result(None, str(error), asked, *used)
            used = [before + now for before, now in zip(used, usage(prompt, completion), strict=True)]
            try:
                return Result(self.read(completion), None, asked, *used)
            except InvalidAnswer as error:
                reason = str(error)
        return Result(None, no_valid_answer(self.tries, reason), self.tries, *used)

    def body(self, prompt: Prompt, reason: str | None = None) -> dict[str, Any]:
        """The request; with the reason why the last answer was not valid, if there was one."""
        system, user = prompt.system, prompt.user
        if reason or not self._structured:
            system = f"{system}\n{INSTRUCTION}"
        if reason:
            user = f"{user}\n\nYour last answer was not valid: {reason[:_SHOWN_REASON]}. Answer again."
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            # Other servers know the old name; OpenAI's newer models only the new one.
            "max_completion_tokens" if self._endpoint.is_openai else "max_tokens": self.answer_tokens,
        }
        if self._structured:
            body["response_format"] = RESPONSE_FORMAT
        if self._temperature is not None:
            body["temperature"] = self._temperature
        return body

    def read(self, completion: Completion) -> Answer:
        """The answer in what the server sent.

        Raises:
            InvalidAnswer: there is none.
        """
        if not completion.choices:
            raise InvalidAnswer("it was empty")
        choice = completion.choices[0]
        if choice.message.refusal:
            raise InvalidAnswer(f"it was a refusal ({choice.message.refusal[:100]})")
        if choice.finish_reason == "length":
            raise InvalidAnswer(f"it was cut off at {self.answer_tokens} tokens (--answer-tokens), be briefer")
        return read_answer(choice.message.content or "")

    async def _send(self, prompt: Prompt, reason: str | None) -> Completion:
        counted = self._budget.limits_cost or self._endpoint.limits_tokens
        reserved = (prompt.tokens, self.answer_tokens) if counted else (0, 0)
        while True:
            await self._budget.reserve(*reserved)
            used = (0, 0)
            try:
                sent = await self._endpoint.call(lambda: self._post(self.body(prompt, reason)), sum(reserved))
                self.answered = True
                completion = completion_in(sent)
                used = usage(prompt, completion)
                return completion
            except RequestRefused as error:
                if self.answered or not self._do_without(str(error)):
                    raise
            finally:
                self._budget.settle(*reserved, used)

    async def _post(self, body: dict[str, Any]) -> object:
        self._budget.count_request()
        # Not `chat.completions.create`: it walks through the whole body first, which takes longer than sending it.
        return await self._endpoint.client.post("/chat/completions", body=body, cast_to=object)

    def _do_without(self, refusal: str) -> bool:
        """Leave out what the server may not understand; whether there was anything left to leave out."""
        log = logging.getLogger(__name__)
        if self._temperature is not None and "temperature" in refusal:
            log.info(f"The server takes no temperature: the model's own is used ({refusal})")
            self._temperature = None
        elif self._structured:
            log.info(f"The server takes no JSON schema: it stands in the prompt instead ({refusal})")
            self._structured = False
        else:
            return False
        return True


def completion_in(sent: object) -> Completion:
    """What a server sent; without choices if it is of another form."""
    try:
        return Completion.model_validate(sent)
    except ValidationError:
        return Completion()


def usage(prompt: Prompt, completion: Completion) -> tuple[int, int]:
    """Tokens of prompt and answer, as the server counts them; as far as known here where it does not."""
    if completion.usage is None:
        return prompt.tokens, 0
    return completion.usage.prompt_tokens, completion.usage.completion_tokens


def no_valid_answer(tries: int, reason: str | None) -> str:
    """Why a prompt has failed."""
    return f"no valid answer in {tries} tries: {reason}"
