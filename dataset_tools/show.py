"""What the tables of a data set, and the store of a language model's answers, say about one user or item."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from recbole_irllrec.data.loading import split_datasets
from recbole_irllrec.data.text import KINDS, table_path
from recbole_irllrec.data.training import SIDES, Side, TrainingTokens
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.tables.table_file import TableFile, TableMetadata

from .check import fingerprint_state
from .generate import store_path
from .generation.schema import Answer
from .generation.store import open_store


class Row(NamedTuple):
    """A token's row in one table."""

    kind: str
    text: str
    metadata: TableMetadata
    fingerprint: str | None  # see `check.fingerprint_state`


class Shown(NamedTuple):
    """What there is about a token."""

    side: str
    rows: list[Row]
    answer: Answer | None  # the language model's, where there is a store


def look_up(config, token: str, side: str | None = None, store: Path | None = None) -> Shown:
    """Find a token in the tables of the data set's folder and in a store.

    Args:
        config: RecBole's settings; they name the data set and its folder.
        token: a user's or an item's external id.
        side: user or item; None where only one side has the token.
        store: the file of answers; None for the data set's own, where there is one.

    Raises:
        IRLLRecError: nothing has the token, users and items have it, or a file is damaged or not there.
    """
    sides = [one for one in SIDES if side in (None, one)]
    tables = {one: _tables_with(config, one, token) for one in sides}
    answers = _answers(config, sides, token, store)
    found = [one for one in sides if tables[one] or answers.get(one)]
    if not found:
        raise IRLLRecError(
            f"No table in {config['data_path']} has the token {token!r}: use the data set's own ids, as in its .inter "
            f"file, or make tables with `irllrec intents embed`."
        )
    if len(found) > 1:
        raise IRLLRecError(f"{token!r} is a user and an item: say which with --side user or --side item.")
    files = tables[found[0]]
    fingerprint = None
    if any(file.metadata.train_fingerprint for file in files.values()):
        fingerprint = TrainingTokens(split_datasets(config)[0]).fingerprint
    asked = np.array([token], object)
    rows = [
        Row(kind, file.texts_for(asked)[0], file.metadata, fingerprint_state(file.metadata, fingerprint))
        for kind, file in files.items()
    ]
    return Shown(found[0], rows, answers.get(found[0]))


def _tables_with(config, side: str, token: str) -> dict[str, TableFile]:
    """The tables of a side that have the token, by kind."""
    paths = {kind: table_path(config, side, kind) for kind in KINDS}
    files = {kind: TableFile(path) for kind, path in paths.items() if path.is_file()}
    return {kind: file for kind, file in files.items() if token in file}


def _answers(config, sides: list[Side], token: str, store: Path | None) -> dict[str, Answer | None]:
    path = store_path(config, store)
    if store is None and not path.is_file():
        return {}
    with open_store(path) as answers:
        return {side: answers.answer(side, token) for side in sides}
