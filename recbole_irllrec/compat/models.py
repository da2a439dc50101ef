"""Models by their names: RecBole answers for an unknown one with a riddle, for a missing extra in mid-training."""

import difflib
import importlib
import importlib.util
import re
import sys
from typing import Any

from .. import recboles, zoo
from ..errors import IRLLRecError

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


def answer_for_models(utils: Any) -> None:
    """RecBole answers for an unknown model with ``No module named 'lightgbm'``, for a missing extra in mid-training.

    ``get_model`` is imported by name in many of RecBole's modules; each that is there gets ours. Can go
    when RecBole checks first.
    """
    original = utils.get_model
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "recbole" and vars(module).get("get_model") is original:
            vars(module)["get_model"] = get_model


def get_model(model_name: str) -> type:
    """RecBole's ``get_model`` for its models and ours, which knows a model's name before it imports anything.

    Raises:
        IRLLRecError: there is no such model, or a package that it needs is not installed.
    """
    import recbole.config  # noqa: F401  (by then models of the user's own are known)

    if ours := zoo.find(model_name):
        if ours.recboles and ours.is_recboles:
            get_model(ours.recboles)
        return ours.load()
    path = find_model(model_name)
    if path is None:
        raise unknown(model_name)
    packages, how = EXTRAS.get(model_name, ([], ""))
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        raise IRLLRecError(f"The model {model_name} needs the package {' and '.join(missing)}; install it with {how}.")
    module = sys.modules.get(path) or importlib.import_module(path)
    if not isinstance(getattr(module, model_name, None), type):
        raise unknown(model_name)
    if model_name == "LDiffRec":
        from .files import load_arrays_only

        load_arrays_only(module)
    return getattr(module, model_name)


def look_for_no_anomalies(_sine: object) -> None:
    """RecBole's SINE, and so whatever imports a sequential model, has torch look for anomalies from then on.

    Every operation in the process then keeps its stack: an epoch of IRLLRec on ml-100k takes half as long again. Can
    go when RecBole does not.
    """
    import torch

    torch.autograd.set_detect_anomaly(False)


def find_model(model_name: object) -> str | None:
    """The module in which RecBole would look for the model, if it is there; registered modules have no file."""
    if not isinstance(model_name, str) or not model_name.isidentifier():
        return None
    return next(filter(None, (recboles.module_of(kind, model_name) for kind in KINDS)), None)


def unknown(model_name: object) -> IRLLRecError:
    """What is said of a name that no model has."""
    lower = {name.lower(): name for name in model_names()}
    close = [lower[name] for name in difflib.get_close_matches(str(model_name).lower(), lower, cutoff=0.5)]
    hint = f"did you mean {' or '.join(close)}?" if close else "see RecBole's model list."
    return IRLLRecError(f"There is no model named {model_name!r}; {hint}")


def model_names() -> list[str]:
    """The names of all models, RecBole's, registered ones and ours, found without importing any."""
    names = {model.name for model in zoo.models()}
    for kind in KINDS:
        for file in recboles.models_of(kind):
            classes = re.findall(r"^class (\w+)\b", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            names |= {name for name in classes if name.lower() == file.stem}
        prefix = f"recbole.model.{kind}_recommender."
        for path, module in list(sys.modules.items()):
            if path.startswith(prefix):
                names |= {name for name in vars(module) if name.lower() == path.removeprefix(prefix)}
    return sorted(name for name in names if name[0].isupper())
