"""Reviews, items and users from CSV files of any delimiter."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recbole_irllrec.errors import IRLLRecError

from .convert import Features, Reviews
from .sources import open_text, refuse_open_quote
from .times import Times
from .values import finite, floats, without_missing

_BLOCK = 1 << 24  # bytes; a row must fit


@dataclass(frozen=True)
class Dialect:
    """How the values of a file are parted."""

    delimiter: str = ","
    quotes: bool = True  # whether a double quote at the beginning of a value encloses it
    backslash: bool = False  # whether a backslash makes the next character an ordinary one


def csv_reviews(path: Path, columns: dict[str, str | None], dialect: Dialect) -> Reviews:
    """The reviews of a CSV file with a header.

    Args:
        path: the file, plain or gzipped.
        columns: for each column of `convert.REVIEWS` the file's column, or None where it has none. Timestamps are
            what `times` reads, and become seconds since 1970.
        dialect: how its values are parted.

    Raises:
        IRLLRecError: while it is read: the file is no such table, has no such column, or a row has no user or item.
    """
    counts: Counter[str] = Counter()
    wanted = {ours: theirs for ours, theirs in columns.items() if theirs is not None}
    return Reviews(_parsed(path, wanted, dialect, counts), counts)


def _parsed(path: Path, wanted: dict[str, str], dialect: Dialect, counts: Counter[str]) -> Iterator[pa.RecordBatch]:
    times = Times(path, wanted.get("timestamp", ""), counts)
    row = 1
    for batch in _batches(path, list(wanted.values()), dialect):
        arrays = dict(zip(wanted, batch.columns, strict=True))
        for side in ("user", "item"):
            _refuse_empty(path, row, wanted[side], arrays[side])
        if "rating" in arrays:
            arrays["rating"] = floats(path, wanted["rating"], row, arrays["rating"])
        if "timestamp" in arrays:
            arrays["timestamp"] = times.seconds(row, arrays["timestamp"])
        yield pa.record_batch(arrays)
        row += len(batch)


def csv_features(path: Path, id_column: str, side: str, taken: set[str], dialect: Dialect) -> Features:
    """What a CSV file says about users or items: every column but the id's.

    A column that holds numbers and words for nothing alone becomes a ``float``, any other a ``token_seq``.

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
    fields = fields_of(path, numeric, side, taken)
    return Features(fields, _identified(path, {id_column: False, **numeric}, dialect), path, once=True)


def fields_of(path: Path, numeric: dict[str, bool], side: str, taken: set[str]) -> dict[str, str]:
    """Fields of columns, which may hold numbers, and RecBole's types of them; the other arguments are `csv_features`'s.

    Raises:
        IRLLRecError: a column's name cannot be a field's.
    """
    fields = {}
    for name, is_numeric in numeric.items():
        field = f"{side}_{name}" if name in taken else name
        if not re.fullmatch(r'[^:\x00-\x1f"]+', field) or field in fields:
            raise IRLLRecError(f"{path} has a column {name!r}, which cannot be a field's name: rename it.")
        fields[field] = "float" if is_numeric else "token_seq"
    taken |= set(fields)
    return fields


def _identified(path: Path, numeric: dict[str, bool], dialect: Dialect) -> Iterator[pa.RecordBatch]:
    names = list(numeric)
    row = 1
    for batch in _batches(path, names, dialect):
        _refuse_empty(path, row, names[0], batch[0])
        columns = [without_missing(batch[name]) if numeric[name] else batch[name] for name in names]
        yield pa.record_batch(columns, names)
        row += len(batch)


def _is_numeric(values: pa.Array) -> bool:
    known = without_missing(values)
    return finite(known).null_count == known.null_count


def _refuse_empty(path: Path, row: int, name: str, ids: pa.Array) -> None:
    where = pc.index(ids, "").as_py()
    if where >= 0:
        raise IRLLRecError(f"{path}, row {row + where}, has no {name}: fill it or take the row out.")


def _header(path: Path, dialect: Dialect) -> list[str]:
    with open_text(path) as file:
        try:
            names = _open(path, file, None, dialect).schema.names
        except UnicodeDecodeError:
            raise IRLLRecError(f"{path}, line 1, is not UTF-8: convert the file to UTF-8.") from None
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
        quotes = _Quotes(path, file, dialect)
        try:
            for batch in _open(path, quotes, names, dialect):
                empty = empty and len(batch) == 0
                yield batch
        except pa.ArrowInvalid as error:
            raise IRLLRecError(f"{path} cannot be read as CSV ({_first_line(error)}): mend it.") from None
    if empty:
        raise IRLLRecError(f"{path} has a header and no rows: export it again.")
    if dialect.quotes:
        refuse_open_quote(path, quotes.number, ", or give --no-quotes if quotes are ordinary characters in it")


class _Quotes:
    """Looks at the quotes of a file as it is read, with which pyarrow is content whatever they are.

    It takes one after a backslash for the end of the value; see also `refuse_open_quote`.
    """

    closed = False

    def __init__(self, path: Path, file: BinaryIO, dialect: Dialect):
        self._path, self._file, self._dialect = path, file, dialect
        # In a file that doubles its quotes, only a delimiter, a line's end or another quote comes after a quote.
        self._escaped = re.compile(rb'\\"[^"\r\n%s]' % re.escape(dialect.delimiter.encode()))
        self._lines = 1
        self._rest = b""  # of what was read before, whose meaning the next byte decides
        self.number = 0

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        if self._dialect.backslash:
            plain = re.sub(rb"\\.", b"", self._rest + content, flags=re.DOTALL)
            self._rest = b"\\" if plain.endswith(b"\\") else b""
            self.number += plain.count(b'"')
        elif self._dialect.quotes:
            self._refuse_backslash(content)
            self.number += content.count(b'"')
        return content

    def _refuse_backslash(self, content: bytes) -> None:
        seen = self._rest + content
        if found := self._escaped.search(seen):
            line = self._lines + seen.count(b"\n", 0, found.start())
            raise IRLLRecError(
                f"{self._path}, line {line}, has a quote after a backslash: give --backslash if the file writes quotes "
                f"within values so, or --no-quotes if quotes are ordinary characters in it."
            )
        self._rest = seen[-2:]
        self._lines += seen.count(b"\n", 0, len(seen) - len(self._rest))

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
                escape_char="\\" if dialect.backslash else False,
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
