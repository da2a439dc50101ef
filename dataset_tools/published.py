"""The layout in which IRLLRec and RLMRec publish their data: pickled matrices and embeddings, row = index."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse

from recbole_irllrec.data.features import train_fingerprint
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.files import atomic_folder
from recbole_irllrec.safe_loading import load_arrays
from recbole_irllrec.tables.intents import IntentTable

from .atomic import check_name, refuse_overwriting, settings_text, write_header, write_lines

_PARTS = {"train": "trn_mat.pkl", "valid": "val_mat.pkl", "test": "tst_mat.pkl"}
_TABLES = {
    ("user", "profile"): "usr_emb_np.pkl",
    ("item", "profile"): "itm_emb_np.pkl",
    ("user", "intent"): "user_intent_emb_3.pkl",
    ("item", "intent"): "item_intent_emb_3.pkl",
}


def convert_published(
    source: Path, out: Path, name: str, encoders: dict[str, str], force: bool = False
) -> dict[str, int]:
    """Write the data set ``out/name/`` with its split, its text tables and its settings. A token is a row's index.

    Args:
        source: the folder with the pickles; the embeddings may be missing.
        out: the folder of the data sets.
        name: the data set's name.
        encoders: the name of the encoder of each kind of text, "profile" and "intent".
        force: replace what is there; other files in the folder stay.

    Returns:
        What was written, in words.

    Raises:
        IRLLRecError: a file is missing, holds anything but an array, or does not fit the others. Nothing was changed.
    """
    check_name(name)
    refuse_overwriting([out / name], force)
    matrices = {part: _matrix(source / file) for part, file in _PARTS.items()}
    shape = matrices["train"].shape
    for part, matrix in matrices.items():
        if matrix.shape != shape:
            raise IRLLRecError(
                f"{source / _PARTS[part]} is {matrix.shape} and {source / _PARTS['train']} is {shape}, where rows are "
                f"the same users and columns the same items: take the three files of one data set."
            )
    sizes = dict(zip(("user", "item"), shape, strict=True))
    tokens = {side: pa.array(np.arange(size)).cast(pa.string()) for side, size in sizes.items()}
    arrays = {
        key: _embeddings(source / file, sizes[key[0]]) for key, file in _TABLES.items() if (source / file).exists()
    }
    counts: dict[str, int] = {}
    with atomic_folder(out / name) as folder:
        for part, matrix in matrices.items():
            with open(folder / f"{name}.{part}.inter", "wb") as file:
                write_header(file, ["user_id:token", "item_id:token"])
                write_lines(
                    file, [tokens["user"].take(pa.array(matrix.row)), tokens["item"].take(pa.array(matrix.col))]
                )
            counts[f"{part} interactions"] = matrix.nnz
        names = {side: tokens[side].to_numpy(zero_copy_only=False) for side in sizes}
        train = matrices["train"]
        fingerprint = train_fingerprint(names["user"][train.row], names["item"][train.col])
        for (side, kind), embeddings in arrays.items():
            IntentTable.from_arrays(
                names[side],
                embeddings,
                encoder=encoders[kind],
                source="interactions",
                train_fingerprint=fingerprint,
                origin=str(source / _TABLES[side, kind]),
            ).write(folder / f"{name}.{side}_{kind}.parquet")
            counts[f"{side} {kind} embeddings, {embeddings.shape[1]} wide"] = len(embeddings)
        settings = {"data_path": str(out), "benchmark_filename": list(_PARTS)}
        (folder / f"{name}.yaml").write_text(settings_text(settings), encoding="utf-8")
    for side, axis in {"user": "row", "item": "col"}.items():
        used = np.unique(np.concatenate([getattr(matrix, axis) for matrix in matrices.values()]))
        trained = np.unique(getattr(train, axis))
        counts |= {
            f"{side}s": sizes[side],
            f"{side}s without any interaction, which RecBole does not know": sizes[side] - len(used),
            f"other {side}s without training interactions": len(used) - len(trained),
        }
    return counts


def _matrix(path: Path) -> scipy.sparse.coo_matrix:
    """The interactions in their stored order, without stored zeros and repetitions."""
    found = load_arrays(path)
    if not scipy.sparse.issparse(found) or found.ndim != 2:
        raise IRLLRecError(f"{path} holds {_kind(found)}, where a sparse matrix is expected: take the published file.")
    matrix = found.tocoo()
    there = matrix.data != 0
    row, column = matrix.row[there].astype(np.int64), matrix.col[there].astype(np.int64)
    first = np.sort(np.unique(row * matrix.shape[1] + column, return_index=True)[1])
    if not len(first):
        raise IRLLRecError(f"{path} holds no interaction: take the published file.")
    return scipy.sparse.coo_matrix((np.ones(len(first)), (row[first], column[first])), matrix.shape)


def _embeddings(path: Path, n: int) -> np.ndarray:
    found = load_arrays(path)
    if type(found) is not np.ndarray or found.ndim != 2 or found.dtype.kind not in "fiu":
        raise IRLLRecError(
            f"{path} holds {_kind(found)}, where an array of numbers is expected: take the published file."
        )
    if len(found) != n:
        raise IRLLRecError(f"{path} has {len(found)} rows, and the matrices have {n}: take the files of one data set.")
    return found


def _kind(found: Any) -> str:
    if isinstance(found, np.ndarray):
        return f"an array of shape {found.shape} and type {found.dtype}"
    return f"a {type(found).__name__}"
