"""Embeddings that people already have, turned into text tables."""

import re
import zipfile
from collections.abc import Callable, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.tables.intents import numbers_in_strings
from recbole_irllrec.tables.table_file import common_length

from .columns import column_names, read_columns

T = TypeVar("T")

ID, TEXT, VECTORS = "token", "text", "embedding"  # names of columns, where none are given
NPZ_ID, NPZ_VECTORS = "ids", "embeddings"
_BRACKETS = r"^\s*[\[(]?\s*|\s*[\])]?\s*$"
_BETWEEN_NUMBERS = r"[\s,;]+"
_INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")  # what pandas calls it in a CSV file, read again, in Parquet


class Given(NamedTuple):
    """Embeddings with their ids, as a file gives them."""

    tokens: np.ndarray  # [n] str
    embeddings: np.ndarray  # [n, dim]
    texts: np.ndarray | None  # [n] str


def read_embeddings(
    path: Path,
    ids: str | None = None,
    vectors: str | None = None,
    texts: str | None = None,
    separator: str | None = None,
) -> Given:
    """Read embeddings from ``.npy``, ``.npz``, Parquet or CSV, by the file's suffix.

    Args:
        path: the file.
        ids: a file with one id a line, or a ``.npy`` of strings or integers; or the name of the column or array with
            the ids. Without it "token", in a ``.npz`` "ids"; a ``.npy`` needs a file.
        vectors: the name of the array or column of embeddings: lists, or strings of numbers parted by spaces, commas
            or semicolons; or a pattern such as ``dim_*`` for columns of one number each. Without it "embedding", in a
            ``.npz`` "embeddings"; else all columns but those of ids and texts.
        texts: the name of a column or array of texts, or a Parquet or CSV file with the columns token and text.
        separator: of a CSV file; None is a tab for ``.tsv`` and a comma otherwise.

    Raises:
        IRLLRecError: a file is absent, damaged or of another kind, lacks a column, or holds other than the ids and
            numbers that are expected.
    """
    text_file = Path(texts) if texts and Path(texts).is_file() else None
    text_name = None if text_file else texts
    id_file = Path(ids) if ids and Path(ids).is_file() else None
    suffix = path.suffix.lower()
    if suffix == ".npy":
        given = _read_npy(path, ids, id_file, text_name)
    elif suffix == ".npz":
        given = _read_npz(path, id_file, ids, vectors, text_name)
    else:
        given = _read_columns(path, id_file, ids or ID, vectors, text_name, separator)
    if not (given.embeddings.ndim == 2 and given.embeddings.dtype.kind in "fiu"):
        raise IRLLRecError(
            f"{path} holds {given.embeddings.dtype} of the shape {list(given.embeddings.shape)}, where numbers of the "
            f"shape [ids, dim] are expected: give one row of numbers for each id."
        )
    if len(given.tokens) != len(given.embeddings):
        raise IRLLRecError(
            f"{path} has {len(given.embeddings)} embeddings and {id_file or path} {len(given.tokens)} ids: give one "
            f"id for each embedding, in the same order."
        )
    if (given.tokens == "").any():
        row = int(np.argmax(given.tokens == "")) + 1
        raise IRLLRecError(f"{id_file or path} has an empty id, first in row {row}: fill it, or leave the row out.")
    return given if text_file is None else given._replace(texts=_texts_from(text_file, given.tokens, separator))


