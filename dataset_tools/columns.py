"""Columns of Parquet and CSV files of any origin, with ids that stay what they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.tables.table_file import plain_footer

from .sources import refuse_open_quote

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv")
_BLOCK = 32 << 20  # bytes of a CSV file that are parsed at once; a row must fit


def column_names(path: Path, separator: str | None = None) -> list[str]:
    """The names of the columns.

    Args:
        path: a Parquet or a CSV file, by its suffix (``.csv.gz`` as well).
        separator: of a CSV file; None is a tab for ``.tsv`` and a comma otherwise.

    Raises:
        IRLLRecError: the file is neither, or is damaged, or has two columns of one name.
    """
    with _one_sentence(path):
        if _is_parquet(path):
            names = pq.ParquetFile(path, metadata=plain_footer(path)).schema_arrow.names
        else:
            with pa_csv.open_csv(path, pa_csv.ReadOptions(block_size=_BLOCK), _parsing(path, separator)) as file:
                names = file.schema.names
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise IRLLRecError(f"{path} has several columns {', '.join(sorted(repeated))}: rename all but one.")
    return names


def read_columns(
    path: Path,
    strings: Sequence[str],
    numbers: Sequence[str] = (),
    others: Sequence[str] = (),
    separator: str | None = None,
) -> pa.Table:
    """Read columns.

    Args:
        path: a Parquet or a CSV file, by its suffix.
        strings: names of columns to read as strings; integers become decimal numbers, and what a CSV file holds stays
            as it is, "007" and "NA" too.
        numbers: names of columns of numbers; from a CSV file they are float32, empty values null.
        others: names of columns that are read as they are; strings from a CSV file.
        separator: of a CSV file; None is a tab for ``.tsv`` and a comma otherwise.

    Raises:
        IRLLRecError: the file is neither, or is damaged, has no such column, or the column is of another kind.
    """
    names = column_names(path, separator)
    wanted = list(dict.fromkeys([*strings, *numbers, *others]))
    for name in wanted:
        if name not in names:
            raise IRLLRecError(
                f"{path} has no column {name}, but {_listed(names)}: name the right one, or rename the column."
            )
    with _one_sentence(path):
        if _is_parquet(path):
            file = pq.ParquetFile(path, metadata=plain_footer(path), page_checksum_verification=True)
            table = file.read(wanted)
        else:
            with pa.input_stream(path) as content:
                refuse_open_quote(path, sum(some.count(b'"') for some in iter(partial(content.read, _BLOCK), b"")))
            types = {name: pa.float32() if name in numbers else pa.string() for name in wanted}
            table = pa_csv.read_csv(
                path,
                pa_csv.ReadOptions(block_size=_BLOCK),
                _parsing(path, separator),
                pa_csv.ConvertOptions(column_types=types, include_columns=wanted, strings_can_be_null=False),
            )
    for name in strings:
        column = _as_strings(table[name], f"{path}, column {name},")
        table = table.set_column(table.schema.get_field_index(name), name, column)
    for name in numbers:
        kind = table.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise IRLLRecError(
                f"{path}, column {name}, is of type {kind}, where numbers are expected: name the columns of the "
                f"embeddings, or leave others out."
            )
    return table


def _as_strings(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise IRLLRecError(f"{what} is of type {kind}, where strings or integers are expected: convert it.")
    return pc.cast(column, pa.large_string())


def _is_parquet(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] and suffixes[-1] in PARQUET:
        return True
    if any(suffix in CSV for suffix in suffixes[-2:]):
        return False
    raise IRLLRecError(f"{path} is neither Parquet nor CSV by its name: name it .parquet, .csv or .tsv.")


def _parsing(path: Path, separator: str | None) -> pa_csv.ParseOptions:
    delimiter = separator or ("\t" if ".tsv" in map(str.lower, path.suffixes) else ",")
    return pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:7])} and {len(names) - 7} more"


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise IRLLRecError(f"There is no file {path}: correct the path.") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, IRLLRecError):
            raise
        reason = str(error).splitlines()[0][:200].rstrip(".") if str(error) else type(error).__name__
        raise IRLLRecError(f"{path} cannot be read ({reason}): mend it, or name another file.") from None
