"""What several test files share."""

import numpy as np
import pytest
from generation_files import WORDS
from recbole.config import Config
from trained import Trained

import recbole_irllrec  # noqa: F401  (registers IRLLRec)

# These run on Ray and take longest: first, and so in one process and on one Ray, while others do the rest.
_FIRST = ("test_tune_process", "test_tune", "test_benchmark", "test_studies", "test_cluster", "test_cluster_blocks")


def pytest_collection_modifyitems(items):
    """See `_FIRST`."""
    items.sort(key=lambda item: item.path.stem not in _FIRST)


@pytest.fixture(autouse=True, scope="session")
def _no_second_of_nothing():
    """RecBole ends each run with a second in which psutil watches the processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("psutil.cpu_percent", lambda interval=None: 0.0)
        yield


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


@pytest.fixture(scope="module")
def one_ray():
    """A Ray for the commands of a test file: one of its own takes each several seconds to start."""
    from recbole_irllrec.cluster import connected  # which brings Ray

    with connected():
        yield


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> dict[str, str]:
    """Settings that find the data set "small": what RecBole's options need, in a fiftieth of ml-100k.

    Of 120 users each likes one of four kinds of 150 items; ratings and times go with each of about 2000 interactions.
    """
    rng = np.random.default_rng(0)
    own = tmp_path_factory.mktemp("data") / "small"
    own.mkdir()
    kind = np.arange(150) % 4
    users, items = rng.permutation(
        np.argwhere(rng.random((120, 150)) < np.where(kind == kind[:120, None], 0.3, 0.05))
    ).T
    ratings, times = rng.integers(1, 6, len(users)), rng.integers(0, 10**6, len(users))
    rows = [f"u{u}\ti{i}\t{r}\t{t}" for u, i, r, t in zip(users, items, ratings, times, strict=True)]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (own / "small.inter").write_text("\n".join([header, *rows, ""]))
    rows = [f"i{i}\tthe {' '.join(rng.choice(WORDS, 3))}\tkind {kind[i]}" for i in range(150)]
    (own / "small.item").write_text("\n".join(["item_id:token\ttitle:token_seq\tclass:token_seq", *rows, ""]))
    return {"data_path": str(own.parent)}


@pytest.fixture(scope="session")
def trained(tmp_path_factory, small) -> Trained:
    """Models trained on the data set "small", each once."""
    return Trained(tmp_path_factory.mktemp("trained"), small["data_path"])


@pytest.fixture
def irllrec_config():
    """Makes a RecBole Config of IRLLRec with the given settings above the defaults, and none that were tuned."""

    def make(**settings) -> Config:
        return Config(model="IRLLRec", dataset="untuned", config_dict={"show_progress": False, **settings})

    return make
