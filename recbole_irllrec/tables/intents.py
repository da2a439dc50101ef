"""The text-intent table: what is known in words about each user or item, and its embedding.

The format on disk is described in ``docs/text-tables.md``.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import IRLLRecError
from ..files import atomic_write
from .features import read_atomic_file
from .table_file import (
    MAGIC,
    METADATA_KEY,
    ROW_GROUP,
    Rows,
    TableFile,
    TableMetadata,
    check_finite,
    check_tokens,
    common_length,
    no_token_shared,
    rows_present,
    texts_for,
)

_PAGE = 16 << 20  # bytes


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
        encoding: dict[str, str | int | float] | None = None,
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
            encoding: how texts are embedded alike; see `TableMetadata`.
            origin: what messages call the table.

        Raises:
            IRLLRecError: no rows, a repeated token or one that is no string, an embedding that is no finite number,
                or shapes that do not fit together.
        """
        embeddings = np.asarray(embeddings)
        if embeddings.dtype != np.float16:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused
                embeddings = embeddings.astype(np.float32, copy=False)
        names = np.asarray(tokens, dtype=object)
        words = np.full(len(names), "", object) if texts is None else np.asarray(texts, dtype=object)
        check_tokens(_strings(names, f"{origin}, column token,"), origin)
        if embeddings.ndim != 2 or embeddings.shape[1] == 0 or not len(names) == len(words) == len(embeddings):
            raise IRLLRecError(
                f"{origin}, column embedding, has the shape {list(embeddings.shape)} beside {len(names)} tokens and "
                f"{len(words)} texts: give one text and one embedding, at least 1 wide, for each token."
            )
        if _strings(words, f"{origin}, column text,").null_count:
            words = np.where(pd.isna(words), "", words)
        check_finite(embeddings, names.__getitem__, origin)
        metadata = TableMetadata(
            encoder=encoder,
            dim=embeddings.shape[1],
            prompt_version=prompt_version,
            normalized=normalized,
            source=source,
            train_fingerprint=train_fingerprint,
            encoding=encoding,
        )
        return cls(names, embeddings, words, rows_present(embeddings), metadata, origin)

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
        table = open_table(path, field_separator, seq_separator, encoding)
        if not isinstance(table, TableFile):
            return table
        made = table.metadata.model_dump(exclude={"dim", "created_with"})
        return cls.from_arrays(table.tokens, table.embeddings(), table.texts(), origin=table.origin, **made)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table as Parquet; a reader sees the whole file or none of it."""
        values = pa.array(self.embeddings.reshape(-1))
        number = pa.field("element", values.type, nullable=False)  # read a third faster than what may be null
        kind = pa.list_(number, self.metadata.dim)
        column = pa.FixedSizeListArray.from_arrays(values, type=kind, mask=pa.array(~self.present))
        if not self.present.all():
            # pyarrow before 26 cannot read a null in a fixed-size list (apache/arrow#35692); the bytes are the same.
            column = column.cast(pa.list_(number))
        table = pa.table(
            {
                "token": pa.array(self.tokens, pa.string()),
                "text": pa.array(self.texts, pa.string()),
                "embedding": column,
            }
        ).replace_schema_metadata({METADATA_KEY: self.metadata.model_dump_json()})
        with atomic_write(path) as file:
            pq.write_table(
                table,
                file,
                row_group_size=ROW_GROUP,
                write_page_checksum=True,
                # Embeddings neither repeat nor compress, and whole pages are read fastest.
                use_dictionary=False,
                compression={"token": "snappy", "text": "snappy", "embedding.list.element": "none"},
                data_page_size=_PAGE,
            )

    def write_atomic_file(self, path: str | os.PathLike[str], id_field: str, value_field: str) -> None:
        """Write tokens and embeddings as RecBole's atomic file ``id_field:token <TAB> value_field:float_seq``.

        A missing embedding becomes an empty one. The texts and the metadata have no place in such a file.

        Raises:
            IRLLRecError: a token holds a tab or a line break, which such a file cannot hold.
        """
        broken = pc.match_substring_regex(pa.array(self.tokens, pa.large_string()), r"[\t\r\n]")
        if pc.any(broken).as_py():
            token = self.tokens[pc.index(broken, True).as_py()]
            raise IRLLRecError(
                f"{self.origin}, column token, holds {token!r}, whose tab or line break RecBole's atomic files cannot "
                f"hold: rename it, or write Parquet alone."
            )
        with atomic_write(path) as file:
            file.write(f"{id_field}:token\t{value_field}:float_seq\n".encode())
            for start in range(0, len(self.tokens), ROW_GROUP):
                rows = slice(start, start + ROW_GROUP)
                lines = pd.Series(self.tokens[rows]) + "\t" + self._in_strings(rows) + "\n"
                file.write(lines.str.cat().encode())

    def _in_strings(self, rows: slice) -> np.ndarray:
        """Embeddings as strings of numbers; "" where missing."""
        numbers = pc.cast(pa.array(self.embeddings[rows].astype(np.float32, copy=False).reshape(-1)), pa.string())
        lists = pa.FixedSizeListArray.from_arrays(numbers, self.metadata.dim).cast(pa.list_(pa.string()))
        return np.where(self.present[rows], pc.binary_join(lists, " ").to_numpy(zero_copy_only=False), "")

    def rows_for(self, tokens: np.ndarray) -> Rows:
        """Look up tokens.

        Args:
            tokens: [n] all different.

        Raises:
            IRLLRecError: the table has none of them.
        """
        own = pa.array(self.tokens, pa.large_string())
        where = pc.index_in(pa.array(tokens, pa.large_string()), value_set=own)
        found = where.is_valid().to_numpy(zero_copy_only=False)
        if not found.any():
            raise no_token_shared(self.origin, self.tokens[0], tokens[0])
        places = pc.fill_null(where, 0).to_numpy()
        embeddings = self.embeddings[places]
        embeddings[~found] = 0
        return Rows(embeddings, found & self.present[places], len(self.tokens) - int(found.sum()))

    def texts_for(self, tokens: np.ndarray) -> np.ndarray:
        """Each token's text, [n] all different tokens -> [n] str; "" where the table has none."""
        return texts_for(pa.array(self.tokens, pa.large_string()), pa.array(self.texts, pa.large_string()), tokens)

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
        embeddings = numbers_in_strings(
            pa.array(numbers, pa.large_string()),
            f"{path}, column {values[0]}",
            f"write numbers parted by {seq_separator!r} (`seq_separator`)",
        )
        return cls.from_arrays(frame[ids[0]].to_numpy(), embeddings, encoder=None, source=None, origin=str(path))


