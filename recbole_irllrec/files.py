"""Files that are never seen half-written."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from .errors import IRLLRecError

# The formats in which tables are written.
TABLE_SUFFIXES = (".parquet", ".csv", ".jsonl")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open ``path`` for writing bytes; readers see the old content until the block ends, and then the new.

    The bytes go to a temporary file in the same folder (made if it is not there), which takes the place of ``path``
    when the block ends. If the block raises, ``path`` stays as it was and the temporary file is removed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(target)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a crash of the machine could keep the new name and lose the bytes
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            error.filename = str(target)  # a full disk names no file
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a folder whose files all take their place in the folder ``path`` at once, when the block ends.

    The block writes into a temporary folder beside ``path``. Files of ``path`` that it does not write stay. If it
    raises, ``path`` stays as it was. A process killed between the last two renames leaves the old folder, whole, as
    ``<path>.replaced``.

    Raises:
        IRLLRecError: there is such a ``<path>.replaced``.
    """
    target = Path(path).resolve()
    replaced = target.with_name(f"{target.name}.replaced")
    if replaced.exists():
        raise IRLLRecError(
            f"{replaced} is what an interrupted command has put aside of {path}: rename it back if {path} is missing, "
            f"and delete it otherwise."
        )
    temporary = _temporary(target)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for written in filter(Path.is_file, temporary.iterdir()):
            with open(written, "rb") as file:
                os.fsync(file.fileno())
        if target.is_dir():
            _link_missing(target, temporary)
            os.rename(target, replaced)
        try:
            os.rename(temporary, target)
        except BaseException:
            if replaced.exists():
                os.rename(replaced, target)
            raise
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.filename is None:  # such as a full disk, of which Python has no name
            error.filename = os.fspath(path)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def open_to_read(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file.

    Raises:
        IRLLRecError: says why it cannot be opened.
    """
    try:
        return open(path, "rb")
    except OSError as error:
        raise IRLLRecError(f"{os.fspath(path)} cannot be opened ({error.strerror}); check the path.") from error


def refuse_unknown_suffix(path: str | os.PathLike[str]) -> None:
    """Raise an `IRLLRecError` unless tables are written in the format that the file's name ends in."""
    if Path(path).suffix not in TABLE_SUFFIXES:
        raise IRLLRecError(f"The format of {path} is unknown: let its name end in {', '.join(TABLE_SUFFIXES)}.")


def write_json(path: str | os.PathLike[str], content: Any, default: Callable[[Any], Any] | None = None) -> None:
    """Write a file of JSON, atomically; ``default`` is that of ``json.dumps``."""
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1, default=default).encode())


@contextmanager
def locked(path: str | os.PathLike[str], refusal: str) -> Iterator[None]:
    """Let one process at a time into the block, by a file for the lock, in a folder that is made if it is not there.

    Raises:
        IRLLRecError: another process is in it; the sentence is ``refusal``.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise IRLLRecError(refusal) from None
    try:
        yield
    finally:
        lock.release()


def _temporary(target: Path) -> Path:
    """A new name beside it. Not tempfile's: its files are readable by their owner only, and would stay so."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")


def _link_missing(source: Path, target: Path) -> None:
    """Give ``target`` what it lacks of ``source``, without moving a byte where the file system allows it."""
    for here in source.iterdir():
        there = target / here.name
        if os.path.lexists(there):
            continue
        if here.is_dir() and not here.is_symlink():
            shutil.copytree(here, there, copy_function=_link, symlinks=True)
        else:
            _link(here, there)


def _link(here: str | Path, there: str | Path) -> None:
    try:
        os.link(here, there, follow_symlinks=False)
    except OSError:
        shutil.copy2(here, there, follow_symlinks=False)
