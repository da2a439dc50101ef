"""Text encoders: from texts to embeddings."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
import sklearn
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..errors import IRLLRecError
from ..tables.intents import IntentTable
from ..tables.table_file import check_tokens
from .profiles import words_of

_BLOCK = 1 << 14  # texts that TF-IDF embeds at once
_LENGTH_TOLERANCE = 1e-3  # float16 has three digits


class Encoder(Protocol):
    """What turns texts into embeddings."""

    name: str
    """Texts embedded under one name may be compared with each other."""

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Embed texts that are not blank, batch by batch and in any order.

        Yields:
            Places [b] among ``texts``, and their embeddings, float32 [b, dim]; a row of zeros for a text in which there
            is nothing to embed.
        """


def embed_texts(
    encoder: Encoder,
    tokens: np.ndarray,
    texts: np.ndarray,
    *,
    source: Literal["features", "interactions"] | None,
    train_fingerprint: str | None = None,
    prompt_version: str | None = None,
    dtype: type[np.floating] = np.float32,
    encoding: dict[str, str | int | float] | None = None,
    origin: str = "The table",
) -> IntentTable:
    """Turn texts into a table; a text that occurs several times is embedded once, a blank one not at all.

    Args:
        encoder: the encoder.
        tokens: [n] RecBole's external ids.
        texts: [n] their texts, str.
        source: what the texts were made from, see `IntentTable.from_arrays`.
        train_fingerprint: of the training interactions, if they went into the texts.
        prompt_version: which prompt wrote the texts.
        dtype: float32 or float16, what the embeddings are kept in.
        encoding: see `tables.table_file.TableMetadata`.
        origin: what messages call the table.

    Raises:
        IRLLRecError: the encoder's; no text has words; and those of `IntentTable.from_arrays`.
    """
    check_tokens(pa.array(tokens, pa.large_string()), origin)  # before hours of embedding
    coded = pa.array(texts, pa.large_string()).dictionary_encode()
    different = coded.dictionary.to_numpy(zero_copy_only=False)
    worded = np.flatnonzero([not text.isspace() and text != "" for text in different])
    embeddings: np.ndarray | None = None  # of `different`
    with tqdm(total=len(worded), desc=f"Embedding with {encoder.name}", unit="text", delay=1) as bar:
        for places, found in encoder.batches(different[worded]):
            if embeddings is None:
                embeddings = np.zeros((len(different), found.shape[1]), dtype)
            with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinity, which is refused
                embeddings[worded[places]] = found
            bar.update(len(places))
    if embeddings is None:
        raise IRLLRecError(f"{origin} has no text with words in it: give texts, or leave this side or kind out.")
    lengths = np.linalg.norm(embeddings[worded].astype(np.float32, copy=False), axis=1)
    return IntentTable.from_arrays(
        tokens,
        embeddings[coded.indices.to_numpy()],
        texts,
        encoder=encoder.name,
        source=source,
        train_fingerprint=train_fingerprint,
        prompt_version=prompt_version,
        normalized=bool(np.allclose(lengths[lengths > 0], 1, atol=_LENGTH_TOLERANCE)),
        encoding=encoding,
        origin=origin,
    )


class TfidfSvdEncoder:
    """The embedded default: TF-IDF of words and truncated SVD, of length 1. Offline, and the same at every run."""

    version = f"tfidf-svd 1, scikit-learn {sklearn.__version__}"  # count it up when what `encode` returns changes
    max_dim = 128

    def __init__(
        self, texts: Sequence[str] | np.ndarray, each: Callable[..., Iterable] = map, fields_named: bool = True
    ):
        """Learn the words and the space from ``texts``.

        Args:
            texts: [n] str.
            each: calls the encoder for many blocks of texts; ``cluster.in_order`` does so on a cluster.
            fields_named: whether texts are made of fields, see `profiles`, whose names are left out. In prose, a colon
                ends no name.

        Raises:
            IRLLRecError: there are fewer than two words in them.
        """
        self._each = each
        self._vectorizer = TfidfVectorizer(
            preprocessor=_lower_words if fields_named else str.lower,
            token_pattern=r"\w+",  # one letter is a word, too: gender M
            sublinear_tf=True,  # a long history says "drama" often, not a hundred times as much
            dtype=np.float32,
        )
        try:
            counts = self._vectorizer.fit_transform(texts)
            self.dim = min(self.max_dim, *counts.shape)
            # A seed of its own: numpy's global generator draws RecBole's negatives.
            with threadpool_limits(1):  # with another number of threads the last digits differ
                self._svd = TruncatedSVD(self.dim, random_state=0).fit(counts)
        except ValueError:  # scikit-learn's for no words, or a single one
            raise IRLLRecError(
                "The features of items and users hold too few words to make texts from: give text tables "
                "(item_profile_table, user_profile_table and so on), or set all alignment weights to 0."
            ) from None
        version = self.version if fields_named else f"{self.version}, all words"
        learnt = hashlib.sha256("\0".join([version, *texts]).encode())
        self.name = f"tfidf-svd {learnt.hexdigest()[:8]}"  # another space is another encoder

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `Encoder`."""
        starts = range(0, len(texts), _BLOCK)
        blocks = (texts[start : start + _BLOCK] for start in starts)
        for start, embeddings in zip(starts, self._each(self.encode, blocks), strict=True):
            yield np.arange(start, start + len(embeddings)), embeddings

    def encode(self, texts: Sequence[str] | np.ndarray) -> np.ndarray:
        """Embed texts: float32 [n, dim]; a row of zeros for a text without a word seen before."""
        counts = self._vectorizer.transform(texts)
        with threadpool_limits(1):
            embeddings = self._svd.transform(counts).astype(np.float32)
        embeddings[np.linalg.norm(embeddings, axis=1) < 1e-6] = 0  # rounding errors have no direction
        return normalize(embeddings, copy=False)


def _lower_words(text: str) -> str:
    return words_of(text).lower()
