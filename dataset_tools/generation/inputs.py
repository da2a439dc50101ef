"""What goes into prompts: features, training interactions and training reviews, never anything held out."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.utils import FeatureSource, FeatureType

from recbole_irllrec.data.dataset import IRLLRecDataset
from recbole_irllrec.data.features import train_fingerprint
from recbole_irllrec.data.loading import seeded_dataset
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.tables.atomic_file import read_fields
from recbole_irllrec.tables.features import read_features
from recbole_irllrec.text.profiles import item_texts

REVIEW_COLUMNS = ("user", "item", "text")
# Of `irllrec data convert`, by what they write; with amazon and yelp there are reviews anyway.
_OPTIONS = {
    "item": "--items",
    "user": "--users (yelp, csv)",
    "review": "--text (csv)",
}


class ItemInput(NamedTuple):
    """What is known about an item."""

    token: str
    features: str
    reviews: list[str]


class Read(NamedTuple):
    """An item in a user's history."""

    token: str
    features: str
    profile: str  # "" if none was written
    review: str  # the user's own, or ""


class UserInput(NamedTuple):
    """What is known about a user."""

    token: str
    features: str
    liked: list[Read]
    disliked: list[Read]


@dataclass(frozen=True, eq=False)
class Known:
    """A data set as prompts see it. Items and users are in the order of their tokens."""

    fingerprint: str
    """Of the training interactions."""
    item_features: pd.Series
    """Texts by token, of every item of the data set."""
    user_features: pd.Series
    """Texts by token, of every user that has a training interaction."""
    item_reviews: pd.DataFrame
    """Columns item, text: a sample of the training reviews, in the order of the items."""
    history: pd.DataFrame
    """Columns user, item, liked, text (the user's review or ""): a sample, in the order of the users."""

    def items(self) -> Iterator[ItemInput]:
        """The items about which something is known."""
        texts = self.item_reviews["text"].to_numpy()
        for token, features, rows in _groups(self.item_features, self.item_reviews["item"]):
            if features or rows.stop > rows.start:
                yield ItemInput(token, features, list(texts[rows]))

    def users(self, profiles_of: Callable[[Sequence[str]], dict[str, str]]) -> Iterator[UserInput]:
        """The users in whose history there is an item about which something is known.

        Args:
            profiles_of: the profiles of those items, of the given, that have one.
        """
        items, liked, reviews = (self.history[name].to_numpy() for name in ("item", "liked", "text"))
        places = self.item_features.index.get_indexer(pd.Index(items))
        features_of_items = self.item_features.to_numpy()
        for token, features, rows in _groups(self.user_features, self.history["user"]):
            profiles = profiles_of(items[rows].tolist())
            read = [
                Read(items[row], features_of_items[places[row]], profiles.get(items[row], ""), reviews[row])
                for row in range(rows.start, rows.stop)
            ]
            if not any(one.features or one.profile or one.review for one in read):
                continue
            sides = {
                side: [one for one, is_liked in zip(read, liked[rows], strict=True) if is_liked == side]
                for side in (True, False)
            }
            yield UserInput(token, features, sides[True], sides[False])


