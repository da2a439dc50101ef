"""Linear recommenders in closed form: from the interactions, and embeddings of the items' texts, to item-item weights.

A user with interactions x scores items by x B. Of m items, a few matrices [m, m] are held at once (`matrices_held`) and
no matrix is inverted that is larger than the interactions have rows or columns, whichever are fewer. What texts
contribute has the rank of their width and is never written out.
"""

from typing import NamedTuple

import numpy as np
import psutil
import torch
from scipy.sparse import csr_matrix, spmatrix
from torch import Tensor
from torch.nn import functional as F

from ..errors import IRLLRecError

_BLOCK = 2_048  # columns at a time
_ROWS = 256  # of a sparse product at a time


def matrices_held(n_rows: int, n_items: int) -> float:
    """How many matrices [n_items, n_items] float32 `precision` of n_rows rows in all takes at most."""
    return 3 if n_rows >= n_items else 2 + 6 * n_rows / n_items


def refuse_too_many(what: str, n_items: int, matrices: float, device: torch.device, instead: str = "") -> None:
    """Refuse what needs so many matrices [n_items, n_items] float32 of a memory that has no room for them.

    Args:
        what: what needs them, the sentence's subject.
        device: in whose memory they lie.
        instead: what to do rather than to take other data.

    Raises:
        IRLLRecError: there is no room.
    """
    needed, free = matrices * 4 * n_items**2, psutil.virtual_memory().available
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + unused
    if needed > free:
        raise IRLLRecError(
            f"{what} of {n_items - 1:,} items needs {needed / 1e9:.0f} GB of {'GPU ' * (device.type == 'cuda')}memory, "
            f"and {free / 1e9:.0f} GB are free: {instead}take a data set with fewer items."
        )


def binary(interactions: spmatrix) -> csr_matrix:
    """The same with a one, float32, wherever there is an interaction."""
    found = interactions.tocsr().astype(np.float32)
    found.sum_duplicates()
    found.data[:] = 1
    return found


def as_tensor(matrix: csr_matrix) -> Tensor:
    """Sparse CSR."""
    crow, col, values = (torch.from_numpy(each) for each in (matrix.indptr, matrix.indices, matrix.data))
    return torch.sparse_csr_tensor(crow, col, values, matrix.shape, check_invariants=False)


class LowRank(NamedTuple):
    """The matrix left @ right with zeros in place of its diagonal."""

    left: Tensor  # [m, k]
    right: Tensor  # [k, m]

    @property
    def diagonal(self) -> Tensor:
        """[m], what stood in the diagonal."""
        return (self.left * self.right.T).sum(dim=1)


def inverse(gram: Tensor, reg_weight: float) -> Tensor:
    """(G + λI)⁻¹ of a positive semidefinite [m, m] matrix G by Cholesky's factors. G is overwritten.

    Raises:
        IRLLRecError: in this precision the matrix is not positive definite.
    """
    gram.diagonal().add_(reg_weight)
    factor, info = torch.linalg.cholesky_ex(gram, out=(gram, torch.empty((), dtype=torch.int32, device=gram.device)))
    if info:
        raise IRLLRecError(
            f"The items' matrix has no inverse in {gram.dtype} with the weight {reg_weight:g}: raise reg_weight."
        )
    return torch.cholesky_inverse(factor, out=gram)


