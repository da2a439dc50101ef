"""What is wrong with the text tables of a data set, and what they cover."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from recbole_irllrec.data.loading import split_datasets
from recbole_irllrec.data.text import KINDS, locate, resolve
from recbole_irllrec.data.training import SIDES, TrainingTokens
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.settings.sources import read_settings
from recbole_irllrec.tables.intents import IntentTable
from recbole_irllrec.tables.table_file import TableMetadata

from .generate import evidence_outside, store_path
from .generation.store import open_store

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataset import Dataset

NEAR = 0.999  # the cosine from which on two embeddings are nearly identical
_BLOCK = 4096  # embeddings, compared at once
_COMPARISONS = 400_000_000  # pairs of embeddings, at most; beyond, of a sample of the tokens


class Coverage(BaseModel):
    """How a table fits the data set's users or items."""

    tokens: int
    """Users or items of the data set."""
    embedded: int
    """Those with an embedding."""
    worded: int
    """Those with a text."""
    unknown: int
    """Tokens of the table that the data set does not have."""


class Lengths(BaseModel):
    """Of the embeddings that are there."""

    least: float
    mean: float
    most: float


class Alike(BaseModel):
    """Tokens whose embedding is nearly that of another one."""

    tokens: int
    checked: int
    """How many tokens were compared with all others: all, or a sample."""


class TableReport(BaseModel):
    """What was found out about one table."""

    side: str
    kind: str
    source: str
    """The file, or RecBole's preload_weight; empty without a table."""
    encoder: str | None = None
    dim: int | None = None
    dtype: str | None = None
    made_from: str | None = None
    fingerprint: str | None = None
    """Of the training interactions: "this split", "another split" or "none"; null for a table made from features."""
    coverage: Coverage | None = None
    lengths: Lengths | None = None
    zero_rows: int = 0
    """Rows without an embedding."""
    repeated_texts: int = 0
    """Tokens whose text another token has, too."""
    alike: Alike | None = None


class Report(BaseModel):
    """What was found out about the text tables of a data set."""

    dataset: str
    tables: list[TableReport]
    refusals: list[str]
    """The sentences with which training refuses them."""
    warnings: list[str]


def check(config: "Config", store: Path | None = None) -> Report:
    """Examine the tables that IRLLRec would use with these settings.

    Args:
        config: RecBole's settings.
        store: the file of a language model's answers; None for the data set's own, where there is one.

    Raises:
        IRLLRecError: the settings, the data set or the store are refused.
    """
    kinds = read_settings(config).text_kinds
    dataset = split_datasets(config)[0]
    train = TrainingTokens(dataset)
    tables: list[TableReport] = []
    refusals: list[str] = []
    for side in SIDES:
        for kind in KINDS:
            try:
                tables.append(_examine(config, dataset, train, side, kind))
            except IRLLRecError as error:
                refusals.append(str(error))
    warnings = _Warnings()
    logging.getLogger("recbole_irllrec").addHandler(warnings)
    try:
        for kind in kinds:  # each alone, so that each says what is wrong with it
            try:
                resolve(config, dataset, [kind])
            except IRLLRecError as error:
                refusals.append(str(error))
    finally:
        logging.getLogger("recbole_irllrec").removeHandler(warnings)
    warnings.said += _evidence_warnings(config, train, store)
    return Report(
        dataset=config["dataset"],
        tables=tables,
        refusals=list(dict.fromkeys(refusals)),
        warnings=list(dict.fromkeys(warnings.said)),
    )


