"""IRLLRec trained in the manner of DropoutNet (Volkovs et al., NeurIPS 2017), to compare the map from texts with.

A share of the items, drawn anew at each step, is known by its texts alone, through a tower that learns from the ranking
loss. At scoring it gives vectors to the items that training has not seen::

    export IRLLREC_MODELS=benchmarks/cold-items/dropout_net.py
"""

import torch
from torch import Tensor

from recbole_irllrec import IRLLRec, register
from recbole_irllrec.model.towers import TextTower


class IRLLRecDropoutNet(IRLLRec):
    """Needs a weight of the alignment above 0, so that texts are read."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        width = self.latent_dim + self._item_biases.shape[1]
        self.content_tower = TextTower(self._item_texts.shape[1], width).to(self.device)

    def own_terms(self, encoded, batch):
        """See `GraphEncoder.own_terms`; of the drawn items texts speak, and not their interactions."""
        users, items = encoded.final.split([self.graph.n_users, self.graph.n_items])
        drawn = torch.rand(len(items), 1, device=items.device) < self.settings.content_dropout
        drawn &= self._has_item_text[:, None]
        content, self._content_bias = self._content(self._item_texts)
        self._drawn = drawn
        terms = super().own_terms(encoded._replace(final=torch.cat([users, torch.where(drawn, content, items)])), batch)
        self._drawn = None
        return terms

    _drawn = None

    @property
    def _item_biases(self) -> Tensor:
        own = super()._item_biases
        return own if self._drawn is None else torch.where(self._drawn, self._content_bias, own)

    def _content(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """[m, D] -> [m, d] and what stands for the items' biases."""
        found = self.content_tower(texts)
        return found[:, : self.latent_dim], found[:, self.latent_dim :]

    @torch.no_grad()
    def from_texts(self, texts: Tensor, items: Tensor) -> Tensor:
        """See `AlignedEncoder.from_texts`."""
        return self._item_vectors(*self._content(texts))


register(IRLLRecDropoutNet, content_dropout=0.5)
