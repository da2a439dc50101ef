"""A served model as records for a page: users with what they get and why, and the items that they meet there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

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


class _Found(NamedTuple):
    """What a page is made of; columns hold RecBole's ids."""

    users: np.ndarray  # [n] ids
    items: np.ndarray  # [m] ids of all that the users' records name, sorted
    phrases: pd.Index  # of these users and items, each once
    said: Told  # of these users and items, with no more evidence than is shown
    history: pd.DataFrame  # user, item, liked; the latest first
    best: pd.DataFrame  # of `recommend.Ranked`, with wish and offer, see `phrases.meeting`
    popular: Ranked
    likeness: Likeness


def explore(served: Scorer, users: np.ndarray, k: int = 20, title: str | None = None) -> dict[str, Any]:
    """What a page tells about users, and about the items that they have or are shown.

    Args:
        served: a trained model.
        users: [n] ids, all different.
        k: recommendations of each.
        title: the column of the ``.item`` file that names items; None for the first with title or name in its name.

    Returns:
        Plain records. ``items`` and ``phrases`` are referred to by their places, -1 being none. A user's ``best`` are
        rows (item, score, phrase of the user, phrase of the item that meets it, earlier item that is most like it,
        their cosine); its ``history`` are places of items, and of those that it did not like their complements.

    Raises:
        IRLLRecError: there is no such column, a text table is refused, or a score is no number.
    """
    features = item_features(served)
    field = title_field(served, features, title, "--title-field")
    found = _find(served, users, k)
    return {
        "model": served.config["model"],
        "dataset": served.config["dataset"],
        "k": k,
        "by_vectors": found.likeness.by_vectors,
        "n_users": len(served.user_tokens) - 1,
        "n_items": len(served.item_tokens) - 1,
        "phrases": found.phrases.tolist(),
        "users": _users(served, found),
        "items": _items(served, found, features, field),
    }


def write_page(path: str | os.PathLike[str], records: dict[str, Any]) -> None:
    """Write what `explore` returns as a page that needs no network; a reader sees the old one until it is complete."""
    page = page_of_data("explore", f"{records['model']} on {records['dataset']}", records)
    with atomic_write(path) as file:
        file.write(page.encode())


# ---- found -----------------------------------------------------------------------------------------------------------


def _find(served: Scorer, users: np.ndarray, k: int) -> _Found:
    ranker, device = ranker_of(served, k), served.config["device"]
    counts = np.bincount(np.asarray(served.train.inter_feat[served.train.iid_field]), minlength=len(served.item_tokens))
    popularity = by_counts(counts, served.item_tokens).to(device)
    every = np.arange(1, len(served.item_tokens))
    by_popularity = Ranker(lambda block: popularity.repeat(len(block), 1), k, served.known_items, every, device)
    best, popular = pd.DataFrame(_ranked(ranker, users)._asdict()), _ranked(by_popularity, users)
    history, tokens = _history(served, users), served.user_tokens[users]
    said = told(served, tokens)
    pairs = pd.DataFrame({"user": served.user_tokens[best["user"]], "item": served.item_tokens[best["item"]]})
    best = best.join(meeting(said.user, said.item, pairs))
    wishes = said.user[said.user["token"].isin(tokens)]
    wishes = wishes.assign(evidence=wishes["evidence"].map(lambda evidence: evidence[:_EVIDENCE]))
    evidence = [token for its in wishes["evidence"] for token, is_item in its if is_item]
    named = pd.Index(served.item_tokens).get_indexer(pd.Index(evidence, dtype=object))
    read = history.groupby("user").head(_HISTORY)["item"]
    items = np.unique(np.concatenate([read, best["item"], popular.item, named]).astype(np.int64))
    offers = said.item[said.item["token"].isin(served.item_tokens[items])]
    phrases = pd.Index(pd.concat([offers["phrase"], wishes["phrase"]]).unique(), dtype=object)
    here = said._replace(item=offers, user=wishes)
    return _Found(users, items, phrases, here, history, best, popular, Likeness(served))


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


# ---- records ---------------------------------------------------------------------------------------------------------


