"""Training runs of any general recommender on one split of a data set, for sweeps and benchmarks.

The split is loaded once, can be pickled, and can leave the test set behind::

    splits = load_splits("ml-100k")
    run = train("LightGCN", splits, {"learning_rate": 0.003}, "runs/1")
    run.best.metrics["ndcg@10"], run.test().metrics["ndcg@10"]
"""

import contextlib
import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers, get_dataloader
from recbole.trainer import Trainer
from recbole.utils import ModelType, get_model, get_trainer, init_seed

from . import popularity, zoo
from .data.loading import load_config, split_datasets
from .data.text import NodeText, locate
from .data.training import SIDES
from .errors import IRLLRecError
from .evaluation import per_user
from .files import atomic_write
from .settings.sources import read_settings

Settings = dict[str, Any]
# What the texts of a split depend on, beside the data set.
TEXT_SETTINGS = (
    *(f"{side}_{kind}_table" for side in SIDES for kind in ("profile", "intent")),
    *("preload_weight", "user_text", "min_text_coverage", "text_dim"),
)
# What a run does not take from anybody: it writes into its own folder, and nothing else.
_OWN = {"show_progress": False, "save_dataset": False, "save_dataloaders": False, "log_wandb": False}
_CHECKPOINT, _STATE, _HISTORY = "best.pth", "best.resume.pth", "history.json"


# ---- the split -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Splits:
    """One split of a data set for all runs; their seeds vary the models. Can be pickled."""

    dataset: str
    settings: Settings  # what the user gave, in files or otherwise; the settings of a run lie above
    train: Dataset
    valid: Dataset
    test: Dataset | None  # None where nobody is to look at it
    texts: dict[str, dict[str, NodeText]] = field(default_factory=dict)  # by the settings that they depend on

    def without_test(self) -> "Splits":
        """The same without the test set, for runs among which one is chosen."""
        return replace(self, test=None)

    def with_texts(self, model: str, variants: Iterable[Settings]) -> "Splits":
        """The same with the texts that runs with these settings read, resolved once for all.

        Raises:
            IRLLRecError: a setting or a text is refused.
        """
        if zoo.find(model) is None:
            return self
        wanted: dict[str, tuple[Config, set[str]]] = {}
        for settings in variants:
            config = config_of(model, self, settings)
            _, kinds = wanted.setdefault(_text_key(config), (config, set()))
            kinds.update(read_settings(config).text_kinds)
        found = {key: self.node_texts(config, sorted(kinds)) for key, (config, kinds) in wanted.items()}
        return replace(
            self, texts={key: self.texts.get(key, {}) | found.get(key, {}) for key in {**self.texts, **found}}
        )

    def node_texts(self, config: Config, kinds: Iterable[str]) -> dict[str, NodeText]:
        """As `IRLLRecDataset.node_texts` of the training data; texts that are at hand are not resolved again."""
        at_hand = self.texts.get(_text_key(config), {})
        if all(kind in at_hand for kind in kinds):
            return {kind: at_hand[kind] for kind in kinds}
        return self.train.node_texts(config, kinds)


def load_splits(
    dataset: str,
    data_path: Path | None = None,
    config_files: str | None = None,
    settings: Settings | None = None,
    model: str = "IRLLRec",
) -> Splits:
    """Load and split a data set; arguments and errors are those of `data.loading.load_config`.

    The setting ``seed`` draws the split, where the data set is not split already. The environment stays as it is, the
    choice of GPUs included.
    """
    refuse_other_kinds(model)
    config = load_config(dataset, data_path, config_files, settings, model)
    return Splits(dataset, dict(config.external_config_dict), *split_datasets(config))


def config_of(model: str, splits: Splits, settings: Settings) -> Config:
    """RecBole's settings of a run: the model's own, the splits' above, these on top.

    The GPUs that the environment names, as Ray does for a trial, stand above the setting ``gpu_id``.

    Raises:
        IRLLRecError: a setting is refused, or the model is no general recommender.
    """
    refuse_other_kinds(model)
    above = {**splits.settings, "resume": False, **settings, **_OWN}
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        above["gpu_id"] = os.environ["CUDA_VISIBLE_DEVICES"]
    config = bare_config(model, splits.dataset, above)
    config["data_path"] = splits.train.config["data_path"]  # RecBole takes its own ml-100k whatever is said
    return config


def bare_config(model: str, dataset: str, settings: Settings) -> Config:
    """RecBole's settings of a model with these on top; the data set need not be there.

    Raises:
        IRLLRecError: a setting is refused, or there is no such model.
    """
    # RecBole evaluates strings; in quotes they stay what they are
    quoted = {name: repr(value) if isinstance(value, str) else value for name, value in settings.items()}
    return load_config(dataset, None, "", quoted, model)


def refuse_other_kinds(model: str) -> None:
    """Refuse a model that needs other data than users and items.

    Raises:
        IRLLRecError: it is no general recommender.
    """
    kind = get_model(model).type
    if kind not in (ModelType.GENERAL, ModelType.TRADITIONAL):
        raise IRLLRecError(
            f"{model} is no general recommender but a {kind.name.lower()} model, which needs other data: take one such "
            f"as IRLLRec, LightGCN or EASE."
        )


