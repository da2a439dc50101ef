"""Popularity beside a model: measured as counting by hand has it, on the same test, and told once."""

import numpy as np
import pytest
from command import ended
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import run_recbole
from recbole.sampler import Sampler
from recbole.utils import init_seed

from recbole_irllrec.popularity import Course, is_below, what_helps

FAST = {"epochs": 1, "show_progress": False, "metric_decimal_place": 8}
RANKED = {"metrics": ["Recall", "NDCG", "MRR", "GAUC"], "topk": [5, 10], "valid_metric": "NDCG@10"}
NO_LEARNING = {"learning_rate": 1e-12}


def parts(model, settings):
    """Tokens of the items, and users and items of the training, validation and test interactions of such a run."""
    config = Config(model, "small", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    loaders = data_preparation(config, create_dataset(config))
    datasets = [loader._dataset for loader in loaders]
    pairs = [tuple(part.inter_feat[name].numpy() for name in ("user_id", "item_id")) for part in datasets]
    return list(datasets[0].field2id_token["item_id"]), pairs


def by_hand(tokens, counted, masked, tested, k=10):
    """NDCG, recall and MRR at k of each row's ranking by counts, of equal ones by tokens."""
    order = sorted(range(1, len(tokens)), key=lambda item: (-np.sum(counted == item), tokens[item]))
    found = []
    for seen, wanted in zip(masked, tested, strict=True):
        top = [item for item in order if item not in seen][:k]
        hits = np.isin(top, list(wanted))
        gains = 1 / np.log2(np.arange(2, k + 2))
        first = 1 / (1 + hits.argmax()) if hits.any() else 0
        found.append(((gains * hits).sum() / gains[: len(wanted)].sum(), hits.sum() / len(wanted), first))
    return dict(zip((f"ndcg@{k}", f"recall@{k}", f"mrr@{k}"), np.mean(found, axis=0), strict=True))


def told(caplog):
    return [(record.levelname, record.message) for record in caplog.records if "Popularity" in record.message]


@pytest.mark.parametrize("masks_valid", [True, False])
def test_a_model_below_is_told_so(small, caplog, masks_valid):
    settings = {**FAST, **RANKED, **NO_LEARNING, **small, "mask_valid_in_test": masks_valid}
    tokens, (train, valid, test) = parts("BPR", settings)
    masking = (train, valid) if masks_valid else (train,)
    users = np.unique(test[0])
    seen = [{i for part in masking for i in part[1][part[0] == user]} for user in users]
    expected = by_hand(tokens, train[1], seen, [set(test[1][test[0] == user]) for user in users])
    caplog.set_level("INFO")
    result = run_recbole("BPR", "small", config_dict={**settings, "valid_users": 30})
    popular = result["popularity_result"]
    assert set(popular) == set(result["test_result"])
    for name, value in expected.items():
        assert popular[name] == pytest.approx(value, abs=1e-7)
    ((level, line),) = told(caplog)
    assert level == "WARNING" and f"reaches ndcg@10 {expected['ndcg@10']:.4f} on the same test, BPR 0.0" in line
    assert "less than popularity. What usually helps: more epochs (it was best after 1 of 1); a larger" in line


def test_a_model_above_is_not(small, caplog):
    caplog.set_level("INFO")
    result = run_recbole("EASE", "small", config_dict={**FAST, **small})
    ((level, line),) = told(caplog)
    assert level == "INFO" and line.endswith(f"EASE {result['test_result']['mrr@10']:.4f}.")


def test_the_command_prints_it_beside_the_test(small):
    given = [f"--{name}={value}" for name, value in {**small, "epochs": 1, "show_progress": False}.items()]
    done = ended("--model=EASE", "--dataset=small", *given, program="run_recbole")
    head, _, *rows = done.stdout.strip().splitlines()
    assert done.returncode == 0 and head.split()[-1] == "popularity" and all(len(row.split()) == 4 for row in rows)


def test_sampled_negatives_are_the_same(small, monkeypatch):
    draw, drawn = Sampler.sample_by_user_ids, []

    def recording(self, user_ids, item_ids, num):
        found = draw(self, user_ids, item_ids, num)
        drawn.append((self.phase, found.tolist()))
        return found

    monkeypatch.setattr(Sampler, "sample_by_user_ids", recording)
    settings = {**FAST, **RANKED, **small, "eval_args": {"mode": "uni20"}}
    result = run_recbole("BPR", "small", config_dict=settings)
    negatives = [items for phase, items in drawn if phase == "test"]
    half = len(negatives) // 2
    assert half > 1 and negatives[:half] == negatives[half:]
    assert 0 < result["popularity_result"]["recall@10"] < 1


def test_a_sequential_model(small):
    """Which ranks what a user has seen, too, and trains on all interactions but each user's first."""
    columns = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "train_neg_sample_args": None}
    settings = {**FAST, **RANKED, **small, **columns, "embedding_size": 8, "hidden_size": 8}
    settings["eval_args"] = {"order": "TO", "split": {"LS": "valid_and_test"}, "mode": "full"}
    tokens, (train, _, test) = parts("GRU4Rec", settings)
    expected = by_hand(tokens, train[1], [()] * len(test[1]), [{item} for item in test[1]])
    popular = run_recbole("GRU4Rec", "small", config_dict=dict(settings))["popularity_result"]
    assert {name: popular[name] for name in expected} == pytest.approx(expected, abs=1e-7)


