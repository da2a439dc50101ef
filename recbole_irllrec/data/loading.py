"""RecBole's settings and data sets for commands that are not RecBole's own."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed

from ..settings.files import paths_in, settings_files, settings_in
from .dataset import IRLLRecDataset
from .dataset_folder import absent

DATA_PATH = Path("dataset")  # where RecBole looks by itself


def load_config(
    dataset: str,
    data_path: Path | None = None,
    config_files: str | None = None,
    settings: dict[str, Any] | None = None,
    model: str = "IRLLRec",
) -> Config:
    """The settings of a model on a data set, without this process's command line; its choice of GPUs stays as it is.

    Args:
        dataset: the data set's name.
        data_path: the folder that holds its folder; None as RecBole finds it.
        config_files: YAML files, as `paths_in` reads them;
            None for ``<dataset>.yaml`` in the data set's folder, if it is there.
        settings: lie above those of the files.
        model: the model's name.

    Raises:
        IRLLRecError: a setting is refused, or a file holds something else than settings.
        FileNotFoundError: a file is not there.
    """
    files = settings_files(_paths(dataset, data_path, config_files))
    if config_files is None:
        above = {"data_path": str(data_path or DATA_PATH)}  # whatever the file says of where it lies
    else:
        above = {} if data_path is None else {"data_path": str(data_path)}
    with _no_arguments(), _kept_environment():
        # RecBole evaluates strings of a dictionary as Python: what stands in a file must come to it as a file.
        config = Config(model, dataset, files, {**above, **(settings or {})})
    if data_path is not None:
        config["data_path"] = str(data_path / dataset)  # RecBole takes its own ml-100k whatever is said
    return config


def setting_in_files(name: str, dataset: str, data_path: Path | None, config_files: str | None) -> Any:
    """What the files that `load_config` reads say of a setting; None if nothing. Arguments and errors are its own."""
    found = [settings_in(path).get(name) for path in _paths(dataset, data_path, config_files)]
    return next((value for value in reversed(found) if value is not None), None)


def _paths(dataset: str, data_path: Path | None, config_files: str | None) -> list[Path]:
    if config_files is not None:
        return paths_in(config_files)
    own = (data_path or DATA_PATH) / dataset / f"{dataset}.yaml"
    return [own] if own.is_file() else []


def refuse_absent(config: Config) -> None:
    """Refuse a data set without a folder.

    Raises:
        IRLLRecError: that is so.
    """
    if not Path(config["data_path"]).is_dir():
        raise absent(config["data_path"])


def split_datasets(config: Config) -> tuple[IRLLRecDataset, IRLLRecDataset, IRLLRecDataset]:
    """The training, validation and test data sets, the same as of a run with these settings; they share their ids."""
    return tuple(seeded_dataset(config).build())


def seeded_dataset(config: Config, kind: Callable[[Config], Any] = create_dataset) -> Any:
    """A data set of this kind whose ``build()`` draws the same split as a run with these settings."""
    init_seed(config["seed"], config["reproducibility"])
    return kind(config)


@contextlib.contextmanager
def _no_arguments() -> Iterator[None]:
    """RecBole's ``Config`` takes every ``--key=value`` of ``sys.argv`` for a setting; a command's options are none."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments


@contextlib.contextmanager
def _kept_environment() -> Iterator[None]:
    """RecBole's ``Config`` sets ``CUDA_VISIBLE_DEVICES``, by which Ray counts the machine's GPUs."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
