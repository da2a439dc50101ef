"""Why an item was recommended: the texts of the item and of the user's side whose embeddings agree most."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.sparse import csr_matrix

from .data.text import SideTables, Table, tables
from .errors import IRLLRecError
from .serving import Served

# They bound the memory whatever users have read and however wide embeddings are.
_PAIRS = 1 << 20  # (recommended item, training item), compared at once; a single user may have more
_NUMBERS = 1 << 23  # of embeddings, gathered at once


class _Texts(NamedTuple):
    """The texts of one side, by RecBole's ids; row 0 is padding."""

    embedding: np.ndarray  # [n, dim]
    length: np.ndarray  # [n] float32, the embedding's; NaN where it is missing
    text: np.ndarray  # [n] str


class _Match(NamedTuple):
    """What agrees most with the text of each of n recommended items, among texts of one kind."""

    similarity: np.ndarray  # [n] float32; -inf where there is nothing to compare
    because_of: np.ndarray  # [n] int64, ids of training items; 0 for the user's own text


class Explainer:
    """Explains recommendations with the text tables of the data set, or with those of the embedded default.

    Raises:
        IRLLRecError: a table is refused, or items have no texts.
    """

    SCHEMA = pa.schema(
        {
            "kind": pa.string(),  # of the two texts: profile or intent
            "item_text": pa.string(),
            "user_text": pa.string(),
            "because_of": pa.string(),  # the training item whose text user_text is; null for the user's own text
            "similarity": pa.float32(),  # the cosine of the two texts' embeddings
        }
    )

    def __init__(self, served: Served):
        found = tables(served.config, served.train)
        if not found:
            raise IRLLRecError(
                "There is no table of the items' texts to explain with: name one in item_profile_table or "
                "item_intent_table, or leave --explain out."
            )
        self._kinds = {kind: _Kind(served, both) for kind, both in found.items()}
        self._item_names = served.item_names

    def __call__(self, user: np.ndarray, item: np.ndarray) -> list[pa.Array]:
        """Explain recommendations, [n] ids of users and [n] of items: the columns of ``SCHEMA``, null without texts."""
        names, kinds = np.array([*self._kinds], object), self._kinds.values()
        matches = [kind.match(user, item) for kind in kinds]
        similarity = np.stack([match.similarity for match in matches])
        chosen = (similarity.argmax(axis=0), np.arange(len(user)))  # the kind of text that agrees most, for each row
        because_of = np.stack([match.because_of for match in matches])[chosen]
        texts = [kind.texts(user, item, because_of) for kind in kinds]
        item_text, user_text = (np.stack(side)[chosen] for side in zip(*texts, strict=True))
        missing = np.isneginf(similarity[chosen])
        return [
            pa.array(names[chosen[0]], pa.string(), mask=missing),
            pa.array(item_text, pa.string(), mask=item_text == ""),
            pa.array(user_text, pa.string(), mask=missing | (user_text == "")),
            self._item_names.take(pa.array(because_of, mask=because_of == 0)),
            pa.array(similarity[chosen], pa.float32(), mask=missing),
        ]


class _Kind:
    """The texts of one kind."""

    def __init__(self, served: Served, found: SideTables):
        assert found.item is not None  # `tables`
        self._items = _texts(found.item, served.item_tokens)
        self._users = None if found.user is None else _texts(found.user, served.user_tokens)
        self._train_items = served.train_items

    def match(self, user: np.ndarray, item: np.ndarray) -> _Match:
        """What agrees most with the text of each recommended item, [n], [n]: a training item's or the user's own."""
        because_of, similarity = most_similar(
            self._train_items, user, item, lambda a, b: _cosine(self._items, a, self._items, b)
        )
        if self._users is not None:
            own = _cosine(self._users, user, self._items, item)
            because_of[own >= similarity] = 0
            similarity = np.maximum(similarity, own)
        return _Match(similarity, because_of)

    def texts(self, user: np.ndarray, item: np.ndarray, because_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The items' texts [n], and those of the user's side [n]."""
        own = np.full(len(user), "", object) if self._users is None else self._users.text[user]
        return self._items.text[item], np.where(because_of > 0, self._items.text[because_of], own)


def _texts(table: Table, tokens: np.ndarray) -> _Texts:
    rows = table.rows_for(tokens)
    squares = np.einsum("nd,nd->n", rows.embeddings, rows.embeddings, dtype=np.float32)
    length = np.where(rows.present, np.sqrt(squares), np.nan)
    return _Texts(rows.embeddings, length, table.texts_for(tokens))


def _cosine(x: _Texts, x_ids: np.ndarray, y: _Texts, y_ids: np.ndarray) -> np.ndarray:
    """The cosine of each pair of texts, [n], [n] -> [n] float32; -inf where an embedding is missing."""
    size = max(_NUMBERS // x.embedding.shape[1], 1)
    starts = range(size, len(x_ids), size)
    pieces = zip(np.split(x_ids, starts), np.split(y_ids, starts), strict=True)
    products = np.concatenate(
        [np.einsum("nd,nd->n", x.embedding[a], y.embedding[b], dtype=np.float32) for a, b in pieces]
    )
    cosine = products / (x.length[x_ids] * y.length[y_ids])
    return np.nan_to_num(cosine, nan=-np.inf).astype(np.float32)


def most_similar(
    train_items: csr_matrix,
    user: np.ndarray,
    item: np.ndarray,
    similarity: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """The training item of each user that is most similar to the item recommended to it.

    Args:
        train_items: [n_users, n_items], with an entry at each training interaction.
        user: [n] ids; item: [n] ids.
        similarity: of pairs of items, [m], [m] -> [m] float32; -inf where it is not known.

    Returns:
        [n] ids of training items and [n] their similarities; where none is known, 0 and -inf.
    """
    best, highest = np.zeros(len(user), np.int64), np.full(len(user), -np.inf, np.float32)
    pairs = np.cumsum(np.diff(train_items.indptr)[user])
    cuts = np.searchsorted(pairs, np.arange(_PAIRS, pairs[-1] if len(pairs) else 0, _PAIRS))
    for rows in np.split(np.arange(len(user)), np.unique(cuts)):
        histories = train_items[user[rows]]
        row = np.repeat(rows, np.diff(histories.indptr))
        values = similarity(histories.indices, item[row])
        known = np.isfinite(values).nonzero()[0]
        places = pd.Series(values[known]).groupby(row[known]).idxmax()
        best[places.index] = histories.indices[known[places]]
        highest[places.index] = values[known[places]]
    return best, highest
