"""Linear recommenders in closed form: from the interactions, and embeddings of the items' texts, to item-item weights.

A user with interactions x scores items by x B. Weights are made in place where that can be: of m items, no more than
three matrices [m, m] are held at once. What texts contribute has the rank of their width and is never written out.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import IRLLRecError


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


def ease(gram: Tensor, reg_weight: float) -> Tensor:
    """EASE (Steck, WWW 2019): the weights with zero diagonal that reproduce the rows of X best.

    Args:
        gram: [m, m], G = XᵀX, which is overwritten.
        reg_weight: λ.

    Returns:
        [m, m], B = −P_ij / P_jj of P = (G + λI)⁻¹.
    """
    weights = inverse(gram, reg_weight)
    weights.div_(-weights.diagonal().clone())
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


def collective_ease(gram: Tensor, text: Tensor, reg_weight: float, text_weight: float) -> Tensor:
    """EASE on X with √w Fᵀ stacked below it as further rows (Jeunen et al., RecSys 2020).

    Args:
        gram: [m, m], XᵀX, which is overwritten.
        text: [m, k], F.
        reg_weight: λ.
        text_weight: w.

    Returns:
        [m, m], the weights.
    """
    return ease(gram.addmm_(text, text.T, alpha=text_weight), reg_weight)


def additive_ease(gram: Tensor, text: Tensor, reg_weight: float, text_reg_weight: float, text_share: float) -> Tensor:
    """(1 − α) B + α C, B being EASE's weights and C those of the texts (Jeunen et al., RecSys 2020).

    Args:
        gram: [m, m], XᵀX, which is overwritten.
        text: [m, k], F.
        reg_weight: λ of B; text_reg_weight: λ of C.
        text_share: α.

    Returns:
        [m, m], the weights.
    """
    of_text = text_ease(text, text_reg_weight)
    weights = ease(gram, reg_weight).addmm_(of_text.left, of_text.right, beta=1 - text_share, alpha=text_share)
    weights.diagonal().zero_()
    return weights


def l3ae(gram: Tensor, text: Tensor, reg_weight: float, text_reg_weight: float, distillation_weight: float) -> Tensor:
    """L3AE (Moon et al., CIKM 2025): EASE that is drawn towards the weights C of the texts.

    With P = (XᵀX + (λ_X + λ_E) I)⁻¹ and M = P C, the weights are λ_E M − P diag((1 + λ_E M_jj) / P_jj), zero diagonal.

    Args:
        gram: [m, m], XᵀX, which is overwritten.
        text: [m, k], F.
        reg_weight: λ_X; text_reg_weight: λ_F of C; distillation_weight: λ_E.

    Returns:
        [m, m], the weights.
    """
    of_text = text_ease(text, text_reg_weight)
    weights = inverse(gram, reg_weight + distillation_weight)
    # M = P (left right − diag(left right))
    left, removed = weights @ of_text.left, of_text.diagonal
    reproduced = (left * of_text.right.T).sum(dim=1) - weights.diagonal() * removed
    scale = (1 + distillation_weight * reproduced) / weights.diagonal() + distillation_weight * removed
    weights.mul_(-scale).addmm_(left, of_text.right, alpha=distillation_weight)
    weights.diagonal().zero_()
    return weights
