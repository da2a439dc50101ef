"""A server that speaks OpenAI's protocol: its client, the retries and the pace."""

import asyncio
import contextlib
import json
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from ..errors import IRLLRecError

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
_LONGEST_WAIT = 60.0  # seconds between two attempts, where the server does not ask for more
_LONGEST_RETRY_AFTER = 600.0  # seconds; a server that asks for more (a day's quota) ends the run
_backing_off = wait_random_exponential(multiplier=0.5, max=_LONGEST_WAIT)

_OF_THE_ACCOUNT = (401, 402, 408, 409, 429)  # what these say is not about the request
_SHOWN = 300  # characters of what a server says
_SHORTEST_KEY = 8  # characters of a key that is hidden: others, as a local server takes them, are parts of words
# What servers call a prompt that they will not answer: one that is filtered, and one that is too long.
_FILTERED = re.compile(
    r"content[ _-]?(filter|policy|management)|filtered|moderation|flagged|inappropriate|data_?inspection|"
    r"prohibited[ _]content|blocked.{0,30}safety|safety (system|filter|polic|reason|check)|invalid_prompt|"
    r"usage polic|responsible ?ai",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window)|exceed_context|maximum (context|input|sequence|prompt)|"
    r"(prompt|input).{0,30}too long|string_above_max_length|token count.{0,40}exceeds",
    re.IGNORECASE,
)

