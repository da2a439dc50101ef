"""RecBole's full ranking with two choices more, and in batches that do not shrink to one user.

For every model, ``mask_valid_in_test: False`` is the published evaluation, which masks the training items alone when it
ranks for the test set (RecBole masks the validation items, too), and ``valid_users: n`` validates on a sample of users.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.evaluator.base_metric import TopkMetric
from recbole.evaluator.register import metrics_dict
from torch import Tensor

from . import zoo
from .errors import IRLLRecError
from .settings.schemas import LOADER_SETTINGS

if TYPE_CHECKING:
    from recbole.sampler.sampler import AbstractSampler
    from recbole.trainer import Trainer

# A batch of a model of ours holds so many scores (64 MiB), whatever the number of items.
_SCORES = 1 << 24


class FullRanking(FullSortEvalDataLoader):
    """RecBole's ``FullSortEvalDataLoader`` of a validation or test set, which it replaces.

    RecBole ranks ``eval_batch_size // n_items`` users at a time, at least one. That stays for its own models, some of
    which hold far more than the scores of a batch.
    """

    step: int  # users of a batch
    candidates: torch.Tensor | None = None  # the items that are ranked, [n_items] bool; None for all

    def __init__(self, config: Config, dataset: Dataset, sampler: "AbstractSampler", shuffle: bool = False):
        if getattr(sampler, "phase", None) == "test" and config["mask_valid_in_test"] is False:
            sampler = copy.copy(sampler)
            sampler.used_ids = sampler.get_used_ids()["train"]
        if getattr(sampler, "phase", None) == "valid" and config["valid_users"] is not None:
            dataset = _sample_users(dataset, config["valid_users"], config["seed"])
        if len(dataset) and max(config["topk"] or [0]) >= dataset.item_num:  # of which one is padding
            raise IRLLRecError(
                f"The setting topk is {config['topk']}, but there are {dataset.item_num - 1} items to rank: give "
                f"numbers up to that, and a valid_metric with one of them."
            )
        super().__init__(config, dataset, sampler, shuffle)

    def _init_batch_size_and_step(self) -> None:
        super()._init_batch_size_and_step()
        if (model := zoo.find(self.config["model"])) and model.ranks_in_blocks:
            n_items = self._dataset.item_num
            self.step = max(self.step, _SCORES // n_items)
            self.set_batch_size(self.step * n_items)

    def among(self, candidates: torch.Tensor) -> "FullRanking | None":
        """The same where some items alone are ranked, and the interactions with them alone count.

        Args:
            candidates: these items, [n_items] bool.

        Returns:
            None if there is no such interaction.
        """
        dataset = self._dataset
        counted = candidates[dataset.inter_feat[self.iid_field]]
        if not counted.any():
            return None
        loader = FullRanking(self.config, dataset.copy(dataset.inter_feat[counted]), self._sampler)
        loader.candidates = candidates
        return loader

    def collate_fn(self, index: Sequence[int]) -> tuple[Any, ...]:
        users, history, *positive = super().collate_fn(index)
        if self.candidates is not None:
            masked = (~self.candidates).repeat(len(users), 1)  # as the trainer's scores, which it indexes with this
            masked[history] = True
            history = masked
        return users, history, *positive


def refuse_unmeasurable(config: Config) -> None:
    """Refuse what these settings cannot be, and a validation metric that is not among those computed.

    Raises:
        IRLLRecError: a value that makes no sense, or one with an evaluation that does not rank all items of users.
    """
    computed = [metric.lower() for metric in config["metrics"]]
    # those that look at the first items of a ranking
    ranked = {n for n in computed if n in metrics_dict and {"rec.topk", "rec.items"} & {*metrics_dict[n].metric_need}}
    keys = {*computed} - ranked | {f"{name}@{k}" for name in ranked for k in config["topk"] or ()}
    if str(config["valid_metric"]).lower() not in keys:
        raise IRLLRecError(
            f"The setting valid_metric is {config['valid_metric']}, which metrics {config['metrics']} and topk "
            f"{config['topk']} do not give: name one of them, with its cutoff as in NDCG@10, or add it to them."
        )
    masked, n, boards = (config[name] for name in (*LOADER_SETTINGS, "item_boards"))
    if masked not in (None, True, False):
        raise IRLLRecError(f"The setting mask_valid_in_test is {masked!r}: give True (RecBole's way) or False.")
    if n is not None and (type(n) is not int or n < 1):
        raise IRLLRecError(f"The setting valid_users is {n!r}: give the number of users to validate on, at least 1.")
    if boards not in (None, True, False):
        raise IRLLRecError(f"The setting item_boards is {boards!r}: give True or False.")
    used_in = (
        *(("mask_valid_in_test", "test", masked is False), ("valid_users", "valid", n is not None)),
        ("item_boards", "test", boards is True),
    )
    for name, phase, used in used_in:
        mode = config["eval_args"]["mode"][phase]
        if used and (mode != "full" or config["repeatable"]):
            raise IRLLRecError(
                f"The setting {name} goes with full ranking of items that a user has not seen, but the mode of {phase} "
                f"in eval_args is {mode} and repeatable is {bool(config['repeatable'])}: take one of them back."
            )


def is_of_users(metric: str) -> bool:
    """Whether each user has a value of this metric, such as NDCG@10, which are averaged: `Measured.per_user`."""
    return issubclass(metrics_dict.get(metric.partition("@")[0].lower(), object), TopkMetric)


class Measured(NamedTuple):
    """What an evaluation measures."""

    metrics: dict[str, float]  # what ``trainer.evaluate`` returns
    # Before it is averaged: a row a user, in the order of the loader: ``user``, its token, and a column a metric and
    # cutoff, such as ``recall@10``.
    per_user: pd.DataFrame


def measured(trainer: "Trainer", data: FullSortEvalDataLoader) -> Measured:
    """Evaluate a model as it is.

    Args:
        trainer: a RecBole trainer with its model.
        data: a loader that ranks all items, such as RecBole's ``test_data``, or some of them.
    """
    columns: dict[str, np.ndarray] = {}

    def remembering(metric: TopkMetric) -> Callable[[str, np.ndarray], dict[str, float]]:
        averaged = metric.topk_result

        def topk_result(name: str, values: np.ndarray) -> dict[str, float]:  # [n_users, max(topk)]
            columns.update({f"{name}@{k}": values[:, k - 1] for k in metric.topk})
            return averaged(name, values)

        return topk_result

    metrics = [metric for metric in trainer.evaluator.metric_class.values() if isinstance(metric, TopkMetric)]
    for metric in metrics:
        metric.topk_result = remembering(metric)
    try:
        averages = trainer.evaluate(data, load_best_model=False)
    finally:
        for metric in metrics:
            del metric.topk_result
    dataset = data._dataset
    users = dataset.id2token(dataset.uid_field, data.uid_list.numpy())
    return Measured({name: float(value) for name, value in averages.items()}, pd.DataFrame({"user": users, **columns}))


def found_by_item(trainer: "Trainer", data: FullSortEvalDataLoader) -> tuple[dict[str, float], pd.DataFrame]:
    """Evaluate the checkpoint that a trainer has written last.

    Args:
        trainer: a RecBole trainer with its model.
        data: a loader that ranks all items.

    Returns:
        What ``trainer.evaluate`` returns; and a row an item with interactions in the data: ``item``, its token,
        ``interactions``, their number, and for each cutoff k, as ``found@10``, how many of them are among the first k
        of their user.
    """
    collector, dataset = trainer.eval_collector, data._dataset
    topk, n_items = collector.topk, dataset.item_num
    counts = {name: np.zeros(n_items, np.int64) for name in ("interactions", *(f"found@{k}" for k in topk))}
    collect = collector.eval_batch_collect

    def counting(scores: Tensor, interaction: Interaction, positive_u: Tensor, positive_i: Tensor) -> None:
        first = scores.topk(max(topk), dim=-1).indices  # [n_users, max(topk)]
        hits = first[positive_u] == positive_i[:, None]  # [n_positive, max(topk)]
        items = positive_i.cpu().numpy()
        counts["interactions"] += np.bincount(items, minlength=n_items)
        for k in topk:
            counts[f"found@{k}"] += np.bincount(items[hits[:, :k].any(dim=1).cpu().numpy()], minlength=n_items)
        collect(scores, interaction, positive_u, positive_i)

    collector.eval_batch_collect = counting
    try:
        averages = trainer.evaluate(data)
    finally:
        del collector.eval_batch_collect
    there = counts["interactions"].nonzero()[0]
    tokens = dataset.id2token(dataset.iid_field, there)
    return dict(averages), pd.DataFrame({"item": tokens, **{name: of[there] for name, of in counts.items()}})


def _sample_users(dataset: Dataset, n: int, seed: int) -> Dataset:
    """The dataset with the interactions of n of its users, all if there are no more."""
    users = dataset.inter_feat[dataset.uid_field]
    different = users.unique()
    kept = np.random.default_rng(seed).permutation(len(different))[:n]
    return dataset.copy(dataset.inter_feat[torch.isin(users, different[torch.from_numpy(kept)])])
