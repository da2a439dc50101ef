"""From frames to a trained model, by way of the files that RecBole reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from recbole.utils import get_model
from tqdm import tqdm

from .. import zoo
from ..data.text import KINDS
from ..dataset_tools.atomic import settings_text
from ..dataset_tools.convert import Keep, convert
from ..dataset_tools.tables import write_tables
from ..errors import IRLLRecError
from ..guest import as_guest
from ..runs.splits import bare_config, refuse_other_kinds
from ..runs.training import Evaluation, train
from ..serving import scores_all_items
from ..settings.schemas import TextSettings
from ..settings.sources import refuse_unknown
from ..tables.intents import IntentTable
from ..tracking import TRACKERS
from .frames import (
    Described,
    Embeddings,
    Frame,
    GivenTexts,
    Ids,
    Interactions,
    read_embeddings,
    read_interactions,
    read_texts,
)
from .model import NAME, RUN, Folder, Model, read_splits

# What belongs to the files, which are none of the user's.
_OWN = ("data_path", "checkpoint_dir", "dataset", "load_col", "benchmark_filename", "resume")
_SHARE = 0.1  # of the interactions, held out for validation, and for the test


@as_guest()
def fit(
    interactions: Frame,
    item_texts: GivenTexts | None = None,
    user_texts: GivenTexts | None = None,
    item_embeddings: Embeddings | None = None,
    user_embeddings: Embeddings | None = None,
    model: str = "IRLLRec",
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    timestamp: str | None = None,
    valid: float | None = None,
    test: float | None = None,
    keep_unseen: bool = False,
    seed: int = 2020,
    show_progress: bool = False,
    **settings: Any,
) -> Model:
    """Train a model on interactions, and on texts or embeddings if there are any.

    It is trained and validated as ``run_recbole`` does on the same data with the same settings; the files lie in a
    temporary folder that vanishes with the model. A model that can do without texts does so where none are given.

    Args:
        interactions: a data frame with a row an interaction; a sparse matrix [users, items], whose ids are its rows
            and columns; or a pair of arrays, users and items. Of repeated ones the latest counts. Ids are strings or
            integers, and come back as they were given.
        item_texts: a data frame with a row an item, its id in a column or in the index, and columns of texts, lists of
            words or numbers, which go into no text; or a mapping or series from ids to texts.
        user_texts: the same of users.
        item_embeddings: embeddings of the items' texts, made without interactions: a mapping from ids to vectors, a
            data frame with a row an item, its id in a column or in the index, and a column a dimension, or ids [n] and
            an array [n, dim].
        user_embeddings: the same of users; without them users have the mean of their items' embeddings.
        model: the name of a model of ours or of a general recommender of RecBole.
        user, item, rating, timestamp: the columns; None for ``user_id`` or ``user``, ``item_id`` or ``item``, and
            ``rating`` and ``timestamp`` if they are there.
        valid: the share of each user's interactions by which the best epoch is chosen, 0.1 by default.
        test: the share held out for `Model.evaluate`, 0.1 by default, and 0 where there is a test set of one's own.
            RecBole's ``eval_args`` may say both in other ways, such as by time.
        keep_unseen: also know users and items that have texts and no interaction.
        seed: of the split and of the model.
        show_progress: a bar on standard error.
        settings: settings of RecBole or of the model, such as ``epochs`` or ``learning_rate``; ``warm_start`` may be a
            model to begin with.

    Raises:
        IRLLRecError: what is given is refused, or a setting; or training went astray.
    """
    _refuse_model(model)
    columns = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    read = read_interactions(interactions, columns)
    taken = {"user_id", "item_id", "rating", "timestamp", "count"}
    texts: dict[str, Described] = {}
    for side, given, id_name in (("item", item_texts, item), ("user", user_texts, user)):
        if given is not None:
            texts[side] = read_texts(given, side, id_name, taken)
    if keep_unseen and not texts:
        raise IRLLRecError("keep_unseen takes users and items from their texts, of which there are none: give texts.")
    tables = {
        side: read_embeddings(given, side, id_name, texts[side].texts if side in texts else None)
        for side, given, id_name in (("item", item_embeddings, item), ("user", user_embeddings, user))
        if given is not None
    }
    _refuse_lone_users(texts, tables)
    chosen = _settings(model, settings, valid, test, seed, bool(texts), tables)
    config = bare_config(model, NAME, chosen)
    refuse_unknown(config, settings)
    ids = {side: _known(read.ids[side], texts.get(side), keep_unseen) for side in read.ids}
    _refuse_few_items(read, len(ids["item"].names), config)

    folder = Folder()
    features = {side: described.features for side, described in texts.items()}
    count_repeats = chosen.get("interaction_weight") == "count"
    convert(folder.path, NAME, read.reviews, features, Keep(unseen=keep_unseen), count_repeats=count_repeats)
    _add(folder.path / NAME, tables, chosen, config)
    splits = read_splits(folder.path, model)
    with tqdm(total=config["epochs"], unit="epoch", desc=model, disable=not show_progress) as bar:

        def told(evaluation: Evaluation) -> None:
            bar.update(evaluation.epoch + 1 - bar.n)
            bar.set_postfix({chosen_by: evaluation.metrics[chosen_by]})

        chosen_by = str(config["valid_metric"]).lower()
        train(model, splits.without_test(), {}, folder.path / RUN, on_evaluation=told)
    has_texts = bool({"item"} & {*texts, *tables}) or _names_table(settings)
    fitted = Model(model, ids, folder, has_texts)
    vars(fitted)["_splits"] = splits
    return fitted


def _add(data_set: Path, tables: Mapping[str, IntentTable], settings: Mapping[str, Any], config: Any) -> None:
    """Add to a converted data set what the converters know nothing of."""
    config["data_path"] = str(data_set)
    for side, table in tables.items():
        write_tables(config, table, side, KINDS, atomic=False)
    with open(data_set / f"{NAME}.yaml", "a", encoding="utf-8") as file:
        file.write(settings_text(dict(settings)))  # as a file, for RecBole evaluates strings of a dictionary


def _known(ids: Ids, described: Described | None, keep_unseen: bool) -> Ids:
    if described is None or not keep_unseen:
        return ids
    return ids.with_new(pd.Series(described.ids.values), described.ids.names.to_numpy())


def _refuse_model(model: str) -> None:
    refuse_other_kinds(model)
    if not scores_all_items(get_model(model)):
        raise IRLLRecError(
            f"{model} cannot score all items for a user's id, so it cannot recommend: take a model such as IRLLRec, "
            f"LightGCN or EASE."
        )


def _refuse_few_items(read: Interactions, n_items: int, config: Any) -> None:
    """Refuse what RecBole cannot rank: fewer items than its metrics look at, or a user who has all of them."""
    most = max(config["topk"])
    if n_items < most:
        raise IRLLRecError(f"There are {n_items} items, and metrics look at the first {most}: give a smaller topk.")
    users = read.batch["user"].to_pandas()
    counts = users.value_counts()
    pairs = pd.DataFrame({"user": users, "item": read.batch["item"].to_pandas()})
    pairs = pairs[users.isin(counts.index[counts >= n_items])].drop_duplicates()
    having_all = pairs.groupby("user").size().eq(n_items)
    if having_all.any():
        raise IRLLRecError(
            f"The user {having_all.idxmax()!r} has all {n_items} items, so there is nothing to tell them apart by: "
            f"leave such users out."
        )


def _refuse_lone_users(texts: Mapping[str, Any], tables: Mapping[str, IntentTable]) -> None:
    for kind, given in (("texts", texts), ("embeddings", tables)):
        if "user" in given and "item" not in given:
            raise IRLLRecError(
                f"There are user_{kind} and no item_{kind}: give these, too, or leave those out; users and items share "
                f"an encoder."
            )
    if "user" in texts and "item" in tables and "user" not in tables:
        raise IRLLRecError(
            "There are user_texts beside item_embeddings, whose encoder is not known here: embed them, too, and give "
            "user_embeddings, or leave them out."
        )


def _settings(
    model: str,
    given: Mapping[str, Any],
    valid: float | None,
    test: float | None,
    seed: int,
    has_texts: bool,
    tables: Mapping[str, IntentTable],
) -> dict[str, Any]:
    """What lies above the defaults."""
    for name in _OWN:
        if name in given:
            raise IRLLRecError(f"The setting {name} is of the files, which fit makes itself: leave it out.")
    for name in (f"log_{tracker}" for tracker in TRACKERS):
        if given.get(name):
            raise IRLLRecError(
                f"The setting {name} is of run_recbole: leave it out, and tell your tracker of model.history and "
                f"model.evaluate(), which are data frames."
            )
    settings: dict[str, Any] = {"seed": seed}
    if "item" in tables and "user" not in tables:
        settings["user_text"] = "mean_of_items"
    ours = zoo.find(model)
    if ours and issubclass(ours.settings, TextSettings) and not (has_texts or tables or _names_table(given)):
        settings |= _without_text(ours)
    if "eval_args" not in given:
        settings["eval_args"] = {"split": {"RS": _shares(valid, test)}, "order": "RO", "group_by": "user"}
    elif not (valid is None and test is None):
        raise IRLLRecError("The setting eval_args says what is held out: leave valid and test out, or eval_args.")
    settings |= {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
    if isinstance(before := settings.get("warm_start"), Model | str | Path):
        # absolute, for training goes on in a folder of its own
        settings["warm_start"] = str((before.checkpoint if isinstance(before, Model) else Path(before)).resolve())
    try:
        return yaml.safe_load(settings_text(settings))
    except yaml.YAMLError:
        name = next(name for name, value in settings.items() if not _is_plain(value))
        raise IRLLRecError(
            f"The setting {name} is a {type(settings[name]).__name__}: settings are numbers, texts, lists and "
            f"dictionaries."
        ) from None


def _names_table(settings: Mapping[str, Any]) -> bool:
    return any(settings.get(f"item_{kind}_table") for kind in KINDS)


def _is_plain(value: Any) -> bool:
    try:
        return bool(settings_text({"": value}))
    except yaml.YAMLError:
        return False


def _without_text(ours: zoo.Model) -> dict[str, Any]:
    without = ours.settings.without_text()
    if not without:
        raise IRLLRecError(
            f"{ours.name} reads texts, and there are none: give item_texts or item_embeddings, or take a model that "
            f"does without, such as IRLLRec, LightGCN or EASE."
        )
    return without


def _shares(valid: float | None, test: float | None) -> list[float]:
    held_out = [_SHARE if share is None else share for share in (valid, test)]
    for name, share, least in (("valid", held_out[0], "above 0"), ("test", held_out[1], "0 or above")):
        is_number = isinstance(share, int | float) and not isinstance(share, bool)
        if not is_number or not 0 <= share < 1 or (share == 0 and name == "valid"):
            raise IRLLRecError(f"{name} is {share!r}: give a share of the interactions, {least} and below 1.")
    if sum(held_out) >= 1:
        raise IRLLRecError(f"valid and test are {held_out[0]:g} and {held_out[1]:g}: leave something to train on.")
    return [round(1 - sum(held_out), 10), *held_out]
