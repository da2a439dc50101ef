"""A checkpoint made ready to score: the model, without its texts, and the data set whose ids it speaks."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType, get_model
from scipy.sparse import csr_matrix

from . import zoo
from .data.features import ids_fingerprint
from .data.loading import split_datasets
from .data.new_rows import interactions, new_items
from .data.text import refuse_other_texts
from .errors import IRLLRecError
from .extending import Extended, extend
from .model.linear import binary
from .safe_loading import load
from .scorer import Scorer

# Models of these kinds score with users' and items' ids alone.
_SCORES_IDS = (ModelType.GENERAL, ModelType.TRADITIONAL, ModelType.KNOWLEDGE)


class Served(Scorer):
    """A trained model that was loaded with its data set."""

    def extend(self, items: pd.DataFrame | None = None, histories: pd.DataFrame | None = None) -> Extended:
        """The same model, which also knows new items, and users by new or grown histories, without training.

        Args:
            items: a row an item that the data set does not have; the model must have its texts (``serve(...,
                texts=True)``). See `data.new_rows.new_items`.
            histories: a row an interaction. See `data.new_rows.interactions`.

        Raises:
            IRLLRecError: a frame is refused, or the model cannot do it; see `extending.extend`.
        """
        return extend(
            self,
            None if items is None else new_items(items, self.config),
            None if histories is None else interactions(histories, self.config),
        )


def serve(
    path: str | os.PathLike[str],
    device: str | None = None,
    data_path: str | os.PathLike[str] | None = None,
    vectors: bool = False,
    texts: bool = False,
    histories: bool = False,
) -> Served:
    """Load a checkpoint and its data set for scoring.

    Texts are read where that is asked for, or where vectors of items depend on them that the checkpoint does not hold.

    Args:
        path: what ``run_recbole`` saved, of IRLLRec or of another model that scores all items for a user's id.
        device: where to score, as torch names it; None for where the model was trained if this machine has that.
        data_path: the folder that holds the data set's folder; None for where it was in training.
        vectors: whether the model is to have vectors to give away, whose products are scores, but for a linear part.
        texts: whether the model is to have its texts, as new items need them (`extending.extend`).
        histories: whether it is to be extended by histories, whose items may be known by their texts alone.

    Returns:
        The model in evaluation mode, and its data set split as in training.

    Raises:
        IRLLRecError: the file is no checkpoint, or of a model that cannot be served; or the data set is not there or
            is not the one that the model was trained on.
    """
    checkpoint = read_checkpoint(path, device)
    config = checkpoint["config"]
    ours = zoo.find(config["model"])
    if vectors and not (ours and ours.gives_vectors):
        raise IRLLRecError(
            f"{path} is a checkpoint of {config['model']}, whose scores are not known to be products of vectors: give "
            f"one of {' or '.join(model.name for model in zoo.models() if model.gives_vectors)}."
        )
    model_class = get_model(config["model"])
    if not scores_all_items(model_class):
        raise IRLLRecError(
            f"{path} is a checkpoint of {config['model']}, which cannot score all items for a user's id: use a general "
            f"recommender such as IRLLRec or LightGCN."
        )
    _prepare(config, path, data_path)
    parts = split_datasets(config)
    train = parts[0]
    if not (texts or _needs_texts(checkpoint, histories)):
        _leave_texts(config)
    user_tokens, item_tokens = (
        train.field2id_token[field].astype(object) for field in (train.uid_field, train.iid_field)
    )
    _refuse_other_ids(path, checkpoint, train, ids_fingerprint(user_tokens, item_tokens))
    model = model_class(config, train).to(config["device"]).eval()
    refuse_other_texts(path, checkpoint.get("texts"), getattr(model, "texts_made", {}))
    _fill(model, checkpoint, path, train)
    return Served(config, model, train, user_tokens, item_tokens, _pairs(parts[:1]), _pairs(parts))


def scores_all_items(model_class: type[AbstractRecommender]) -> bool:
    """Whether a model of this class can score all items for a user's id, and so be served."""
    general = AbstractRecommender.full_sort_predict
    return model_class.type in _SCORES_IDS and model_class.full_sort_predict is not general


