"""What stands in a column of numbers of somebody's file: numbers, words for nothing, and what is neither."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pandas._libs.parsers import STR_NA_VALUES

from recbole_irllrec.errors import IRLLRecError

# What pandas takes for nothing, in any case, dashes, and what MySQL and IMDb write; an empty value is among them.
MISSING = frozenset(word.lower() for word in STR_NA_VALUES) | {"nat", "-", "--", "\u2013", "\u2014", "?", r"\n"}
_MISSING = pa.array(sorted(MISSING))
_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"  # not nan, inf, 0x10 or 1_000


def without_missing(values: pa.Array) -> pa.Array:
    """Strings without the white space around them, and null where one is a word for nothing."""
    trimmed = pc.utf8_trim_whitespace(values)
    return null_where(pc.is_in(pc.utf8_lower(trimmed), _MISSING), trimmed)


def finite(values: pa.Array) -> pa.Array:
    """Strings as float64, null where one is no finite number."""
    numbers = pc.cast(null_where(pc.invert(pc.match_substring_regex(values, _NUMBER)), values), pa.float64())
    return null_where(pc.is_inf(numbers), numbers)


def floats(path: Path, name: str, row: int, values: pa.Array) -> pa.Array:
    """The numbers of a column, float64, null where there is a word for nothing.

    Args:
        path: the file, for the error.
        name: its column.
        row: the number of the first of these rows.
        values: strings.

    Raises:
        IRLLRecError: one of them is neither a finite number nor a word for nothing.
    """
    known = without_missing(values)
    numbers = finite(known)
    refuse_unread(path, name, row, known, numbers, "is no number")
    return numbers


def refuse_unread(path: Path, name: str, row: int, known: pa.Array, read: pa.Array, what: str) -> None:
    """Refuse a column for its first value that is known and was not read.

    Raises:
        IRLLRecError: there is one.
    """
    where = pc.index(pc.and_(pc.is_valid(known), pc.is_null(read)), True).as_py()
    if where >= 0:
        raise IRLLRecError(
            f"{path}, row {row + where}, column {name}, holds {known[where].as_py()[:80]!r}, which {what}: mend it, "
            f"leave the value empty, or name another column."
        )


def null_where(chosen: pa.Array, values: pa.Array) -> pa.Array:
    """The values, and null where chosen (bool) or null already."""
    return pc.if_else(pc.fill_null(chosen, False), pa.scalar(None, values.type), values)