def read_known(config: Config, *, seed: int, liked_from: float, most_history: int, most_reviews: int) -> Known:
    """Read a data set for prompts.

    Which interactions and reviews go into a prompt depends on the seed and on nothing but themselves: one more
    interaction changes the prompt of its user, and no other.

    Args:
        config: RecBole's settings; they draw the split.
        seed: of the samples.
        liked_from: the lowest rating of an item that is liked; an item without a rating is. What is not found is
            logged.
        most_history: the most training items in a user's prompt.
        most_reviews: the most reviews in an item's prompt.

    Raises:
        IRLLRecError: there is no text about any item, or the file of reviews is not one.
    """
    train, *held_out = seeded_dataset(config, _RatedDataset).build()
    pairs = _pairs(train)
    reading = (config["field_separator"], config["encoding"])
    features = {
        side: read_features(_path(config, side), config[f"{side.upper()}_ID_FIELD"], *reading)
        for side in ("item", "user")
    }
    items = np.sort(train.field2id_token[train.iid_field][1:].astype(object))
    users = np.sort(pairs["user"].unique())
    item_features = item_texts(features["item"].reindex(items, fill_value=""))
    reviews = _training_reviews(_path(config, "reviews.parquet"), pairs, pd.concat(map(_pairs, held_out)))
    if not (item_features != "").any() and reviews.empty:
        raise IRLLRecError(
            f"There is nothing to write prompts from: {_path(config, 'item')} has no token or token_seq fields about "
            f"the data set's items, and {_path(config, 'reviews.parquet')} has no training reviews; add one of them. "
            f"`irllrec data convert` writes them with {_OPTIONS['item']}, and {_OPTIONS['review']}."
        )
    user_features = item_texts(features["user"].reindex(users, fill_value=""))
    _say_features(_path(config, "item"), "item", item_features)
    _say_features(_path(config, "user"), "user", user_features)
    unknown = int(((item_features == "") & ~item_features.index.isin(reviews["item"])).sum())
    if unknown:
        logging.getLogger(__name__).warning(f"Of {unknown} items nothing is known, and nothing is asked about them.")
    liked = _liked(config, train, liked_from)
    judged = pairs.assign(liked=liked).groupby(["user", "item"])["liked"].mean() >= 0.5  # a pair may be rated twice
    history = _sample(judged.reset_index(), "user", most_history, seed)
    history = history.merge(reviews.drop_duplicates(["user", "item"]), how="left", on=["user", "item"])
    return Known(
        fingerprint=train_fingerprint(pairs["user"].to_numpy(), pairs["item"].to_numpy()),
        item_features=item_features,
        user_features=user_features,
        item_reviews=_sample(reviews, "item", most_reviews, seed)[["item", "text"]],
        history=history.fillna({"text": ""}),
    )


class _RatedDataset(IRLLRecDataset):
    """RecBole's data set, the same split, with the ratings as they stand in the file, NaN where there is none.

    RecBole itself loads what ``load_col`` names, puts the mean where a rating is missing, and may scale them.
    """

    def _get_load_and_unload_col(self, source: FeatureSource | str) -> tuple[set[str] | None, set[str] | None]:
        load, unload = super()._get_load_and_unload_col(source)
        if source == FeatureSource.INTERACTION:
            load = load and load | {self.config["RATING_FIELD"]}
            unload = unload and unload - {self.config["RATING_FIELD"]}
        return load, unload

    def _fill_nan(self) -> None:
        as_they_stand = self.inter_feat.get(self.config["RATING_FIELD"])
        self._ratings = None if as_they_stand is None else as_they_stand.copy()
        super()._fill_nan()

    def _discretization(self) -> None:  # the last that RecBole does with values
        super()._discretization()
        if self.field2type.get(self.config["RATING_FIELD"]) == FeatureType.FLOAT:  # else a threshold took their place
            self.inter_feat[self.config["RATING_FIELD"]] = self._ratings

    def _drop_unused_col(self) -> None:
        pass


def _path(config: Config, suffix: str) -> Path:
    return Path(config["data_path"]) / f"{config['dataset']}.{suffix}"


def _pairs(dataset: Dataset) -> pd.DataFrame:
    """The interactions of a part of the split: columns user, item, as tokens."""
    return pd.DataFrame(
        {
            side: dataset.field2id_token[field][dataset.inter_feat[field].numpy()].astype(object)
            for side, field in (("user", dataset.uid_field), ("item", dataset.iid_field))
        }
    )


def _say_features(path: Path, side: str, texts: pd.Series) -> None:
    """Log of how many users or items there are features, [n] texts."""
    n, worded = len(texts), int((texts != "").sum())
    if worded:
        logging.getLogger(__name__).info(f"{worded} of {n} {side}s have words in {path}.")
    else:
        why = f"says nothing in words (token, token_seq) of these {n}" if path.is_file() else "is not there"
        _miss(f"No {side} prompt holds features: {path} {why}", side)


def _miss(what: str, option: str) -> None:
    logging.getLogger(__name__).warning(f"{what}. `irllrec data convert` writes it with {_OPTIONS[option]}.")


