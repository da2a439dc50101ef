"""Users from their histories alone, without training: what an encoder's propagation makes of them.

In LightGCN's propagation a user is the sum of what its items pass on, but for its own embedding E_0. For somebody that
training has not seen this is predicted from the rest, as it is related to the rest among those that training has seen.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from recbole.model.general_recommender.itemknn import ItemKNN
from scipy.sparse import csr_matrix, diags
from torch import Tensor

_MOST_USERS = 20_000  # from whom E_0 is learnt
_REG_WEIGHT = 1e-4  # of its regression, for each user


@runtime_checkable
class FoldsIn(Protocol):
    """A recommender that gives vectors to users of which it has nothing but a history."""

    def fold_in(self, histories: csr_matrix, known: np.ndarray, new_texts: Tensor | None = None) -> Tensor:
        """The vectors of users, whose products with those of items are scores.

        Args:
            histories: [n, n_items + m] an entry above zero at each interaction; n_items counts the padding item, and m
                new items follow.
            known: [n] int64, the users' ids where training has seen them, with whatever history; 0 for new ones.
            new_texts: [m, D], embeddings of the new items' texts.

        Returns:
            [n, d'].
        """


def folds_in(model: Any) -> bool:
    """Whether a recommender has something for users by their histories alone."""
    if isinstance(model, FoldsIn):
        return getattr(model, "folds_in", True)
    return item_weights(model) is not None


def item_weights(model: Any) -> Any:
    """B [n_items, n_items] of a recommender whose scores are X_u B, an array or sparse; None of any other."""
    if isinstance(model, ItemKNN):
        return None if model.method == "user" else model.w
    if getattr(model, "center_columns", False):  # ADMMSLIM's scores are not X_u B then
        return None
    weights = getattr(model, "item_similarity", getattr(model, "weights", None))
    if isinstance(weights, Tensor):
        weights = weights.cpu().numpy()
    n_items = getattr(model, "n_items", None)
    return weights if getattr(weights, "shape", None) == (n_items, n_items) else None


def passed_on(histories: csr_matrix, layers: list[Tensor], degrees: np.ndarray) -> list[Tensor]:
    """What items pass on to their users: D_u^-1/2 X D_i^-1/2 E_l of each layer.

    Args:
        histories: [n, m], X.
        layers: each [m, d], the items' rows of E_l.
        degrees: [m] the items' numbers of training interactions.

    Returns:
        For each layer [n, d]; zeros for a user without interactions.
    """
    own = np.diff(histories.indptr)
    scale = [diags(1 / np.sqrt(np.maximum(each, 1)).astype(np.float64)) for each in (own, degrees)]
    return product(scale[0] @ histories.astype(np.float64) @ scale[1], layers)


def product(matrix: csr_matrix, layers: list[Tensor]) -> list[Tensor]:
    """The products of a sparse [n, m] matrix with each [m, d]."""
    rows = matrix.tocsr()
    return [torch.from_numpy(rows @ layer.cpu().double().numpy()).to(layer) for layer in layers]


def features(histories: csr_matrix, passed: list[Tensor], start: Tensor) -> Tensor:
    """What E_0 of users is predicted from: what was passed on, and the mean of their items' own E_0; [n, (L + 1) d].

    Args:
        histories: [n, m].
        passed: see `passed_on`.
        start: [m, d], the items' E_0.
    """
    mean = diags(1 / np.maximum(np.diff(histories.indptr), 1)) @ histories.astype(np.float64)
    return torch.cat([*passed, *product(mean, [start])], dim=1)


def regressed(inputs: Tensor, targets: Tensor, of: Tensor) -> Tensor:
    """What a ridge regression learnt from some users says of others.

    Args:
        inputs: [n, k] and targets: [n, d] of the users to learn from; at most `_MOST_USERS` of them are taken, evenly.
        of: [m, k].

    Returns:
        [m, d].
    """
    step = -(-len(inputs) // _MOST_USERS)
    x, y = inputs[::step].double(), targets[::step].double()
    mean, scale = x.mean(dim=0), x.std(dim=0, correction=0)
    scale = torch.where(scale > 1e-12, scale, 1.0)  # a constant says nothing
    x = (x - mean) / scale
    gram = x.T @ x
    gram.diagonal().add_(_REG_WEIGHT * len(x) + 1e-9)
    weight = torch.linalg.solve(gram, x.T @ (y - y.mean(dim=0)))
    return (((of.double() - mean) / scale) @ weight + y.mean(dim=0)).to(targets)
