"""IRLLRec as a RecBole model: wires the graph, the towers and the losses."""

from collections.abc import Callable
from functools import partial

import torch
from recbole.model.general_recommender.lightgcn import LightGCN
from recbole.utils import InputType
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import IRLLRecError
from ..settings.sources import read_settings
from . import losses
from .graph import InteractionGraph, interaction_intents, propagate
from .sampling import ContrastSet, Triples, contrast_sets, sample_nodes, sample_triples
from .texts import NodeEmbeddings, NodeTexts
from .towers import IntentGate, TextTower, teacher_of, update_teacher


class IRLLRec(LightGCN):
    """Intent Representation Learning with Large Language Model for Recommendation (Wang et al., SIGIR 2025).

    LightGCN whose embeddings are aligned, in training, with the embeddings of texts about users and items. Scores use
    the graph embeddings alone, so texts cost nothing when serving.

    Args:
        config: a RecBole ``Config``; the settings are those of ``properties/model/IRLLRec.yaml``.
        dataset: the training dataset. It gives the interactions and, where an alignment weight is above zero,
            ``node_texts(config, kinds)`` (see ``recbole_irllrec.data.IRLLRecDataset``).

    Raises:
        IRLLRecError: a setting or a text is refused; the sentence says which and what to do.
    """

    input_type = InputType.PAIRWISE

    # LightGCN's; kept from an evaluation until the next training step
    restore_user_e: Tensor | None
    restore_item_e: Tensor | None
    # where the loss terms read that kind of text
    profile_texts: NodeTexts
    intent_texts: NodeTexts
    # [n, hidden], the teacher's first layer for the n nodes with an intent text; kept within an epoch
    _teacher_hidden: Tensor | None = None

    def __init__(self, config, dataset):
        self.settings = read_settings(config)
        super().__init__(config, dataset)
        if self.settings.item_bias:
            self.item_bias = nn.Parameter(torch.zeros(self.graph.n_items, 1))
        # Initialised apart from the embeddings, so that those equal LightGCN's under the same seed.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config["seed"])
            self._build_text_side(config, dataset)
        self.to(self.device)

    def _build_text_side(self, config, dataset) -> None:
        settings, d = self.settings, self.latent_dim
        self._load_texts(config, dataset, settings.text_kinds)
        if settings.uses_profiles:
            self.profile_tower = TextTower(self.profile_texts.width, d)
        if settings.uses_intents:
            self.intent_tower = TextTower(self.intent_texts.width, d)
        if settings.matching_weight > 0:
            self.teacher_tower = teacher_of(self.intent_tower)
            if settings.fusion == "gate":
                self.gate = IntentGate(d)
                self.teacher_gate = teacher_of(self.gate)
        if self._uses_interaction_intents:
            self.user_prototypes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d, settings.n_intents)))
            self.item_prototypes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d, settings.n_intents)))

    def _load_texts(self, config, dataset, kinds: tuple[str, ...]) -> None:
        if not kinds:
            return
        if not hasattr(dataset, "node_texts"):
            raise IRLLRecError(
                f"The dataset is a {type(dataset).__name__}, which has no texts: use IRLLRecDataset, as RecBole's "
                "create_dataset does, or set the alignment weights to 0."
            )
        for kind, (embedding, present) in dataset.node_texts(config, kinds).items():
            texts = NodeTexts(torch.as_tensor(embedding), torch.as_tensor(present), self.graph.n_users)
            self.add_module(f"{kind}_texts", texts)

    @property
    def _dtype(self) -> torch.dtype:
        return self.user_embedding.weight.dtype

    @property
    def _uses_interaction_intents(self) -> bool:
        s = self.settings
        return s.pairwise_weight > 0 or (s.matching_weight > 0 and s.fusion != "text")

    # ---- graph ------------------------------------------------------------------------------------------------------

    def get_norm_adj_mat(self) -> InteractionGraph:
        """LightGCN asks here for its adjacency; ours is a graph of the real nodes, without the padding rows."""
        interactions = self.interaction_matrix
        return InteractionGraph(interactions.row - 1, interactions.col - 1, self.n_users - 1, self.n_items - 1)

    @property
    def graph(self) -> InteractionGraph:
        return self.norm_adj_matrix

    def get_ego_embeddings(self) -> Tensor:
        """[N, d], E_0 of the real nodes, users first."""
        return torch.cat([self.user_embedding.weight[1:], self.item_embedding.weight[1:]])

    def graph_layers(self) -> list[Tensor]:
        """L + 1 tensors [N, d]: E_0..E_L."""
        dropout = self.settings.edge_dropout if self.training else 0.0
        return propagate(self.graph, self.get_ego_embeddings(), self.n_layers, dropout)

    def final_embedding(self, layers: list[Tensor]) -> Tensor:
        """[N, d], E: the layers' sum or mean."""
        total = torch.stack(layers).sum(dim=0)
        return total / len(layers) if self.settings.layer_aggregation == "mean" else total

    def interaction_intents(self, layers: list[Tensor], nodes: Tensor) -> NodeEmbeddings:
        """r of [n] sorted nodes, each once: the intents that the graph reveals."""
        prototypes = self.user_prototypes, self.item_prototypes
        return NodeEmbeddings(nodes, interaction_intents(self.graph, layers[:-1], *prototypes, nodes))

    def forward(self) -> tuple[Tensor, Tensor]:
        """The vectors that scores are products of, [n_users, d'] and [n_items, d'], with zeros in the padding rows."""
        user, item = self.final_embedding(self.graph_layers()).split([self.graph.n_users, self.graph.n_items])
        user, item = self._user_vectors(user), self._item_vectors(item, self._item_biases)
        return F.pad(user, (0, 0, 1, 0)), F.pad(item, (0, 0, 1, 0))

    @property
    def _item_biases(self) -> Tensor:
        """[n_items, 1]; [n_items, 0] without."""
        if self.settings.item_bias:
            return self.item_bias
        return self.item_embedding.weight.new_empty(self.graph.n_items, 0)

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

    def calculate_loss(self, interaction) -> tuple[Tensor, ...]:
        """The weighted loss terms of a batch, in the order of their names in ``loss_names``."""
        self._forget_scores()
        # nodes are numbered without padding: users from 0, then the items
        user = interaction[self.USER_ID] - 1
        first_item = self.graph.n_users - 1
        positive = interaction[self.ITEM_ID] + first_item
        negative = interaction[self.NEG_ITEM_ID] + first_item
        terms = self.loss_terms(user, positive, negative)
        self.loss_names = tuple(terms)
        return tuple(terms.values())

    def loss_terms(self, user: Tensor, positive: Tensor, negative: Tensor) -> dict[str, Tensor]:
        """The weighted loss terms by name; terms whose weight is zero are left out.

        Args:
            user: [B] int64 nodes; positive: [B], negative: [B], nodes of items.
        """
        s = self.settings
        # before the teachers move, as published
        regularization = s.reg_weight * self._squared_parameters() if s.reg_weight > 0 else None
        self._update_teachers()
        batch = sample_triples((user, positive, negative), self._limit)
        profile_sets = self._contrast_sets(self.profile_texts, batch) if s.profile_weight > 0 else []
        pairwise_sets = self._contrast_sets(self.intent_texts, batch) if s.pairwise_weight > 0 else []
        intent_nodes = [each.candidates for each in pairwise_sets]
        revealed_nodes = [each.anchors for each in pairwise_sets]
        if s.translation_weight > 0 or s.matching_weight > 0:
            sample = sample_nodes(self.intent_texts.nodes, self._limit)
            intent_nodes.append(sample)
            if s.matching_weight > 0 and s.fusion != "text":
                revealed_nodes.append(sample)
        # The towers' matrix products may run in low precision; graph products and contrasts may not.
        if s.uses_profiles:
            profile, _ = self._embed(self.profile_texts, self.profile_tower, [each.candidates for each in profile_sets])
        if s.uses_intents:
            intent, hidden = self._embed(self.intent_texts, self.intent_tower, intent_nodes)
        if s.matching_weight > 0:
            teacher = self._teacher_intents(sample, hidden)
        with torch.autocast(device_type=user.device.type, enabled=False):
            layers = self.graph_layers()
            final = self.final_embedding(layers)
            final_of = partial(F.embedding, weight=final)

            terms = {"ranking": self._ranking_loss(final, user, positive, negative)}
            if regularization is not None:
                terms["regularization"] = regularization
            if s.profile_weight > 0:
                aligned = self._alignment(final_of, profile, s.profile_temperature, profile_sets, len(batch[0]))
                terms["profile"] = s.profile_weight * aligned
            if self._uses_interaction_intents:
                revealed = self.interaction_intents(layers, _union(revealed_nodes, like=user))
            if s.pairwise_weight > 0:
                aligned = self._alignment(revealed.of, intent, s.pairwise_temperature, pairwise_sets, len(batch[0]))
                terms["pairwise"] = s.pairwise_weight * aligned
            translation = final.new_zeros(())
            if s.translation_weight > 0:
                translated = self._translation(intent.of(sample), final_of(sample))
                translation = terms["translation"] = s.translation_weight * translated
            if s.matching_weight > 0:
                student = intent.of(sample)
                if s.fusion != "text":
                    shown = revealed.of(sample)
                if s.fusion == "sum":
                    student, teacher = student + shown, teacher + shown.detach()
                elif s.fusion == "gate":
                    student, teacher = self.gate(student, shown), self.teacher_gate(teacher, shown.detach())
                distilled = losses.distillation(student, teacher)
                terms["matching"] = s.matching_weight * (0.4 * translation + 0.6 * distilled)
        return terms

    @property
    def _limit(self) -> int | None:
        n = self.settings.contrast_nodes
        return None if n == "all" else n

    def _embed(self, texts: NodeTexts, tower: TextTower, needed: list[Tensor]) -> tuple[NodeEmbeddings, Tensor]:
        """The tower's embeddings of the nodes whose text a step needs, and its first layer for them."""
        nodes = _union(needed, like=texts.nodes)
        hidden = tower.hidden(texts.of(nodes, self._dtype))
        return NodeEmbeddings(nodes, tower.output(hidden).to(self._dtype)), hidden

    def _contrast_sets(self, texts: NodeTexts, batch: Triples) -> list[ContrastSet]:
        return contrast_sets(batch, texts.present, texts.users, self._limit, self._dtype)

    def _teacher_intents(self, sample: Tensor, hidden: Tensor) -> Tensor:
        """[n, d], z̄ of the sampled nodes.

        Args:
            sample: [n] nodes.
            hidden: the student's first layer for the nodes whose text it sees; these are the sampled ones if they are
                all that have a text.
        """
        teacher, momentum = self.teacher_tower, self.settings.teacher_momentum
        with torch.no_grad():
            if len(sample) < len(self.intent_texts.nodes):
                return teacher(self.intent_texts.of(sample, self._dtype)).to(self._dtype)
            # Texts are constant: its first layer is the moving average of the student's, as its parameters are.
            if self._teacher_hidden is None:
                self._teacher_hidden = teacher.hidden(self.intent_texts.of(sample, self._dtype)).to(self._dtype)
            else:
                self._teacher_hidden.mul_(momentum).add_(hidden, alpha=1 - momentum)
            return teacher.output(self._teacher_hidden).to(self._dtype)

    def train(self, mode: bool = True) -> "IRLLRec":
        # computed anew in each epoch: rounding does not add up, and a resumed run goes on exactly
        self._teacher_hidden = None
        return super().train(mode)

    def _ranking_loss(self, final: Tensor, user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        s, n_users = self.settings, self.graph.n_users

        def item_vectors(nodes: Tensor) -> Tensor:
            # F.embedding, not indexing: its gradient is summed in a fixed order
            return self._item_vectors(F.embedding(nodes, final), F.embedding(nodes - n_users, self._item_biases))

        users, place, counts = user.unique(return_inverse=True, return_counts=True)
        distinct = self._user_vectors(F.embedding(users, final))
        of_batch = F.embedding(place, distinct)
        scores = (of_batch * item_vectors(positive)).sum(dim=1)
        if s.ranking_loss == "bpr":
            return losses.bpr(scores, (of_batch * item_vectors(negative)).sum(dim=1))
        if s.softmax_negatives == "all":
            items = self._item_vectors(final[n_users:], self._item_biases)
            return losses.full_softmax(distinct, counts.to(final.dtype), scores, items, s.softmax_temperature)
        drawn = torch.randint(n_users, self.graph.n_nodes, (s.softmax_negatives,), device=user.device)
        return losses.sampled_softmax(of_batch, scores, item_vectors(drawn), s.softmax_temperature)

    def _alignment(
        self,
        base_of: Callable[[Tensor], Tensor],
        text: NodeEmbeddings,
        temperature: float,
        sets: list[ContrastSet],
        n_triples: int,
    ) -> Tensor:
        """align(base, text; τ) of a batch of that many triples; base_of gives the base of [n] nodes, [n, d]."""
        total = text.embedding.new_zeros(())
        if not sets:
            return total
        # looked up once: the gradient of each look-up is as large as what is looked up in
        anchors, _, candidates, _ = zip(*sets, strict=True)
        base_rows = base_of(torch.cat(anchors)).split([len(nodes) for nodes in anchors])
        text_rows = text.of(torch.cat(candidates)).split([len(nodes) for nodes in candidates])
        for (_, counts, _, bias), x, texts in zip(sets, base_rows, text_rows, strict=True):
            total = total + losses.info_nce(x, texts, counts, temperature, bias)
        return total / n_triples

    def _translation(self, intent: Tensor, final: Tensor) -> Tensor:
        return losses.translation(intent, final, *self.translation_noise(final), len(self.intent_texts.nodes))

    def translation_noise(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Two standard normal draws of the shape [n, d] of ``like``, for texts and for graph embeddings."""
        return torch.randn_like(like), torch.randn_like(like)

    def _update_teachers(self) -> None:
        if self.settings.matching_weight > 0:
            momentum = self.settings.teacher_momentum
            update_teacher(self.teacher_tower, self.intent_tower, momentum)
            if self.settings.fusion == "gate":
                update_teacher(self.teacher_gate, self.gate, momentum)

    def _squared_parameters(self) -> Tensor:
        """Σ ‖θ‖² over all parameters but the padding rows; the published code counts the teacher's too."""
        embeddings = (self.user_embedding.weight, self.item_embedding.weight)
        others = [p for p in self.parameters() if all(p is not e for e in embeddings)]
        return torch.stack([p.square().sum() for p in (*(e[1:] for e in embeddings), *others)]).sum()

    # ---- scoring ----------------------------------------------------------------------------------------------------

    def predict(self, interaction) -> Tensor:
        """[B] scores of (user, item) pairs."""
        user_e, item_e = self.scoring_embeddings()
        return (user_e[interaction[self.USER_ID]] * item_e[interaction[self.ITEM_ID]]).sum(dim=1)

    def full_sort_predict(self, interaction) -> Tensor:
        """[B * n_items] scores of all items for each user."""
        user_e, item_e = self.scoring_embeddings()
        return (user_e[interaction[self.USER_ID]] @ item_e.T).view(-1)

    def scoring_embeddings(self) -> tuple[Tensor, Tensor]:
        """[n_users, d] and [n_items, d], computed once an evaluation."""
        if self.restore_user_e is None or self.restore_item_e is None:
            self.restore_user_e, self.restore_item_e = self.forward()
        return self.restore_user_e, self.restore_item_e

    def _forget_scores(self) -> None:
        self.restore_user_e, self.restore_item_e = None, None


def _union(parts: list[Tensor], like: Tensor) -> Tensor:
    """The nodes of all the parts, sorted, each once; of no part, none, as ``like`` has them."""
    return torch.cat([like[:0], *parts]).unique()