def _text_key(config: Config) -> str:
    return json.dumps([zoo.text_sides(config["model"]), *(config[name] for name in TEXT_SETTINGS)], default=str)


def text_sources(config: Config, splits: Splits) -> list[str]:
    """Where the texts that a run reads come from: a SHA-256 of each table's file, or what stands in its place."""
    sides = zoo.text_sides(config["model"])
    if not sides:
        return []
    found = [locate(config, splits.train, side, kind) for kind in read_settings(config).text_kinds for side in sides]
    return [_digest(path, path.stat().st_mtime_ns) if isinstance(path, Path) else str(path) for path in found]


@cache
def _digest(path: Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- runs ------------------------------------------------------------------------------------------------------------


class Evaluation(NamedTuple):
    """What is known after a validation."""

    epoch: int  # from 0
    metrics: dict[str, float]  # all validation metrics by RecBole's names, such as ndcg@10
    losses: dict[str, float]  # the loss terms by name, each summed over the epoch's batches
    seconds: float  # since the run began, its loaders and model made; without what a killed run lost
    is_best: bool  # whether it is the best so far


class Tested(NamedTuple):
    """What a model does on the test set."""

    metrics: dict[str, float]
    per_user: pd.DataFrame  # see `evaluation.per_user`
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
        IRLLRecError: a setting or a text is refused, or there is no validation; and whatever training raises.
    """
    splits = splits.with_texts(model, [settings])
    own = Path(folder).resolve()
    own.mkdir(parents=True, exist_ok=True)
    resumed = resume and (own / _STATE).is_file()
    checkpoint = own / _CHECKPOINT
    config = config_of(
        model, splits, {**settings, "checkpoint_dir": str(own), "resume": str(checkpoint) if resumed else False}
    )
    if get_model(model).type == ModelType.TRADITIONAL:
        config["eval_step"] = min(config["eval_step"], 1)  # they have one epoch, which RecBole would not validate else
    if config["eval_step"] < 1:
        raise IRLLRecError(f"The setting eval_step is {config['eval_step']}, so nothing is validated: give at least 1.")
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
    return Run(config, record.history, n_parameters, record.seconds, checkpoint, splits)


def test(model: str, splits: Splits, settings: Settings, checkpoint: str | os.PathLike[str]) -> Tested:
    """The test metrics of a checkpoint that `train` made with these settings.

    Raises:
        IRLLRecError: the file is no checkpoint, or the splits come without a test set.
    """
    splits = splits.with_texts(model, [settings])
    return _test(config_of(model, splits, settings), splits, Path(checkpoint).resolve())


def _test(config: Config, splits: Splits, checkpoint: Path) -> Tested:
    if splits.test is None:
        raise IRLLRecError("These splits come without a test set: test with the splits that they were made from.")
    config["checkpoint_dir"] = str(checkpoint.parent)
    with _inside(checkpoint.parent):
        trainer, (train_data, test_data) = _build(config, splits, ("train", "test"))
        trainer.eval_collector.data_collect(train_data)
        trainer.saved_model_file = str(checkpoint)
        metrics = trainer.evaluate(test_data)  # reads the checkpoint
        begun = time.perf_counter()
        found = per_user(trainer, test_data)
        seconds = time.perf_counter() - begun
        trainer.tensorboard.close()
    return Tested({name: float(value) for name, value in metrics.items()}, found, seconds)


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
    train = copy.copy(splits.train)
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
        self._metric, self._sign = config["valid_metric"].lower(), 1 if config["valid_metric_bigger"] else -1
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
        """Record an evaluation."""
        values = {name: float(value) for name, value in metrics.items()}
        scores = [self._sign * found[self._metric] for found in (*(e.metrics for e in self.history), values)]
        self.history.append(Evaluation(epoch, values, losses, self.seconds, scores[-1] >= max(scores)))
        with atomic_write(self._path) as file:
            file.write(json.dumps([evaluation._asdict() for evaluation in self.history]).encode())


def _recording(trainer: type[Trainer]) -> type:
    """The trainer's class, recording what RecBole tells its callback nothing of."""

    class Recording(trainer):  # type: ignore[misc, valid-type]
        record: _Record

        def _train_epoch(self, train_data, epoch_idx, *args, **kwargs):
            if epoch_idx == self.start_epoch:
                self.record.begin(epoch_idx)
            self._epoch, self._losses = epoch_idx, super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
            return self._losses

        def _valid_epoch(self, *args, **kwargs):
            score, found = super()._valid_epoch(*args, **kwargs)
            self.record.add(self._epoch, found, _by_name(self.model, self._losses))
            return score, found

    return Recording


def _by_name(model, losses: float | tuple[float, ...]) -> dict[str, float]:
    values = losses if isinstance(losses, tuple) else (losses,)
    numbered = [f"loss_{n}" for n in range(1, len(values) + 1)] if len(values) > 1 else ["loss"]
    names = getattr(model, "loss_names", numbered)
    return {name: float(value) for name, value in zip(names, values, strict=True)}


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """RecBole writes ``log_tensorboard`` into the current folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
