"""The alignment of a graph encoder's embeddings with texts (Wang et al., SIGIR 2025), whatever the encoder.

It knows neither RecBole nor any encoder: a step tells it the batch, and afterwards what the encoder made of it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import losses
from .graph import InteractionGraph, interaction_intents
from .sampling import ContrastSet, Triples, contrast_sets, sample_nodes, sample_triples
from .texts import NodeEmbeddings, NodeTexts
from .towers import IntentGate, TextTower, teacher_of, update_teacher


class Encoded(NamedTuple):
    """What an encoder's forward pass gave for all N nodes, users first."""

    final: Tensor  # [N, d], E: the embeddings that profiles and translation are aligned with
    layers: list[Tensor]  # each [N, d]; those whose intents the graph reveals, E_0..E_{L-1}
    # r of [n] sorted nodes, each once, [n, d], of an encoder that has intents of its own
    intents: Callable[[Tensor], Tensor] | None = None
    own: Any = None  # what the encoder's own loss terms need besides


class Step(NamedTuple):
    """What an alignment has made of a batch before the encoder's pass."""

    n_triples: int
    profile_sets: list[ContrastSet]
    pairwise_sets: list[ContrastSet]
    sample: Tensor | None  # nodes that translation and matching see
    hidden: Tensor | None  # nodes whose profile is to be reconstructed: their E_0 is hidden
    revealed: Tensor  # nodes whose interaction intents are wanted
    profile: NodeEmbeddings | None  # p
    intent: NodeEmbeddings | None  # z
    teacher: Tensor | None  # z̄ of the sample


