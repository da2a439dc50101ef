"""A server that speaks OpenAI's protocol: its client, the retries and the pace."""

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from ..errors import IRLLRecError

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
_LONGEST_WAIT = 60.0  # seconds between two attempts, where the server does not ask for more
_LONGEST_RETRY_AFTER = 600.0  # seconds; a server that asks for more (a day's quota) ends the run
_backing_off = wait_random_exponential(multiplier=0.5, max=_LONGEST_WAIT)

T = TypeVar("T")


class RequestRefused(IRLLRecError):
    """The server will not answer this request as it is (400, 413, 422); others it may answer."""


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

    async def call(self, send: Callable[[], Awaitable[T]], tokens: int = 0) -> T:
        """Send a request at the pace of this endpoint, again after an error that may pass.

        429, 408, 409, 5xx, time-outs, dropped connections and answers that are no JSON are tried again, after a wait
        that doubles, with jitter, or that ``Retry-After`` says.

        Args:
            send: begins the request with `client`; it is called once an attempt.
            tokens: how many the request and its answer count against the pace.

        Raises:
            RequestRefused: this request is refused for what it holds.
            NoAnswer: no attempt brought an answer.
            Stopped: `stop` was called.
            IRLLRecError: no request has a chance: there is no server, no access, no such model, no money.
        """

        async def attempt() -> T:
            await self._sleep(self._pace.seconds_until_turn(tokens))
            answer = await send()
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
        except (openai.APIError, ValueError) as error:  # ValueError: JSON that cannot be read
            raise self._refusal(error) from None

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0 and not self._stopping.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)
        if self._stopping.is_set():
            raise Stopped

    def _may_pass(self, error: BaseException) -> bool:
        if isinstance(error, openai.APIStatusError):
            out_of_money = error.code == "insufficient_quota"
            passes = error.status_code in (408, 409, 429) or error.status_code >= 500
            return passes and not out_of_money and (_retry_after(error) or 0) <= _LONGEST_RETRY_AFTER
        if isinstance(error, openai.APIConnectionError):
            return self._answered or not _no_server(error)
        if isinstance(error, ValueError):
            return self._answered or not isinstance(error, _Garbled)
        return False

    def _refusal(self, error: Exception) -> IRLLRecError:
        """The sentence about an error that `call` ends with."""
        reason = self._without_key(_reason(error))
        if isinstance(error, openai.APIStatusError):
            status = error.status_code
            if status == 401:
                return IRLLRecError(f"{self.url} refuses the key (401): put a valid one into {KEY_VARIABLE}.")
            if status in (403, 404):
                return IRLLRecError(
                    f"{self.url} answers {reason}: check the model's name (--model), the address (--base-url, which "
                    f"often ends in /v1) and what the key may use."
                )
            if status == 429 and not self._may_pass(error):
                return IRLLRecError(f"{self.url} answers {reason}: raise the account's limit, or go on later.")
            if status < 500 and status not in (408, 409, 429):
                return RequestRefused(f"{self.url} refuses the request with {reason}.")
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

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***")


class _Garbled(ValueError):
    """An answer that is not of the protocol."""


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
    if isinstance(error, openai.APIStatusError):
        return str(error.status_code)
    if isinstance(error, openai.APITimeoutError):
        return "time-out"
    return "no connection" if isinstance(error, openai.APIConnectionError) else "unreadable answer"


def _reason(error: BaseException | None) -> str:
    """What went wrong in words: "429 (Rate limit reached.)", "a time-out"."""
    if isinstance(error, openai.APIStatusError):
        said = error.body.get("message") if isinstance(error.body, dict) else None
        return f"{error.status_code} ({str(said)[:200]})" if said else str(error.status_code)
    if isinstance(error, openai.APITimeoutError):
        return "a time-out"
    if isinstance(error, openai.APIConnectionError):
        return str(error.__cause__) or "a dropped connection"
    return str(error) if isinstance(error, _Garbled) else "JSON that cannot be read"
