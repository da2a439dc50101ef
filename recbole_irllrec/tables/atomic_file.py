"""RecBole's atomic files: what makes one unreadable, or read as something else than it says, in one sentence.

RecBole reads them with pandas and Python's csv module, which pass over a row with too few or too many values, let a
quote that does not close swallow lines, and name no line of what they cannot read.
"""

import csv
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from pandas._libs.parsers import STR_NA_VALUES

from ..errors import IRLLRecError

TYPES = ("token", "token_seq", "float", "float_seq")
MISSING = frozenset(STR_NA_VALUES)  # what pandas takes for a missing number
_NAMES = {"\t": "tab", " ": "space", ",": "comma", ";": "semicolon", "|": "bar"}
_PLURALS = {"comma": "commas"}


def read_text(path: str | os.PathLike[str], encoding: str | None = None) -> str:
    """A file's text, its line ends ``\\n``; without an encoding as UTF-8, as RecBole does.

    Raises:
        IRLLRecError: the file cannot be read, or is no text in this encoding.
    """
    encoding = encoding or "utf-8"
    if os.path.isdir(path):
        raise IRLLRecError(f"{path} is a folder, where a file belongs: put the file in its place.")
    try:
        content = Path(path).read_bytes()
        text = content.decode(encoding)
    except OSError as error:
        raise IRLLRecError(f"{path} cannot be read ({error.strerror}): put that right.") from None
    except LookupError:
        raise IRLLRecError(f"The setting encoding is {encoding!r}, which is none: set it to that of {path}.") from None
    except UnicodeError as error:
        line = content.count(b"\n", 0, getattr(error, "start", 0)) + 1
        raise IRLLRecError(
            f"{path}, line {line}: that is not {encoding} text: convert the file, or set `encoding` to what it is."
        ) from None
    if text.startswith("\ufeff"):
        raise IRLLRecError(
            f"{path}, line 1: it begins with a byte order mark, which would belong to the first column's name: save "
            f"the file as UTF-8 without it, or set `encoding: utf-8-sig`."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_header(path: str | os.PathLike[str], first_line: str, separator: str = "\t") -> dict[str, str]:
    """The columns that an atomic file's first line names, each with its type.

    Raises:
        IRLLRecError: the line is no list of ``name:type``, or names a column twice.
    """
    where = f"{path}, line 1"
    if not first_line.strip():
        raise IRLLRecError(
            f"{where}: it is empty, where name:type is expected for each column, parted by {_name(separator)}: put "
            f"that line in, or make the file again."
        )
    fields = first_line.split(separator)
    if any(not _is_field(field) for field in fields):
        for other in _NAMES:
            parts = first_line.split() if other == " " else first_line.split(other)
            if other != separator and len(parts) > 1 and all(map(_is_field, parts)):
                raise IRLLRecError(
                    f"{where}: the columns are {_parted(other, separator)}: part them, and the values below them, by "
                    f"{_name(separator)}, or set `field_separator`."
                )
    for field in fields:
        name, colon, kind = field.partition(":")
        if not colon or not name or ":" in kind:
            raise IRLLRecError(
                f"{where}: it is the first line, and {field[:80]!r} stands in it where name:type is expected for each "
                f"column, parted by {_name(separator)} (`field_separator`): put that line in, such as "
                f"user_id:token, or set the separator."
            )
        if kind not in TYPES:
            raise IRLLRecError(
                f"{where}: the column {name} has the type {kind!r}, which is none: write one of {', '.join(TYPES)}."
            )
    names = Counter(field.partition(":")[0] for field in fields)
    if repeated := [name for name, n in names.items() if n > 1]:
        raise IRLLRecError(f"{where}: it has several columns {repeated[0]}: rename or remove all but one.")
    return dict(field.split(":") for field in fields)


def read_fields(path: str | os.PathLike[str], separator: str = "\t", encoding: str | None = None) -> dict[str, str]:
    """The columns of a file and their types, by its first line alone; errors are those of `read_header`."""
    with open(path, encoding=encoding or "utf-8", errors="replace") as file:
        return read_header(path, file.readline().rstrip("\n"), separator)


def checked_columns(path: str | os.PathLike[str], separator: str = "\t", encoding: str | None = None) -> dict[str, str]:
    """Refuse an atomic file of which RecBole would read something else than what stands there.

    Takes a small part of the time that RecBole needs to read it, and memory for the file and each separator in it.

    Returns:
        The columns, each with its type.

    Raises:
        IRLLRecError: the file is no text, or has no list of columns in its first line, a quote that does not close in
            its line, a row of too few or too many values, or a value that Python's csv module does not read.
    """
    text = read_text(path, encoding)
    columns = read_header(path, text[: text.find("\n")] if "\n" in text else text, separator)
    if len(separator.encode()) == 1:  # pandas takes a longer one for a regular expression
        _check_rows(path, text.encode(), separator, len(columns))
    return columns


def _check_rows(path: str | os.PathLike[str], content: bytes, separator: str, width: int) -> None:
    if (place := content.find(b"\0")) >= 0:
        raise IRLLRecError(
            f"{path}, line {_line(content, place)}: it holds a NUL character, at which values are cut off: remove it."
        )
    if b'"' in content and (found := _stray_quote(separator).search(content)):
        value = content[found.start("value") : found.end("value") + 40].split(b"\n")[0].decode(errors="ignore")
        raise IRLLRecError(
            f"{path}, line {_line(content, found.start('value'))}: {value!r} begins with a quote that does not close "
            f'where the value ends: take the " away, or double each " in the value and quote the whole of it.'
        )
    codes = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    if not content.endswith(b"\n"):
        ends = np.append(ends, len(codes))
    starts = np.append(0, ends[:-1] + 1)
    before = np.searchsorted(np.flatnonzero(codes == ord(separator)), ends)
    counts = np.diff(before, prepend=0)  # [lines] separators
    suspect = ((counts != width - 1) & (ends > starts)) | (ends - starts > csv.field_size_limit())
    for line in np.flatnonzero(suspect):
        values = _values(content[starts[line] : ends[line]].decode(), separator)
        if len(values) == 1 and not values[0].strip():
            continue  # RecBole skips it
        where = f"{path}, line {line + 1}"
        if len(values) != width:
            some = f"{len(values)} value{'s' if len(values) > 1 else ''}"
            found_other = next((n for n in _NAMES if len(values) == 1 < width and n in values[0].strip()), None)
            hint = f" ({_parted(found_other, separator)})" if found_other else ""
            raise IRLLRecError(
                f"{where}: it has {some}{hint}, where the first line names {width}: write one value for each, "
                f"parted by {_name(separator)}; a missing one is empty."
            )
        if (longest := max(map(len, values))) > csv.field_size_limit():
            raise IRLLRecError(
                f"{where}: a value has {longest} characters, and RecBole reads {csv.field_size_limit()} at most: "
                f"shorten it."
            )


def _values(line: str, separator: str) -> list[str]:
    if '"' not in line:
        return line.split(separator)
    limit = csv.field_size_limit(len(line) + 1)
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    finally:
        csv.field_size_limit(limit)


def _stray_quote(separator: str) -> re.Pattern[bytes]:
    """A value that begins with a quote and is no quoted value, which would end where its line does."""
    end = rb"(?:%b|$)" % re.escape(separator.encode())
    return re.compile(rb'(?m)(?:^|%b)(?P<value>"(?!(?:[^"\n]|"")*"%b))' % (re.escape(separator.encode()), end))


def unreadable(
    path: str | os.PathLike[str],
    columns: dict[str, str],
    separator: str,
    seq_separator: str,
    encoding: str | None,
    error: Exception,
) -> IRLLRecError:
    """What is said of a file that RecBole could not read though `check` lets it pass; slow, as it reads it again.

    Args:
        path: the file.
        columns: those that RecBole loads, with their types.
        separator: parts values.
        seq_separator: parts the values of a sequence.
        encoding: that of the file.
        error: what RecBole, or pandas, raised.
    """
    try:
        names = [f"{name}:{kind}" for name, kind in columns.items()]
        frame = pd.read_csv(
            path,
            delimiter=separator,
            usecols=names,
            dtype=str,
            keep_default_na=False,
            encoding=encoding,
            engine="python",
        )
    except Exception:  # the error that is to be explained, or one like it
        frame = pd.DataFrame()
    else:
        if frame.empty:
            return IRLLRecError(f"{path} has no rows below its first line: fill it, or remove it.")
    for (name, kind), (_, values) in zip(columns.items(), frame.items(), strict=False):
        if kind not in ("float", "float_seq"):
            continue
        written = values[~values.isin(MISSING)]
        if kind == "float_seq":
            written = written.str.split(seq_separator, regex=False).explode()
            written = written[written != ""]
        bad = written[
            pd.to_numeric(written, errors="coerce").isna() & ~written.str.lower().isin(["nan", "+nan", "-nan"])
        ]
        if len(bad):
            where = f"{path}, line {line_of_row(path, bad.index[0], separator, encoding)}"
            expected = "numbers are" if kind == "float_seq" else "a number is"
            return IRLLRecError(
                f"{where}: the column {name}:{kind} has {bad.iloc[0][:80]!r}, where {expected} expected: correct it, "
                f"leave it empty, or leave the column out of `load_col`."
            )
    return IRLLRecError(f"{path} cannot be read ({reason(error)}): correct it, or make it again.")


def line_of_row(path: str | os.PathLike[str], row: int, separator: str, encoding: str | None) -> int:
    """The line, counted from 1, of a row, counted from 0 as pandas does, which skips lines without content."""
    lines = pd.Series(read_text(path, encoding).split("\n")[1:])
    filled = (lines.str.strip() != "") | lines.str.contains(separator, regex=False)
    return int(np.flatnonzero(filled)[row]) + 2


def reason(error: Exception) -> str:
    """An error's first line."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return first if type(error) is ValueError else f"{type(error).__name__}: {first}"


def _is_field(field: str) -> bool:
    name, _, kind = field.partition(":")
    return bool(name) and kind in TYPES


def _line(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


def _name(separator: str) -> str:
    return f"a {_NAMES[separator]}" if separator in _NAMES else repr(separator)


def _parted(found: str, wanted: str) -> str:
    name = _NAMES[found]
    return f"parted by {_PLURALS.get(name, name + 's')} where {_name(wanted)} belongs"
