"""A served model as records for a page: users with what they get and why, and the items that they meet there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from .compat.baselines import by_counts
from .data.training import TrainingTokens
from .explain import shortened
from .files import atomic_write
from .html_page import page_of_data
from .likeness import Likeness
from .phrases import Told, meeting, told
from .recommend import Ranked, Ranker, ranker_of
from .scorer import Scorer
from .tables.features import read_features
from .text.profiles import item_texts
from .titles import item_features, title_field, titles_by_id

# What the page holds at most
_HISTORY = 200  # training items of a user, the latest ones
_EVIDENCE = 4  # pieces of it for a phrase
_NEAREST = 10  # items
_ABOUT, _PROFILE, _QUOTE = 200, 400, 120  # letters


class _Shown(NamedTuple):
    """What is found of the chosen users; columns hold RecBole's ids."""

    history: pd.DataFrame  # user, item, liked; the latest first
    best: Ranked
    popular: Ranked


def explore(served: Scorer, users: np.ndarray, k: int = 20, title: str | None = None) -> dict[str, Any]:
    """What a page tells about users, and about the items that they have or are shown.

    Args:
        served: a trained model.
        users: [n] ids, all different.
        k: recommendations of each.
        title: the column of the ``.item`` file that names items; None for the first with title or name in its name.

    Returns:
        Plain records. ``items`` and ``phrases`` are referred to by their places, -1 being none; a user's ``best`` are rows
        (item, score, phrase of the user, phrase of the item that meets it, earlier item that is most like it, cosine).

    Raises:
        IRLLRecError: there is no such column, a text table is refused, or a score is no number.
    """
    features = item_features(served)
    field = title_field(served, features, title, "--title-field")
    said = told(served, served.user_tokens[users])
    shown = _shown(served, users, k)
    likeness = Likeness(served)
    items = _items_of(served, shown, said, served.user_tokens[users])
    phrases = (
        pd.Index([]).append([pd.Index(frame["phrase"], dtype=object) for frame in (said.item, said.user)]).unique()
    )
    return {
        "model": served.config["model"],
        "dataset": served.config["dataset"],
        "k": k,
        "by_vectors": likeness.by_vectors,
        "n_users": len(served.user_tokens) - 1,
        "n_items": len(served.item_tokens) - 1,
        "phrases": phrases.tolist(),
        "users": _users(served, users, shown, said, likeness, items, phrases),
        "items": _items(served, items, said, likeness, phrases, features, field),
    }


def write_page(path: str | os.PathLike[str], records: dict[str, Any]) -> None:
    """Write what `explore` returns as a page that needs no network; a reader sees the old one until it is complete."""
    page = page_of_data("explore", f"{records['model']} on {records['dataset']}", records)
    with atomic_write(path) as file:
        file.write(page.encode())


# ---- found -----------------------------------------------------------------------------------------------------------


def _shown(served: Scorer, users: np.ndarray, k: int) -> _Shown:
    ranker, device = ranker_of(served, k), served.config["device"]
    counts = np.bincount(np.asarray(served.train.inter_feat[served.train.iid_field]), minlength=len(served.item_tokens))
    popularity = by_counts(counts, served.item_tokens).to(device)
    every = np.arange(1, len(served.item_tokens))
    popular = Ranker(lambda block: popularity.repeat(len(block), 1), k, served.known_items, every, device)
    return _Shown(_history(served, users), *(_ranked(each, users) for each in (ranker, popular)))


@torch.no_grad()
def _ranked(ranker: Ranker, users: np.ndarray) -> Ranked:
    return Ranked(*map(np.concatenate, zip(*map(ranker, ranker.blocks(users)), strict=True)))


def _history(served: Scorer, users: np.ndarray) -> pd.DataFrame:
    """The training interactions of users, each item once, the latest first where there are times."""
    train, interactions = TrainingTokens(served.train), served.train.inter_feat
    pairs = pd.DataFrame(train.ids).add(1).assign(liked=train.judged["liked"].to_numpy())
    time = served.config["TIME_FIELD"]
    if time in interactions:
        pairs = pairs.iloc[np.argsort(-np.asarray(interactions[time]), kind="stable")]
    return pairs[pairs["user"].isin(users)].drop_duplicates(["user", "item"])


def _items_of(served: Scorer, shown: _Shown, said: Told, users: np.ndarray) -> np.ndarray:
    """The ids of all items that the users' records name, sorted."""
    evidence = [token for its in _evidence(said, users)["evidence"] for token, is_item in its if is_item]
    history = shown.history.groupby("user").head(_HISTORY)["item"]
    named = pd.Index(served.item_tokens).get_indexer(pd.Index(evidence, dtype=object))
    return np.unique(np.concatenate([history, shown.best.item, shown.popular.item, named]).astype(np.int64))


def _evidence(said: Told, users: np.ndarray) -> pd.DataFrame:
    """What is told of the users, with no more evidence than is shown."""
    its = said.user[said.user["token"].isin(users)]
    return its.assign(evidence=its["evidence"].map(lambda evidence: evidence[:_EVIDENCE]))


# ---- records ---------------------------------------------------------------------------------------------------------


