"""The interaction graph: its adjacency as CSR, and products with it that keep memory linear in nodes and edges.

Nodes are the users, then the items, without RecBole's padding rows. An edge is one interaction; the symmetric
adjacency holds each edge twice, and every weight of an edge is computed once for its two directions.
"""

import warnings

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


class InteractionGraph(nn.Module):
    """The bipartite graph of the training interactions, with E distinct edges between N nodes.

    Args:
        users: [E'] 0-based users of the interactions; repeats are counted once.
        items: [E'] 0-based items of the interactions.
        n_users: the number of users.
        n_items: the number of items.

    Buffers, none of them saved with the model:
        heads, tails: [E] int32, the two nodes of each edge, sorted by user and then item.
        crow: [N + 1] int32 and col: [2E] int32, the CSR pattern of the adjacency. Its first E entries are the edges in
            their order, its last E entries the same edges sorted by item.
        by_item: [E] int64, the edge at each of those last E entries; by_user: its inverse.
        norm: [E], the edge's entry of D^-1/2 A D^-1/2.
    """

    heads: Tensor
    tails: Tensor
    crow: Tensor
    col: Tensor
    by_item: Tensor
    by_user: Tensor
    norm: Tensor

    def __init__(self, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int):
        super().__init__()
        self.n_users, self.n_items, self.n_nodes = n_users, n_items, n_users + n_items
        ones = np.ones(len(users), dtype=np.int32)
        by_user = sp.coo_matrix((ones, (users, items)), shape=(n_users, n_items)).tocsr()
        by_user.sum_duplicates()
        n_edges = by_user.nnz
        by_user.data = np.arange(n_edges)
        by_item = by_user.tocsc()
        by_item.sort_indices()
        heads = np.repeat(np.arange(n_users), np.diff(by_user.indptr))
        tails = by_user.indices + n_users
        user_degree, item_degree = np.diff(by_user.indptr), np.diff(by_item.indptr)
        norm = 1 / np.sqrt(user_degree[heads].astype(np.float64) * item_degree[by_user.indices])
        crow = np.concatenate([by_user.indptr, n_edges + by_item.indptr[1:]])
        col = np.concatenate([tails, by_item.indices])
        inverse = np.empty(n_edges, dtype=np.int64)
        inverse[by_item.data] = np.arange(n_edges)

        def keep(name: str, values: np.ndarray, dtype: torch.dtype) -> None:
            self.register_buffer(name, torch.as_tensor(values, dtype=dtype), persistent=False)

        # 32-bit indices: the CPU's sparse products take them as they are and copy wider ones
        keep("heads", heads, torch.int32)
        keep("tails", tails, torch.int32)
        keep("crow", crow, torch.int32)
        keep("col", col, torch.int32)
        keep("by_item", by_item.data, torch.int64)
        keep("by_user", inverse, torch.int64)
        keep("norm", norm, torch.get_default_dtype())

    def _apply(self, fn, recurse=True):
        # `.double()` after construction would keep norm's float32 rounding: recompute it
        super()._apply(fn, recurse)
        degree = torch.diff(self.crow.long()).to(self.norm.dtype)
        self.norm = (degree[self.heads.long()] * degree[self.tails.long()]).rsqrt()
        return self

    def extra_repr(self) -> str:
        return f"users={self.n_users}, items={self.n_items}, edges={len(self.heads)}"

    def entries(self, weight: Tensor) -> Tensor:
        """[E] weights of edges -> [2E] values of the adjacency's entries."""
        return torch.cat([weight, weight[self.by_item]])

    def transposed(self, values: Tensor) -> Tensor:
        """[2E] values of a matrix with the adjacency's pattern -> those of its transpose."""
        from_users, from_items = values.split(len(self.heads))
        return torch.cat([from_items[self.by_user], from_users[self.by_item]])

    def multiply(self, values: Tensor, x: Tensor) -> Tensor:
        """The product of the matrix of those [2E] values with x, [N, d] -> [N, d]; no gradient."""
        size = (self.n_nodes, self.n_nodes)
        matrix = torch.sparse_csr_tensor(self.crow, self.col, values, size, check_invariants=False)
        return matrix @ x

    def edge_products(self, x: Tensor, y: Tensor) -> Tensor:
        """The dot product x[head] . y[tail] of every edge, [N, d], [N, d] -> [E]; no gradient."""
        crow, col = self.crow[: self.n_users + 1], self.col[: len(self.heads)] - self.n_users
        size = (self.n_users, self.n_items)
        edges = torch.sparse_csr_tensor(crow, col, x.new_zeros(len(col)), size, check_invariants=False)
        users, items = x[: self.n_users], y[self.n_users :]
        return torch.sparse.sampled_addmm(edges, users, items.T, beta=0).values()


