"""The interaction graph: its adjacency as CSR, and products with it that keep memory linear in nodes and edges.

Nodes are the users, then the items, without RecBole's padding rows. An edge is one interaction; the symmetric
adjacency holds each edge twice, and every weight of an edge is computed once for its two directions. What is wanted of
some nodes alone is computed in their neighbourhood: the graph of the edges that touch them.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


@dataclass(eq=False)
class Adjacency:
    """The products with a symmetric adjacency of E edges between N nodes; none has a gradient.

    Attributes:
        crow: [N + 1] int32 and col: [2E] int32, its CSR pattern. Its first E entries are the edges in their order, its
            last E entries the same edges sorted by item.
        by_item: [E] int64, the edge at each of those last E entries.
        n_users: how many of the nodes are users; they come first.
        n_items: how many are items.
    """

    crow: Tensor
    col: Tensor
    by_item: Tensor
    n_users: int
    n_items: int

    def entries(self, weight: Tensor) -> Tensor:
        """[E] weights of edges -> [2E] values of the entries."""
        return torch.cat([weight, weight.index_select(0, self.by_item)])

    def multiply(self, values: Tensor, x: Tensor) -> Tensor:
        """The product of the matrix of those [2E] values with x, [N, d] -> [N, d]."""
        return _csr(self.crow, self.col, values, len(x)) @ x

    def edge_products(self, x: Tensor) -> Tensor:
        """The dot product x[head] . x[tail] of every edge, [N, d] -> [E]."""
        users, items = x.split([self.n_users, self.n_items])
        return _products_at(self.crow[: self.n_users + 1], self.col[: len(self.by_item)] - self.n_users, users, items)


def _csr(crow: Tensor, col: Tensor, values: Tensor, n_columns: int) -> Tensor:
    return torch.sparse_csr_tensor(crow, col, values, (len(crow) - 1, n_columns), check_invariants=False)


def _products_at(crow: Tensor, col: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The entries of x yᵀ at that pattern."""
    pattern = _csr(crow, col, x.new_zeros(len(col)), len(y))
    return torch.sparse.sampled_addmm(pattern, x, y.T, beta=0).values()


class Values(NamedTuple):
    """The entries of a constant matrix with the adjacency's pattern."""

    values: Tensor  # [2E]
    transposed: Tensor  # [2E], those of its transpose


@dataclass(eq=False)
class Neighbourhood(Adjacency):
    """The edges of some of a graph's nodes, between these and their neighbours, in an order of its own.

    Attributes:
        nodes: [m] the graph's nodes that are in it: other users, the nodes themselves, other items.
        rows: where the nodes themselves are among them.
        row_entries: where their rows are among the adjacency's entries.
    """

    nodes: Tensor
    rows: slice
    row_entries: slice

    @property
    def _rows_pattern(self) -> tuple[Tensor, Tensor]:
        crow = self.crow[self.rows.start : self.rows.stop + 1]
        return crow - crow[0], self.col[self.row_entries]

    def multiply_rows(self, values: Tensor, x: Tensor) -> Tensor:
        """The nodes' own n rows of the product of the matrix of those [2E] values with x, [m, d] -> [n, d]."""
        return _csr(*self._rows_pattern, values[self.row_entries], len(x)) @ x

    def row_products(self, x: Tensor, y: Tensor) -> Tensor:
        """[n, d], [m, d] -> [2E], x[row] . y[column] at the entries of the nodes' own rows, zero at the others."""
        values = x.new_zeros(len(self.col))
        values[self.row_entries] = _products_at(*self._rows_pattern, x, y)
        return values


