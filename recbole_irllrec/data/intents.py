"""The text-intent table: what is known in words about each user or item, and its embedding.

The format on disk is described in ``docs/text-tables.md``.
"""

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import __version__
from ..errors import IRLLRecError
from ..files import atomic_write
from .features import read_atomic_file

METADATA_KEY = b"recbole_irllrec"
_MAGIC = b"PAR1"  # how a Parquet file begins and ends
_ROW_GROUP = 16_384  # rows; so that a wide table is decoded in pieces


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
    created_with: str = f"recbole-irllrec {__version__}"


class Rows(NamedTuple):
    """A table's rows in somebody else's order."""

    embeddings: np.ndarray  # [n, dim], float32 or float16; zeros where there is none
    present: np.ndarray  # [n] bool
    unknown: int  # how many of the table's own tokens were not asked for


@dataclass(frozen=True, eq=False)
class IntentTable:
    """Tokens with their texts and embeddings, checked. Made by `from_arrays` or `read`."""

    tokens: np.ndarray  # [n] str, all different
    embeddings: np.ndarray  # [n, dim], float32 or float16; zeros where missing
    texts: np.ndarray  # [n] str, may be empty
    present: np.ndarray  # [n] bool: whether the embedding is there
    metadata: TableMetadata
    origin: str = "The table"  # what messages call it

    @classmethod
    def from_arrays(
        cls,
        tokens: Sequence[str] | np.ndarray,
        embeddings: np.ndarray,
        texts: Sequence[str] | np.ndarray | None = None,
        *,
        encoder: str | None,
        source: Literal["features", "interactions"] | None,
        train_fingerprint: str | None = None,
        prompt_version: str | None = None,
        normalized: bool = False,
        origin: str = "The table",
    ) -> "IntentTable":
        """Make a table from arrays.

        Args:
            tokens: [n] RecBole's external ids.
            embeddings: [n, dim]; float16 stays, everything else becomes float32. A row of zeros is a missing embedding.
            texts: [n] what was embedded; empty where missing or not given.
            encoder: the encoder's name. Users and items must come from one encoder.
            source: "features" if texts and embeddings were made from features alone, "interactions" if a history or a
                review went into them; then give the `train_fingerprint` of the interactions, too.
            train_fingerprint: `features.train_fingerprint` of the training interactions.
            prompt_version: which prompt wrote the texts.
            normalized: whether every embedding has length 1.
            origin: what messages call the table.

        Raises:
            IRLLRecError: no rows, a repeated token or one that is no string, an embedding that is no finite number,
                or shapes that do not fit together.
        """
        embeddings = np.asarray(embeddings)
        if embeddings.dtype != np.float16:
            embeddings = embeddings.astype(np.float32, copy=False)
        names = np.asarray(tokens, dtype=object)
        words = np.full(len(names), None) if texts is None else np.asarray(texts, dtype=object)
        if len(names) == 0:
            raise IRLLRecError(f"{origin} has no rows: write one for each token, or take it out of the settings.")
        if embeddings.ndim != 2 or embeddings.shape[1] == 0 or not len(names) == len(words) == len(embeddings):
            raise IRLLRecError(
                f"{origin}, column embedding, has the shape {list(embeddings.shape)} beside {len(names)} tokens and "
                f"{len(words)} texts: give one text and one embedding, at least 1 wide, for each token."
            )
        words = np.where(pd.isna(words), "", words)
        _check_strings(names, f"{origin}, column token,")
        _check_strings(words, f"{origin}, column text,")
        repeated = pd.Index(names).duplicated()
        if repeated.any():
            raise IRLLRecError(
                f"{origin}, column token, repeats {_count(repeated)}, first {names[repeated][0]!r}: "
                f"keep one row a token."
            )
        # Summing over a row finds NaN and infinity without a mask of the table's size.
        finite = np.isfinite(np.einsum("ij->i", embeddings, dtype=np.float64))
        if not finite.all():
            raise IRLLRecError(
                f"{origin}, column embedding, holds NaN or infinity in {_count(~finite)}, first at token "
                f"{names[~finite][0]!r}: embed it again, or leave its embedding out."
            )
        metadata = TableMetadata(
            encoder=encoder,
            dim=embeddings.shape[1],
            prompt_version=prompt_version,
            normalized=normalized,
            source=source,
            train_fingerprint=train_fingerprint,
        )
        return cls(names, embeddings, words, embeddings.any(axis=1), metadata, origin)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        field_separator: str = "\t",
        seq_separator: str = " ",
        encoding: str = "utf-8",
    ) -> "IntentTable":
        """Read a table: a Parquet file of ours, or RecBole's atomic file with a token and a float_seq column.

        The separators and the encoding are those of the atomic file.

        Raises:
            IRLLRecError: the file is neither, or what it holds is not a table.
        """
        with open(path, "rb") as file:
            parquet = file.read(len(_MAGIC)) == _MAGIC
        if parquet:
            return cls._read_parquet(path)
        if Path(path).suffix == ".parquet":
            raise IRLLRecError(f"{path} is not a Parquet file: write it again with IntentTable.write.")
        return cls._read_atomic_file(path, field_separator, seq_separator, encoding)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table as Parquet; a reader sees the whole file or none of it."""
        values = pa.array(self.embeddings.reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(values, self.metadata.dim, mask=pa.array(~self.present))
        if not self.present.all():
            # pyarrow before 26 cannot read a null in a fixed-size list (apache/arrow#35692); the bytes are the same.
            column = column.cast(pa.list_(column.type.value_type))
        table = pa.table(
            {
                "token": pa.array(self.tokens, pa.string()),
                "text": pa.array(self.texts, pa.string()),
                "embedding": column,
            }
        ).replace_schema_metadata({METADATA_KEY: self.metadata.model_dump_json()})
        with atomic_write(path) as file:
            pq.write_table(table, file, row_group_size=_ROW_GROUP, write_page_checksum=True)

    def write_atomic_file(self, path: str | os.PathLike[str], id_field: str, value_field: str) -> None:
        """Write tokens and embeddings as RecBole's atomic file ``id_field:token <TAB> value_field:float_seq``.

        A missing embedding becomes an empty one. The texts and the metadata have no place in such a file.
        """
        numbers = pc.cast(pa.array(self.embeddings.astype(np.float32, copy=False).reshape(-1)), pa.string())
        joined = pc.binary_join(
            pa.FixedSizeListArray.from_arrays(numbers, self.metadata.dim).cast(pa.list_(pa.string())), " "
        )
        values = np.where(self.present, joined.to_numpy(zero_copy_only=False), "")
        lines = pd.Series(self.tokens) + "\t" + values + "\n"
        with atomic_write(path) as file:
            file.write((f"{id_field}:token\t{value_field}:float_seq\n" + lines.str.cat()).encode())

    def rows_for(self, tokens: np.ndarray) -> Rows:
        """Look up tokens.

        Args:
            tokens: [n] all different.

        Raises:
            IRLLRecError: the table has none of them.
        """
        where = pd.Index(self.tokens).get_indexer(pd.Index(np.asarray(tokens, dtype=object)))
        found = where >= 0
        if not found.any():
            raise IRLLRecError(
                f"{self.origin}, column token, shares no token with the data set (it has {self.tokens[0]!r}, the data "
                f"set {tokens[0]!r}): use the data set's own ids, as in its .inter file."
            )
        embeddings = self.embeddings[np.maximum(where, 0)]
        embeddings[~found] = 0
        present = found & self.present[np.maximum(where, 0)]
        return Rows(embeddings, present, len(self.tokens) - int(found.sum()))

    def texts_for(self, tokens: np.ndarray) -> np.ndarray:
        """Each token's text, [n] all different tokens -> [n] str; "" where the table has none."""
        texts = pd.Series(self.texts, pd.Index(self.tokens))
        return texts.reindex(np.asarray(tokens, dtype=object), fill_value="").to_numpy()

    @classmethod
    def _read_parquet(cls, path: str | os.PathLike[str]) -> "IntentTable":
        try:
            file = pq.ParquetFile(path, metadata=_plain_footer(path), page_checksum_verification=True)
            metadata = _read_metadata(path, file.schema_arrow)
            _check_columns(path, file.schema_arrow)
            n, number = file.metadata.num_rows, file.schema_arrow.field("embedding").type.value_type
            tokens, texts = np.empty(n, object), np.empty(n, object)
            embeddings = np.zeros((n, metadata.dim), np.float16 if pa.types.is_float16(number) else np.float32)
            start = 0
            # Some thousand rows at a time, not to hold a wide table twice.
            for batch in file.iter_batches(_ROW_GROUP, columns=["token", "text", "embedding"]):
                rows = slice(start, start := start + len(batch))
                tokens[rows] = batch["token"].to_numpy(zero_copy_only=False)
                texts[rows] = batch["text"].to_numpy(zero_copy_only=False)
                _fill(path, embeddings[rows], batch["embedding"])
        except (pa.ArrowException, OSError) as error:
            raise IRLLRecError(
                f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}): write it again."
            ) from None
        return cls.from_arrays(
            tokens, embeddings, texts, origin=str(path), **metadata.model_dump(exclude={"dim", "created_with"})
        )

    @classmethod
    def _read_atomic_file(
        cls, path: str | os.PathLike[str], field_separator: str, seq_separator: str, encoding: str
    ) -> "IntentTable":
        frame, types = read_atomic_file(path, field_separator, encoding)
        ids = [name for name, kind in types.items() if kind == "token"]
        values = [name for name, kind in types.items() if kind == "float_seq"]
        if len(ids) != 1 or len(values) != 1:
            raise IRLLRecError(
                f"{path} has {len(ids)} token and {len(values)} float_seq columns: as a text table it needs one of "
                f"each, or write it as Parquet with IntentTable.write."
            )
        once = f"(?:{re.escape(seq_separator)})+"
        numbers = frame[values[0]].str.replace(once, " ", regex=True).str.strip()
        filled = (numbers != "").to_numpy()
        lists = pc.split_pattern(pa.array(numbers[filled], pa.large_string()), " ")
        try:
            floats = pc.cast(lists.flatten(), pa.float32())
        except pa.ArrowInvalid as error:
            raise IRLLRecError(
                f"{path}, column {values[0]}, holds what is no number ({error}): write numbers parted by "
                f"{seq_separator!r} (`seq_separator`)."
            ) from None
        dim = _common_length(lists, f"{path}, column {values[0]}")
        embeddings = np.zeros((len(frame), dim), np.float32)
        embeddings[filled] = floats.to_numpy().reshape(-1, dim)
        return cls.from_arrays(frame[ids[0]].to_numpy(), embeddings, encoder=None, source=None, origin=str(path))


