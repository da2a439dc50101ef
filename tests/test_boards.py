"""Metrics on hot and on cold items apart: as a ranking written down from the definition has them, in every run."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command import run
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import run_recbole
from recbole.trainer import Trainer
from text_files import write_dataset
from tiny_data import N_ITEMS, SETTINGS, write_tiny

from recbole_irllrec import IRLLRecError, boards
from recbole_irllrec.evaluation import measured
from recbole_irllrec.runs import config_of, load_splits, popularity_of, test, train
from recbole_irllrec.runs.fingerprints import fingerprint

test.__test__ = False  # pytest takes it for one of its own

PARTS = ["train", "valid", "test"]
BOARDS = {"item_boards": True}
FAST = {**SETTINGS, **BOARDS, "epochs": 1, "metric_decimal_place": 8}


class Scores(torch.nn.Module):
    """A model that has learnt these scores, [n_users, n_items]."""

    def __init__(self, scores):
        super().__init__()
        self.scores = torch.nn.Parameter(torch.from_numpy(scores))

    def full_sort_predict(self, interaction):
        return self.scores.detach()[interaction["user_id"]].clone()


def by_hand(scores, candidates, seen, wanted, k):
    """Recall, NDCG and MRR at k of users, each with the items it has seen and those that it is to find."""
    found = []
    for user in sorted(wanted):
        top = [item for item in np.argsort(-scores[user]) if candidates[item] and item not in seen[user]][:k]
        hits = np.isin(top, list(wanted[user]))
        gains = 1 / np.log2(np.arange(2, k + 2))
        ideal = gains[: len(wanted[user])].sum()
        first = 1 / (1 + hits.argmax()) if hits.any() else 0
        found.append((hits.sum() / len(wanted[user]), (gains[: len(hits)] * hits).sum() / ideal, first))
    return dict(zip((f"recall@{k}", f"ndcg@{k}", f"mrr@{k}"), np.array(found).T, strict=True))


def gauc_by_hand(scores, candidates, seen, wanted):
    """How often a wanted item lies above another one, averaged over users by their numbers of wanted items."""
    found, weights = [], []
    for user, items in wanted.items():
        others = [item for item in np.flatnonzero(candidates) if item not in seen[user] | items]
        if others:
            found.append(np.mean([scores[user, item] > scores[user, others] for item in items]))
            weights.append(len(items))
    return np.average(found, weights=weights)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), masks_valid=st.booleans())
def test_a_board_is_ranked_as_by_hand(seed, masks_valid):
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(np.argwhere(rng.random((8, 20)) < 0.4))
    is_train = (pairs[:, 1] < 12) & (rng.random(len(pairs)) < 0.6)  # the others are cold
    rest = np.flatnonzero(~is_train)
    places = (np.flatnonzero(is_train), rest[::3], np.setdiff1d(rest, rest[::3]))
    parts = [[(f"u{u}", f"i{i}") for u, i in pairs[place]] for place in places]
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), *parts, item=None, user=None)
        given = {"data_path": folder, "benchmark_filename": PARTS, "checkpoint_dir": folder, "show_progress": False}
        given |= {"metrics": ["Recall", "NDCG", "MRR", "GAUC", "ItemCoverage"], "topk": [1, 3], "valid_metric": "MRR@3"}
        given |= {**BOARDS, "mask_valid_in_test": masks_valid, "metric_decimal_place": 8, "eval_batch_size": 50}
        config = Config("BPR", "tiny", config_dict=given)
        train_data, _, test_data = data_preparation(config, create_dataset(config))
        known = train_data._dataset
        scores = rng.permuted(np.arange(known.user_num * known.item_num, dtype=np.float32)).reshape(known.user_num, -1)
        trainer = Trainer(config, Scores(scores))
        trainer.eval_collector.data_collect(train_data)
        trainer.tensorboard.close()
        found = {name: measured(trainer, board) for name, board in boards.loaders(config, known, test_data).items()}

    def ids(part):
        names = [("user_id", 0), ("item_id", 1)]
        return list(zip(*(known.token2id(field, [pair[n] for pair in part]) for field, n in names), strict=True))

    trained, valid, tested = map(ids, parts)
    hot = np.isin(np.arange(known.item_num), [item for _, item in trained])
    cold = ~hot & (np.arange(known.item_num) > 0)
    for name, candidates in (("hot", hot), ("cold", cold)):
        seen: dict = {user: set() for user in range(known.user_num)}
        for user, item in [*trained, *(valid if masks_valid else ())]:
            seen[user].add(item)
        wanted: dict = {}
        for user, item in tested:
            if candidates[item]:
                wanted.setdefault(user, set()).add(item)
        users = known.id2token("user_id", sorted(wanted))
        assert list(found[name].per_user["user"]) == list(users)
        for k in (1, 3):
            for metric, values in by_hand(scores, candidates, seen, wanted, k).items():
                assert found[name].per_user[metric].to_numpy() == pytest.approx(values, abs=1e-6)
                assert found[name].metrics[metric] == pytest.approx(values.mean(), abs=1e-6)
        assert found[name].metrics["gauc"] == pytest.approx(gauc_by_hand(scores, candidates, seen, wanted), abs=1e-6)
        size = boards.sizes(known, test_data._dataset)[name]
        n_interactions = sum(map(len, wanted.values()))
        assert size == {"items": candidates.sum(), "interactions": n_interactions, "users": len(wanted)}
        own = boards.named(name, found[name].metrics)
        assert f"{name}_recall@1" in own and not any("coverage" in metric for metric in own)


@pytest.fixture
def cold():
    """Settings that find a split of the data set tiny with cold items."""
    write_tiny(Path("data"))
    run("data", "split", "tiny", "--data-path", "data", "--name", "cold", "--cold-items", 0.2, "--seed", 1)
    return {**FAST, "data_path": "data"}


@pytest.mark.parametrize(("model", "scores_cold"), [("AlphaRec", True), ("BPR", False), ("EASE", False)])
def test_a_run_tells_of_the_boards(model, scores_cold, cold, caplog):
    caplog.set_level("INFO")
    result = run_recbole(model, "cold", config_dict=cold)
    overall = set(result["best_valid_result"])
    hot, on_cold = ({f"{board}_{name}" for name in overall} for board in ("hot", "cold"))
    assert set(result["test_result"]) == overall | hot | (on_cold if scores_cold else set())
    assert set(result["popularity_result"]) == overall | hot
    lines = [message for message in caplog.messages if " items alone (" in message]
    assert len(lines) == 2 and lines[0].startswith(f"On hot items alone ({N_ITEMS - 12} items, ")
    assert f" {model}: recall@5 {result['test_result']['hot_recall@5']:.4f}, recall@10" in lines[0]
    assert f"popularity: recall@5 {result['popularity_result']['hot_recall@5']:.4f}, recall@10" in lines[0]
    said = f"recall@5 {result['test_result']['cold_recall@5']:.4f}" if scores_cold else "cannot score unseen items;"
    assert f" {model}: {said}" in lines[1] and lines[1].endswith("popularity: cannot score unseen items.")

    splits = load_splits("cold", Path("data"), settings=FAST)
    own = train(model, splits.without_test(), {}, "run")
    tested = test(model, splits, {}, own.checkpoint)
    assert dict(result["test_result"]) == tested.metrics
    assert popularity_of(model, splits, {}) == result["popularity_result"]
    for name, value in tested.metrics.items():
        assert tested.per_user[name].mean() == pytest.approx(value, abs=1e-6)
    users = {name: size["users"] for name, size in boards.sizes(splits.train, splits.test).items()}
    assert tested.per_user["hot_recall@5"].notna().sum() == users["hot"]
    if scores_cold:
        assert tested.per_user["cold_recall@5"].notna().sum() == users["cold"] < len(tested.per_user)


def test_without_cold_items_the_hot_board_is_the_whole(tmp_path, caplog):
    caplog.set_level("INFO")
    settings = {**FAST, "data_path": str(write_tiny(tmp_path / "data"))}
    result = run_recbole("BPR", "tiny", config_dict=settings)
    for metrics in (result["test_result"], result["popularity_result"]):
        whole = {name: value for name, value in metrics.items() if "_" not in name}
        assert metrics == {**whole, **{f"hot_{name}": value for name, value in whole.items()}} and len(whole) == 4
    assert "On cold items alone: no test interaction is with one." in caplog.messages
    splits = load_splits("tiny", tmp_path / "data", settings=FAST)
    per_user = test("BPR", splits, {}, train("BPR", splits, {}, "run").checkpoint).per_user
    for name in result["best_valid_result"]:
        pd.testing.assert_series_equal(per_user[name], per_user[f"hot_{name}"], check_names=False)


def test_only_what_reads_texts_scores_cold_items(tmp_path):
    splits = load_splits("tiny", write_tiny(tmp_path / "data"), settings=SETTINGS)
    without_text = {"profile_weight": 0, "pairwise_weight": 0, "translation_weight": 0, "matching_weight": 0}
    mapped = {"unseen_items": "text"}
    told = [("IRLLRec", mapped, True), ("IRLLRec", {"linear_weight": 0}, False)]
    told += [("IRLLRec", {}, True), ("IRLLRec", {"linear_text_weight": 0}, False), ("RLMRecCon", {}, False)]
    told += [("IRLLRec", mapped | without_text, False), ("IRLLRec", without_text, False)]
    told += [("IRLLRecSGL", mapped, True), ("SGL", {}, False)]
    told += [("L3AE", {}, True), ("AlphaRec", {}, True), ("IRLLRecBPR", {}, False), ("BPR", {}, False)]
    for model, more, expected in told:
        assert boards.scores_unseen(config_of(model, splits, more), N_ITEMS) == expected, model
    assert not boards.scores_unseen(config_of("IRLLRec", splits, {}), 20_001)


def test_boards_belong_to_what_runs_are_told_apart_by(tmp_path):
    splits = load_splits("tiny", write_tiny(tmp_path / "data"), settings=SETTINGS)
    for model in ("BPR", "EASE", "AlphaRec"):
        assert len({fingerprint(config_of(model, splits, more), splits) for more in ({}, BOARDS)}) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"item_boards": "hot"}, "The setting item_boards is 'hot': give True or False"),
        ({**BOARDS, "eval_args": {"mode": "uni100"}}, "item_boards goes with full ranking .* the mode of test"),
    ],
)
@pytest.mark.parametrize("model", ["IRLLRec", "BPR"])
def test_refused(settings, words, model):
    with pytest.raises(IRLLRecError, match=words):
        Config(model, "ml-100k", config_dict=settings)
