"""Frames of new items and of histories, checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import IRLLRecError
from ..tables.features import read_atomic_file
from ..tables.intents import IntentTable
from ..tables.table_file import common_length
from ..text.profiles import item_texts

if TYPE_CHECKING:
    from recbole.config import Config


class NewItems(NamedTuple):
    """Items that a data set does not have."""

    names: np.ndarray  # [m] str, all different, what they are called outside
    texts: np.ndarray  # [m] str; may be empty where there are embeddings
    embeddings: np.ndarray | None  # [m, dim] of these texts, zeros where there is none; None to embed them
    encoder: str | None  # what made the embeddings, where that is known
    origin: str  # what messages call them


def new_items(frame: pd.DataFrame, config: "Config", origin: str = "The frame of new items") -> NewItems:
    """What a frame says about new items.

    Args:
        frame: a row an item. Its id stands in the index, or in a column ``item``, ``token`` or of the data set's own
            name of ids; beside it a column ``text``, or the words of the data set's ``.item`` file under their names,
            or a column ``embedding`` of lists of numbers. Embeddings go before a text, and a text before words, unless
            it is one of them.
        config: RecBole's settings of the model.
        origin: what messages call the frame.

    Raises:
        IRLLRecError: one of these is not there or is not of that kind, or an id is repeated.
    """
    names = _ids(frame, (config["ITEM_ID_FIELD"], "item", "token"), origin)
    again = pd.Series(names).duplicated().to_numpy()
    if again.any():
        raise IRLLRecError(f"{origin} has the item {names[again][0]!r} twice: keep one row an item.")
    if "embedding" in frame:
        texts = _names(frame["text"], origin) if "text" in frame else np.full(len(frame), "", object)
        return NewItems(names, texts, _embeddings(frame, names, texts, origin), None, origin)
    known = _words_of_items(config)
    of_words = [name for name in known if name in frame]
    if "text" in frame and not ("text" in of_words and len(of_words) > 1):
        texts = _names(frame["text"], origin)
    elif of_words:
        texts = item_texts(pd.DataFrame({name: _names(frame[name], origin) for name in of_words})).to_numpy(object)
    else:
        raise IRLLRecError(
            f"{origin} has neither a column text nor embedding, nor one of the words of the data set's items "
            f"({', '.join(known) or 'which has none'}): name its columns so."
        )
    missing = pd.Series(texts).str.strip() == ""
    if missing.any():
        raise IRLLRecError(
            f"{origin} has no text for {int(missing.sum())} of its {len(frame)} items, first {names[missing][0]!r}: "
            f"give them texts, or leave them out."
        )
    return NewItems(names, texts, None, None, origin)


def interactions(frame: pd.DataFrame, config: "Config", origin: str = "The frame of histories") -> pd.DataFrame:
    """The interactions of a frame, whose other columns, such as ratings and times, are not looked at.

    Args:
        frame: a row an interaction, with columns ``user`` and ``item``, or of the data set's own names of ids.
        config: RecBole's settings of the model.
        origin: what messages call the frame.

    Returns:
        Columns ``user`` and ``item``, str.

    Raises:
        IRLLRecError: a column is not there, there are no rows, or an id is missing.
    """
    sides = {"user": config["USER_ID_FIELD"], "item": config["ITEM_ID_FIELD"]}
    return pd.DataFrame({side: _ids(frame, (field, side), origin, or_index=False) for side, field in sides.items()})


def id_column(frame: pd.DataFrame, names: Sequence[str], origin: str, or_index: bool = True) -> pd.Series:
    """The first of these columns that a frame has, [n], else its index where that was set and may be taken.

    Numbers without a name are those of rows, also where some were left out.

    Raises:
        IRLLRecError: there is none, or there are no rows.
    """
    different = [*dict.fromkeys(names)]
    found = next((frame[name] for name in different if name in frame), None)
    of_rows = frame.index.name is None and pd.api.types.is_integer_dtype(frame.index.dtype)
    if found is None and or_index and not of_rows:
        found = pd.Series(frame.index, name="index")
    if found is None:
        raise IRLLRecError(
            f"{origin} has no column {' or '.join(different)}, but {', '.join(map(str, frame))}: name its column of "
            f"ids so{', or its index' if or_index and of_rows else ''}."
        )
    if not len(found):
        raise IRLLRecError(f"{origin} holds no rows: check that it is what was meant.")
    return found


def id_names(ids: pd.Series, origin: str) -> np.ndarray:
    """What ids are called, [n] str.

    Raises:
        IRLLRecError: they are neither strings nor integers, or one is missing.
    """
    found = _names(ids, origin)
    if (found == "").any():
        row = int(np.argmax(found == "")) + 1
        raise IRLLRecError(f"{origin}, column {ids.name}, is empty in row {row}: fill it, or leave the row out.")
    return found


def _ids(frame: pd.DataFrame, names: Sequence[str], origin: str, or_index: bool = True) -> np.ndarray:
    return id_names(id_column(frame, names, origin, or_index), origin)


def arrow_column(values: pd.Series, origin: str) -> pa.Array:
    """A column of a frame, [n], null where a value is missing.

    Raises:
        IRLLRecError: it holds values of several kinds.
    """
    try:
        found = pa.Table.from_pandas(values.to_frame("column"), preserve_index=False).column(0).combine_chunks()
    except (pa.ArrowException, TypeError, ValueError):
        raise IRLLRecError(
            f"{origin}, column {values.name}, holds values of several kinds: convert it to one."
        ) from None
    return found.dictionary_decode() if pa.types.is_dictionary(found.type) else found


def _names(values: pd.Series, origin: str) -> np.ndarray:
    """[n] str; "" where a value is missing."""
    found = arrow_column(values, origin)
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_null)
    if not any(is_kind(found.type) for is_kind in kinds):
        raise IRLLRecError(
            f"{origin}, column {values.name}, is of type {found.type}, where strings or integers are expected: convert "
            f"it."
        )
    return pc.fill_null(pc.cast(found, pa.large_string()), "").to_numpy(zero_copy_only=False)


def _embeddings(frame: pd.DataFrame, names: np.ndarray, texts: np.ndarray, origin: str) -> np.ndarray:
    """[n, dim] float32 or float16; zeros where there is none."""
    lists = arrow_column(frame["embedding"], origin)
    kind = lists.type
    if not (pa.types.is_list(kind) and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))):
        raise IRLLRecError(f"{origin}, column embedding, is of type {kind}, where lists of numbers are expected.")
    width = common_length(lists, f"{origin}, column embedding")
    numbers = lists.flatten().to_numpy(zero_copy_only=False)  # without the nulls' own
    embeddings = np.zeros((len(lists), width or 0), numbers.dtype)
    embeddings[lists.is_valid().to_numpy(zero_copy_only=False)] = numbers.reshape(-1, width or 1)
    return IntentTable.from_arrays(names, embeddings, texts, encoder=None, source=None, origin=origin).embeddings


def _words_of_items(config: "Config") -> list[str]:
    """The fields of words in the data set's ``.item`` file, in its order."""
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    if not path.is_file():
        return []
    _, types = read_atomic_file(path, config["field_separator"], config["encoding"])
    of_words = [name for name, kind in types.items() if kind in ("token", "token_seq")]
    return [name for name in of_words if name != config["ITEM_ID_FIELD"]]
