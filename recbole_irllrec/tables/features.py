"""What the words of texts are made from: feature files, read beside RecBole.

RecBole would add the rows of a feature file to its id space; what is read here never touches the data set.
"""

import os
from pathlib import Path

import pandas as pd

from ..errors import IRLLRecError
from .atomic_file import read_header, read_text


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
    lines = read_text(path, encoding).split("\n")
    columns = read_header(path, lines[0], field_separator)
    names = list(columns)
    body = pd.Series([line for line in lines[1:] if line], dtype=object)
    parts = body.str.split(field_separator, n=len(names) - 1, expand=True, regex=False)
    frame = parts.reindex(columns=range(len(names))).fillna("").set_axis(names, axis=1).astype(object)
    return frame.apply(_unquoted), columns


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
