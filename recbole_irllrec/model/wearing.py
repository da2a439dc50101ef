"""Recommenders that wear the alignment: their texts are loaded, their steps gain its loss terms."""

import inspect
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor, nn

from ..errors import IRLLRecError
from ..settings.sources import read_settings
from .alignment import Alignment, Encoded
from .encoder import GraphEncoder, graph_of
from .graph import InteractionGraph
from .linear_part import UNSEEN_SCALE, LinearPart
from .sampling import Triples
from .text_map import TextMap, with_texts
from .texts import NodeEmbeddings, NodeTexts

# Where the alignment's parameters stood before it was a module of its own, for checkpoints of that time.
_BEFORE = (
    *("profile_tower.", "intent_tower.", "teacher_tower.", "gate.", "teacher_gate."),
    *("user_prototypes", "item_prototypes"),
)


def aligned(recommender: Any, name: str | None = None) -> Any:
    """The class of a recommender that wears the alignment.

    Args:
        recommender: a `GraphEncoder`, or a general recommender with embeddings of all users and items.
        name: of the class; None for the recommender's own.

    Raises:
        IRLLRecError: it has none; some are found out only when they are made.
    """
    if issubclass(recommender, GraphEncoder):
        wearing: type = AlignedEncoder
    elif getattr(recommender, "input_type", None) == InputType.LISTWISE:
        raise _nothing_to_align(recommender.__name__, "it learns from whole rows of users")
    elif issubclass(recommender, GeneralRecommender) and recommender.type != ModelType.TRADITIONAL:
        wearing = AlignedRecommender
    else:
        raise _nothing_to_align(recommender.__name__)
    return _class(wearing, recommender, name or recommender.__name__)


@cache
def _class(wearing: type, recommender: type, name: str) -> type:
    about = {"__module__": recommender.__module__, "__doc__": f"{recommender.__name__} that wears the alignment."}
    return type(name, (wearing, recommender), about)


def _nothing_to_align(name: str, why: str = "it has no embeddings of all users and items") -> IRLLRecError:
    return IRLLRecError(f"{name} cannot wear the alignment, because {why}: take a model such as BPR, LightGCN or NGCF.")


