"""Every general recommender of RecBole 1.2.1 trains, is saved, loaded again and evaluated with the same scores.

Only RecBole's own functions are used. The fast models run by default, on a small data set; ``-m slow`` runs all others
on ml-100k, the slowest of them on the part of it that the settings below leave.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from command import in_a_process
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import get_trainer

from recbole_irllrec import compat, zoo
from recbole_irllrec.errors import IRLLRecError

# These take from two minutes to over six for an epoch of ml-100k on one core, so they see its core only: the good
# ratings of 267 users and 228 items with 50 of them each, a fifth of all.
SMALL = {
    "val_interval": {"rating": "[4,inf)"},
    "user_inter_num_interval": "[50,inf)",
    "item_inter_num_interval": "[50,inf)",
}
SETTINGS = {
    "ConvNCF": SMALL | {"eval_batch_size": 64},  # A batch of evaluation holds a picture for each user and item.
    "NAIS": SMALL,
    "NNCF": SMALL,
    "FISM": SMALL,
    "RaCT": {"pretrain_epochs": 1, "save_step": 1},  # It saves in its pre-training only, every `save_step` epochs.
    "NCL": {"num_clusters": 100, "warm_up_step": 0},  # There must be fewer clusters than users and items.
}
FAST = ["BPR", "EASE", "ItemKNN", "LightGCN", "LINE", "Pop"]
# What a model of ours can be made of, each part once by default: encoders, alignments, texts alone, RecBole's models.
OURS_FAST = ["SGL", "IRLLRecDCCF", "RLMRecConSimGCL", "RLMRecGenBIGCF", "AlphaRec", "IRLLRecBPR"]
OURS = sorted(
    {model.name for model in zoo.models()} | {"IRLLRecNGCF", "IRLLRecSimpleX", "IRLLRecNeuMF", "RLMRecConLINE"}
)
ALL = sorted(
    name
    for name in compat.model_names()
    if (compat.find_model(name) or "").startswith("recbole.model.general_recommender.")
)
RANDOM_SCORES = {"Random"}


def train(model, dataset="ml-100k", **settings):
    result = run_recbole(
        model=model,
        dataset=dataset,
        config_dict={
            "epochs": 1,
            "show_progress": False,
            "state": "ERROR",
            "checkpoint_dir": "saved",
            "save_dataset": False,
            **settings,
        },
    )
    return result["test_result"]


def evaluate(file):
    """The scores of a saved model, as RecBole's documentation has it."""
    config, model, _dataset, train_data, _valid_data, test_data = load_data_and_model(file)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector.data_collect(train_data)
    return trainer.evaluate(test_data, load_best_model=False)


def print_scores(file):
    print(json.dumps(dict(evaluate(file))))


def evaluate_afresh(file):
    """The same in a process that has neither trained nor made a ``Config``."""
    said = Path("afresh")
    process = in_a_process(said, print_scores, file)
    process.join()
    assert process.exitcode == 0, said.read_text()
    return json.loads(said.read_text().splitlines()[-1])


def checkpoint(folder):
    return max((folder / "saved").glob("*.pth"), key=lambda file: file.stat().st_mtime)


def test_the_zoo_is_complete():
    assert len(ALL) == 33 and set(FAST) < set(ALL) and set(SETTINGS) < set(ALL)


@pytest.mark.parametrize("model", [*FAST, *OURS_FAST])
def test_model_trains_and_scores_the_same_when_loaded(tmp_path, model, small):
    scores = train(model, "small", **small)
    assert all(0 <= score <= 1 for score in scores.values())
    assert evaluate(checkpoint(tmp_path)) == scores
    if model in ("LightGCN", "ItemKNN"):
        assert evaluate_afresh(checkpoint(tmp_path)) == dict(scores)


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in OURS if name not in OURS_FAST])
def test_other_model_of_ours_trains_and_scores_the_same_when_loaded(tmp_path, model, small):
    scores = train(model, "small", **small)
    assert evaluate(checkpoint(tmp_path)) == scores


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in ALL if name not in FAST])
def test_slower_model_trains_and_scores_the_same_when_loaded(tmp_path, model):
    if model == "NCL" and find_spec("faiss") is None:
        with pytest.raises(IRLLRecError, match="needs the package faiss"):
            train(model, **SETTINGS[model])
        pytest.skip("faiss is not installed")
    scores = train(model, **SETTINGS.get(model, {}))
    for again in (evaluate(checkpoint(tmp_path)), evaluate_afresh(checkpoint(tmp_path))):
        if model not in RANDOM_SCORES:
            assert again == dict(scores)