def read_texts(path: Path, separator: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read a Parquet or CSV file with the columns token and text: two arrays [n] of str.

    Raises:
        IRLLRecError: it is no such file, or an id is missing in it.
    """
    table = read_columns(path, [ID, TEXT], separator=separator)
    return _strings(table[ID], f"{path}, column {ID},"), pc.fill_null(table[TEXT], "").to_numpy()


def _texts_from(path: Path, tokens: np.ndarray, separator: str | None) -> np.ndarray:
    """The texts of the tokens in a file; "" where it has none."""
    known, texts = read_texts(path, separator)
    places = pc.index_in(pa.array(tokens, pa.large_string()), value_set=pa.array(known, pa.large_string()))
    if places.null_count == len(places):
        raise IRLLRecError(f"{path} has no text for any of the ids: give texts with the same ids.")
    return pc.fill_null(pa.array(texts, pa.large_string()).take(places), "").to_numpy(zero_copy_only=False)


def _read_npy(path: Path, ids: str | None, id_file: Path | None, texts: str | None) -> Given:
    if id_file is None:
        raise IRLLRecError(
            f"{path} holds no ids, and " + (f"{ids} is no file" if ids else "no file of ids is given") + ": name a "
            "text file with one id a line, or a .npy of ids, with --ids."
        )
    if texts is not None:
        raise IRLLRecError(f"{texts} is no file of texts, and {path} holds none: correct the path in --texts.")
    return Given(_read_ids(id_file), _load(path), None)


def _read_npz(path: Path, id_file: Path | None, ids: str | None, vectors: str | None, texts: str | None) -> Given:
    with closing(_load(path)) as file:

        def array(name: str) -> np.ndarray:
            if name not in file.files:
                raise IRLLRecError(f"{path} has no array {name}, but {', '.join(file.files)}: name the right one.")
            return _numpy(path, lambda: file[name])

        tokens = _read_ids(id_file) if id_file else _ids_of(array(ids or NPZ_ID), f"{path}, array {ids or NPZ_ID},")
        words = None if texts is None else _ids_of(array(texts), f"{path}, array {texts},")
        return Given(tokens, array(vectors or NPZ_VECTORS), words)


def _read_columns(
    path: Path, id_file: Path | None, ids: str, vectors: str | None, texts: str | None, separator: str | None
) -> Given:
    names = column_names(path, separator)
    strings = [name for name in (None if id_file else ids, texts) if name is not None]
    parts = _vector_columns(path, names, strings, vectors)
    single = len(parts) == 1 and (vectors or VECTORS) == parts[0]
    table = read_columns(path, strings, [] if single else parts, parts if single else [], separator)
    tokens = _read_ids(id_file) if id_file else _strings(table[ids], f"{path}, column {ids},")
    words = None if texts is None else pc.fill_null(table[texts], "").to_numpy()
    if single:
        return Given(tokens, _from_lists(table[parts[0]], f"{path}, column {parts[0]}"), words)
    return Given(tokens, _from_numbers(table.select(parts)), words)


def _vector_columns(path: Path, names: Sequence[str], strings: Sequence[str], vectors: str | None) -> list[str]:
    """The columns with embeddings: one of lists or strings, or one a dimension."""
    if vectors is None:
        found = [VECTORS] if VECTORS in names else [name for name in names if name not in strings]
        for name in filter(_INDEX.fullmatch, found):
            raise IRLLRecError(
                f"{path} has a column {name!r}, as a data frame's index is written, which is no dimension of an "
                f"embedding: write the frame without its index, or name the other columns with --vectors."
            )
    else:
        found = [vectors] if vectors in names else [name for name in names if fnmatchcase(name, vectors)]
    if not found:
        raise IRLLRecError(
            f"{path} has no column of embeddings{f' {vectors}' if vectors else ''}, but {', '.join(names[:8])}: name "
            f"it, or a pattern, with --vectors."
        )
    return found


def _from_lists(column: pa.ChunkedArray, what: str) -> np.ndarray:
    """Lists, or strings of numbers, as float16 or float32 [n, dim]; zeros for a null or an empty string."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        bare = pc.replace_substring_regex(column.combine_chunks().cast(pa.large_string()), _BRACKETS, "")
        strings = pc.replace_substring_regex(pc.fill_null(bare, ""), _BETWEEN_NUMBERS, " ")
        return numbers_in_strings(strings, what, "write numbers parted by spaces")
    kind = column.type
    if not (pa.types.is_list(kind) and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))):
        raise IRLLRecError(
            f"{what}, is of type {kind}, where lists of numbers are expected: convert it, or name columns of one "
            f"number each with a pattern in --vectors."
        )
    dim = common_length(column, what) or 1
    number = np.float16 if pa.types.is_float16(kind.value_type) else np.float32
    embeddings = np.zeros((len(column), dim), number)
    start = 0
    for lists in column.chunks:
        rows = embeddings[start : start + len(lists)]
        there = lists.is_valid().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused
            rows[there] = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
        start += len(lists)
    return embeddings


def _from_numbers(table: pa.Table) -> np.ndarray:
    """Columns of one number each as [n, dim]; a row of nulls is one of zeros, a null among numbers NaN."""
    half = all(pa.types.is_float16(column.type) for column in table.columns)
    embeddings = np.empty((table.num_rows, table.num_columns), np.float16 if half else np.float32)
    missing = np.ones(table.num_rows, bool)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused
        for place, column in enumerate(table.columns):
            embeddings[:, place] = column.to_numpy()
            missing &= column.is_null().to_numpy()
    embeddings[missing] = 0
    return embeddings


def _read_ids(path: Path) -> np.ndarray:
    """One id a line, or a ``.npy`` of strings or integers."""
    if path.suffix.lower() == ".npy":
        return _ids_of(_load(path), f"{path}")
    try:
        lines = path.read_bytes().decode("utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise IRLLRecError(f"{path} is not UTF-8 text: convert it.") from None
    return np.array([line.removesuffix("\r") for line in lines], object)


def _ids_of(array: np.ndarray, what: str) -> np.ndarray:
    """An array of strings, bytes in UTF-8 or integers as strings [n]."""
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError:
            raise IRLLRecError(f"{what} holds bytes that are not UTF-8: convert them to strings.") from None
    if array.ndim != 1 or array.dtype.kind not in "Uiu":
        raise IRLLRecError(
            f"{what} holds {array.dtype} of the shape {list(array.shape)}, where one string or integer for each "
            f"embedding is expected: convert it."
        )
    return array.astype(str).astype(object)


def _strings(column: pa.ChunkedArray, what: str) -> np.ndarray:
    if column.null_count:
        raise IRLLRecError(f"{what} is empty in {column.null_count} rows: fill it, or leave these rows out.")
    return column.to_numpy()


def _load(path: Path) -> Any:
    """What numpy reads: of a ``.npy`` an array, of a ``.npz`` a file of arrays."""
    found = _numpy(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))
    if isinstance(found, np.ndarray) != (path.suffix.lower() == ".npy"):
        raise IRLLRecError(f"{path} is a {'.npy' if isinstance(found, np.ndarray) else '.npz'} file: name it so.")
    return found


def _numpy(path: Path, read: Callable[[], T]) -> T:
    """Read arrays; those of Python objects, which are pickles, are refused."""
    try:
        return read()
    except FileNotFoundError:
        raise IRLLRecError(f"There is no file {path}: correct the path.") from None
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, KeyError) as error:
        reason = str(error).splitlines()[0][:150].rstrip(".") if str(error) else type(error).__name__
        raise IRLLRecError(
            f"{path} is damaged or holds other than numbers and strings ({reason}): save it with numpy.save or "
            f"numpy.savez, and no objects."
        ) from None
