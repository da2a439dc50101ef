"""Fingerprints: of the training interactions that went into a text, and of a data set's ids."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa


def train_fingerprint(user_tokens: np.ndarray, item_tokens: np.ndarray) -> str:
    """The fingerprint of a set of training interactions.

    It is the SHA-256, in hexadecimal, of the lines ``user<TAB>item<NEWLINE>`` in UTF-8, each different pair once, in
    ascending order of bytes; for a pre-split data set whose file begins with these two columns this is
    ``tail -n +2 <dataset>.train.inter | cut -f1,2 | LC_ALL=C sort -u | sha256sum``.

    Args:
        user_tokens: [n] the user of each interaction, as a token (never an internal id).
        item_tokens: [n] its item.
    """
    user_codes, users = _sorted_codes(user_tokens)
    item_codes, items = _sorted_codes(item_tokens)
    width = max(len(items), 1)
    pairs = np.unique(user_codes * width + item_codes)  # also sorts by user, then item
    lines = pd.Series(users[pairs // width], dtype=object) + "\t"
    lines += pd.Series(items[pairs % width], dtype=object) + "\n"
    return hashlib.sha256(lines.str.cat().encode()).hexdigest()


def ids_fingerprint(user_tokens: Sequence[str] | np.ndarray, item_tokens: Sequence[str] | np.ndarray) -> str:
    """The fingerprint of which token has which internal id: a SHA-256, in hexadecimal.

    Args:
        user_tokens: [n] the users' tokens in the order of their ids.
        item_tokens: [n] the items'.
    """
    return hashlib.sha256("\n".join([*user_tokens, "", *item_tokens]).encode()).hexdigest()


def _sorted_codes(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each token's place among the different ones in ascending order, and these.

    Not `pandas.factorize`: to it, strings that agree up to a NUL character are the same.
    """
    encoded = pa.array(tokens, pa.large_string()).dictionary_encode()
    different = encoded.dictionary.to_numpy(zero_copy_only=False)
    order = np.argsort(different)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place[encoded.indices.to_numpy()], different[order]
