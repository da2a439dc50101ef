"""Checkpoints, saved data sets and saved data loaders, read so that nothing in them can run.

RecBole's files are pickles that hold its ``Config``. They are read by :mod:`recbole_irllrec.inert_pickle`, which makes
plain data only; the ``Config`` is put together afterwards, from its checked settings and without its constructor,
which evaluates strings.
"""

import enum
import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, BinaryIO

import numpy as np
import torch
from recbole.config import Config

from . import inert_pickle
from .errors import IRLLRecError
from .files import open_to_read

# Settings are a page of text; a file that nests references to blow them up stops here.
MOST_VALUES = 1_000_000
# `KD_DAGFM` evaluates the name of its teacher, so a file may ask for the two that RecBole has and for nothing else.
TEACHERS = ("CrossNet", "CIN")


class UnsafeFileError(IRLLRecError):
    """The file was not loaded, because it asks for more than plain data, or because it is damaged or of another kind.

    The message is one sentence: the file, what was found in it, what to do.
    """


def load(path_or_file: str | os.PathLike | BinaryIO, map_location: Any = None) -> Any:
    """Read a checkpoint as RecBole's own code expects it: ``checkpoint["config"]`` is a ``Config``.

    Its device is one of this machine. A checkpoint of a model that RecBole does not know has no ``model_class``.

    Args:
        path_or_file: the file, in the format of ``torch.save``, or a binary file open for reading.
        map_location: where to put the tensors, as in ``torch.load``; without it, where they were if this machine has
            such a device, and on the CPU otherwise.

    Raises:
        UnsafeFileError: the file holds more than plain data, or is damaged, or is no such file.
        IRLLRecError: there is no such file.
    """
    checkpoint = _read(path_or_file, lambda file: inert_pickle.read(file, map_location))
    if _has_plain_config(checkpoint):
        with _refusing(path_or_file):
            checkpoint["config"] = config_from_plain(checkpoint["config"])
    return checkpoint


def load_data(path_or_file: str | os.PathLike | BinaryIO, map_location: Any = None) -> Any:
    """Read a checkpoint as data: ``checkpoint["config"]`` is what :func:`config_to_plain` gives.

    Arguments and errors are those of :func:`load`.
    """
    checkpoint = _read(path_or_file, lambda file: inert_pickle.read(file, map_location))
    if type(checkpoint) is dict and type(checkpoint.get("config")) is Config:
        checkpoint["config"] = config_to_plain(checkpoint["config"])
    elif _has_plain_config(checkpoint):
        with _refusing(path_or_file):
            _settings_from_plain(checkpoint["config"])
    return checkpoint


def load_pickle(file: BinaryIO) -> Any:
    """Read a saved data set or saved data loaders, as ``pickle.load`` does.

    Raises:
        UnsafeFileError: the file holds more than plain data, or is damaged, or is no such file.
    """
    return _read(file, inert_pickle.read_pickle)


def load_arrays(path: str | os.PathLike) -> Any:
    """Read a pickled numpy array or scipy sparse matrix of anybody's: no other name than theirs is admitted.

    Raises:
        UnsafeFileError: the file holds more than arrays, or is damaged, or is no pickle.
        IRLLRecError: there is no such file.
    """
    return _read(path, lambda file: inert_pickle.read_pickle(file, inert_pickle.ARRAY_NAMES), "array")


def config_to_plain(config: Config) -> dict[str, Any]:
    """The settings of a ``Config`` as plain data, for a checkpoint that ``torch.load(weights_only=True)`` reads.

    Raises:
        IRLLRecError: a setting is no plain value.
    """
    settings = {name: _encode(value, name) for name, value in config.final_config_dict.items() if name != "device"}
    settings["device"] = str(config["device"])
    return {"model": config["model"], "dataset": config["dataset"], "settings": settings}


def config_from_plain(plain: dict[str, Any]) -> Config:
    """The ``Config`` of which :func:`config_to_plain` made the settings, with a device of this machine.

    Raises:
        IRLLRecError: these are not the settings of a ``Config``.
    """
    config = Config.__new__(Config)
    _complete(config, _settings_from_plain(plain))
    return config


# --- Reading. -------------------------------------------------------------------------------------------------------


def _name(path_or_file: Any) -> str:
    name = path_or_file if isinstance(path_or_file, str | os.PathLike) else getattr(path_or_file, "name", None)
    return os.fspath(name) if isinstance(name, str | os.PathLike) else "the file"


class _refusing:
    """Turn whatever goes wrong while a file is read into one sentence about it."""

    def __init__(self, path_or_file: Any, kind: str = "file of RecBole's"):
        self.name = _name(path_or_file)
        self.kind = kind

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, _trace: Any) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, UnsafeFileError):
            return
        if isinstance(error, inert_pickle.Refused):
            raise UnsafeFileError(
                f"{self.name} was not loaded: it holds {error}, which no {self.kind} needs and which may run code; "
                "load only what was saved by a program that you trust."
            ) from error
        found = str(error) if isinstance(error, inert_pickle.Damaged | IRLLRecError) else "its content makes no sense"
        raise UnsafeFileError(
            f"{self.name} was not loaded: {found.rstrip('.')}, so it is damaged or is no {self.kind}; save it anew."
        ) from error


def _read(path_or_file: Any, read: Callable[[BinaryIO], Any], kind: str = "file of RecBole's") -> Any:
    is_path = isinstance(path_or_file, str | os.PathLike)
    opened = open_to_read(path_or_file) if is_path else nullcontext(path_or_file)
    with _refusing(path_or_file, kind), opened as file:
        return read(file)


