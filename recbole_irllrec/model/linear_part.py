"""The linear part of a graph encoder's scores: what a closed form of the same interactions and texts says beside it.

The two know different things: an encoder has few numbers for each node, EASE's weights one for each pair of items. Of
the weights the strongest of each item are kept: checkpoints and serving grow with the number of items. While they
are found, matrices of its square are held.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, hstack, spmatrix
from torch import Tensor, nn

from . import linear

# By what the scores of items that training has not seen are multiplied, where both parts know their texts alone: they
# vary less than those of trained items, and would rank below them. On validation 1.75 was best on citeulike-a, and 2 on
# ml-100k (docs/new-items.md).
UNSEEN_SCALE = 1.75
_USERS = 1024  # whose scores are held at once
_ITEMS = 2048  # whose weights are sorted at once


class LinearPart(nn.Module):
    """Item-item weights by which a history scores items, in units of the scores' standard deviation.

    Args:
        settings: with the part `LinearSettings`.
        interactions: [n_users, n_items] of training, the padding row and column included.
        text: [n_items, k] the items' embeddings and [n_items] bool which have one, without the padding; None for none.
        unseen_scale: by what the scores of items without interactions are multiplied.
    """

    places: Tensor
    weights: Tensor
    of_texts: Tensor | None

    def __init__(
        self, settings: Any, interactions: spmatrix, text: tuple[Tensor, Tensor] | None, unseen_scale: float = 1.0
    ):
        super().__init__()
        self._settings, self._unseen_scale = settings, unseen_scale
        self.interactions = linear.binary(interactions)
        n_items, kept = interactions.shape[1], min(settings.linear_neighbours, interactions.shape[1] - 1)
        self.register_buffer("places", torch.zeros(n_items, kept, dtype=torch.int32))
        self.register_buffer("weights", torch.zeros(n_items, kept))
        self._text = text
        self.register_buffer("of_texts", None if text is None else torch.zeros(n_items, text[0].shape[1]))
        self.is_solved = False
        self.register_load_state_dict_post_hook(_forget)

    @torch.no_grad()
    def solve(self) -> None:
        """Find the weights; a second time it does nothing.

        Raises:
            IRLLRecError: there are too many items for the memory, or the penalty is too low for the precision.
        """
        if self.is_solved:
            return
        s, device = self._settings, self.weights.device
        n_users, n_items = self.interactions.shape
        matrices = linear.matrices_held(n_users - 1 + (self._text[0].shape[1] if self._text else 0), n_items)
        linear.refuse_too_many(
            "The linear part (linear_weight above 0)", n_items, matrices, device, "set linear_weight to 0, or "
        )
        known = linear.as_tensor(self.interactions[1:, 1:]).to(device)
        found = linear.weighted_ease(
            known, self._directions(), s.linear_reg_weight, s.linear_text_weight, s.linear_popularity_discount
        )
        for start in range(0, len(found.weights), _ITEMS):
            part = found.weights[start : start + _ITEMS]
            places = part.abs().topk(self.places.shape[1], dim=1, sorted=False).indices
            into = slice(start + 1, start + 1 + len(part))
            self.places[into] = (places + 1).int()
            self.weights[into] = part.gather(1, places)
        if self.of_texts is not None and found.of_texts is not None:
            self.of_texts[1:].copy_(found.of_texts)
        self.is_solved = True
        scale = self._deviation()
        for values in (self.weights, self.of_texts):
            if values is not None and scale > 0:
                values.div_(scale)
        is_unseen = torch.from_numpy(self.interactions.getnnz(axis=0) == 0).to(device)
        self.weights[is_unseen[self.places.long()]] *= self._unseen_scale
        _forget(self)

    def scores(self, histories: csr_matrix) -> Tensor:
        """[n, n_items] histories, sparse -> [n, n_items] scores."""
        return torch.from_numpy((histories @ self.matrix).toarray()).to(self.weights)

    def scores_of_pairs(self, histories: csr_matrix, items: np.ndarray) -> Tensor:
        """[n, n_items] histories, sparse, and an item for each, [n] -> [n] scores."""
        products = histories.multiply(self._columns[items])
        return torch.from_numpy(np.asarray(products.sum(axis=1)).ravel()).to(self.weights)

    @cached_property
    def matrix(self) -> csr_matrix:
        """[n_items, n_items] float32, what an item of a history says for another."""
        n_items, kept = self.weights.shape
        starts = np.arange(n_items + 1) * kept
        columns, values = (each.cpu().numpy().reshape(-1) for each in (self.places, self.weights))
        return csr_matrix((values, columns, starts), (n_items, n_items))

    @cached_property
    def _columns(self) -> csr_matrix:
        """`matrix`, transposed."""
        return self.matrix.T.tocsr()

    def extended(self, texts: Tensor | None, scale: float) -> csr_matrix:
        """[n_items + m, n_items + m], `matrix` with m new items that others speak for, by their texts [m, k].

        They say nothing for others themselves, and their scores are multiplied by ``scale``.
        """
        if texts is None or not len(texts):
            return self.matrix
        n_items, n_new = len(self.weights), len(texts)
        if self.of_texts is None or self._text is None:
            further = csr_matrix((n_items, n_new), dtype=np.float32)
        else:
            found = linear.directions(texts.float(), self._centre).to(self.of_texts) @ self.of_texts.T
            places = found.abs().topk(self.places.shape[1], dim=1).indices
            starts = np.arange(n_new + 1) * places.shape[1]
            values = scale * found.gather(1, places).cpu().numpy().reshape(-1)
            rows = csr_matrix((values, places.cpu().numpy().reshape(-1), starts), (n_new, n_items))
            further = rows.T.tocsr()
        made = hstack([self.matrix, further], format="csr")
        made.resize(n_items + n_new, n_items + n_new)
        return made

    @property
    def _centre(self) -> Tensor:
        """[k], the mean of the items' texts."""
        assert self._text is not None  # who asks knows
        embedding, present = self._text
        return embedding[present].float().mean(dim=0).to(self.weights.device)

    def _directions(self) -> Tensor | None:
        """[n_items - 1, k] float32, as the interactions are, whatever the model's precision."""
        if self._text is None:
            return None
        embedding, present = self._text
        device = self.weights.device
        return linear.directions(embedding.to(device).float(), self._centre) * present.to(device)[:, None]

    def _deviation(self) -> float:
        """Of the scores of all items for all users with a history."""
        histories = self.interactions[np.diff(self.interactions.indptr) > 0]
        sums = np.zeros(2)
        for start in range(0, histories.shape[0], _USERS):
            values = (histories[start : start + _USERS] @ self.matrix).data.astype(np.float64)
            sums += values.sum(), np.square(values).sum()
        mean, square = sums / max(histories.shape[0] * (histories.shape[1] - 1), 1)
        return float(np.sqrt(max(square - mean**2, 0)))


def _forget(module: nn.Module, *_: Any) -> None:
    for name in ("matrix", "_columns"):
        module.__dict__.pop(name, None)
