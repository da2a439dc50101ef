"""Which nodes a training step contrasts: all of them, as the formulas say, or a sample that stands for them."""

import math
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Triples: TypeAlias = tuple[Tensor, Tensor, Tensor]  # [B] nodes of users, of their positive and their negative items


class ContrastSet(NamedTuple):
    """Anchors of one InfoNCE sum and what they are contrasted with."""

    anchors: Tensor  # [n] nodes, each once
    counts: Tensor  # [n], how often the batch has each
    candidates: Tensor  # [m] nodes, the anchors first
    bias: Tensor  # [m], the log of how many each candidate stands for


def sample_nodes(nodes: Tensor, limit: int | None) -> Tensor:
    """About ``limit`` of [n] sorted nodes, drawn evenly, each once; all if they are no more or there is no limit."""
    if limit is None or len(nodes) <= limit:
        return nodes
    return nodes[torch.randint(len(nodes), (limit,), device=nodes.device)].unique()


def sample_triples(batch: Triples, limit: int | None) -> Triples:
    """``limit`` of a batch's triples, drawn evenly; all if they are no more or there is no limit."""
    if limit is None or len(batch[0]) <= limit:
        return batch
    drawn = torch.randperm(len(batch[0]), device=batch[0].device)[:limit]
    user, positive, negative = (members[drawn] for members in batch)
    return user, positive, negative


def contrast_sets(
    batch: Triples, present: Tensor, users: Tensor, limit: int | None, dtype: torch.dtype
) -> list[ContrastSet]:
    """The sums of align(base, text; τ): batch users against all users, its items against the batch's own.

    A node that a batch repeats is contrasted once, with its multiplicity: exactly the sum over the list with repeats.
    With a limit n, more than n users are represented by the batch's own and n drawn ones, each of which stands for its
    share of those that are not in the batch.

    Args:
        batch: [B] nodes of the users, their positive and their negative items.
        present: [N] bool, whether the node has a text.
        users: [n] nodes: the users with a text, sorted.
        limit: n; without it, the sums are exact.
        dtype: of counts and bias.
    """
    sets = []
    for members, are_users in zip(batch, (True, False, False), strict=True):
        nodes, counts = members[present[members]].unique(return_counts=True)
        if len(nodes) == 0:
            continue
        counts = counts.to(dtype)
        if not are_users:
            sets.append(ContrastSet(nodes, counts, nodes, counts.log()))
            continue
        drawn = sample_nodes(users, limit)
        others = drawn[torch.isin(drawn, nodes, invert=True)]
        bias = counts.new_zeros(len(nodes) + len(others))
        if len(others):
            bias[len(nodes) :] = math.log((len(users) - len(nodes)) / len(others))
        sets.append(ContrastSet(nodes, counts, torch.cat([nodes, others]), bias))
    return sets
