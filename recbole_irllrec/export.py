"""A model's vectors for a vector index: the score of a user and an item is the inner product of theirs."""

import json
import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import __version__
from .errors import IRLLRecError
from .files import atomic_write
from .scorer import Scorer
from .tables.intents import METADATA_KEY

_ROW_GROUP = 1 << 16  # rows
_log = logging.getLogger(__name__)

Format = Literal["parquet", "npy"]


class Vectors(NamedTuple):
    """The vectors of both sides, without padding, and what an index has to know of them."""

    tokens: dict[str, pa.Array]  # of "users" and "items", [n] str each: original ids
    values: dict[str, np.ndarray]  # [n, d] float32 each
    metadata: dict[str, Any]  # "metric" is the one to give to the index


def vectors(served: Scorer) -> Vectors:
    """The vectors of a model that was loaded with ``serve(..., vectors=True)``, extended or not.

    A linear part is not in them, which the log says.
    """
    assert served.embeddings is not None  # `serve`
    if served.vectors is None:
        _log.warning(
            "The scores of this model have a linear part (linear_weight), which no vectors hold: products of these are "
            "the encoder's share. `irllrec recommend` ranks by both; linear_weight 0 trains a model without."
        )
    users, items = (side[1:].float().cpu().numpy() for side in served.embeddings)
    unit = all(np.allclose(np.linalg.norm(side, axis=1), 1, atol=1e-4) for side in (users, items))
    metadata = {
        "model": served.config["model"],
        "dataset": served.config["dataset"],
        "dim": users.shape[1],
        "metric": "cosine" if unit else "inner_product",
        "normalized": unit,
        "linear_part": served.vectors is None,  # left out
        "created_with": f"recbole-irllrec {__version__}",
    }
    tokens = {"users": served.user_names[1:], "items": served.item_names[1:]}
    return Vectors(tokens, {"users": users, "items": items}, metadata)


def write_vectors(folder: str | os.PathLike[str], made: Vectors, form: Format) -> list[Path]:
    """Write the vectors with their tokens; the files take their places together, after all are written.

    As "parquet": ``users.parquet`` and ``items.parquet``, columns ``token`` and ``vector``, and the metadata as JSON in
    the schema. As "npy": ``users.npy`` [n, d] and ``users.txt``, a token a line; the same for items; and
    ``vectors.json``.

    Returns:
        The files.

    Raises:
        IRLLRecError: a token has a line break, which a line cannot hold.
    """
    paths: list[Path] = []
    with ExitStack() as stack:

        def opened(name: str) -> BinaryIO:
            paths.append(Path(folder) / name)
            return stack.enter_context(atomic_write(paths[-1]))

        metadata = json.dumps(made.metadata, indent=2)
        for side, tokens in made.tokens.items():
            if form == "parquet":
                _write_parquet(opened(f"{side}.parquet"), tokens, made.values[side], metadata)
            else:
                _write_array(opened(f"{side}.npy"), made.values[side])
                opened(f"{side}.txt").write(_lines(side, tokens))
        if form == "npy":
            opened("vectors.json").write(metadata.encode())
    return paths


def _write_parquet(file: BinaryIO, tokens: pa.Array, values: np.ndarray, metadata: str) -> None:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    table = pa.table({"token": tokens, "vector": lists})
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: metadata}), file, row_group_size=_ROW_GROUP)


def _write_array(file: BinaryIO, values: np.ndarray) -> None:
    """As ``numpy.save``, which says nothing of the disk when that is full."""
    values = np.ascontiguousarray(values)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
    file.write(values.data)


def _lines(side: str, tokens: pa.Array) -> bytes:
    lines = "\n".join(tokens.to_pylist()) + "\n"
    if lines.count("\n") != len(tokens):
        raise IRLLRecError(f"A token of the {side} has a line break, which {side}.txt cannot hold: use parquet.")
    return lines.encode()