def read_checkpoint(path: str | os.PathLike[str], device: str | None = None) -> dict[str, Any]:
    """A checkpoint's content, its settings (a ``Config``) with the device that was asked for.

    Raises:
        IRLLRecError: the file is not there or is no checkpoint, or this machine lacks the device.
    """
    wanted = None if device is None else _device(device)
    checkpoint = load(path, map_location=wanted)
    if type(checkpoint) is not dict or type(checkpoint.get("config")) is not Config or "state_dict" not in checkpoint:
        raise IRLLRecError(f"{path} is no checkpoint of a model: give a file that run_recbole saved, saved/NAME.pth.")
    if "random" in checkpoint:
        best = str(path).replace(".resume.pth", ".pth")
        raise IRLLRecError(f"{path} is the state of a run to resume, not its best epoch: give {best}.")
    if wanted is not None:
        checkpoint["config"]["device"] = wanted
    return checkpoint


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise IRLLRecError(f"The device {name} cannot be used here ({reason}): use cpu.") from None
    return device


def _prepare(config: Config, path: str | os.PathLike[str], data_path: str | os.PathLike[str] | None) -> None:
    """Adapt the settings of training to serving."""
    if data_path is not None:
        config["data_path"] = str(Path(data_path) / config["dataset"])
    if not Path(config["data_path"]).is_dir():  # RecBole would download it
        raise IRLLRecError(
            f"The data set {config['dataset']} of {path} is not in {config['data_path']}: name the folder "
            f"that holds its folder (--data-path)."
        )
    config["checkpoint_dir"] = str(Path(path).parent)  # where the cached texts of training are
    config["save_dataset"] = config["save_dataloaders"] = False


def _needs_texts(checkpoint: dict[str, Any], histories: bool) -> bool:
    """Whether there are vectors to be made of texts."""
    config, kept = checkpoint["config"], checkpoint.get("other_parameter") or {}
    unseen = config["unseen_items"] == "text"
    is_made = kept.get("restore_item_e") is not None  # by a validation
    return bool(unseen and histories) or bool((unseen or config["text_evidence"]) and not is_made)


def _leave_texts(config: Config) -> None:
    if ours := zoo.find(config["model"]):
        for name, value in ours.settings.without_text().items():
            config[name] = value


def _refuse_other_ids(path: str | os.PathLike[str], checkpoint: dict[str, Any], train: Dataset, ids: str) -> None:
    """Refuse a data set whose tokens have other ids than in training, where the checkpoint says so."""
    if checkpoint.get("ids") not in (None, ids):
        raise _changed(path, train, "its users or items have other ids")


def _fill(model: AbstractRecommender, checkpoint: dict[str, Any], path: str | os.PathLike[str], train: Dataset) -> None:
    """Give the model its weights; those of a text side that was not built are left."""
    state = checkpoint["state_dict"]
    try:
        if zoo.find(checkpoint["config"]["model"]):
            state = {name: state[name] for name in model.state_dict()}
        model.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError) as error:
        raise _changed(path, train, " ".join(str(error).split())) from None
    model.load_other_parameter(checkpoint.get("other_parameter"))


def _changed(path: str | os.PathLike[str], train: Dataset, reason: str) -> IRLLRecError:
    return IRLLRecError(
        f"{path} does not fit the data set in {train.dataset_path} ({train.user_num - 1} users, {train.item_num - 1} "
        f"items), which has changed since training: {reason.rstrip('.')}; train again, or restore that data set."
    )


def _pairs(parts: Sequence[Dataset]) -> csr_matrix:
    """The interactions of data sets that share their ids: [n_users, n_items], 1 where there is any."""
    first = parts[0]
    users, items = (
        np.concatenate([np.asarray(part.inter_feat[field]) for part in parts])
        for field in (first.uid_field, first.iid_field)
    )
    return binary(csr_matrix((np.ones(len(users), np.float32), (users, items)), (first.user_num, first.item_num)))
