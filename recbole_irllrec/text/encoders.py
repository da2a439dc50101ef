"""Text encoders: from texts to embeddings."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import sklearn
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from ..errors import IRLLRecError
from .profiles import words_of


class Encoder(Protocol):
    """What turns texts into embeddings."""

    name: str
    dim: int

    def encode(self, texts: Sequence[str] | np.ndarray) -> np.ndarray:
        """Embed texts: float32 [n, dim]; a row of zeros for a text in which there is nothing to embed."""


class TfidfSvdEncoder:
    """The embedded default: TF-IDF of words and truncated SVD, of length 1. Offline, and the same at every run."""

    name = "tfidf-svd"
    version = f"{name} 1, scikit-learn {sklearn.__version__}"  # count it up when what `encode` returns changes
    max_dim = 128

    def __init__(self, texts: Sequence[str]):
        """Learn the words and the space from ``texts``.

        Raises:
            IRLLRecError: there are fewer than two words in them.
        """
        self._vectorizer = TfidfVectorizer(
            preprocessor=_lower_words,
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

    def encode(self, texts: Sequence[str] | np.ndarray) -> np.ndarray:
        """Embed texts: float32 [n, dim]; a row of zeros for a text without a word seen before."""
        counts = self._vectorizer.transform(texts)
        with threadpool_limits(1):
            embeddings = self._svd.transform(counts).astype(np.float32)
        embeddings[np.linalg.norm(embeddings, axis=1) < 1e-6] = 0  # rounding errors have no direction
        return normalize(embeddings, copy=False)


def _lower_words(text: str) -> str:
    return words_of(text).lower()
