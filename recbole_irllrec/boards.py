"""Boards: the metrics of a test on hot items, those with training interactions, and on cold ones, without any, apart.

They stand beside the metrics on all items where the setting ``item_boards`` asks for them. On a board its items alone
are ranked, and the test interactions with them alone count; users without any are left out.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from recbole.config import Config
from recbole.evaluator.register import metrics_dict

from . import zoo
from .evaluation import FullRanking
from .settings.schemas import LinearSettings
from .settings.sources import read_settings

HOT, COLD = "hot", "cold"
CANNOT = "cannot score unseen items"  # what stands in place of metrics on the board of cold ones
T = TypeVar("T")


def loaders(config: Config, train: Any, data: FullRanking) -> dict[str, FullRanking | None]:
    """The boards that the settings ask for.

    Args:
        config: RecBole's settings of the evaluation.
        train: the training data set, which tells hot from cold.
        data: a loader of the test set that ranks all items.

    Returns:
        By name; None for a board with whose items there is no test interaction.
    """
    return {name: data.among(items) for name, items in _items(train).items()} if config["item_boards"] else {}


def scored(config: Config, train: Any, data: FullRanking) -> dict[str, FullRanking]:
    """Those of the `loaders` that there are and whose items the settings' model can score."""
    known = {HOT, COLD} if scores_unseen(config, train.item_num - 1) else {HOT}
    found = loaders(config, train, data).items()
    return {name: board for name, board in found if board is not None and name in known}


def scores_unseen(config: Config, n_items: int) -> bool:
    """Whether a model with these settings scores cold items, of n_items in all, by what it knows of them, their texts.

    By vectors that texts give, or by a linear part that reads texts.
    """
    ours = zoo.find(config["model"])
    if not (ours and ours.scores_unseen):
        return False
    settings = read_settings(config)
    if not settings.text_kinds:
        return False
    if getattr(settings, "unseen_items", "text") is not None:
        return True
    return isinstance(settings, LinearSettings) and settings.reads_texts(n_items)


def named(board: str, metrics: Mapping[str, T]) -> dict[str, T]:
    """Metrics of a board by names of their own, such as ``cold_recall@10``.

    Those of whatever is recommended, such as ItemCoverage, are left out: a board may have fewer items than are counted.
    """
    return {f"{board}_{name}": value for name, value in metrics.items() if _is_of_hits(name)}


def sizes(train: Any, test: Any) -> dict[str, dict[str, int]]:
    """The numbers of ``items`` to rank, test ``interactions`` and ``users`` by board.

    Args:
        train, test: the data sets.
    """
    users, items = (test.inter_feat[field] for field in (test.uid_field, test.iid_field))
    return {
        name: {
            "items": int(candidates.sum()),
            "interactions": int(candidates[items].sum()),
            "users": len(users[candidates[items]].unique()),
        }
        for name, candidates in _items(train).items()
    }


def told(name: str, size: Mapping[str, int], model: str, tested: Mapping, popular: Mapping) -> str:
    """What a model and popularity reach on a board, in a line.

    Args:
        name: the board's.
        size: one of `sizes`.
        model: its name.
        tested, popular: metrics of the test, those of boards as `named` names them.
    """
    head = f"On {titled(name)}"
    if not size["interactions"]:
        return f"{head}: no test interaction is with one."

    def reached(metrics: Mapping) -> str:
        own = {metric.removeprefix(f"{name}_"): metrics[metric] for metric in metrics if metric.startswith(f"{name}_")}
        return ", ".join(f"{metric} {value:.4f}" for metric, value in own.items()) or CANNOT

    of = f"{size['items']:,} items, {size['users']:,} users"
    return f"{head} ({of}) {model}: {reached(tested)}; popularity: {reached(popular)}."


def titled(name: str) -> str:
    """How people read a board's name."""
    return f"{name} items alone"


def _items(train: Any) -> dict[str, torch.Tensor]:
    """The items of each board, without the padding, [n_items] bool."""
    hot = torch.zeros(train.item_num, dtype=torch.bool)
    hot[train.inter_feat[train.iid_field]] = True
    cold = ~hot
    cold[0] = False
    return {HOT: hot, COLD: cold}


def _is_of_hits(metric: str) -> bool:
    return "rec.items" not in metrics_dict[metric.partition("@")[0]].metric_need
