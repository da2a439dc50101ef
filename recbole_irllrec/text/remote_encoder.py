"""Embeddings from a server that speaks OpenAI's protocol."""

import asyncio
import base64
import functools
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import IRLLRecError
from .counting import TokenCounter
from .embedding_cache import EmbeddingCache, key_of
from .endpoint import Endpoint, RequestRefused, Said

OPENAI_MAX_LENGTH = 8191  # tokens of a text that OpenAI's models read
_LOOKED_UP = 10_000  # texts, at once
_ATTEMPTS = 8  # at an answer that can be read
_PATIENCE = 30.0  # seconds for requests on their way when something else has failed

_NAMES = {
    "dimensions": re.compile("dimensions|matryoshka", re.IGNORECASE),
    "encoding_format": re.compile("encoding[ _]?format", re.IGNORECASE),
}


class OpenAIEncoder:
    """A model behind an embeddings endpoint.

    Every batch is kept in a file as soon as it is received, so that a run that was ended in any way goes on from
    there, and a text is not paid for twice.
    """

    def __init__(
        self,
        encoder_model: str,
        cache: Path,
        *,
        encoder_name: str | None = None,
        base_url: str | None = None,
        dimensions: int | None = None,
        prompt: str | None = None,
        max_length: int | None = None,
        batch_size: int = 256,
        batch_tokens: int = 100_000,
        concurrency: int = 4,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ):
        """
        Args:
            encoder_model: what the server calls the model.
            cache: the file that keeps what is received.
            encoder_name: what tables call the encoder; None is the model's name.
            base_url: where the server is, see `endpoint.Endpoint`.
            dimensions: the width of an embedding to ask for; None does not ask.
            prompt: put before each text.
            max_length: the most tokens of a text that are sent; None is 8191 for a model of OpenAI whose vocabulary
                is at hand, else no limit.
            batch_size: the most texts in a request.
            batch_tokens: the most tokens in a request.
            concurrency: how many requests are under way at once.
            requests_per_minute: see `endpoint.Endpoint`.
            tokens_per_minute: see `endpoint.Endpoint`.

        Raises:
            IRLLRecError: there is no key, or the cache cannot be used.
        """
        self.name = encoder_name or encoder_model
        self._endpoint = Endpoint(
            base_url, requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute
        )
        self._address = self._endpoint.url.rstrip("/")
        self._model, self._dimensions, self._prompt = encoder_model, dimensions, prompt or ""
        self._batch_size, self._batch_tokens, self._concurrency = batch_size, batch_tokens, concurrency
        self._counter = TokenCounter(encoder_model)
        self._max_length = max_length or (OPENAI_MAX_LENGTH if self._counter.exact else None)
        # What the server may not take, by name.
        self._wishes: dict[str, object] = {"encoding_format": "float"}
        if dimensions is not None:
            self._wishes["dimensions"] = dimensions
        self._cache = EmbeddingCache(cache)
        self._width = dimensions  # of every embedding, once it is known
        self._refusal_of_width = ""  # what the server said, if it takes no dimensions
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        """Close the connections and the cache."""
        self._loop.run_until_complete(self._endpoint.close())
        self._loop.close()
        self._cache.close()

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `text.encoders.Encoder`.

        Raises:
            IRLLRecError: the endpoint's, or no answer can be used.
        """
        whole = [self._prompt + str(text) for text in texts]
        sent: dict[bytes, str] = {}
        places: dict[bytes, list[int]] = {}  # texts may be equal once they are cut
        cut = 0
        for place, text in enumerate(whole):
            short = self._cut(text)
            cut += short != text
            key = key_of(self._address, self._model, self._dimensions, short)
            sent[key] = short
            places.setdefault(key, []).append(place)
        if cut:
            log = logging.getLogger(__name__)
            log.warning(f"{cut} of {len(texts)} texts are longer than {self._max_length} tokens: their ends are cut.")
        for keys, embeddings in self._embedded(sent):
            at = [places[key] for key in keys]
            yield np.concatenate(at), np.repeat(embeddings, [len(some) for some in at], axis=0)

    def _embedded(self, sent: dict[bytes, str]) -> Iterator[tuple[list[bytes], np.ndarray]]:
        """Embed texts by their keys: those that are kept, then those that have to be asked for."""
        under_way: set[asyncio.Task] = set()
        every = list(sent)
        try:
            for start in range(0, len(every), _LOOKED_UP):
                some = every[start : start + _LOOKED_UP]
                known = self._cache.get(some)
                if known:
                    kept = np.stack(list(known.values()))
                    if self._width not in (None, kept.shape[1]):
                        raise IRLLRecError(
                            f"{self._cache.path} holds embeddings {self._width} and {kept.shape[1]} wide of "
                            f"{self._model}: if the model behind this name has changed, move the file away."
                        )
                    self._width = kept.shape[1]
                    yield list(known), kept
                missing = [key for key in some if key not in known]
                if missing and self._width is None:
                    self._width = self._loop.run_until_complete(self._ask_width())
                for keys in self._requests(missing, sent):
                    under_way.add(self._loop.create_task(self._ask(keys, [sent[key] for key in keys])))
                    while len(under_way) >= self._concurrency:
                        yield from self._finished(under_way)
            while under_way:
                yield from self._finished(under_way)
        finally:
            if under_way:  # what was asked for is paid for: let it arrive
                self._loop.run_until_complete(asyncio.wait(under_way, timeout=_PATIENCE))
                for task in under_way:
                    task.cancel()
                self._loop.run_until_complete(asyncio.gather(*under_way, return_exceptions=True))

    def _cut(self, text: str) -> str:
        return text if self._max_length is None else self._counter.cut(text, self._max_length)

    def _requests(self, keys: list[bytes], sent: dict[bytes, str]) -> Iterator[list[bytes]]:
        """Gather texts into requests, by their number and their tokens."""
        batch: list[bytes] = []
        tokens = 0
        for key in keys:
            more = self._counter.count(sent[key])
            if batch and (len(batch) >= self._batch_size or tokens + more > self._batch_tokens):
                yield batch
                batch, tokens = [], 0
            batch.append(key)
            tokens += more
        if batch:
            yield batch

    def _finished(self, under_way: set[asyncio.Task]) -> list[tuple[list[bytes], np.ndarray]]:
        """Wait for a request, and take those that are done."""
        done, _ = self._loop.run_until_complete(asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED))
        under_way -= done
        failures = [task.exception() for task in done]  # each is looked at, or asyncio prints the others
        for failure in filter(None, failures):
            raise failure
        return [task.result() for task in done]

    async def _ask(self, keys: list[bytes], texts: list[str]) -> tuple[list[bytes], np.ndarray]:
        """Ask for embeddings, and keep them; in halves if it is too much at once for the server."""
        refusal = None
        if len(texts) <= self._batch_size:  # which may have become smaller
            try:
                embeddings = await self._sound_answer(texts)
            except RequestRefused as error:
                refusal = error
            else:
                self._cache.put(keys, embeddings)
                return keys, embeddings
        if len(texts) == 1:
            raise IRLLRecError(
                f"{str(refusal).rstrip('.')}, for a text of about {self._counter.count(texts[0])} tokens: cut it with "
                f"--max-length if that is too long, or check --encoder-model."
            )
        half = len(texts) // 2
        parts = [await self._ask(keys[:half], texts[:half]), await self._ask(keys[half:], texts[half:])]
        if refusal and half < self._batch_size:
            self._batch_size = half
            logging.getLogger(__name__).info(f"Texts are sent {half} at a time ({refusal})")
        return keys, np.concatenate([embeddings for _, embeddings in parts])

    async def _ask_width(self) -> int:
        """The width in which two answers in a row agree, asked for with texts of a token each."""
        widths = [0, -1]
        while widths[-1] != widths[-2]:
            widths.append((await self._sound_answer([f"{len(widths)}"])).shape[1])
            if len(widths) > _ATTEMPTS:
                raise IRLLRecError(
                    f"{self._endpoint.url} answers with embeddings of ever other widths ({widths[2:]}): "
                    f"check --encoder-model."
                )
        return widths[-1]

    async def _sound_answer(self, texts: list[str]) -> np.ndarray:
        """Ask until the answer can be used: float32 [n, dim]."""
        tokens = sum(self._counter.count(text) for text in texts)
        problem = ""
        for _ in range(_ATTEMPTS):
            answer = await self._answer(texts, tokens)
            try:
                return self._same_width(_embeddings(answer, len(texts)))
            except _Unsound as error:
                problem = str(error)
                self._endpoint.retries.update(["unsound embeddings"])
        raise IRLLRecError(
            f"{self._endpoint.url} answered {_ATTEMPTS} times with {problem}: check --encoder-model and --dimensions, "
            f"and, if the model behind this name has changed, move {self._cache.path} away."
        )

    async def _answer(self, texts: list[str], tokens: int) -> object:
        """Ask once, without what the server turns out not to take."""
        while True:
            body = {"model": self._model, "input": texts, **self._wishes}
            # Not `embeddings.create`, which reads no answer but OpenAI's own.
            send = functools.partial(self._endpoint.client.post, "/embeddings", body=body, cast_to=object)
            try:
                return await self._endpoint.call(send, tokens, functools.partial(_refused_wish, body))
            except RequestRefused as error:
                wish = _refused_wish(body, error.said)
                if wish is None:
                    raise
                if self._wishes.pop(wish, None) is not None:
                    logging.getLogger(__name__).info(f"The server takes no {wish}, so it is not asked for ({error})")
                    self._refusal_of_width = str(error) if wish == "dimensions" else self._refusal_of_width

    def _same_width(self, embeddings: np.ndarray) -> np.ndarray:
        width = embeddings.shape[1]
        if width != (self._width or width):
            if self._refusal_of_width:
                raise IRLLRecError(
                    f"{self._refusal_of_width.rstrip('.')}, and its embeddings are {width} wide: drop --dimensions."
                )
            raise _Unsound(f"embeddings {width} wide where {self._width} are expected")
        return embeddings


class _Unsound(ValueError):
    """An answer whose embeddings cannot be those of the texts."""


def _refused_wish(body: dict[str, object], said: Said) -> str | None:
    """Which wish of a request the server refuses, if it says so."""
    told = f"{said.parameter} {said.message}"
    return next((wish for wish, name in _NAMES.items() if wish in body and name.search(told)), None)


def _embeddings(answer: object, n: int) -> np.ndarray:
    """The n embeddings of an answer, float32 [n, dim], in the order of the texts."""
    try:
        data = [(one.get("index"), _vector(one["embedding"])) for one in answer["data"]]  # type: ignore[index]
        if len(data) != n:
            raise _Unsound(f"{len(data)} embeddings for {n} texts")
        places = [place for place, _ in data]
        if len(set(map(str, places))) == 1:  # not told, or always 0: they come in order
            places = list(range(n))
        if sorted(places) != list(range(n)):
            raise _Unsound(f"embeddings with the places {str(places)[:50]} for {n} texts")
        by_place = dict(zip(places, (vector for _, vector in data), strict=True))
        embeddings = np.array([by_place[place] for place in range(n)], np.float32)
    except _Unsound:
        raise
    except (TypeError, ValueError, AttributeError, KeyError):  # none at all, of several widths, no numbers
        raise _Unsound("what are no embeddings") from None
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        raise _Unsound("what are no embeddings")
    if not np.isfinite(embeddings).all() or not embeddings.any(axis=1).all():
        raise _Unsound("embeddings of NaN, infinity or nothing but zeros")
    return embeddings


def _vector(sent: object) -> np.ndarray:
    """An embedding as numbers, or as their bytes in base64."""
    return np.frombuffer(base64.b64decode(sent), "<f4") if isinstance(sent, str) else np.array(sent, np.float32)
