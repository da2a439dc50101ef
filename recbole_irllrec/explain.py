"""Why an item was recommended: the texts of the item and of the user's side whose embeddings agree most."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.sparse import csr_matrix

from .data.text import SideTables, Table, tables
from .errors import IRLLRecError
from .scorer import Scorer
from .titles import titles, titles_by_id

LETTERS = 120  # of a text that stands on each row
# They bound the memory whatever users have read and however wide embeddings are.
_PAIRS = 1 << 20  # (recommended item, training item), compared at once; a single user may have more
_NUMBERS = 1 << 21  # of embeddings, gathered at once; a single user's may be more


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

    Args:
        served: a trained model.
        field: a column of the ``.item`` file, which stands in the place of items' texts; None for the texts.
        full: leave texts as long as they are; else they are cut to 120 characters.

    Raises:
        IRLLRecError: a table is refused, items have no texts, or there is no such field.
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

    def __init__(self, served: Scorer, field: str | None = None, full: bool = False):
        said = None if field is None else titles_by_id(served, titles(served, field, "--explain-field"))
        found = tables(served.config, served.train)
        if not found:
            raise IRLLRecError(
                "There is no table of the items' texts to explain with: name one in item_profile_table or "
                "item_intent_table, or leave --explain out."
            )
        most = None if full else LETTERS
        self._kinds = {
            kind: _Kind(served, both, served.further_texts(kind), said, most) for kind, both in found.items()
        }
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
    """The texts of one kind; what stands in the place of the items' and how long all of them may be is given."""

    def __init__(
        self,
        served: Scorer,
        found: SideTables,
        new: tuple[np.ndarray, np.ndarray] | None,
        of_items: np.ndarray | None,
        most: int | None,
    ):
        assert found.item is not None  # `tables`
        items = _texts(found.item, served.item_tokens, new)
        self._items = items._replace(text=shortened(items.text if of_items is None else of_items, most))
        users = None if found.user is None else _texts(found.user, served.user_tokens)
        self._users = users and users._replace(text=shortened(users.text, most))
        self._train_items = served.train_items

    def match(self, user: np.ndarray, item: np.ndarray) -> _Match:
        """What agrees most with the text of each recommended item, [n], [n]: a training item's or the user's own."""
        because_of, similarity = most_similar(
            self._train_items, user, item, lambda a, b: _cosines(self._items, a[:, 0], b[:, :, 0])
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


def shortened(texts: np.ndarray, letters: int | None) -> np.ndarray:
    """Texts, [n] str, each of at most so many letters; what is longer ends with a whole word and "…"."""
    if letters is None:
        return texts
    column = pd.Series(texts, dtype=object)
    long = column.str.len() > letters
    cut = column[long].str.slice(0, letters - 1).str.replace(r"(?<=\S)\s+\S*$", "", regex=True)
    return column.mask(long, cut + "…").to_numpy()


def _texts(table: Table, tokens: np.ndarray, new: tuple[np.ndarray, np.ndarray] | None = None) -> _Texts:
    """The texts of tokens, [n], the last ones from ``new`` where that is given."""
    rows, texts = table.rows_for(tokens), table.texts_for(tokens)
    embeddings, present = rows.embeddings, rows.present
    if new is not None:
        first = len(tokens) - len(new[1])
        embeddings[first:], texts[first:], present[first:] = *new, True
    squares = np.einsum("nd,nd->n", embeddings, embeddings, dtype=np.float32)
    return _Texts(embeddings, np.where(present, np.sqrt(squares), np.nan), texts)


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


def _cosines(texts: _Texts, read: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The cosines of texts within each of n groups, [n, h], [n, k] -> [n, k, h] float32; -inf where one is missing."""
    size = max(_NUMBERS // (texts.embedding.shape[1] * (read.shape[1] + found.shape[1])), 1)
    cosines = np.empty((*found.shape, read.shape[1]), np.float32)
    for start in range(0, len(read), size):
        a, b = (ids[start : start + size] for ids in (found, read))
        left, right = (texts.embedding[ids].astype(np.float32, copy=False) for ids in (a, b))
        products = np.matmul(left, right.swapaxes(1, 2), out=cosines[start : start + size])
        products /= texts.length[a][:, :, None] * texts.length[b][:, None, :]
    return np.nan_to_num(cosines, copy=False, nan=-np.inf)


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
        similarity: of items, [m, 1, h] that users have read and [m, k, 1] recommended ones -> [m, k, h] float32; -inf
            where it is not known.

    Returns:
        [n] ids of training items and [n] their similarities; where none is known, 0 and -inf.
    """
    best, highest = np.zeros(len(user), np.int64), np.full(len(user), -np.inf, np.float32)
    starts = np.flatnonzero(np.diff(user, prepend=-1))  # of runs of one user's rows
    n_rows, first = np.diff(starts, append=len(user)), train_items.indptr[user[starts]]
    n_read = train_items.indptr[user[starts] + 1] - first
    for runs in _alike(n_rows, n_read):
        place, is_read = _padded(first[runs], n_read[runs])
        read = train_items.indices[place]
        row, is_row = _padded(starts[runs], n_rows[runs])
        values = np.where(is_read[:, None], similarity(read[:, None], item[row][:, :, None]), -np.inf)
        most = values.argmax(axis=2)
        highest[row[is_row]] = values.max(axis=2)[is_row]
        best[row[is_row]] = np.take_along_axis(read, most, axis=1)[is_row]
    best[np.isneginf(highest)] = 0
    return best, highest


def _alike(n_rows: np.ndarray, n_read: np.ndarray) -> list[np.ndarray]:
    """Users in groups that have read about as much, at most twice as much as another, and compare ``_PAIRS`` items."""
    order = np.argsort(n_read, kind="stable")
    order = order[n_read[order] > 0]
    if len(order) == 0:
        return []
    magnitude = np.frexp(n_read[order])[1]
    full = np.cumsum(n_rows.max() * 2.0**magnitude) // _PAIRS
    return np.split(order, np.flatnonzero(np.diff(magnitude) + np.diff(full)) + 1)


def _padded(start: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranges as rows of one length: [n, longest] their numbers, the last one repeated, and which are no repetition."""
    offset = np.arange(length.max())
    return start[:, None] + np.minimum(offset, length[:, None] - 1), offset < length[:, None]
