"""SGL on our graph products."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .alignment import Encoded
from .graph import Values, dropped, without_edges
from .sampling import Triples
from .views import ViewEncoder


class SGL(ViewEncoder):
    """Self-supervised Graph Learning (Wu et al., SIGIR 2021): the views are passes on graphs that lack some edges.

    RecBole's SGL in its settings, its views, drawn once an epoch, and its loss, which is divided by the number of
    triples here. The published code of IRLLRec draws views in each step and drops the two directions of an edge apart,
    without new degrees; it contrasts negative items as well, penalises all parameters, and takes the interaction
    intents from the second view.

    Args and errors: as of `GraphEncoder`.
    """

    _views: tuple[list[Values], list[Values]] | None = None

    def train(self, mode: bool = True) -> "SGL":
        self._views = None
        return super().train(mode)

    def encode(self, start: Tensor | None = None) -> Encoded:
        encoded = super().encode(start)
        if not self.training:
            return encoded
        if self._views is None or self.as_published:
            self._views = self.draw_view(), self.draw_view()
        first, second = (self.propagate(encoded.layers[0], view) for view in self._views)
        layers = second[:-1] if self.as_published else encoded.layers
        return encoded._replace(layers=layers, own=(self.aggregate(first), self.aggregate(second)))

    def draw_view(self) -> list[Values]:
        """The matrix of each layer, of a graph that lacks a share of the nodes or of the edges."""
        s, graph = self.settings, self.graph
        if self.as_published:
            return [dropped(graph, s.drop_ratio)] * self.n_layers
        if s.type == "ND":
            users, items = self._draw(graph.n_users), self._draw(graph.n_items)
            kept = users[graph.heads.long()] & items[graph.tails.long() - graph.n_users]
            return [without_edges(graph, kept)] * self.n_layers
        n_edges = len(graph.heads)
        if s.type == "ED":
            return [without_edges(graph, self._draw(n_edges))] * self.n_layers
        return [without_edges(graph, self._draw(n_edges)) for _ in range(self.n_layers)]

    def _draw(self, n: int) -> Tensor:
        """[n] bool, which of n things are kept."""
        device = self.graph.norm.device
        lost = torch.randperm(n, device=device)[: int(n * self.settings.drop_ratio)]
        return torch.ones(n, dtype=torch.bool, device=device).index_fill_(0, lost, False)

    def contrasted(self, batch: Triples) -> tuple[Tensor, ...]:
        return batch if self.as_published else super().contrasted(batch)

    def regularization(self, batch: Triples) -> dict[str, Tensor]:
        """RecBole's, of the norms of the batch's embeddings."""
        if self.as_published or self.settings.reg_weight == 0:
            return super().regularization(batch)
        embedding = self.get_ego_embeddings()
        norms = torch.stack([F.embedding(nodes, embedding).norm() for nodes in batch])
        return {"regularization": self.settings.reg_weight * norms.sum() / len(batch[0]) ** 2}
