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


def contrast_set(members: Tensor, among: Tensor | None, limit: int | None, dtype: torch.dtype) -> ContrastSet:
    """Some of a batch's nodes against each other, or against all of a kind.

    A node that a batch repeats is contrasted once, with its multiplicity: exactly the sum over the list with repeats.
    With a limit n, more than n nodes of a kind are represented by the batch's own and n drawn ones, each of which
    stands for its share of those that are not in the batch.

    Args:
        members: [B] nodes.
        among: [n] sorted nodes of which the members are some; None for the members, with their repeats.
        limit: n; without it, the sums are exact.
        dtype: of counts and bias.
    """
    nodes, counts = members.unique(return_counts=True)
    counts = counts.to(dtype)
    if among is None:
        return ContrastSet(nodes, counts, nodes, counts.log())
    drawn = sample_nodes(among, limit)
    others = drawn[torch.isin(drawn, nodes, invert=True)]
    bias = counts.new_zeros(len(nodes) + len(others))
    if len(others):
        bias[len(nodes) :] = math.log((len(among) - len(nodes)) / len(others))
    return ContrastSet(nodes, counts, torch.cat([nodes, others]), bias)


def contrast_sets(
    batch: Triples, present: Tensor, users: Tensor, limit: int | None, dtype: torch.dtype
) -> list[ContrastSet]:
    """The sums of align(base, text; τ): batch users against all users, its items against the batch's own.

    Args:
        batch: [B] nodes of the users, their positive and their negative items.
        present: [N] bool, whether the node has a text.
        users: [n] nodes: the users with a text, sorted.
        limit: how many nodes stand for all users (see `contrast_set`).
        dtype: of counts and bias.
    """
    sets = (
        contrast_set(members[present[members]], among, limit, dtype)
        for members, among in zip(batch, (users, None, None), strict=True)
    )
    return [each for each in sets if len(each.anchors)]