def test_nothing_is_compared_where_values_are_predicted(small, caplog):
    labels = {"load_col": {"inter": ["user_id", "item_id", "rating"]}, "threshold": {"rating": 3}}
    measured = {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "labeled"}}
    caplog.set_level("INFO")
    result = run_recbole("LR", "small", config_dict={**FAST, **small, **labels, **measured})
    assert result["popularity_result"] is None and result["test_result"]["auc"] > 0 and not told(caplog)


def test_smaller_can_be_better():
    assert is_below("NDCG@10", 0.1, 0.2) and not is_below("NDCG@10", 0.2, 0.2)
    assert is_below("GiniIndex@10", 0.9, 0.8) and not is_below("GiniIndex@10", 0.7, 0.8)


@pytest.mark.parametrize(
    ("model", "settings", "course", "words", "not_these"),
    [
        (
            "IRLLRec",
            {
                **{"softmax_temperature": 0.05, "softmax_negatives": 1024, "item_bias": False},
                **{"profile_weight": 0.5, "n_layers": 3},
            },
            (20, 15, True),
            [
                "more patience (it was best after 15 of 20 epochs, with stopping_step 10); a larger learning_rate",
                "a larger softmax_temperature (here 0.05); softmax_negatives: all; item_bias: True",
                "a smaller profile_weight (here 0.5)",
                "fewer n_layers (here 3)",
            ],
            ["pairwise_weight", "ranking_loss"],
        ),
        (
            "IRLLRec",
            {"ranking_loss": "bpr", "n_layers": 1},
            (20, 1, False),
            ["more epochs (it was best after 1 of 20); a smaller learning_rate", "ranking_loss: softmax"],
            ["n_layers", "softmax_temperature", "item_bias"],
        ),
        (
            "IRLLRec",
            {"item_bias": True, "softmax_negatives": "'all'"},
            (20, 20, False),
            ["the model EASE"],
            ["item_bias", "softmax_negatives"],
        ),
        ("EASE", {}, (1, 1, True), ["What usually helps: other settings of its own"], ["epochs", "rate", "EASE"]),
    ],
)
def test_what_is_said_to_help_is_left_to_do(model, settings, course, words, not_these):
    said = what_helps(Config(model, "untuned", config_dict=settings), Course(*course))
    assert all(each in said for each in words) and not any(each in said for each in not_these), said