class _WeightedProduct(torch.autograd.Function):
    """(W ∘ keep) x, where W holds a weight per edge in both directions and keep drops single entries."""

    @staticmethod
    def forward(ctx, x, weight, graph, keep):
        values = graph.entries(weight)
        if keep is not None:
            values = values * keep
        ctx.graph, ctx.keep = graph, keep
        ctx.save_for_backward(x, values)
        return graph.multiply(values, x)

    @staticmethod
    def backward(ctx, grad):
        x, values = ctx.saved_tensors
        graph, keep = ctx.graph, ctx.keep
        grad = grad.contiguous()
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            # without dropped entries the matrix is its own transpose
            grad_x = graph.multiply(values if keep is None else graph.transposed(values), grad)
        if ctx.needs_input_grad[1]:
            if keep is not None:
                raise NotImplementedError("weights with a gradient and dropped entries do not go together")
            grad_weight = graph.edge_products(grad, x) + graph.edge_products(x, grad)
        return grad_x, grad_weight, None, None


class _EdgeSimilarity(torch.autograd.Function):
    """x[head] . x[tail] for every edge. Its adjoint is a product with the adjacency."""

    @staticmethod
    def forward(ctx, x, graph):
        ctx.graph = graph
        ctx.save_for_backward(x)
        return graph.edge_products(x, x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return ctx.graph.multiply(ctx.graph.entries(grad), x), None


def propagate(graph: InteractionGraph, embedding: Tensor, n_layers: int, dropout: float = 0.0) -> list[Tensor]:
    """LightGCN's layers E_0..E_L with E_{l+1} = Â E_l (He et al., SIGIR 2020).

    Args:
        graph: the graph of N nodes.
        embedding: [N, d], E_0.
        n_layers: L.
        dropout: the share of Â's entries dropped, unscaled, the same ones in every layer.

    Returns:
        L + 1 tensors [N, d].
    """
    keep = None
    if dropout > 0:
        n_entries = 2 * len(graph.norm)
        keep = (torch.rand(n_entries, device=embedding.device) >= dropout).to(embedding.dtype)
    layers = [embedding]
    for _ in range(n_layers):
        layers.append(_WeightedProduct.apply(layers[-1], graph.norm, graph, keep))
    return layers


def interaction_intents(
    graph: InteractionGraph, layers: list[Tensor], user_prototypes: Tensor, item_prototypes: Tensor
) -> Tensor:
    """The intents that the graph reveals (IRLLRec, intent-aware aggregation).

    A layer's nodes are described by their prototypes, R = softmax(E C) Cᵀ; an edge weighs (cos(R[h], R[t]) + 1) / 2,
    rows are divided by their sum, and the neighbours' E are averaged with these weights.

    Args:
        graph: the graph of N nodes.
        layers: tensors [N, d], E_0..E_{L-1}.
        user_prototypes: [d, K]; item_prototypes: [d, K].

    Returns:
        [N, d], the mean over the layers; a node without edges has a zero row.
    """
    gathered = []
    for embedding in layers:
        user, item = embedding.split([graph.n_users, graph.n_items])
        described = torch.cat(
            [
                (user @ user_prototypes).softmax(dim=1) @ user_prototypes.T,
                (item @ item_prototypes).softmax(dim=1) @ item_prototypes.T,
            ]
        )
        cosine = _EdgeSimilarity.apply(nn.functional.normalize(described), graph)
        # the column of ones gives the sum of each row with the same product
        ones = embedding.new_ones(graph.n_nodes, 1)
        product = _WeightedProduct.apply(torch.cat([embedding, ones], dim=1), (cosine + 1) / 2, graph, None)
        total, row_sum = product[:, :-1], product[:, -1:]
        gathered.append(total / row_sum.clamp_min(torch.finfo(total.dtype).tiny))
    return torch.stack(gathered).mean(dim=0)
