"""The split that runs share, and the settings of a run on it."""

import copy
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction, cat_interactions
from recbole.utils import ModelType, get_model

from .. import tracking, zoo
from ..data.fakes import fake_interactions
from ..data.loading import load_config, split_datasets
from ..data.text import NodeText
from ..data.training import SIDES
from ..errors import IRLLRecError
from ..settings.sources import read_settings

Settings = dict[str, Any]
# What the texts of a split depend on, beside the data set.
TEXT_SETTINGS = (
    *(f"{side}_{kind}_table" for side in SIDES for kind in ("profile", "intent")),
    *("preload_weight", "default_texts", "default_encoder", "user_text", "min_text_coverage", "text_dim"),
    *("text_change", "text_change_share", "text_change_seed"),
)
# The share of fake interactions (`data.fakes`) that a run's training has beside its own, and the seed of their draws:
# settings of runs on a split alone.
FAKES, FAKES_SEED = "fake_interactions", "fake_interactions_seed"
# What a run does not take from anybody: it writes into its own folder, and nothing else.
_OWN = {"show_progress": False, "save_dataset": False, "save_dataloaders": False}
_OWN |= dict.fromkeys(tracking.ASKING, False)  # trackers are told afterwards (`runs.tracking`)


@dataclass(frozen=True, eq=False)
class Splits:
    """One split of a data set for all runs; their seeds vary the models. Can be pickled."""

    dataset: str
    settings: Settings  # what the user gave, in files or otherwise; the settings of a run lie above
    train: Dataset
    valid: Dataset
    test: Dataset | None  # None where nobody is to look at it
    texts: dict[str, dict[str, NodeText]] = field(default_factory=dict)  # by the settings that they depend on
    fakes: dict[int, Interaction] = field(default_factory=dict)  # as many as the training has, by their seed

    def without_test(self) -> "Splits":
        """The same without the test set, for runs among which one is chosen."""
        return replace(self, test=None)

    def with_texts(self, configs: Iterable[Config]) -> "Splits":
        """The same with the texts that runs with these settings (`config_of`) read, resolved once for all.

        Raises:
            IRLLRecError: a text is refused.
        """
        wanted: dict[str, tuple[Config, set[str]]] = {}
        for config in configs:
            if zoo.find(config["model"]):
                _, kinds = wanted.setdefault(_text_key(config), (config, set()))
                kinds.update(read_settings(config).text_kinds)
        found = {key: self.node_texts(config, sorted(kinds)) for key, (config, kinds) in wanted.items()}
        return replace(
            self, texts={key: self.texts.get(key, {}) | found.get(key, {}) for key in {**self.texts, **found}}
        )

    def with_fakes(self, configs: Iterable[Config]) -> "Splits":
        """The same with the fake interactions that runs with these settings want, drawn once for all.

        Raises:
            IRLLRecError: a share of them is none, or they cannot be drawn.
        """
        wanted = {_seed_of_fakes(config) for config in configs if _share_of_fakes(config)} - self.fakes.keys()
        if not wanted:
            return self
        if self.test is None:
            raise IRLLRecError("These splits come without a test set, from which fake interactions keep away.")
        held_out = (self.valid, self.test)
        return replace(
            self, fakes={**self.fakes, **{seed: fake_interactions(self.train, held_out, seed) for seed in wanted}}
        )

    def training(self, config: Config) -> Dataset:
        """A copy of the training data set, with the fake interactions that a run with these settings wants."""
        share = _share_of_fakes(config)
        if not share:
            return copy.copy(self.train)
        fakes = self.with_fakes([config]).fakes[_seed_of_fakes(config)]
        return self.train.copy(cat_interactions([self.train.inter_feat, fakes[: round(share * len(fakes))]]))

    def node_texts(self, config: Config, kinds: Iterable[str]) -> dict[str, NodeText]:
        """As `IRLLRecDataset.node_texts` of the training data; texts that are at hand are not resolved again.

        Fake interactions have no part in them.
        """
        at_hand = self.texts.get(_text_key(config), {})
        if all(kind in at_hand for kind in kinds):
            return {kind: at_hand[kind] for kind in kinds}
        return self.train.node_texts(config, kinds)


def load_splits(
    dataset: str,
    data_path: Path | None = None,
    config_files: str | None = None,
    settings: Settings | None = None,
    model: str = "IRLLRec",
) -> Splits:
    """Load and split a data set; arguments and errors are those of `data.loading.load_config`.

    The setting ``seed`` draws the split, where the data set is not split already. The environment stays as it is, the
    choice of GPUs included.
    """
    refuse_other_kinds(model)
    config = load_config(dataset, data_path, config_files, settings, model)
    return Splits(dataset, given_in(config), *split_datasets(config))


def given_in(config: Config) -> Settings:
    """What the user gave, in files or otherwise, so that a run, whose current folder is its own, finds the same.

    What is secret is not among it: it would stand in the folders and reports of runs, which have no use for it.
    """
    given = {name: value for name, value in config.external_config_dict.items() if not tracking.is_secret(name)}
    if given.get("warm_start"):
        given["warm_start"] = os.path.abspath(given["warm_start"])
    return given


def config_of(model: str, splits: Splits, settings: Settings) -> Config:
    """RecBole's settings of a run: the model's own, the splits' above, these on top.

    The GPUs that the environment names, as Ray does for a trial, stand above the setting ``gpu_id``.

    Raises:
        IRLLRecError: a setting is refused, or the model is no general recommender.
    """
    refuse_other_kinds(model)
    above = {**splits.settings, "resume": False, **settings, **_OWN}
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        above["gpu_id"] = os.environ["CUDA_VISIBLE_DEVICES"]
    config = bare_config(model, splits.dataset, above)
    config["data_path"] = splits.train.config["data_path"]  # RecBole takes its own ml-100k whatever is said
    return config


def bare_config(model: str, dataset: str, settings: Settings) -> Config:
    """RecBole's settings of a model with these on top; the data set need not be there.

    Raises:
        IRLLRecError: a setting is refused, or there is no such model.
    """
    # RecBole evaluates strings; in quotes they stay what they are
    quoted = {name: repr(value) if isinstance(value, str) else value for name, value in settings.items()}
    return load_config(dataset, None, "", quoted, model)


def refuse_other_kinds(model: str) -> None:
    """Refuse a model that needs other data than users and items.

    Raises:
        IRLLRecError: it is no general recommender.
    """
    kind = get_model(model).type
    if kind not in (ModelType.GENERAL, ModelType.TRADITIONAL):
        raise IRLLRecError(
            f"{model} is no general recommender but a {kind.name.lower()} model, which needs other data: take one such "
            f"as IRLLRec, LightGCN or EASE."
        )


def _share_of_fakes(config: Config) -> float:
    share = config[FAKES]
    if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1):
        raise IRLLRecError(f"The setting {FAKES} is {share!r}: give a share of the training interactions, from 0 to 1.")
    return share or 0


def _seed_of_fakes(config: Config) -> int:
    return config[FAKES_SEED] or 0


def _text_key(config: Config) -> str:
    return json.dumps([zoo.text_sides(config["model"]), *(config[name] for name in TEXT_SETTINGS)], default=str)
