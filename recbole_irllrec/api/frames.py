"""Frames and arrays as what the converters read, and their ids, which come back as they were given."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import issparse

from ..data.new_rows import arrow_column, id_column, id_names
from ..data.tokens import escape_tokens
from ..dataset_tools.atomic import numbers
from ..dataset_tools.convert import Features, Reviews, without_markup
from ..dataset_tools.delimited import fields_of
from ..dataset_tools.new_rows import words_of_convert
from ..dataset_tools.times import Times
from ..dataset_tools.values import floats
from ..errors import IRLLRecError
from ..tables.intents import IntentTable
from ..text.profiles import item_texts

Frame: TypeAlias = Any  # a data frame, a sparse matrix, or a pair of arrays
GivenTexts: TypeAlias = Any  # a data frame, or a mapping or series from ids to texts
Embeddings: TypeAlias = Any  # a mapping from ids to vectors, a data frame, or ids and an array

_TEXT = "description"  # the field of texts that come without a name


@dataclass(frozen=True, eq=False)
class Ids:
    """Users or items as they were given, and what the data set calls them."""

    values: pd.Index  # [n] all different
    names: pd.Index  # [n] str

    @classmethod
    def of(cls, values: pd.Series, names: np.ndarray) -> "Ids":
        """Ids as they occur, [n], with their names, [n]."""
        first = ~pd.Index(names).duplicated()
        return cls(pd.Index(values[first]), pd.Index(names[first]))

    def given(self, names: Iterable[str | None]) -> pd.Index:
        """Ids as they were given, by their names; None where there is no name."""
        places = self.names.get_indexer(pd.Index(names))
        found = self.values.take(places)
        if (places >= 0).all():
            return found
        return pd.Index([each if place >= 0 else None for each, place in zip(found, places, strict=True)], dtype=object)

    def with_new(self, values: pd.Series, names: np.ndarray) -> "Ids":
        """These ids, and those of others [n] with names [n] that are not among them."""
        new = self.names.get_indexer(pd.Index(names)) < 0
        if not new.any():
            return self
        further = Ids.of(values[new], names[new])
        return Ids(self.values.append(further.values), self.names.append(further.names))


def names_in(wanted: Any) -> list[str]:
    """The names of ids that somebody asks for: of one id, or of any list of them."""
    several = isinstance(wanted, Iterable) and not isinstance(wanted, str)
    return [str(each) for each in (wanted if several else [wanted])]


# ---- interactions ----------------------------------------------------------------------------------------------------


class Interactions(NamedTuple):
    """Interactions, checked."""

    batch: pa.RecordBatch  # columns of `convert.REVIEWS`
    ids: dict[str, Ids]  # of "user" and "item"

    @property
    def reviews(self) -> Reviews:
        """What `convert` takes."""
        return Reviews([self.batch], Counter())


def read_interactions(
    given: Frame,
    columns: Mapping[str, str | None],
    origin: str = "interactions",
) -> Interactions:
    """Read interactions.

    Args:
        given: a data frame with a row an interaction; or a sparse matrix [users, items], whose ids are its rows and
            columns and whose values are ratings if they differ; or a pair of arrays, users and items.
        columns: the frame's columns of "user", "item", "rating" and "timestamp"; None for ``user_id`` or ``user``,
            ``item_id`` or ``item``, and for ``rating`` and ``timestamp`` if they are there.
        origin: what messages call it.

    Raises:
        IRLLRecError: it is nothing of this, lacks a column, holds no rows, or a value is not of its column's kind.
    """
    frame = frame_of_interactions(given, origin)
    ids, arrays = {}, {}
    for side in ("user", "item"):
        named = columns.get(side)
        column = id_column(frame, [named] if named else [f"{side}_id", side], origin, or_index=False)
        names = id_names(column, origin)
        ids[side], arrays[side] = Ids.of(column, names), pa.array(names, pa.string())
    for name in ("rating", "timestamp"):
        column_name = columns.get(name) or name
        if column_name in frame:
            strings = _strings(frame[column_name], origin)
            if name == "rating":
                arrays[name] = floats(Path(origin), column_name, 1, strings)
            else:
                arrays[name] = Times(Path(origin), column_name, Counter()).seconds(1, strings)
        elif columns.get(name):
            raise IRLLRecError(
                f"{origin} has no column {column_name}, but {', '.join(map(str, frame))}: name its column of {name}s."
            )
    return Interactions(pa.record_batch(arrays), ids)


def frame_of_interactions(given: Frame, origin: str) -> pd.DataFrame:
    """A row an interaction; of a matrix or of arrays with columns ``user`` and ``item``.

    Raises:
        IRLLRecError: it is none of these.
    """
    if isinstance(given, pd.DataFrame):
        return _with_different_columns(given, origin)
    if issparse(given):
        entries = given.tocoo()
        there = entries.data != 0
        frame = pd.DataFrame({"user": entries.row[there], "item": entries.col[there]})
        values = entries.data[there]
        return frame if len(np.unique(values)) < 2 else frame.assign(rating=values)
    if isinstance(given, tuple | list) and len(given) == 2 and all(np.ndim(each) == 1 for each in given):
        users, items = (pd.Series(each).reset_index(drop=True) for each in given)
        if len(users) != len(items):
            raise IRLLRecError(
                f"{origin} are {len(users)} users and {len(items)} items: give the user and the item of each "
                f"interaction, two arrays of one length."
            )
        return pd.DataFrame({"user": users, "item": items})
    raise IRLLRecError(
        f"{origin} is a {type(given).__name__}: give a data frame with a row an interaction, a sparse matrix of users "
        f"and items, or two arrays, users and items."
    )


def _with_different_columns(frame: pd.DataFrame, origin: str) -> pd.DataFrame:
    if (again := frame.columns.duplicated()).any():
        raise IRLLRecError(f"{origin} has two columns {frame.columns[again][0]!r}: rename one.")
    return frame


def _strings(values: pd.Series, origin: str) -> pa.Array:
    """[n] strings, empty where a value is missing."""
    return pc.fill_null(_cast(arrow_column(values, origin), pa.string(), values.name, origin), "")


def _cast(array: pa.Array, kind: pa.DataType, name: Any, origin: str) -> pa.Array:
    try:
        return pc.cast(array, kind)
    except pa.ArrowException:
        raise IRLLRecError(
            f"{origin}, column {name}, is of type {array.type}, where words, lists of words or numbers are "
            f"expected: convert it, or leave it out."
        ) from None


# ---- texts -----------------------------------------------------------------------------------------------------------


class Described(NamedTuple):
    """What is said about users or items, checked."""

    features: Features
    ids: Ids
    texts: pd.Series  # of each id, made of its words; the index is what the ids are called


def frame_of_new_items(given: GivenTexts) -> pd.DataFrame:
    """New items as `data.new_rows.new_items` takes them; the texts of a mapping read as those of `read_texts`.

    Raises:
        IRLLRecError: they are neither a data frame nor a mapping nor a series.
    """
    origin = "The frame of new items"
    frame = _frame_of_texts(given, origin)
    frame = words_of_convert(frame, "item_id")
    if isinstance(given, pd.DataFrame):
        return frame
    return item_texts(frame.assign(**{_TEXT: _strings(frame[_TEXT], origin).to_pylist()})).to_frame("text")


def _frame_of_texts(given: GivenTexts, origin: str) -> pd.DataFrame:
    if isinstance(given, pd.DataFrame):
        return _with_different_columns(given, origin)
    if isinstance(given, Mapping | pd.Series):
        texts = given if isinstance(given, pd.Series) else pd.Series(dict(given), dtype=object)
        return pd.DataFrame({"id": texts.index, _TEXT: texts.to_numpy()}).set_index("id")
    raise IRLLRecError(
        f"{origin} is a {type(given).__name__}: give a data frame with a row an id, or a mapping from ids to texts."
    )


def read_texts(given: GivenTexts, side: str, id_name: str | None, taken: set[str]) -> Described:
    """Read what is said about users or items.

    Args:
        given: a data frame with a row an id, which stands in a column or in the index, and columns of texts, of lists
            of words, and of numbers, which go into no text; or a mapping or series from ids to texts.
        side: "user" or "item".
        id_name: the column of ids; None for ``<side>_id`` or ``<side>``, or the index.
        taken: as of `delimited.csv_features`.

    Raises:
        IRLLRecError: it is nothing of this, or has no texts.
    """
    origin = f"{side}_texts"
    frame = _frame_of_texts(given, origin)
    values = id_column(frame, _tried(side, id_name), origin)
    names = id_names(values, origin)
    used = _used(frame, side, id_name)
    columns = {str(name): _feature(frame[name], origin) for name in frame if name != used}
    fields = fields_of(Path(origin), {name: is_number for name, (_, is_number) in columns.items()}, side, taken)
    words = {
        field: strings
        for (field, kind), (strings, _) in zip(fields.items(), columns.values(), strict=True)
        if kind != "float"
    }
    if not words:
        raise IRLLRecError(
            f"{origin} has no column of texts beside {values.name}: give one, or leave {origin} out; numbers go into "
            f"no text."
        )
    batch = pa.record_batch([pa.array(names, pa.string()), *(array for array, _ in columns.values())], ["", *fields])
    plain = {field: without_markup(array)[0].to_numpy(zero_copy_only=False) for field, array in words.items()}
    said = pd.DataFrame(plain, index=pd.Index(names))
    said = said[~said.index.duplicated()]  # `convert` refuses repeated ids
    return Described(Features(fields, [batch], Path(origin), once=True), Ids.of(values, names), item_texts(said))


def _tried(side: str, id_name: str | None) -> list[str]:
    """The columns that ids may stand in, the first that is there before others."""
    return [*([id_name] if id_name else []), f"{side}_id", side]


def _used(frame: pd.DataFrame, side: str, id_name: str | None) -> str | None:
    """The column that ids stand in; None where there is none of them."""
    return next((name for name in _tried(side, id_name) if name in frame), None)


def _feature(values: pd.Series, origin: str) -> tuple[pa.Array, bool]:
    """A column as `Features` have it, and whether it is one of numbers."""
    array = arrow_column(values, origin)
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return numbers(pc.cast(array, pa.float64())), True
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lists = _cast(array, pa.list_(pa.string()), values.name, origin)
        return pc.if_else(pc.is_valid(lists), lists, pa.scalar([], lists.type)), False
    return pc.fill_null(_cast(array, pa.string(), values.name, origin), ""), False


# ---- embeddings ------------------------------------------------------------------------------------------------------


def read_embeddings(given: Embeddings, side: str, id_name: str | None, texts: pd.Series | None) -> IntentTable:
    """Read embeddings of users or items.

    Args:
        given: a mapping from ids to vectors of one width; or a data frame with a row an id, which stands in a column or
            in the index, and a column a dimension; or a pair, ids [n] and an array [n, dim].
        side: "user" or "item".
        id_name: as of `read_texts`.
        texts: what was embedded, by the names of ids, where that is known.

    Raises:
        IRLLRecError: it is nothing of this, an id is repeated, or a number is not finite.
    """
    origin = f"{side}_embeddings"
    ids: Any
    rows: Any
    if isinstance(given, pd.DataFrame):
        used = _used(given, side, id_name)
        frame = given if used is None else _with_different_columns(given, origin).set_index(used)
        ids, rows = frame.index, frame.to_numpy()
    elif isinstance(given, Mapping):
        ids, rows = pd.Index([*given]), [*given.values()]
    elif isinstance(given, tuple | list) and len(given) == 2:
        ids, rows = given
    else:
        raise IRLLRecError(
            f"{origin} is a {type(given).__name__}: give a mapping from ids to vectors, or ids and an array."
        )
    try:
        array = np.asarray(rows)
        array = array if array.dtype == np.float16 else array.astype(np.float32)
    except (TypeError, ValueError):
        raise IRLLRecError(f"{origin} are no vectors of numbers of one width: give [ids, dim] numbers.") from None
    column = pd.Series(ids, name=getattr(ids, "name", None) or "id")
    names = id_names(column.reset_index(drop=True), origin)
    words = None if texts is None else texts.reindex(names, fill_value="").to_numpy()
    tokens = escape_tokens(pa.array(names, pa.string())).to_numpy(zero_copy_only=False)
    source: Literal["features"] | None = "features" if side == "item" else None  # users' may know what is held out
    return IntentTable.from_arrays(tokens, array, words, encoder=None, source=source, origin=origin)
