"""IRLLRec's loss terms (Wang et al., SIGIR 2025) as pure functions of tensors.

Each returns a scalar without its weight. Shapes: B triples of a batch, N nodes, d dimensions.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Similarities that are held at once: a contrast of n rows with m candidates never holds n x m of them. On a CPU a block
# stays in the cache; a GPU wants few large ones.
_BLOCK = {"cpu": 1 << 19, "cuda": 1 << 26}


def _row_block(candidates: Tensor) -> int:
    """How many rows of similarities with these [m, d] candidates are computed at once."""
    return max(1, _BLOCK.get(candidates.device.type, 1 << 26) // max(1, len(candidates)))


def unit(x: Tensor) -> Tensor:
    """x / sqrt(1e-8 + |x|²) by row, [n, d] -> [n, d]: the published code's normalisation."""
    return x / (1e-8 + x.square().sum(dim=1, keepdim=True)).sqrt()


class _LogSumExp(torch.autograd.Function):
    """log Σ_m exp(a_n · b_m + bias_m) for every n, in blocks of rows, in the backward pass too."""

    @staticmethod
    def forward(ctx, a, b, bias):
        blocks = a.split(_row_block(b))
        result = torch.cat([torch.addmm(bias, rows, b.T).logsumexp(dim=1) for rows in blocks])
        ctx.save_for_backward(a, b, bias, result)
        return result

    @staticmethod
    def backward(ctx, grad):
        a, b, bias, result = ctx.saved_tensors
        grad_a, grad_b = [], torch.zeros_like(b)
        size = _row_block(b)
        for rows, log_sum, upstream in zip(a.split(size), result.split(size), grad.split(size), strict=True):
            share = torch.addmm(bias, rows, b.T).sub_(log_sum[:, None]).exp_().mul_(upstream[:, None])
            grad_a.append(share @ b)
            grad_b.addmm_(share.T, rows)
        return torch.cat(grad_a), grad_b, None


def log_sum_exp(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """log Σ_m exp(a_n · b_m + bias_m), [n, d], [m, d], [m] -> [n], in memory O((n + m) d + m).

    ``bias`` has no gradient.
    """
    return _LogSumExp.apply(a, b, b.new_zeros(len(b)) if bias is None else bias)


def info_nce(x: Tensor, y: Tensor, counts: Tensor, temperature: float, candidates: Tensor | None = None) -> Tensor:
    """Σ over rows of −x̂·ŷ/τ + log Σ_{y'} exp(x̂·ŷ'/τ).

    A row that a batch repeats is contrasted once, with its multiplicity: exactly the sum over the list with repeats.

    Args:
        x: [n, d] anchors, each once.
        y: [n, d] their positives.
        counts: [n], how often the batch has each.
        temperature: τ.
        candidates: [m, d], the negatives with the positives among them; without them, ``y`` with its repeats.
    """
    x, y = unit(x) / temperature, unit(y)
    log_sum = log_sum_exp(x, y, counts.log()) if candidates is None else log_sum_exp(x, unit(candidates))
    return (counts * (log_sum - (x * y).sum(dim=1))).sum()


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Mean softplus(s⁻ − s⁺) over [B] scores (Rendle et al., UAI 2009)."""
    return F.softplus(negative - positive).mean()


def sampled_softmax(user: Tensor, item: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Softmax over cosines with negatives shared by the batch: mean −s⁺/τ + log(exp(s⁺/τ) + Σ_j exp(s_j/τ)).

    Args:
        user: [B, d]; item: [B, d], the positives.
        negatives: [J, d].
        temperature: τ.
    """
    user, item, negatives = (F.normalize(x) for x in (user, item, negatives))
    positive = (user * item).sum(dim=1) / temperature
    others = log_sum_exp(user / temperature, negatives)
    return (torch.logaddexp(positive, others) - positive).mean()


def translation(text: Tensor, graph: Tensor, text_noise: Tensor, graph_noise: Tensor) -> Tensor:
    """Translation alignment over the nodes.

    With a = normalize(z + z∘ε) and b = normalize(E + E∘ε'), the mean over n of
    −log( exp(a_n·b_n) / (Σ_m exp(a_n·b_m) + 1e-8) + 1e-8 ).

    Args:
        text: [N, d], z; graph: [N, d], E.
        text_noise: [N, d], ε; graph_noise: [N, d], ε'; standard normal.
    """
    a = F.normalize(text + text * text_noise)
    b = F.normalize(graph + graph * graph_noise)
    log_total = (log_sum_exp(a, b).exp() + 1e-8).log()
    return -(((a * b).sum(dim=1) - log_total).exp() + 1e-8).log().mean()


def distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy of softmax(student) under softmax(teacher) across the d dimensions, mean over [N, d] rows."""
    return F.cross_entropy(student, teacher.softmax(dim=1))