class InteractionGraph(nn.Module, Adjacency):
    """The bipartite graph of the training interactions, with E distinct edges between N nodes.

    Args:
        users: [E'] 0-based users of the interactions; repeats are counted once.
        items: [E'] 0-based items of the interactions.
        n_users: the number of users.
        n_items: the number of items.

    Buffers, none of them saved with the model:
        heads, tails: [E] int32, the two nodes of each edge, sorted by user and then item.
        crow, col, by_item: see ``Adjacency``.
        by_user: [E] int64, by_item's inverse.
        norm: [E], the edge's entry of D^-1/2 A D^-1/2.
    """

    heads: Tensor
    tails: Tensor
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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # `.double()` after construction would keep norm's float32 rounding: recompute it
        super()._apply(fn, recurse)
        degree = self.degrees.to(self.norm.dtype)
        self.norm = (degree[self.heads.long()] * degree[self.tails.long()]).rsqrt()
        return self

    def extra_repr(self) -> str:
        return f"users={self.n_users}, items={self.n_items}, edges={len(self.heads)}"

    @property
    def degrees(self) -> Tensor:
        """[N] int64, the nodes' numbers of edges."""
        return torch.diff(self.crow.long())

    def transposed(self, values: Tensor) -> Tensor:
        """[2E] values of a matrix with the adjacency's pattern -> those of its transpose."""
        from_users, from_items = values.split(len(self.heads))
        return torch.cat([from_items[self.by_user], from_users[self.by_item]])

    @property
    def whole(self) -> Neighbourhood:
        """The neighbourhood of all nodes."""
        return Neighbourhood(
            self.crow,
            self.col,
            self.by_item,
            self.n_users,
            self.n_items,
            nodes=torch.arange(self.n_nodes, device=self.crow.device),
            rows=slice(0, self.n_nodes),
            row_entries=slice(0, len(self.col)),
        )

    def neighbourhood(self, nodes: Tensor) -> Neighbourhood:
        """That of [n] sorted nodes, each once."""
        if len(nodes) == self.n_nodes:
            return self.whole
        # index_select and its like: several times as fast as indexing, which a small graph's step would feel
        own = torch.zeros(self.n_nodes, dtype=torch.bool, device=nodes.device).index_fill(0, nodes, True)
        own_head, own_tail = own.index_select(0, self.heads), own.index_select(0, self.tails)
        # edges of other users first and, by item, of other items last: the nodes' own entries are in one piece
        of_others, of_users = (own_tail & ~own_head).nonzero()[:, 0], own_head.nonzero()[:, 0]
        edges = torch.cat([of_others, of_users])
        own_head, own_tail = own_head.index_select(0, self.by_item), own_tail.index_select(0, self.by_item)
        of_items, of_other_items = own_tail.nonzero()[:, 0], (own_head & ~own_tail).nonzero()[:, 0]
        by_item = self.by_item.index_select(0, torch.cat([of_items, of_other_items]))
        by_item = _places(edges, len(self.heads)).index_select(0, by_item)

        heads, tails = self.heads.index_select(0, edges), self.tails.index_select(0, edges)
        degree = torch.bincount(torch.cat([heads, tails]), minlength=self.n_nodes)
        others = ((degree > 0) & ~own).nonzero()[:, 0]
        n_other_users, n_own_users = int((others < self.n_users).sum()), int((nodes < self.n_users).sum())
        members = torch.cat([others[:n_other_users], nodes, others[n_other_users:]])
        n_users = n_other_users + n_own_users

        places = _places(members, self.n_nodes)
        heads, tails = places.index_select(0, heads), places.index_select(0, tails)
        col = torch.cat([tails, heads.index_select(0, by_item)])
        return Neighbourhood(
            crow=F.pad(degree.index_select(0, members).cumsum(0), (1, 0)).int(),
            col=col,
            by_item=by_item.long(),
            n_users=n_users,
            n_items=len(members) - n_users,
            nodes=members,
            rows=slice(n_other_users, n_other_users + len(nodes)),
            row_entries=slice(len(of_others), len(edges) + len(of_items)),
        )


def _places(chosen: Tensor, n: int) -> Tensor:
    """[n] int32, the place among the chosen of each of n things; those that are not chosen have any."""
    places = torch.empty(n, dtype=torch.int32, device=chosen.device)
    return places.scatter_(0, chosen, torch.arange(len(chosen), dtype=torch.int32, device=chosen.device))


