"""Texts made from features and training interactions, without a language model.

A text is a list of ``field name: value`` parted by ``"; "``; a user's goes on with its training items' texts::

    age: 24; gender: M | movie title: Toy Story; release year: 1995 | movie title: GoldenEye; release year: 1995
"""

import re

import pandas as pd

FIELD_SEPARATOR = "; "
ITEM_SEPARATOR = " | "
_FIELD_NAME = re.compile(rf"(?:^|{re.escape(FIELD_SEPARATOR)}|{re.escape(ITEM_SEPARATOR)})[^:;|]+: ")


def item_texts(features: pd.DataFrame) -> pd.Series:
    """Write each row's fields in a line; empty fields are left out.

    Args:
        features: strings, one row a token and one column a field (`features.read_features`).

    Returns:
        The texts, with the index of ``features``; ``""`` for a row without words.
    """
    texts = pd.Series("", index=features.index, dtype=object)
    for name, values in features.items():  # columns, not rows
        said = str(name).replace("_", " ") + ": " + values
        extended = texts.mask(texts != "", texts + FIELD_SEPARATOR) + said
        texts = texts.mask(values.str.strip() != "", extended)
    return texts


def user_texts(features: pd.DataFrame, texts_of_items: pd.Series, train_pairs: pd.DataFrame) -> pd.Series:
    """Write each user's own fields and then the texts of its training items.

    Args:
        features: strings, one row a user.
        texts_of_items: one text an item.
        train_pairs: columns ``user`` and ``item``, tokens: the training interactions and no others.

    Returns:
        One text for each user of ``features``, its items in the order of their tokens; ``""`` for a user without words.
    """
    pairs = train_pairs.drop_duplicates().sort_values(["user", "item"])
    said = pairs["item"].map(texts_of_items).fillna("")
    worded = said != ""
    histories = said[worded].groupby(pairs["user"][worded], sort=False).agg(ITEM_SEPARATOR.join)
    own = item_texts(features)
    history = histories.reindex(own.index, fill_value="")
    return own.mask((own != "") & (history != ""), own + ITEM_SEPARATOR) + history


def words_of(text: str) -> str:
    """A text without the names of its fields, which say nothing that tells one text from another."""
    return _FIELD_NAME.sub(" ", text)
