"""The order of time: RecBole sorts times as float32, whose step is 128 seconds today.

What the models see of a time is float32 as before. The exact one stands beside it: in ``exact_times`` of a data set
while RecBole normalises and converts its columns, then in ``sort_keys`` of its interactions, whose rows it follows.
"""

import functools
import logging
import os
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from recbole.utils import FeatureType
from torch import Tensor

from ..errors import IRLLRecError

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset
    from recbole.data.interaction import Interaction

_FLOATS = 2**53  # up to here a float64 holds every integer
_RANKS = "rank of the time"


def sort_by_exact_times(datasets: Any) -> None:
    """Whatever sorts by ``TIME_FIELD``, or splits at a time, does it with the times that stand in the file.

    Equal times keep the order of the file. Can go when RecBole keeps times exact.
    """
    from recbole.data.interaction import Interaction

    Interaction.sort_keys = {}  # of some fields, the keys [n] by which they are sorted in place of their values
    datasets.Dataset.exact_times = None  # float64 or int64 [n]
    rows: dict[str, Any] = {"__getitem__": _take, "_reindex": _reorder, "sort": _sort}
    loading: dict[str, Any] = {
        "_load_inter_feat": _load,
        "_remove_duplication": _remove_duplication,
        "_fill_nan": _fill_missing,
    }
    splitting: dict[str, Any] = {"_change_feat_format": _convert, "time_based_split": _split_at_time}
    for owner, mends in ((Interaction, rows), (datasets.Dataset, loading | splitting)):
        for name, mend in mends.items():
            setattr(owner, name, _in_place_of(getattr(owner, name), mend))


def drop_saved_data_of_other_order(utils: Any) -> None:
    """RecBole takes a saved data set for one of these settings whatever its order and split, which it then uses.

    So do those that were saved before times were exact. Both are made anew, as with other settings that have changed.
    Can go when RecBole compares ``eval_args``, and nobody has such files.
    """
    utils.dataset_arguments = [*utils.dataset_arguments, "eval_args"]
    load, dump = utils.pickle.load, utils.pickle.dump

    def load_unless_inexact(file: BinaryIO) -> Any:
        from recbole.data.dataset import Dataset

        saved = load(file)
        first = saved[0][0] if isinstance(saved, list) else saved  # loaders, each with the state of its generator
        dataset = getattr(first, "_dataset", first)
        if isinstance(dataset, Dataset) and _is_inexact(dataset):
            logging.getLogger(__name__).warning(f"{file.name} was saved before times were exact: it is made anew.")
            first.config = _UnlikeAny()
        return saved

    utils.pickle = types.SimpleNamespace(load=load_unless_inexact, dump=dump)


class _UnlikeAny:
    """Settings of which none equals another."""

    def __getitem__(self, _name: str) -> object:
        return object()


def _is_inexact(dataset: "Dataset") -> bool:
    by_time = dataset.time_field in dataset.inter_feat or dataset.config["eval_args"]["order"] == "TO"
    return by_time and "exact_times" not in vars(dataset)


def _in_place_of(original: Callable, mend: Callable) -> Callable:
    @functools.wraps(original)
    def mended(self: Any, *args: Any, **kwargs: Any) -> Any:
        return mend(original, self, *args, **kwargs)

    return mended


# ---- Interaction -----------------------------------------------------------------------------------------------------


def _take(original: Callable[..., Any], rows: "Interaction", index: Any) -> Any:
    if not rows.sort_keys or isinstance(index, str):
        return original(rows, index)
    index = index.tolist() if isinstance(index, np.ndarray | torch.Tensor) else index  # as RecBole
    found = original(rows, index)
    found.sort_keys = {field: keys[index] for field, keys in rows.sort_keys.items()}
    return found


def _reorder(original: Callable[..., Any], rows: "Interaction", index: Tensor | np.ndarray) -> None:
    original(rows, index)
    rows.sort_keys = {field: keys[index] for field, keys in rows.sort_keys.items()}


def _sort(
    original: Callable[..., Any], rows: "Interaction", by: str | list[str], ascending: bool | list[bool] = True
) -> None:
    _swap_sort_keys(rows)
    try:
        original(rows, by, ascending)
    finally:
        _swap_sort_keys(rows)


def _swap_sort_keys(rows: "Interaction") -> None:
    columns = rows.interaction
    for field in rows.sort_keys:
        if field in columns:
            columns[field], rows.sort_keys[field] = rows.sort_keys[field], columns[field]


# ---- Dataset ---------------------------------------------------------------------------------------------------------


def _load(original: Callable[..., Any], dataset: "Dataset", token: str, dataset_path: str) -> None:
    """Integers beyond 2^53, as nanoseconds are, are read again as such: RecBole reads floats."""
    original(dataset, token, dataset_path)
    times = _times(dataset, FeatureType.FLOAT)
    if times is None or not (times.abs() > _FLOATS).any():
        return
    config, parts = dataset.config, dataset.benchmark_filename_list
    names = [token] if parts is None else [f"{token}.{part}" for part in parts]

    def read(name: str) -> pd.Series:
        return pd.read_csv(
            os.path.join(dataset_path, f"{name}.inter"),
            delimiter=config["field_separator"],
            usecols=[f"{times.name}:float"],
            dtype=str,
            encoding=config["encoding"],
            engine="python",  # RecBole's, so that the rows are the same
        ).iloc[:, 0]

    integers = _integers(pd.concat([read(name) for name in names]))
    if integers is not None:
        # as RecBole fills what is missing, but before its filters
        dataset.inter_feat[times.name] = integers.fill_null(int(times.mean())).to_numpy()


