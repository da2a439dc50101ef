"""A run killed with kill -9 and resumed ends as one that was not."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from command import in_a_process
from recbole.quick_start import run_recbole
from tiny_data import SETTINGS as TINY
from tiny_data import write_tiny

from recbole_irllrec import IRLLRecError
from recbole_irllrec.trainer import _in_order_of

# Draws from every generator: dropped edges, drawn negatives, noise, shuffled batches, negative samples.
SETTINGS = {
    "epochs": 6,
    "train_batch_size": 256,
    "ranking_loss": "softmax",
    "softmax_negatives": 64,
    "n_intents": 16,
    "edge_dropout": 0.1,
    "translation_weight": 0.01,
    "matching_weight": 0.01,
    "profile_weight": 0.1,
    "pairwise_weight": 0.1,
    "show_progress": False,
    "eval_args": {"mode": "uni100"},
}


def train(folder: Path, settings) -> None:
    os.chdir(folder)
    result = run_recbole("IRLLRec", "small", config_dict=SETTINGS | settings)
    scores = [result["best_valid_score"], dict(result["best_valid_result"]), dict(result["test_result"])]
    print("RESULT", json.dumps(scores))


def result_of(folder: Path, **settings):
    log = folder / "ended.log"
    log.write_text("")
    run = in_a_process(log, train, folder, settings)
    run.join(300)
    said = log.read_text()
    assert run.exitcode == 0, said[-3000:]
    return json.loads(said.split("RESULT ")[1]), said


def kill_when(folder: Path, reached, **settings) -> None:
    """Start a run and kill it once ``reached(log)`` holds."""
    log = folder / "killed.log"
    log.write_text("")
    run = in_a_process(log, train, folder, settings)
    deadline = time.monotonic() + 240
    while not reached(log.read_text()):
        assert run.is_alive() and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.01)
    run.kill()
    run.join()
    assert run.exitcode == -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, small):
    return result_of(tmp_path_factory.mktemp("undisturbed"), **small)[0]


def test_killed_twice_and_resumed(undisturbed, tmp_path, small):
    settings = {"resume": True, **small}
    kill_when(tmp_path, lambda log: "epoch 1 evaluating" in log, **settings)
    kill_when(tmp_path, lambda log: " training [" in log, **settings)
    assert "Resuming" in (tmp_path / "killed.log").read_text()
    result, log = result_of(tmp_path, **settings)
    assert result == undisturbed and "Resuming" in log
    # finished: run again, it trains nothing and reports the same
    result, log = result_of(tmp_path, **settings)
    assert result == undisturbed and "had finished" in log


def test_killed_before_the_first_epoch_ended_and_resumed_by_path(undisturbed, tmp_path, small):
    kill_when(tmp_path, lambda log: list((tmp_path / "saved").glob("*.resume.pth")), **small)
    (run_file,) = (tmp_path / "saved").glob("*.resume.pth")
    result, _ = result_of(tmp_path, resume=str(run_file), **small)
    assert result == undisturbed


def test_checkpoints_are_plain_data(tmp_path, small):
    train(tmp_path, {"epochs": 1, **small})
    files = sorted((tmp_path / "saved").glob("*.pth"))
    assert len(files) == 2
    for file in files:
        state = torch.load(file, weights_only=True)
        assert type(state["config"]) is dict and state["config"]["model"] == "IRLLRec"
    assert not list((tmp_path / "saved").glob(".*"))  # no temporary files


def test_a_parameter_keeps_its_state_beside_one_whose_name_ends_as_its_own():
    now = ["linear.weight", "gate.linear.weight", "bias"]
    state = {"state": {0: "a", 1: "b", 2: "c"}, "param_groups": []}
    assert _in_order_of(now, [*now[:2], "linear.buffer", "bias"], state) == state
    # two stood first, and one had a shorter name
    assert _in_order_of(["bias", "part.weight"], ["weight", "bias"], state)["state"] == {0: "b", 1: "a"}


def test_a_run_on_other_data_is_refused(tmp_path, monkeypatch):
    """A finished one, too: what it has learnt is of other users, or of other texts."""
    data = write_tiny(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    settings = {**TINY, "data_path": str(data), "epochs": 1, "resume": True, "checkpoint_dir": str(tmp_path / "saved")}
    run_recbole("IRLLRec", "tiny", config_dict=settings)
    (run,) = (tmp_path / "saved").glob("*.resume.pth")
    state = torch.load(run, weights_only=True)
    kind = next(iter(state["texts"]))
    state["texts"][kind] = {**state["texts"][kind], "encoder": "another"}
    torch.save(state, run)
    with pytest.raises(IRLLRecError, match=r"resume\.pth was trained with \w+ texts of another, "):
        run_recbole("IRLLRec", "tiny", config_dict=settings)
    file = data / "tiny" / "tiny.train.inter"
    head, *lines = file.read_text().splitlines()
    file.write_text("\n".join([head, *reversed(lines)]) + "\n")
    with pytest.raises(IRLLRecError, match=r"resume\.pth is a run on data whose users or items have other ids"):
        run_recbole("IRLLRec", "tiny", config_dict=settings)


def test_a_run_that_is_not_there(tmp_path, small):
    with pytest.raises(IRLLRecError, match=r"nothing\.resume\.pth does not exist"):
        train(tmp_path, {"resume": "saved/nothing.pth", **small})
