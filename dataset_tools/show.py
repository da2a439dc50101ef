"""What the tables of a data set say about one user or item."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from recbole_irllrec.data.loading import split_datasets
from recbole_irllrec.data.table_file import TableFile, TableMetadata
from recbole_irllrec.data.text import KINDS, table_path
from recbole_irllrec.data.training import SIDES, TrainingTokens
from recbole_irllrec.errors import IRLLRecError

from .check import fingerprint_state


class Shown(NamedTuple):
    """A token's row in one table."""

    side: str
    kind: str
    path: Path
    text: str
    metadata: TableMetadata
    fingerprint: str | None  # see `check.fingerprint_state`


def look_up(config, token: str, side: str | None = None) -> list[Shown]:
    """Find a token in the tables of the data set's folder.

    Args:
        config: RecBole's settings; they name the data set and its folder.
        token: a user's or an item's external id.
        side: user or item; None where only one side has the token.

    Raises:
        IRLLRecError: no table has the token, users and items have it, or a table is damaged.
    """
    paths = {(s, kind): table_path(config, s, kind) for s in SIDES if side in (None, s) for kind in KINDS}
    files = {key: TableFile(path) for key, path in paths.items() if path.is_file()}
    if not files:
        raise IRLLRecError(
            f"There is no table in {config['data_path']}: make one with `irllrec intents embed` or `import`."
        )
    found = {key: file for key, file in files.items() if token in file}
    if not found:
        raise IRLLRecError(
            f"No table in {config['data_path']} has the token {token!r}: use the data set's own ids, as in its .inter "
            f"file."
        )
    if len({side for side, _ in found}) > 1:
        raise IRLLRecError(f"{token!r} is a user and an item: say which with --side user or --side item.")
    asked = np.array([token], object)
    fingerprint = None
    if any(file.metadata.train_fingerprint for file in found.values()):
        fingerprint = TrainingTokens(split_datasets(config)[0]).fingerprint
    return [
        Shown(
            *key,
            paths[key],
            file.texts_for(asked)[0],
            file.metadata,
            fingerprint_state(file.metadata, fingerprint),
        )
        for key, file in found.items()
    ]