def precision(interactions: Tensor, reg_weight: float, further: Tensor | None = None) -> Tensor:
    """P = (ZᵀZ + λI)⁻¹, where further rows stand below the interactions in Z.

    With fewer rows than items it is (I − Zᵀ K Z) / λ, K = (ZZᵀ + λI)⁻¹ (push-through identity), in float64: the weights
    divide by P's diagonal, and 1 − zᵀKz loses digits where an item has many interactions.

    Args:
        interactions: [n, m] sparse CSR, X.
        reg_weight: λ.
        further: [k, m].

    Returns:
        [m, m], of the interactions' dtype.

    Raises:
        IRLLRecError: see `inverse`.
    """
    n, m = interactions.shape
    below = interactions.new_zeros(0, m, layout=torch.strided) if further is None else further
    if n + len(below) >= m:
        return inverse(_gram(interactions).addmm_(below.T, below), reg_weight)
    exact, below = interactions.double(), below.double()
    columns = _transposed(exact)

    def of_rows(found: Tensor) -> Tensor:
        """Zᵀ times [n + k, c]."""
        return (columns @ found[:n]).addmm_(below.T, found[n:])

    rows = torch.cat([exact.to_dense(), below])
    gram = torch.cat([exact @ rows.T, below @ rows.T])
    del rows
    solved = of_rows(inverse(gram, reg_weight)).T.contiguous()  # K Z, [n + k, m]
    found = torch.empty(m, m, dtype=interactions.dtype, device=interactions.device)
    for into, part in zip(found.split(_BLOCK, dim=1), solved.split(_BLOCK, dim=1), strict=True):
        into.copy_(of_rows(part.contiguous()).div_(-reg_weight))
    found.diagonal().add_(1 / reg_weight)
    return found


def _gram(interactions: Tensor) -> Tensor:
    """XᵀX, [m, m] dense, by blocks of rows: where items co-occur densely it would take many times as much as a whole.

    By scipy: torch's product of two sparse matrices never gives all of its memory back (2.13 on a CPU).
    """
    parts = (interactions.values(), interactions.col_indices(), interactions.crow_indices())
    x = csr_matrix(tuple(part.cpu().numpy() for part in parts), interactions.shape)
    columns = x.T.tocsr()
    gram = torch.empty(x.shape[1], x.shape[1], dtype=interactions.dtype, device=interactions.device)
    for start in range(0, len(gram), _ROWS):
        block = columns[start : start + _ROWS] @ x
        gram[start : start + _ROWS] = torch.from_numpy(block.toarray())
    return gram


def _transposed(interactions: Tensor) -> Tensor:
    return interactions.to_sparse_coo().t().to_sparse_csr()


def ease(interactions: Tensor, reg_weight: float) -> Tensor:
    """EASE (Steck, WWW 2019): the weights with zero diagonal that reproduce the rows of X best.

    Args:
        interactions: [n, m] sparse CSR, X.
        reg_weight: λ.

    Returns:
        [m, m], B = −P_ij / P_jj of P = (XᵀX + λI)⁻¹.
    """
    return _in_place_of(precision(interactions, reg_weight))


def _in_place_of(precision: Tensor) -> Tensor:
    """EASE's weights, of P."""
    weights = precision.div_(-precision.diagonal().clone())
    weights.diagonal().zero_()
    return weights


def text_ease(text: Tensor, reg_weight: float) -> LowRank:
    """EASE of the items' embeddings, with the columns of Fᵀ as items, in its dual form.

    With W = (FᵀF + λI)⁻¹ the inverse of FFᵀ + λI is (I − F W Fᵀ) / λ.

    Args:
        text: [m, k], F; a row of zeros gets no weights.
        reg_weight: λ.
    """
    right = torch.linalg.solve(text.T @ text + reg_weight * torch.eye(text.shape[1]).to(text), text.T)
    explained = (text * right.T).sum(dim=1)
    return LowRank(text, right / (1 - explained))


def collective_ease(interactions: Tensor, text: Tensor, reg_weight: float, text_weight: float) -> Tensor:
    """EASE on X with √w Fᵀ stacked below it as further rows (Jeunen et al., RecSys 2020).

    Args:
        interactions: [n, m] sparse CSR, X.
        text: [m, k], F.
        reg_weight: λ.
        text_weight: w.

    Returns:
        [m, m], the weights.
    """
    return _in_place_of(precision(interactions, reg_weight, text_weight**0.5 * text.T))


class Weighted(NamedTuple):
    """What `weighted_ease` finds."""

    weights: Tensor  # [m, m]
    of_texts: Tensor | None  # [m, k]; its product with an item's f is the column of an item without interactions


