"""The tables that are made where none is given: texts from features, embedded without a language model."""

import hashlib
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..errors import IRLLRecError
from ..tables.features import read_features
from ..tables.intents import IntentTable
from .encoders import TfidfSvdEncoder, embed_texts
from .profiles import item_texts, user_texts

RECIPE = "features 1"  # count it up when other texts are made from the same features


class Tables(NamedTuple):
    """One table a side, both from one encoder."""

    user: IntentTable
    item: IntentTable


def default_tables(
    config, user_tokens: np.ndarray, item_tokens: np.ndarray, train_pairs: pd.DataFrame, fingerprint: str
) -> Tables:
    """Make the tables from the data set's ``.item`` and ``.user`` files, or read those that were made before.

    The encoder learns its space from what features alone say about items and users; so an item's row depends on no
    interaction, and a user's on its own training interactions.

    Args:
        config: RecBole's settings; they name the files and the folder of the cache.
        user_tokens: the data set's users, in any order.
        item_tokens: its items.
        train_pairs: columns ``user`` and ``item``, tokens: the training interactions.
        fingerprint: their `train_fingerprint`.

    Raises:
        IRLLRecError: there is no ``.item`` file with words about the data set's items.
    """
    log = logging.getLogger(__name__)
    users, items = np.sort(user_tokens), np.sort(item_tokens)
    folder = cache_folder(config)
    name = f"{config['dataset']}-{_inputs_fingerprint(config, users, items, fingerprint)[:16]}"
    user_cache, item_cache = folder / f"{name}.user.parquet", folder / f"{name}.item.parquet"
    tables = _from_cache(user_cache, item_cache, users, items)
    done = "read back"
    if tables is None:
        tables = _build(config, users, items, train_pairs, fingerprint)
        done = "made"
        try:
            tables.user.write(user_cache)
            tables.item.write(item_cache)
        except OSError as error:
            log.warning(f"The default text tables are not kept for the next run ({error}).")
    log.info(
        f"No text table is named or found: {done} the default without a language model, as profile and as intent: "
        f"items from the words of {_path(config, 'item')}, users from those of {_path(config, 'user')} and of their "
        f"training items, embedded with {TfidfSvdEncoder.version}, {tables.item.metadata.dim} wide; in {folder}."
    )
    return tables


def cache_folder(config) -> Path:
    """Where what is made from texts is kept for the next run."""
    return Path(config["checkpoint_dir"]) / "text_cache"


def _path(config, side: str) -> Path:
    return Path(config["data_path"]) / f"{config['dataset']}.{side}"


def feature_texts(
    config, user_tokens: np.ndarray, item_tokens: np.ndarray, train_pairs: pd.DataFrame
) -> tuple[pd.Series, pd.Series, pd.Series]:
    """What the data set's ``.item`` and ``.user`` files say, in texts.

    Args:
        config: RecBole's settings; they name the files.
        user_tokens: [n] users.
        item_tokens: [m] items.
        train_pairs: columns ``user`` and ``item``, tokens: the training interactions.

    Returns:
        The users' texts, which go on with those of their training items; the items' texts; and what the features
        alone say about the users. Each in the order of the tokens, and ``""`` where there are no words.

    Raises:
        IRLLRecError: there is no ``.item`` file with words about these items.
    """
    reading = (config["field_separator"], config["encoding"])
    about_items = read_features(_path(config, "item"), config["ITEM_ID_FIELD"], *reading)
    about_users = read_features(_path(config, "user"), config["USER_ID_FIELD"], *reading)
    about_users = about_users.reindex(user_tokens, fill_value="")
    texts_of_items = item_texts(about_items.reindex(item_tokens, fill_value=""))
    if not (texts_of_items != "").any():
        raise IRLLRecError(
            f"There are no texts: {_path(config, 'item')} has no token or token_seq fields about the data set's items, "
            f"and no table is named or found; give text tables (item_profile_table, user_profile_table and so on), or "
            f"set profile_weight, pairwise_weight, translation_weight and matching_weight to 0."
        )
    return user_texts(about_users, texts_of_items, train_pairs), texts_of_items, item_texts(about_users)


def _build(config, users: np.ndarray, items: np.ndarray, train_pairs: pd.DataFrame, fingerprint: str) -> Tables:
    texts_of_users, texts_of_items, own_texts_of_users = feature_texts(config, users, items, train_pairs)
    encoder = TfidfSvdEncoder([*texts_of_items, *own_texts_of_users])

    def table(tokens: np.ndarray, texts: pd.Series, **made: Any) -> IntentTable:
        return embed_texts(encoder, tokens, texts.to_numpy(), prompt_version=RECIPE, **made)

    return Tables(
        table(users, texts_of_users, source="interactions", train_fingerprint=fingerprint, origin="The users' default"),
        table(items, texts_of_items, source="features", origin="The items' default"),
    )


def _inputs_fingerprint(config, users: np.ndarray, items: np.ndarray, train_fingerprint: str) -> str:
    """What the tables depend on, and nothing else."""
    files = (_path(config, side) for side in ("item", "user"))
    contents = (hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "none" for file in files)
    settings = (config[name] for name in ("USER_ID_FIELD", "ITEM_ID_FIELD", "field_separator", "encoding"))
    nodes = ("\n".join(tokens) for tokens in (users, items))
    inputs = [RECIPE, TfidfSvdEncoder.version, *contents, *settings, *nodes, train_fingerprint]
    return hashlib.sha256(repr(inputs).encode()).hexdigest()


def _from_cache(user_cache: Path, item_cache: Path, users: np.ndarray, items: np.ndarray) -> Tables | None:
    if not (user_cache.is_file() and item_cache.is_file()):
        return None
    try:
        tables = Tables(IntentTable.read(user_cache), IntentTable.read(item_cache))
    except Exception as error:  # whatever is wrong with a file that can be made again
        logging.getLogger(__name__).warning(f"The cached default text tables are made again: {error}")
        return None
    fits = np.array_equal(tables.user.tokens, users) and np.array_equal(tables.item.tokens, items)
    return tables if fits else None