class Alignment(nn.Module):
    """The text towers, their teacher and the intents' prototypes, with the loss terms that they take part in.

    Args:
        settings: weights, temperatures and so on, with the part `AlignmentTerms`. A term whose weight is zero is left
            out, and what it alone needs may be missing.
        texts: of each kind in ``settings.text_kinds``.
        graph: of the N nodes.
        d: the width of the encoder's embeddings.
        has_intents: whether the encoder has intents of its own (`Encoded.intents`).
        pairwise_negatives: whether negative items are part of pairwise alignment.
    """

    profile_texts: NodeTexts
    intent_texts: NodeTexts
    # [n, hidden], the teacher's first layer for the n nodes with an intent text; kept within an epoch
    _teacher_hidden: Tensor | None = None

    def __init__(
        self,
        settings: Any,
        texts: dict[str, NodeTexts],
        graph: InteractionGraph,
        d: int,
        has_intents: bool = False,
        pairwise_negatives: bool = True,
    ):
        super().__init__()
        self.settings = settings
        self._pairwise_negatives = pairwise_negatives
        self._graph = (graph,)  # the encoder's, and no part of this module
        self.texts_made = {kind: of_kind.made for kind, of_kind in texts.items()}
        for kind, of_kind in texts.items():
            self.add_module(f"{kind}_texts", of_kind)
        if settings.profile_weight > 0:
            self.profile_tower = TextTower(self.profile_texts.width, d)
        if settings.uses_intents:
            self.intent_tower = TextTower(self.intent_texts.width, d)
        if settings.matching_weight > 0:
            self.teacher_tower = teacher_of(self.intent_tower)
            if settings.fusion == "gate":
                self.gate = IntentGate(d)
                self.teacher_gate = teacher_of(self.gate)
        if settings.reconstruction_weight > 0:
            self.decoder = TextTower(d, self.profile_texts.width)
            self.mask_token = nn.Parameter(torch.zeros(1, d))
        if settings.reveals_intents and not has_intents:
            self.user_prototypes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d, settings.n_intents)))
            self.item_prototypes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d, settings.n_intents)))

    def begin(self, batch: Triples, dtype: torch.dtype) -> Step:
        """Move the teachers, draw what is contrasted, and pass the towers once.

        Args:
            batch: [B] nodes of users, of their positive and of their negative items.
            dtype: of the encoder's embeddings.
        """
        s = self.settings
        self._update_teachers()
        batch = sample_triples(batch, self._limit)
        profile_sets = self._contrast_sets(self.profile_texts, batch, dtype) if s.profile_weight > 0 else []
        pairwise = batch if self._pairwise_negatives else (*batch[:2], batch[2][:0])
        pairwise_sets = self._contrast_sets(self.intent_texts, pairwise, dtype) if s.pairwise_weight > 0 else []
        intent_nodes = [each.candidates for each in pairwise_sets]
        revealed_nodes = [each.anchors for each in pairwise_sets]
        sample = profile = intent = teacher = hidden = None
        if s.translation_weight > 0 or s.matching_weight > 0:
            sample = sample_nodes(self.intent_texts.nodes, self._limit)
            intent_nodes.append(sample)
            if s.matching_weight > 0 and s.fusion != "text":
                revealed_nodes.append(sample)
        if s.reconstruction_weight > 0:
            hidden = self.draw_hidden()
        if s.profile_weight > 0:
            candidates = [each.candidates for each in profile_sets]
            profile, _ = self._embed(self.profile_texts, self.profile_tower, candidates, dtype)
        if s.uses_intents:
            intent, inside = self._embed(self.intent_texts, self.intent_tower, intent_nodes, dtype)
            if s.matching_weight > 0 and sample is not None:
                teacher = self._teacher_intents(sample, inside, dtype)
        revealed = _union(revealed_nodes, like=batch[0])
        return Step(len(batch[0]), profile_sets, pairwise_sets, sample, hidden, revealed, profile, intent, teacher)

    def start(self, step: Step, embedding: Tensor) -> Tensor:
        """What the encoder is to propagate in place of its embeddings E_0, [N, d] -> [N, d]."""
        if step.hidden is None:
            return embedding
        return embedding.index_copy(0, step.hidden, self.mask_token.expand(len(step.hidden), -1))

    def draw_hidden(self) -> Tensor:
        """[n] of the nodes with a profile, sorted, each once: the share of them that a step hides, one at least."""
        nodes = self.profile_texts.nodes
        n = max(int(len(nodes) * self.settings.mask_ratio), 1)
        return nodes[torch.randperm(len(nodes), device=nodes.device)[:n].sort().values]

    def terms(self, step: Step, encoded: Encoded) -> dict[str, Tensor]:
        """The weighted loss terms of a batch by name.

        Args:
            step: what `begin` gave for the batch.
            encoded: what the encoder gave for it.
        """
        s, terms = self.settings, {}
        final_of = partial(F.embedding, weight=encoded.final)
        if step.profile is not None:
            aligned = _aligned(final_of, step.profile, s.profile_temperature, step.profile_sets, step.n_triples)
            terms["profile"] = s.profile_weight * aligned
        if step.hidden is not None:
            terms["reconstruction"] = s.reconstruction_weight * self._reconstruction(step.hidden, final_of)
        if s.reveals_intents:
            revealed = self.interaction_intents(encoded, step.revealed)
        if step.intent is not None and s.pairwise_weight > 0:
            aligned = _aligned(revealed.of, step.intent, s.pairwise_temperature, step.pairwise_sets, step.n_triples)
            terms["pairwise"] = s.pairwise_weight * aligned
        translation = encoded.final.new_zeros(())
        if step.intent is not None and step.sample is not None and s.translation_weight > 0:
            translated = self._translation(step.intent.of(step.sample), final_of(step.sample))
            translation = terms["translation"] = s.translation_weight * translated
        if step.intent is not None and step.sample is not None and step.teacher is not None:
            student, teacher = step.intent.of(step.sample), step.teacher
            if s.fusion != "text":
                shown = revealed.of(step.sample)
            if s.fusion == "sum":
                student, teacher = student + shown, teacher + shown.detach()
            elif s.fusion == "gate":
                student, teacher = self.gate(student, shown), self.teacher_gate(teacher, shown.detach())
            distilled = losses.distillation(student, teacher)
            terms["matching"] = s.matching_weight * (0.4 * translation + 0.6 * distilled)
        return terms

    @torch.no_grad()
    def embeddings(self, encoded: Encoded, nodes: Tensor) -> dict[str, NodeEmbeddings]:
        """What the loss terms compare, of [n] sorted nodes, each once, of a text's embeddings those that there are.

        They are E, "interaction", r from all neighbours, "interaction intent", p, "profile", and z, "intent"; only what
        the loss terms use.
        """
        s, dtype = self.settings, encoded.final.dtype
        found = {"interaction": NodeEmbeddings(nodes, encoded.final[nodes])}
        if s.reveals_intents:
            found["interaction intent"] = self.interaction_intents(encoded, nodes, of_all_neighbours=True)
        if s.profile_weight > 0:
            worded = nodes[self.profile_texts.present[nodes]]
            found["profile"], _ = self._embed(self.profile_texts, self.profile_tower, [worded], dtype)
        if s.uses_intents:
            worded = nodes[self.intent_texts.present[nodes]]
            found["intent"], _ = self._embed(self.intent_texts, self.intent_tower, [worded], dtype)
        return found

    def interaction_intents(self, encoded: Encoded, nodes: Tensor, of_all_neighbours: bool = False) -> NodeEmbeddings:
        """r of [n] sorted nodes, each once: the intents that the graph reveals."""
        if encoded.intents is not None:
            return NodeEmbeddings(nodes, encoded.intents(nodes))
        prototypes = self.user_prototypes, self.item_prototypes
        is_all = of_all_neighbours or self.settings.intent_neighbours == "all"
        limit = None if is_all else self.settings.intent_neighbours
        revealed = interaction_intents(self._graph[0], encoded.layers, *prototypes, nodes, limit=limit)
        return NodeEmbeddings(nodes, revealed)

    @property
    def _limit(self) -> int | None:
        n = self.settings.contrast_nodes
        return None if n == "all" else n

    def _embed(
        self, texts: NodeTexts, tower: TextTower, needed: list[Tensor], dtype: torch.dtype
    ) -> tuple[NodeEmbeddings, Tensor]:
        """The tower's embeddings of the nodes whose text a step needs, and its first layer for them."""
        nodes = _union(needed, like=texts.nodes)
        hidden = tower.hidden(texts.of(nodes, dtype))
        return NodeEmbeddings(nodes, tower.output(hidden).to(dtype)), hidden

    def _contrast_sets(self, texts: NodeTexts, batch: Triples, dtype: torch.dtype) -> list[ContrastSet]:
        return contrast_sets(batch, texts.present, texts.users, self._limit, dtype)

    def _teacher_intents(self, sample: Tensor, hidden: Tensor, dtype: torch.dtype) -> Tensor:
        """[n, d], z̄ of the sampled nodes.

        Args:
            sample: [n] nodes.
            hidden: the student's first layer for the nodes whose text it sees; these are the sampled ones if they are
                all that have a text.
            dtype: of the result.
        """
        teacher, momentum = self.teacher_tower, self.settings.teacher_momentum
        with torch.no_grad():
            if len(sample) < len(self.intent_texts.nodes):
                return teacher(self.intent_texts.of(sample, dtype)).to(dtype)
            # Texts are constant: its first layer is the moving average of the student's, as its parameters are.
            if self._teacher_hidden is None:
                self._teacher_hidden = teacher.hidden(self.intent_texts.of(sample, dtype)).to(dtype)
            else:
                self._teacher_hidden.mul_(momentum).add_(hidden, alpha=1 - momentum)
            return teacher.output(self._teacher_hidden).to(dtype)

    def train(self, mode: bool = True) -> "Alignment":
        # computed anew in each epoch: rounding does not add up, and a resumed run goes on exactly
        self._teacher_hidden = None
        return super().train(mode)

    def _reconstruction(self, hidden: Tensor, final_of: Callable[[Tensor], Tensor]) -> Tensor:
        """How well the profiles of the hidden nodes are told from each other by their E (RLMRec-Gen)."""
        nodes = sample_nodes(hidden, self._limit)
        final = final_of(nodes)
        decoded = self.decoder(final).to(final.dtype)
        profiles = self.profile_texts.of(nodes, final.dtype)
        return losses.own_among_all(decoded, profiles, self.settings.reconstruction_temperature, len(hidden))

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


def _aligned(
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


def _union(parts: list[Tensor], like: Tensor) -> Tensor:
    """The nodes of all the parts, sorted, each once; of no part, none, as ``like`` has them."""
    return torch.cat([like[:0], *parts]).unique()
