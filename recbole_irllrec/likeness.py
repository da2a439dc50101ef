"""How alike items are to a model: by its own vectors, or, for a model without them, by who has them."""

from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags
from torch import Tensor

from .scorer import Scorer

_BLOCK = 512  # items, compared at once with all others


class Likeness:
    """The cosines of items.

    Args:
        served: a trained model. If it has vectors, items are alike whose vectors are; a number of them that all users
            share says how popular an item is and not what it is like, and is left out. Otherwise items are alike that
            the same users have in their training interactions.
    """

    def __init__(self, served: Scorer):
        self._train_items = served.train_items
        self._vectors = None if served.embeddings is None else unit_vectors(*served.embeddings)

    @property
    def by_vectors(self) -> bool:
        """Whether the model's vectors are compared."""
        return self._vectors is not None

    @cached_property
    def _users(self) -> csr_matrix:
        """[n_items, n_users], rows of length 1."""
        of_items = self._train_items.T.tocsr()
        length = np.sqrt(np.diff(of_items.indptr))
        return diags(1 / np.maximum(length, 1)) @ of_items

    def between(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The cosines of items, [m] and [n] ids -> [m, n] float32."""
        if self._vectors is not None:
            return (self._vectors[a] @ self._vectors[b].T).cpu().numpy()
        return (self._users[a] @ self._users[b].T).toarray().astype(np.float32)

    def nearest(self, items: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each of [m] different items the nearest others: [m, n] their places among them and [m, n] cosines.

        Fewer than n where there are fewer others.
        """
        places, cosines = [], []
        for start in range(0, len(items), _BLOCK):
            found = self.between(items[start : start + _BLOCK], items)
            own = np.arange(len(found))
            found[own, start + own] = -np.inf
            best = torch.from_numpy(found).topk(min(n, len(items) - 1))
            places.append(best.indices.numpy())
            cosines.append(best.values.numpy())
        return np.concatenate(places), np.concatenate(cosines)


def unit_vectors(users: Tensor, items: Tensor) -> Tensor:
    """Items' vectors of length 1, without the numbers that are the same for all users, which say how popular they are.

    Args:
        users: [n_users, d]; items: [n_items, d], of a model, with the padding.
    """
    telling = (users[1:] != users[1:2]).any(dim=0)
    return torch.nn.functional.normalize(items[:, telling] if telling.any() else items, dim=1).float()
