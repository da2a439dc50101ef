"""RecBole's data sets, loaders and trainers as its own quick start makes them, for what measures whole epochs."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from measuring import SyntheticDataset, seconds
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_trainer, init_seed

from recbole_irllrec import compat
from recbole_irllrec.data.loading import load_config
from recbole_irllrec.settings.sources import defaults
from recbole_irllrec.tables.intents import IntentTable

warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
QUIET = {"show_progress": False, "epochs": 1, "metrics": ["Recall", "NDCG"], "topk": [20], "valid_metric": "NDCG@20"}
# what stands in properties/model/IRLLRec.yaml, whatever was tuned for a data set
# but for the linear part, which no step has to do with
OUR_DEFAULTS = defaults("IRLLRec", "none", {}, yaml.SafeLoader) | {"linear_weight": 0.0}


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder to run in: RecBole leaves saved/, log_tensorboard/ and more where it runs."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def write_dataset(folder: Path, name: str, data: SyntheticDataset) -> None:
    """Write random interactions and texts as a data set of RecBole's with tables of embeddings."""
    target = folder / name
    target.mkdir(parents=True)
    tokens = {"user": np.arange(data.n_users), "item": np.arange(data.n_items)}
    interactions = pd.DataFrame({"user_id:token": data.users, "item_id:token": data.items})
    interactions.to_csv(target / f"{name}.inter", sep="\t", index=False)
    for kind in data.widths:
        user, item = np.split(data.text(kind), [data.n_users])
        for side, embeddings in (("user", user), ("item", item)):
            table = IntentTable.from_arrays(
                tokens[side].astype(str), embeddings, encoder="random", source="features", normalized=True
            )
            table.write(target / f"{name}.{side}_{kind}.parquet")


class Run:
    """A model on a data set, ready to train; each part is made when first asked for.

    Args:
        model: RecBole's name of it.
        dataset: the data set's name.
        data_path: the folder of data sets; None for RecBole's own.
        settings: lie above everything else.
    """

    def __init__(self, model: str, dataset: str, data_path: Path | None, settings: dict):
        self.config = load_config(dataset, data_path, settings={**QUIET, **settings}, model=model)

    @cached_property
    def dataset(self):
        init_seed(self.config["seed"], self.config["reproducibility"])
        return create_dataset(self.config)

    @cached_property
    def loaders(self):
        """Training, validation and test."""
        return data_preparation(self.config, self.dataset)

    @cached_property
    def model(self):
        init_seed(self.config["seed"], self.config["reproducibility"])
        return self.make(self.loaders[0].dataset).to(self.config["device"])

    def make(self, dataset):
        """A new model."""
        return compat.get_model(self.config["model"])(self.config, dataset)

    def trainer(self):
        """A new one."""
        return get_trainer(self.config["MODEL_TYPE"], self.config["model"])(self.config, self.model)

    def epoch(self) -> float:
        """Train the model one epoch more, under the conditions of ``trainer.fit``; the epoch's seconds alone."""
        trainer = self.trainer()
        inner, taken = trainer._train_epoch, []

        def timed(*arguments, **options):
            losses: list = []
            taken.append(seconds(lambda: losses.append(inner(*arguments, **options))))
            return losses[0]

        trainer._train_epoch = timed
        trainer.fit(self.loaders[0], verbose=False, saved=False)
        return taken[0]

    def validation(self) -> float:
        """Seconds to rank the validation set."""
        trainer = self.trainer()
        self.model.restore_user_e = None  # propagated once a validation
        return seconds(lambda: trainer.evaluate(self.loaders[1], load_best_model=False))