def numbers_in_strings(strings: pa.LargeStringArray, what: str, advice: str) -> np.ndarray:
    """Strings of numbers, parted by one blank, as float32 [n, dim]; an empty one is a row of zeros.

    Args:
        strings: [n].
        what: what messages call them, "FILE, column NAME".
        advice: what to do if there are other than numbers.

    Raises:
        IRLLRecError: there are, or the widths differ.
    """
    filled = pc.not_equal(strings, "")
    lists = pc.split_pattern(strings.filter(filled), " ")
    dim = common_length(lists, what) or 1
    embeddings = np.zeros((len(strings), dim), np.float32)
    try:
        floats = pc.cast(lists.flatten(), pa.float32())
    except pa.ArrowInvalid as error:
        raise IRLLRecError(f"{what}, holds what is no number ({error}): {advice}.") from None
    embeddings[filled.to_numpy(zero_copy_only=False)] = floats.to_numpy().reshape(-1, dim)
    return embeddings


def open_table(
    path: str | os.PathLike[str], field_separator: str = "\t", seq_separator: str = " ", encoding: str = "utf-8"
) -> TableFile | IntentTable:
    """A table for looking up rows: of a Parquet file no more is read than that needs.

    Arguments and errors are those of `IntentTable.read`.
    """
    with open(path, "rb") as file:
        parquet = file.read(len(MAGIC)) == MAGIC
    if parquet or Path(path).suffix == ".parquet":
        return TableFile(path)
    return IntentTable._read_atomic_file(path, field_separator, seq_separator, encoding)


def _strings(values: np.ndarray, what: str) -> pa.LargeStringArray:
    """Objects as strings, None and NaN as null; anything else is refused."""
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind not in ("string", "empty"):
        raise IRLLRecError(f"{what} holds values of type {kind}, where strings are expected: convert them to str.")
    try:
        return pa.array(values, pa.large_string(), from_pandas=True)
    except UnicodeEncodeError as error:
        raise IRLLRecError(f"{what} holds {error.object!r}, which is no Unicode text: decode it again.") from None
