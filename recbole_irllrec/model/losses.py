"""IRLLRec's loss terms (Wang et al., SIGIR 2025) as pure functions of tensors.

Each returns a scalar without its weight. Shapes: B triples of a batch, N nodes, d dimensions.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Similarities that are held at once: a contrast of n rows with m candidates never holds n x m of them. On a CPU a block
# stays in the cache; a GPU wants few large ones.
_BLOCK = {"cpu": 1 << 22, "cuda": 1 << 26}
# exp(-2 * _SAFE) is far from the smallest float32
_SAFE = 30.0


def _row_block(candidates: Tensor) -> int:
    """How many rows of similarities with these [m, d] candidates are computed at once."""
    return max(1, _BLOCK.get(candidates.device.type, 1 << 26) // max(1, len(candidates)))


def unit(x: Tensor) -> Tensor:
    """x / sqrt(1e-8 + |x|²) by row, [n, d] -> [n, d]: the published code's normalisation."""
    return x / (1e-8 + x.square().sum(dim=1, keepdim=True)).sqrt()


class _Contrast(torch.autograd.Function):
    """See `contrast`. The gradients are made with the values, from the same blocks of similarities."""

    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        b: Tensor,
        bias: Tensor,
        positive: Tensor,
        weight: Tensor,
        row_loss: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        total = a.new_zeros(())
        grad_a, grad_b, grad_positive = torch.empty_like(a), torch.zeros_like(b), torch.empty_like(positive)
        # no similarity is larger; where it is small enough, exponentials need no search for the largest one of a row
        bound = a.norm(dim=1).amax() * b.norm(dim=1).amax() + bias.abs().amax()
        safe = bool(bound <= _SAFE)  # what is not a number is not
        if safe:
            bias, shift = bias - bound, bound
        size = min(_row_block(b), len(a))
        block = a.new_empty(size, len(b))  # used again and again: fresh memory costs more than the products
        for start in range(0, len(a), size):
            rows = slice(start, start + size)
            exponential = torch.addmm(bias, a[rows], b.T, out=block[: len(a[rows])])
            if not safe:
                shift = exponential.amax(dim=1)
                exponential.sub_(shift[:, None])
            sums = exponential.exp_().sum(dim=1)
            with torch.enable_grad():
                s = positive[rows].detach().requires_grad_()
                log_sum = (sums.log() + shift).requires_grad_()
                loss = (weight[rows] * row_loss(s, log_sum)).sum()
            total += loss.detach()
            if wanted:
                grad_positive[rows], upstream = torch.autograd.grad(loss, (s, log_sum), materialize_grads=True)
                # the softmax of a row is these shares of its exponentials: cheaper to scale a than them
                share = (upstream / sums)[:, None]
                torch.mm(exponential, b, out=grad_a[rows]).mul_(share)
                grad_b.addmm_(exponential.T, a[rows] * share)
        ctx.save_for_backward(grad_a, grad_b, grad_positive)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, Tensor, None, None]:
        grad_a, grad_b, grad_positive = ctx.saved_tensors
        return grad * grad_a, grad * grad_b, None, grad * grad_positive, None, None


