"""Training runs of any general recommender on one split of a data set: the engine of sweeps and benchmarks.

The split is loaded once, can be pickled, and can leave the test set behind::

    splits = load_splits("ml-100k")
    run = train("LightGCN", splits, {"learning_rate": 0.003}, "runs/1")
    run.best.metrics["ndcg@10"], run.test().metrics["ndcg@10"]

``splits``: what runs share. ``training``: one run. ``space``: what is drawn for it. ``worker``: a run as a record,
whatever happens to it. ``pool``: many of them on Ray. ``fingerprints``: what tells them apart. ``folder``: where
records are kept. ``progress``: what is told of them, and ``remaining`` how long they will take.
"""

from .splits import Settings, Splits, bare_config, config_of, load_splits
from .training import Evaluation, Run, Tested, best_of, popularity_of, read_history, test, train

__all__ = [
    "Evaluation",
    "Run",
    "Settings",
    "Splits",
    "Tested",
    "bare_config",
    "best_of",
    "config_of",
    "load_splits",
    "popularity_of",
    "read_history",
    "test",
    "train",
]
