"""Text tables in the folder of a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_irllrec.data.text import table_path
from recbole_irllrec.tables.intents import IntentTable

if TYPE_CHECKING:
    from recbole.config import Config


def write_tables(config: "Config", table: IntentTable, side: str, kinds: Sequence[str], atomic: bool) -> list[Path]:
    """Write a table under the name under which IRLLRec finds it, for each kind of text.

    Args:
        config: RecBole's settings; they name the data set and its folder.
        table: the table.
        side: user or item.
        kinds: of profile and intent.
        atomic: also write RecBole's atomic file ``<dataset>.<side>_<kind>``, with the fields ``<side>_<kind>_id`` and
            ``<side>_<kind>_embedding``.

    Returns:
        The files.

    Raises:
        IRLLRecError: an atomic file cannot hold a token.
    """
    written = []
    for kind in kinds:
        path = table_path(config, side, kind)
        if atomic:
            written.append(path.with_suffix(""))
            table.write_atomic_file(written[-1], f"{side}_{kind}_id", f"{side}_{kind}_embedding")
        table.write(path)
        written.append(path)
    return written
