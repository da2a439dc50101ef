"""Popularity beside a model: what the items' counted training interactions alone reach on the same test.

RecBole's own evaluation ranks by them, so that what is ranked, masked and measured is the same by construction.
"""

import functools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from logging import INFO, WARNING, getLogger
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector, Evaluator
from recbole.trainer import Trainer
from recbole.utils import EvaluatorType, ModelType
from torch import Tensor

from . import boards
from .compat.baselines import by_counts
from .objective import Objective

Metrics = Mapping[str, float]  # by RecBole's names, such as ndcg@10
NAME = "Popularity (items by their counted training interactions)"
# Alignments that outweigh the ranking loss, by what was seen on ml-100k (docs/findings.md).
_HEAVY = 0.1


# ---- measured --------------------------------------------------------------------------------------------------------


def evaluate(config: Config, train: Any, data: Any) -> dict[str, float] | None:
    """The metrics of popularity.

    Args:
        config: RecBole's settings of the evaluation.
        train: the training data set, whose interactions are counted: for a sequential model, its targets.
        data: a loader of what is evaluated, such as RecBole's ``test_data``.

    Returns:
        What ``Trainer.evaluate`` returns for a model, and the metrics of the board of hot items where the settings ask
        for boards; None where there is nothing to evaluate, and for metrics of predicted values such as AUC or RMSE,
        since a count predicts none.
    """
    if config["eval_type"] != EvaluatorType.RANKING:
        return None
    evaluation = _Evaluation(config, _ByCounts(train, config["device"]), train)
    found = evaluation.evaluate(data, load_best_model=False)
    if found and (hot := boards.loaders(config, train, data).get(boards.HOT)):
        found |= boards.named(boards.HOT, evaluation.evaluate(hot, load_best_model=False))
    return found and {name: float(value) for name, value in found.items()}


class _ByCounts(torch.nn.Module):
    """Ranks items by their training interactions, and items with equally many by their tokens."""

    def __init__(self, train: Dataset, device: torch.device):
        super().__init__()
        self._item_field, n = train.iid_field, train.item_num
        counts = np.bincount(train.inter_feat[self._item_field].numpy(), minlength=n)
        self._scores = by_counts(counts, train.id2token(self._item_field, np.arange(n))).to(device)

    def predict(self, interaction: Interaction) -> Tensor:
        return self._scores[interaction[self._item_field]]

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        return self._scores.repeat(len(interaction), 1)


class _Evaluation(Trainer):
    """RecBole's evaluation, without what its trainer makes for training: an optimizer, folders, logs elsewhere."""

    def __init__(self, config: Config, model: torch.nn.Module, train: Dataset):
        self.config, self.model, self.device = config, model, config["device"]
        self.gpu_available, self.test_batch_size = False, config["eval_batch_size"]
        self.item_tensor = self.tot_item_num = None
        self.wandblogger = SimpleNamespace(log_eval_metrics=lambda *_arguments, **_options: None)
        self.eval_collector, self.evaluator = Collector(config), Evaluator(config)
        self.eval_collector.data_collect(SimpleNamespace(dataset=train))


# ---- told ------------------------------------------------------------------------------------------------------------


class Course(NamedTuple):
    """How a training went."""

    epochs: int
    best: int  # after how many of them it was best
    lost_patience: bool  # whether validation ended it


def is_below(metric: str, tested: float, popular: float) -> bool:
    """Whether a model's value of a metric such as NDCG@10 is worse than popularity's."""
    return tested > popular if Objective(metric).smaller_is_better else tested < popular


def compared(config: Config, tested: Metrics, popular: Metrics, course: Course) -> tuple[str, bool]:
    """A model beside popularity by its validation metric, in one line, and whether it lies below.

    Args:
        config: RecBole's settings of the model's run.
        tested: its test metrics; popular: what `evaluate` returns for the same test.
        course: of its training.
    """
    metric = config["valid_metric"].lower()
    below = is_below(metric, tested[metric], popular[metric])
    line = f"{NAME} reaches {metric} {popular[metric]:.4f} on the same test, {config['model']} {tested[metric]:.4f}"
    return (f"{line}: less than popularity. {what_helps(config, course)}" if below else f"{line}."), below


def what_helps(config: Config, course: Course) -> str:
    """A sentence on what usually lifts such a model above popularity, as far as its settings leave it to do.

    Args:
        config: RecBole's settings of the model's run.
        course: of its training.
    """
    kind = config["MODEL_TYPE"]
    if kind == ModelType.TRADITIONAL:
        hints = ["other settings of its own, if it has any (irllrec tune)"]
    else:
        hints = [*_of_training(config, course), *(_of_ranking(config) if config["ranking_loss"] else ())]
        n_layers = config["n_layers"]
        if kind == ModelType.GENERAL and isinstance(n_layers, int) and n_layers > 1:
            hints.append(f"fewer n_layers (here {n_layers})")
        hints.append("as a check, the model EASE: if it is no better, look at the data and their split")
    return f"What usually helps: {'; '.join(hints)}."


