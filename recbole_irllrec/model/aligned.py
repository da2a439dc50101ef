"""A recommender that wears the alignment: its texts are loaded, its steps gain the alignment's loss terms."""

from typing import Any

import torch
from torch import Tensor

from ..errors import IRLLRecError
from .alignment import Alignment
from .encoder import GraphEncoder
from .sampling import Triples
from .texts import NodeTexts

# Where the alignment's parameters stood before it was a module of its own, for checkpoints of that time.
_BEFORE = (
    *("profile_tower.", "intent_tower.", "teacher_tower.", "gate.", "teacher_gate."),
    *("user_prototypes", "item_prototypes"),
)


class Aligned(GraphEncoder):
    """Goes before another `GraphEncoder` among a class's bases, or stands for LightGCN by itself.

    Raises:
        IRLLRecError: a setting or a text is refused; the sentence says which and what to do.
    """

    alignment: Alignment

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        # Initialised apart from the embeddings, so that those equal the encoder's own under the same seed.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config["seed"])
            texts = load_texts(config, dataset, self.settings.text_kinds, self.graph.n_users)
            self.alignment = Alignment(self.settings, texts, self.graph, self.latent_dim)
        self.register_load_state_dict_pre_hook(_rename)
        self.to(self.device)

    def loss_terms(self, batch: Triples) -> dict[str, Tensor]:
        """As the encoder's, and the alignment's."""
        regularization = self.regularization()  # before the teachers move, as published
        # The towers' matrix products may run in low precision; graph products and contrasts may not.
        step = self.alignment.begin(batch, self.dtype)
        with torch.autocast(device_type=batch[0].device.type, enabled=False):
            encoded = self.encode()
            own = self.ranking_terms(encoded, batch)
            return own | regularization | self.alignment.terms(step, encoded)


def load_texts(config, dataset, kinds: tuple[str, ...], n_users: int) -> dict[str, NodeTexts]:
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
    found = dataset.node_texts(config, kinds).items()
    return {
        kind: NodeTexts(torch.as_tensor(embedding), torch.as_tensor(present), n_users)
        for kind, (embedding, present) in found
    }


def _rename(_module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for name in [name for name in state if name.removeprefix(prefix).startswith(_BEFORE)]:
        state[f"{prefix}alignment.{name.removeprefix(prefix)}"] = state.pop(name)
