"""Items and users that a split keeps out of training, to see what a model makes of new ones."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from recbole_irllrec.errors import IRLLRecError

PARTS = ("train", "valid", "test")
_SIDES = ("user", "item")  # where both are cold, the item decides


class Cold(NamedTuple):
    """Where the cold users and items take their interactions."""

    part: np.ndarray  # [n] int8, for each interaction the place of its part in `PARTS`; 0 where neither is cold
    drawn: dict[str, tuple[int, int]]  # of each side, how many are validation's and how many test's


def draw(tokens: Mapping[str, np.ndarray], shares: Mapping[str, float], seed: int) -> Cold:
    """Draw cold users and items, and send all their interactions to validation or test.

    Of those of a side that have interactions a share is drawn, half of it for validation, the rest for test. Who is
    drawn depends on their tokens, the share and the seed alone. An interaction of a cold user with a cold item goes
    where the item goes, so that all interactions of a cold item are in one part.

    Args:
        tokens: of "user" and "item", [n] str, one for each interaction.
        shares: of "user" and "item", in [0, 1).
        seed: of the draw.

    Raises:
        IRLLRecError: a share is less than one for each part, or nothing is left for training.
    """
    part = np.zeros(len(tokens["item"]), np.int8)
    drawn = {}
    for stream, side in enumerate(_SIDES):
        if shares[side] == 0:
            drawn[side] = (0, 0)
            continue
        codes, different = pd.factorize(tokens[side], sort=True)
        n = round(shares[side] * len(different))
        if n < 2:
            raise IRLLRecError(
                f"Of {len(different)} {side}s, --cold-{side}s {shares[side]:g} makes {n} cold, where validation and "
                f"test need one each: give a larger share."
            )
        chosen = np.random.default_rng([seed, stream]).permutation(len(different))[:n]
        of_token = np.zeros(len(different), np.int8)
        of_token[chosen[: n // 2]], of_token[chosen[n // 2 :]] = PARTS.index("valid"), PARTS.index("test")
        part = np.where(of_token[codes] > 0, of_token[codes], part)
        drawn[side] = (n // 2, n - n // 2)
    if part.all():
        given = " and ".join(f"--cold-{side}s {share:g}" for side, share in shares.items() if share > 0)
        raise IRLLRecError(f"With {given} no interaction is left for training: give a smaller share.")
    return Cold(part, drawn)


def unknown(tokens: Mapping[str, np.ndarray], train: np.ndarray, cold: Cold) -> dict[str, int]:
    """How many items and users training does not know, in words.

    Args:
        tokens: of "user" and "item", [n] str, one for each interaction.
        train: [n] bool, which are in training.
        cold: those that were drawn.
    """
    counts: dict[str, int] = {}
    for side in reversed(_SIDES):
        valid, test = cold.drawn[side]
        if valid + test:
            counts |= {f"{side}s drawn as cold, validation's": valid, f"{side}s drawn as cold, test's": test}
        others = len({*tokens[side]} - {*tokens[side][train]}) - valid - test
        counts[f"{'other ' if valid + test else ''}{side}s without a training interaction"] = others
    return counts
