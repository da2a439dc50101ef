"""Loading a data set: what goes wrong is said in one sentence, and every id is one.

The sentences are those of ``tables/atomic_file.py`` and ``data/dataset_folder.py``; here is where RecBole meets them.
"""

import contextlib
import copy
import functools
import os
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from recbole.utils import FeatureSource

from ..data import dataset_folder
from ..errors import IRLLRecError
from ..tables import atomic_file

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

# Each filter of `Dataset._data_filtering`, in its order, and the settings that ask for it.
_FILTERS: dict[str, tuple[str, ...]] = {
    "_filter_nan_user_or_item": (),
    "_remove_duplication": ("rm_dup_inter",),
    "_filter_by_field_value": ("val_interval",),
    "_filter_inter_by_user_or_item": ("filter_inter_by_user_or_item",),
    "_filter_by_inter_num": ("user_inter_num_interval", "item_inter_num_interval"),
}
_PARTS = 3  # training, validation and test


def read_every_id(datasets: Any) -> None:
    """RecBole reads a user or item named ``NA``, ``null`` or ``None`` as none, and drops its rows or makes it padding.

    pandas takes these words for missing values. That is right for numbers; of words only the empty one is missing.
    Only the name ``pd`` in that one module changes. Can go when RecBole says so to pandas.
    """
    reader = datasets.dataset
    original = reader.pd.read_csv

    @functools.wraps(original)
    def read_csv(*args: Any, dtype: Mapping[str, type], **kwargs: Any) -> pd.DataFrame:
        missing = {name: atomic_file.MISSING if "float" in name.rpartition(":")[2] else [""] for name in dtype}
        return original(*args, dtype=dtype, na_values=missing, keep_default_na=False, **kwargs)

    reader.pd = _like(reader.pd, read_csv=read_csv)


def answer_for_data_sets(datasets: Any) -> None:
    """RecBole answers for what it cannot load with tracebacks and riddles, or not at all.

    Whatever its data sets raise while they load or split becomes an ``IRLLRecError``. Can go when RecBole checks.
    """
    base = datasets.Dataset
    base._load_feat = _checked(base._load_feat)
    base._load_data = _with_its_files(base._load_data)
    base._download = _with_reasons(base._download)
    for kind in (base, *_below(base)):
        for name in ("_from_scratch", "build"):
            if name in vars(kind):
                setattr(kind, name, _answering(vars(kind)[name]))


def answer_for_checkpoints(trainers: Any) -> None:
    """RecBole answers for a checkpoint of another model or data set with the traceback of torch.

    Can go when RecBole checks.
    """
    trainers.Trainer.resume_checkpoint = _fitting(trainers.Trainer.resume_checkpoint)


def answer_for_loading(quick_start: Any) -> None:
    """The same where ``load_data_and_model`` loads one."""
    for module in (quick_start, quick_start.quick_start):
        module.load_data_and_model = _fitting(module.load_data_and_model)


def _like(module: types.ModuleType, **others: Any) -> types.ModuleType:
    """A module with some other names in place of its own."""
    changed = types.ModuleType(module.__name__)
    changed.__dict__.update({**vars(module), **others})
    return changed


def _below(kind: type) -> Iterator[type]:
    child: type
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


# ---- files -----------------------------------------------------------------------------------------------------------


def _with_its_files(original: Callable) -> Callable:
    @functools.wraps(original)
    def _load_data(self: "Dataset", token: str, dataset_path: str) -> None:
        if os.path.exists(dataset_path):
            dataset_folder.refuse_missing(self.config, Path(dataset_path), token)
        original(self, token, dataset_path)
        if len(self.inter_feat) == 0:
            files = ", ".join(map(str, dataset_folder.interaction_files(self.config, Path(dataset_path), token)))
            raise IRLLRecError(f"{files} has no interactions below its first line: fill it, or make it again.")

    return _load_data


def _checked(original: Callable) -> Callable:
    @functools.wraps(original)
    def _load_feat(self: "Dataset", filepath: str, source: FeatureSource | str) -> pd.DataFrame | None:
        load_col, unload_col = self._get_load_and_unload_col(source)
        suffix = source.value if isinstance(source, FeatureSource) else source
        if load_col == set() and suffix != "inter":
            return original(self, filepath, source)  # which reads nothing
        config = self.config
        separator, encoding = config["field_separator"], config["encoding"]
        columns = atomic_file.checked_columns(filepath, separator, encoding)
        loaded = {
            name: kind
            for name, kind in columns.items()
            if (load_col is None or name in load_col) and name not in (unload_col or ())
        }
        dataset_folder.refuse_columns(config, filepath, suffix, columns, loaded)
        try:
            feat = original(self, filepath, source)
        except (IRLLRecError, MemoryError):
            raise
        except Exception as error:
            raise atomic_file.unreadable(
                filepath, loaded, separator, config["seq_separator"], encoding, error
            ) from error
        if feat is not None:
            _refuse_empty(self, feat, filepath, suffix)
        return feat

    return _load_feat


