"""What scores all items for a user, and what is known of both: a trained model, or one that has been extended."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from scipy.sparse import csr_matrix
from torch import Tensor

from . import zoo
from .data.tokens import unescape_tokens


@dataclass(frozen=True, eq=False)
class Scorer:
    """A trained model and what is known about its users and items. Ids are RecBole's: 0 is padding on each side."""

    config: Config
    model: AbstractRecommender
    train: Dataset  # the training interactions
    user_tokens: np.ndarray  # [n_users] str
    item_tokens: np.ndarray  # [n_items] str
    train_items: csr_matrix  # [n_users, n_items] float32, 1 at each training interaction
    known_items: csr_matrix  # the same with all interactions of the data set, the held-out ones included

    @cached_property
    def user_names(self) -> pa.Array:
        """[n_users] str, what users are called outside: their tokens, unescaped."""
        return unescape_tokens(pa.array(self.user_tokens, pa.string()))

    @cached_property
    def item_names(self) -> pa.Array:
        """[n_items] str, what items are called outside: their tokens, unescaped."""
        return unescape_tokens(pa.array(self.item_tokens, pa.string()))

    @cached_property
    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor] | None:
        """[n_users, d] and [n_items, d], whose products are scores, but for a linear part; None for a model without."""
        ours = zoo.find(self.config["model"])
        return self.model.scoring_embeddings() if ours and ours.gives_vectors else None

    @property
    def vectors(self) -> tuple[Tensor, Tensor] | None:
        """[n_users, d] and [n_items, d], whose products scores are; None for a model without them."""
        return self.embeddings if getattr(self.model, "linear", None) is None else None

    @property
    def ranking_vectors(self) -> tuple[Tensor, Tensor] | None:
        """As `vectors`, with what ranks items for users of whom nothing is known."""
        return self.vectors

    def further_texts(self, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Embeddings [m, dim] and texts [m] of the last m items, if no table of this kind has them; else None."""
        return None

    @torch.no_grad()
    def score(self, users: Tensor) -> Tensor:
        """The scores of all items for each user, [B] int64 -> [B, n_items]; the padding item has one too."""
        scores = self.model.full_sort_predict(Interaction({self.train.uid_field: users}))
        return scores.view(len(users), len(self.item_tokens)).to(users.device)  # EASE's are on the CPU
