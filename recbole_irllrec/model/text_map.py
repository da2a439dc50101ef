"""From an item's text to its vector, learnt from the items that have both: for items that training has not seen.

Two maps that know different things, and their mean: kernel ridge regression over the cosine of texts, with landmarks
where there are many items (Williams and Seeger, NIPS 2000), and the mean of the items whose texts are nearest. Memory
and time of the first grow with the number of items, not with its square; those of the second with its product with the
number of texts asked for, in blocks.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_LANDMARKS = 2048
_BLOCK = 8192  # items whose features are held at once
_NEIGHBOURS = 20
_TEMPERATURE = 0.1  # of the neighbours' weights, over cosines
_NEIGHBOUR_CELLS = 1 << 24  # cosines held at once
_JITTER = 1e-6  # of the landmarks' kernel, whose texts may be equal


class TextMap:
    """What ties vectors to texts. The texts are given once; the vectors may change.

    To the regression, two texts are as alike as exp(−sharpness · (1 − cosine)), their mean being the origin.

    Args:
        text: [n, D], the texts of items whose vectors are known, at least two; none of them zeros.
        sharpness: above 0; the higher, the less a text has in common with others.
        reg_weight: λ, above 0, of the ridge regression.
        neighbours_share: of the nearest items' mean in what is found, in [0, 1].
    """

    def __init__(self, text: Tensor, sharpness: float, reg_weight: float, neighbours_share: float):
        self._sharpness, self._neighbours_share = sharpness, neighbours_share
        self._centre = text.double().mean(dim=0)
        self._text = text
        places = torch.linspace(0, len(text) - 1, min(_LANDMARKS, len(text)), device=text.device).round().long()
        self._landmarks = self._unit(text[places])
        kernel = self._kernel(self._landmarks)
        kernel.diagonal().add_(_JITTER)
        self._root = torch.linalg.cholesky(kernel)
        gram = reg_weight * torch.eye(len(kernel)).to(kernel)
        for part in text.split(_BLOCK):
            features = self._features(part)
            gram.addmm_(features.T, features)
        self._factor = torch.linalg.cholesky(gram)

    def __call__(self, vectors: Tensor, of: Tensor) -> Tensor:
        """The vectors of further texts, of the mean length of the known ones where both maps agree, else shorter.

        Args:
            vectors: [n, d] of the items whose texts are known.
            of: [m, D].

        Returns:
            [m, d].
        """
        if not len(of):
            return vectors[:0]
        share, length = self._neighbours_share, vectors.norm(dim=1).mean()
        found = (1 - share) * F.normalize(self.regression(vectors, of))
        if share > 0:
            found = found + share * F.normalize(self.neighbours(vectors, of))
        return length * found

    def regression(self, vectors: Tensor, of: Tensor) -> Tensor:
        """[n, d] vectors and [m, D] further texts -> [m, d]; the vectors' mean for a text that is like none."""
        # the landmarks' root is divided out of d columns, not of the features of each text
        mean = vectors.double().mean(dim=0)
        parts = zip(self._text.split(_BLOCK), vectors.split(_BLOCK), strict=True)
        sums = sum(self._kernel(self._unit(text)).T @ (part.double() - mean) for text, part in parts)
        products = torch.linalg.solve_triangular(self._root, sums, upper=False)
        weight = torch.cholesky_solve(products, self._factor)
        of_landmarks = torch.linalg.solve_triangular(self._root.T, weight, upper=True)
        found = [self._kernel(self._unit(part)) @ of_landmarks + mean for part in of.split(_BLOCK)]
        return torch.cat(found).to(vectors)

    def neighbours(self, vectors: Tensor, of: Tensor) -> Tensor:
        """[n, d] vectors and [m, D] further texts -> [m, d], means of the items with the nearest texts."""
        known, rows = self._unit(self._text).float(), []
        for part in of.split(max(_NEIGHBOUR_CELLS // len(known), 1)):
            cosine, places = (self._unit(part).float() @ known.T).topk(min(_NEIGHBOURS, len(known)))
            weight = (cosine / _TEMPERATURE).softmax(dim=1).to(vectors)
            rows.append((weight[:, :, None] * vectors[places]).sum(dim=1))
        return torch.cat(rows)

    def _features(self, text: Tensor) -> Tensor:
        """[k, D] -> [k, n_landmarks], whose products are the kernel, as far as the landmarks know."""
        return torch.linalg.solve_triangular(self._root, self._kernel(self._unit(text)).T, upper=False).T

    def _kernel(self, x: Tensor) -> Tensor:
        """[k, D] of length 1 -> [k, n_landmarks]."""
        return (self._sharpness * (x @ self._landmarks.T - 1)).exp_()

    def _unit(self, text: Tensor) -> Tensor:
        return F.normalize(text.double() - self._centre)


def with_texts(vectors: Tensor, from_text: Tensor, n_interactions: Tensor, evidence: float) -> Tensor:
    """An item's own vector and that of its text, by how much is known of the item itself.

    Args:
        vectors: [n, d].
        from_text: [n, d].
        n_interactions: [n] of the items in training.
        evidence: how many interactions a text is worth; with 0, texts stand for items without any alone.

    Returns:
        [n, d], (c v + κ t) / (c + κ).
    """
    own = n_interactions.to(vectors)[:, None]
    share = torch.where(own > 0, own / (own + evidence).clamp(min=torch.finfo(own.dtype).tiny), own)
    return share * vectors + (1 - share) * from_text
