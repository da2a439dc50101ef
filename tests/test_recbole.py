"""RecBole's own functions, unchanged, with IRLLRec: start, tuning objective, loading, case study, data options."""

import functools
import os
import re
import socket
from pathlib import Path

import command
import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.quick_start import load_data_and_model, objective_function, quick_start, run_recbole
from recbole.trainer import trainer
from recbole.utils.case_study import full_sort_scores, full_sort_topk

from recbole_irllrec import IRLLRecError, starts

FAST = {"epochs": 1, "show_progress": False}


def checkpoint() -> str:
    (file,) = (f for f in Path("saved").glob("IRLLRec-*.pth") if not f.name.endswith(".resume.pth"))
    return str(file)


def test_run_save_load_and_case_study(small):
    run = run_recbole("IRLLRec", "small", config_dict=FAST | small)
    config, model, dataset, train_data, _, test_data = load_data_and_model(checkpoint())
    assert type(model).__name__ == "IRLLRec" and config["model"] == "IRLLRec"

    from recbole.utils import get_trainer

    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector.data_collect(train_data)
    assert trainer.evaluate(test_data, load_best_model=False) == run["test_result"]

    users = dataset.token2id(dataset.uid_field, ["u19", "u7"])
    scores = full_sort_scores(users, model, test_data)
    assert scores.shape == (2, dataset.item_num) and (scores[:, 0] == -np.inf).all()
    values, items = full_sort_topk(users, model, test_data, k=10)
    assert torch.equal(values, scores.gather(1, items))


@pytest.mark.slow
def test_objective_function_on_a_real_ray_worker(small):
    """A worker imports nothing but the module of the function it is given."""
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        from ray import tune

        settings = {**FAST, **small, "model": "IRLLRec", "dataset": "small", "reg_weight": 1e-6}
        trainable = tune.with_resources(objective_function, {"cpu": 1})
        results = tune.Tuner(trainable, param_space=settings).fit()
        assert not results.errors and results[0].metrics["test_result"]["recall@10"] > 0
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    "settings",
    [
        {"enable_amp": True},
        {"eval_args": {"mode": {"valid": "uni100", "test": "uni100"}}},
        {
            "eval_args": {"order": "TO", "split": {"RS": [0.8, 0.1, 0.1]}},
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        },
        {
            "eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}},
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        },
    ],
    ids=["amp", "uni100", "time-ordered", "leave-one-out"],
)
def test_recboles_options(settings, small):
    result = run_recbole("IRLLRec", "small", config_dict={**FAST, **small, **settings}, saved=False)
    assert result["test_result"]["recall@10"] > 0


def test_saved_dataset_and_dataloaders_are_used_and_give_the_same(caplog, small):
    caplog.set_level("INFO")
    settings = {**FAST, **small, "save_dataset": True, "save_dataloaders": True}
    first = run_recbole("IRLLRec", "small", config_dict=dict(settings))
    assert Path("saved/small-IRLLRecDataset.pth").is_file()
    assert Path("saved/small-for-IRLLRec-dataloader.pth").is_file()
    second = run_recbole("IRLLRec", "small", config_dict=dict(settings))
    log = " ".join(caplog.messages)
    assert "Load filtered dataset from" in log and "Load split dataloaders from" in log
    assert set(second["test_result"]) == set(first["test_result"])


def test_loss_terms_are_logged_by_name(caplog, small):
    caplog.set_level("INFO")
    settings = {**FAST, **small, "translation_weight": 0.1, "matching_weight": 0.1}
    run_recbole("IRLLRec", "small", config_dict=settings, saved=False)
    line = re.sub(r"\x1b\[[0-9;]*m", "", next(m for m in caplog.messages if "epoch 0 training" in m))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = Path("log_tensorboard").iterdir()
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    for term in ("ranking", "regularization", "profile", "pairwise", "translation", "matching"):
        assert f"{term}: " in line and f"Loss/Train/{term}" in tags


def test_nan_names_the_term(small):
    settings = {**FAST, **small, "profile_temperature": 1e-42}
    with pytest.raises(IRLLRecError, match=r"the loss term profile \(.*\) is not"):
        run_recbole("IRLLRec", "small", config_dict=settings, saved=False)


def one_of_two(environment, rank, *arguments):
    """What RecBole starts in each process, with gloo and the CPU in place of NCCL and a GPU."""
    os.environ.update(environment)

    def _init_device(self):
        settings = self.final_config_dict
        address = f"tcp://{settings['ip']}:{settings['port']}"
        torch.distributed.init_process_group("gloo", rank=settings["local_rank"], world_size=2, init_method=address)
        settings.update(single_spec=False, device=torch.device("cpu"))

    Config._init_device = _init_device
    parallel = trainer.DistributedDataParallel
    trainer.DistributedDataParallel = lambda model, device_ids: parallel(model)
    starts.run_recboles(rank, *arguments)


def run_in_two_processes(monkeypatch, **settings):
    """RecBole's run of IRLLRec on the data set "small"."""
    assert quick_start.run_recboles is starts.run_recboles  # which brings the import of IRLLRec along
    monkeypatch.setattr(quick_start, "run_recboles", functools.partial(one_of_two, dict(os.environ)))
    start = functools.partial(torch.multiprocessing.start_processes, start_method=command.start_method())
    monkeypatch.setattr(torch.multiprocessing, "spawn", start)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    return quick_start.run("IRLLRec", "small", nproc=2, port=str(port), config_dict=FAST | settings)


def test_two_processes(small, monkeypatch):
    result = run_in_two_processes(monkeypatch, **small)
    assert result["test_result"]["recall@10"] > 0
    assert result["popularity_result"]["recall@10"] > 0
    assert len(list(Path("saved").glob("IRLLRec-*.pth"))) == 2  # one run: its best epoch and its state
