"""A run killed with kill -9 and resumed ends as one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from recbole_irllrec import IRLLRecError

# Draws from every generator: dropped edges, drawn negatives, noise, shuffled batches, negative samples.
SETTINGS = {
    "epochs": 4,
    "train_batch_size": 8192,
    "ranking_loss": "softmax",
    "edge_dropout": 0.1,
    "translation_weight": 0.01,
    "matching_weight": 0.01,
    "profile_weight": 0.1,
    "pairwise_weight": 0.1,
    "show_progress": False,
    "eval_args": {"mode": "uni100"},
}
SCRIPT = """
import json, sys
settings = json.loads(sys.argv.pop())
import recbole_irllrec
from recbole.quick_start import run_recbole
result = run_recbole("IRLLRec", "ml-100k", config_dict=settings)
scores = [result["best_valid_score"], dict(result["best_valid_result"]), dict(result["test_result"])]
print("RESULT", json.dumps(scores))
"""


def command(**settings) -> list[str]:
    return [sys.executable, "-c", SCRIPT, json.dumps({**SETTINGS, **settings})]


def result_of(folder: Path, **settings):
    run = subprocess.run(command(**settings), cwd=folder, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.split("RESULT ")[1]), run.stderr


def kill_when(folder: Path, reached, delay: float, **settings) -> None:
    """Start a run and kill it ``delay`` seconds after ``reached(log)`` holds."""
    with open(folder / "killed.log", "w") as log:
        run = subprocess.Popen(command(**settings), cwd=folder, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 240
    while not reached((folder / "killed.log").read_text()):
        assert run.poll() is None and time.monotonic() < deadline, (folder / "killed.log").read_text()[-3000:]
        time.sleep(0.01)
    time.sleep(delay)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return result_of(tmp_path_factory.mktemp("undisturbed"))[0]


def test_killed_twice_and_resumed(undisturbed, tmp_path):
    kill_when(tmp_path, lambda log: "epoch 0 evaluating" in log, 0.3, resume=True)
    kill_when(tmp_path, lambda log: "epoch 2 training" in log, 0.0, resume=True)
    assert "Resuming" in (tmp_path / "killed.log").read_text()
    result, log = result_of(tmp_path, resume=True)
    assert result == undisturbed and "Resuming" in log
    # finished: run again, it trains nothing and reports the same
    result, log = result_of(tmp_path, resume=True)
    assert result == undisturbed and "had finished" in log


def test_killed_before_the_first_epoch_ended_and_resumed_by_path(undisturbed, tmp_path):
    kill_when(tmp_path, lambda log: list((tmp_path / "saved").glob("*.resume.pth")), 0.2)
    (run_file,) = (tmp_path / "saved").glob("*.resume.pth")
    result, _ = result_of(tmp_path, resume=str(run_file))
    assert result == undisturbed


def test_checkpoints_are_plain_data(tmp_path):
    result_of(tmp_path, epochs=1)
    files = sorted((tmp_path / "saved").glob("*.pth"))
    assert len(files) == 2
    for file in files:
        state = torch.load(file, weights_only=True)
        assert type(state["config"]) is dict and state["config"]["model"] == "IRLLRec"
    assert not list((tmp_path / "saved").glob(".*"))  # no temporary files


def test_a_run_that_is_not_there(irllrec_config):
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer

    config = irllrec_config(resume="saved/nothing.pth", profile_weight=0, pairwise_weight=0, translation_weight=0)
    config["matching_weight"] = 0
    train_data, _, _ = data_preparation(config, create_dataset(config))
    trainer = get_trainer(config["MODEL_TYPE"], "IRLLRec")(config, get_model("IRLLRec")(config, train_data._dataset))
    with pytest.raises(IRLLRecError, match=r"nothing\.resume\.pth does not exist"):
        trainer.fit(train_data)
