"""Where RecBole follows what stands in files: checkpoints and saved data are read without running anything in them."""

import functools
import pickle
import sys
import types
from typing import Any, BinaryIO

import numpy as np
import torch


def read_checkpoints_safely(_utils: object) -> None:
    """RecBole's ``torch.load(file)`` fails since torch 2.6, and read pickles that can run code before.

    RecBole calls it in many modules, also after an ``import torch`` within a function, so only the caller tells: calls
    from RecBole's own modules are read by :func:`safe_loading.load`, all others go on to torch unchanged. Can go when
    RecBole's checkpoints are plain data.
    """
    original = torch.load

    @functools.wraps(original)
    def load(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith("recbole."):
            from .. import safe_loading  # not before: it stands on more of RecBole

            return safe_loading.load(*args, **kwargs)
        return original(*args, **kwargs)

    torch.load = load


def read_saved_data_safely(utils: Any) -> None:
    """RecBole unpickles a saved data set or loader wherever its settings, or its folder of checkpoints, have one.

    Only the name ``pickle`` in that one module changes. Can go when RecBole saves data otherwise.
    """

    def load(file: BinaryIO) -> Any:
        from .. import safe_loading

        return safe_loading.load_pickle(file)

    utils.pickle = types.SimpleNamespace(load=load, dump=pickle.dump)


def load_arrays_only(module: types.ModuleType) -> None:
    """LDiffRec unpickles ``item_emb.npy`` in the folder that the settings name, which a checkpoint brings along.

    Embeddings are plain numbers, which numpy reads without. Can go when RecBole drops ``allow_pickle``.
    """
    if not hasattr(module.np, "irllrec_reads_plain_arrays"):
        plain = types.ModuleType("numpy")
        plain.__dict__.update(vars(np))
        plain.load = lambda file, **_kwargs: np.load(file, allow_pickle=False)  # type: ignore[attr-defined]
        plain.irllrec_reads_plain_arrays = True  # type: ignore[attr-defined]
        module.np = plain  # type: ignore[attr-defined]
