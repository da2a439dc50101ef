"""One run of any model on a split that all runs share."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from recbole.quick_start import run_recbole
from tiny_data import N_USERS, SETTINGS, write_tiny

from recbole_irllrec import IRLLRecError
from recbole_irllrec.data.dataset import IRLLRecDataset
from recbole_irllrec.data.loading import load_config
from recbole_irllrec.runs import best_of, config_of, load_splits, test, train

test.__test__ = False  # pytest takes it for one of its own

TEXTS = {"translation_weight": 0.01, "matching_weight": 0.01}


@pytest.fixture
def splits(tmp_path):
    return load_splits("tiny", write_tiny(tmp_path / "data"), settings=SETTINGS)


@pytest.mark.parametrize("model", ["IRLLRec", "LightGCN", "BPR", "MultiVAE", "SimpleX", "EASE", "ItemKNN", "Pop"])
def test_a_run_is_recboles(model, splits, tmp_path):
    seen = []
    run = train(model, splits.without_test(), {"seed": 3}, "run", on_evaluation=seen.append)
    assert run.history == seen and run.best == best_of(seen)
    assert run.best.metrics["ndcg@10"] == max(evaluation.metrics["ndcg@10"] for evaluation in seen)
    assert set(run.best.metrics) == {"recall@5", "recall@10", "ndcg@5", "ndcg@10"}
    assert all(np.isfinite(list(evaluation.losses.values())).all() and evaluation.losses for evaluation in seen)
    tested = test(model, splits, {"seed": 3}, run.checkpoint)
    settings = {**SETTINGS, "data_path": str(tmp_path / "data"), "seed": 3, "checkpoint_dir": "recboles"}
    recboles = run_recbole(model, "tiny", config_dict=settings)
    assert dict(recboles["best_valid_result"]) == run.best.metrics
    assert dict(recboles["test_result"]) == tested.metrics
    assert len(tested.per_user) == N_USERS
    assert tested.per_user["recall@10"].mean() == pytest.approx(tested.metrics["recall@10"], abs=1e-4)


def test_the_seed_varies_the_model_and_not_the_split(splits):
    first, again, other = (train("BPR", splits, {"seed": seed}, name) for seed, name in ((1, "a"), (1, "b"), (2, "c")))
    assert [e.metrics for e in first.history] == [e.metrics for e in again.history]
    assert [e.losses for e in first.history] != [e.losses for e in other.history]
    assert list(first.test().per_user["user"]) == list(other.test().per_user["user"])


def test_loss_terms_have_names(splits):
    run = train("IRLLRec", splits, {**TEXTS, "epochs": 1}, "run")
    terms = {"ranking", "regularization", "profile", "pairwise", "translation", "matching"}
    assert set(run.best.losses) == terms
    assert set(train("LightGCN", splits, {"epochs": 1}, "other").best.losses) == {"loss"}


def test_a_run_is_resumed_where_it_was(splits):
    whole = train("IRLLRec", splits, TEXTS, "whole")

    class Stopped(Exception):
        pass

    def stop(evaluation):
        if evaluation.epoch == 1:
            raise Stopped

    with pytest.raises(Stopped):
        train("IRLLRec", splits, TEXTS, "stopped", on_evaluation=stop)
    seen = []
    resumed = train("IRLLRec", splits, TEXTS, "stopped", on_evaluation=seen.append, resume=True)
    assert [evaluation.epoch for evaluation in seen] == [2]
    unclocked = [[e._replace(seconds=0) for e in run.history] for run in (whole, resumed)]
    assert unclocked[0] == unclocked[1]
    assert whole.test().metrics == resumed.test().metrics
    seen.clear()
    again = train("IRLLRec", splits, TEXTS, "stopped", on_evaluation=seen.append, resume=True)
    assert not seen and again.history == resumed.history


def test_a_run_killed_after_it_had_stopped_early_is_not_trained_on(splits):
    settings = {"epochs": 50, "stopping_step": 1, "learning_rate": 1.0, "profile_weight": 0.0, "pairwise_weight": 0.0}
    last = train("IRLLRec", splits, settings, "whole").history[-1].epoch
    assert last < 49
    with pytest.raises(ZeroDivisionError):
        train("IRLLRec", splits, settings, "run", on_evaluation=lambda evaluation: 1 / (evaluation.epoch - last))
    assert train("IRLLRec", splits, settings, "run", resume=True).history[-1].epoch == last


def test_other_peoples_arguments_and_gpus_stay_out(splits, monkeypatch):
    monkeypatch.setattr("sys.argv", ["irllrec", "tune", "--seed=77", "--learning_rate=5"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    config = config_of("BPR", splits, {"seed": 1})
    assert config["seed"] == 1 and config["learning_rate"] == 0.001
    assert config["gpu_id"] == "3" and os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    config_of("BPR", splits, {"gpu_id": "1"})
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    load_config("ml-100k")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_strings_of_settings_are_not_evaluated(splits):
    config = config_of("NGCF", splits, {"loss_type": "__import__('os').mkdir('made')", "learner": "sum"})
    assert config["loss_type"].startswith("__import__") and config["learner"] == "sum" and not Path("made").exists()


def test_splits_can_be_pickled_and_bring_their_texts_along(splits, monkeypatch):
    with_texts = splits.with_texts(config_of("IRLLRec", splits, each) for each in ({}, {"profile_weight": 0.0}))
    ((texts),) = with_texts.texts.values()
    assert set(texts) == {"profile", "intent"}
    before = train("IRLLRec", splits, {}, "a").history[-1].metrics
    copied = pickle.loads(pickle.dumps(with_texts))  # noqa: S301  (ours)
    calls = []
    resolve = IRLLRecDataset.node_texts
    monkeypatch.setattr(IRLLRecDataset, "node_texts", lambda *arguments: calls.append(1) or resolve(*arguments))
    assert train("IRLLRec", copied, {}, "b").history[-1].metrics == before and not calls
    train("IRLLRec", copied, {"min_text_coverage": 0.1}, "c")
    assert calls


def test_without_the_test_set_nothing_can_be_tested(splits):
    run = train("Pop", splits.without_test(), {}, "run")
    with pytest.raises(IRLLRecError, match="without a test set"):
        run.test()


def test_a_model_of_one_epoch_is_validated_whatever_eval_step_is(splits):
    assert [evaluation.epoch for evaluation in train("Pop", splits, {"eval_step": 5}, "run").history] == [0]


def test_metrics_of_all_items_have_cutoffs_too(splits):
    names = ["ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage"]
    for name in names:
        run = train("Pop", splits, {"metrics": names, "topk": [5], "valid_metric": f"{name}@5"}, name)
        assert set(run.best.metrics) == {f"{each.lower()}@5" for each in names}


def test_what_is_no_run(splits):
    for model, settings, words in (
        ("SASRec", {}, "no general recommender"),
        ("Nobody", {}, "no model named"),
        ("BPR", {"eval_step": 0}, "eval_step is 0"),
        ("BPR", {"eval_step": 4}, "eval_step is 4 and epochs is 3, so nothing is validated"),
        ("IRLLRec", {"profile_weight": -1}, "profile_weight"),
    ):
        with pytest.raises(IRLLRecError, match=words):
            train(model, splits, settings, "run")


def test_the_history_is_a_file(splits):
    run = train("BPR", splits, {}, "run")
    assert [entry["metrics"] for entry in json.loads(Path("run/history.json").read_text())] == [
        evaluation.metrics for evaluation in run.history
    ]
    assert Path("run/log_tensorboard").is_dir() and not Path("log_tensorboard").exists()