def weighted_ease(
    interactions: Tensor, text: Tensor | None, reg_weight: float, text_weight: float, popularity_discount: float
) -> Weighted:
    """Collective EASE in which users with long histories and popular items count for less.

    With n_u interactions of a user and c_i of an item, each over its mean, Σ_u n_u^-1/2 ‖x_u − x_u B‖² + w ‖Fᵀ − Fᵀ B‖²
    + λ Σ_i (c_i + 1)^1/2 ‖B_i‖² is least, and an item's scores are then divided by the power of c_i + 1.

    Args:
        interactions: [n, m] sparse CSR, X, of zeros and ones.
        text: [m, k], F; None for none.
        reg_weight: λ.
        text_weight: w.
        popularity_discount: the power of an item's interactions, and one more, by which its scores are divided.
    """
    counts = torch.bincount(interactions.col_indices(), minlength=interactions.shape[1]).to(interactions.dtype) + 1
    lengths = interactions.crow_indices().diff()
    row = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
    of_users = (lengths / lengths[lengths > 0].double().mean()).to(counts).clamp(min=torch.finfo(counts.dtype).tiny)
    root = (counts / counts.mean()).pow(0.25)  # of the items' penalties
    values = interactions.values() * of_users.pow(-0.25)[row] / root[interactions.col_indices()]
    scaled = torch.sparse_csr_tensor(
        interactions.crow_indices(), interactions.col_indices(), values, interactions.shape, check_invariants=False
    )
    below = None if text is None else text_weight**0.5 * (text / root[:, None]).T
    weights = precision(scaled, reg_weight, below)
    of_texts = None if text is None else text_weight * (weights @ (text / root[:, None])) / root[:, None]
    weights = _in_place_of(weights).mul_(root * counts.pow(-popularity_discount)).div_(root[:, None])
    return Weighted(weights, of_texts)


def directions(text: Tensor, centre: Tensor) -> Tensor:
    """[m, k] embeddings and [k] what they have in common -> [m, k] of length 1, or zeros."""
    return F.normalize(text - centre)


def additive_ease(
    interactions: Tensor, text: Tensor, reg_weight: float, text_reg_weight: float, text_share: float
) -> Tensor:
    """(1 − α) B + α C, B being EASE's weights and C those of the texts (Jeunen et al., RecSys 2020).

    Args:
        interactions: [n, m] sparse CSR, X.
        text: [m, k], F.
        reg_weight: λ of B; text_reg_weight: λ of C.
        text_share: α.

    Returns:
        [m, m], the weights.
    """
    of_text = text_ease(text, text_reg_weight)
    weights = ease(interactions, reg_weight).addmm_(of_text.left, of_text.right, beta=1 - text_share, alpha=text_share)
    weights.diagonal().zero_()
    return weights


def l3ae(
    interactions: Tensor, text: Tensor, reg_weight: float, text_reg_weight: float, distillation_weight: float
) -> Tensor:
    """L3AE (Moon et al., CIKM 2025): EASE that is drawn towards the weights C of the texts.

    With P = (XᵀX + (λ_X + λ_E) I)⁻¹ and M = P C, the weights are λ_E M − P diag((1 + λ_E M_jj) / P_jj), zero diagonal.

    Args:
        interactions: [n, m] sparse CSR, X.
        text: [m, k], F.
        reg_weight: λ_X, above −λ_E; text_reg_weight: λ_F of C; distillation_weight: λ_E.

    Returns:
        [m, m], the weights.
    """
    of_text = text_ease(text, text_reg_weight)
    weights = precision(interactions, reg_weight + distillation_weight)
    # M = P (left right − diag(left right))
    left, removed = weights @ of_text.left, of_text.diagonal
    reproduced = (left * of_text.right.T).sum(dim=1) - weights.diagonal() * removed
    scale = (1 + distillation_weight * reproduced) / weights.diagonal() + distillation_weight * removed
    weights.mul_(-scale).addmm_(left, of_text.right, alpha=distillation_weight)
    weights.diagonal().zero_()
    return weights