class AlignedEncoder(GraphEncoder):
    """Goes before another `GraphEncoder` among a class's bases, or stands for LightGCN by itself.

    Raises:
        IRLLRecError: a setting or a text is refused; the sentence says which and what to do.
    """

    alignment: Alignment
    unseen_scale: float  # by what scores are multiplied that come from texts alone

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        self.alignment = make_alignment(
            self.settings, self.graph, self.latent_dim, config, dataset, self.has_intents, self.pairwise_negatives
        )
        self.texts_made = self.alignment.texts_made
        self.unseen_scale = self.settings.unseen_scale
        if self.settings.linear_weight > 0:
            text = self._linear_text()
            self.unseen_scale *= 1 if text is None else UNSEEN_SCALE
            scale = self.unseen_scale if self.settings.unseen_items == "text" else 1.0
            self.linear = LinearPart(self.settings, self.interaction_matrix, text, scale)
        self.register_load_state_dict_pre_hook(_rename)
        self.to(self.device)

    def _linear_text(self) -> tuple[Tensor, Tensor] | None:
        """What the linear part reads: [n_items - 1, D] and [n_items - 1] bool."""
        if self.settings.linear_text_weight == 0 or self._has_item_text is None or not self._has_item_text.any():
            return None
        return self._item_texts, self._has_item_text

    def forward(self) -> tuple[Tensor, Tensor]:
        """As the encoder's; the items' vectors may come from their texts."""
        users, items = super().forward()
        settings, n_interactions = self.settings, self.graph.degrees[self.graph.n_users :]
        has_text = self._has_item_text
        if has_text is None:
            return users, items
        unseen, with_evidence = settings.unseen_items == "text", settings.text_evidence > 0
        wanted = has_text & torch.where(n_interactions == 0, unseen, with_evidence)
        if not (wanted.any() and self._can_map_texts):
            return users, items
        place = wanted.nonzero()[:, 0]
        rows = items[place + 1]
        rows = with_texts(
            rows, self.from_texts(self._item_texts[place], items), n_interactions[place], settings.text_evidence
        )
        # trained items' share of it is as long as they are
        scale = torch.where(n_interactions[place] == 0, self.unseen_scale, 1.0).to(rows)
        rows = self._scaled(rows, scale[:, None])
        return users, items.index_copy(0, place + 1, rows)

    @torch.no_grad()
    def vectors_of_texts(self, texts: Tensor) -> Tensor:
        """The vectors of items of which nothing is known but their texts, comparable with those of trained ones.

        Args:
            texts: [m, D] embeddings, as those of the kind `item_text_kind`.

        Returns:
            [m, d'], whose products with users' vectors are scores.
        """
        return self._scaled(self.from_texts(texts, super().forward()[1]), self.unseen_scale)

    @torch.no_grad()
    def from_texts(self, texts: Tensor, items: Tensor) -> Tensor:
        """What texts [m, D] say, as long as the vectors of trained items, which are among [n_items, d'] -> [m, d']."""
        return self._text_map(items[self._known_text + 1].detach(), texts)

    def _scaled(self, vectors: Tensor, scale: Tensor | float) -> Tensor:
        """Their scores multiplied, but for the bias that stands beyond the width."""
        width = self.latent_dim
        return torch.cat([scale * vectors[:, :width], vectors[:, width:]], dim=1)

    def layers_of_items(self, layers: list[Tensor], new_texts: Tensor | None) -> list[Tensor]:
        """See `GraphEncoder.layers_of_items`; the layers of texts are found as vectors are, by regression."""
        layers, has_text = super().layers_of_items(layers, None), self._has_item_text
        if has_text is None:
            return layers
        (unseen,) = (has_text & (self.graph.degrees[self.graph.n_users :] == 0)).nonzero(as_tuple=True)
        texts = self._item_texts[unseen]
        if new_texts is not None:
            texts = torch.cat([texts, new_texts.to(texts)])
        if not len(texts) or (new_texts is None and not self._can_map_texts):
            return layers
        found = [self._text_map.regression(layer[self._known_text], texts) for layer in layers]
        of_unseen, of_new = zip(*(rows.tensor_split([len(unseen)]) for rows in found), strict=True)
        known = [layer.index_copy(0, unseen, rows) for layer, rows in zip(layers, of_unseen, strict=True)]
        return [torch.cat(both) for both in zip(known, of_new, strict=True)]

    def start_of_new_items(self, items: np.ndarray) -> Tensor | None:
        """See `GraphEncoder.start_of_new_items`; an item without a text has the others' mean."""
        has_text = self._has_item_text
        if has_text is None:
            return None
        is_new = torch.as_tensor(np.isin(np.arange(self.graph.n_items), items), device=has_text.device)
        known = (has_text & ~is_new).nonzero()[:, 0]
        if len(known) < 2:
            return None
        start = self.item_embedding.weight[1:]
        found = self._map_from(known).regression(start[known], self._item_texts[is_new])
        return torch.where(has_text[is_new][:, None], found, start[known].mean(dim=0))

    def compared(self, nodes: Tensor) -> dict[str, NodeEmbeddings]:
        """See `Alignment.embeddings`."""
        with torch.no_grad():
            return self.alignment.embeddings(self.encode(), nodes)

    @property
    def item_text_kind(self) -> str | None:
        """Which of the items' texts give vectors; None if the model reads none."""
        kinds = self.settings.text_kinds
        return kinds[0] if kinds else None

    @property
    def _item_texts(self) -> Tensor:
        """[n_items - 1, D]."""
        return getattr(self.alignment, f"{self.item_text_kind}_texts").embedding[self.graph.n_users :]

    @property
    def _has_item_text(self) -> Tensor | None:
        """[n_items - 1] bool."""
        if self.item_text_kind is None:
            return None
        return getattr(self.alignment, f"{self.item_text_kind}_texts").present[self.graph.n_users :]

    @cached_property
    def _known_text(self) -> Tensor:
        """[n] the places of items with training interactions and a text."""
        assert self._has_item_text is not None  # who asks knows
        known = self._has_item_text & (self.graph.degrees[self.graph.n_users :] > 0)
        return known.nonzero()[:, 0]

    @cached_property
    def _text_map(self) -> TextMap:
        if not self._can_map_texts:
            raise IRLLRecError(
                f"Fewer than two items have both training interactions and a {self.item_text_kind} text, which says "
                f"nothing of how vectors depend on texts: add texts."
            )
        return self._map_from(self._known_text)

    def _map_from(self, known: Tensor) -> TextMap:
        """What ties vectors of items at these places, [n], to their texts."""
        s = self.settings
        return TextMap(self._item_texts[known], s.unseen_sharpness, s.unseen_reg_weight, s.unseen_neighbours)

    @property
    def _can_map_texts(self) -> bool:
        return len(self._known_text) > 1

    def loss_terms(self, batch: Triples) -> dict[str, Tensor]:
        """As the encoder's, and the alignment's."""
        if self.linear is not None:
            self.linear.solve()
        regularization = self.regularization(batch)  # before the teachers move, as published
        # The towers' matrix products may run in low precision; graph products and contrasts may not.
        step = self.alignment.begin(batch, self.dtype)
        with torch.autocast(device_type=batch[0].device.type, enabled=False):
            encoded = self.encode(self.alignment.start(step, self.get_ego_embeddings()))
            own = self.own_terms(encoded, batch)
            return own | regularization | self.alignment.terms(step, encoded)


