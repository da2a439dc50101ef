"""What items are called by people: a column of the data set's ``.item`` file."""

from pathlib import Path

import numpy as np
import pandas as pd

from .errors import IRLLRecError
from .scorer import Scorer
from .tables.features import read_features


def item_features(served: Scorer) -> pd.DataFrame:
    """The words of the ``.item`` file, by token; see `tables.features.read_features`."""
    config = served.config
    return read_features(_path(served), config["ITEM_ID_FIELD"], config["field_separator"], config["encoding"])


def title_field(served: Scorer, features: pd.DataFrame, named: str | None, option: str) -> str | None:
    """The column of `item_features` that names items: the named one, or the first with title or name in its name.

    Args:
        option: of the command, which named it.

    Returns:
        Its name; None where nothing is named and there is none.

    Raises:
        IRLLRecError: the file has no column of words of the name that was given.
    """
    names = [str(name) for name in features.columns]
    if named is None:
        return next((name for name in names if "title" in name.lower() or "name" in name.lower()), None)
    if named not in names:
        path = _path(served)
        there = f"has, of columns of words, {', '.join(names) or 'none'}" if path.is_file() else "is not there"
        raise IRLLRecError(f"{path} {there}, where {option} names {named}: name one of them, or leave {option} out.")
    return named


def titles(served: Scorer, named: str | None, option: str) -> pd.Series:
    """What items are called, by token, in the column that `title_field` finds; empty where there is none."""
    features = item_features(served)
    field = title_field(served, features, named, option)
    return pd.Series(dtype=object) if field is None else features[field]


def titles_by_id(served: Scorer, by_token: pd.Series) -> np.ndarray:
    """[n_items] str, what items are called, in the order of RecBole's ids: their names where a title is missing."""
    given = by_token.reindex(served.item_tokens, fill_value="").to_numpy()
    return np.where(given == "", served.item_names.to_numpy(zero_copy_only=False), given)


def _path(served: Scorer) -> Path:
    return Path(served.config["data_path"]) / f"{served.config['dataset']}.item"
