"""Baselines that RecBole computes wrongly: where the source of a model leaves no doubt, it is followed here.

Where RecBole's variant is one that can be defended, it stays, and ``properties/deviations.yaml`` names it.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataset import Dataset
    from recbole.data.interaction import Interaction
    from recbole.model.general_recommender.pop import Pop

# What the mends change, by model: results from before are others'.
MENDED = {"Pop": "counts interactions"}


def count_interactions(pop: Any) -> None:
    """RecBole's Pop adds 1 to an item once a batch, the sampled negatives' items included.

    So its ranking depends on ``train_batch_size`` and on chance, and is worse the larger the batch. Ours counts the
    training interactions. Can go when RecBole counts so (its issues 1844 and 2198).
    """
    made = pop.Pop.__init__

    def __init__(self: "Pop", config: "Config", dataset: "Dataset") -> None:
        made(self, config, dataset)
        counts = torch.bincount(dataset.inter_feat[self.ITEM_ID].cpu(), minlength=self.n_items)
        tokens = dataset.id2token(self.ITEM_ID, np.arange(self.n_items))
        self.item_cnt = counts.unsqueeze(1).to(self.device)
        self.max_cnt = self.item_cnt.max(dim=0)[0]
        self.scores = by_counts(counts.numpy(), tokens).to(self.device)

    def calculate_loss(self: "Pop", _interaction: "Interaction") -> torch.Tensor:
        return 0 * self.fake_loss

    def predict(self: "Pop", interaction: "Interaction") -> torch.Tensor:
        return self.scores[interaction[self.ITEM_ID]]

    def full_sort_predict(self: "Pop", interaction: "Interaction") -> torch.Tensor:
        return self.scores.repeat(len(interaction))

    for function in (__init__, calculate_loss, predict, full_sort_predict):
        setattr(pop.Pop, function.__name__, function)


def by_counts(counts: np.ndarray, tokens: np.ndarray) -> torch.Tensor:
    """Scores that rank items by their numbers of interactions, and items with equal ones by their tokens.

    Neither chance, nor a library's sorting, nor the order of the files, those of the test set among them, has a say.

    Args:
        counts: the items' numbers of interactions, [n].
        tokens: the items' own ids, [n].

    Returns:
        (0, 1], different for each item, [n] float32.
    """
    best_first = np.lexsort((tokens.astype(str), -counts))
    scores = np.empty(len(counts), dtype=np.float32)
    scores[best_first] = np.arange(len(counts), 0, -1) / len(counts)
    return torch.from_numpy(scores)