def _liked(config: Config, train: Dataset, liked_from: float) -> np.ndarray:
    """Whether each training interaction is one with an item that was liked; without a rating it counts as one."""
    log = logging.getLogger(__name__)
    rating, label = config["RATING_FIELD"], config["LABEL_FIELD"]
    n = len(train.inter_feat)
    if train.field2type.get(rating) == FeatureType.FLOAT and not train.inter_feat[rating].isnan().all():
        ratings = train.inter_feat[rating].numpy()
        liked, rated = ~(ratings < liked_from), ~np.isnan(ratings)
        log.info(
            f"{(liked & rated).sum()} of {n} training interactions have a {rating} of {liked_from:g} or more "
            f"(--liked-from) and count as liked; ratings go from {ratings[rated].min():g} to {ratings[rated].max():g}."
        )
        if not rated.all():
            log.warning(f"{n - rated.sum()} training interactions have no {rating} and count as liked as well.")
    elif config["threshold"] and label in train.inter_feat:  # RecBole has put the ratings' threshold in its place
        liked = train.inter_feat[label].numpy() > 0
        log.info(
            f"{liked.sum()} of {n} training interactions reach RecBole's threshold {config['threshold']} and count as "
            f"liked."
        )
    else:
        liked = np.ones(n, bool)
        log.warning(f"There are no ratings, and every interaction counts as liked: {_why_unrated(config, rating)}.")
    if liked.all() or not liked.any():
        log.warning(f"So of no user a prompt says what was {'not ' if liked.all() else ''}liked.")
    return liked


def _why_unrated(config: Config, rating: str) -> str:
    part = f"{config['benchmark_filename'][0]}.inter" if config["benchmark_filename"] else "inter"
    path = _path(config, part)
    fields = read_fields(path, config["field_separator"], config["encoding"])
    if rating not in fields:
        columns = ", ".join(fields)
        return f"{path} has the columns {columns}; name that of ratings in RATING_FIELD, or convert it with --rating"
    if fields[rating] != "float":
        return f"{path} has {rating}:{fields[rating]}, and ratings are read from {rating}:float"
    return f"the column {rating} of {path} is empty"


def _training_reviews(path: Path, train: pd.DataFrame, held_out: pd.DataFrame) -> pd.DataFrame:
    """Columns user, item, text: the reviews of training pairs; not of pairs that are held out as well."""
    if not path.is_file():
        _miss(f"No prompt holds a review: {path} is not there", "review")
        return pd.DataFrame({name: pd.Series(dtype=object) for name in REVIEW_COLUMNS})
    form = "write it as Parquet with the columns user, item, rating, timestamp and text"
    try:
        missing = [name for name in REVIEW_COLUMNS if name not in pq.read_schema(path).names]
        if missing:
            raise IRLLRecError(f"{path} has no column {', '.join(missing)}: {form}.")
        table = pq.read_table(path, columns=list(REVIEW_COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise IRLLRecError(f"{path} is no file of reviews ({' '.join(str(error).split())[:150]}): {form}.") from None
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(table["text"].cast(pa.large_string()), r"\s+", " "))
    table = table.set_column(table.column_names.index("text"), "text", words)
    table = table.filter(pc.greater(pc.utf8_length(words), 0))
    reviews = table.cast(pa.schema([(name, pa.large_string()) for name in table.column_names])).to_pandas()
    allowed = train.drop_duplicates().merge(held_out.drop_duplicates(), how="left", on=["user", "item"], indicator=True)
    allowed = allowed.loc[allowed["_merge"] == "left_only", ["user", "item"]]
    found = reviews.merge(allowed, on=["user", "item"])
    logging.getLogger(__name__).info(f"{len(found)} of {len(reviews)} reviews are of training interactions.")
    return found[list(REVIEW_COLUMNS)]


def _sample(rows: pd.DataFrame, side: str, most: int, seed: int) -> pd.DataFrame:
    """At most so many rows for each user or item, drawn by a hash of the seed and the pair; in the tokens' order."""
    names = (rows["user"] + "\t" + rows["item"]).to_numpy(dtype=object)
    drawn = rows.assign(_hash=pd.util.hash_array(names, hash_key=f"{seed % 10**16:016d}"))
    drawn = drawn.sort_values([side, "_hash"], kind="stable")
    return drawn[drawn.groupby(side, sort=False).cumcount() < most].drop(columns="_hash").reset_index(drop=True)


def _groups(texts: pd.Series, sorted_tokens: pd.Series) -> Iterator[tuple[str, str, slice]]:
    """Each token of ``texts``, its text, and where it stands in ``sorted_tokens``."""
    begins = sorted_tokens.searchsorted(texts.index, side="left")
    ends = sorted_tokens.searchsorted(texts.index, side="right")
    for token, text, begin, end in zip(texts.index, texts.to_numpy(), begins, ends, strict=True):
        yield token, text, slice(begin, end)