def _has_plain_config(checkpoint: Any) -> bool:
    return type(checkpoint) is dict and type(checkpoint.get("config")) is dict


# --- Settings. ------------------------------------------------------------------------------------------------------


def _fill_config(config: Config, state: dict[str, Any]) -> None:
    """Complete the empty ``Config`` of a file from the settings in it."""
    settings = state.get("final_config_dict")
    inert_pickle.require(type(settings) is dict, "a Config without settings")
    _complete(config, settings)  # type: ignore[arg-type]


inert_pickle.CLASSES["recbole.config.configurator.Config"] = Config
inert_pickle.FILLERS[Config] = _fill_config
inert_pickle.REPLACED[Config] = ("model_class", "yaml_loader")


def _complete(config: Config, settings: dict[str, Any]) -> None:
    """Do what ``Config.__init__`` does, without what evaluates strings, reads files or sets up devices."""
    from recbole.utils import get_model  # Ours, once compat has run.

    _check_settings(settings)
    config.compatibility_settings()
    config._init_parameters_category()
    config.yaml_loader = config._build_yaml_loader()
    for origin in ("file", "variable", "cmd", "internal", "external"):
        setattr(config, f"{origin}_config_dict", {})
    config.final_config_dict = settings
    config.model, config.dataset = settings["model"], settings["dataset"]
    try:
        config.model_class = get_model(config.model)
    except (ValueError, ImportError, AttributeError):
        # A class that the user gave to RecBole, or a model whose extra is missing here: its weights can be read.
        config.model_class = None
    settings["device"] = _device_here(settings["device"])
    if not torch.distributed.is_initialized():
        # Saved by one of several processes, read by a single one.
        settings["single_spec"], settings["local_rank"] = True, 0


def _device_here(device: Any) -> torch.device:
    """The device if this machine has it."""
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_available():
        return device if (device.index or 0) < torch.cuda.device_count() else torch.device("cuda")
    return torch.device("cpu")


def _check_values(settings: Any) -> None:
    """Refuse settings that are no plain values, or that are without end."""
    left = MOST_VALUES
    todo: list[Any] = [settings]
    while todo:
        value = todo.pop()
        left -= 1
        inert_pickle.require(left > 0, "settings without end")
        if type(value) is dict:
            todo += [*value, *value.values()]
        elif type(value) in (list, tuple, set, frozenset):
            todo += value
        else:
            plain = type(value) in inert_pickle.KEYS or type(value) in (torch.device, np.ndarray)
            inert_pickle.require(plain, f"a setting that is a {type(value).__name__}")


def _check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings that are no plain values, or that RecBole would evaluate, import or follow out of its folders."""
    _check_values(settings)
    inert_pickle.require(all(type(name) is str for name in settings), "a setting without a name")
    model, dataset, teacher = (settings.get(name) for name in ("model", "dataset", "teacher"))
    inert_pickle.require(type(model) is str and model.isidentifier(), "a model name that is none")
    named = type(dataset) is str and re.fullmatch(r"[^/\\\x00]+", dataset) and dataset not in (".", "..")
    inert_pickle.require(bool(named), "a data set name that is none")
    inert_pickle.require(type(settings.get("device")) in (str, torch.device), "no device")
    if model == "KD_DAGFM":
        inert_pickle.require(type(teacher) is str and teacher in TEACHERS, "a teacher that RecBole would evaluate")


def _encode(value: Any, name: str) -> Any:
    """A setting as plain data; the inverse of :func:`_decode`."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return type(value)(_encode(item, name) for item in value)
    if type(value) in (set, frozenset):
        return {f"__{type(value).__name__}__": [_encode(item, name) for item in value]}
    if type(value) is dict and not any(type(key) is str and key.startswith("__") for key in value):
        return {_encode(key, name): _encode(item, name) for key, item in value.items()}
    if isinstance(value, enum.Enum) and type(value) in inert_pickle.ENUMS.values():
        return {"__enum__": f"{type(value).__name__}.{value.name}"}
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return value.item()
    raise IRLLRecError(
        f"The setting {name} cannot be saved, because it holds a {type(value).__name__}; use numbers, texts, lists "
        "and dictionaries."
    )


def _decode(value: Any) -> Any:
    if type(value) in (list, tuple):
        return type(value)(map(_decode, value))
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((key, content),) = value.items()
        if key == "__enum__":
            kind, _, member = content.partition(".")
            return inert_pickle.ENUMS[kind].__members__[member]
        if key in ("__set__", "__frozenset__"):
            return (set if key == "__set__" else frozenset)(map(_decode, content))
    return {key: _decode(item) for key, item in value.items()}


def _settings_from_plain(plain: dict[str, Any]) -> dict[str, Any]:
    try:
        _check_values(plain)
        settings = _decode(plain["settings"])
        settings["device"] = torch.device(settings["device"])
        _check_settings(settings)
        same = settings["model"] == plain["model"] and settings["dataset"] == plain["dataset"]
    except (
        inert_pickle.Refused,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise IRLLRecError(
            "These are not the settings of a model, because they are incomplete or hold more than plain values; use "
            "what config_to_plain gave."
        ) from error
    if not same:
        raise IRLLRecError("These settings name two models or two data sets; use what config_to_plain gave.")
    return settings
