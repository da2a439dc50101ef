"""The answers of a data set on disk: a SQLite file in which each is safe the moment it arrives.

An answer's key is a hash of the model and the prompt as it is sent; so nothing is asked twice, and a change asks again
only what it touches. What a user or item was asked last is its current key; older answers stay, and come back with
their prompt.

A process that is killed loses nothing that it had stored (write-ahead log). Only one process may write; any may read.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.files import locked

from .prompts import Prompt
from .schema import Answer

_FORMAT = "1"
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answer (
    key TEXT PRIMARY KEY,
    side TEXT NOT NULL,
    token TEXT NOT NULL,
    model TEXT NOT NULL,
    prompts TEXT NOT NULL,         -- the version of the prompt file
    answer TEXT,                   -- JSON; null where it failed
    failure TEXT,                  -- why, where it failed
    asked INTEGER NOT NULL,        -- how often
    prompt_tokens INTEGER NOT NULL,
    answer_tokens INTEGER NOT NULL,
    at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS current (
    side TEXT NOT NULL,
    token TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (side, token)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch (
    name TEXT PRIMARY KEY,         -- the name of its file, too
    file_id TEXT,                  -- once it is uploaded
    batch_id TEXT,                 -- once it is submitted
    done INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS batched (
    key TEXT PRIMARY KEY,
    batch TEXT,                    -- in which it waits; null once that has ended
    side TEXT NOT NULL,
    token TEXT NOT NULL,
    asked INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    answer_tokens INTEGER NOT NULL,
    reason TEXT                    -- why the last answer was no good
);
"""
# What the store was made with: it is refused if the first differs, and if another does unless --replace is given.
_IDENTITY = {
    "dataset": "data set",
    "model": "model",
    "prompts": "prompts",
    "train_fingerprint": "training interactions",
}


class Result(NamedTuple):
    """How a prompt ended."""

    answer: Answer | None
    failure: str | None
    asked: int
    prompt_tokens: int
    answer_tokens: int


class Store:
    """An open store."""

    def __init__(self, path: Path, connection: sqlite3.Connection):
        self.path = path
        self.db = connection
        self.about: dict[str, str] = dict(connection.execute("SELECT name, value FROM about"))

    # --- What is there.

    def state(self, key: str) -> str | None:
        """ "answered", "failed", or None if it was not asked."""
        row = self.db.execute("SELECT answer IS NOT NULL FROM answer WHERE key = ?", (key,)).fetchone()
        return None if row is None else ("answered" if row[0] else "failed")

    def answers(self, side: str) -> Iterator[tuple[str, Answer]]:
        """The current answers of a side, in the order of the tokens."""
        rows = self.db.execute(
            "SELECT current.token, answer FROM current JOIN answer USING (key) "
            "WHERE current.side = ? AND answer IS NOT NULL ORDER BY current.token",
            (side,),
        )
        return ((token, Answer.model_validate_json(answer)) for token, answer in rows)

    def answer(self, side: str, token: str) -> Answer | str | None:
        """The current answer about one user or item, or why there is no valid one; None if it was not asked."""
        row = self.db.execute(
            "SELECT answer, failure FROM current JOIN answer USING (key) WHERE current.side = ? AND current.token = ?",
            (side, token),
        ).fetchone()
        return row and (Answer.model_validate_json(row[0]) if row[0] else row[1])

    def profiles(self, tokens: Sequence[str]) -> dict[str, str]:
        """The current profiles of items, of those that have one."""
        rows = self.db.execute(
            "SELECT current.token, json_extract(answer, '$.profile') FROM current JOIN answer USING (key) "
            f"WHERE current.side = 'item' AND answer IS NOT NULL AND current.token IN ({_marks(tokens)})",
            list(tokens),
        )
        return dict(rows)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many current users and items are "answered" and "failed", by (side, state)."""
        rows = self.db.execute(
            "SELECT current.side, CASE WHEN answer IS NULL THEN 'failed' ELSE 'answered' END AS state, COUNT(*) "
            "FROM current JOIN answer USING (key) GROUP BY 1, 2"
        )
        return {(side, state): n for side, state, n in rows}

    def mean_answer_tokens(self) -> float | None:
        """The mean length of the valid answers so far; None where there are few."""
        n, mean = self.db.execute(
            "SELECT COUNT(*), AVG(1.0 * answer_tokens / asked) FROM answer WHERE answer IS NOT NULL"
        ).fetchone()
        return mean if n >= 20 else None

    # --- What is added.

    def record(self, prompt: Prompt, result: Result) -> None:
        """Store how a prompt ended; when this returns, it survives the death of the process."""
        with self.writing():
            self.put(prompt.key, prompt.side, prompt.token, result)

    def note(self, name: str, value: str) -> None:
        """Keep something about the whole store, in `about`."""
        with self.writing():
            self.db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))
        self.about[name] = value

    def use(self, prompt: Prompt) -> None:
        """Make the answer that is stored for this prompt the current one of its user or item."""
        row = self.db.execute(
            "SELECT key FROM current WHERE side = ? AND token = ?", (prompt.side, prompt.token)
        ).fetchone()
        if row != (prompt.key,):
            with self.writing():
                self._set_current(prompt.key, prompt.side, prompt.token)

    def keep_only(self, side: str, tokens: Sequence[str]) -> None:
        """Users or items that are not asked any more have no current answer."""
        with self.writing():
            self.db.execute("CREATE TEMP TABLE kept (token TEXT PRIMARY KEY)")
            self.db.executemany("INSERT INTO kept VALUES (?)", ((token,) for token in tokens))
            self.db.execute("DELETE FROM current WHERE side = ? AND token NOT IN (SELECT token FROM kept)", (side,))
            self.db.execute("DROP TABLE kept")

    def put(self, key: str, side: str, token: str, result: Result) -> None:
        """As `record`, within `writing`."""
        answer = result.answer and result.answer.model_dump_json()
        at = datetime.now(UTC).isoformat(timespec="seconds")
        made = (self.about["model"], self.about["prompts"])
        used = (result.asked, result.prompt_tokens, result.answer_tokens)
        self.db.execute(
            "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, side, token, *made, answer, result.failure, *used, at),
        )
        self._set_current(key, side, token)

    def _set_current(self, key: str, side: str, token: str) -> None:
        self.db.execute("INSERT OR REPLACE INTO current VALUES (?, ?, ?)", (side, token, key))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction: all of it is stored when the block ends, or nothing."""
        with _in_one_sentence(self.path), self.db:
            yield


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


