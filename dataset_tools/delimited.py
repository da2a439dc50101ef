"""Reviews, items and users from CSV files of any delimiter."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recbole_irllrec.errors import IRLLRecError

from .convert import Features
from .sources import open_text

_BLOCK = 1 << 24  # bytes; a row must fit


@dataclass(frozen=True)
class Dialect:
    """How the values of a file are parted."""

    delimiter: str = ","
    quotes: bool = True  # whether a double quote at the beginning of a value encloses it


def csv_reviews(path: Path, columns: dict[str, str | None], dialect: Dialect) -> Iterator[pa.RecordBatch]:
    """The reviews of a CSV file with a header.

    Args:
        path: the file, plain or gzipped.
        columns: for each column of `convert.REVIEWS` the file's column, or None where it has none. Timestamps are
            numbers, or dates, which become seconds since 1970.
        dialect: how its values are parted.

    Raises:
        IRLLRecError: while it is read: the file is no such table, has no such column, or a row has no user or item.
    """
    wanted = {ours: theirs for ours, theirs in columns.items() if theirs is not None}
    row = 1
    for batch in _batches(path, list(wanted.values()), dialect):
        arrays = dict(zip(wanted, batch.columns, strict=True))
        for side in ("user", "item"):
            _refuse_empty(path, row, wanted[side], arrays[side])
        for name, parse in (("rating", _floats), ("timestamp", _seconds)):
            if name in arrays:
                arrays[name] = parse(path, wanted[name], arrays[name])
        yield pa.record_batch(arrays)
        row += len(batch)


def csv_features(path: Path, id_column: str, side: str, taken: set[str], dialect: Dialect) -> Features:
    """What a CSV file says about users or items: every column but the id's.

    A column that holds numbers alone becomes a ``float``, any other a ``token_seq``.

    Args:
        path: the file, plain or gzipped.
        id_column: its column of ids.
        side: "user" or "item".
        taken: names of fields that other files of the data set have; a column of such a name is called
            ``<side>_<name>``, for RecBole tells fields by their names alone. The names given here are added to it.
        dialect: how its values are parted.

    Raises:
        IRLLRecError: as `csv_reviews`; or a column's name cannot be a field's.
    """
    names = [name for name in _header(path, dialect) if name != id_column]
    if not names:
        raise IRLLRecError(f"{path} has no column beside {id_column}: give it one, or leave the file out.")
    numeric = dict.fromkeys(names, True)
    for batch in _batches(path, [id_column, *names], dialect):
        for name in names:
            numeric[name] = numeric[name] and _is_numeric(batch[name])
    fields = {}
    for name in names:
        field = f"{side}_{name}" if name in taken else name
        if not re.fullmatch(r'[^:\x00-\x1f"]+', field) or field in fields:
            raise IRLLRecError(f"{path} has a column {name!r}, which cannot be a field's name: rename it.")
        fields[field] = "float" if numeric[name] else "token_seq"
    taken |= set(fields)
    return Features(fields, _identified(path, [id_column, *names], dialect), path, once=True)


def _identified(path: Path, names: list[str], dialect: Dialect) -> Iterator[pa.RecordBatch]:
    row = 1
    for batch in _batches(path, names, dialect):
        _refuse_empty(path, row, names[0], batch[0])
        yield batch
        row += len(batch)


def _refuse_empty(path: Path, row: int, name: str, ids: pa.Array) -> None:
    where = pc.index(ids, "").as_py()
    if where >= 0:
        raise IRLLRecError(f"{path}, row {row + where}, has no {name}: fill it or take the row out.")


def _header(path: Path, dialect: Dialect) -> list[str]:
    with open_text(path) as file:
        names = _open(path, file, None, dialect).schema.names
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise IRLLRecError(f"{path} has two columns {repeated[0]!r}: rename one.")
    return names


def _batches(path: Path, names: list[str], dialect: Dialect) -> Iterator[pa.RecordBatch]:
    """The named columns as strings, in that order."""
    header = _header(path, dialect)
    for name in names:
        if name not in header:
            raise IRLLRecError(
                f"{path} has no column {name!r}, but {', '.join(header)}: name the right one, or the --delimiter."
            )
    empty = True
    with open_text(path) as file:
        quotes = _QuoteCounter(file)
        try:
            for batch in _open(path, quotes, names, dialect):
                empty = empty and len(batch) == 0
                yield batch
        except pa.ArrowInvalid as error:
            raise IRLLRecError(f"{path} cannot be read as CSV ({_first_line(error)}): mend it.") from None
    if empty:
        raise IRLLRecError(f"{path} has a header and no rows: export it again.")
    if dialect.quotes and quotes.number % 2:
        raise IRLLRecError(
            f"{path} has an odd number of double quotes, so that one is never closed or the file is cut short: mend "
            f"it, or give --no-quotes if quotes are ordinary characters in it."
        )


class _QuoteCounter:
    """Counts the quotes of a file as it is read: pyarrow takes one that is never closed for one closed at the end."""

    closed = False

    def __init__(self, file: BinaryIO):
        self._file = file
        self.number = 0

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.number += content.count(b'"')
        return content

    def close(self) -> None:
        self._file.close()


def _open(path: Path, file: Any, names: list[str] | None, dialect: Dialect) -> pyarrow.csv.CSVStreamingReader:
    try:
        return pyarrow.csv.open_csv(
            file,
            # One thread: others would read ahead, and hold what is not yet wanted.
            pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK),
            pyarrow.csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char='"' if dialect.quotes else False,
                newlines_in_values=dialect.quotes,
            ),
            pyarrow.csv.ConvertOptions(
                include_columns=names,
                column_types={name: pa.string() for name in names or ()},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise IRLLRecError(f"{path} cannot be read as CSV ({_first_line(error)}): mend it.") from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]


def _is_numeric(values: pa.Array) -> bool:
    """Whether each is a number or empty; to a cast alone, ``nan`` and ``inf`` are numbers as well."""
    plain = pc.match_substring_regex(values, r"^ *([-+]?[0-9.]+([eE][-+]?[0-9]+)?)? *$")
    return pc.all(plain, min_count=0).as_py() and _casts(values)


def _casts(values: pa.Array) -> bool:
    try:
        _cast(values)
    except pa.ArrowInvalid:
        return False
    return True


def _cast(values: pa.Array) -> pa.Array:
    """Numbers; null where empty."""
    trimmed = pc.utf8_trim_whitespace(values)
    return pc.cast(pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed), pa.float64())


def _floats(path: Path, name: str, values: pa.Array) -> pa.Array:
    try:
        return _cast(values)
    except pa.ArrowInvalid as error:
        raise IRLLRecError(f"{path}, column {name}, holds what is no number ({error}): name another column.") from None


def _seconds(path: Path, name: str, values: pa.Array) -> pa.Array:
    if _casts(values):
        return _cast(values)
    try:
        dates = pd.to_datetime(values.to_pandas().replace("", None), utc=True, format="ISO8601")
    except ValueError as error:
        raise IRLLRecError(
            f"{path}, column {name}, holds what is neither a number nor a date as 2024-12-31 or "
            f"2024-12-31T23:59:59 ({_first_line(error)}): convert it, or name another column."
        ) from None
    seconds = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return pa.array(seconds, pa.float64(), from_pandas=True)
