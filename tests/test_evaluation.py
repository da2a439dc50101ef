"""Full ranking: what is masked, whom validation looks at, and how many users a batch ranks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import get_model, get_trainer
from text_files import TEST, VALID, write_dataset
from text_files import TRAIN as SMALL_TRAIN
from trained import NO_TEXT

from recbole_irllrec import IRLLRecError
from recbole_irllrec.evaluation import measured

TRAIN = [*SMALL_TRAIN, ("u4", "i5")]  # else one of the users would know all items


def loaders(folder, model="IRLLRec", **settings):
    write_dataset(folder, train=TRAIN)
    settings = {
        "data_path": str(folder),
        "benchmark_filename": ["train", "valid", "test"],
        "show_progress": False,
        "topk": 5,
        "valid_metric": "MRR@5",
        **NO_TEXT,
        **settings,
    }
    config = Config(model, "tiny", config_dict=settings)
    dataset = create_dataset(config)
    return dataset, data_preparation(config, dataset)


def masked(dataset, loader):
    """The pairs of tokens that a loader leaves out of its ranking."""
    pairs = set()
    for user in loader.uid_list.tolist():
        for item in loader.uid2history_item[user].tolist():
            pairs.add((str(dataset.id2token("user_id", user)), str(dataset.id2token("item_id", item))))
    return pairs


def of(pairs, users):
    return {pair for pair in pairs if pair[0] in users}


@pytest.mark.parametrize("model", ["IRLLRec", "BPR"])
def test_the_test_masks_training_and_validation_items_or_training_items_alone(tmp_path, model):
    users = {user for user, _ in TEST}
    for setting, expected in ((None, TRAIN + VALID), (True, TRAIN + VALID), (False, TRAIN)):
        settings = {} if setting is None else {"mask_valid_in_test": setting}
        dataset, (_, valid, test) = loaders(tmp_path, model, **settings)
        assert masked(dataset, test) == of(expected, users)
        assert masked(dataset, valid) == of(TRAIN, {user for user, _ in VALID})


def test_the_papers_protocol_ranks_validation_items_too(small):
    """The metrics against a ranking written down from the definition."""
    settings = {"epochs": 5, "learning_rate": 0.01, "train_batch_size": 64, "show_progress": False}
    settings |= {"metric_decimal_place": 8, "metrics": ["MRR"]}
    settings |= {**NO_TEXT, **small, "valid_metric": "mrr@10", "mask_valid_in_test": False}
    result = run_recbole("IRLLRec", "small", config_dict=settings)
    (file,) = (f for f in Path("saved").glob("*.pth") if not f.name.endswith(".resume.pth"))
    _, model, _, train_data, _, test_data = load_data_and_model(str(file))
    with torch.no_grad():
        user_e, item_e = (e.numpy() for e in model.eval().forward())
    scores = user_e @ item_e.T
    scores[:, 0] = -np.inf
    train, test = (data._dataset.inter_feat for data in (train_data, test_data))
    scores[train["user_id"].numpy(), train["item_id"].numpy()] = -np.inf
    top = np.argsort(-scores, axis=1)[:, :10]
    reciprocal_ranks = []
    for user in np.unique(test["user_id"].numpy()):
        found = np.isin(top[user], test["item_id"].numpy()[test["user_id"].numpy() == user])
        reciprocal_ranks.append(1 / (1 + found.argmax()) if found.any() else 0)
    assert result["test_result"]["mrr@10"] == pytest.approx(np.mean(reciprocal_ranks), abs=1e-7)


def test_metrics_by_user_average_to_recboles(small):
    settings = {"epochs": 1, "show_progress": False, "topk": [5, 10], "metric_decimal_place": 8, **NO_TEXT, **small}
    config = Config("IRLLRec", "small", config_dict={**settings, "metrics": ["Recall", "NDCG", "MRR"]})
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    trainer = get_trainer(config["MODEL_TYPE"], "IRLLRec")(config, get_model("IRLLRec")(config, train_data.dataset))
    trainer.eval_collector.data_collect(train_data)
    found = measured(trainer, test_data).per_user
    expected = trainer.evaluate(test_data, load_best_model=False)
    assert len(found) == 120 and found["user"].is_unique and set(found) == {"user", *expected}
    for name, value in expected.items():
        assert found[name].mean() == pytest.approx(value, abs=1e-7) and found[name].std() > 0


@pytest.mark.parametrize("model", ["IRLLRec", "BPR"])
def test_validation_on_a_sample_of_users(tmp_path, model):
    _, (_, valid, test) = loaders(tmp_path, model, valid_users=1)
    assert len(valid.uid_list) == len(valid.dataset) == 1
    assert len(test.uid_list) == len({user for user, _ in TEST})
    same = loaders(tmp_path, model, valid_users=1)[1][1]
    assert torch.equal(valid.uid_list, same.uid_list)
    drawn = {int(loaders(tmp_path, model, valid_users=1, seed=seed)[1][1].uid_list[0]) for seed in range(10)}
    assert len(drawn) == len({user for user, _ in VALID})
    everybody = loaders(tmp_path, model, valid_users=99)[1][1]
    assert len(everybody.uid_list) == len({user for user, _ in VALID})


def test_a_batch_ranks_many_users_however_many_items_there_are(tmp_path):
    _, (_, valid, test) = loaders(tmp_path, eval_batch_size=1)
    assert valid.step == test.step == (1 << 24) // 6  # five items and the padding
    assert loaders(tmp_path, "BPR", eval_batch_size=1)[1][2].step == 1  # RecBole's


def test_more_places_than_there_are_items_are_refused(tmp_path):
    """The padding is none."""
    loaders(tmp_path, topk=[5], valid_metric="MRR@5")
    with pytest.raises(IRLLRecError, match=r"topk is .6., but there are 5 items to rank"):
        loaders(tmp_path, topk=[6], valid_metric="MRR@6")


def test_a_saved_dataloader_of_another_protocol_is_not_taken(tmp_path, caplog):
    caplog.set_level("INFO")
    settings = {"save_dataloaders": True, "checkpoint_dir": str(tmp_path / "saved")}
    dataset, (_, _, test) = loaders(tmp_path, **settings)
    for asked, expected in ((True, TRAIN + VALID), (False, TRAIN)):
        caplog.clear()
        dataset, (_, _, test) = loaders(tmp_path, **settings, mask_valid_in_test=asked)
        assert ("Load split dataloaders" in " ".join(caplog.messages)) == asked
        assert masked(dataset, test) == of(expected, {user for user, _ in TEST})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"valid_users": 0}, "valid_users is 0"),
        ({"valid_users": "all"}, "valid_users is 'all'"),
        ({"mask_valid_in_test": "train"}, "mask_valid_in_test is 'train'"),
        ({"valid_metric": "NDCG@20"}, r"valid_metric is NDCG@20, which metrics .* and topk \[10\] do not give"),
        ({"metrics": ["NDCG"]}, "valid_metric is MRR@10"),
        ({"valid_metric": "NDCG"}, "valid_metric is NDCG, .* with its cutoff"),
        ({"metrics": ["MRR", "GAUC"], "valid_metric": "GAUC@10"}, "valid_metric is GAUC@10"),
        ({"metrics": ["ItemCoverage"], "valid_metric": "ItemCoverage"}, "valid_metric is ItemCoverage, .* its cutoff"),
        ({"valid_users": 5, "eval_args": {"mode": {"valid": "uni100", "test": "full"}}}, "the mode of valid"),
        ({"mask_valid_in_test": False, "eval_args": {"mode": "uni100"}}, "the mode of test"),
    ],
)
@pytest.mark.parametrize("model", ["IRLLRec", "BPR"])
def test_refused(settings, words, model):
    with pytest.raises(IRLLRecError, match=words):
        Config(model, "ml-100k", config_dict=settings)
