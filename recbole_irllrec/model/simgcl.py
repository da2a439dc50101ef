"""SimGCL: contrastive learning without graph augmentation."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .alignment import Encoded
from .views import ViewEncoder


class SimGCL(ViewEncoder):
    """Simple Graph Contrastive Learning (Yu et al., SIGIR 2022): the views are passes with noise in each layer.

    The published code of IRLLRec has the input layer in the final embedding, and aligns no intents of negative items.

    Args and errors: as of `GraphEncoder`.
    """

    @property
    def pairwise_negatives(self) -> bool:
        return not self.as_published

    def encode(self, start: Tensor | None = None) -> Encoded:
        encoded = super().encode(start)
        if not self.training:
            return encoded
        first, second = (self.propagate(encoded.layers[0], None, self._disturb) for _ in range(2))
        return encoded._replace(own=(self.aggregate(first), self.aggregate(second)))

    def aggregate(self, layers: list[Tensor]) -> Tensor:
        return super().aggregate(layers if self.as_published else layers[1:])

    def _disturb(self, layer: Tensor) -> Tensor:
        """[N, d], with noise of length eps in the orthant of each row."""
        noise = F.normalize(self.draw_noise(layer)) * layer.detach().sign()
        return layer + self.settings.eps * noise

    def draw_noise(self, like: Tensor) -> Tensor:
        """Uniform in [0, 1), of the shape [N, d] of ``like``."""
        return torch.rand_like(like)
