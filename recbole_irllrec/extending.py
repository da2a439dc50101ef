"""A served model with items and users that training never saw: items by their texts, users by their histories."""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from scipy.sparse import csr_matrix, issparse
from torch import Tensor

from .compat.baselines import by_counts
from .data.alike import embed_alike
from .data.new_rows import NewItems
from .data.text import narrowed, tables
from .data.tokens import escape_tokens
from .errors import IRLLRecError
from .model.folding import folds_in, item_weights
from .model.linear import binary
from .scorer import Scorer
from .tables.table_file import rows_present

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Extended(Scorer):
    """Scores for what the data set has and for what is new. Known ids stay, new users and items follow them."""

    new_items: NewItems | None
    new_kind: str | None  # which of the data set's texts theirs are like
    new_embeddings: np.ndarray | None  # [m, dim] of their texts, as wide as in that kind's table
    extended_embeddings: tuple[Tensor, Tensor] | None  # [n_users, d] and [n_items, d]; None for a model without
    weights: Any  # [n_items, n_items], what an item says for another; None where vectors say all
    people: np.ndarray  # [p] str, the users of the histories
    popularity: Tensor  # [n_items] in [0, 1], for users without a history

    @property
    def n_known_items(self) -> int:
        """How many items the data set has, with the padding."""
        return len(self.item_tokens) - (0 if self.new_items is None else len(self.new_items.names))

    @cached_property
    def has_history(self) -> np.ndarray:
        """[n_users] bool."""
        return np.diff(self.train_items.indptr) > 0

    @property
    def embeddings(self) -> tuple[Tensor, Tensor] | None:
        """See `Scorer.embeddings`."""
        return self.extended_embeddings

    @cached_property
    def ranking_vectors(self) -> tuple[Tensor, Tensor] | None:
        """[n_users, d + 1] and [n_items, d + 1]; the last number ranks by popularity for users without a history."""
        if self.vectors is None:
            return None
        users, items = self.vectors
        known, popularity = (torch.as_tensor(x).to(users)[:, None] for x in (self.has_history, self.popularity))
        return torch.cat([users * known, 1 - known], dim=1), torch.cat([items, popularity], dim=1)

    def further_texts(self, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
        """See `Scorer.further_texts`."""
        if self.new_items is None or self.new_kind != kind:
            return None
        assert self.new_embeddings is not None
        return self.new_embeddings, self.new_items.texts

    @torch.no_grad()
    def score(self, users: Tensor) -> Tensor:
        """See `Scorer.score`."""
        if self.ranking_vectors is not None:
            of_users, of_items = self.ranking_vectors
            return of_users[users] @ of_items.T
        rows = users.cpu().numpy()
        found = self.train_items[rows] @ self.weights
        scores = torch.as_tensor(found.toarray() if issparse(found) else np.asarray(found), dtype=torch.float32)
        if self.embeddings is not None:
            of_users, of_items = self.embeddings
            scores += (of_users[users] @ of_items.T).cpu()
        scores[torch.as_tensor(~self.has_history[rows])] = self.popularity
        return scores.to(users.device)


class _People(NamedTuple):
    """The users of the histories."""

    names: np.ndarray  # [p] str, each once
    known: np.ndarray  # [p] their ids in the data set; 0 for new ones
    places: np.ndarray  # [p] their ids in what is extended
    codes: np.ndarray  # [h] which of them an interaction is of


@torch.no_grad()
def extend(served: Scorer, items: NewItems | None = None, histories: pd.DataFrame | None = None) -> Extended:
    """A served model that also knows new items, and users by new or grown histories.

    Args:
        served: the model; with its texts (``serve(..., texts=True)``) where there are new items.
        items: items that the data set does not have.
        histories: columns ``user`` and ``item``, str: interactions, which are added to those that a user of the data
            set had in training.

    Raises:
        IRLLRecError: a new item has an old id or no text, an item of a history is neither old nor new, or the model
            cannot do it.
    """
    pairs = pd.DataFrame({"user": [], "item": []}, dtype=object) if histories is None else histories
    new_names = np.empty(0, object) if items is None else items.names
    if items is not None:
        _refuse_items(served, items)
    if items is None or len(pairs):
        _refuse_histories(served)
    people, item_ids = _read(served, pairs, new_names)
    shape = (len(served.user_tokens) + int((people.known == 0).sum()), len(served.item_tokens) + len(new_names))
    added = csr_matrix((np.ones(len(pairs), np.float32), (people.places[people.codes], item_ids)), shape)
    train, known = (binary(_grown(each, shape) + added) for each in (served.train_items, served.known_items))
    kind, embeddings = (None, None) if items is None else _embeddings(served, items)
    vectors, weights = _vectors_and_weights(served, embeddings, train, people)
    new_users = people.names[people.known == 0]
    made = Extended(
        served.config,
        served.model,
        served.train,
        user_tokens=_with_tokens(served.user_tokens, new_users),
        item_tokens=_with_tokens(served.item_tokens, new_names),
        train_items=train,
        known_items=known,
        new_items=items,
        new_kind=kind,
        new_embeddings=embeddings,
        extended_embeddings=vectors,
        weights=weights,
        people=people.names,
        popularity=_popularity(served, shape[1]),
    )
    _log.info(
        f"{len(people.names) - len(new_users)} users of the data set with more interactions, {len(new_users)} new "
        f"users, {len(new_names)} new items."
    )
    if without := int((~made.has_history[1:]).sum()):
        _log.info(f"{without} users have no interactions: popularity ranks the items for them.")
    return made


def _refuse_items(served: Scorer, items: NewItems) -> None:
    if getattr(served.model, "item_text_kind", None) is None or served.embeddings is None:
        raise IRLLRecError(
            f"{served.config['model']} of this checkpoint has no map from texts to vectors, so it has nothing for new "
            f"items: take a model that reads texts, such as IRLLRec with profile_weight above 0, and in Python serve "
            f"it with `texts=True`."
        )
    known = pd.Index(served.item_names.to_numpy(zero_copy_only=False)[1:])
    old = known.get_indexer(pd.Index(items.names)) >= 0
    if old.any():
        raise IRLLRecError(
            f"{items.origin} has {int(old.sum())} items that the data set has, first {items.names[old][0]!r}: leave "
            f"them out; new items are those that the training did not know."
        )


def _refuse_histories(served: Scorer) -> None:
    if not folds_in(served.model):
        raise IRLLRecError(
            f"{served.config['model']} knows users by what it has learnt of them alone, so it has nothing for new or "
            f"grown histories: take IRLLRec or another graph encoder of this package, EASE or ItemKNN, or train again "
            f"with these interactions."
        )


def _read(served: Scorer, pairs: pd.DataFrame, new_names: np.ndarray) -> tuple[_People, np.ndarray]:
    """Who and what the interactions are of."""
    names = np.concatenate([served.item_names.to_numpy(zero_copy_only=False)[1:], new_names])
    item_ids = pd.Index(names).get_indexer(pd.Index(pairs["item"])) + 1
    if (item_ids == 0).any():
        unknown = pairs["item"].to_numpy()[item_ids == 0]
        raise IRLLRecError(
            f"{len(unknown)} of the {len(pairs)} interactions of the histories are with items that are neither in the "
            f"data set nor new, first {unknown[0]!r}: give these items as new ones, or leave the interactions out."
        )
    codes, different = pd.factorize(pairs["user"])
    known = pd.Index(served.user_names.to_numpy(zero_copy_only=False)[1:]).get_indexer(pd.Index(different)) + 1
    places = known.copy()
    places[known == 0] = len(served.user_tokens) + np.arange((known == 0).sum())
    return _People(np.asarray(different, object), known, places, codes), item_ids


def _embeddings(served: Scorer, items: NewItems) -> tuple[str, np.ndarray]:
    """The kind whose table the model reads of items, and the new items' embeddings [m, dim], as wide as that."""
    found = tables(served.config, served.train)
    kind = served.model.item_text_kind
    kind = kind if kind in found else next(iter(found))  # one table may serve for both
    table = found[kind].item
    assert table is not None  # `tables`
    made = table.metadata
    embeddings = items.embeddings
    if embeddings is None:
        tokens = escape_tokens(pa.array(items.names, pa.string())).to_numpy(zero_copy_only=False)
        embeddings = embed_alike(served.config, served.train, made, table.origin, tokens, items.texts)
    elif embeddings.shape[1] != made.dim or (items.encoder and made.encoder and items.encoder != made.encoder):
        raise IRLLRecError(
            f"{items.origin} comes from {items.encoder or 'an unknown encoder'}, {embeddings.shape[1]} wide, and the "
            f"model's texts ({table.origin}) from {made.encoder or 'an unknown one'}, {made.dim} wide: embed the new "
            f"items with the model's encoder."
        )
    missing = ~rows_present(embeddings)
    if missing.any():
        raise IRLLRecError(
            f"{int(missing.sum())} of the {len(missing)} items of {items.origin} have no text that the encoder knows, "
            f"first {items.names[missing][0]!r}: give them texts, or leave them out."
        )
    return kind, embeddings


def _vectors_and_weights(
    served: Scorer, embeddings: np.ndarray | None, train: csr_matrix, people: _People
) -> tuple[tuple[Tensor, Tensor] | None, Any]:
    """[n_users, d] and [n_items, d], those of the data set first, and [n_items, n_items]; None where there is none."""
    model = served.model
    if served.embeddings is None:
        return None, item_weights(model)
    users, item_vectors = model.scoring_embeddings()
    texts = None
    if embeddings is not None:
        narrow = narrowed(served.config, served.train, model.item_text_kind, embeddings)
        texts = torch.as_tensor(narrow).to(users)
        item_vectors = torch.cat([item_vectors, model.vectors_of_texts(texts)])
    vectors = torch.cat([users, users.new_zeros(train.shape[0] - len(users), users.shape[1])])
    if len(people.names):
        folded = model.fold_in(train[people.places], people.known, texts)
        vectors = vectors.index_copy(0, torch.as_tensor(people.places, device=users.device), folded)
    linear = getattr(model, "linear", None)
    weights = None if linear is None else linear.extended(texts, model.unseen_scale) * model.linear_scale
    return (vectors, item_vectors), weights


def _popularity(served: Scorer, n_items: int) -> Tensor:
    counts = np.asarray(served.train_items.sum(axis=0)).ravel()
    scores = torch.zeros(n_items)
    scores[: len(counts)] = by_counts(counts, served.item_tokens)
    return scores


def _with_tokens(tokens: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The tokens, and below those of new names."""
    return np.concatenate([tokens, escape_tokens(pa.array(new, pa.string())).to_numpy(zero_copy_only=False)])


def _grown(matrix: csr_matrix, shape: tuple[int, int]) -> csr_matrix:
    grown = matrix.copy()
    grown.resize(shape)
    return grown