def _users(served: Scorer, found: _Found) -> list[dict[str, Any]]:
    config, users, items = served.config, found.users, found.items
    file = Path(config["data_path"]) / f"{config['dataset']}.user"
    about = read_features(file, config["USER_ID_FIELD"], config["field_separator"], config["encoding"])
    tokens = served.user_tokens[users]
    place = pd.Series(np.arange(len(items)), served.item_tokens[items])
    of_phrases = _by_token(found.said.user, found.phrases, place)
    met = {name: found.phrases.get_indexer(pd.Index(found.best[name], dtype=object)) for name in ("wish", "offer")}
    rows = found.best.assign(**met)
    by_user = dict(tuple(rows.groupby("user")))
    popular = dict(tuple(pd.Series(found.popular.item).groupby(found.popular.user)))
    history = dict(tuple(found.history.groupby("user")))
    nobody, nothing = rows.iloc[:0], found.history.iloc[:0]
    names = served.user_names.take(users).to_pylist()
    texts = zip(_of(item_texts(about), tokens, _ABOUT), _of(found.said.profiles["user"], tokens, _PROFILE), strict=True)
    return [
        {
            "id": name,
            "about": line,
            "profile": profile,
            **of_phrases(token),
            "best": _best(by_user.get(user, nobody), history.get(user, nothing)["item"].to_numpy(), found),
            "popular": np.searchsorted(items, popular.get(user, [])).tolist(),
            "n_history": len(history.get(user, nothing)),
            "history": _rows(history.get(user, nothing).iloc[:_HISTORY], items),
        }
        for user, token, name, (line, profile) in zip(users, tokens, names, texts, strict=True)
    ]


def _best(rows: pd.DataFrame, history: np.ndarray, found: _Found) -> list[tuple]:
    """A user's recommendations, each with the item of its history, of those on the page, that is most like it."""
    history = history[:_HISTORY]
    like, most = np.full(len(rows), -1), np.zeros(len(rows))
    if len(rows) and len(history):
        cosines = found.likeness.between(rows["item"].to_numpy(), history)
        most = cosines.max(axis=1).astype(float).round(2)
        like = np.where(most > 0, _places(history[cosines.argmax(axis=1)], found.items), -1)
    score = rows["score"].astype(float).round(4)
    columns = (_places(rows["item"], found.items), score, rows["wish"], rows["offer"], like, most)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _rows(history: pd.DataFrame, items: np.ndarray) -> list[int]:
    """Places of items; of one that the user did not like, the place's complement."""
    places = _places(history["item"], items)
    return np.where(history["liked"], places, ~places).tolist()


def _items(served: Scorer, found: _Found, features: pd.DataFrame, field: str | None) -> list[dict[str, Any]]:
    items, tokens = found.items, served.item_tokens[found.items]
    titles = titles_by_id(served, pd.Series(dtype=object) if field is None else features[field])[items]
    about = item_texts(features.drop(columns=[] if field is None else [field]))
    texts = zip(_of(about, tokens, _ABOUT), _of(found.said.profiles["item"], tokens, _PROFILE), strict=True)
    of_phrases = _by_token(found.said.item, found.phrases)
    counts = np.diff(served.train_items.tocsc().indptr)[items].tolist()
    near, cosines = found.likeness.nearest(items, _NEAREST)
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
            tokens,
            names,
            titles.tolist(),
            texts,
            counts,
            zip(near.tolist(), cosines.astype(float).round(2).tolist(), strict=True),
            strict=True,
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
    where = phrases.get_indexer(pd.Index(said["phrase"], dtype=object))
    rows: dict[tuple[str, bool], list] = {}

    def evidence(its: list[tuple[str, bool]]) -> list[int | str]:
        assert place is not None
        return [int(place[one]) if is_item else one[:_QUOTE] for one, is_item in its]

    rests = [None] * len(said) if place is None else said["evidence"].map(evidence).tolist()
    for token, likes, phrase, rest in zip(said["token"], said["likes"], where.tolist(), rests, strict=True):
        rows.setdefault((str(token), bool(likes)), []).append(phrase if rest is None else (phrase, rest))
    return lambda token: {side: rows.get((token, side == "likes"), []) for side in ("likes", "dislikes")}


def _places(ids: ArrayLike, items: np.ndarray) -> np.ndarray:
    return np.searchsorted(items, np.asarray(ids, np.int64))
