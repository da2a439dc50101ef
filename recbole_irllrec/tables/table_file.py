"""A text table's Parquet file, of which only what is asked for is read.

The format is described in ``docs/text-tables.md``.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import __version__
from ..errors import IRLLRecError

METADATA_KEY = b"recbole_irllrec"
MAGIC = b"PAR1"  # how a Parquet file begins and ends
ROW_GROUP = 16_384  # rows; so that a wide table is decoded in pieces
_THREADS = min(4, os.cpu_count() or 1)  # each holds a piece


class TableMetadata(BaseModel):
    """How a table was made."""

    model_config = ConfigDict(frozen=True)

    encoder: str | None
    """The text encoder's name; None where a file cannot say it (RecBole's atomic files)."""
    dim: int = Field(ge=1)
    """The width of an embedding."""
    prompt_version: str | None = None
    """Which prompt wrote the texts; None without a language model."""
    normalized: bool = False
    """Whether every embedding has length 1."""
    source: Literal["features", "interactions"] | None
    """What the texts were made from; None where a file cannot say it."""
    train_fingerprint: str | None = None
    """`features.train_fingerprint` of the interactions that the table was made with."""
    encoding: dict[str, str | int | float] | None = None
    """How `irllrec intents embed` was asked to embed, by its options, so that further texts can be embedded alike."""
    created_with: str = f"recbole-irllrec {__version__}"


class Rows(NamedTuple):
    """A table's rows in somebody else's order."""

    embeddings: np.ndarray  # [n, dim], float32 or float16; zeros where there is none
    present: np.ndarray  # [n] bool
    unknown: int  # how many of the table's own tokens were not asked for


class TableFile:
    """A Parquet file that holds a text table. Its columns are read when they are asked for."""

    def __init__(self, path: str | os.PathLike[str]):
        """Read the metadata and the names of the columns.

        Raises:
            IRLLRecError: the file is no text table.
        """
        self.origin = str(path)
        self._path = path
        with open(path, "rb") as file:
            parquet = file.read(len(MAGIC)) == MAGIC
        if not parquet:
            raise IRLLRecError(f"{path} is not a Parquet file: write it again with IntentTable.write.")
        with self._one_sentence():
            self._footer = plain_footer(path)
            schema = self._footer.schema.to_arrow_schema()
        self.metadata = _read_metadata(path, schema)
        _check_columns(path, schema)
        self._number = np.float16 if pa.types.is_float16(schema.field("embedding").type.value_type) else np.float32

    @cached_property
    def tokens(self) -> pa.LargeStringArray:
        """[n] the tokens, all different.

        Raises:
            IRLLRecError: there is none, one is null, or one is repeated.
        """
        tokens = self._column("token")
        check_tokens(tokens, self.origin)
        return tokens

    def __contains__(self, token: str) -> bool:
        return pc.index(self.tokens, token).as_py() >= 0

    def texts(self) -> pa.LargeStringArray:
        """[n] the texts, in the order of `tokens`; empty where missing."""
        return pc.fill_null(self._column("text"), "")

    def texts_for(self, tokens: np.ndarray) -> np.ndarray:
        """Each token's text, [n] all different tokens -> [n] str; "" where the table has none."""
        return texts_for(self.tokens, self.texts(), tokens)

    def embeddings(self) -> np.ndarray:
        """float32 or float16 [n, dim], in the order of `tokens`; zeros where missing.

        Raises:
            IRLLRecError: an embedding has another width than the metadata say, or is no finite number.
        """
        n = len(self.tokens)
        return self._scatter(np.arange(n), n).embeddings

    def rows_for(self, tokens: np.ndarray) -> Rows:
        """Look up tokens; the embeddings are read into their order, so that they are in memory once.

        Args:
            tokens: [n] all different.

        Raises:
            IRLLRecError: the table has none of them, or is no table (see `tokens` and `embeddings`).
        """
        asked = pa.array(tokens, pa.large_string())
        places = pc.fill_null(pc.index_in(self.tokens, value_set=asked), -1).to_numpy()
        if not (places >= 0).any():
            raise no_token_shared(self.origin, self.tokens[0].as_py(), tokens[0])
        return self._scatter(places, len(asked))

    def _scatter(self, places: np.ndarray, n: int) -> Rows:
        """Read the embeddings of the file's rows to ``places`` among n rows; -1 drops a row."""
        embeddings = np.empty((n, self.metadata.dim), self._number)
        present = np.zeros(n, bool)
        groups = [self._footer.row_group(i).num_rows for i in range(self._footer.num_row_groups)]
        starts = np.cumsum([0, *groups])

        def read(group: int) -> None:
            start = int(starts[group])
            for batch in self._batches(group):
                lists = batch["embedding"]
                rows = start + np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
                numbers = self._numbers(lists, rows)
                to, there = places[rows], rows_present(numbers)
                if (to < 0).any():
                    numbers, there, to = numbers[to >= 0], there[to >= 0], to[to >= 0]
                embeddings[to] = numbers
                present[to] = there
                start += len(batch)

        with self._one_sentence(), ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(read, range(len(groups))):
                pass
        embeddings[~present] = 0
        return Rows(embeddings, present, int((places < 0).sum()))

    def _batches(self, group: int) -> Iterable[pa.RecordBatch]:
        file = pq.ParquetFile(self._path, metadata=self._footer, page_checksum_verification=True)
        return file.iter_batches(ROW_GROUP, row_groups=[group], columns=["embedding"])

    def _numbers(self, lists: pa.ListArray, rows: np.ndarray) -> np.ndarray:
        """The lists that are not null, which are these rows of the file, as a checked array [n, dim]."""
        found = common_length(lists, f"{self.origin}, column embedding")
        dim = self.metadata.dim
        if found not in (None, dim):
            raise IRLLRecError(
                f"{self.origin}, column embedding, is {found} wide, while the table's metadata says dim {dim}: "
                f"write it again with IntentTable.from_arrays(...).write(path)."
            )
        # Not flatten(): a null list, which is empty in a file, makes it copy.
        values = lists.values[lists.offsets[0].as_py() : lists.offsets[-1].as_py()]
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused
            # A null inside a list becomes NaN.
            numbers = values.to_numpy(zero_copy_only=False).reshape(-1, dim).astype(self._number, copy=False)
        check_finite(numbers, lambda row: self.tokens[int(rows[row])].as_py(), self.origin)
        return numbers

    def _column(self, name: str) -> pa.LargeStringArray:
        with self._one_sentence():
            file = pq.ParquetFile(self._path, metadata=self._footer, page_checksum_verification=True)
            column = file.read([name])[name].cast(pa.large_string()).combine_chunks()
        return column

    @contextmanager
    def _one_sentence(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise IRLLRecError(
                f"{self.origin} cannot be read as Parquet ({str(error).splitlines()[0]}): write it again."
            ) from None


def texts_for(own: pa.LargeStringArray, texts: pa.LargeStringArray, asked: np.ndarray) -> np.ndarray:
    """The texts of the tokens ``asked``, [n] str; "" for one that is not among a table's ``own``."""
    places = pc.index_in(pa.array(asked, pa.large_string()), value_set=own)
    return pc.fill_null(texts.take(places), "").to_numpy(zero_copy_only=False)


def check_tokens(tokens: pa.LargeStringArray, origin: str) -> None:
    """Refuse no tokens, an absent one or a repeated one.

    Not with pandas: to it, strings that agree up to a NUL character are the same.

    Raises:
        IRLLRecError: that is so.
    """
    if len(tokens) == 0:
        raise IRLLRecError(f"{origin} has no rows: write one for each token, or take it out of the settings.")
    if tokens.null_count:
        raise IRLLRecError(f"{origin}, column token, is empty in {count_rows(tokens.null_count)}: fill it.")
    codes = tokens.dictionary_encode().indices.to_numpy()
    repeats = len(codes) - (int(codes.max()) + 1)
    if repeats:
        _, first = np.unique(codes, return_index=True)
        again = np.setdiff1d(np.arange(len(codes)), first)
        raise IRLLRecError(
            f"{origin}, column token, repeats {count_rows(repeats)}, first {tokens[int(again[0])].as_py()!r}: "
            f"keep one row a token."
        )


def check_finite(embeddings: np.ndarray, token_of: Callable[[int], str], origin: str) -> None:
    """Refuse NaN and infinity.

    Args:
        embeddings: [n, dim].
        token_of: the token of a row.
        origin: what the message calls the table.

    Raises:
        IRLLRecError: there is one.
    """
    if embeddings.dtype == np.float16:  # numpy is slow with them, and quick with their bits
        finite = (embeddings.view(np.uint16) & 0x7C00).max(axis=1) < 0x7C00
    else:
        # Summing over a row finds them without a mask of the table's size.
        finite = np.isfinite(np.einsum("ij->i", embeddings, dtype=np.float64))
    if not finite.all():
        raise IRLLRecError(
            f"{origin}, column embedding, holds NaN or infinity in {count_rows(int((~finite).sum()))}, first at token "
            f"{token_of(int(np.argmin(finite)))!r}: embed it again, or leave its embedding out."
        )


def rows_present(embeddings: np.ndarray) -> np.ndarray:
    """Which rows of [n, dim] are not all zeros, [n] bool."""
    if embeddings.dtype == np.float16:
        return np.any(embeddings.view(np.uint16) & 0x7FFF, axis=1)
    return np.any(embeddings, axis=1)


def no_token_shared(origin: str, token: str, asked: str) -> IRLLRecError:
    """What is raised where a table has no token of the data set."""
    return IRLLRecError(
        f"{origin}, column token, shares no token with the data set (it has {token!r}, the data set {asked!r}): use "
        f"the data set's own ids, as in its .inter file."
    )


def count_rows(n: int) -> str:
    """A number of rows in words."""
    return "1 row" if n == 1 else f"{n} rows"


def plain_footer(path: str | os.PathLike[str]) -> pq.FileMetaData:
    """The file's footer without the Arrow types that its writer had in memory.

    With them pyarrow before 26 refuses a null in a fixed-size list (apache/arrow#35692); without them every list is
    read as a list of any length, which it is in the file.
    """
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-min(8 + length, file.tell() + 4), os.SEEK_END)
        footer = file.read()
    return pq.read_metadata(io.BytesIO(MAGIC + footer.replace(b"ARROW:schema", b"arrow-schema")))


