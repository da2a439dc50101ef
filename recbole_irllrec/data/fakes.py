"""Fake interactions, to learn how much a model loses by them."""

from collections.abc import Sequence

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from ..errors import IRLLRecError

_ROUNDS = 200  # of drawing again what is no fake, or one twice
_PATIENCE = 20  # rounds after which another user gets the fake


def fake_interactions(train: Dataset, held_out: Sequence, seed: int) -> Interaction:
    """As many fake interactions as a training data set has, in random order; the first n of them are n fakes.

    A fake is a copy of an interaction with another item, which is drawn evenly from those of the training: its user has
    as many fakes, about, as interactions, and its other fields, such as a rating, are the copied one's. No two are of
    one user and item, and none is an interaction that there is.

    Args:
        train: the training data set.
        held_out: the other data sets, whose interactions are no fakes either.
        seed: of what is drawn.

    Raises:
        IRLLRecError: there are too few pairs of a user and an item without an interaction.
    """
    generator = np.random.default_rng(seed)
    users, items = (train.inter_feat[field].numpy() for field in (train.uid_field, train.iid_field))
    taken = np.unique(np.concatenate([_pairs(dataset) for dataset in (train, *held_out)]))
    known = np.unique(items)
    rows = generator.permutation(len(users))
    drawn = np.empty(len(users), np.int64)
    open_ones = np.arange(len(users))
    for round_number in range(_ROUNDS):
        drawn[open_ones] = generator.choice(known, len(open_ones))
        if round_number >= _PATIENCE:
            rows[open_ones] = generator.integers(len(users), size=len(open_ones))
        pairs = users[rows] * train.item_num + drawn
        wrong = np.isin(pairs, taken)
        is_again = np.ones(len(pairs), bool)
        is_again[np.unique(pairs, return_index=True)[1]] = False
        open_ones = np.flatnonzero(wrong | is_again)
        if not len(open_ones):
            break
    else:
        raise IRLLRecError(
            f"{train.dataset_name} has too few pairs of a user and an item without an interaction for as many fake "
            f"ones as the {len(users):,} of its training: take a sparser data set."
        )
    fakes = train.inter_feat[torch.from_numpy(rows)]
    fakes.interaction[train.iid_field] = torch.from_numpy(drawn).to(train.inter_feat[train.iid_field].dtype)
    return fakes


def _pairs(dataset: Dataset) -> np.ndarray:
    users, items = (dataset.inter_feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field))
    return users * np.int64(dataset.item_num) + items
