"""The best items of each user, in blocks, from scores to files."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from tqdm import tqdm

from .errors import IRLLRecError
from .explain import Explainer
from .files import TABLE_SUFFIXES, atomic_write, refuse_unknown_suffix
from .scorer import Scorer
from .top_k import blocks_are_quicker, numbers_held, top_k, top_products

# Numbers held at once for a block of users: bounds the memory whatever the numbers of users and items.
_CELLS = {"cpu": 1 << 24, "cuda": 1 << 28}
_MOST_USERS = 512  # a block, so that what is made of it stays small where there are few items
_ROW_GROUP = 1 << 17  # rows written at once
SCHEMA = pa.schema({"user": pa.string(), "rank": pa.int32(), "item": pa.string(), "score": pa.float32()})


class Ranked(NamedTuple):
    """The best items of some users, as n rows: each user's rows together, from its best item down."""

    user: np.ndarray  # [n] int64, ids
    rank: np.ndarray  # [n] int32, from 1
    item: np.ndarray  # [n] int64, ids
    score: np.ndarray  # [n] float32


class Recommendations(NamedTuple):
    """Rows for people, with the original ids."""

    schema: pa.Schema
    tables: Iterator[pa.Table]  # a block of users each; they are made as they are asked for


def recommend(
    served: Scorer,
    users: np.ndarray,
    k: int,
    items: np.ndarray | None = None,
    repeat_held_out: bool = False,
    explain: bool | Explainer = False,
    show_progress: bool = False,
    each: Callable[..., Iterable[pa.Table]] = map,
) -> Recommendations:
    """The k best items of each user, without those it has seen; fewer where fewer are left.

    Args:
        served: a trained model.
        users: [n] ids, in the order of the result.
        k: at least 1.
        items: ids of the items that may be recommended; None for all.
        repeat_held_out: recommend items again that a user has in the data set, but not in its training interactions.
        explain: add the columns of an `explain.Explainer`: of the one that is given, or of one without options.
        show_progress: on standard error.
        each: makes the tables of the blocks, in their order; ``cluster.in_order`` does so on a cluster.

    Raises:
        IRLLRecError: a score is no number, or a text table is refused.
    """
    ranker = ranker_of(served, k, items, repeat_held_out)
    explainer = explain if isinstance(explain, Explainer) else Explainer(served) if explain else None
    rows = _Rows(ranker, served.user_names, served.item_names, explainer)

    def tables() -> Iterator[pa.Table]:
        with tqdm(total=len(users), unit="user", desc="Recommending", disable=not show_progress) as bar:
            blocks = ranker.blocks(users)
            for block, table in zip(blocks, each(rows, blocks), strict=True):
                yield table
                bar.update(len(block))

    return Recommendations(rows.schema, tables())


def ranker_of(served: Scorer, k: int, items: np.ndarray | None = None, repeat_held_out: bool = False) -> "Ranker":
    """What finds a model's k best items of users; arguments are those of `recommend`."""
    candidates = np.arange(1, len(served.item_tokens)) if items is None else items
    seen = served.train_items if repeat_held_out else served.known_items
    return Ranker(_scores(served), k, seen, candidates, served.config["device"])


class _Rows(NamedTuple):
    """Makes the rows of a block of users; can be pickled."""

    ranker: "Ranker"
    user_names: pa.Array  # [n_users]
    item_names: pa.Array  # [n_items]
    explainer: Explainer | None

    @property
    def schema(self) -> pa.Schema:
        return SCHEMA if self.explainer is None else pa.schema([*SCHEMA, *Explainer.SCHEMA])

    def __call__(self, block: np.ndarray) -> pa.Table:
        user, rank, item, score = self.ranker(block)
        columns = [self.user_names.take(pa.array(user)), rank, self.item_names.take(pa.array(item)), score]
        if self.explainer is not None:
            columns += self.explainer(user, item)
        return pa.table(columns, self.schema)


