"""Files of new items and of histories, for a model that is served."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.extending import NewItems
from recbole_irllrec.tables.features import read_atomic_file
from recbole_irllrec.tables.intents import METADATA_KEY, IntentTable
from recbole_irllrec.text.profiles import item_texts

from .columns import column_names, read_columns

_TABULAR = (".csv", ".tsv", ".parquet", ".pq")


def read_new_items(path: Path, config) -> NewItems:
    """Read items that a data set does not have.

    Args:
        path: a text table (as ``irllrec intents embed`` and ``import`` write them); or Parquet with the columns token
            and embedding; or Parquet, CSV or an atomic file with ids and either a column ``text`` or the words of
            the data set's ``.item`` file.
        config: RecBole's settings of the model; they name the column of ids.

    Raises:
        IRLLRecError: the file is none of these, holds no item, or has neither texts nor words.
    """
    if _is_table(path):
        table = IntentTable.read(path)
        return NewItems(table.tokens, table.texts, _without_missing(table), table.metadata.encoder, str(path))
    frame, words = _frame(path, config["ITEM_ID_FIELD"], ("item", "token"), config)
    if "embedding" in frame:
        embeddings = np.stack(frame["embedding"].to_numpy()).astype(np.float32)
        said = frame["text"].to_numpy(object) if "text" in frame else np.full(len(frame), "", object)
        return NewItems(frame["id"].to_numpy(object), said, embeddings, None, str(path))
    if "text" in frame:
        texts = frame["text"]
    else:
        known = _words_of_items(config)
        shared = [name for name in known if name in words]
        if not shared:
            raise IRLLRecError(
                f"{path} has neither a column text nor one of the words of the data set's items ({', '.join(known)}): "
                f"name its columns so."
            )
        texts = item_texts(frame[shared])
    if not (texts.str.strip() != "").all():
        missing = frame["id"][texts.str.strip() == ""]
        raise IRLLRecError(
            f"{path} has no text for {len(missing)} of its {len(frame)} items, first {missing.iloc[0]!r}: give them "
            f"texts, or leave them out."
        )
    return NewItems(frame["id"].to_numpy(object), texts.to_numpy(object), None, None, str(path))


def read_histories(path: Path, config) -> pd.DataFrame:
    """Read interactions: columns ``user`` and ``item``, str. Ratings and times may be there; they are not looked at.

    Args:
        path: Parquet, CSV or an atomic file.
        config: RecBole's settings of the model; they name the columns of ids, beside user and item.

    Raises:
        IRLLRecError: the file is none of these, lacks a column or holds no interaction.
    """
    users, _ = _frame(path, config["USER_ID_FIELD"], ("user",), config)
    items, _ = _frame(path, config["ITEM_ID_FIELD"], ("item",), config)
    return pd.DataFrame({"user": users["id"], "item": items["id"]})


def _is_table(path: Path) -> bool:
    if path.suffix.lower() not in (".parquet", ".pq") or not path.is_file():
        return False
    try:
        return METADATA_KEY in (pq.read_schema(path).metadata or {})
    except pa.ArrowException:
        return False  # said where it is read


def _without_missing(table: IntentTable) -> np.ndarray:
    return np.where(table.present[:, None], table.embeddings, 0)


def _frame(path: Path, id_field: str, others: Sequence[str], config) -> tuple[pd.DataFrame, list[str]]:
    """The columns as strings, that of ids under the name ``id``, and the names of columns of words."""
    if not path.is_file():
        raise IRLLRecError(f"{path} is no file: correct the path.")
    if path.suffix.lower() in _TABULAR:
        names = column_names(path)
        strings = [name for name in names if name != "embedding"]
        table = read_columns(path, _strings(path, strings), others=[name for name in names if name == "embedding"])
        frame = table.to_pandas().fillna("")
        words = strings
    else:
        frame, types = read_atomic_file(path, config["field_separator"], config["encoding"])
        words = [name for name, kind in types.items() if kind in ("token", "token_seq")]
    ids = next((name for name in (id_field, *others) if name in frame), None)
    if ids is None:
        raise IRLLRecError(
            f"{path} has no column {' or '.join((id_field, *others))}, but {', '.join(frame)}: name its column of ids "
            f"so."
        )
    if not len(frame):
        raise IRLLRecError(f"{path} holds no rows: check that it is the file meant.")
    if (frame[ids] == "").any():
        row = int(np.argmax(frame[ids] == "")) + 1
        raise IRLLRecError(f"{path}, column {ids}, is empty in row {row}: fill it, or leave the row out.")
    return frame.rename(columns={ids: "id"}), [name for name in words if name != ids]


def _strings(path: Path, names: list[str]) -> list[str]:
    """Those of a Parquet file's columns that hold strings or integers; all of a CSV file's."""
    if path.suffix.lower() not in (".parquet", ".pq"):
        return names
    schema = pq.read_schema(path)
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer)
    return [name for name in names if any(kind(schema.field(name).type) for kind in kinds)]


def _words_of_items(config) -> list[str]:
    """The columns of the data set's ``.item`` file that hold words."""
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    if not path.is_file():
        return []
    _, types = read_atomic_file(path, config["field_separator"], config["encoding"])
    return [name for name, kind in types.items() if kind in ("token", "token_seq") and name != config["ITEM_ID_FIELD"]]
