"""Files of new items and of histories, for a model that is served."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbole_irllrec.data.new_rows import NewItems, arrow_column, interactions, new_items
from recbole_irllrec.data.tokens import unescape_tokens
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.tables.features import read_atomic_file
from recbole_irllrec.tables.intents import METADATA_KEY, IntentTable

from .atomic import in_a_line
from .columns import CSV, PARQUET, column_names, read_columns
from .convert import without_markup

if TYPE_CHECKING:
    from recbole.config import Config


def read_new_items(path: Path, config: "Config") -> NewItems:
    """Read items that a data set does not have.

    Args:
        path: a text table (as ``irllrec intents embed`` and ``import`` write them); or Parquet, CSV or an atomic file
            with the columns of `data.new_rows.new_items`.
        config: RecBole's settings of the model; they name the column of ids.

    Raises:
        IRLLRecError: the file is none of these, or what it holds is refused.
    """
    if not _is_table(path):
        frame = words_of_convert(_frame(path, config), config["ITEM_ID_FIELD"])
        return new_items(frame, config, str(path))
    table = IntentTable.read(path)
    return NewItems(_unescaped(table.tokens), table.texts, table.embeddings, table.metadata.encoder, str(path))


def read_histories(path: Path, config: "Config") -> pd.DataFrame:
    """Read interactions: columns ``user`` and ``item``, str.

    Args:
        path: Parquet, CSV or an atomic file with the columns of `data.new_rows.interactions`.
        config: RecBole's settings of the model; they name the columns of ids.

    Raises:
        IRLLRecError: the file is none of these, lacks a column or holds no interaction.
    """
    return interactions(_frame(path, config), config, str(path))


def words_of_convert(frame: pd.DataFrame, id_field: str) -> pd.DataFrame:
    """A frame of new items, its words as `convert` writes them: without markup, those of lists in one text."""
    made = frame.copy(deep=False)
    for name, values in frame.items():
        try:
            array = arrow_column(values, "")
        except IRLLRecError:
            continue  # said where it is needed
        lists = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
        kind = array.type.value_type if lists else array.type
        if name not in (id_field, "item", "token") and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            texts, *_ = without_markup(pc.cast(array, pa.list_(pa.string()) if lists else pa.string()))
            made[name] = pd.Series(in_a_line(texts).to_numpy(zero_copy_only=False), frame.index)
    return made


def _is_table(path: Path) -> bool:
    if path.suffix.lower() not in PARQUET or not path.is_file():
        return False
    try:
        return METADATA_KEY in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False  # said where it is read


def _frame(path: Path, config: "Config") -> pd.DataFrame:
    """The file's columns, as they are; ids of atomic files as they are called outside."""
    if not path.is_file():
        raise IRLLRecError(f"{path} is no file: correct the path.")
    if {suffix.lower() for suffix in path.suffixes[-2:]} & {*PARQUET, *CSV}:
        table = read_columns(path, strings=(), others=column_names(path))
        return table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    frame, _ = read_atomic_file(path, config["field_separator"], config["encoding"])
    ids = [name for name in (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]) if name in frame]
    return frame.assign(**{name: _unescaped(frame[name].to_numpy(object)) for name in ids})


def _unescaped(tokens: np.ndarray) -> np.ndarray:
    return unescape_tokens(pa.array(tokens, pa.large_string())).to_numpy(zero_copy_only=False)
