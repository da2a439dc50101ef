"""Texts changed on purpose, to learn what they are good for: given to other nodes, drawn at random, or taken away."""

import numpy as np

from ..errors import IRLLRecError


def changed(
    how: str, share: float, seed: int, embedding: np.ndarray, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The texts of one side after a change.

    Which nodes are changed depends on the seed and on which have a text, so that all kinds of text of a node go the
    same way where all nodes have all of them; those of a smaller share are among those of a larger one.

    Args:
        how: "shuffled": the nodes get each other's texts; "random": vectors of the same lengths, drawn from all
            directions alike; "blank": no text.
        share: of the nodes that have a text, in [0, 1].
        seed: of what is drawn.
        embedding: [n, dim], float32 or float16; stays as it is.
        present: [n] bool.

    Returns:
        The new ``embedding`` and ``present``.

    Raises:
        IRLLRecError: no text would be left.
    """
    generator = np.random.default_rng(seed)
    there = generator.permutation(np.flatnonzero(present))
    nodes = there[: round(share * len(there))]
    embedding, present = embedding.copy(), present.copy()
    if how == "shuffled":
        embedding[nodes] = embedding[np.roll(nodes, 1)]  # a circle in random order: nobody keeps its own
    elif how == "random":
        drawn = generator.standard_normal((len(nodes), embedding.shape[1]))
        lengths = np.linalg.norm(embedding[nodes].astype(np.float64), axis=1, keepdims=True)
        embedding[nodes] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * lengths
    else:
        if len(nodes) == len(there) > 0:
            raise IRLLRecError(
                f"The settings text_change blank and text_change_share {share:g} leave no text: lower the share, or "
                f"take the model without text."
            )
        embedding[nodes], present[nodes] = 0, False
    return embedding, present
