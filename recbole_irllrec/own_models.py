"""Models that users write: once registered, they are models like ours for every command."""

import importlib
import importlib.util
import os
import sys
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from pydantic import create_model

from . import zoo
from .errors import IRLLRecError
from .settings.schemas import AlignmentTerms, LightGCNSettings, Part

AnyClass = TypeVar("AnyClass", bound=type)

# Modules or files of Python, parted by commas, that register models; every process of a command imports them.
VARIABLE = "IRLLREC_MODELS"
# Where an installed package names such modules.
ENTRY_POINTS = "recbole_irllrec.models"


def register(model: AnyClass, **defaults: Any) -> AnyClass:
    """Make a model known to RecBole and to every command, by the name of its class.

    It has the settings of the model, encoder or general recommender that it is made from, those of the alignment if it
    wears it, and its own, which ``defaults`` names.

    Args:
        model: the class, a general recommender.
        **defaults: values of settings below the user's. One of its own takes values of its default's type, and is read
            as ``self.settings.<name>`` where the model is a `GraphEncoder`, otherwise from the ``config``.

    Returns:
        The class.

    Raises:
        IRLLRecError: it is no such class, or another model has that name.
    """
    # not before a model is registered: `load` is called while RecBole is imported
    from recbole.model.abstract_recommender import GeneralRecommender

    from . import compat
    from .model.encoder import GraphEncoder
    from .model.wearing import AlignedEncoder, AlignedRecommender

    name = model.__name__
    if not issubclass(model, GeneralRecommender):
        raise IRLLRecError(f"{name} is no general recommender: make it from IRLLRec, GraphEncoder or one of RecBole's.")
    known = zoo.find(name)
    if compat.find_model(name) if known is None else known.registered is None:
        raise IRLLRecError(f"There is a model named {name} already: give yours another name.")

    parent = _parent(model)
    recboles = parent.recboles if parent else _recboles(model)
    is_encoder, is_aligned = issubclass(model, GraphEncoder), issubclass(model, AlignedEncoder | AlignedRecommender)
    if parent:
        settings, inherits = parent.settings, (*parent.inherits, parent.name)
    elif is_encoder:
        settings, inherits = LightGCNSettings, ("IRLLRec",)
    else:
        settings, inherits = zoo.settings_of_recboles(recboles), ()
    if is_aligned and not issubclass(settings, AlignmentTerms):
        settings = zoo.with_alignment(name, settings)
    zoo.add(
        zoo.Model(
            name,
            f"{model.__module__}:{model.__qualname__}",
            _with_own(name, settings, defaults),
            inherits=inherits,
            recboles=recboles,
            defaults=defaults,
            preset=parent.preset if parent else "",
            gives_vectors=is_encoder and getattr(model, "full_sort_predict", None) is GraphEncoder.full_sort_predict,
            own_trainer=(is_encoder or is_aligned) and not zoo.has_recboles_trainer(recboles),
            scores_unseen=parent.scores_unseen if parent else is_encoder and is_aligned,
            ranks_in_blocks=is_encoder,
            registered=model,
        )
    )
    return model


def _parent(model: type) -> zoo.Model | None:
    """The model of ours, or of the user's, that it is made from."""
    for base in model.__mro__[1:]:
        known = zoo.find(base.__name__)
        if known and known.location.partition(":")[0] == base.__module__ and known.load() is base:
            return known
    return None


def _recboles(model: type) -> str | None:
    """The general recommender of RecBole that it is made from."""
    package = "recbole.model.general_recommender."
    return next((base.__name__ for base in model.__mro__[1:] if base.__module__.startswith(package)), None)


def _with_own(name: str, settings: type[Part], defaults: dict[str, Any]) -> type[Part]:
    """The settings, and those among the defaults that nobody knows."""
    from recbole.utils import argument_list as recboles

    lists = (
        recboles.general_arguments,
        recboles.training_arguments,
        recboles.evaluation_arguments,
        recboles.dataset_arguments,
    )
    known = {*settings.names(), *chain(*lists)}
    own = {key: (Any if value is None else type(value), ...) for key, value in defaults.items() if key not in known}
    return create_model(f"{name}Settings", __base__=settings, **own) if own else settings  # type: ignore[call-overload]


def load() -> None:
    """Import what the environment and the installed packages name.

    Raises:
        ImportError: a module is not there or fails; the sentence says which.
    """
    for entry in entry_points(group=ENTRY_POINTS):
        _import(entry.value, f"which the package {entry.dist.name if entry.dist else '?'} names")
    for name in _named():
        _import(name, f"which {VARIABLE} names")
    os.environ |= environment()  # for children that begin elsewhere


def expected() -> bool:
    """Whether there is something to `load`."""
    return bool(_named() or entry_points(group=ENTRY_POINTS))


def load_with(_config: object) -> None:
    """The same when ``recbole.config`` is imported, without which no model has its settings."""
    load()


def environment() -> dict[str, str]:
    """What a process in another folder needs in its environment to know the same models."""
    return {VARIABLE: ",".join(map(_absolute, _named()))} if _named() else {}


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if name.endswith(".py") else name


def _named() -> list[str]:
    return [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]


def _import(name: str, whence: str) -> None:
    try:
        if name.endswith(".py"):
            _import_file(Path(name).absolute())
        else:
            importlib.import_module(name)
    except Exception as error:
        raise ImportError(
            f"The models in {name}, {whence}, cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _import_file(path: Path) -> None:
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if path.stem in sys.modules or (main and Path(main).absolute() == path):
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