def _check_strings(values: np.ndarray, what: str) -> None:
    absent = pd.isna(values)
    if absent.any():
        raise IRLLRecError(f"{what} is empty in {_count(absent)}: fill it.")
    kind = pd.api.types.infer_dtype(values, skipna=False)
    if kind != "string":
        raise IRLLRecError(f"{what} holds values of type {kind}, where strings are expected: convert them to str.")


def _count(mask: np.ndarray) -> str:
    """How many rows of a mask are set, in words."""
    n = int(mask.sum())
    return "1 row" if n == 1 else f"{n} rows"


def _plain_footer(path: str | os.PathLike[str]) -> pq.FileMetaData:
    """The file's footer without the Arrow types that its writer had in memory.

    With them pyarrow before 26 refuses a null in a fixed-size list (apache/arrow#35692); without them every list is
    read as a list of any length, which it is in the file.
    """
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-min(8 + length, file.tell() + 4), os.SEEK_END)
        footer = file.read()
    return pq.read_metadata(io.BytesIO(_MAGIC + footer.replace(b"ARROW:schema", b"arrow-schema")))


def _read_metadata(path: str | os.PathLike[str], schema: pa.Schema) -> TableMetadata:
    stored = (schema.metadata or {}).get(METADATA_KEY)
    if stored is None:
        raise IRLLRecError(
            f"{path} has no metadata under the key {METADATA_KEY.decode()} (encoder, dim, source): "
            f"write it with IntentTable.from_arrays(...).write(path)."
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


def _fill(path: str | os.PathLike[str], embeddings: np.ndarray, lists: pa.Array) -> None:
    """Write lists into the rows of ``embeddings`` [n, dim]; a null leaves its row as it is."""
    dim = embeddings.shape[1]
    there = lists.drop_null()
    found = _common_length(there, f"{path}, column embedding")
    if len(there) and found != dim:
        raise IRLLRecError(
            f"{path}, column embedding, is {found} wide, while the table's metadata says dim {dim}: "
            f"write it again with IntentTable.from_arrays(...).write(path)."
        )
    numbers = there.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)  # a null inside a list becomes NaN
    embeddings[lists.is_valid().to_numpy(zero_copy_only=False)] = numbers


def _common_length(lists: pa.Array, what: str) -> int:
    """The length that all lists have; 1 if there is no list."""
    lengths = np.unique(pc.list_value_length(lists).to_numpy(zero_copy_only=False))
    if len(lengths) > 1:
        raise IRLLRecError(
            f"{what}, holds embeddings of different widths, from {lengths[0]} to {lengths[-1]}: "
            f"embed every token with one encoder."
        )
    return int(lengths[0]) if len(lengths) else 1
