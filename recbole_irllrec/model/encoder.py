"""LightGCN on our graph products, with a choice of ranking losses: the encoder of IRLLRec, and of its kin."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.general_recommender.lightgcn import LightGCN
from recbole.utils import FeatureType, InputType
from scipy.sparse import coo_matrix, csr_matrix
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import IRLLRecError
from ..settings.sources import read_settings
from . import folding, losses
from .alignment import Encoded
from .graph import InteractionGraph, Values, dropped, propagate
from .linear import binary
from .linear_part import LinearPart
from .sampling import Triples


def graph_of(interactions: coo_matrix) -> InteractionGraph:
    """The graph of RecBole's [n_users, n_items] interactions, without the padding rows."""
    n_users, n_items = interactions.shape
    return InteractionGraph(interactions.row - 1, interactions.col - 1, n_users - 1, n_items - 1)


def _refuse_weights(dataset: Dataset, field: str) -> None:
    """Refuse a field that cannot weigh the interactions of a training dataset."""
    columns = dataset.inter_feat.columns
    if field not in columns:
        raise IRLLRecError(
            f"The setting interaction_weight names {field}, which is none of the columns of interactions that are "
            f"loaded ({', '.join(columns)}): name it in `load_col`, or write it with `irllrec data convert "
            f"--count-repeats`."
        )
    if dataset.field2type[field] != FeatureType.FLOAT:
        raise IRLLRecError(
            f"The setting interaction_weight names {field}, a column of {dataset.field2type[field].value}: name one of "
            f"type float."
        )
    if not (lowest := float(dataset.inter_feat[field].min())) > 0:
        raise IRLLRecError(
            f"The setting interaction_weight names {field}, in which {lowest:g} stands: give each interaction a number "
            f"above 0."
        )


