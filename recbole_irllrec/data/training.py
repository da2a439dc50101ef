"""The training interactions of a RecBole data set, in its external ids."""

from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .features import train_fingerprint

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

Side = Literal["user", "item"]
SIDES: tuple[Side, Side] = ("user", "item")


class TrainingTokens:
    """Users, items and training interactions of a *training* data set."""

    def __init__(self, dataset: "Dataset"):
        self._dataset = dataset
        self._fields = dict(zip(SIDES, (dataset.uid_field, dataset.iid_field), strict=True))

    @cached_property
    def tokens(self) -> dict[str, np.ndarray]:
        """The tokens of each side, str, in the order of RecBole's ids; without the padding, which is row 0."""
        return {side: self._dataset.field2id_token[field][1:].astype(object) for side, field in self._fields.items()}

    @cached_property
    def ids(self) -> dict[str, np.ndarray]:
        """For each interaction, the place of its user and of its item in `tokens`, int64."""
        return {side: np.asarray(self._dataset.inter_feat[f], np.int64) - 1 for side, f in self._fields.items()}

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Columns ``user`` and ``item``: the tokens of each interaction."""
        return pd.DataFrame({side: self.tokens[side][self.ids[side]] for side in SIDES})

    @cached_property
    def judged(self) -> pd.DataFrame:
        """`pairs` with a column ``liked``: rated at least as the mean of them, or labelled so; True without ratings.

        That holds for stars and for ratings that RecBole has scaled.
        """
        config, interactions = self._dataset.config, self._dataset.inter_feat
        fields = (config["RATING_FIELD"], config["LABEL_FIELD"])
        rating = next((np.asarray(interactions[field], float) for field in fields if field in interactions), None)
        return self.pairs.assign(liked=True if rating is None else rating >= rating.mean())

    @cached_property
    def fingerprint(self) -> str:
        """`features.train_fingerprint` of the interactions."""
        return train_fingerprint(self.pairs["user"].to_numpy(), self.pairs["item"].to_numpy())
