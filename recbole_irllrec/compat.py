"""What RecBole 1.2.1 needs on current versions of torch, numpy and SciPy, and where it follows strings from files.

:func:`apply` is called on ``import recbole_irllrec``. Each mend is a function that says why it is here and until when.
"""

import difflib
import functools
import importlib
import importlib.util
import pickle
import re
import sys
import types
from pathlib import Path

import numpy as np
import recbole.config.configurator
import recbole.data.utils
import recbole.quick_start
import recbole.trainer
import recbole.utils.utils
import scipy.sparse
import torch

from . import safe_loading
from .errors import IRLLRecError

KINDS = ("general", "context_aware", "sequential", "knowledge_aware", "exlib")
# Models that import a package which RecBole does not install: the packages and how to get them.
EXTRAS = {
    "NCL": (["faiss"], 'pip install "recbole-irllrec[ncl]"'),
    # RecBole imports the two together.
    "XGBoost": (["xgboost", "lightgbm"], "pip install xgboost lightgbm"),
    "LightGBM": (["xgboost", "lightgbm"], "pip install xgboost lightgbm"),
    "KGAT": (["dgl"], "pip install dgl"),
    "KGIN": (["torch_scatter"], "pip install torch-scatter"),
    "MCCLK": (["torch_scatter"], "pip install torch-scatter"),
}


@functools.cache
def apply() -> None:
    """Mend RecBole in this process. A second call does nothing."""
    restore_numpy_aliases()
    restore_dok_update()
    read_checkpoints_safely()
    read_saved_data_safely()
    answer_for_models()


def restore_numpy_aliases() -> None:
    """Evaluation uses ``np.float`` and the like, which RecBole restores only when a ``Config`` is made.

    A model that is loaded in a fresh process makes none. Can go when RecBole no longer uses the aliases.
    """
    recbole.config.configurator.Config.compatibility_settings(None)


def restore_dok_update() -> None:
    """LightGCN, NGCF, GCMC, SpectralCF, NCL, KGIN and MCCLK fill their graph through ``dok_matrix._update``.

    SciPy has dropped it. Can go when RecBole builds its graphs otherwise.
    """
    if not hasattr(scipy.sparse.dok_matrix, "_update"):
        scipy.sparse.dok_matrix._update = lambda matrix, entries: matrix._dict.update(entries)


def read_checkpoints_safely() -> None:
    """RecBole's ``torch.load(file)`` fails since torch 2.6, and read pickles that can run code before.

    RecBole calls it in many modules, also after an ``import torch`` within a function, so only the caller tells: calls
    from RecBole's own modules are read by :func:`safe_loading.load`, all others go on to torch unchanged. Can go when
    RecBole's checkpoints are plain data.
    """
    original = torch.load

    @functools.wraps(original)
    def load(*args, **kwargs):
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith("recbole."):
            return safe_loading.load(*args, **kwargs)
        return original(*args, **kwargs)

    torch.load = load


def read_saved_data_safely() -> None:
    """RecBole unpickles a saved data set or loader wherever its settings, or its folder of checkpoints, have one.

    Only the name ``pickle`` in that one module changes. Can go when RecBole saves data otherwise.
    """
    recbole.data.utils.pickle = types.SimpleNamespace(load=safe_loading.load_pickle, dump=pickle.dump)


def answer_for_models() -> None:
    """RecBole answers for an unknown model with ``No module named 'lightgbm'``, for a missing extra in mid-training.

    ``get_model`` is imported by name in many of RecBole's modules; each gets ours. Can go when RecBole checks first.
    """
    original = vars(recbole.utils.utils)["get_model"]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "recbole" and vars(module).get("get_model") is original:
            vars(module)["get_model"] = get_model


def get_model(model_name: str) -> type:
    """RecBole's ``get_model``, which knows a model's name before it imports anything.

    Raises:
        IRLLRecError: there is no such model, or a package that it needs is not installed.
    """
    path = _find_model(model_name)
    if path is None:
        raise _unknown(model_name)
    packages, how = EXTRAS.get(model_name, ([], ""))
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        raise IRLLRecError(f"The model {model_name} needs the package {' and '.join(missing)}; install it with {how}.")
    module = sys.modules.get(path) or importlib.import_module(path)
    if not isinstance(getattr(module, model_name, None), type):
        raise _unknown(model_name)
    if model_name == "LDiffRec":
        _load_arrays_only(module)
    return getattr(module, model_name)


def _find_model(model_name: object) -> str | None:
    """The module in which RecBole would look for the model, if it is there; registered modules have no file."""
    if not isinstance(model_name, str) or not model_name.isidentifier():
        return None
    for kind in KINDS:
        path = f"recbole.model.{kind}_recommender.{model_name.lower()}"
        if path in sys.modules or (_folder(kind) / f"{model_name.lower()}.py").is_file():
            return path
    return None


def _folder(kind: str) -> Path:
    return Path(recbole.__file__).parent / "model" / f"{kind}_recommender"


def _unknown(model_name: object) -> IRLLRecError:
    lower = {name.lower(): name for name in model_names()}
    close = [lower[name] for name in difflib.get_close_matches(str(model_name).lower(), lower, cutoff=0.5)]
    hint = f"did you mean {' or '.join(close)}?" if close else "see RecBole's model list."
    return IRLLRecError(f"There is no model named {model_name!r}; {hint}")


def model_names() -> list[str]:
    """The names of all models, RecBole's and registered ones, found without importing any."""
    names = set()
    for kind in KINDS:
        for file in _folder(kind).glob("[a-z]*.py"):
            classes = re.findall(r"^class (\w+)\b", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            names |= {name for name in classes if name.lower() == file.stem}
        prefix = f"recbole.model.{kind}_recommender."
        for path, module in list(sys.modules.items()):
            if path.startswith(prefix):
                names |= {name for name in vars(module) if name.lower() == path.removeprefix(prefix)}
    return sorted(name for name in names if name[0].isupper())


def _load_arrays_only(module: types.ModuleType) -> None:
    """LDiffRec unpickles ``item_emb.npy`` in the folder that the settings name, which a checkpoint brings along.

    Embeddings are plain numbers, which numpy reads without. Can go when RecBole drops ``allow_pickle``.
    """
    if not hasattr(module.np, "irllrec_reads_plain_arrays"):
        plain = types.ModuleType("numpy")
        plain.__dict__.update(vars(np))
        plain.load = lambda file, **_kwargs: np.load(file, allow_pickle=False)  # type: ignore[attr-defined]
        plain.irllrec_reads_plain_arrays = True  # type: ignore[attr-defined]
        module.np = plain  # type: ignore[attr-defined]
