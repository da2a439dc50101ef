"""RecBole's settings and data sets for commands that are not RecBole's own."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed

from ..errors import IRLLRecError
from .dataset import IRLLRecDataset


def load_config(
    dataset: str,
    data_path: Path | None = None,
    config_files: str | None = None,
    settings: dict[str, Any] | None = None,
    model: str = "IRLLRec",
) -> Config:
    """The settings of a model on a data set, without this process's command line.

    Args:
        dataset: the data set's name.
        data_path: the folder that holds its folder; None as RecBole finds it.
        config_files: YAML files, parted by spaces;
            None for ``<dataset>.yaml`` in the data set's folder, if it is there.
        settings: lie above those of the files.
        model: the model's name.

    Raises:
        IRLLRecError: a setting is refused, or that file is no YAML.
        FileNotFoundError: a file is not there.
    """
    above = _own_settings(dataset, data_path) if config_files is None else {}
    if data_path is not None:
        above["data_path"] = str(data_path)
    with _no_arguments():
        config = Config(model, dataset, (config_files or "").split(), {**above, **(settings or {})})
    if data_path is not None:
        config["data_path"] = str(data_path / dataset)  # RecBole takes its own ml-100k whatever is said
    return config


def setting_in_files(name: str, dataset: str, data_path: Path | None, config_files: str | None) -> Any:
    """What the files that `load_config` reads say of a setting; None if nothing.

    Raises:
        IRLLRecError: a file is no YAML.
        FileNotFoundError: a file is not there.
    """
    if config_files is None:
        return _own_settings(dataset, data_path).get(name)
    return next(filter(None, (_read(Path(path)).get(name) for path in reversed(config_files.split()))), None)


def split_datasets(config: Config) -> tuple[IRLLRecDataset, IRLLRecDataset, IRLLRecDataset]:
    """The training, validation and test data sets, the same as of a run with these settings; they share their ids."""
    init_seed(config["seed"], config["reproducibility"])  # RecBole draws the split with it
    return tuple(create_dataset(config).build())  # type: ignore[return-value]


def _own_settings(dataset: str, data_path: Path | None) -> dict[str, Any]:
    """What ``<dataset>.yaml`` in a data set's folder says, without where that lies; nothing if there is no such file.

    Raises:
        IRLLRecError: the file is no YAML.
    """
    path = (data_path or Path("dataset")) / dataset / f"{dataset}.yaml"
    if not path.is_file():
        return {}
    return {name: value for name, value in _read(path).items() if name != "data_path"}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise IRLLRecError(f"{path} holds no settings in YAML: mend or delete it.")
    return found


@contextlib.contextmanager
def _no_arguments() -> Iterator[None]:
    """RecBole's ``Config`` takes every ``--key=value`` of ``sys.argv`` for a setting; a command's options are none."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments
