"""What a language model has written about the items of a public data set, shipped with the package.

It was written from the items' features alone. What users like follows here from their training items, without a model.
"""

import json
from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from ..errors import IRLLRecError
from .profiles import FIELD_SEPARATOR

MOST = {"likes": 12, "dislikes": 6}  # phrases of a user: a sentence encoder reads them to the end
_DIGITS = 6  # of a likeness; further ones are rounding errors
_SUFFIX = ".jsonl"


def written_about(dataset: str) -> Traversable | None:
    """The file about a data set, or about the one that it was made of, as ``ml-100k-split``; None if there is none."""
    names = [name for name in _files() if dataset == name or dataset.startswith(f"{name}-")]
    return _files()[names[0]] if names else None


def read_written(dataset: str) -> pd.DataFrame:
    """What is written about a data set's items: strings by token, in the columns profile, likes and dislikes.

    Phrases of likes and dislikes are parted as fields are.

    Raises:
        IRLLRecError: there is nothing.
    """
    file = written_about(dataset)
    if file is None:
        raise IRLLRecError(
            f"Nothing that a language model has written about {dataset} comes with this package, but about "
            f"{', '.join(_files())}: take the features (`default_texts: features`), or let one write with `irllrec "
            f"intents generate`."
        )
    rows = pd.DataFrame(map(json.loads, file.read_text(encoding="utf-8").splitlines())).set_index("token")
    return rows.assign(**{name: rows[name].str.join(FIELD_SEPARATOR) for name in MOST}).astype(object)


def intents_of_users(about_items: pd.DataFrame, users: np.ndarray, train: pd.DataFrame) -> pd.DataFrame:
    """What users like, of what is to like in the items that they liked; and what they dislike, likewise.

    Of many phrases those are kept whose words are most like those of all of them together.

    Args:
        about_items: columns ``likes`` and ``dislikes`` by token; see `read_written`.
        users: [n] tokens.
        train: columns ``user``, ``item``, tokens, and ``liked``, bool: the training interactions and no others.

    Returns:
        The same columns by user, ``""`` for one without such items.
    """
    chosen = {
        name: _chosen(about_items[name], train[train["liked"] == (name == "likes")], most)
        for name, most in MOST.items()
    }
    return pd.DataFrame(chosen).reindex(users).fillna("")


def _chosen(said: pd.Series, pairs: pd.DataFrame, most: int) -> pd.Series:
    """The phrases of each user's items that are nearest to the mean of them all, by user."""
    phrases = said[said != ""].str.split(FIELD_SEPARATOR).explode().rename_axis("item").reset_index(name="phrase")
    rows = pairs[["user", "item"]].merge(phrases, on="item")[["user", "phrase"]].drop_duplicates()
    if rows.empty:
        return pd.Series(dtype=object)
    user, users = pd.factorize(rows["user"])
    phrase, different = pd.factorize(rows["phrase"])
    # learnt from all phrases: what others have seen changes nothing for a user
    words = TfidfVectorizer(token_pattern=r"\w+", stop_words="english").fit(phrases["phrase"]).transform(different)
    has = csr_matrix((np.ones(len(rows)), (user, phrase)), (len(users), len(different)))
    likeness = (has @ words @ words.T).toarray()[user, phrase]
    ranked = rows.assign(likeness=-likeness.round(_DIGITS)).sort_values(["user", "likeness", "phrase"])
    return ranked.groupby("user").head(most).groupby("user")["phrase"].agg(FIELD_SEPARATOR.join)


def _files() -> dict[str, Traversable]:
    """By the data set's name."""
    there = files("recbole_irllrec.properties").joinpath("texts").iterdir()
    return {file.name.removesuffix(_SUFFIX): file for file in there if file.name.endswith(_SUFFIX)}