def contrast(
    a: Tensor,
    b: Tensor,
    positive: Tensor,
    row_loss: Callable[[Tensor, Tensor], Tensor],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Σ_n weight_n · row_loss(positive_n, log Σ_m exp(a_n · b_m + bias_m)) in one pass over blocks of similarities.

    The n x m similarities are never held at once: memory is O((n + m) d) and a block, in the backward pass too. It
    works in the precision of its arguments, whatever autocast says.

    Args:
        a: [n, d]; b: [m, d].
        positive: [n], the similarity of each row of ``a`` with its positive.
        row_loss: from [n'] positives and [n'] logs of sums to [n'] losses, differentiable.
        weight: [n], ones if not given; without a gradient.
        bias: [m], zeros if not given; without a gradient.
    """
    weight = positive.new_ones(len(a)) if weight is None else weight
    bias = b.new_zeros(len(b)) if bias is None else bias
    with torch.autocast(device_type=a.device.type, enabled=False):
        return _Contrast.apply(a, b, bias, positive, weight, row_loss)


def info_nce(x: Tensor, y: Tensor, counts: Tensor, temperature: float, bias: Tensor) -> Tensor:
    """Σ over x's rows of counts · (−x̂·ŷ/τ + log Σ_{y'} exp(x̂·ŷ'/τ + bias)).

    Args:
        x: [n, d] anchors, each once.
        y: [m, d], the n positives of the anchors first, then further negatives.
        counts: [n], how often each anchor is contrasted.
        temperature: τ.
        bias: [m], the log of how many each row of y stands for.
    """
    x, y = unit(x) / temperature, unit(y)
    positive = (x * y[: len(x)]).sum(dim=1)
    return contrast(x, y, positive, lambda positive, log_sum: log_sum - positive, counts, bias)


def weighted_mean(rows: Tensor, weight: Tensor | None) -> Tensor:
    """Σ_b w_b · rows_b / Σ_b w_b over [B] rows with [B] weights; the mean without."""
    return rows.mean() if weight is None else (weight * rows).sum() / weight.sum()


def bpr(positive: Tensor, negative: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean softplus(s⁻ − s⁺) over [B] scores (Rendle et al., UAI 2009); see `weighted_mean`."""
    return weighted_mean(F.softplus(negative - positive), weight)


def sampled_softmax(
    user: Tensor, positive: Tensor, negatives: Tensor, temperature: float, weight: Tensor | None = None
) -> Tensor:
    """Softmax with negatives shared by the batch: mean −s⁺/τ + log(exp(s⁺/τ) + Σ_j exp(s_j/τ)), s inner products.

    Args:
        user: [B, d].
        positive: [B], s⁺.
        negatives: [J, d].
        temperature: τ.
        weight: [B], see `weighted_mean`.
    """

    def row_loss(positive: Tensor, others: Tensor) -> Tensor:
        return torch.logaddexp(positive, others) - positive

    total = len(user) if weight is None else weight.sum()
    return contrast(user / temperature, negatives, positive / temperature, row_loss, weight) / total


def softmax_of_own(positive: Tensor, negatives: Tensor, temperature: float, weight: Tensor | None = None) -> Tensor:
    """Softmax with negatives of each positive's own: the same of [B] and [B, J] scores."""
    scores = torch.cat([positive[:, None], negatives], dim=1) / temperature
    return weighted_mean(scores.logsumexp(dim=1) - scores[:, 0], weight)


def full_softmax(
    user: Tensor, place: Tensor, positive: Tensor, items: Tensor, temperature: float, weight: Tensor | None = None
) -> Tensor:
    """Softmax over all items: mean −s⁺/τ + log Σ_i exp(s_i/τ), s inner products. Repeated users are contrasted once.

    Args:
        user: [n, d], distinct users.
        place: [B], which of them each of the positives has.
        positive: [B], s⁺.
        items: [m, d], all of them.
        temperature: τ.
        weight: [B], see `weighted_mean`.
    """
    weight = torch.ones_like(positive) if weight is None else weight
    of_users = weight.new_zeros(len(user)).index_add_(0, place, weight)
    log_sums = contrast(user / temperature, items, of_users.new_zeros(len(user)), lambda _, log_sum: log_sum, of_users)
    return (log_sums - (weight * positive).sum() / temperature) / weight.sum()


def own_among_all(x: Tensor, y: Tensor, temperature: float = 1.0, stands_for: int | None = None) -> Tensor:
    """The contrast of rows with each other that the published code has beside InfoNCE, its epsilons included.

    With a = normalize(x) and b = normalize(y), the mean over n of −log( exp(a_n·b_n/τ) / (Σ_m exp(a_n·b_m/τ) + 1e-8) +
    1e-8 ).

    Args:
        x: [n, d]; y: [n, d], the positive of each row.
        temperature: τ.
        stands_for: how many rows these n stand for, as anchors and as negatives, the positive for itself alone; n
            itself makes it exact.
    """
    a, b = F.normalize(x) / temperature, F.normalize(y)
    further = 0.0 if stands_for is None else (stands_for - len(a)) / max(len(a) - 1, 1)  # rows that each other adds

    def row_loss(positive: Tensor, log_sum: Tensor) -> Tensor:
        if further > 0:  # the sum of all, and of the others once more for each that they add
            log_sum = log_sum + (1 + further * (1 - (positive - log_sum).exp())).log()
        log_total = torch.logaddexp(log_sum, log_sum.new_full((), math.log(1e-8)))
        return -((positive - log_total).exp() + 1e-8).log()

    return contrast(a, b, (a * b).sum(dim=1), row_loss) / len(a)


def translation(text: Tensor, graph: Tensor, text_noise: Tensor, graph_noise: Tensor, n_nodes: int) -> Tensor:
    """Translation alignment over the nodes: `own_among_all` of z + z∘ε and E + E∘ε'.

    Args:
        text: [n, d], z; graph: [n, d], E.
        text_noise: [n, d], ε; graph_noise: [n, d], ε'; standard normal.
        n_nodes: how many nodes these n stand for.
    """
    return own_among_all(text + text * text_noise, graph + graph * graph_noise, stands_for=n_nodes)


def distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy of softmax(student) under softmax(teacher) across the d dimensions, mean over [N, d] rows."""
    return F.cross_entropy(student, teacher.softmax(dim=1))
