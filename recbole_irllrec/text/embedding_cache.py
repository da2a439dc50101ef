"""Embeddings that were received and must not be paid for again."""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import IRLLRecError

_AT_ONCE = 500  # keys in a query; SQLite takes some thousands


class EmbeddingCache:
    """An SQLite file of embeddings under the hash of all that they depend on.

    What `put` returned from is there after a crash, too. Several processes may use one file.
    """

    def __init__(self, path: Path):
        """Open the file, or make it.

        Raises:
            IRLLRecError: it is another kind of file.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The embeddings that are there: float32 [dim], all of one width, by key.

        Raises:
            IRLLRecError: the file is damaged.
        """
        found: dict[bytes, np.ndarray] = {}
        try:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = self._database.execute(f"SELECT key, vector FROM embeddings WHERE key IN ({marks})", some)
                found.update((key, np.frombuffer(vector, "<f4")) for key, vector in rows)
            if len({len(vector) for vector in found.values()}) > 1:
                raise ValueError("its embeddings are of several widths")
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:  # what is no bytes of float32
            raise self._refusal(error) from None
        return found

    def put(self, keys: Sequence[bytes], embeddings: np.ndarray) -> None:
        """Keep embeddings, float32 [n, dim]; all of them or none.

        Raises:
            IRLLRecError: the file is damaged, or cannot be written (a full disk).
        """
        rows = [(key, row.astype("<f4").tobytes()) for key, row in zip(keys, embeddings, strict=True)]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise self._refusal(error) from None

    def _refusal(self, error: Exception) -> IRLLRecError:
        return IRLLRecError(
            f"{self.path}, where embeddings are kept as they are received, cannot be used ({error}): see that it can "
            f"be written, or move it away if it is damaged."
        )


def key_of(*inputs: str | int | None) -> bytes:
    """The hash of all that an embedding depends on."""
    return hashlib.sha256(json.dumps(inputs).encode()).digest()
