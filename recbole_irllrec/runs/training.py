"""One run: a model trained and validated as RecBole would, and tested."""

import contextlib
import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers, get_dataloader
from recbole.trainer import Trainer
from recbole.utils import ModelType, get_model, get_trainer, init_seed

from .. import boards, popularity
from ..errors import IRLLRecError
from ..evaluation import found_by_item, measured
from ..files import atomic_write
from ..objective import Objective
from ..tracking import losses_by_name
from .splits import Settings, Splits, config_of

_CHECKPOINT, _STATE, _HISTORY = "best.pth", "best.resume.pth", "history.json"


class Evaluation(NamedTuple):
    """What is known after a validation."""

    epoch: int  # from 0
    metrics: dict[str, float]  # all validation metrics by RecBole's names, such as ndcg@10
    losses: dict[str, float]  # the loss terms by name, each summed over the epoch's batches
    seconds: float  # since the run began, its loaders and model made; without what a killed run lost
    is_best: bool  # whether it is the best so far


class Tested(NamedTuple):
    """What a model does on the test set."""

    metrics: dict[str, float]  # those of boards by the names that `boards.named` gives
    per_user: pd.DataFrame  # as of `evaluation.Measured`; NaN on a board without an interaction of the user
    per_item: pd.DataFrame  # as of `evaluation.found_by_item`
    seconds: float  # for ranking and measuring once, without reading the checkpoint


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model: what validation saw, and the way to its test metrics."""

    config: Config
    history: list[Evaluation]
    n_parameters: int
    seconds: float
    checkpoint: Path
    splits: Splits
    linear_weight: float  # of the linear part in the model's scores; 0 without one

    @property
    def best(self) -> Evaluation:
        """The evaluation that the checkpoint is of."""
        return best_of(self.history)

    def test(self) -> Tested:
        """The test metrics of the best epoch; see `test`."""
        return _test(self.config, self.splits, self.checkpoint)


def best_of(history: list[Evaluation]) -> Evaluation:
    """The last of the evaluations that was the best so far."""
    return next(evaluation for evaluation in reversed(history) if evaluation.is_best)


def read_history(folder: Path) -> list[Evaluation]:
    """The evaluations of the run that a folder holds."""
    return [Evaluation(**entry) for entry in json.loads((folder / _HISTORY).read_text(encoding="utf-8"))]


def most_epochs(config: Config) -> int:
    """How many epochs a run with these settings has, if nothing ends it before."""
    return 1 if get_model(config["model"]).type == ModelType.TRADITIONAL else config["epochs"]


def eval_step(config: Config) -> int:
    """After how many epochs, again and again, a run with these settings is validated.

    Raises:
        IRLLRecError: it never is.
    """
    step, n_epochs = config["eval_step"], most_epochs(config)
    if get_model(config["model"]).type == ModelType.TRADITIONAL:
        step = min(step, 1)  # they have one epoch, which RecBole would not validate else
    if not 1 <= step <= n_epochs:
        raise IRLLRecError(
            f"The setting eval_step is {step} and epochs is {n_epochs}, so nothing is validated: give an eval_step of "
            f"at least 1 and at most epochs."
        )
    return step


def is_cut_short(config: Config, epochs: int) -> bool:
    """Whether a run with these settings, validated last after so many epochs, has ended before its last validation."""
    most = most_epochs(config)
    return epochs < most - most % eval_step(config)


def train(
    model: str,
    splits: Splits,
    settings: Settings,
    folder: str | os.PathLike[str],
    *,
    on_evaluation: Callable[[Evaluation], None] | None = None,
    resume: bool = False,
) -> Run:
    """Train a model, as RecBole's ``run_recbole`` does with the same settings.

    Args:
        model: a general recommender, IRLLRec or one of RecBole's.
        splits: what it is trained and validated on.
        settings: lie above the splits' own; ``seed`` is the model's alone.
        folder: the run's own; gets the checkpoint, the state to resume and the history. RecBole's logs go there, too:
            it is the current folder while the run lasts.
        on_evaluation: called after every validation; the folder's files are those of this moment then.
        resume: go on with the run that the folder holds, exactly where it was. Begins it where there is none, or where
            the trainer keeps no state (all but IRLLRec's).

    Raises:
        IRLLRecError: a setting or a text is refused, or there is no validation, or none with a number; and whatever
            training raises.
    """
    own = Path(folder).resolve()
    resumed = resume and (own / _STATE).is_file()
    checkpoint = own / _CHECKPOINT
    config = config_of(model, splits, {**settings, "resume": str(checkpoint) if resumed else False})
    splits = splits.with_texts([config])
    own.mkdir(parents=True, exist_ok=True)
    config["checkpoint_dir"] = str(own)
    config["eval_step"] = eval_step(config)
    with _inside(own):
        record = _Record(own / _HISTORY, resumed, config)
        trainer, (train_data, valid_data) = _build(config, splits, ("train", "valid"))
        trainer.saved_model_file, trainer.record = str(checkpoint), record
        with contextlib.closing(trainer.tensorboard):  # it would write later on, and elsewhere
            trainer.fit(
                train_data,
                valid_data,
                verbose=False,
                callback_fn=lambda _epoch, _score: on_evaluation and on_evaluation(record.history[-1]),
            )
    n_parameters = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    linear_weight = getattr(getattr(trainer.model, "settings", None), "linear_weight", 0.0)
    return Run(config, record.history, n_parameters, record.seconds, checkpoint, splits, linear_weight)


def test(model: str, splits: Splits, settings: Settings, checkpoint: str | os.PathLike[str]) -> Tested:
    """The test metrics of a checkpoint that `train` made with these settings.

    Raises:
        IRLLRecError: the file is no checkpoint, or the splits come without a test set.
    """
    config = config_of(model, splits, settings)
    return _test(config, splits.with_texts([config]), Path(checkpoint).resolve())


def _test(config: Config, splits: Splits, checkpoint: Path) -> Tested:
    if splits.test is None:
        raise IRLLRecError("These splits come without a test set: test with the splits that they were made from.")
    config["checkpoint_dir"] = str(checkpoint.parent)
    with _inside(checkpoint.parent):
        trainer, (train_data, test_data) = _build(config, splits, ("train", "test"))
        trainer.eval_collector.data_collect(train_data)
        trainer.saved_model_file = str(checkpoint)
        metrics, items = found_by_item(trainer, test_data)  # reads the checkpoint
        begun = time.perf_counter()
        users = measured(trainer, test_data).per_user
        seconds = time.perf_counter() - begun
        for name, board in boards.scored(config, splits.train, test_data).items():
            found = measured(trainer, board)
            metrics |= boards.named(name, found.metrics)
            users = users.join(found.per_user.set_index("user").add_prefix(f"{name}_"), on="user")
        trainer.tensorboard.close()
    return Tested({name: float(value) for name, value in metrics.items()}, users, items, seconds)


def popularity_of(model: str, splits: Splits, settings: Settings) -> dict[str, float] | None:
    """What popularity reaches on the test set, by the protocol and the metrics with which `test` tests the model.

    None as by `popularity.evaluate`.

    Raises:
        IRLLRecError: a setting is refused.
    """
    config = config_of(model, splits, settings)
    config["device"] = torch.device("cpu")  # what it takes is not a run's
    train = copy.copy(splits.train)
    (test_data,) = _loaders(config, splits, train, ("test",))
    init_seed(config["seed"], config["reproducibility"])
    return popularity.evaluate(config, train, test_data)


def _build(config: Config, splits: Splits, phases: tuple[str, str]) -> tuple[Any, list]:
    """A trainer with its new model, and the loaders of these phases, in the order in which RecBole draws numbers."""
    train = splits.training(config)
    vars(train)["node_texts"] = splits.node_texts  # the model asks its data set for them
    loaders = _loaders(config, splits, train, phases)
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train).to(config["device"])
    trainer = _recording(get_trainer(config["MODEL_TYPE"], config["model"]))
    return trainer(config, model), loaders


def _loaders(config: Config, splits: Splits, train: Dataset, phases: Iterable[str]) -> list:
    data = {"train": train, "valid": splits.valid, "test": splits.test}
    if splits.test is None:
        data["test"] = _empty(splits.valid)
    init_seed(config["seed"], config["reproducibility"])
    samplers = dict(zip(data, create_samplers(config, train, list(data.values())), strict=True))
    shuffled = {"train": config["shuffle"]}
    return [
        get_dataloader(config, phase)(config, data[phase], samplers[phase], shuffle=shuffled.get(phase, False))
        for phase in phases
    ]


def _empty(dataset: Dataset) -> Dataset:
    return dataset.copy(Interaction({name: values[:0] for name, values in dataset.inter_feat.interaction.items()}))


class _Record:
    """A run's evaluations, also in a file, which is written before the state to resume: never behind it."""

    def __init__(self, path: Path, resumed: bool, config: Config):
        self.history: list[Evaluation] = []
        if resumed and path.is_file():
            self.history = read_history(path.parent)
        self._path = path
        self._objective = Objective(config["valid_metric"])
        self._before = 0.0
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self._before + time.perf_counter() - self._begun

    def begin(self, epoch: int) -> None:
        """Drop what a killed run had recorded and is done again."""
        self.history = [evaluation for evaluation in self.history if evaluation.epoch < epoch]
        self._before = self.history[-1].seconds if self.history else 0.0

    def add(self, epoch: int, metrics: dict[str, float], losses: dict[str, float]) -> None:
        """Record an evaluation.

        Raises:
            IRLLRecError: nothing can be chosen by its metric.
        """
        values = {name: float(value) for name, value in metrics.items()}
        if not math.isfinite(value := values[self._objective.metric]):
            raise IRLLRecError(
                f"The validation metric {self._objective.metric} is {value} after epoch {epoch + 1}: lower "
                f"learning_rate, or take a metric that the validation set has."
            )
        scores = [self._objective.score(found) for found in (*(e.metrics for e in self.history), values)]
        self.history.append(Evaluation(epoch, values, losses, self.seconds, scores[-1] >= max(scores)))
        with atomic_write(self._path) as file:
            file.write(json.dumps([evaluation._asdict() for evaluation in self.history]).encode())


def _recording(trainer: type[Trainer]) -> type:
    """The trainer's class, recording what RecBole tells its callback nothing of."""

    class Recording(trainer):  # type: ignore[misc, valid-type]
        record: _Record

        def _train_epoch(self, train_data: AbstractDataLoader, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
            if epoch_idx == self.start_epoch:
                self.record.begin(epoch_idx)
            self._epoch, self._losses = epoch_idx, super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
            return self._losses

        def _valid_epoch(self, *args: Any, **kwargs: Any) -> tuple[float, dict[str, float]]:
            score, found = super()._valid_epoch(*args, **kwargs)
            self.record.add(self._epoch, found, losses_by_name(self.model, self._losses))
            return score, found

    return Recording


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """RecBole writes ``log_tensorboard`` into the current folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
