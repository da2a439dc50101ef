"""Encoders that see each node twice in a training step, and learn to tell it from the others."""

import torch
from torch import Tensor
from torch.nn import functional as F

from . import losses
from .alignment import Encoded
from .encoder import GraphEncoder
from .sampling import Triples, contrast_set


class ViewEncoder(GraphEncoder):
    """A graph encoder whose `Encoded.own` is, in training, two views of the nodes, each [N, d]."""

    def own_terms(self, encoded: Encoded, batch: Triples) -> dict[str, Tensor]:
        first, second = encoded.own
        contrast = self._contrast(first, second, batch)
        return super().own_terms(encoded, batch) | {"contrast": self.settings.ssl_weight * contrast}

    def contrasted(self, batch: Triples) -> tuple[Tensor, ...]:
        """Which nodes of a batch: its users and its positive items."""
        return batch[:2]

    def _contrast(self, first: Tensor, second: Tensor, batch: Triples) -> Tensor:
        """Σ InfoNCE(first_n, second_n, second of all nodes of that side; τ) over the batch's nodes, / B."""
        s, graph = self.settings, self.graph
        nodes = torch.arange(graph.n_nodes, device=first.device)
        users, items = nodes.split([graph.n_users, graph.n_items])
        limit = None if s.ssl_nodes == "all" else s.ssl_nodes
        total = first.new_zeros(())
        for members, side in zip(self.contrasted(batch), (users, items, items), strict=False):
            anchors, counts, candidates, bias = contrast_set(members, side, limit, first.dtype)
            x, y = F.embedding(anchors, first), F.embedding(candidates, second)
            total = total + losses.info_nce(x, y, counts, s.ssl_tau, bias)
        return total / len(batch[0])
