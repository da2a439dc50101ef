"""The tables that are made where none is given, without asking a language model.

Their recipe says from what: the data set's features, or what a language model has once written about the items of a
public data set (`written`).
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from ..errors import IRLLRecError
from ..tables.features import read_features
from ..tables.intents import IntentTable
from .encoders import Encoder, TfidfSvdEncoder, embed_texts
from .profiles import item_texts, user_texts
from .written import intents_of_users, read_written, written_about

if TYPE_CHECKING:
    from recbole.config import Config

Tokens: TypeAlias = Mapping[str, np.ndarray]  # users' and items', by side
Recipe = Literal["features", "profile", "intent", "all"]
# What tables call the recipe; count it up when other texts are made of the same.
VERSIONS: dict[Recipe, str] = {
    "features": "features 1",
    "profile": "written profiles 1",
    "intent": "written intents 1",
    "all": "features and written 1",
}
# What of a language model's words is in a recipe.
WRITTEN = {"profile": ["profile"], "intent": ["likes", "dislikes"], "all": ["profile", "likes", "dislikes"]}
# The recipe of each kind of text, by the setting `default_texts`.
RECIPES: dict[str, dict[str, Recipe]] = {
    "features": {"profile": "features", "intent": "features"},
    "intents": {"profile": "profile", "intent": "intent"},
    "all": {"profile": "all", "intent": "all"},
}
TFIDF_SVD = "tfidf-svd"


class MadeTexts(NamedTuple):
    """Texts by token; ``""`` where there are no words."""

    user: pd.Series
    item: pd.Series
    user_alone: pd.Series  # what features alone say about the users


def default_tables(
    config: "Config",
    recipe: Recipe,
    sides: Sequence[str],
    tokens: Mapping[str, np.ndarray],
    train: pd.DataFrame,
    fingerprint: str,
) -> dict[str, IntentTable]:
    """Make the tables, all with one encoder, or read those that were made before.

    The encoder learns its space, if it learns one, from what no interaction went into; so an item's row depends on no
    interaction, and a user's on its own training interactions.

    Args:
        config: RecBole's settings; they name the files, the encoder and the folder of the cache.
        recipe: what the texts are made of.
        sides: whose tables are wanted.
        tokens: the data set's users and items, each in any order.
        train: columns ``user``, ``item`` and ``liked``: the training interactions, see `made_texts`.
        fingerprint: their `train_fingerprint`.

    Returns:
        The tables by side.

    Raises:
        IRLLRecError: there are no words about the data set's items, or the encoder cannot be had.
    """
    log = logging.getLogger(__name__)
    tokens = {side: np.sort(its) for side, its in tokens.items()}
    folder = cache_folder(config)
    name = f"{config['dataset']}-{_inputs_fingerprint(config, recipe, tokens, train, fingerprint)[:16]}"
    paths = {side: folder / f"{name}.{side}.parquet" for side in sides}
    tables = _from_cache(paths, tokens)
    done = "read back"
    if tables is None:
        tables = _build(config, recipe, sides, tokens, train, fingerprint)
        done = "made"
        try:
            for side, table in tables.items():
                table.write(paths[side])
        except OSError as error:
            log.warning(f"The default text tables are not kept for the next run ({error}).")
    log.info(
        f"No text table is named or found: {done} the default {_described(config, recipe)}, embedded with "
        f"{_encoder_version(config)}, {next(iter(tables.values())).metadata.dim} wide; in {folder}."
    )
    return tables


def cache_folder(config: "Config") -> Path:
    """Where what is made from texts is kept for the next run."""
    return Path(config["checkpoint_dir"]) / "text_cache"


def _path(config: "Config", side: str) -> Path:
    return Path(config["data_path"]) / f"{config['dataset']}.{side}"


def _described(config: "Config", recipe: Recipe) -> str:
    """What the log says of a recipe."""
    item_words, user_words = (f"the words of {_path(config, side)}" for side in ("item", "user"))
    written = f"what a language model wrote about them ({written_about(config['dataset'])})"
    items = {"features": item_words, "all": f"{item_words} and {written}"}.get(recipe, written)
    users = "the intents" if recipe == "intent" else f"{user_words} and those"
    how = "without a language model, as profile and as intent" if recipe == "features" else f"({recipe})"
    return f"{how}: items from {items}, users from {users} of their training items"


def made_texts(
    config: "Config", recipe: Recipe, user_tokens: np.ndarray, item_tokens: np.ndarray, train: pd.DataFrame
) -> MadeTexts:
    """Make texts of the data set's ``.item`` and ``.user`` files, of what a language model wrote, or of both.

    Args:
        config: RecBole's settings; they name the data set and its files.
        recipe: of what.
        user_tokens: [n] users.
        item_tokens: [m] items.
        train: columns ``user``, ``item``, tokens, and ``liked``, bool: the training interactions and no others.

    Returns:
        The texts, in the order of the tokens; users' have part in those of their training items.

    Raises:
        IRLLRecError: there are no words about these items.
    """
    reading = (config["field_separator"], config["encoding"])
    about = []
    if recipe in ("features", "all"):
        about.append(read_features(_path(config, "item"), config["ITEM_ID_FIELD"], *reading))
    if recipe in WRITTEN:
        about.append(read_written(config["dataset"])[WRITTEN[recipe]])
    about_items = pd.concat([words.reindex(item_tokens, fill_value="") for words in about], axis=1)
    about_users = read_features(_path(config, "user"), config["USER_ID_FIELD"], *reading)
    about_users = about_users.reindex(user_tokens, fill_value="")
    texts_of_items = item_texts(about_items)
    if not (texts_of_items != "").any():
        raise _no_words(config, recipe)
    if recipe == "intent":
        texts_of_users = item_texts(intents_of_users(about_items, user_tokens, train))
    else:
        texts_of_users = user_texts(about_users, texts_of_items, train[["user", "item"]])
    return MadeTexts(texts_of_users, texts_of_items, item_texts(about_users))


def _no_words(config: "Config", recipe: Recipe) -> IRLLRecError:
    if recipe == "features":
        why = f"{_path(config, 'item')} has no token or token_seq fields about the data set's items"
    else:
        why = f"{written_about(config['dataset'])} says nothing about the data set's items"
    return IRLLRecError(
        f"There are no texts: {why}, and no table is named or found; give text tables (item_profile_table, "
        f"user_profile_table and so on), or set profile_weight, pairwise_weight, translation_weight and "
        f"matching_weight to 0."
    )


def _build(
    config: "Config",
    recipe: Recipe,
    sides: Sequence[str],
    tokens: Mapping[str, np.ndarray],
    train: pd.DataFrame,
    fingerprint: str,
) -> dict[str, IntentTable]:
    texts = made_texts(config, recipe, tokens["user"], tokens["item"], train)
    encoder, encoding = _encoder(config, [*texts.item, *texts.user_alone])
    made: dict[str, dict[str, Any]] = {
        "user": {"source": "interactions", "train_fingerprint": fingerprint, "origin": "The users' default"},
        "item": {"source": "features", "origin": "The items' default"},
    }
    how: dict[str, Any] = {"prompt_version": VERSIONS[recipe], "encoding": encoding}
    return {
        side: embed_texts(encoder, tokens[side], getattr(texts, side).to_numpy(), **made[side], **how) for side in sides
    }


def _encoder(config: "Config", learnable: list[str]) -> tuple[Encoder, dict[str, str | int | float] | None]:
    """The default's encoder, and what tables say of it; see `tables.table_file.TableMetadata`."""
    model = config["default_encoder"] or TFIDF_SVD
    if model == TFIDF_SVD:
        return TfidfSvdEncoder(learnable), None
    from .local_encoder import SentenceTransformerEncoder

    return SentenceTransformerEncoder(model), {"encoder": "sentence-transformers", "encoder_model": model}


