"""RecBole's atomic files and the settings beside them, as every converter writes them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from tqdm import tqdm

from recbole_irllrec.data.tokens import LONGEST
from recbole_irllrec.errors import IRLLRecError

_ROWS = 1 << 18  # lines put together at a time
_BREAKS = r"[\x00-\x1f\x7f]+"


def check_name(name: str) -> None:
    """Refuse a name that no data set can have.

    Raises:
        IRLLRecError: it is no plain file name, or ``ml-100k``, which RecBole reads from its own package only.
    """
    if not re.fullmatch(r"[^/\\\s.][^/\\\s]*", name):
        raise IRLLRecError(f"The name {name!r} cannot be a data set's: use letters, digits, - and _.")
    if name == "ml-100k":
        raise IRLLRecError("RecBole reads a data set called ml-100k from its own package only: give another --name.")


def refuse_overwriting(paths: Sequence[Path], force: bool) -> None:
    """Refuse to write where something is already, unless the user wants it.

    Raises:
        IRLLRecError: one of the paths is there and ``force`` is not set.
    """
    for path in paths:
        if path.exists() and not force:
            raise IRLLRecError(f"{path} is already there: give --force to replace it, or another --name or --out.")


def write_header(file: BinaryIO, fields: Sequence[str]) -> None:
    """Write the first line: the fields as ``name:type``."""
    file.write(("\t".join(fields) + "\n").encode())


def write_lines(file: BinaryIO, columns: Sequence[pa.Array]) -> None:
    """Write rows of values that are fit for an atomic file.

    Args:
        columns: at least two arrays [n] of strings, or dictionaries of strings; null is empty.
    """
    for start in tqdm(range(0, len(columns[0]), _ROWS), desc=Path(file.name).name, delay=1):
        parts = [pc.fill_null(column.slice(start, _ROWS).cast(pa.large_string()), "") for column in columns]
        lines = pc.binary_join_element_wise(*parts, pa.scalar("\t", pa.large_string()))
        file.write(("\n".join(lines.to_pylist()) + "\n").encode())


def numbers(values: pa.Array) -> pa.Array:
    """Float64 as strings, from which the same numbers are read; whole numbers without exponent."""
    written = pc.cast(values, pa.string())
    whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2**53))
    return pc.if_else(
        pc.fill_null(whole, False), pc.cast(pc.if_else(whole, values, 0.0), pa.int64()).cast(pa.string()), written
    )


def harmless(values: pa.Array) -> pa.Array:
    """Texts as values of a feature file: they fit a line, and RecBole and we read the same.

    A text with a quote at its beginning is put in quotes, as CSV does it. What Python's csv module would not read is
    cut off.
    """
    plain = pc.utf8_slice_codeunits(in_a_line(values), 0, LONGEST // 2 - 1)
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(plain, '"', '""'), '"', "")
    return pc.if_else(pc.starts_with(plain, '"'), quoted, plain)


def in_a_line(values: pa.Array) -> pa.Array:
    """Texts, whose tabs, line breaks and other control characters become a space; "" where one is missing."""
    return pc.utf8_trim(pc.replace_substring_regex(pc.fill_null(values, ""), _BREAKS, " "), " ")


def settings_text(settings: dict[str, Any]) -> str:
    """Settings of RecBole as YAML."""
    return yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
