"""DCCF: disentangled intents in each layer, and means of neighbours that are alike."""

from typing import NamedTuple

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from torch import Tensor, nn
from torch.nn import functional as F

from . import losses
from .alignment import Encoded
from .encoder import GraphEncoder
from .graph import described_by_prototypes, mean_of_similar, normalized, propagate
from .sampling import Triples


class Layer(NamedTuple):
    """What a layer adds to the last one, each [N, d]."""

    neighbours: Tensor
    intents: Tensor
    alike: Tensor  # the mean of the neighbours, by the likeness of what their own neighbours say
    of_like_intent: Tensor  # the same, by the likeness of their intents


class PrototypeEncoder(GraphEncoder):
    """A graph encoder whose nodes are described by prototypes of intents, K a side."""

    has_intents = True

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        n = self.settings.n_intents
        for side in ("user", "item"):
            prototypes = nn.init.xavier_uniform_(torch.empty(self.latent_dim, n, device=self.device))
            self.register_parameter(f"{side}_prototypes", nn.Parameter(prototypes))

    @property
    def prototypes(self) -> tuple[Tensor, Tensor]:
        """[d, K] of the users and [d, K] of the items."""
        return self.user_prototypes, self.item_prototypes

    def describe(self, embedding: Tensor) -> Tensor:
        """[N, d] -> [N, d], see `graph.described_by_prototypes`."""
        return described_by_prototypes(embedding, self.graph.n_users, *self.prototypes)


class DCCF(PrototypeEncoder):
    """Disentangled Contrastive Collaborative Filtering (Ren et al., SIGIR 2023).

    The published code of IRLLRec divides the items' contrast by the number of users.

    Args and errors: as of `GraphEncoder`.
    """

    folds_in = False  # its layers mix what neighbours pass on with a node's own intents

    def encode(self, start: Tensor | None = None) -> Encoded:
        whole, matrix = self.graph.whole, normalized(self.graph)
        layers = [self.get_ego_embeddings() if start is None else start]
        added = []
        for _ in range(self.n_layers):
            last = layers[-1]
            neighbours = propagate(self.graph, last, 1, matrix)[1]
            intents = self.describe(last)
            alike, of_like_intent = (mean_of_similar(whole, what, last) for what in (neighbours, intents))
            added.append(Layer(neighbours, intents, alike, of_like_intent))
            layers.append(last + neighbours + intents + alike + of_like_intent)

        def revealed(nodes: Tensor) -> Tensor:
            rows = [F.embedding(nodes, layer.of_like_intent) for layer in added]
            return torch.stack(rows).mean(dim=0)

        return Encoded(self.aggregate(layers), layers[:-1], intents=revealed, own=added)

    def own_terms(self, encoded: Encoded, batch: Triples) -> dict[str, Tensor]:
        contrast = self.settings.ssl_weight * self._contrast(encoded.own, batch)
        return super().own_terms(encoded, batch) | {"contrast": contrast}

    def _contrast(self, layers: list[Layer], batch: Triples) -> Tensor:
        """Σ InfoNCE of the neighbours with the other three, of the batch's users and of its items, each once, / n."""
        user, positive, _ = batch
        users = user.unique()
        total = layers[0].neighbours.new_zeros(())
        for nodes in (users, positive.unique()):
            n = len(users) if self.as_published else len(nodes)
            counts, bias = total.new_ones(len(nodes)), total.new_zeros(len(nodes))
            for layer in layers:
                neighbours, *others = (F.embedding(nodes, part) for part in layer)
                for other in others:
                    total = total + losses.info_nce(neighbours, other, counts, self.settings.ssl_tau, bias) / n
        return total