def common_length(lists: pa.Array, what: str) -> int | None:
    """The length of all lists that are not null; None if there is none.

    Raises:
        IRLLRecError: they have different lengths.
    """
    ends = pc.min_max(pc.list_value_length(lists)).as_py()
    if ends["min"] != ends["max"]:
        raise IRLLRecError(
            f"{what}, holds embeddings of different widths, from {ends['min']} to {ends['max']}: "
            f"embed every token with one encoder."
        )
    return ends["min"]


def _read_metadata(path: str | os.PathLike[str], schema: pa.Schema) -> TableMetadata:
    stored = (schema.metadata or {}).get(METADATA_KEY)
    if stored is None:
        raise IRLLRecError(
            f"{path} has no metadata under the key {METADATA_KEY.decode()} (encoder, dim, source): write it with "
            f"IntentTable.from_arrays(...).write(path), or with `irllrec intents import`."
        )
    try:
        return TableMetadata.model_validate_json(stored)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the JSON object"
        raise IRLLRecError(
            f"The metadata of {path} is damaged at {field} ({first['msg']}): "
            f"write the table again with IntentTable.from_arrays(...).write(path)."
        ) from None


def _check_columns(path: str | os.PathLike[str], schema: pa.Schema) -> None:
    def is_text(kind: pa.DataType) -> bool:
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)

    def is_vector(kind: pa.DataType) -> bool:
        return pa.types.is_list(kind) and pa.types.is_floating(kind.value_type)

    wanted = {
        "token": (is_text, "strings"),
        "text": (is_text, "strings"),
        "embedding": (is_vector, "lists of float32 or float16"),
    }
    for name, (fits, what) in wanted.items():
        if name not in schema.names:
            raise IRLLRecError(f"{path} has no column {name}, but {', '.join(schema.names)}: add it, {what}.")
        if not fits(schema.field(name).type):
            raise IRLLRecError(
                f"{path}, column {name}, is of type {schema.field(name).type}: {what} are expected, so convert it."
            )
