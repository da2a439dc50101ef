"""Big text files read piece by piece: plain or gzipped, with a progress bar, and errors that name the line."""

import ast
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from recbole_irllrec.errors import IRLLRecError

_GZIP = b"\x1f\x8b"
# Names by which Python, pandas and JSON print numbers and constants.
_NAMES: dict[str, float | None] = {"nan": math.nan, "NaN": math.nan, "inf": math.inf, "Infinity": math.inf}
_NAMES |= {"null": None, "true": True, "false": False}


class _Counted(io.RawIOBase):
    """A file that moves a progress bar as it is read."""

    def __init__(self, file: BinaryIO, bar: tqdm):
        self._file, self._bar = file, bar

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self._bar.update(n)
        return n


@contextmanager
def open_text(path: Path) -> Iterator[BinaryIO]:
    """Open a file, plain or gzipped whatever its name, for reading bytes, with a progress bar on standard error.

    Raises:
        IRLLRecError: the file is empty, or while it is read, damaged or cut short.
        FileNotFoundError: it is not there.
    """
    size = path.stat().st_size
    if size == 0:
        raise IRLLRecError(f"{path} is empty: fetch or export it again.")
    bar = tqdm(total=size, unit="B", unit_scale=True, desc=path.name, delay=1)
    with open(path, "rb") as raw, bar:
        zipped = raw.read(2) == _GZIP
        raw.seek(0)
        counted = io.BufferedReader(_Counted(raw, bar), 1 << 20)
        file: Any = gzip.GzipFile(fileobj=counted) if zipped else counted
        try:
            yield file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise IRLLRecError(f"{path} is cut short or damaged ({error}): fetch it again.") from None


def refuse_open_quote(path: Path, quotes: int, way_out: str = "") -> None:
    """Refuse a CSV file with so many quotes; pyarrow takes one that is never closed for one closed at the end.

    Raises:
        IRLLRecError: their number is odd.
    """
    if quotes % 2:
        raise IRLLRecError(
            f"{path} has an odd number of double quotes, so that one is never closed or the file is cut short: mend "
            f"it{way_out}."
        )


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file, one a line, with the number of the line.

    Lines of the metadata of 2014 are Python's notation; they are read as literals, nothing in them runs.

    Raises:
        IRLLRecError: a line is not UTF-8 or no JSON object, or there is none in the file.
    """
    number = 0
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _object(path, number, line)
    if number == 0:
        raise IRLLRecError(f"{path} is empty: fetch or export it again.")


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        text = line.decode()
        found = json.loads(text)
    except UnicodeDecodeError:
        raise IRLLRecError(f"{path}, line {number}, is not UTF-8: convert the file to UTF-8.") from None
    except (ValueError, RecursionError):
        found = _python_literal(text)
    if not isinstance(found, dict):
        raise IRLLRecError(f"{path}, line {number}, is no JSON object ({line[:40]!r}): mend the line or take it out.")
    return found


class _Names(ast.NodeTransformer):
    """Puts in place of names what they stand for."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_NAMES[node.id]) if node.id in _NAMES else node


def _python_literal(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return None
    try:
        return ast.literal_eval(_Names().visit(ast.parse(text.strip(), mode="eval")))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