class _Product(torch.autograd.Function):
    """The product of the matrix of constant [2E] values with x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, transposed: Tensor, graph: InteractionGraph) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(transposed)
        return graph.multiply(values, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (transposed,) = ctx.saved_tensors
        return ctx.graph.multiply(transposed, grad.contiguous()), None, None, None


class _SimilarNeighbours(torch.autograd.Function):
    """Σ (described[node] . described[t] + 1) / 2 x[t] over the neighbours t of each of a neighbourhood's nodes."""

    @staticmethod
    def forward(ctx: Any, described: Tensor, x: Tensor, neighbourhood: Neighbourhood) -> Tensor:
        values = neighbourhood.entries((neighbourhood.edge_products(described) + 1) / 2)
        ctx.neighbourhood = neighbourhood
        ctx.save_for_backward(described, x, values)
        return neighbourhood.multiply_rows(values, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        described, x, values = ctx.saved_tensors
        neighbourhood, grad = ctx.neighbourhood, grad.contiguous()
        before, after = neighbourhood.rows.start, len(x) - neighbourhood.rows.stop
        # the matrix is its own transpose
        grad_x = neighbourhood.multiply(values, F.pad(grad, (0, 0, before, after)))
        of_edges, of_reverse = neighbourhood.row_products(grad, x).chunk(2)
        of_edges = of_edges.scatter_add(0, neighbourhood.by_item, of_reverse) / 2
        grad_described = neighbourhood.multiply(neighbourhood.entries(of_edges), described)
        return grad_described, grad_x, None


def normalized(graph: InteractionGraph) -> Values:
    """Â."""
    values = graph.entries(graph.norm)
    return Values(values, values)


def dropped(graph: InteractionGraph, share: float) -> Values:
    """Â without a share of its entries, drawn anew, an edge's two directions apart; the others keep their values."""
    return with_entries(graph, torch.rand(len(graph.col), device=graph.norm.device) >= share)


def with_entries(graph: InteractionGraph, kept: Tensor) -> Values:
    """Â's entries at [2E] bool, zero elsewhere."""
    values = graph.entries(graph.norm) * kept
    return Values(values, graph.transposed(values))


def without_edges(graph: InteractionGraph, kept: Tensor) -> Values:
    """Â of the graph that has [E] bool of the edges alone: its degrees are counted anew."""
    heads, tails = graph.heads.long(), graph.tails.long()
    share = kept.to(graph.norm.dtype)
    degree = share.new_zeros(graph.n_nodes).index_add_(0, heads, share).index_add_(0, tails, share)
    norm = share * (degree[heads] * degree[tails]).clamp_min(1).rsqrt()
    values = graph.entries(norm)
    return Values(values, values)


def propagate(
    graph: InteractionGraph,
    embedding: Tensor,
    n_layers: int,
    matrices: Values | Sequence[Values] | None = None,
    disturb: Callable[[Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """LightGCN's layers E_0..E_L with E_{l+1} = Â E_l (He et al., SIGIR 2020).

    Args:
        graph: the graph of N nodes.
        embedding: [N, d], E_0.
        n_layers: L.
        matrices: what stands for Â, the same one in all layers or one for each.
        disturb: what is made of a layer before it is passed on, [N, d] -> [N, d].

    Returns:
        L + 1 tensors [N, d].
    """
    if matrices is None:
        matrices = normalized(graph)
    if isinstance(matrices, Values):
        matrices = [matrices] * n_layers
    layers = [embedding]
    for values, transposed in matrices:
        layer = _Product.apply(layers[-1], values, transposed, graph)
        layers.append(layer if disturb is None else disturb(layer))
    return layers


def described_by_prototypes(
    embedding: Tensor, n_users: int, user_prototypes: Tensor, item_prototypes: Tensor
) -> Tensor:
    """softmax(E C) Cᵀ of [N, d] nodes, users first, each side with its own [d, K] prototypes -> [N, d]."""
    user, item = embedding.split([n_users, len(embedding) - n_users])
    return torch.cat(
        [
            (user @ user_prototypes).softmax(dim=1) @ user_prototypes.T,
            (item @ item_prototypes).softmax(dim=1) @ item_prototypes.T,
        ]
    )


def mean_of_similar(neighbourhood: Neighbourhood, described: Tensor, embedding: Tensor) -> Tensor:
    """The means of the neighbours' embeddings, in which a neighbour t of h weighs (cos(R[h], R[t]) + 1) / 2.

    Args:
        neighbourhood: of n nodes, with m nodes in it.
        described: [m, d], R.
        embedding: [m, d], whose means are wanted.

    Returns:
        [n, d]; a node without edges has a zero row.
    """
    # the column of ones gives the sum of each row with the same product
    ones = embedding.new_ones(len(embedding), 1)
    product = _SimilarNeighbours.apply(F.normalize(described), torch.cat([embedding, ones], dim=1), neighbourhood)
    total, row_sum = product[:, :-1], product[:, -1:]
    return total / row_sum.clamp_min(torch.finfo(total.dtype).tiny)


def draw_neighbours(graph: InteractionGraph, nodes: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """At most so many neighbours of each node: all of them, or as many different ones, each with the same chance.

    Args:
        graph: the graph.
        nodes: [n].
        limit: m.

    Returns:
        [n, m] nodes, and [n, m] bool, which of them are there: those of a node with fewer are filled up.
    """
    start, degree = graph.crow[nodes], graph.crow[nodes + 1] - graph.crow[nodes]
    place = torch.arange(limit, device=nodes.device)
    # evenly spaced in the row, from a drawn one on
    first = (torch.rand(len(nodes), device=nodes.device) * degree).long()[:, None]
    many = degree[:, None].clamp_min(1)
    drawn = torch.where(many > limit, (first + place * many // limit) % many, place.minimum(many - 1))
    entries = (start[:, None] + drawn).clamp_max(len(graph.col) - 1)
    return graph.col[entries].long(), place < degree[:, None]


def interaction_intents(
    graph: InteractionGraph,
    layers: list[Tensor],
    user_prototypes: Tensor,
    item_prototypes: Tensor,
    nodes: Tensor,
    averaged: list[Tensor] | None = None,
    limit: int | None = None,
) -> Tensor:
    """The intents that the graph reveals of some nodes (IRLLRec, intent-aware aggregation).

    A layer's nodes are described by their prototypes, R = softmax(E C) Cᵀ, and the neighbours' E are averaged with
    weights by the likeness of R (see `mean_of_similar`).

    Args:
        graph: the graph of N nodes.
        layers: tensors [N, d], E_0..E_{L-1}.
        user_prototypes: [d, K]; item_prototypes: [d, K].
        nodes: [n] sorted, each once. Only they and their neighbours are computed with.
        averaged: tensors [N, d], what is averaged in place of each layer.
        limit: how many neighbours of a node stand for all of them; without it, the means are exact.

    Returns:
        [n, d], the mean over the layers; a node without edges has a zero row.
    """
    if limit is None:
        neighbourhood = graph.neighbourhood(nodes)
        members, n_users = neighbourhood.nodes, neighbourhood.n_users
        mean = partial(mean_of_similar, neighbourhood)
    else:
        neighbours, there = draw_neighbours(graph, nodes, limit)
        members, places = torch.cat([nodes, neighbours.flatten()]).unique(return_inverse=True)
        n_users = int((members < graph.n_users).sum())
        own, others = places[: len(nodes)], places[len(nodes) :].view_as(neighbours)
        mean = partial(_mean_of_drawn, own, others, there)
    means = []
    for layer, source in zip(layers, averaged or layers, strict=True):
        embedding = F.embedding(members, layer)
        described = described_by_prototypes(embedding, n_users, user_prototypes, item_prototypes)
        means.append(mean(described, embedding if source is layer else F.embedding(members, source)))
    return torch.stack(means).mean(dim=0)


def _mean_of_drawn(own: Tensor, others: Tensor, there: Tensor, described: Tensor, embedding: Tensor) -> Tensor:
    """`mean_of_similar` with [n, m] neighbours of [n] nodes, those that are there, by their places in the arguments."""
    described = F.normalize(described)
    likeness = (F.embedding(others, described) @ F.embedding(own, described)[:, :, None]).squeeze(2)
    weight = (likeness + 1) / 2 * there
    total = (weight[:, None] @ F.embedding(others, embedding)).squeeze(1)
    row_sum = weight.sum(dim=1, keepdim=True)
    return total / torch.where(row_sum > 0, row_sum, 1)  # a gradient through tiny ones would be no number