@contextlib.contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open a store to read.

    Raises:
        IRLLRecError: there is none, or the file is none.
    """
    if not path.is_file():
        raise IRLLRecError(f"There is no store {path}: make one with `irllrec intents generate`, or name it (--store).")
    # Beside a store that others may be writing to, SQLite needs files, which a read-only folder does not take.
    alone = not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
    with _in_one_sentence(path):
        uri = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
        connection = sqlite3.connect(uri, timeout=30, uri=True)
    with contextlib.closing(connection):
        with _in_one_sentence(path):
            _refuse_other_format(path, connection)
            store = Store(path, connection)
        yield store


@contextlib.contextmanager
def open_to_write(
    path: Path, *, dataset: str, model: str, prompts: str, train_fingerprint: str, replace: bool
) -> Iterator[Store]:
    """Open or make a store, for this process alone.

    Args:
        path: the file.
        dataset: the data set's name.
        model: the language model's.
        prompts: the prompt file's version.
        train_fingerprint: of the training interactions.
        replace: go on although the store was made with another model, prompts or training interactions.

    Raises:
        IRLLRecError: another process writes to it, the file is no store, or it was made for something else.
    """
    made_with = {"dataset": dataset, "model": model, "prompts": prompts, "train_fingerprint": train_fingerprint}
    in_use = f"The store {path} is in use by a running process: wait for its end, or name another (--store)."
    with locked(f"{path}.lock", in_use), _connection(path) as connection:
        about = dict(connection.execute("SELECT name, value FROM about"))
        others = [name for name, value in made_with.items() if about.get(name, value) != value]
        if others and (not replace or "dataset" in others):
            first = others[0]
            way_out = "" if first == "dataset" else ", or go on with --replace, which asks anew what this touches"
            raise IRLLRecError(
                f"The store {path} holds answers for the {_IDENTITY[first]} {about[first][:60]}, not "
                f"{made_with[first][:60]}: name another file (--store){way_out}."
            )
        with _in_one_sentence(path), connection:
            if others:
                connection.execute("DELETE FROM current")  # what knows other interactions must not be mixed with ours
            connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", made_with.items())
        yield Store(path, connection)


@contextlib.contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    with _in_one_sentence(path):
        connection = sqlite3.connect(path, timeout=30)
    try:
        with _in_one_sentence(path):
            # Commits reach the file system at once and the disk a little later: a process may die, not the machine.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA wal_autocheckpoint = 10000")  # pages; each time, answers wait for the disk
            connection.executescript(_TABLES)
            with connection:
                connection.execute("INSERT OR IGNORE INTO about VALUES ('format', ?)", (_FORMAT,))
            _refuse_other_format(path, connection)
        yield connection
    finally:
        connection.close()


def _refuse_other_format(path: Path, connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("SELECT value FROM about WHERE name = 'format'").fetchone() or ("unknown",)
    if found != _FORMAT:
        raise IRLLRecError(f"The store {path} has the format {found}, not {_FORMAT}: name another (--store).")


@contextlib.contextmanager
def _in_one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        way_out = "make room on the disk and start again, which goes on where this stopped"
        if any(said in str(error) for said in ("not a database", "no such table", "readonly")):
            way_out = "name another file (--store)"
        raise IRLLRecError(f"The store {path} cannot be used ({error}): {way_out}.") from None