class GraphEncoder(LightGCN):
    """LightGCN (He et al., SIGIR 2020) of the N nodes that are no padding, users first.

    The ranking loss of a batch is Σ_b w_b ℓ_b / Σ_b w_b, in which an interaction weighs what ``interaction_weight``
    names, such as how often it was repeated, and 1 without. The graph and other loss terms know no weights.

    Args:
        config: a RecBole ``Config`` of a model whose settings have the part `EncoderSettings`.
        dataset: the training dataset, which gives the interactions.

    Raises:
        IRLLRecError: a setting is refused, or the weights that it names are not there, or not all above 0.
    """

    input_type = InputType.PAIRWISE

    # LightGCN's; kept from an evaluation until the next training step
    restore_user_e: Tensor | None
    restore_item_e: Tensor | None

    batch_weight: Tensor | None = None  # [B], of the interactions of the step's batch
    folds_in = True  # whether propagation alone makes a user of a history (`fold_in`)
    linear: LinearPart | None  # what adds to the products of vectors in scores
    has_intents = False  # whether `encode` gives intents of its own (`Encoded.intents`)

    def __init__(self, config: Config, dataset: Dataset):
        self.settings = read_settings(config)
        if self.settings.interaction_weight is not None:
            _refuse_weights(dataset, self.settings.interaction_weight)
        super().__init__(config, dataset)
        self.settings = self.settings.of_data(self.graph.n_items)
        self.linear = None
        if self.settings.item_bias:
            self.item_bias = nn.Parameter(torch.zeros(self.graph.n_items, 1))
        self.to(self.device)

    @property
    def dtype(self) -> torch.dtype:
        """Of the embeddings."""
        return next(self.parameters()).dtype

    @property
    def as_published(self) -> bool:
        """Whether to compute as the published code does where it departs from what it stands for."""
        return self.settings.preset == "published"

    @property
    def pairwise_negatives(self) -> bool:
        """Whether the intents of negative items are aligned."""
        return True

    # ---- graph ------------------------------------------------------------------------------------------------------

    def get_norm_adj_mat(self) -> InteractionGraph:
        """LightGCN asks here for its adjacency; ours is a graph of the real nodes, without the padding rows."""
        return graph_of(self.interaction_matrix)

    @property
    def graph(self) -> InteractionGraph:
        return self.norm_adj_matrix

    def get_ego_embeddings(self) -> Tensor:
        """[N, d], E_0 of the real nodes, users first."""
        return torch.cat([self.user_embedding.weight[1:], self.item_embedding.weight[1:]])

    def encode(self, start: Tensor | None = None) -> Encoded:
        """A forward pass; edges are dropped in training.

        Args:
            start: [N, d], what stands for E_0.
        """
        layers = self.propagate(start, self.draw_matrix() if self.training else None)
        return Encoded(self.aggregate(layers), layers[:-1])

    def draw_matrix(self) -> Values | None:
        """What stands for Â in a training step; None for itself."""
        share = getattr(self.settings, "edge_dropout", 0.0)  # LightGCN's alone
        return dropped(self.graph, share) if share > 0 else None

    def propagate(self, start: Tensor | None, *how: Any) -> list[Tensor]:
        """E_0..E_L, each [N, d], from what stands for E_0; see `graph.propagate`."""
        return propagate(self.graph, self.get_ego_embeddings() if start is None else start, self.n_layers, *how)

    def aggregate(self, layers: list[Tensor]) -> Tensor:
        """[N, d], what becomes of the layers E_0..E_L."""
        final = torch.stack(layers).sum(dim=0)
        return final / len(layers) if self.settings.layer_aggregation == "mean" else final

    def forward(self) -> tuple[Tensor, Tensor]:
        """The vectors that scores are products of, [n_users, d'] and [n_items, d'], with zeros in the padding rows."""
        user, item = self.encode().final.split([self.graph.n_users, self.graph.n_items])
        user, item = self._user_vectors(user), self._item_vectors(item, self._item_biases)
        return F.pad(user, (0, 0, 1, 0)), F.pad(item, (0, 0, 1, 0))

    @property
    def _item_biases(self) -> Tensor:
        """[n_items, 1]; [n_items, 0] without."""
        if self.settings.item_bias:
            return self.item_bias
        return torch.empty(self.graph.n_items, 0, dtype=self.dtype, device=self.device)

    def _user_vectors(self, rows: Tensor) -> Tensor:
        """[n, d] rows of E -> [n, d'], whose inner products with those of items are scores."""
        if self.settings.ranking_loss == "softmax":
            rows = F.normalize(rows)
        return F.pad(rows, (0, 1), value=1.0) if self.settings.item_bias else rows

    def _item_vectors(self, rows: Tensor, bias: Tensor) -> Tensor:
        """[n, d] rows of E and the items' [n, 1] biases, or [n, 0] without -> [n, d']."""
        if self.settings.ranking_loss == "softmax":
            rows = F.normalize(rows)
        return torch.cat([rows, bias], dim=1)

    # ---- training ---------------------------------------------------------------------------------------------------

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted loss terms of a batch, in the order of their names in ``loss_names``."""
        self._forget_scores()
        if (field := self.settings.interaction_weight) is not None:
            self.batch_weight = interaction[field].to(self.dtype)
        terms = self.loss_terms(self._triples(interaction))
        self.loss_names = tuple(terms)
        return tuple(terms.values())

    def _triples(self, interaction: Mapping[str, Tensor]) -> Triples:
        """A batch's nodes, numbered without padding: users from 0, then the items."""
        first_item = self.graph.n_users - 1
        positive, negative = (interaction[name] + first_item for name in (self.ITEM_ID, self.NEG_ITEM_ID))
        return interaction[self.USER_ID] - 1, positive, negative

    def loss_terms(self, batch: Triples) -> dict[str, Tensor]:
        """The weighted loss terms by name; terms whose weight is zero are left out.

        Args:
            batch: [B] int64 nodes of users, of their positive and of their negative items.
        """
        with torch.autocast(device_type=batch[0].device.type, enabled=False):
            return self.own_terms(self.encode(), batch) | self.regularization(batch)

    def own_terms(self, encoded: Encoded, batch: Triples) -> dict[str, Tensor]:
        """The encoder's own loss terms of a batch, the penalty apart."""
        return {"ranking": self._ranking_loss(encoded.final, *batch)}

    def regularization(self, batch: Triples) -> dict[str, Tensor]:
        """The weighted Σ ‖θ‖² over all parameters but the padding rows; the published code counts the teacher's too."""
        if self.settings.reg_weight == 0:
            return {}
        embeddings = [each.weight for each in (self.user_embedding, self.item_embedding) if each is not None]
        others = [p for p in self.parameters() if all(p is not e for e in embeddings)]
        squared = torch.stack([p.square().sum() for p in (*(e[1:] for e in embeddings), *others)]).sum()
        return {"regularization": self.settings.reg_weight * squared}

    def _ranking_loss(self, final: Tensor, user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        s, n_users = self.settings, self.graph.n_users

        def item_vectors(nodes: Tensor) -> Tensor:
            # F.embedding, not indexing: its gradient is summed in a fixed order
            return self._item_vectors(F.embedding(nodes, final), F.embedding(nodes - n_users, self._item_biases))

        users, place = user.unique(return_inverse=True)
        distinct = self._user_vectors(F.embedding(users, final))
        of_batch = F.embedding(place, distinct)
        scores = (of_batch * item_vectors(positive)).sum(dim=1)
        if s.ranking_loss == "bpr":
            return losses.bpr(scores, (of_batch * item_vectors(negative)).sum(dim=1), self.batch_weight)
        if s.softmax_negatives == "all":
            items = self._item_vectors(final[n_users:], self._item_biases)
            return losses.full_softmax(distinct, place, scores, items, s.softmax_temperature, self.batch_weight)
        drawn = torch.randint(n_users, self.graph.n_nodes, (s.softmax_negatives,), device=user.device)
        return losses.sampled_softmax(of_batch, scores, item_vectors(drawn), s.softmax_temperature, self.batch_weight)

    # ---- scoring ----------------------------------------------------------------------------------------------------

    def predict(self, interaction: Interaction) -> Tensor:
        """[B] scores of (user, item) pairs."""
        user_e, item_e = self.scoring_embeddings()
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        scores = (user_e[users] * item_e[items]).sum(dim=1)
        if self.linear is None:
            return scores
        histories = self.linear.interactions[users.cpu().numpy()]
        return scores + self.linear_scale * self.linear.scores_of_pairs(histories, items.cpu().numpy())

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """[B * n_items] scores of all items for each user."""
        user_e, item_e = self.scoring_embeddings()
        users = interaction[self.USER_ID]
        scores = user_e[users] @ item_e.T
        if self.linear is not None:
            scores += self.linear_scale * self.linear.scores(self.linear.interactions[users.cpu().numpy()])
        return scores.view(-1)

    @property
    def linear_scale(self) -> float:
        """By what the linear part's scores are multiplied: its weight, in units of what the ranking loss compares."""
        s = self.settings
        return s.linear_weight * (s.softmax_temperature if s.ranking_loss == "softmax" else 1.0)

    def scoring_embeddings(self) -> tuple[Tensor, Tensor]:
        """[n_users, d] and [n_items, d], computed once an evaluation; a linear part adds to their products."""
        if self.restore_user_e is None or self.restore_item_e is None:
            self.restore_user_e, self.restore_item_e = self.forward()
        return self.restore_user_e, self.restore_item_e

    # ---- users from their histories ----------------------------------------------------------------------------------

    @torch.no_grad()
    def fold_in(self, histories: csr_matrix, known: np.ndarray, new_texts: Tensor | None = None) -> Tensor:
        """See `folding.FoldsIn`; users that are known start from their own E_0."""
        n_users, histories = self.graph.n_users, histories[:, 1:]
        layers = self.propagate(None)
        of_items = self.layers_of_items([layer[n_users:] for layer in layers[:-1]], new_texts)
        # items that training has not seen have these histories alone
        degrees = histories.getnnz(axis=0)
        trained = self.graph.degrees[n_users:].cpu().numpy()
        degrees[: len(trained)] = np.where(trained > 0, trained, degrees[: len(trained)])
        passed = folding.passed_on(histories, of_items, degrees)
        start = self.start_of_users(histories, known, passed, layers, of_items[0], new_texts)
        return self._user_vectors(self.aggregate([start, *passed]))

    def layers_of_items(self, layers: list[Tensor], new_texts: Tensor | None) -> list[Tensor]:
        """What items pass on to their users: nothing those that training has not seen, unless by their texts.

        Args:
            layers: E_0..E_{L-1} of the items that the data set has, each [n_items - 1, d].
            new_texts: [m, D].

        Returns:
            For each layer [n_items - 1 + m, d].
        """
        assert new_texts is None  # they are for an encoder that reads texts
        is_unseen = self.graph.degrees[self.graph.n_users :, None] == 0
        return [layer.masked_fill(is_unseen, 0) for layer in layers]

    def start_of_users(
        self,
        histories: csr_matrix,
        known: np.ndarray,
        passed: list[Tensor],
        layers: list[Tensor],
        of_items: Tensor,
        new_texts: Tensor | None,
    ) -> Tensor:
        """[n, d], E_0 of users that training has seen, and what stands for it of others.

        Args:
            histories: [n, n_items - 1 + m], an entry at each interaction with an item that is known or new.
            known: [n], see `fold_in`.
            passed: see `folding.passed_on`.
            layers: E_0..E_L, each [N, d].
            of_items: [n_items - 1 + m, d], E_0 of these items.
            new_texts: [m, D].
        """
        n_users, start = self.graph.n_users, layers[0]
        seen, has_history = self._trained_histories(layers)
        of = folding.features(histories, passed, of_items)
        learnt_from = torch.as_tensor(has_history, device=start.device)
        found = folding.regressed(seen[learnt_from], start[:n_users][learnt_from], of)
        own = np.flatnonzero((known > 0) & has_history[known - 1])
        found[torch.as_tensor(own, device=start.device)] = start[torch.as_tensor(known[own] - 1, device=start.device)]
        return found

    def _trained_histories(self, layers: list[Tensor]) -> tuple[Tensor, np.ndarray]:
        """What training's histories say of their users (`folding.features`), and which of the users [n] have any."""
        n_users, trained = self.graph.n_users, binary(self.interaction_matrix)[1:, 1:]
        passed = [layer[:n_users] for layer in layers[1:]]
        return folding.features(trained, passed, layers[0][n_users:]), np.diff(trained.indptr) > 0

    # ---- going on from an earlier model (``warm_start``) -------------------------------------------------------------

    @torch.no_grad()
    def begin_new(self, users: np.ndarray, items: np.ndarray) -> None:
        """Give E_0 to users and items that have none, where the others are trained.

        Args:
            users: [n] and items: [m] their places, without the padding.
        """
        if self.user_embedding is None or self.item_embedding is None:
            return
        if len(items) and (found := self.start_of_new_items(items)) is not None:
            self.item_embedding.weight[torch.from_numpy(items + 1)] = found
        if len(users) and self.folds_in:
            new = torch.from_numpy(users)
            self.user_embedding.weight[new + 1] = 0
            layers = self.propagate(None)
            inputs, has_history = self._trained_histories(layers)
            others = np.setdiff1d(np.flatnonzero(has_history), users)
            found = folding.regressed(inputs[others], layers[0][others], inputs[new])
            self.user_embedding.weight[new + 1] = found

    def start_of_new_items(self, items: np.ndarray) -> Tensor | None:
        """[m, d], what an encoder that reads texts has for E_0 of items at these places [m]; None if it has nothing."""
        return None

    def _forget_scores(self) -> None:
        self.restore_user_e, self.restore_item_e = None, None
