"""The nodes' text embeddings as the model holds them, and what is computed of some nodes alone."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NodeTexts(nn.Module):
    """One kind of text for all N nodes. Nothing of it is saved with the model: it comes from the tables again.

    Args:
        embedding: [N, n_in], float32 or float16.
        present: [N] bool, where there is a text.
        n_users: how many of the nodes are users; they come first.
        made: by what, see `data.text.Made`.
    """

    embedding: Tensor
    present: Tensor
    nodes: Tensor

    def __init__(self, embedding: Tensor, present: Tensor, n_users: int, made: Any = None):
        super().__init__()
        self.made = made
        self.register_buffer("embedding", embedding, persistent=False)
        self.register_buffer("present", present, persistent=False)
        self.register_buffer("nodes", present.nonzero()[:, 0], persistent=False)
        self._n_users = int(present[:n_users].sum())

    @property
    def width(self) -> int:
        """n_in."""
        return self.embedding.shape[1]

    @property
    def users(self) -> Tensor:
        """[n] the users that have a text, sorted."""
        return self.nodes[: self._n_users]

    def of(self, nodes: Tensor, dtype: torch.dtype) -> Tensor:
        """[n] sorted nodes, each once -> [n, n_in] in that type."""
        rows = self.embedding if len(nodes) == len(self.embedding) else self.embedding[nodes]
        return rows.to(dtype)


class NodeEmbeddings(NamedTuple):
    """Embeddings of some of the nodes."""

    nodes: Tensor  # [n] sorted, each once
    embedding: Tensor  # [n, d]

    def of(self, nodes: Tensor) -> Tensor:
        """Those of [m] nodes that are among them, [m, d]."""
        # F.embedding, not indexing: its gradient is summed in a fixed order
        return F.embedding(torch.searchsorted(self.nodes, nodes), self.embedding)
