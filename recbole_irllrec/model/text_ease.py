"""Linear models in closed form that read the items' texts: the bar that a trained model with text has to pass."""

from functools import partial

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor, nn
from torch.nn import functional as F

from ..settings.sources import read_settings
from . import linear


class TextEASE(GeneralRecommender):
    """Scores a user's training interactions times item-item weights, which are found when training begins.

    Args:
        config: a RecBole ``Config``.
        dataset: the training data set. It gives the interactions and ``node_texts(config, kinds)``.
    """

    input_type = InputType.POINTWISE
    type = ModelType.TRADITIONAL

    weights: Tensor

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        self.settings = read_settings(config)
        self.interactions = linear.binary(dataset.inter_matrix(form="csr"))
        # a checkpoint that is served needs no texts
        self._texts = partial(dataset.node_texts, config, self.settings.text_kinds)
        self._refuse_more_than(1)
        # RecBole's trainer wants a parameter
        self.unused = nn.Parameter(torch.zeros(1))
        self.register_buffer("weights", torch.zeros(self.n_items, self.n_items))
        self._is_solved = False

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Zero; the first time it finds the weights."""
        if not self._is_solved:
            text = self._text()
            self._refuse_more_than(self.matrices_held(text))
            self.weights = self.solve(linear.as_tensor(self.interactions).to(self.device), text)
            self._is_solved = True
        return self.unused.sum()

    def solve(self, interactions: Tensor, text: Tensor) -> Tensor:
        """X [n_users, n_items], sparse CSR, and F [n_items, k] -> the weights [n_items, n_items]."""
        raise NotImplementedError

    def matrices_held(self, text: Tensor) -> float:
        """How many matrices [n_items, n_items] solving takes, with the texts F."""
        return linear.matrices_held(self.n_users + text.shape[1], self.n_items)

    def _refuse_more_than(self, matrices: float) -> None:
        linear.refuse_too_many(type(self).__name__, self.n_items, matrices, torch.device(self.device))

    def _text(self) -> Tensor:
        """[n_items, k] float32: the items' embeddings, centred and then of length 1; zeros where there is no text."""
        (texts,) = self._texts().values()
        embedding, present = torch.as_tensor(texts.embedding).float(), torch.as_tensor(texts.present)
        embedding = linear.directions(embedding, embedding[present].mean(dim=0)) * present[:, None]
        return F.pad(embedding, (0, 0, 1, 0)).to(self.device)

    def predict(self, interaction: Interaction) -> Tensor:
        """[B] scores of (user, item) pairs."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        return (self._history(users).to_dense() * self.weights.T[items]).sum(dim=1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """[B * n_items] scores of all items for each user."""
        return (self._history(interaction[self.USER_ID]) @ self.weights).view(-1)

    def _history(self, users: Tensor) -> Tensor:
        """[B] users -> their training interactions, sparse [B, n_items]."""
        return linear.as_tensor(self.interactions[users.cpu().numpy()]).to(self.device)


class ContentMean(TextEASE):
    """No interaction but the user's own: items by the likeness of their texts to the mean text of the user's items."""

    def solve(self, interactions: Tensor, text: Tensor) -> Tensor:
        weights = text @ text.T
        weights.diagonal().zero_()
        return weights

    def matrices_held(self, text: Tensor) -> float:
        return 1


class CollectiveEASE(TextEASE):
    """EASE whose items are described by their texts beside their users (see `linear.collective_ease`)."""

    def solve(self, interactions: Tensor, text: Tensor) -> Tensor:
        return linear.collective_ease(interactions, text, self.settings.reg_weight, self.settings.text_weight)


class WeightedEASE(TextEASE):
    """Collective EASE that weighs users and items, IRLLRec's linear part by itself (see `linear.weighted_ease`)."""

    def solve(self, interactions: Tensor, text: Tensor) -> Tensor:
        s = self.settings
        found = linear.weighted_ease(interactions, text, s.reg_weight, s.text_weight, s.popularity_discount)
        return found.weights


class AdditiveEASE(TextEASE):
    """A weighted sum of EASE's weights and those of the texts (see `linear.additive_ease`)."""

    def solve(self, interactions: Tensor, text: Tensor) -> Tensor:
        s = self.settings
        return linear.additive_ease(interactions, text, s.reg_weight, s.text_reg_weight, s.text_share)


class L3AE(TextEASE):
    """EASE that is drawn towards the weights of the texts (see `linear.l3ae`)."""

    def solve(self, interactions: Tensor, text: Tensor) -> Tensor:
        s = self.settings
        return linear.l3ae(interactions, text, s.reg_weight, s.text_reg_weight, s.distillation_weight)
