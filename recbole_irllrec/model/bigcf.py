"""BIGCF: embeddings that are uncertain by as much as a node's intents say."""

import torch
from torch import Tensor
from torch.nn import functional as F

from . import losses
from .alignment import Encoded
from .dccf import PrototypeEncoder
from .graph import interaction_intents
from .sampling import Triples


class BIGCF(PrototypeEncoder):
    """Bilateral Intent-guided Graph Collaborative Filtering (Zhang et al., SIGIR 2024).

    It scores with the means; the published code draws noise there, too. Its interaction intents are found in each
    layer; the published code of IRLLRec takes the likeness from one layer and averages the next.

    Args and errors: as of `GraphEncoder`.
    """

    def encode(self, start: Tensor | None = None) -> Encoded:
        layers = self.propagate(start)
        final = mean = self.aggregate(layers)
        spread = self.describe(mean)
        if self.training:
            final = mean + spread * self.draw_noise(mean)
        averaged = layers[1:] if self.as_published else layers[:-1]

        def revealed(nodes: Tensor) -> Tensor:
            return interaction_intents(self.graph, layers[:-1], *self.prototypes, nodes, averaged)

        return Encoded(final, layers[:-1], intents=revealed, own=spread)

    def draw_noise(self, like: Tensor) -> Tensor:
        """Standard normal, of the shape [N, d] of ``like``."""
        return torch.randn_like(like)

    def own_terms(self, encoded: Encoded, batch: Triples) -> dict[str, Tensor]:
        s = self.settings
        squared = torch.stack([prototypes.square().sum() for prototypes in self.prototypes]).sum()
        return super().own_terms(encoded, batch) | {
            "contrast": s.ssl_weight * self._contrast(encoded, batch),
            "prototypes": s.prototype_weight * squared,
        }

    def _contrast(self, encoded: Encoded, batch: Triples) -> Tensor:
        """Of the batch's users, of its positive items, of one with the other, and of the intents of each."""
        user, positive, _ = batch
        users, items = (F.embedding(nodes, encoded.final) for nodes in (user, positive))
        user_intents, item_intents = (F.embedding(nodes, encoded.own) for nodes in (user, positive))
        pairs = (users, users), (items, items), (users, items), (user_intents,) * 2, (item_intents,) * 2
        return torch.stack([losses.own_among_all(*pair, self.settings.ssl_tau) for pair in pairs]).sum()
