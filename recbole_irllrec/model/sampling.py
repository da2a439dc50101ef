"""Which nodes a training step contrasts: all of them, as the formulas say, or a sample that stands for them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class ContrastSet(NamedTuple):
    """Anchors of one InfoNCE sum and what they are contrasted with."""

    anchors: Tensor  # [n] nodes, each once
    counts: Tensor  # [n], how often the batch has each
    candidates: Tensor  # [m] nodes, the anchors among them
    bias: Tensor  # [m], the log of how many each candidate stands for


def sample_nodes(nodes: Tensor, limit: int | None) -> Tensor:
    """About ``limit`` of [n] sorted nodes, drawn evenly, each once; all if they are no more or there is no limit."""
    if limit is None or len(nodes) <= limit:
        return nodes
    return nodes[torch.randint(len(nodes), (limit,), device=nodes.device)].unique()


def contrast_sets(
    batch: tuple[Tensor, Tensor, Tensor], present: Tensor, users: Tensor, limit: int | None, dtype: torch.dtype
) -> list[ContrastSet]:
    """The sums of align(base, text; τ): batch users against all users, its items against the batch's own.

    A node that a batch repeats is contrasted once, with its multiplicity: exactly the sum over the list with repeats.
    With a limit n, a batch of more than n triples is aligned in pieces of n; and more than n users are represented by
    the piece's own and a sample of n, each of which stands for its share of those that are not in the piece.

    Args:
        batch: [B] nodes of the users, their positive and their negative items.
        present: [N] bool, whether the node has a text.
        users: [n] nodes: the users with a text.
        limit: n; without it, the sums are exact.
        dtype: of counts and bias.
    """
    sets = []
    for piece in zip(*(members.split(limit or len(members)) for members in batch), strict=True):
        for members, are_users in zip(piece, (True, False, False), strict=True):
            nodes, counts = members[present[members]].unique(return_counts=True)
            if len(nodes) == 0:
                continue
            counts = counts.to(dtype)
            if not are_users:
                sets.append(ContrastSet(nodes, counts, nodes, counts.log()))
                continue
            drawn = sample_nodes(users, limit)
            if len(drawn) == len(users):
                sets.append(ContrastSet(nodes, counts, users, counts.new_zeros(len(users))))
                continue
            drawn = drawn[torch.isin(drawn, nodes, invert=True)]
            bias = counts.new_zeros(len(nodes) + len(drawn))
            if len(drawn):
                bias[len(nodes) :] = math.log((len(users) - len(nodes)) / len(drawn))
            sets.append(ContrastSet(nodes, counts, torch.cat([nodes, drawn]), bias))
    return sets