class _Warnings(logging.Handler):
    """Gathers warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _evidence_warnings(config: "Config", train: TrainingTokens, store: Path | None) -> list[str]:
    """What a language model gave as evidence and cannot know from the training interactions."""
    path = store_path(config, store)
    if store is None and not path.is_file():
        return []
    with open_store(path) as answers:
        outside = evidence_outside(answers, train.pairs, train.tokens["item"])
    if outside.empty:
        return []
    first = outside.iloc[0]
    return [
        f"{path} holds evidence that is an item, but none of the user's training items, in {len(outside)} places, "
        f"first {first['evidence']!r} of user {first['user']!r}: look at it with `irllrec intents show`."
    ]


def _examine(config: "Config", dataset: "Dataset", train: TrainingTokens, side: str, kind: str) -> TableReport:
    source = locate(config, dataset, side, kind)
    if not isinstance(source, Path):
        return TableReport(side=side, kind=kind, source="" if source is None else str(source))
    table = IntentTable.read(source, config["field_separator"], config["seq_separator"], config["encoding"])
    made = table.metadata
    lengths = np.sqrt(np.einsum("nd,nd->n", table.embeddings, table.embeddings, dtype=np.float32))[table.present]
    return TableReport(
        side=side,
        kind=kind,
        source=str(source),
        encoder=made.encoder,
        dim=made.dim,
        dtype=str(table.embeddings.dtype),
        made_from=made.source,
        fingerprint=fingerprint_state(made, train.fingerprint),
        coverage=_coverage(table, train.tokens[side]),
        lengths=Lengths(least=lengths.min(), mean=lengths.mean(), most=lengths.max()) if len(lengths) else None,
        zero_rows=int((~table.present).sum()),
        repeated_texts=_repeated(table.texts),
        alike=nearly_identical(table.embeddings[table.present]),
    )


def fingerprint_state(made: TableMetadata, fingerprint: str | None) -> str | None:
    """Whether a table was made with the training interactions of this fingerprint; None if it was with none."""
    if made.train_fingerprint is None:
        return None if made.source == "features" else "none"
    return "this split" if made.train_fingerprint == fingerprint else "another split"


def _coverage(table: IntentTable, tokens: np.ndarray) -> Coverage:
    places = pc.index_in(pa.array(tokens, pa.large_string()), value_set=pa.array(table.tokens, pa.large_string()))
    found = places.drop_null().to_numpy()
    return Coverage(
        tokens=len(tokens),
        embedded=int(table.present[found].sum()),
        worded=int((table.texts[found] != "").sum()),
        unknown=len(table.tokens) - len(found),
    )


def _repeated(texts: np.ndarray) -> int:
    """How many texts occur more than once, each occurrence counted; empty ones are none."""
    codes = pa.array(texts[texts != ""], pa.large_string()).dictionary_encode().indices.to_numpy()
    counts = np.bincount(codes) if len(codes) else np.zeros(0, int)
    return int(counts[counts > 1].sum())


def nearly_identical(embeddings: np.ndarray, most: int = _COMPARISONS) -> Alike:
    """Count the embeddings that have a cosine above `NEAR` with another one.

    Args:
        embeddings: [n, dim], none of them zero.
        most: how many pairs are compared at most; beyond, a random sample of the embeddings is compared with all.
    """
    n = len(embeddings)
    size = min(n, max(most // max(n, 1), 1))
    sample = np.sort(np.random.default_rng(0).choice(n, size, replace=False)) if size < n else np.arange(n)
    nearest = np.zeros(size, bool)
    for start in range(0, n, _BLOCK):
        others = _unit(embeddings[start : start + _BLOCK])
        for first in range(0, size, _BLOCK):
            rows = sample[first : first + _BLOCK]
            cosines = _unit(embeddings[rows]) @ others.T
            itself = np.flatnonzero((rows >= start) & (rows < start + len(others)))
            cosines[itself, rows[itself] - start] = 0
            nearest[first : first + len(rows)] |= (cosines > NEAR).any(axis=1)
    return Alike(tokens=int(nearest.sum()), checked=size)


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """Scaled to length 1, float32."""
    numbers = embeddings.astype(np.float32)
    return numbers / np.linalg.norm(numbers, axis=1, keepdims=True)
