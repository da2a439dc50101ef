"""RecBole's full ranking with two choices more, and in batches that do not shrink to one user.

For every model, ``mask_valid_in_test: False`` is the published evaluation, which masks the training items alone when it
ranks for the test set (RecBole masks the validation items, too), and ``valid_users: n`` validates on a sample of users.
"""

import copy

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader

from .errors import IRLLRecError

SETTINGS = ("mask_valid_in_test", "valid_users")
# A batch of IRLLRec's holds so many scores (64 MiB), whatever the number of items.
_SCORES = 1 << 24


class FullRanking(FullSortEvalDataLoader):
    """RecBole's ``FullSortEvalDataLoader`` of a validation or test set, which it replaces.

    RecBole ranks ``eval_batch_size // n_items`` users at a time, at least one. That stays for its own models, some of
    which hold far more than the scores of a batch.
    """

    def __init__(self, config, dataset, sampler, shuffle=False):
        if getattr(sampler, "phase", None) == "test" and config["mask_valid_in_test"] is False:
            sampler = copy.copy(sampler)
            sampler.used_ids = sampler.get_used_ids()["train"]
        if getattr(sampler, "phase", None) == "valid" and config["valid_users"] is not None:
            dataset = _sample_users(dataset, config["valid_users"], config["seed"])
        super().__init__(config, dataset, sampler, shuffle)

    def _init_batch_size_and_step(self):
        super()._init_batch_size_and_step()
        if self.config["model"] == "IRLLRec":
            n_items = self._dataset.item_num
            self.step = max(self.step, _SCORES // n_items)
            self.set_batch_size(self.step * n_items)


def check(config) -> None:
    """Refuse what these two settings cannot be, and a validation metric that is not among those computed.

    Raises:
        IRLLRecError: a value that makes no sense, or one with an evaluation that does not rank all items of users.
    """
    name, _, k = str(config["valid_metric"]).lower().partition("@")
    if name not in [metric.lower() for metric in config["metrics"]] or (k and k not in map(str, config["topk"] or ())):
        raise IRLLRecError(
            f"The setting valid_metric is {config['valid_metric']}, which metrics {config['metrics']} and topk "
            f"{config['topk']} do not give: name one of them, or add it to them."
        )
    masked, n = (config[name] for name in SETTINGS)
    if masked not in (None, True, False):
        raise IRLLRecError(f"The setting mask_valid_in_test is {masked!r}: give True (RecBole's way) or False.")
    if n is not None and (type(n) is not int or n < 1):
        raise IRLLRecError(f"The setting valid_users is {n!r}: give the number of users to validate on, at least 1.")
    for name, phase, used in (("mask_valid_in_test", "test", masked is False), ("valid_users", "valid", n is not None)):
        mode = config["eval_args"]["mode"][phase]
        if used and (mode != "full" or config["repeatable"]):
            raise IRLLRecError(
                f"The setting {name} goes with full ranking of items that a user has not seen, but the mode of {phase} "
                f"in eval_args is {mode} and repeatable is {bool(config['repeatable'])}: take one of them back."
            )


def _sample_users(dataset, n: int, seed: int):
    """The dataset with the interactions of n of its users, all if there are no more."""
    users = dataset.inter_feat[dataset.uid_field]
    different = users.unique()
    kept = np.random.default_rng(seed).permutation(len(different))[:n]
    return dataset.copy(dataset.inter_feat[torch.isin(users, different[torch.from_numpy(kept)])])
