"""Wide text embeddings made narrow, once, by principal components."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import atomic_write

_FIT_ROWS = 10_000  # drawn evenly; far more than components
_BLOCK = 16_384  # rows that are projected at once


class Projection(NamedTuple):
    """An affine map to fewer dimensions."""

    mean: np.ndarray  # [n_in] float32
    components: np.ndarray  # [dim, n_in] float32, orthonormal rows
    explained_variance_ratio: np.ndarray  # [dim], the share of the variance that each keeps

    def apply(self, embeddings: np.ndarray, present: np.ndarray) -> np.ndarray:
        """[n, n_in] -> float32 [n, dim]; zeros where ``present``, [n] bool, is False."""
        narrow = np.empty((len(embeddings), len(self.components)), np.float32)
        for start in range(0, len(embeddings), _BLOCK):
            rows = slice(start, start + _BLOCK)
            narrow[rows] = (embeddings[rows] - self.mean) @ self.components.T
        narrow[~present] = 0
        return narrow


def fit_projection(
    embeddings: Sequence[np.ndarray], present: Sequence[np.ndarray], dim: int, stem: Path, what: str
) -> Projection:
    """The first principal components of the embeddings that are there; kept in a file, and read back from it.

    Args:
        embeddings: arrays [n, n_in].
        present: for each an array [n] bool.
        dim: how many components; fewer where there are fewer embeddings.
        stem: the file is ``<stem>-<fingerprint>.npz``; its arrays are those of `Projection`.
        what: what the log calls them.
    """
    log = logging.getLogger(__name__)
    sample = _sample(embeddings, present)
    dim = min(dim, len(sample))
    digest = hashlib.sha256(f"pca 1 {dim} {sample.shape}".encode() + sample.tobytes()).hexdigest()
    path = stem.with_name(f"{stem.name}-{digest[:16]}.npz")
    projection = _read(path)
    if projection is None:
        projection = _fit(sample, dim)
        try:
            with atomic_write(path) as file:
                np.savez(file, **projection._asdict())
        except OSError as error:
            log.warning(f"The projection of {what} is not kept for the next run ({error}).")
    kept = projection.explained_variance_ratio.sum()
    log.info(
        f"{what} is reduced from {sample.shape[1]} to {dim} dimensions (text_dim), which keep {kept:.1%} of its "
        f"variance; in {path}."
    )
    return projection


def _sample(embeddings: Sequence[np.ndarray], present: Sequence[np.ndarray]) -> np.ndarray:
    """At most `_FIT_ROWS` of the embeddings that are there, float32, the same ones each time."""
    places = [np.flatnonzero(there) for there in present]
    n = sum(map(len, places))
    taken = np.sort(np.random.default_rng(0).choice(n, min(n, _FIT_ROWS), replace=False))
    bounds = np.cumsum([0, *map(len, places)])
    parts = [
        rows[where[taken[(taken >= low) & (taken < high)] - low]]
        for rows, where, low, high in zip(embeddings, places, bounds[:-1], bounds[1:], strict=True)
    ]
    return np.concatenate(parts, dtype=np.float32)


def _fit(sample: np.ndarray, dim: int) -> Projection:
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the same sums with any number of threads
        pca = PCA(dim, random_state=0).fit(sample)
    return Projection(pca.mean_.astype(np.float32), pca.components_.astype(np.float32), pca.explained_variance_ratio_)


def _read(path: Path) -> Projection | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return Projection(**file)
    except Exception as error:  # whatever is wrong with a file that can be made again
        logging.getLogger(__name__).warning(f"The kept projection {path} is made again: {error}")
        return None
