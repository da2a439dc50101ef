"""What users and items are said to be chosen and avoided for, phrase by phrase, with what it rests on."""

import logging
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

from .data.text import KINDS, Table, locate, tables
from .data.training import SIDES, Side, TrainingTokens
from .scorer import Scorer
from .text.profiles import FIELD_SEPARATOR
from .text.written import MOST, intents_of_users, read_written, written_about

_LEAST = 0.25  # the cosine of two phrases' words from which on they are told to meet
# How texts of intents are written, by `generation.schema.intent_text` and from what comes with the package
_INTENTS = re.compile(
    r"\s*(?:likes:\s*(?P<likes>.+?))?(?:(?:^|[.;])\s*dislikes:\s*(?P<dislikes>.+?))?\.?\s*", re.IGNORECASE | re.DOTALL
)


class Told(NamedTuple):
    """What is said about users and items, by their tokens."""

    profiles: Mapping[Side, pd.Series]  # of the sides "user" and "item", str
    item: pd.DataFrame  # a row a phrase: token, likes (bool; else dislikes), phrase
    user: pd.DataFrame  # likewise, with evidence: a list of items' tokens and of quotes, each of them (str, is_item)


def told(served: Scorer, users: np.ndarray) -> Told:
    """Find it in a language model's answers, in text tables, or in what comes with the package, in this order.

    Args:
        served: a trained model; its data set's folder is looked into.
        users: [n] tokens of those to tell about.

    Raises:
        IRLLRecError: a table or the store of answers cannot be read, or a table was made with other interactions.
    """
    train = TrainingTokens(served.train)
    for found in (_answered(served, train), _tabled(served, train, users), _written(served, train, users)):
        if found is not None:
            return found
    nothing = pd.DataFrame({"token": [], "likes": [], "phrase": []}, dtype=object)
    return Told({side: pd.Series(dtype=object) for side in SIDES}, nothing, nothing.assign(evidence=[]))


