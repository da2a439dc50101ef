"""One prompt, one valid answer."""

import logging
from collections.abc import Callable
from typing import Any

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.text.endpoint import Endpoint, NoAnswer, RequestRefused

from .budget import Budget
from .completion import Completion, completion_in
from .dialect import Dialect, Part, Search
from .prompts import Prompt
from .schema import INSTRUCTION, RESPONSE_FORMAT, Answer, Filtered, InvalidAnswer, read_answer
from .store import Result

_SHOWN_REASON = 300  # characters of what was wrong that the model is told
_LEARNED: dict[Part, str] = {
    "length": "calls the longest answer {}",
    "temperature": "takes no temperature: the model's own is used",
    "system": "takes no message of the system: its text begins the user's",
    "response_format": "takes no JSON schema: it stands in the prompt instead",
}
_UNHEARD = 3  # so many prompts, and a server that has not answered any refuses all


class Chat:
    """Asks one model, and learns with the first prompts what its server does not understand.

    Ask one prompt at a time until `settled`, so that it is learned once.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        budget: Budget,
        *,
        answer_tokens: int,
        temperature: float | None,
        tries: int,
        count: Callable[[str], int],
        dialect: Dialect | None,
        keep: Callable[[Dialect], None],
    ):
        """
        Args:
            endpoint: the server.
            model: the model's name.
            budget: counts what is used, and stops.
            answer_tokens: the longest answer.
            temperature: of the model; None is the server's own.
            tries: how often a prompt is sent until its answer is valid.
            count: the number of tokens of a text, where the server does not say.
            dialect: what has been learned before about the server, if anything has.
            keep: is given what is learned.
        """
        self._endpoint = endpoint
        self._model = model
        self._budget = budget
        self.answer_tokens = answer_tokens
        self._temperature = temperature
        self.tries = tries
        self.count = count
        self._keep = keep
        self._dialect = dialect or Dialect(length="max_completion_tokens" if endpoint.is_openai else "max_tokens")
        self._proven = False  # whether a request in this dialect has brought a valid answer
        self._ignored: str | None = None  # what came of a JSON schema that was taken and not kept to
        self._unheard = 0
        self.settled = False  # whether there is nothing left to learn about the server

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
            except (NoAnswer, RequestRefused) as error:
                self._give_up_on_all(error)
                return Result(None, str(error), asked, *used)
            used = [before + now for before, now in zip(used, self.used(completion, prompt.tokens), strict=True)]
            try:
                answer = self.read(completion)
            except Filtered as error:
                return Result(None, str(error), asked, *used)
            except InvalidAnswer as error:
                reason = str(error)
                if error.breaks_schema and self._dialect.response_format and not self._proven:
                    self._ignored = reason
                    self._dialect = self._dialect.without("response_format")
            else:
                self._prove()
                return Result(answer, None, asked, *used)
        self.settled = True
        return Result(None, no_valid_answer(self.tries, reason), self.tries, *used)

    def body(self, prompt: Prompt, reason: str | None = None) -> dict[str, Any]:
        """The request; with the reason why the last answer was not valid, if there was one."""
        return self._body(prompt, reason, self._dialect)

    def _body(self, prompt: Prompt, reason: str | None, dialect: Dialect) -> dict[str, Any]:
        system, user = prompt.system, prompt.user
        if reason or not dialect.response_format:
            system = f"{system}\n{INSTRUCTION}"
        if reason:
            user = f"{user}\n\nYour last answer was not valid: {reason[:_SHOWN_REASON]}. Answer again."
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        if not dialect.system:
            messages = [{"role": "user", "content": f"{system}\n\n{user}"}]
        body: dict[str, Any] = {"model": self._model, "messages": messages, dialect.length: self.answer_tokens}
        if dialect.response_format:
            body["response_format"] = RESPONSE_FORMAT
        if self._temperature is not None and dialect.temperature:
            body["temperature"] = self._temperature
        return body

    def read(self, completion: Completion) -> Answer:
        """The answer in what the server sent.

        Raises:
            InvalidAnswer: there is none.
        """
        if completion.refusal:
            raise InvalidAnswer(f"it was a refusal ({completion.refusal[:100]})")
        is_cut_off = completion.finish == "length"
        try:
            # Some servers take for reasoning all that a model writes.
            return read_answer(completion.content if completion.content.strip() else completion.reasoning, is_cut_off)
        except InvalidAnswer:
            if completion.finish.startswith("content_filter"):
                raise Filtered(f"the server's filter has stopped the answer ({completion.finish})") from None
            if is_cut_off:
                raise InvalidAnswer(
                    f"it was cut off at {self.answer_tokens} tokens (--answer-tokens), be briefer"
                ) from None
            raise

    def used(self, completion: Completion, prompt_tokens: int) -> tuple[int, int]:
        """Tokens of prompt and answer, as the server counts them; as far as known here where it does not.

        Args:
            completion: what the server sent.
            prompt_tokens: of the prompt, as counted here.
        """
        asked, answered = completion.prompt_tokens, completion.answer_tokens
        if answered is None:
            answered = self.count(completion.content + completion.reasoning + completion.refusal)
        return prompt_tokens if asked is None else asked, answered

    async def _send(self, prompt: Prompt, reason: str | None) -> Completion:
        counted = self._budget.limits_cost or self._endpoint.limits_tokens
        reserved = (prompt.tokens, self.answer_tokens) if counted else (0, 0)
        search = Search(self._dialect)
        while True:
            await self._budget.reserve(*reserved)
            used = (0, 0)
            try:
                completion = await self._try(prompt, reason, search, sum(reserved))
                used = self.used(completion, prompt.tokens)
            except RequestRefused as error:
                if search.known != self._dialect:  # which was learned meanwhile
                    search = Search(self._dialect)
                elif self._proven:
                    raise
                else:
                    search.refused(error)
            else:
                if search.dialect != search.known == self._dialect:
                    self._learn(search)
                return completion
            finally:
                self._budget.settle(*reserved, used)

    async def _try(self, prompt: Prompt, reason: str | None, search: Search, tokens: int) -> Completion:
        return await self._endpoint.call(
            lambda: self._post(self._body(prompt, reason, search.dialect)),
            tokens,
            lambda said: not self._proven and search.is_refusal(said),
        )

    async def _post(self, body: dict[str, Any]) -> Completion:
        self._budget.count_request()
        # Not `chat.completions.create`: it walks through the whole body first, which takes longer than sending it.
        return completion_in(await self._endpoint.client.post("/chat/completions", body=body, cast_to=object))

    def _give_up_on_all(self, error: NoAnswer | RequestRefused) -> None:
        """End the run where the server has not answered anything, and not for what the prompts say."""
        if self.settled or (isinstance(error, RequestRefused) and error.said.is_of_one_prompt):
            return
        self._unheard += 1
        if self._unheard >= _UNHEARD:
            raise IRLLRecError(
                f"{str(error).rstrip('.')}, as for all before: mend that, and go on with --retry-failed."
            )

    def _learn(self, search: Search) -> None:
        """Requests are written so from now on."""
        before, self._dialect = self._dialect, search.dialect
        for part, what in _LEARNED.items():
            if getattr(before, part) != getattr(self._dialect, part):
                why = str(search.named.get(part, search.first)).removesuffix(".")
                logging.getLogger(__name__).info(f"The server {what.format(getattr(self._dialect, part))} ({why})")
        self._keep(self._dialect)

    def _prove(self) -> None:
        """A request has brought a valid answer."""
        if self._ignored and not self._proven:
            logging.getLogger(__name__).info(
                f"The server does not keep to a JSON schema: it stands in the prompt instead ({self._ignored})"
            )
            self._keep(self._dialect)
        self._proven = self.settled = True


def no_valid_answer(tries: int, reason: str | None) -> str:
    """Why a prompt has failed."""
    return f"no valid answer in {tries} tries: {reason}"
