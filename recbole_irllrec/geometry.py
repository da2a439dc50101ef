"""How embeddings lie on the unit sphere: alignment, uniformity (Wang and Isola, ICML 2020), densities on the plane.

Embeddings are [n, d] arrays, and are scaled to length 1 first.
"""

from typing import Literal

import numpy as np
from scipy.spatial.distance import pdist
from scipy.special import i0e
from scipy.stats import gaussian_kde
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

Map = Literal["tsne", "pca"]
_CONCENTRATION = 50.0  # of von Mises' kernel: about 8 degrees
_JITTER = 1e-3  # without it embeddings that are all equal would have no density


def alignment(x: np.ndarray, y: np.ndarray) -> float:
    """The mean ‖x̂ − ŷ‖² of rows that belong together, [n, d] each; 0 where they are equal, 2 where orthogonal."""
    return float(np.square(normalize(x) - normalize(y)).sum(axis=1).mean())


def distance_of_any(x: np.ndarray, y: np.ndarray) -> float:
    """The mean ‖x̂ − ŷ‖² over all pairs of rows of [n, d] and [m, d]: what `alignment` has to lie below."""
    return float(2 - 2 * normalize(x).mean(axis=0) @ normalize(y).mean(axis=0))


def uniformity(x: np.ndarray) -> float:
    """log mean exp(−2 ‖x̂ − x̂'‖²) over all pairs of different rows: 0 where all are equal, lower where they spread."""
    return float(np.log(np.exp(-2 * pdist(normalize(x), "sqeuclidean")).mean()))


def in_two_dimensions(x: np.ndarray, how: Map) -> np.ndarray:
    """[n, d], n > 2 -> [n, 2], the same each time; neighbours stay neighbours (tsne), or the first two components."""
    x = normalize(x).astype(np.float64)
    if how == "pca":
        return PCA(2, svd_solver="full").fit_transform(x)
    return TSNE(perplexity=min(30, (len(x) - 1) / 3), init="random", random_state=0).fit_transform(x)


def on_the_circle(places: np.ndarray) -> np.ndarray:
    """The directions in which [n, 2] places lie from their mean, as angles [n] in radians."""
    x, y = (places - places.mean(axis=0)).T
    return np.arctan2(y, x)


def density_of_angles(angles: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The density of [n] angles at [m] others, a kernel estimate on the circle (von Mises): it integrates to 1."""
    kernel = np.exp(_CONCENTRATION * (np.cos(at[:, None] - angles) - 1))
    return kernel.mean(axis=1) / (2 * np.pi * i0e(_CONCENTRATION))


def density_on_the_plane(angles: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The density of the points of the circle at [n] angles, at [m, 2] places: a Gaussian kernel estimate."""
    points = np.stack([np.cos(angles), np.sin(angles)])
    jitter = np.random.default_rng(0).normal(scale=_JITTER, size=points.shape)
    return gaussian_kde(points + jitter)(at.T)
