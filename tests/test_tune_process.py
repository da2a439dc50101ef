"""The command in processes of its own: killed and gone on with; on a cluster that loses a node."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ray.cluster_utils import Cluster
from tiny_data import SETTINGS, write_tiny

from recbole_irllrec.runs import load_splits, train
from recbole_irllrec.tuning.records import FINISHED, RUNNING, Folder, Trial

SPACE = """
ranking_loss: {choice: [bpr, softmax]}
learning_rate: {loguniform: [1e-3, 1e-1]}
n_intents: 4
stopping_step: 1000
"""


def tune(tmp_path, *more, epochs=15) -> subprocess.Popen:
    """Start a sweep of IRLLRec; what it prints goes to the file "said"."""
    if not Path("space.yaml").exists():
        write_tiny(tmp_path / "data")
        (tmp_path / "data/tiny/tiny.yaml").write_text(yaml.safe_dump(SETTINGS))
        Path("space.yaml").write_text(f"{SPACE}epochs: {epochs}\n")
    usual = ["tune", "tiny", "--data-path", str(tmp_path / "data"), "--space", "space.yaml"]
    usual += ["--out", "sweep", "--scheduler", "none", *map(str, more)]
    # not by `command.start`: Ray does not start from a fork server's child
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with open("said", "a") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "recbole_irllrec.cli.app", *usual], stdout=said, stderr=said, env=environment
        )


def ended_well(process: subprocess.Popen) -> str:
    process.wait(400)
    said = Path("said").read_text()
    assert process.returncode == 0, said[-3000:]
    return said


def wait_until(reached, process: subprocess.Popen) -> dict[int, Trial]:
    deadline = time.monotonic() + 300
    while True:
        trials = Folder(Path("sweep")).trials()
        if reached(trials.values()):
            return trials
        assert process.poll() is None and time.monotonic() < deadline, Path("said").read_text()[-3000:]
        time.sleep(0.02)


def as_alone(trial: Trial, tmp_path) -> bool:
    """Whether a trial's history is that of a run with its settings, undisturbed."""
    splits = load_splits("tiny", tmp_path / "data", settings={"valid_metric": "NDCG@10"})
    space = yaml.safe_load(Path("space.yaml").read_text())
    fixed = {name: value for name, value in space.items() if not isinstance(value, dict)}
    run = train("IRLLRec", splits, {**fixed, **trial.settings}, f"alone/{trial.number}")
    clockless = [[(e.epoch, e.metrics, e.losses) for e in history] for history in (run.history, trial.history)]
    return clockless[0] == clockless[1]


def test_killed_and_gone_on_with(tmp_path):
    process = tune(tmp_path, "--samples", 2, "--max-concurrent", 1)
    before = wait_until(
        lambda trials: (
            any(t.status == FINISHED for t in trials)
            and any(t.status == RUNNING and len(t.history) > 3 for t in trials)
        ),
        process,
    )
    process.kill()  # kill -9, of the driver alone
    process.wait()
    Path("said").unlink()
    kept = Path("sweep/trials/0001.json").read_bytes()
    said = ended_well(tune(tmp_path, "--samples", 3, "--max-concurrent", 1, "--resume"))
    assert Path("sweep/trials/0001.json").read_bytes() == kept and "trial 1:" not in said
    trials = Folder(Path("sweep")).trials()
    assert sorted(trials) == [1, 2, 3] and all(trial.status == FINISHED for trial in trials.values())
    # evaluations that were checkpointed have not been made again: their clock is that of the killed run
    assert trials[2].history[2] == before[2].history[2]
    assert as_alone(trials[2], tmp_path)
    assert "NDCG@10 on validation" in said and "run_recbole --model=IRLLRec" in said


@pytest.mark.slow
def test_a_node_and_then_the_driver_are_lost(tmp_path):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        usual = ["--samples", 5, "--address", cluster.address]
        # trials that last longer than a further one takes to begin
        process = tune(tmp_path, *usual, epochs=100)
        wait_until(lambda trials: sum(t.status == RUNNING and len(t.history) > 2 for t in trials) == 2, process)
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        before = wait_until(lambda trials: sum(t.status == FINISHED for t in trials) > 1, process)
        process.kill()
        process.wait()
        ended = {number: trial for number, trial in Folder(Path("sweep")).trials().items() if trial.status == FINISHED}
        ended_well(tune(tmp_path, *usual, "--resume"))
    finally:
        cluster.shutdown()
    trials = Folder(Path("sweep")).trials()
    assert len(trials) == 5 and all(trial.status == FINISHED for trial in trials.values())
    assert len(before) > 1 and {number: trials[number] for number in ended} == ended
    assert all(as_alone(trial, tmp_path) for trial in trials.values())


@pytest.mark.slow
def test_a_node_is_lost(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "ray_client_server_port": port})
    try:
        # by ray://: from a machine that is no node; trials last longer than a new node takes to begin one
        process = tune(tmp_path, "--samples", 3, "--address", f"ray://127.0.0.1:{port}", epochs=300)
        wait_until(any, process)
        node = cluster.add_node(num_cpus=1)  # not before: what runs the sweep could be there, with one address for all
        wait_until(lambda trials: sum(t.status == RUNNING and len(t.history) > 2 for t in trials) == 2, process)
        cluster.remove_node(node, allow_graceful=False)
        said = ended_well(process)
    finally:
        cluster.shutdown()
    trials = Folder(Path("sweep")).trials()
    assert len(trials) == 3 and all(trial.status == FINISHED for trial in trials.values())
    assert all(as_alone(trial, tmp_path) for trial in trials.values())
    assert all(f"trial {number}:" in said for number in trials)
