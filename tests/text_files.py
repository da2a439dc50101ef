"""A small pre-split data set on disk, and what the tests of texts read of it."""

import numpy as np
from recbole.config import Config

from recbole_irllrec.data.dataset import IRLLRecDataset
from recbole_irllrec.data.features import train_fingerprint
from recbole_irllrec.data.intents import IntentTable

# Each user and each item occurs in training, so that held-out interactions can be swapped among them.
TRAIN = [("u1", "i1"), ("u1", "i2"), ("u2", "i2"), ("u2", "i3"), ("u3", "i1"), ("u3", "i3"), ("u3", "i4")]
VALID = [("u1", "i3"), ("u2", "i4")]
TEST = [("u1", "i4"), ("u2", "i1"), ("u3", "i2")]
USERS, ITEMS = ("u1", "u2", "u3"), ("i1", "i2", "i3", "i4")
ITEM_FILE = (
    "item_id:token\ttitle:token_seq\tgenre:token\trating:float\n"
    "i1\tthe red barn\twestern\t4.5\n"
    "i2\ta blue river\tdrama\t3\n"
    "i3\tgreen hills of home\tdrama\t2\n"
    "i4\tyellow moon\tfantasy\t1\n"
    "i5\tnever read\thorror\t5\n"
)
USER_FILE = "user_id:token\tgender:token\njust another line\tF\nu1\tM\nu2\tF\nu3\t\n"


def write_dataset(folder, train=TRAIN, valid=VALID, test=TEST, item=ITEM_FILE, user=USER_FILE):
    """Write the data set "tiny" below ``folder``; returns its own folder."""
    own = folder / "tiny"
    own.mkdir(parents=True, exist_ok=True)
    for name, pairs in {"train": train, "valid": valid, "test": test}.items():
        lines = ["user_id:token\titem_id:token", *("\t".join(pair) for pair in pairs)]
        (own / f"tiny.{name}.inter").write_text("\n".join(lines) + "\n")
    for name, content in {"item": item, "user": user}.items():
        if content is not None:
            (own / f"tiny.{name}").write_text(content, encoding="utf-8")
    return own


def load(folder, **settings):
    """RecBole's settings and the training data set of "tiny"."""
    config = Config(
        model="IRLLRec",
        dataset="tiny",
        config_dict={
            "data_path": str(folder),
            "benchmark_filename": ["train", "valid", "test"],
            "show_progress": False,
            **settings,
        },
    )
    return config, IRLLRecDataset(config).build()[0]


def node_texts(folder, kinds=("profile", "intent"), **settings):
    """The texts that "tiny" resolves to."""
    config, dataset = load(folder, **settings)
    return dataset.node_texts(config, kinds)


def tokens_of(dataset):
    """The tokens of all nodes, in the order of the node texts."""
    return [*dataset.field2id_token["user_id"][1:], *dataset.field2id_token["item_id"][1:]]


def fingerprint(pairs=TRAIN):
    users, items = np.array(pairs, dtype=object).T
    return train_fingerprint(users, items)


def table(tokens, dim=3, encoder="e", source="features", **more):
    """A table whose row for ``x7`` is 7, 8, 9…; users and items differ by a hundred."""
    first = [int(token[1:]) + 100 * token.startswith("i") for token in tokens]
    return IntentTable.from_arrays(
        list(tokens), np.add.outer(first, np.arange(dim)).astype(np.float32), encoder=encoder, source=source, **more
    )


def write_tables(own, kinds=("profile", "intent"), sides=("user", "item"), **more):
    """Write tables under their default names."""
    for kind in kinds:
        for side in sides:
            table({"user": USERS, "item": ITEMS}[side], **more).write(own / f"tiny.{side}_{kind}.parquet")