class Vectors(NamedTuple):
    """Of all users and items; scores are their inner products."""

    users: Tensor  # [n_users, d]
    items: Tensor  # [n_items, d]

    def score(self, users: Tensor) -> Tensor:
        """The scores of all items for each user, [B] int64 -> [B, n_items]."""
        return self.users[users] @ self.items.T


def _scores(served: Scorer) -> Callable[[Tensor], Tensor] | Vectors:
    return served.score if served.ranking_vectors is None else Vectors(*served.ranking_vectors)


class Ranker:
    """Finds the best unseen candidates of users, block after block, so that no matrix of all scores is ever made.

    Args:
        scores: vectors whose products they are, on ``device``; or what gives the scores of all items, [B] int64 users
            on ``device`` -> [B, n_items], which may be overwritten.
        k: how many are wanted of each user.
        seen: [n_users, n_items], with an entry where an item is not to be recommended to a user.
        candidates: ids of the items that may be recommended, all different; without the padding item.
        device: where scores are.
    """

    def __init__(
        self,
        scores: Callable[[Tensor], Tensor] | Vectors,
        k: int,
        seen: csr_matrix,
        candidates: np.ndarray,
        device: torch.device | str = "cpu",
    ):
        self._seen, self._device = seen, torch.device(device)
        n_items, self._k = seen.shape[1], min(k, len(candidates))
        in_tiles = isinstance(scores, Vectors) and blocks_are_quicker(len(candidates), self._k, self._device)
        # The items whose scores are made; a model makes those of all.
        self._scored = np.sort(candidates) if in_tiles else np.arange(n_items)
        self._column = np.full(n_items, -1)  # of each item among them
        self._column[self._scored] = np.arange(len(self._scored))
        self._left_out = torch.as_tensor(np.setdiff1d(self._scored, candidates), device=device)
        self._vectors: Vectors | None = None
        if not isinstance(scores, Vectors):
            self._score = scores
        elif in_tiles:
            everything = len(candidates) == n_items - 1  # is not copied
            items = scores.items[1:] if everything else scores.items[torch.as_tensor(self._scored)]
            self._vectors = Vectors(scores.users, items)
        else:
            self._score = scores.score

    def blocks(self, users: np.ndarray) -> list[np.ndarray]:
        """Cut [n] users into blocks for which memory suffices."""
        cells = _CELLS.get(self._device.type, _CELLS["cpu"])
        each = numbers_held(len(self._scored), self._k) if self._vectors else len(self._scored)
        size = min(max(cells // each, 1), _MOST_USERS)
        return np.split(users, range(size, len(users), size))

    def __call__(self, users: np.ndarray) -> Ranked:
        """Rank the items of a block of users, [B] ids.

        Raises:
            IRLLRecError: a score is no number.
        """
        values, columns = (found.cpu().numpy() for found in self._best(users))
        if np.isnan(values).any():
            raise IRLLRecError("The model's scores are no numbers: its training went astray, so train it again.")
        there = values > -np.inf
        row, rank = there.nonzero()
        items = self._scored[columns[there]]
        return Ranked(users[row], (rank + 1).astype(np.int32), items, values[there].astype(np.float32))

    def _best(self, users: np.ndarray) -> tuple[Tensor, Tensor]:
        """[B, k] scores and [B, k] their columns; a score is -inf where nothing is left."""
        block, taken = torch.as_tensor(users, device=self._device), self._taken(users)
        if self._vectors:
            return top_products(self._vectors.users[block], self._vectors.items, self._k, taken)
        scores = self._score(block)
        scores[taken] = -torch.inf
        return top_k(scores.index_fill_(1, self._left_out, -torch.inf), self._k)

    def _taken(self, users: np.ndarray) -> tuple[Tensor, Tensor]:
        """What a block's users have seen: [m] rows of the block and [m] columns."""
        seen = self._seen[users].tocoo()
        column = self._column[seen.col]
        there = column >= 0
        row, column = (
            torch.as_tensor(ids[there], dtype=torch.int64, device=self._device) for ids in (seen.row, column)
        )
        return row, column


def ids_of(
    names: np.ndarray, wanted: Sequence[str] | np.ndarray, what: str, skip_unknown: bool | None = None
) -> np.ndarray:
    """Look up users or items.

    Args:
        names: [n] what the data set calls them, in the order of RecBole's ids; 0 is padding.
        wanted: [m] names; a repeated one counts once.
        what: "user" or "item", for messages.
        skip_unknown: leave out what the data set does not have; None where that cannot be asked for.

    Returns:
        The ids in the order of ``wanted``.

    Raises:
        IRLLRecError: the data set lacks one of them, or with ``skip_unknown`` all of them.
    """
    different = pd.unique(np.asarray(wanted, dtype=object))
    ids = pd.Index(names[1:]).get_indexer(pd.Index(different)) + 1
    known = ids > 0
    if not known.all() and not (skip_unknown and known.any()):
        n, first = int((~known).sum()), different[~known][0]
        raise IRLLRecError(
            f"{n} of {len(different)} {what}s {'are' if n > 1 else 'is'} not in the data set, first {first!r}: correct "
            f"the list{', or give --skip-unknown' if known.any() and skip_unknown is not None else ''}."
        )
    return ids[known]


def read_tokens(path: str | os.PathLike[str], column: str) -> np.ndarray:
    """Read a list of tokens: one a line, or a column of a ``.csv`` or ``.parquet`` file; empty ones are left out.

    Raises:
        IRLLRecError: the file cannot be read, lacks the column, or has no tokens.
        OSError: it is not there.
    """
    suffix = Path(path).suffix
    try:
        if suffix == ".parquet":
            tokens = pq.ParquetFile(path).read([column])[column].cast(pa.string()).drop_null().to_numpy()
        elif suffix == ".csv":
            tokens = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=[column])[column].to_numpy()
        else:
            tokens = np.array(Path(path).read_text(encoding="utf-8-sig").split("\n"), dtype=object)
            tokens = pd.Series(tokens).str.removesuffix("\r").to_numpy()
    except KeyError:
        raise IRLLRecError(f"{path} has no column {column}: name its column of tokens so.") from None
    except (pa.ArrowException, ValueError) as error:  # pandas' errors, and undecodable bytes
        raise IRLLRecError(
            f"{path} cannot be read as a list of tokens ({str(error).splitlines()[0]}): write one a line in UTF-8, or "
            f"a .csv or .parquet file with a column {column}."
        ) from None
    tokens = tokens[tokens != ""]
    if len(tokens) == 0:
        raise IRLLRecError(f"{path} has no tokens: write one {column} a line.")
    return tokens


# ---- files -----------------------------------------------------------------------------------------------------------


class _JsonLines(AbstractContextManager):
    def __init__(self, file: BinaryIO, _schema: pa.Schema):
        self._file = file

    def write_table(self, table: pa.Table) -> None:
        lines = table.to_pandas().to_json(orient="records", lines=True, force_ascii=False, double_precision=15)
        self._file.write(lines.encode())

    def __exit__(self, *_error: object) -> None:
        pass


_WRITERS: dict[str, Callable[[BinaryIO, pa.Schema], Any]] = dict(
    zip(TABLE_SUFFIXES, (pq.ParquetWriter, pacsv.CSVWriter, _JsonLines), strict=True)
)


def write_tables(path: str | os.PathLike[str], found: Recommendations) -> int:
    """Write recommendations as they are made into one file, in the format that its name ends in.

    A reader sees the file that was there before, until all are written.

    Returns:
        The number of rows.
    """
    refuse_unknown_suffix(path)
    n_rows = 0
    with atomic_write(path) as file, _WRITERS[Path(path).suffix](file, found.schema) as writer:
        for table in _gathered(found.tables):
            writer.write_table(table)
            n_rows += len(table)
    return n_rows


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of at least a row group, the last one apart."""
    waiting: list[pa.Table] = []
    n_rows = 0
    for table in tables:
        waiting.append(table)
        n_rows += len(table)
        if n_rows >= _ROW_GROUP:
            yield pa.concat_tables(waiting)
            waiting, n_rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)
