"""A model that begins with what an earlier one has learnt, on a data set that has grown since."""

import logging
import os
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .errors import IRLLRecError
from .safe_loading import load_data

_log = logging.getLogger(__name__)


def tokens_of(dataset: Any) -> dict[str, str]:
    """The tokens of a data set's users and items in the order of their ids, as a checkpoint keeps them."""
    fields = {"user": dataset.uid_field, "item": dataset.iid_field}
    return {side: "\n".join(dataset.field2id_token[field]) for side, field in fields.items()}


@torch.no_grad()
def begin(model: Any, path: str | os.PathLike[str], dataset: Any) -> None:
    """Give a new model the parameters of a checkpoint: the rows of users and items by their tokens, the rest as it is.

    New items begin with what their texts say, where the model maps texts to embeddings, and new users with what their
    histories say, where the model folds in; else as they were made.

    Args:
        model: made for the data set.
        path: the checkpoint, ``saved/NAME.pth``.
        dataset: the training data set.

    Raises:
        IRLLRecError: the file is no checkpoint of this kind of model, or shares no user or no item with the data set.
    """
    if not os.path.isfile(path):
        raise IRLLRecError(f"The setting warm_start names {path}, which is no file: give a checkpoint, saved/NAME.pth.")
    state = load_data(path, map_location="cpu")
    if type(state) is not dict or "state_dict" not in state or not isinstance(state.get("tokens"), dict):
        raise IRLLRecError(
            f"{path} does not say which users and items it is of, as those of an earlier release and of RecBole's "
            f"trainer do not: train once from nothing, and begin from that checkpoint."
        )
    before = {side: state["tokens"][side].split("\n") for side in ("user", "item")}
    now = {side: told.split("\n") for side, told in tokens_of(dataset).items()}
    rows = {side: _rows(now[side], before[side], path, side) for side in now}
    begun: dict[str, Tensor] = {}
    for name, parameter in model.state_dict().items():
        side = next((side for side in rows if side in name), "user")
        if (given := state["state_dict"].get(name)) is not None:
            found = _begun(parameter, given, rows[side], len(before[side]))
            begun |= {} if found is None else {name: found}
    left = [name for name in model.state_dict() if name not in begun]
    tables = [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)]
    # without any, what it knows lies in all of its parameters
    if not {*(tables or (name for name, _ in model.named_parameters()))} <= begun.keys():
        raise IRLLRecError(
            f"{path} has no {'embeddings' if tables else 'parameters'} that fit this model: begin from a checkpoint of "
            f"{type(model).__name__} with the same {'embedding_size' if tables else 'settings and texts'}."
        )
    model.load_state_dict(begun, strict=False)
    new = {side: np.flatnonzero(of < 0) for side, of in rows.items()}
    if hasattr(model, "begin_new"):
        model.begin_new(new["user"] - 1, new["item"] - 1)
    model.train()
    _log.info(
        f"Beginning from {path}: {(rows['user'] > 0).sum()} users and {(rows['item'] > 0).sum()} items are its own, "
        f"{len(new['user'])} users and {len(new['item'])} items are new"
        + (f"; {', '.join(left)} begin anew." if left else ".")
    )


def _rows(now: list[str], before: list[str], path: str | os.PathLike[str], side: str) -> np.ndarray:
    """[n] each token's row in the checkpoint, the padding's first; -1 where it has none."""
    rows = pd.Index(before).get_indexer(pd.Index(now))
    if not (rows[1:] > 0).any():
        raise IRLLRecError(
            f"{path} shares no {side} with the data set, whose first {side} is {now[1]!r} and the checkpoint's "
            f"{before[1]!r}: begin from a checkpoint of this data set as it was before."
        )
    return rows


def _begun(parameter: Tensor, given: Tensor, rows: np.ndarray, n_before: int) -> Tensor | None:
    """What a parameter begins with: a row each where it has rows of users or items; None if nothing fits."""
    if parameter.dim() and given.shape[1:] == parameter.shape[1:]:
        for padding in (0, 1):  # rows it lacks
            if (len(given), len(parameter)) == (n_before - padding, len(rows) - padding):
                own = rows[padding:] - padding
                known = torch.from_numpy(own >= 0)
                found = parameter.clone()
                found[known] = given[torch.from_numpy(own[own >= 0])].to(parameter)
                return found
    return given if given.shape == parameter.shape else None