def _remove_duplication(original: Callable[..., Any], dataset: "Dataset") -> None:
    """RecBole's sort puts equal times in any order; places in the right order are all different."""
    times = _times(dataset)
    if times is None or dataset.config["rm_dup_inter"] is None:
        return original(dataset)
    known = times.dropna()
    if dataset.field2type[times.name] == FeatureType.TOKEN:
        keys = _of_tokens(dataset, known)
        known = known if keys is None else pd.Series(keys, index=known.index)
    order = known.sort_values(kind="stable").index.append(times.index[times.isna()])
    dataset.inter_feat[times.name] = pd.Series(np.arange(len(order)), index=order)
    original(dataset)
    dataset.inter_feat[times.name] = times


def _fill_missing(original: Callable[..., Any], dataset: "Dataset") -> None:
    """From here on no row comes or goes, and RecBole normalises times and divides them into buckets."""
    missing = 0 if (times := _times(dataset)) is None else int(times.isna().sum())
    original(dataset)
    times = _times(dataset, FeatureType.FLOAT)
    dataset.exact_times = None if times is None else times.to_numpy(copy=True)
    if times is not None:
        dataset.inter_feat[times.name] = times.astype(np.float64)
    if missing and _is_by_time(dataset):
        place = "first" if times is None else "at the mean of the others"
        logging.getLogger(__name__).warning(
            f"{missing} interactions have no {dataset.time_field}: in the order of time they stand {place}."
        )


def _convert(original: Callable[..., Any], dataset: "Dataset") -> None:
    keys, times = dataset.exact_times, _times(dataset, FeatureType.TOKEN)
    if times is not None:
        keys = _of_tokens(dataset, pd.Series(dataset.field2id_token[times.name][1:]))
        if keys is not None:  # a missing time comes first, as its id does
            keys = np.insert(keys, 0, keys.min(initial=0) - 1)[times]
    original(dataset)
    if keys is not None:
        dataset.inter_feat.sort_keys = {dataset.time_field: torch.from_numpy(keys)}
    dataset.exact_times = None


def _split_at_time(
    original: Callable[..., Any], dataset: "Dataset", ratios: list[float], group_by: str | None
) -> "list[Dataset]":
    """RecBole takes each user's interactions for sorted, which they are after order TO alone.

    Percentiles of the different times' ranks part the same interactions as those of the times, which float64 would
    round. The ranks are so large that errors of RecBole's arithmetic are not, as they are not with today's seconds.
    """
    field, rows = dataset.time_field, dataset.inter_feat
    if field not in rows.sort_keys:
        return original(dataset, ratios, group_by)
    rows.sort(by=field)
    ranks = np.unique(rows.sort_keys[field].numpy(), return_inverse=True)[1]
    rows[_RANKS] = torch.from_numpy(ranks + 2**32)
    dataset.time_field = _RANKS
    parts = original(dataset, ratios, group_by)
    for part in (dataset, *parts):
        part.time_field = field
        del part.inter_feat[_RANKS]
    return parts


def _times(dataset: "Dataset", kind: FeatureType | None = None) -> pd.Series | None:
    """The interactions' times, a number or a token each, if they are loaded, and of this kind."""
    field, kinds = dataset.time_field, (FeatureType.FLOAT, FeatureType.TOKEN) if kind is None else (kind,)
    if field not in dataset.inter_feat or dataset.field2type[field] not in kinds:
        return None
    return dataset.inter_feat[field]


def _is_by_time(dataset: "Dataset") -> bool:
    used = dataset.config["eval_args"]
    return used["order"] == "TO" or "TS" in (used["split"] or {})


# ---- times as text ---------------------------------------------------------------------------------------------------


def _integers(texts: pd.Series) -> pa.Array | None:
    """int64 [n] with null where one is missing, of integers in any notation; None if one is none."""
    try:
        return pa.array(texts.str.strip(), pa.string()).cast(pa.decimal128(38, 0)).cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def _of_tokens(dataset: "Dataset", texts: pd.Series) -> np.ndarray | None:
    """int64 or float64 [n], in the order of times that stand in a column of words: numbers, or dates of ISO 8601.

    None if one is neither, and nothing asks for the order of time.
    """
    integers = _integers(texts)
    if integers is not None:
        return integers.to_numpy()
    numbers = pd.to_numeric(texts, errors="coerce")
    if numbers.notna().all():
        return numbers.to_numpy()
    dates = pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")
    if not dates.isna().any():
        return dates.to_numpy(np.int64)
    if _is_by_time(dataset):
        raise IRLLRecError(
            f"{os.path.join(dataset.dataset_path, dataset.dataset_name)}.inter, column {dataset.time_field}:token, "
            f"holds {texts[dates.isna()].iloc[0]!r}, which is neither a number nor a date as 2024-12-31, so there is "
            f"no order of time: write such times, set another TIME_FIELD, or take order RO."
        )
    return None
