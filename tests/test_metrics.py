"""RecBole's evaluation from scores to metrics, against the definitions and scikit-learn."""

from collections import Counter

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.evaluator.base_metric import TopkMetric
from recbole.evaluator.register import metrics_dict
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score
from text_files import write_dataset

import recbole_irllrec  # noqa: F401

CUTOFFS = [1, 3, 10]
# By a user's list: whether each of the k items is relevant, and how many are. Of NDCG and MAP see below.
BY_USER = {
    "hit": lambda found, n: float(any(found)),
    "recall": lambda found, n: sum(found) / n,
    "precision": lambda found, n: sum(found) / len(found),
    "mrr": lambda found, n: next((1 / place for place, hit in enumerate(found, 1) if hit), 0.0),
    "map": lambda found, n: (
        sum(sum(found[:place]) / place for place, hit in enumerate(found, 1) if hit) / min(n, len(found))
    ),
    "ndcg": lambda found, n: (
        sum(hit / np.log2(place + 1) for place, hit in enumerate(found, 1))
        / sum(1 / np.log2(place + 1) for place in range(1, min(n, len(found)) + 1))
    ),
}
OTHERS = ["GAUC", "ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage"]


class Evaluated:
    """Scores that are given, [n_users, n_items], evaluated by RecBole on a data set's test set."""

    def __init__(self, where, dataset, make_scores, metrics, **settings):
        settings = {"metrics": metrics, "topk": CUTOFFS, "valid_metric": "NDCG@10", "tail_ratio": 0.3, **settings}
        settings |= {"metric_decimal_place": 12, "show_progress": False, **where}
        config = Config("BPR", dataset, config_dict=settings)
        init_seed(config["seed"], True)
        self.train, self.valid, self.test = data_preparation(config, create_dataset(config))
        model = get_model("BPR")(config, self.train._dataset)
        self.scores = make_scores(model.n_users, model.n_items)
        model.full_sort_predict = lambda interaction: self.scores[interaction["user_id"]].clone()
        trainer = Trainer(config, model)
        trainer.eval_collector.data_collect(self.train)
        self.metrics = trainer.evaluate(self.test, load_best_model=False)

    def items(self, loader):
        """The items of each user."""
        found = {}
        data = loader._dataset.inter_feat
        for user, item in zip(data["user_id"].tolist(), data["item_id"].tolist(), strict=True):
            found.setdefault(user, set()).add(item)
        return found

    def users(self):
        """Of each user of the test set: what may be ranked, and what of it is relevant."""
        known, relevant = (self.items(self.train), self.items(self.valid)), self.items(self.test)
        for user, wanted in sorted(relevant.items()):
            seen = set().union(*(part.get(user, set()) for part in known))
            ranked = np.array(sorted(set(range(1, self.scores.shape[1])) - seen))
            yield user, ranked, np.isin(ranked, list(wanted)), len(wanted)


def random_scores(n_users, n_items):
    """Any, of which the padding item's are the highest."""
    scores = torch.rand(n_users, n_items, generator=torch.Generator().manual_seed(3))
    scores[:, 0] = 9
    return scores


def test_every_metric_of_the_first_k_is_looked_at():
    found = {name for name, kind in metrics_dict.items() if issubclass(kind, TopkMetric)}
    assert found == set(BY_USER)


@pytest.mark.parametrize("few", [False, True])
def test_metrics_are_as_defined(small, few):
    """Also where a user has fewer relevant items than k; the users without any are left out."""
    split = {"split": {"RS": [0.3, 0.1, 0.6]}} if not few else {"split": {"RS": [0.9, 0.05, 0.05]}, "group_by": None}
    found = Evaluated(small, "small", random_scores, list(BY_USER), eval_args=split)
    lists = []
    for user, ranked, relevant, n in found.users():
        best = np.argsort(-found.scores[user].numpy()[ranked])[: max(CUTOFFS)]
        lists.append((relevant[best].astype(int).tolist(), n))
    sizes = [n for _, n in lists]
    assert (max(sizes) < 10 and len(sizes) < 120) if few else min(sizes) < 10 < max(sizes)
    for metric, of in BY_USER.items():
        for k in CUTOFFS:
            expected = np.mean([of(hits[:k], n) for hits, n in lists])
            assert found.metrics[f"{metric}@{k}"] == pytest.approx(expected, abs=1e-9), (metric, k)


