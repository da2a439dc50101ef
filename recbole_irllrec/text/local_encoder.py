"""Sentence-transformers models: text encoders that run on this machine."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ..errors import IRLLRecError

_BATCHES_A_STEP = 16  # texts are sorted by length within a step, so that batches hold little padding
_SPECIAL_TOKENS = 8  # at most, around a text


class SentenceTransformerEncoder:
    """A sentence-transformers model, from a folder or from the Hugging Face hub."""

    def __init__(
        self,
        encoder_model: str,
        *,
        encoder_name: str | None = None,
        prompt: str | None = None,
        max_length: int | None = None,
        compute_dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        batch_size: int = 32,
        device: str | None = None,
        each: Callable[..., Iterable] = map,
    ):
        """Load the model.

        Args:
            encoder_model: the folder or the name on the hub.
            encoder_name: what tables call the encoder; None is the model's name, of a folder its last part.
            prompt: put before each text.
            max_length: how many tokens of a text are read; None is the model's own limit.
            compute_dtype: what the model computes in.
            batch_size: texts embedded at once.
            device: where, such as "cuda:1"; None is the fastest there is.
            each: calls the encoder for many blocks of texts; ``cluster.in_order`` does so on a cluster.

        Raises:
            IRLLRecError: sentence-transformers is not installed, or there is no such model or device.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            raise IRLLRecError(
                f"The encoder sentence-transformers needs the package {error.name}, which is not installed: run "
                f"`pip install 'recbole-irllrec[local]'`."
            ) from None
        folder = Path(encoder_model).expanduser()
        self.name = encoder_name or (folder.resolve().name if folder.is_dir() else encoder_model)
        self._prompt, self._batch_size, self._each = prompt, batch_size, each
        try:
            self._model = SentenceTransformer(str(folder) if folder.is_dir() else encoder_model, device=device)
            self._model.to(dtype=getattr(torch, compute_dtype))
        except (OSError, ValueError, RuntimeError, AssertionError, ImportError) as error:
            reason = str(error).strip().splitlines()[0][:200].rstrip(".") if str(error) else type(error).__name__
            raise IRLLRecError(
                f"The model {encoder_model} cannot be loaded{f' on {device}' if device else ''} ({reason}): name a "
                f"folder with a sentence-transformers model, or a model of the hub that can be reached from here."
            ) from None
        if max_length is not None:
            self._model.max_seq_length = max_length

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `text.encoders.Encoder`; how many texts were too long is logged at the end."""
        step = self._batch_size * _BATCHES_A_STEP
        starts = range(0, len(texts), step)
        blocks = ([str(text) for text in texts[start : start + step]] for start in starts)
        too_long = 0
        for start, (embeddings, n_too_long) in zip(starts, self._each(self._encode, blocks), strict=True):
            too_long += n_too_long
            yield np.arange(start, start + len(embeddings)), embeddings
        if too_long:
            logging.getLogger(__name__).warning(
                f"{too_long} of {len(texts)} texts are longer than the {self._model.max_seq_length} tokens that "
                f"{self.name} reads: their ends are left out."
            )

    def _encode(self, texts: list[str]) -> tuple[np.ndarray, int]:
        """Embed a block of texts: float32 [b, dim], and how many of them were too long."""
        embeddings = self._model.encode(
            texts, prompt=self._prompt, batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return embeddings.astype(np.float32, copy=False), self._count_too_long(texts)

    def _count_too_long(self, texts: list[str]) -> int:
        most = self._model.max_seq_length
        if most is None:
            return 0
        prompt = self._prompt or ""
        # A token is a byte at least, so few texts need counting.
        candidates = [text for text in texts if len((prompt + text).encode()) > most - _SPECIAL_TOKENS]
        if not candidates:
            return 0
        counted = self._model.tokenizer([prompt + text for text in candidates], truncation=False, verbose=False)
        return sum(len(ids) > most for ids in counted["input_ids"])
