"""What several test files share."""

import numpy as np
import pytest
from recbole.config import Config

import recbole_irllrec  # noqa: F401  (registers IRLLRec)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """RecBole writes saved/, log/ and log_tensorboard/ where it runs, and reads pytest's arguments as its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["test"])


class TinyDataset:
    """What IRLLRec reads of a training dataset, from arrays: ids with RecBole's padding, users first in texts."""

    def __init__(self, users, items, n_users, n_items, texts=None):
        self.users, self.items, self.n_users, self.n_items = users, items, n_users, n_items
        self.texts = texts or {}

    def num(self, field):
        return {"user_id": self.n_users, "item_id": self.n_items}[field] + 1

    def inter_matrix(self, form):
        import scipy.sparse as sp

        ones = np.ones(len(self.users))
        return sp.coo_matrix((ones, (self.users + 1, self.items + 1)), shape=(self.n_users + 1, self.n_items + 1))

    def node_texts(self, config, kinds):
        from recbole_irllrec.data.text import NodeText

        n = self.n_users + self.n_items
        texts = {}
        for kind in kinds:
            embedding = self.texts[kind]
            texts[kind] = NodeText(embedding, self.texts.get(f"{kind}_present", np.ones(n, dtype=bool)))
        return texts


@pytest.fixture
def irllrec_config():
    """Makes a RecBole Config of IRLLRec on ml-100k with the given settings."""

    def make(**settings) -> Config:
        return Config(model="IRLLRec", dataset="ml-100k", config_dict={"show_progress": False, **settings})

    return make
