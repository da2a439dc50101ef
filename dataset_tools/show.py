"""What the tables of a data set, and the store of a language model's answers, say about one user or item."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recbole_irllrec.data.loading import refuse_absent, split_datasets
from recbole_irllrec.data.text import KINDS, table_path
from recbole_irllrec.data.training import SIDES, Side, TrainingTokens
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.tables.table_file import TableFile, TableMetadata
from recbole_irllrec.text.default import VERSIONS, Recipe, made_texts
from recbole_irllrec.text.written import written_about

from .check import fingerprint_state
from .generate import store_path
from .generation.schema import Answer
from .generation.store import open_store

if TYPE_CHECKING:
    from recbole.config import Config


class Row(NamedTuple):
    """A text of a token, in a table or made without one."""

    kind: str
    text: str
    source: str | None  # see `TableMetadata`
    encoder: str | None
    prompt_version: str | None
    fingerprint: str | None  # see `check.fingerprint_state`


class Shown(NamedTuple):
    """What there is about a token."""

    side: Side
    rows: list[Row]
    answer: Answer | str | None  # the language model's, where there is a store; or why there is no valid one


def look_up(config: "Config", token: str, side: str | None = None, store: Path | None = None) -> Shown:
    """Find a token in the tables of the data set's folder and in a store; without any, what texts would be made of it.

    Args:
        config: RecBole's settings; they name the data set and its folder.
        token: a user's or an item's external id.
        side: user or item; None where only one side has the token.
        store: the file of answers; None for the data set's own, where there is one.

    Raises:
        IRLLRecError: nothing has the token, users and items have it, or a file is damaged or not there.
    """
    if store is None and not (store_path(config, None).is_file() or any(_table_paths(config))):
        return _look_up_made(config, token, side)
    sides = [one for one in SIDES if side in (None, one)]
    tables = {one: _tables_with(config, one, token) for one in sides}
    answers = _answers(config, sides, token, store)
    found = [one for one in sides if tables[one] or answers.get(one)]
    files = tables[_one_of(found, token, f"No table in {config['data_path']}")]
    fingerprint = None
    if any(file.metadata.train_fingerprint for file in files.values()):
        fingerprint = TrainingTokens(split_datasets(config)[0]).fingerprint
    asked = np.array([token], object)
    rows = [
        _row(kind, file.texts_for(asked)[0], file.metadata, fingerprint_state(file.metadata, fingerprint))
        for kind, file in files.items()
    ]
    return Shown(found[0], rows, answers.get(found[0]))


def _row(kind: str, text: str, made: TableMetadata, fingerprint: str | None) -> Row:
    return Row(kind, text, made.source, made.encoder, made.prompt_version, fingerprint)


def _one_of(found: list[Side], token: str, nobody: str) -> Side:
    """The side that a token is found on.

    Raises:
        IRLLRecError: it is not one.
    """
    if not found:
        raise IRLLRecError(
            f"{nobody} has the token {token!r}: use the data set's own ids, as in its .inter file, or make tables with "
            f"`irllrec intents embed`."
        )
    if len(found) > 1:
        raise IRLLRecError(f"{token!r} is a user and an item: say which with --side user or --side item.")
    return found[0]


def _look_up_made(config: "Config", token: str, side: str | None) -> Shown:
    """The texts that are made where there is no table: of features, and of what a language model wrote, if it did."""
    refuse_absent(config)
    train = TrainingTokens(split_datasets(config)[0])
    there = [one for one in SIDES if side in (None, one) and token in train.tokens[one]]
    its = _one_of(there, token, f"No table, user or item of {config['dataset']}")
    recipes: list[Recipe] = ["features"]
    if written_about(config["dataset"]) is not None:
        recipes += ["profile", "intent"]
    users = np.array([token] if its == "user" else [], object)
    own = train.judged[train.judged["user"].isin(users)]
    source, fingerprint = ("interactions", "this split") if its == "user" else ("features", None)
    rows = []
    for recipe in recipes:
        made = made_texts(config, recipe, users, train.tokens["item"], own)
        rows.append(Row(recipe, getattr(made, its)[token], source, None, VERSIONS[recipe], fingerprint))
    return Shown(its, rows, None)


def _table_paths(config: "Config") -> Iterator[Path]:
    """The tables that there are."""
    return (path for side in SIDES for kind in KINDS if (path := table_path(config, side, kind)).is_file())


def _tables_with(config: "Config", side: str, token: str) -> dict[str, TableFile]:
    """The tables of a side that have the token, by kind."""
    paths = {kind: table_path(config, side, kind) for kind in KINDS}
    files = {kind: TableFile(path) for kind, path in paths.items() if path.is_file()}
    return {kind: file for kind, file in files.items() if token in file}


def _answers(config: "Config", sides: list[Side], token: str, store: Path | None) -> dict[str, Answer | str | None]:
    path = store_path(config, store)
    if store is None and not path.is_file():
        return {}
    with open_store(path) as answers:
        return {side: answers.answer(side, token) for side in sides}