def _of_training(config: Config, course: Course) -> list[str]:
    rate, patience = config["learning_rate"], config["stopping_step"]
    best = f"best after {course.best} of {course.epochs}"
    if course.lost_patience:
        length = f"more patience (it was {best} epochs, with stopping_step {patience})"
    else:
        length = f"more epochs (it was {best})"
    still_learning = course.best > course.epochs / 2
    return [length, f"a {'larger' if still_learning else 'smaller'} learning_rate (here {rate:g})"]


def _of_ranking(config: Config) -> list[str]:
    hints = []
    if config["ranking_loss"] == "softmax":
        hints.append(f"a larger softmax_temperature (here {config['softmax_temperature']:g})")
        if config["softmax_negatives"] not in ("all", "auto"):
            hints.append("softmax_negatives: all")
        if not config["item_bias"]:
            hints.append("item_bias: True (cosines cannot say that an item is popular)")
    else:
        hints.append("ranking_loss: softmax")
    heavy = [name for name in ("profile_weight", "pairwise_weight") if (config[name] or 0) > _HEAVY]
    return hints + [f"a smaller {name} (here {config[name]:g})" for name in heavy]


# ---- beside RecBole's runs -------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    config: Config
    tested: Metrics
    popular: Metrics
    course: Course
    on_boards: list[str]  # a line a board


# What was found for the run that is going on.
_run: ContextVar[list[_Found] | None] = ContextVar("run", default=None)


def beside(run: Callable[[], dict[str, Any]], speaks: bool) -> dict[str, Any]:
    """A run of RecBole's ``run_recbole``, with popularity in its result and, as its last line, in its log.

    Where the settings ask for boards, the metrics on them are in the result, too, and a line of each in the log.

    Args:
        run: calls RecBole's function, which takes its trainer from `trainers`.
        speaks: whether this process writes the log.

    Returns:
        Its result, with ``popularity_result``: what `evaluate` returns for the test. The boards' metrics are among
        those of both.
    """
    found: list[_Found] = []
    token = _run.set(found)
    try:
        result = run()
    finally:
        _run.reset(token)
    result["popularity_result"] = found[-1].popular if found else None
    if found and speaks:
        *about, on_boards = found[-1]
        log = getLogger(__name__)
        for line in on_boards:
            log.info(line)
        line, below = compared(*about)
        log.log(WARNING if below else INFO, line)
    return result


def trainers(get_trainer: Callable[..., type[Trainer]]) -> Callable[..., type[Trainer]]:
    """RecBole's ``get_trainer``, which gives a run that stands in `beside` a trainer that tests popularity, too."""

    @functools.wraps(get_trainer)
    def get(*args: Any) -> type[Trainer]:
        found = _run.get()
        return get_trainer(*args) if found is None else _comparing(get_trainer(*args), found)

    return get


def _comparing(trainer: type[Trainer], found: list[_Found]) -> type[Trainer]:
    class Comparing(trainer):  # type: ignore[misc, valid-type]
        _trained_on: Any = None

        def fit(self, train_data: AbstractDataLoader, *args: Any, **kwargs: Any) -> Any:
            result = super().fit(train_data, *args, **kwargs)
            self._trained_on = train_data._dataset
            return result

        def evaluate(self, eval_data: AbstractDataLoader, *args: Any, **kwargs: Any) -> Any:
            before = np.random.get_state()
            tested = super().evaluate(eval_data, *args, **kwargs)
            if (train := self._trained_on) is not None:
                after = np.random.get_state()
                np.random.set_state(before)  # an evaluation that draws negatives draws the same
                popular = evaluate(self.config, train, eval_data)
                np.random.set_state(after)
                if popular:
                    own = _Evaluation(self.config, self.model, train)
                    for name, board in boards.scored(self.config, train, eval_data).items():
                        tested.update(boards.named(name, own.evaluate(board, load_best_model=False)))
                    on_boards = _on_boards(self.config, train, eval_data._dataset, tested, popular)
                    epochs = len(self.train_loss_dict)
                    best = epochs - self.cur_step * self.eval_step
                    course = Course(epochs, best, lost_patience=epochs < self.epochs)
                    found.append(_Found(self.config, tested, popular, course, on_boards))
            return tested

    return Comparing


def _on_boards(config: Config, train: Any, test: Any, tested: Metrics, popular: Metrics) -> list[str]:
    sizes = boards.sizes(train, test) if config["item_boards"] else {}
    return [boards.told(name, size, config["model"], tested, popular) for name, size in sizes.items()]
