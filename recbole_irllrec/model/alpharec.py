"""AlphaRec: a recommender without anything that belongs to an id."""

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from ..errors import IRLLRecError
from . import linear, losses
from .encoder import GraphEncoder
from .towers import TextTower


class AlphaRec(GraphEncoder):
    """AlphaRec (Sheng et al., ICLR 2025): an item's input is its text, a user's the mean of its training items' texts.

    The published code of IRLLRec draws negatives for each triple and scores with inner products.

    Args and errors: as of `GraphEncoder`; the dataset gives ``node_texts(config, kinds)`` of the items.
    """

    texts: Tensor  # [N, D]

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        if self.as_published and not isinstance(self.settings.softmax_negatives, int):
            raise IRLLRecError(
                f"The setting softmax_negatives is {self.settings.softmax_negatives}, but AlphaRec under preset: "
                f"published draws negatives for each triple: give a number, or leave it to the preset."
            )
        self.user_embedding = self.item_embedding = None
        texts = self._texts(config, dataset)
        self.register_buffer("texts", texts, persistent=False)
        n_in = texts.shape[1]
        self.tower = TextTower(n_in, self.latent_dim, int(self.settings.hidden_ratio * n_in))
        self.to(self.device)

    def _texts(self, config: Config, dataset: Dataset, dtype: type[np.floating] = np.float32) -> Tensor:
        """[N, D]: the means of the users' items, without those that have no text, and the items' own; else zeros."""
        found = dataset.node_texts(config, self.settings.text_kinds)[self.settings.text_kind]
        self.texts_made = {self.settings.text_kind: found.made}
        embedding = np.where(found.present[:, None], found.embedding, 0).astype(dtype)
        history = linear.binary(self.interaction_matrix)[1:, 1:].astype(dtype)
        return torch.cat([self._means(history, embedding), torch.from_numpy(embedding)])

    @staticmethod
    def _means(histories: csr_matrix, texts: np.ndarray) -> Tensor:
        """[n, D] means of the texts [m, D] of users' items, [n, m], without those that have none, which are zeros."""
        n_texts = (histories @ texts.any(axis=1).astype(texts.dtype)).clip(1)
        return torch.from_numpy((histories.astype(texts.dtype) @ texts) / n_texts[:, None])

    def get_ego_embeddings(self) -> Tensor:
        return self.tower(self.texts.to(self.dtype))

    # ---- items and users that training has not seen ------------------------------------------------------------------

    @property
    def item_text_kind(self) -> str:
        """Which of the items' texts it reads."""
        return self.settings.text_kind

    @torch.no_grad()
    def vectors_of_texts(self, texts: Tensor) -> Tensor:
        """[m, D] embeddings of new items' texts -> [m, d'], whose products with users' vectors are scores."""
        start = self.tower(texts.to(self.dtype))
        rows = self.aggregate([start, *(torch.zeros_like(start) for _ in range(self.n_layers))])
        bias = self._item_biases
        return self._item_vectors(rows, bias.mean(dim=0, keepdim=True).expand(len(rows), -1))

    def layers_of_items(self, layers: list[Tensor], new_texts: Tensor | None) -> list[Tensor]:
        """See `GraphEncoder.layers_of_items`: E_0 is the text's; later ones are what neighbours pass on."""
        if new_texts is None:
            return layers
        start = self.tower(new_texts.to(self.dtype))
        return [torch.cat([layers[0], start]), *(F.pad(layer, (0, 0, 0, len(start))) for layer in layers[1:])]

    def start_of_users(
        self,
        histories: csr_matrix,
        known: np.ndarray,
        passed: list[Tensor],
        layers: list[Tensor],
        of_items: Tensor,
        new_texts: Tensor | None,
    ) -> Tensor:
        """See `GraphEncoder.start_of_users`: what the mean of a user's items' texts becomes, also of known users."""
        of_known = self.texts[self.graph.n_users :]
        texts = of_known if new_texts is None else torch.cat([of_known, new_texts.to(of_known)])
        return self.tower(self._means(histories, texts.cpu().numpy()).to(of_known).to(self.dtype))

    # ---- training ----------------------------------------------------------------------------------------------------

    def _ranking_loss(self, final: Tensor, user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        if not self.as_published:
            return super()._ranking_loss(final, user, positive, negative)
        cosine = F.normalize(final)
        users, negatives = F.embedding(user, cosine), F.embedding(self.draw_negatives(len(user)), cosine)
        scores = (users * F.embedding(positive, cosine)).sum(dim=1)
        scores_of_negatives = (negatives @ users[:, :, None]).squeeze(2)
        return losses.softmax_of_own(scores, scores_of_negatives, self.settings.softmax_temperature, self.batch_weight)

    def draw_negatives(self, n: int) -> Tensor:
        """[n, J], nodes of items for each of n triples."""
        n_users, device = self.graph.n_users, self.graph.norm.device
        return torch.randint(n_users, self.graph.n_nodes, (n, self.settings.softmax_negatives), device=device)

    def _user_vectors(self, rows: Tensor) -> Tensor:
        return rows if self.as_published else super()._user_vectors(rows)

    def _item_vectors(self, rows: Tensor, bias: Tensor) -> Tensor:
        return rows if self.as_published else super()._item_vectors(rows, bias)