def _refuse_empty(dataset: "Dataset", feat: pd.DataFrame, path: Any, suffix: str) -> None:
    """Refuse what RecBole would take for padding, or fail at later on.

    It drops interactions without an id by itself, and says so, unless the split is given.
    """
    if suffix == "inter" and dataset.benchmark_filename_list is None:
        return
    config = dataset.config
    if suffix != "inter" and feat.empty:
        raise IRLLRecError(f"{path} has no rows below its first line: fill it, or remove it.")
    for field in filter(None, (config[setting] for setting in dataset_folder.IDS.get(suffix, ()))):
        if (empty := feat[field].isna().to_numpy()).any():
            line = atomic_file.line_of_row(path, int(empty.argmax()), config["field_separator"], config["encoding"])
            raise IRLLRecError(f"{path}, line {line}: {field} is empty: give the id, or take the line out.")


# ---- the rest --------------------------------------------------------------------------------------------------------


def _with_reasons(original: Callable) -> Callable:
    @functools.wraps(original)
    def _download(self: "Dataset") -> None:
        folder, name = Path(self.dataset_path), self.dataset_name
        try:
            known = self._get_download_url("url")
        except ValueError:
            raise dataset_folder.absent(folder) from None
        try:
            with _alone(self.config["single_spec"]):
                original(self)
        except (IRLLRecError, MemoryError):
            raise
        except Exception as error:
            with contextlib.suppress(OSError):
                folder.rmdir()  # an empty one would be taken for the data set
            raise IRLLRecError(
                f"{folder} is not there, and {name} could not be downloaded from {known} "
                f"({atomic_file.reason(error)}): put the data set's files there, or give another data_path."
            ) from error

    return _download


@contextlib.contextmanager
def _alone(single: bool) -> Iterator[None]:
    """RecBole waits for the other processes of a run after a download, where there are none as well."""
    from recbole.data.dataset import dataset as dataset_module

    before = dataset_module.torch
    if single:
        distributed = _like(torch.distributed, barrier=lambda: None)
        vars(dataset_module)["torch"] = _like(torch, distributed=distributed)
    try:
        yield
    finally:
        vars(dataset_module)["torch"] = before


def _answering(original: Callable) -> Callable:
    """``_from_scratch`` or ``build``, all of whose errors are sentences."""

    @functools.wraps(original)
    def answering(self: "Dataset", *args: Any) -> Any:
        try:
            parts = original(self, *args)
            if original.__name__ == "build":
                _refuse_split(self, parts)
            return parts
        except (IRLLRecError, MemoryError):
            raise
        except Exception as error:
            raise _sentence(self, error) from error

    return answering


def _refuse_split(dataset: "Dataset", parts: list) -> None:
    where = f"The data set in {dataset.dataset_path}"
    if len(parts) != _PARTS:
        fixed = dataset.config["benchmark_filename"]
        setting = f"`benchmark_filename` ({', '.join(fixed)})" if fixed else "the `split` of `eval_args`"
        raise IRLLRecError(f"{where} has {len(parts)} parts: name training, validation and test in {setting}.")
    if len(parts[0]) == 0:
        raise IRLLRecError(f"{where} has no interactions for training: correct its split files or `eval_args`.")


def _sentence(dataset: "Dataset", error: Exception) -> IRLLRecError:
    place = Path(dataset.dataset_path, dataset.dataset_name)
    for feat in getattr(dataset, "feat_name_list", ()):
        frame = getattr(dataset, feat)
        if isinstance(frame, pd.DataFrame) and frame.empty:
            suffix = feat.removesuffix("_feat")
            return IRLLRecError(
                f"Nothing of {place}.{suffix} is left: {_what_filters_left(dataset, feat)}; loosen that filter."
            )
    how = "name the column in `load_col`" if "Field [" in str(error) else "correct the file or the setting"
    return IRLLRecError(f"The data set {place}.* cannot be loaded ({atomic_file.reason(error)}): {how}.")


def _what_filters_left(dataset: "Dataset", feat: str) -> str:
    """How many rows there were, and were left by each filter, which are done again for that."""
    again = copy.copy(dataset)
    again._get_preset()
    again._get_field_from_config()
    again._load_data(again.dataset_name, again.dataset_path)
    left = [f"{len(getattr(again, feat))} rows were read"]
    for name, settings in _FILTERS.items():
        before = len(getattr(again, feat))
        getattr(again, name)()
        if (now := len(getattr(again, feat))) < before:
            asked = [f"{setting} {again.config[setting]}" for setting in settings if again.config[setting]]
            left.append(f"{now} are left after {' and '.join(asked) or 'those without an id are dropped'}")
    return ", ".join(left)


def _fitting(original: Callable) -> Callable:
    """A method or function whose last argument is a checkpoint."""

    @functools.wraps(original)
    def fitting(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            path = [*args, *kwargs.values()][-1]
            raise IRLLRecError(
                f"{path} does not fit the model and its data set here ({' '.join(str(error).split()).rstrip('.')}): "
                f"train again, or restore the data set that it was trained on."
            ) from None

    return fitting