def _users(
    served: Scorer,
    users: np.ndarray,
    shown: _Shown,
    said: Told,
    likeness: Likeness,
    items: np.ndarray,
    phrases: pd.Index,
) -> list[dict[str, Any]]:
    config, tokens = served.config, served.user_tokens[users]
    file = Path(config["data_path"]) / f"{config['dataset']}.user"
    about = read_features(file, config["USER_ID_FIELD"], config["field_separator"], config["encoding"])
    place = pd.Series(np.arange(len(items)), served.item_tokens[items])
    of_phrases = _by_token(_evidence(said, tokens), phrases, place)
    best = pd.DataFrame(shown.best._asdict())
    pairs = pd.DataFrame({"user": served.user_tokens[best["user"]], "item": served.item_tokens[best["item"]]})
    met = meeting(said.user, said.item, pairs).reindex(pairs.index)
    rows = best.assign(
        wish=phrases.get_indexer(pd.Index(met["wish"])), offer=phrases.get_indexer(pd.Index(met["offer"]))
    )
    by_user = dict(tuple(rows.groupby("user")))
    popular = dict(tuple(pd.Series(shown.popular.item).groupby(shown.popular.user)))
    history = dict(tuple(shown.history.groupby("user")))
    nobody, nothing = rows.iloc[:0], shown.history.iloc[:0]
    names = served.user_names.take(users).to_pylist()
    texts = zip(_of(item_texts(about), tokens, _ABOUT), _of(said.profiles["user"], tokens, _PROFILE), strict=True)
    return [
        {
            "id": name,
            "about": line,
            "profile": profile,
            **of_phrases(token),
            "best": _best(by_user.get(user, nobody), history.get(user, nothing)["item"].to_numpy(), likeness, items),
            "popular": np.searchsorted(items, popular.get(user, [])).tolist(),
            "n_history": len(history.get(user, nothing)),
            "history": _rows(history.get(user, nothing).iloc[:_HISTORY], items),
        }
        for user, token, name, (line, profile) in zip(users, tokens, names, texts, strict=True)
    ]


def _best(rows: pd.DataFrame, history: np.ndarray, likeness: Likeness, items: np.ndarray) -> list[tuple]:
    """A user's recommendations, each with the item of its history, of those on the page, that is most like it."""
    history = history[:_HISTORY]
    cosines = likeness.between(rows["item"].to_numpy(), history)
    found = cosines.max(axis=1, initial=0)
    like = np.where(found > 0, _places(history, items)[cosines.argmax(axis=1)], -1) if len(history) else found - 1
    columns = (_places(rows["item"], items), rows["score"].astype(float).round(4), rows["wish"], rows["offer"])
    return list(zip(*(list(map(_plain, column)) for column in (*columns, like, found.round(2))), strict=True))


def _rows(history: pd.DataFrame, items: np.ndarray) -> list[int]:
    """Places of items; of one that the user did not like, the place's complement."""
    places = _places(history["item"], items)
    return np.where(history["liked"], places, ~places).tolist()


def _items(
    served: Scorer,
    items: np.ndarray,
    said: Told,
    likeness: Likeness,
    phrases: pd.Index,
    features: pd.DataFrame,
    field: str | None,
) -> list[dict[str, Any]]:
    tokens = served.item_tokens[items]
    titles = titles_by_id(served, pd.Series(dtype=object) if field is None else features[field])[items]
    about = item_texts(features.drop(columns=[] if field is None else [field]))
    texts = zip(_of(about, tokens, _ABOUT), _of(said.profiles["item"], tokens, _PROFILE), strict=True)
    of_phrases = _by_token(said.item[said.item["token"].isin(tokens)], phrases)
    counts = np.diff(served.train_items.tocsc().indptr)[items].tolist()
    near, cosines = likeness.nearest(items, _NEAREST)
    names = served.item_names.take(items).to_pylist()
    return [
        {
            "id": name,
            "title": title,
            "about": line,
            "profile": profile,
            **of_phrases(token),
            "n": n,
            "near": [
                (int(place), round(float(cosine), 2)) for place, cosine in zip(*nearest, strict=True) if cosine > 0
            ],
        }
        for token, name, title, (line, profile), n, nearest in zip(
            tokens, names, titles.tolist(), texts, counts, zip(near, cosines, strict=True), strict=True
        )
    ]


def _of(texts: pd.Series, tokens: np.ndarray, letters: int) -> list[str]:
    """The tokens' texts, shortened."""
    found = texts.reindex(tokens).fillna("").str.split().str.join(" ")
    return shortened(found.to_numpy(object), letters).tolist()


def _by_token(
    said: pd.DataFrame, phrases: pd.Index, place: pd.Series | None = None
) -> Callable[[str], dict[str, list]]:
    """A function from a token to its likes and dislikes: places of phrases, with ``place`` each with its evidence.

    Evidence is a list of places of items and of quotes.
    """
    shown = said.assign(phrase=phrases.get_indexer(pd.Index(said["phrase"], dtype=object)))
    rows: dict[tuple[str, bool], list] = {}

    def evidence(its: list[tuple[str, bool]]) -> list[int | str]:
        assert place is not None
        return [int(place[one]) if is_item else one[:_QUOTE] for one, is_item in its]

    for row in shown.itertuples():
        one = row.phrase if place is None else (row.phrase, evidence(row.evidence))
        rows.setdefault((row.token, bool(row.likes)), []).append(one)
    return lambda token: {side: rows.get((token, side == "likes"), []) for side in ("likes", "dislikes")}


def _places(ids, items: np.ndarray) -> np.ndarray:
    return np.searchsorted(items, np.asarray(ids, np.int64))


def _plain(number) -> int | float:
    return number.item() if isinstance(number, np.generic) else number