_TAG = re.compile(r"<(style|script).*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)

T = TypeVar("T")


class Said(NamedTuple):
    """What a server said instead of an answer."""

    status: int  # 200 if it is an error in what should have been an answer, and names no other
    message: str = ""
    codes: str = ""  # its codes and types
    parameter: str = ""  # the one that it names

    def __str__(self) -> str:
        told = self.message or self.codes
        return f"{self.status} ({' '.join(told.split())})" if told else str(self.status)

    @property
    def is_of_one_prompt(self) -> bool:
        """Whether the prompt is refused for what it says, or for its length; other prompts may be answered."""
        if self.status in _OF_THE_ACCOUNT:
            return False
        told = f"{self.codes} {self.message}"
        return bool(_TOO_LONG.search(told) or (self.status < 500 and _FILTERED.search(told)))


class RequestRefused(IRLLRecError):
    """The server will not answer this request as it is (400, 413, 422); others it may answer."""

    def __init__(self, sentence: str, said: Said):
        super().__init__(sentence)
        self.said = said


class NoAnswer(IRLLRecError):
    """The server did not answer this request, at any attempt; it may later."""


class Stopped(Exception):
    """The request was not sent, or not again, because `Endpoint.stop` was called."""


class Endpoint:
    """An OpenAI-compatible server.

    Ask it with `call`::

        endpoint = Endpoint("http://localhost:8000/v1")
        answer = await endpoint.call(lambda: endpoint.client.embeddings.create(model=model, input=texts), tokens)

    Raises:
        IRLLRecError: the address is no URL, or the key is not in the environment or is no key.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        timeout: float = 300.0,
        attempts: int = 8,
    ):
        """
        Args:
            base_url: where the server is; None is ``OPENAI_BASE_URL`` of the environment, or OpenAI itself.
            requests_per_minute: the most requests that are begun in a minute; None is no limit.
            tokens_per_minute: the same of tokens, as far as `call` is told them.
            timeout: how long to wait for an answer, in seconds.
            attempts: how often a request is sent before it has failed.
        """
        address = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise IRLLRecError(f"The base URL {address!r} is no address: write it as {OPENAI_URL}.")
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # what messages call it
        self.is_openai = parts.hostname == urlsplit(OPENAI_URL).hostname
        self.retries: Counter[str] = Counter()  # how often a request was sent again, by reason
        self._key = _key(self.is_openai, self.url)
        self.client = openai.AsyncOpenAI(api_key=self._key, base_url=address, timeout=timeout, max_retries=0)
        self._attempts = attempts
        self._pace = _Pace(requests_per_minute, tokens_per_minute)
        self._stopping = asyncio.Event()
        self._answered = False  # whether it ever did
        for library in ("httpx", "httpx2", "openai"):  # a line for each request
            logging.getLogger(library).setLevel(logging.WARNING)

    @property
    def limits_tokens(self) -> bool:
        """Whether the pace depends on the tokens that `call` is told."""
        return self._pace.limits_tokens

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    def stop(self) -> None:
        """Begin no further attempt; answers to those under way still arrive."""
        self._stopping.set()

    async def call(
        self,
        send: Callable[[], Awaitable[T]],
        tokens: int = 0,
        is_refusal: Callable[[Said], object] = lambda said: False,
    ) -> T:
        """Send a request at the pace of this endpoint, again after an error that may pass.

        429, 408, 409, 5xx, time-outs, dropped connections, answers that are no JSON and errors in the place of an
        answer (with the status that they name, if any) are tried again, after a wait that doubles, with jitter, or that
        ``Retry-After`` says.

        Args:
            send: begins the request with `client`; it is called once an attempt. It may raise `Failed`.
            tokens: how many the request and its answer count against the pace.
            is_refusal: whether this request is refused with these words, although its status would end the run, or
                would have it sent again.

        Raises:
            RequestRefused: this request is refused for what it holds.
            NoAnswer: no attempt brought an answer.
            Stopped: `stop` was called.
            IRLLRecError: no request has a chance: there is no server, no access, no such model, no money.
        """

        async def attempt() -> T:
            await self._sleep(self._pace.seconds_until_turn(tokens))
            try:
                answer = await send()
                if error := error_in(answer):
                    raise Failed(said_in(error))
            except (openai.APIStatusError, Failed) as error:
                said = _said(error)
                if said and said.status not in _OF_THE_ACCOUNT and (said.is_of_one_prompt or is_refusal(said)):
                    raise self.refusal(said) from None
                raise
            if isinstance(answer, str):  # the client passes on what is not JSON
                raise _Garbled("text that is no JSON")
            self._answered = True
            return answer

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=_wait,
            retry=retry_if_exception(self._may_pass),
            before_sleep=lambda state: self.retries.update([_kind(_error(state))]),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except IRLLRecError:
            raise
        except (openai.APIError, Failed, ValueError) as error:  # ValueError: JSON that cannot be read
            raise self._sentence(error) from None

    def refusal(self, said: Said) -> RequestRefused:
        """What a request that is refused with these words ends with."""
        return RequestRefused(f"{self.url} refuses the request with {self._shown(str(said))}.", said)

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0 and not self._stopping.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)
        if self._stopping.is_set():
            raise Stopped

    def _may_pass(self, error: BaseException) -> bool:
        said = _said(error)
        if said:
            out_of_money = "insufficient_quota" in said.codes
            passes = said.status in (200, 408, 409, 429) or said.status >= 500
            return passes and not out_of_money and (_retry_after(error) or 0) <= _LONGEST_RETRY_AFTER
        if isinstance(error, openai.APIConnectionError):
            return self._answered or not _no_server(error)
        if isinstance(error, ValueError) and not isinstance(error, IRLLRecError):  # which is one
            return self._answered or not isinstance(error, _Garbled)
        return False

    def _sentence(self, error: Exception) -> IRLLRecError:
        """The sentence about an error that `call` ends with."""
        reason = self._shown(_reason(error))
        said = _said(error)
        if said:
            status = said.status
            if status == 401:
                return IRLLRecError(f"{self.url} refuses the key (401): put a valid one into {KEY_VARIABLE}.")
            if status in (403, 404):
                return IRLLRecError(
                    f"{self.url} answers {reason}: check the model's name (--model), the address (--base-url, which "
                    f"often ends in /v1) and what the key may use."
                )
            if status == 402 or (status in (200, 429) and not self._may_pass(error)):
                return IRLLRecError(f"{self.url} answers {reason}: raise the account's limit, or go on later.")
            if 400 <= status < 500 and status not in (408, 409, 429):
                return self.refusal(said)
        if not self._answered:
            if isinstance(error, openai.APIConnectionError) and _no_server(error):
                return IRLLRecError(
                    f"There is no server at {self.url} ({reason}): start it, or correct the address (--base-url)."
                )
            if isinstance(error, _Garbled):
                return IRLLRecError(
                    f"{self.url} answers with text that is no JSON: correct the address (--base-url), which often "
                    f"ends in /v1."
                )
        return NoAnswer(f"{self.url} gave no answer in {self._attempts} attempts, the last with {reason}.")

    def _shown(self, reason: str) -> str:
        """A reason without the key, which some servers repeat, and not too long."""
        if len(self._key) >= _SHORTEST_KEY:
            reason = reason.replace(self._key, "***")
        return reason if len(reason) <= _SHOWN else f"{reason[:_SHOWN]}…"


class Failed(Exception):
    """An error in what should have been an answer."""

    def __init__(self, said: Said):
        super().__init__(str(said))
        self.said = said


class _Garbled(ValueError):
    """An answer that is not of the protocol."""


def said_in(body: object, status: int = 200) -> Said:
    """What the body of an error says, in any form that servers are known to give it.

    OpenAI's ``{"error": {"message": …, "code": …, "param": …}}``; ``error`` as a text (LM Studio, Ollama); a list
    of them (Gemini); ``message`` without ``error`` (vLLM); ``detail``, a text or a list of ``msg`` (FastAPI); text that
    is no JSON, a page of HTML among it; the words of whom a proxy asked, in ``metadata`` (OpenRouter).

    Args:
        body: decoded JSON, or text.
        status: of the answer; if 200, a status that the body names counts.
    """
    if isinstance(body, list):
        return said_in(body[0] if body else None, status)
    if isinstance(body, dict) and isinstance(body.get("error"), dict | list):
        return said_in(body["error"], status)
    if not isinstance(body, dict):
        return Said(status, _TAG.sub(" ", body) if isinstance(body, str) else "")
    named = [body.get(name) for name in ("code", "type", "status", "error_type")]
    for name in ("innererror", "inner_error"):
        if isinstance(body.get(name), dict):
            named.append(body[name].get("code"))
    codes = [str(one) for one in named if isinstance(one, str | int)]
    if status == 200:
        status = next((int(one) for one in codes if one.isdecimal() and 400 <= int(one) < 600), status)
    metadata = body.get("metadata")
    words = [_words(body[name]) for name in ("message", "error", "detail", "msg") if body.get(name)][:1]
    if isinstance(metadata, dict):
        words += [_words(metadata[name]) for name in ("raw", "reasons") if metadata.get(name)]
    letters = " ".join(one for one in codes if not one.isdecimal())
    return Said(status, ": ".join(words), letters, str(body.get("param") or ""))


def _words(said: object) -> str:
    """A message that is a text, a list of such or FastAPI's list of places and messages."""
    if isinstance(said, list):
        return "; ".join(map(_words, said))
    if isinstance(said, dict):
        place = ".".join(map(str, said["loc"])) + ": " if isinstance(said.get("loc"), list) else ""
        return place + _words(said.get("msg") or said.get("message") or said.get("error") or json.dumps(said))
    return str(said)


def error_in(answer: object) -> object:
    """The error in the place of an answer, or in the place of a choice; None if there is none."""
    body = getattr(answer, "model_extra", answer)  # the client's own classes keep what they do not know
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return body.get("error") or (first.get("error") if isinstance(first, dict) else None)


def _said(error: BaseException | None) -> Said | None:
    """What the server said, if it is an error of the server."""
    if isinstance(error, openai.APIStatusError):
        return said_in(error.body, error.status_code)
    return error.said if isinstance(error, Failed) else None


class _Pace:
    """Begins requests evenly, so that no minute sees more than its share."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None):
        self._seconds_a_request = 60 / requests_per_minute if requests_per_minute else 0.0
        self._seconds_a_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self.limits_tokens = bool(tokens_per_minute)
        self._free = 0.0  # when the next request may begin

    def seconds_until_turn(self, tokens: int) -> float:
        """How long this request has to wait; its turn is then taken."""
        now = time.monotonic()
        begin = max(now, self._free)
        self._free = begin + max(self._seconds_a_request, tokens * self._seconds_a_token)
        return begin - now


def _key(is_openai: bool, url: str) -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key and is_openai:
        raise IRLLRecError(
            f"There is no key for {url}: put it into the environment variable {KEY_VARIABLE}, or name a server that "
            f"needs none with --base-url."
        )
    if not (key.isascii() and key.isprintable()):
        raise IRLLRecError(f"The environment variable {KEY_VARIABLE} holds characters that no key has: set it anew.")
    return key or "none"


def _wait(state: RetryCallState) -> float:
    """Seconds until the next attempt: what the server asks for, or twice as long at most as before."""
    return (_retry_after(_error(state)) or 0.0) + _backing_off(state)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _retry_after(error: BaseException | None) -> float | None:
    """What ``Retry-After`` asks for, in seconds; a date is understood as well."""
    if not isinstance(error, openai.APIStatusError):
        return None
    said = error.response.headers.get("retry-after", "")
    try:
        return max(float(said), 0.0)
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return None
    return max((until - datetime.now(UTC)).total_seconds(), 0.0) if until.tzinfo else None


def _no_server(error: openai.APIConnectionError) -> bool:
    """Whether no connection could be made; the client's HTTP library differs between its versions."""
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")


def _kind(error: BaseException | None) -> str:
    """What went wrong, without what the server says about it."""
    if said := _said(error):
        return str(said.status)
    if isinstance(error, openai.APITimeoutError):
        return "time-out"
    return "no connection" if isinstance(error, openai.APIConnectionError) else "unreadable answer"


def _reason(error: BaseException | None) -> str:
    """What went wrong in words: "429 (Rate limit reached.)", "a time-out"."""
    if said := _said(error):
        return str(said)
    if isinstance(error, openai.APITimeoutError):
        return "a time-out"
    if isinstance(error, openai.APIConnectionError):
        return str(error.__cause__) or "a dropped connection"
    return str(error) if isinstance(error, _Garbled) else "JSON that cannot be read"