class AlignedRecommender(GeneralRecommender):
    """Goes before a general recommender among a class's bases: what its forward pass gives is aligned.

    The embeddings of all users and items are what ``forward`` returns where it needs no argument, as that of graph
    recommenders; otherwise the tables of embeddings.

    Raises:
        IRLLRecError: there are no such embeddings; or a setting or a text is refused.
    """

    alignment: Alignment
    _forward_gives_all = False
    _is_recording = False
    _recorded: Tensor | None = None

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        self._label = config["LABEL_FIELD"]
        self.to(self.device)
        if _needs_nothing(super().forward):
            with torch.no_grad(), torch.random.fork_rng():
                self._forward_gives_all = _both_sides(self, super().forward()) is not None
        d = self._embeddings().shape[1]
        graph = graph_of(dataset.inter_matrix(form="coo"))
        self.alignment = make_alignment(read_settings(config), graph, d, config, dataset)
        self.texts_made = self.alignment.texts_made
        self.to(self.device)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        output = super().forward(*inputs, **named)
        if self._is_recording and self._forward_gives_all and self._recorded is None:
            self._recorded = _nodes(_both_sides(self, output))
        return output

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The alignment's weighted loss terms and then the recommender's own, by the names in ``loss_names``."""
        step = self.alignment.begin(self._triples(interaction), self._dtype)
        self._is_recording, self._recorded = True, None
        own = super().calculate_loss(interaction)
        self._is_recording = False
        final = self._embeddings()
        # without this a step's graph of gradients would live until the next one
        self._recorded = None
        with torch.autocast(device_type=final.device.type, enabled=False):  # as for `AlignedEncoder`
            final = final.to(self._dtype)
            terms = self.alignment.terms(step, Encoded(final, [final]))
        own = own if isinstance(own, tuple) else (own,)
        names = ("own",) if len(own) == 1 else tuple(f"own_{n}" for n in range(1, len(own) + 1))
        self.loss_names = (*terms, *names)
        return (*terms.values(), *own)

    def compared(self, nodes: Tensor) -> dict[str, NodeEmbeddings]:
        """See `Alignment.embeddings`."""
        with torch.no_grad():
            final = self._embeddings()
            return self.alignment.embeddings(Encoded(final, [final]), nodes)

    @property
    def _dtype(self) -> torch.dtype:
        return next(super().parameters()).dtype

    def _embeddings(self) -> Tensor:
        """[N, d] of the nodes without padding, users first."""
        if self._recorded is not None:
            return self._recorded
        found = _nodes(_both_sides(self, self.forward()) if self._forward_gives_all else _tables(self))
        if found is None:
            raise _nothing_to_align(type(self).__name__)
        return found

    def _triples(self, interaction: Mapping[str, Tensor]) -> Triples:
        """A batch's nodes; items drawn evenly where it has no negative ones."""
        first_item = self.n_users - 2
        users, items = interaction[self.USER_ID] - 1, interaction[self.ITEM_ID] + first_item
        if self.NEG_ITEM_ID in interaction:
            return users, items, interaction[self.NEG_ITEM_ID] + first_item
        negatives = items[:0]
        if self._label in interaction:
            is_positive = interaction[self._label] > 0
            users, items, negatives = users[is_positive], items[is_positive], items[~is_positive]
        if len(negatives) == 0:
            negatives = torch.randint(self.n_users - 1, first_item + self.n_items, items.shape, device=items.device)
        # as many as there are positives
        return users, items, negatives[torch.arange(len(items), device=items.device) % len(negatives)]