def meeting(wishes: pd.DataFrame, offers: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """What a user likes that meets what an item is liked for: of each pair the two phrases with the likest words.

    Args:
        wishes: `Told.user`; offers: `Told.item`.
        pairs: columns ``user`` and ``item``, tokens.

    Returns:
        Columns ``wish`` and ``offer``, with the index of ``pairs``; without the pairs whose phrases have too little in
        common.
    """
    wishes, offers = (
        said.loc[said["likes"].astype(bool), ["token", "phrase"]].set_axis([side, name], axis=1)
        for said, side, name in ((wishes, "user", "wish"), (offers, "item", "offer"))
    )
    rows = pairs.reset_index(names="pair").merge(wishes, on="user").merge(offers, on="item")
    if rows.empty:
        return pd.DataFrame({"wish": [], "offer": []}, dtype=object)
    code, phrases = pd.factorize(np.concatenate([rows["wish"], rows["offer"]]))
    # and a word, lest there be none
    every = [*offers["offer"].drop_duplicates(), *wishes["wish"].drop_duplicates(), "phrase"]
    words = TfidfVectorizer(token_pattern=r"\w+", stop_words="english").fit(every).transform(phrases)
    first, second = np.split(code, 2)
    rows["cosine"] = np.asarray(words[first].multiply(words[second]).sum(axis=1)).ravel()
    best = rows[rows["cosine"] >= _LEAST].sort_values("cosine", ascending=False, kind="stable").drop_duplicates("pair")
    return best.set_index("pair")[["wish", "offer"]]


def _answered(served: Scorer, train: TrainingTokens) -> Told | None:
    """From the store of a language model's answers."""
    from .dataset_tools.generate import store_path
    from .dataset_tools.generation.schema import Answer
    from .dataset_tools.generation.store import open_store

    path = store_path(served.config, None)
    if not path.is_file():
        return None

    def phrases(answers: list[tuple[str, Answer]]) -> Iterator[tuple[str, bool, str, list[str]]]:
        for token, answer in answers:
            for likes, intents in ((True, answer.likes), (False, answer.dislikes)):
                yield from ((token, likes, one.intent, one.evidence) for one in intents)

    with open_store(path) as store:
        if store.about["train_fingerprint"] != train.fingerprint:
            logging.getLogger(__name__).warning(
                f"{path} was made with other training interactions than this model: what it says is left out."
            )
            return None
        answers = {side: list(store.answers(side)) for side in SIDES}
    profiles = {side: pd.Series({token: a.profile for token, a in its}, dtype=object) for side, its in answers.items()}
    item, user = (
        pd.DataFrame(phrases(answers[side]), columns=["token", "likes", "phrase", "evidence"])
        for side in ("item", "user")
    )
    known = set(train.tokens["item"])

    def read(evidence: list[str]) -> list[tuple[str, bool]]:
        named = [one.strip().removeprefix("[").removesuffix("]") for one in evidence]
        return [(name, True) if name in known else (one, False) for name, one in zip(named, evidence, strict=True)]

    return Told(profiles, item.drop(columns="evidence"), user.assign(evidence=user["evidence"].map(read)))


def _tabled(served: Scorer, train: TrainingTokens, users: np.ndarray) -> Told | None:
    """From text tables; None without any, or where their texts hold nothing."""
    if not any(locate(served.config, served.train, side, kind) for side in SIDES for kind in KINDS):
        return None
    found = tables(served.config, served.train)
    if not found:
        return None
    tokens = {"user": users, "item": train.tokens["item"]}

    def texts(kind: str, side: str) -> pd.Series:
        table: Table | None = getattr(found[kind], side) if kind in found else None
        said = pd.Series(dtype=object) if table is None else pd.Series(table.texts_for(tokens[side]), tokens[side])
        return said[said != ""]

    phrases = {}
    for side in SIDES:
        matched = texts("intent" if "intent" in found else "profile", side).map(_INTENTS.fullmatch).dropna()
        parts = {name: matched.map(lambda match, name=name: match[name] or "") for name in MOST}
        phrases[side] = _phrases(pd.DataFrame(parts))
    profiles = {side: texts("profile", side) for side in SIDES}
    if all(said.empty for said in profiles.values()) and all(said.empty for said in phrases.values()):
        return None
    return Told(profiles, phrases["item"], _with_evidence(phrases["user"], phrases["item"], train.judged))


def _written(served: Scorer, train: TrainingTokens, users: np.ndarray) -> Told | None:
    """From what comes with the package about public data sets."""
    if written_about(served.config["dataset"]) is None:
        return None
    about = read_written(served.config["dataset"])
    judged = train.judged[train.judged["user"].isin(users)]
    offers = _phrases(about[[*MOST]])
    wishes = _phrases(intents_of_users(about, users, judged))
    profiles: dict[Side, pd.Series] = {"user": pd.Series(dtype=object), "item": about["profile"]}
    return Told(profiles, offers, _with_evidence(wishes, offers, judged))


def _phrases(joined: pd.DataFrame) -> pd.DataFrame:
    """Columns likes and dislikes of joined phrases, by token -> a row a phrase: token, likes, phrase."""
    frames = [
        joined[name].str.split(FIELD_SEPARATOR).explode().rename("phrase").rename_axis("token").reset_index()
        for name in MOST
    ]
    rows = pd.concat([frame.assign(likes=name == "likes") for frame, name in zip(frames, MOST, strict=True)])
    return rows.loc[rows["phrase"] != "", ["token", "likes", "phrase"]].reset_index(drop=True)


def _with_evidence(wishes: pd.DataFrame, offers: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Phrases of users, with those of their training items of which the same is said."""
    read = judged.rename(columns={"user": "token", "liked": "likes"}).drop_duplicates(["token", "item"])
    key = ["token", "likes", "phrase"]
    said = wishes.merge(offers.rename(columns={"token": "item"}), on=["likes", "phrase"])
    said = said.merge(read, on=["token", "item", "likes"])
    evidence = said.assign(one=said["item"].map(lambda item: (item, True))).groupby(key)["one"].agg(list)
    found = wishes.merge(evidence.rename("evidence").reset_index(), how="left", on=key)
    return found.assign(evidence=found["evidence"].map(lambda its: its if isinstance(its, list) else []))
