"""RecBole's trainer with named loss terms, safe and atomic checkpoints, and exact resuming."""

import contextlib
import hashlib
import json
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.trainer import Trainer
from recbole.utils import dict2str, set_color

from . import tracking, warm_start
from .data.features import ids_fingerprint
from .data.text import Made, refuse_other_texts
from .errors import IRLLRecError
from .files import atomic_write
from .safe_loading import config_to_plain, load_data

_log = logging.getLogger(__name__)
# Settings that leave the course of a run as it is: a run may be resumed under others.
_FREE_SETTINGS = {
    *("resume", "checkpoint_dir", "data_path", "show_progress", "state", "device", "gpu_id", "use_gpu"),
    *tracking.SETTINGS,
}


def _in_order_of(now: list[str], then: list[str], optimizer: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state, which goes by the parameters' places, where another release had these in another order.

    Their names were shorter then, before they had a module of their own.
    """
    renamed = [name for name in now if name not in then]
    found = [name if name in now else next((n for n in renamed if n.endswith(f".{name}")), None) for name in then]
    place = {name: number for number, name in enumerate(filter(None, found))}
    state = {number: optimizer["state"].get(place.get(name)) for number, name in enumerate(now)}
    return {**optimizer, "state": {number: of_one for number, of_one in state.items() if of_one is not None}}


class IRLLRecTrainer(Trainer):
    """Trains IRLLRec.

    Besides RecBole's checkpoint of the best epoch, ``<name>.pth``, the state of the run at the beginning of the current
    epoch is kept in ``<name>.resume.pth``. A run killed at any moment and resumed (setting ``resume``, or
    ``resume_checkpoint``) ends as if it had not been. Both files are plain data, replaced atomically.
    """

    def __init__(self, config: Config, model: AbstractRecommender):
        super().__init__(config, model)
        self._saved = False
        self._finished = False
        self._next_epoch = 0
        self._terms: dict[str, torch.Tensor] = {}
        self._ids: str | None = None
        self._tokens: dict[str, str] = {}
        self._resumed: dict[str, Any] | None = None  # of the run that this one goes on with, what it was trained on
        self._restored_loader: torch.Tensor | None = None
        if config["resume"] is True:
            self.saved_model_file = str(Path(self.checkpoint_dir) / f"{self._run_name()}.pth")
        if not config["single_spec"]:
            # each rank has made up its own name, from its own clock
            name = [self.saved_model_file]
            torch.distributed.broadcast_object_list(name, src=0)
            self.saved_model_file = name[0]

    # ---- the run ----------------------------------------------------------------------------------------------------

    def fit(
        self,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], Any] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """As RecBole's; resumes first where the setting ``resume`` asks for it.

        When ``callback_fn`` is called the run's file holds the state after that evaluation.
        """
        self._saved = saved
        self._epoch_on_disk: int | None = None
        dataset = train_data.dataset
        self._tokens = warm_start.tokens_of(dataset)
        self._ids = ids_fingerprint(
            *(dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field))
        )
        self._resume_by_setting()
        if self._resumed is not None:
            self._refuse_other_data(self._resumed)
        elif self.config["warm_start"]:
            warm_start.begin(self.model, self.config["warm_start"], dataset)
        if self._finished:
            _log.info(f"The run {self.saved_model_file} had finished: nothing is left to train.")
            self.eval_collector.data_collect(train_data)
            return self.best_valid_score, self.best_valid_result

        def settled(epoch: int, score: float) -> None:
            self._save_run(train_data)
            if callback_fn:
                callback_fn(epoch, score)

        with _deterministic(self.config["reproducibility"]):
            result = super().fit(train_data, valid_data, verbose, saved, show_progress, settled)
        self._save_run(train_data)
        if not self.config["single_spec"]:
            torch.distributed.barrier()  # the others read the checkpoint that the first has written
        return result

    def evaluate(
        self,
        eval_data: AbstractDataLoader,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> dict[str, float] | None:
        """As RecBole's, with exactly repeatable sums where ``reproducibility`` asks for them."""
        with _deterministic(self.config["reproducibility"]):
            return super().evaluate(eval_data, load_best_model, model_file, show_progress)

    def _train_epoch(
        self,
        train_data: AbstractDataLoader,
        epoch_idx: int,
        loss_func: Callable[[Interaction], Any] | None = None,
        show_progress: bool = False,
    ) -> tuple[float, ...]:
        if self._restored_loader is not None:
            train_data.generator.set_state(self._restored_loader)
            self._restored_loader = None
        # Here everything of the epochs before is settled, their evaluation included.
        self._next_epoch = epoch_idx
        self._save_run(train_data)
        losses = super()._train_epoch(train_data, epoch_idx, self._remembering_loss, show_progress)
        self._next_epoch = epoch_idx + 1
        return losses

    # ---- loss terms by name -----------------------------------------------------------------------------------------

    def _remembering_loss(self, interaction: Interaction) -> tuple[torch.Tensor, ...]:
        terms = self.model.calculate_loss(interaction)
        self._terms = dict(zip(self.model.loss_names, terms, strict=True))
        return terms

    def _check_nan(self, loss: torch.Tensor) -> None:
        if not torch.isfinite(loss):
            broken = [f"{name} ({value.item()})" for name, value in self._terms.items() if not torch.isfinite(value)]
            raise IRLLRecError(
                f"Training stopped: the loss term {', '.join(broken) or 'sum'} is not a finite number; "
                "lower learning_rate or that term's weight, or raise its temperature."
            )

    def _generate_train_loss_output(
        self, epoch_idx: int, s_time: float, e_time: float, losses: tuple[float, ...]
    ) -> str:
        places = self.config["loss_decimal_place"] or 4
        terms = {"train loss": sum(losses), **dict(zip(self._terms, losses, strict=True))}
        shown = ", ".join(f"{set_color(name, 'blue')}: {value:.{places}f}" for name, value in terms.items())
        head = set_color(f"epoch {epoch_idx} training", "green")
        return f"{head} [{set_color('time', 'blue')}: {e_time - s_time:.2f}s, {shown}]"

    def _add_train_loss_to_tensorboard(
        self, epoch_idx: int, losses: tuple[float, ...], tag: str = "Loss/Train"
    ) -> None:
        self.tensorboard.add_scalar(tag, sum(losses), epoch_idx)
        for name, value in zip(self._terms, losses, strict=True):
            self.tensorboard.add_scalar(f"{tag}/{name}", value, epoch_idx)

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    @property
    def _run_file(self) -> Path:
        return Path(self.saved_model_file).with_suffix(".resume.pth")

    @property
    def _is_writer(self) -> bool:
        return self.config["single_spec"] or self.config["local_rank"] == 0

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """RecBole's checkpoint, as plain data and atomically."""
        if not self._is_writer:
            return
        path = kwargs.pop("saved_model_file", self.saved_model_file)
        _save(self._state(epoch) | {"other_parameter": self.model.other_parameter(), "tokens": self._tokens}, path)
        if verbose:
            _log.info(set_color("Saving current", "blue") + f": {path}")

    def _save_run(self, train_data: AbstractDataLoader) -> None:
        """Keep the run as it is before the next epoch."""
        if not (self._saved and self._is_writer) or self._epoch_on_disk == self._next_epoch:
            return
        result = self.best_valid_result
        run = {
            "best_valid_result": result and {name: float(value) for name, value in result.items()},
            "train_loss": dict(self.train_loss_dict),
            "random": _random_state(),
            # none after RecBole's save_dataloaders: the loader then draws from torch's own generator
            "loader": train_data.generator and train_data.generator.get_state(),
        }
        _save(self._state(self._next_epoch - 1) | run, self._run_file)
        self._epoch_on_disk = self._next_epoch

    @property
    def _texts_made(self) -> dict[str, Made | None]:
        return getattr(self.model, "texts_made", {})

    def _state(self, epoch: int) -> dict:
        return {
            "config": config_to_plain(self.config),
            "ids": self._ids,
            "texts": self._texts_made,
            "epoch": epoch,
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def resume_checkpoint(self, resume_file: str | Path) -> None:
        """Go on with a run, exactly: its random states are those at the beginning of the epoch it was in.

        Args:
            resume_file: the run's checkpoint ``<name>.pth``, or ``<name>.resume.pth`` beside it.

        Raises:
            IRLLRecError: there is no such run, or it was made with another model.
        """
        path = Path(resume_file)
        if path.name.endswith(".resume.pth"):
            path = path.with_name(path.name.removesuffix(".resume.pth") + ".pth")
        self.saved_model_file = str(path)
        if not self._run_file.is_file():
            raise IRLLRecError(f"There is no run to resume: {self._run_file} does not exist; give the path of a run.")
        run = load_data(self._run_file, map_location="cpu")
        self._compare_settings(run["config"]["settings"])
        try:
            self.model.load_state_dict(run["state_dict"])
            now = [name for name, _ in self.model.named_parameters()]
            self.optimizer.load_state_dict(_in_order_of(now, [*run["state_dict"]], run["optimizer"]))
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise IRLLRecError(f"{self._run_file} is a run of another model or dataset: {reason}.") from None
        self._resumed = {name: run.get(name) for name in ("ids", "texts")}
        self.start_epoch = run["epoch"] + 1
        self.cur_step = run["cur_step"]
        self.best_valid_score = run["best_valid_score"]
        self.best_valid_result = run["best_valid_result"]
        self.train_loss_dict = run["train_loss"]
        stopped_early = self.cur_step > self.stopping_step
        self._finished = stopped_early or self.start_epoch >= self.epochs
        _restore_random_state(run["random"])
        self._restored_loader = run["loader"]
        _log.info(f"Resuming {self.saved_model_file} at epoch {self.start_epoch}.")
        if self.best_valid_result:
            _log.info(set_color("best valid so far", "blue") + f": {dict2str(self.best_valid_result)}")

    def _resume_by_setting(self) -> None:
        wanted = self.config["resume"]
        if wanted is True and not self._run_file.is_file():
            _log.info(f"There is no earlier run {self.saved_model_file} to resume: beginning it.")
        elif wanted:
            self.resume_checkpoint(self.saved_model_file if wanted is True else wanted)

    def _refuse_other_data(self, run: dict[str, Any]) -> None:
        if run["ids"] not in (None, self._ids):
            raise IRLLRecError(
                f"{self._run_file} is a run on data whose users or items have other ids: give the data set as it was, "
                f"or begin anew (resume: False)."
            )
        refuse_other_texts(self._run_file, run["texts"], self._texts_made)

    def _compare_settings(self, before: dict) -> None:
        now = config_to_plain(self.config)["settings"]
        changed = sorted(
            name for name in {*before, *now} - _FREE_SETTINGS if before.get(name) != now.get(name) and name != "epochs"
        )
        if changed:
            _log.warning(f"Resuming under other settings than the run began with: {', '.join(changed)}.")

    def _run_name(self) -> str:
        """A name that the same settings give again."""
        settings = {k: v for k, v in config_to_plain(self.config)["settings"].items() if k not in _FREE_SETTINGS}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
        return f"{self.config['model']}-{self.config['dataset']}-{digest[:12]}"


def _save(state: dict, path: str | Path) -> None:
    with atomic_write(path) as temporary:
        torch.save(state, temporary)


@contextlib.contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Sums in a fixed order, where the device knows how; the process's own choice comes back afterwards."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if wanted:
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _random_state() -> dict:
    """The states of all generators that training draws from, as plain data."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],  # negative sampling draws from it
        "python": [version, list(numbers), gauss],
    }


def _restore_random_state(state: dict) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