def embeddings_of(model: Any) -> tuple[Tensor, Tensor] | None:
    """The embeddings of all users [n_users, d] and items [n_items, d] of a general recommender, with the padding.

    They are what ``forward`` returns where it needs no argument, otherwise the tables of embeddings; None without.
    """
    if _needs_nothing(model.forward) and (found := _both_sides(model, model.forward())):
        return found
    return _tables(model)


def _both_sides(model: Any, found: Any) -> tuple[Tensor, Tensor] | None:
    """[n_users, d] and [n_items, d] if these are what a model's ``forward`` has found."""
    if not isinstance(found, tuple | list) or len(found) < 2:
        return None
    users, items = found[:2]
    is_table = all(isinstance(each, Tensor) and each.dim() == 2 for each in (users, items))
    if not is_table or (len(users), len(items)) != (model.n_users, model.n_items):
        return None
    return (users, items) if users.shape[1] == items.shape[1] else None


def _tables(model: Any) -> tuple[Tensor, Tensor] | None:
    """The first two tables of embeddings of users and of items that are equally wide."""
    tables = [(name.lower(), each.weight) for name, each in model.named_modules() if isinstance(each, nn.Embedding)]
    users, items = (
        [weight for name, weight in tables if side in name and len(weight) == n]
        for side, n in (("user", model.n_users), ("item", model.n_items))
    )
    return next(((u, i) for u in users for i in items if u.shape[1] == i.shape[1]), None)


def _nodes(found: tuple[Tensor, Tensor] | None) -> Tensor | None:
    """[N, d] of embeddings with padding."""
    return None if found is None else torch.cat([side[1:] for side in found])


def _needs_nothing(function: Any) -> bool:
    """Whether a method can be called without arguments."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return all(p.default is not p.empty or p.kind in kinds for p in parameters)


def make_alignment(
    settings: Any,
    graph: InteractionGraph,
    d: int,
    config: Config,
    dataset: Dataset,
    has_intents: bool = False,
    pairwise_negatives: bool = True,
) -> Alignment:
    """The alignment of a recommender with the texts of its training data set; see `Alignment`."""
    # Initialised apart from the embeddings, so that those equal the recommender's own under the same seed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        texts = load_texts(config, dataset, settings.text_kinds, graph.n_users)
        return Alignment(settings, texts, graph, d, has_intents, pairwise_negatives)


def load_texts(config: Config, dataset: Dataset, kinds: tuple[str, ...], n_users: int) -> dict[str, NodeTexts]:
    """The texts of these kinds, of a training data set's nodes.

    Raises:
        IRLLRecError: a text is refused, or the data set knows none.
    """
    if not kinds:
        return {}
    if not hasattr(dataset, "node_texts"):
        raise IRLLRecError(
            f"The dataset is a {type(dataset).__name__}, which has no texts: use IRLLRecDataset, as RecBole's "
            "create_dataset does, or set the alignment weights to 0."
        )
    return {
        kind: NodeTexts(torch.as_tensor(text.embedding), torch.as_tensor(text.present), n_users, text.made)
        for kind, text in dataset.node_texts(config, kinds).items()
    }


def _rename(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    own = dict(module.named_parameters())
    for name in [name.removeprefix(prefix) for name in state]:
        if name.startswith(_BEFORE) and name not in own:
            state[f"{prefix}alignment.{name}"] = state.pop(f"{prefix}{name}")