def test_ndcg_and_map_are_scikit_learns(small):
    everything = 150
    found = Evaluated(small, "small", random_scores, ["NDCG", "MAP"], topk=[5, everything], valid_metric="NDCG@5")
    ndcg, precision = [], []
    for user, ranked, relevant, _ in found.users():
        scores = found.scores[user].numpy()[ranked]
        ndcg.append(ndcg_score([relevant], [scores], k=5))
        precision.append(average_precision_score(relevant, scores))
    assert found.metrics["ndcg@5"] == pytest.approx(np.mean(ndcg), abs=1e-9)
    assert found.metrics[f"map@{everything}"] == pytest.approx(np.mean(precision), abs=1e-9)


def test_ties_are_broken_some_way_the_same_each_time(small):
    """Every metric lies between those of the best and the worst order of equal scores."""

    def tied(n_users, n_items):
        return (random_scores(n_users, n_items) * 6).floor()

    one, other = (Evaluated(small, "small", tied, ["NDCG", "Recall"]) for _ in range(2))
    assert one.metrics == other.metrics
    bounds = {}
    for user, ranked, relevant, n in one.users():
        for name, sign in (("worst", -1), ("best", 1)):
            order = np.lexsort((-sign * relevant, -one.scores[user].numpy()[ranked]))
            bounds.setdefault(name, []).append(BY_USER["ndcg"](relevant[order][:10].tolist(), n))
    assert np.mean(bounds["worst"]) < one.metrics["ndcg@10"] < np.mean(bounds["best"])


def test_metrics_beyond_the_users_lists(small):
    """Deviates: the entropy is divided by the number of different items."""
    found = Evaluated(small, "small", lambda *n: (random_scores(*n) * 40).floor(), ["NDCG", *OTHERS])
    n_items = found.scores.shape[1] - 1  # without padding
    areas, weights = [], []
    for user, ranked, relevant, n in found.users():
        areas.append(roc_auc_score(relevant, found.scores[user].numpy()[ranked]))  # ties count half
        weights.append(n)
    assert found.metrics["gauc"] == pytest.approx(np.average(areas, weights=weights), abs=1e-6)

    found = Evaluated(small, "small", random_scores, ["NDCG", *OTHERS])
    popular = Counter(found.train._dataset.inter_feat["item_id"].tolist())
    tail = sorted(popular, key=lambda item: (popular[item], item))[: int(0.3 * len(popular))]
    for k in CUTOFFS:
        lists = [ranked[np.argsort(-found.scores[user].numpy()[ranked])[:k]] for user, ranked, _, _ in found.users()]
        shown = np.concatenate(lists)
        times = np.sort(np.bincount(shown, minlength=n_items + 1)[1:])
        share = times[times > 0] / len(shown)
        places = np.arange(1, n_items + 1)
        expected = {
            "itemcoverage": np.unique(shown).size / n_items,
            "averagepopularity": np.mean([popular[item] for item in shown]),
            "tailpercentage": np.isin(shown, tail).mean(),
            "shannonentropy": -(share * np.log(share)).sum() / len(share),
            "giniindex": ((2 * places - n_items - 1) * times).sum() / (n_items * times.sum()),
        }
        for metric, value in expected.items():
            assert found.metrics[f"{metric}@{k}"] == pytest.approx(value, abs=1e-9), (metric, k)


def test_an_item_of_the_test_that_was_trained_on_is_ranked(tmp_path):
    """A repeated interaction is a positive, which the mask of what is known leaves."""
    train, test = [("u1", "i1"), ("u1", "i2"), ("u2", "i3")], [("u1", "i1"), ("u2", "i4")]
    write_dataset(tmp_path, train=train, valid=[("u1", "i5")], test=test)
    where = {"data_path": str(tmp_path), "benchmark_filename": ["train", "valid", "test"]}

    def scores(n_users, n_items):
        return torch.arange(n_items, 0, -1.0).repeat(n_users, 1)

    found = Evaluated(where, "tiny", scores, ["Recall", "NDCG"], topk=[1, 3], valid_metric="NDCG@3")
    assert found.metrics["recall@1"] == 0.5