def _encoder_version(config: "Config") -> str:
    model = config["default_encoder"] or TFIDF_SVD
    return TfidfSvdEncoder.version if model == TFIDF_SVD else model


def made_of(config: "Config", recipe: Recipe) -> list[str]:
    """What the tables depend on beside settings and interactions: how they are made, and the files' contents."""
    written = written_about(config["dataset"]) if recipe in WRITTEN else None
    files = (*(_path(config, side) for side in ("item", "user")), written)
    contents = (hashlib.sha256(file.read_bytes()).hexdigest() if file and file.is_file() else "none" for file in files)
    return [VERSIONS[recipe], _encoder_version(config), *contents, *_encoder_files(config)]


def _encoder_files(config: "Config") -> list[str]:
    """The contents of a model in a folder, which may be trained anew; of any other its name says enough."""
    model = config["default_encoder"] or TFIDF_SVD
    folder = Path(model).expanduser()
    if model == TFIDF_SVD or not folder.is_dir():
        return []
    files = {file.relative_to(folder): file for file in sorted(folder.rglob("*")) if file.is_file()}
    seen = {name: file for name, file in files.items() if not any(part.startswith(".") for part in name.parts)}
    return [f"{name} {_hash(file, file.stat().st_size, file.stat().st_mtime_ns)}" for name, file in seen.items()]


@cache
def _hash(file: Path, _size: int, _changed: int) -> str:
    """Of a file's contents; size and time of change tell whether it has to be read again."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _inputs_fingerprint(
    config: "Config", recipe: Recipe, tokens: Tokens, train: pd.DataFrame, train_fingerprint: str
) -> str:
    """What the tables depend on, and nothing else."""
    settings = (config[name] for name in ("USER_ID_FIELD", "ITEM_ID_FIELD", "field_separator", "encoding"))
    nodes = ("\n".join(tokens[side]) for side in ("user", "item"))
    inputs = [*made_of(config, recipe), *settings, *nodes, train_fingerprint]
    if recipe == "intent":
        inputs += sorted(train["user"] + "\t" + train["item"] + "\t" + train["liked"].astype(str))
    return hashlib.sha256(repr(inputs).encode()).hexdigest()


def _from_cache(paths: Mapping[str, Path], tokens: Tokens) -> dict[str, IntentTable] | None:
    if not all(path.is_file() for path in paths.values()):
        return None
    try:
        tables = {side: IntentTable.read(path) for side, path in paths.items()}
    except Exception as error:  # whatever is wrong with a file that can be made again
        logging.getLogger(__name__).warning(f"The cached default text tables are made again: {error}")
        return None
    return tables if all(np.array_equal(table.tokens, tokens[side]) for side, table in tables.items()) else None
