"""What texts are made from, read beside RecBole: feature files, and the fingerprint of the training interactions.

RecBole would add the rows of a feature file to its id space; what is read here never touches the data set.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import IRLLRecError


def read_atomic_file(
    path: str | os.PathLike[str], field_separator: str = "\t", encoding: str | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Read one of RecBole's atomic files as text; without an encoding as UTF-8, as RecBole does.

    Quotes are ordinary characters, except a pair around a whole value, which is dropped as RecBole drops it; within
    it two stand for one. What a line has beyond the last column belongs to the last column; what it lacks is empty.

    Returns:
        The values, strings, with one column per field and a missing value as ``""``; and each field's type.

    Raises:
        IRLLRecError: the file cannot be decoded, or its first line is not a list of ``name:type``.
    """
    encoding = encoding or "utf-8"
    try:
        lines = Path(path).read_text(encoding=encoding).split("\n")
    except UnicodeDecodeError:
        raise _undecodable(path, encoding) from None
    header = _fields(path, lines[0], field_separator)
    names = [name for name, _ in header]
    body = pd.Series([line for line in lines[1:] if line], dtype=object)
    parts = body.str.split(field_separator, n=len(names) - 1, expand=True, regex=False)
    frame = parts.reindex(columns=range(len(names))).fillna("").set_axis(names, axis=1).astype(object)
    return frame.apply(_unquoted), dict(header)


def read_fields(
    path: str | os.PathLike[str], field_separator: str = "\t", encoding: str | None = None
) -> dict[str, str]:
    """The fields of one of RecBole's atomic files and their types, by its first line alone.

    Raises:
        IRLLRecError: the line cannot be decoded, or is not a list of ``name:type``.
    """
    try:
        with open(path, encoding=encoding or "utf-8") as file:
            return dict(_fields(path, file.readline().rstrip("\n"), field_separator))
    except UnicodeDecodeError:
        raise _undecodable(path, encoding or "utf-8") from None


def _undecodable(path: str | os.PathLike[str], encoding: str) -> IRLLRecError:
    return IRLLRecError(f"{path} is not {encoding} text: convert it, or set `encoding` to what it is.")


def _fields(path: str | os.PathLike[str], line: str, field_separator: str) -> list[list[str]]:
    header = [field.split(":") for field in line.split(field_separator)]
    if any(len(field) != 2 for field in header):
        raise IRLLRecError(
            f"The first line of {path} is {line[:80]!r}, where name:type is expected for each column, "
            f"parted by {field_separator!r} (`field_separator`): put that line in, or set the separator."
        )
    return header


def _unquoted(values: pd.Series) -> pd.Series:
    quoted = values.str.fullmatch(r'"(?:[^"]|"")*"')
    return values.mask(quoted, values.str[1:-1].str.replace('""', '"', regex=False))


def read_features(
    path: str | os.PathLike[str], id_field: str, field_separator: str, encoding: str | None
) -> pd.DataFrame:
    """Read the words that a ``.item`` or ``.user`` file says about each token.

    Only fields of type ``token`` and ``token_seq`` hold words. Numbers are left out: an average rating or a count of
    reviews in such a file may have been computed from held-out interactions.

    Returns:
        Strings, indexed by token, one column per field without ``id_field``; a repeated token keeps its first row, as
        in RecBole. No rows where there is no such file.

    Raises:
        IRLLRecError: the file cannot be read, or has no column ``id_field``.
    """
    if not Path(path).is_file():
        return pd.DataFrame(index=pd.Index([], dtype=object))
    frame, types = read_atomic_file(path, field_separator, encoding)
    if id_field not in frame:
        raise IRLLRecError(f"{path} has no column {id_field}, but {', '.join(types)}: name its column of ids so.")
    words = [name for name, kind in types.items() if kind in ("token", "token_seq") and name != id_field]
    return frame.drop_duplicates(id_field).set_index(id_field)[words]


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
