"""The benchmark on a real cluster of several nodes: one is lost, then the driver; nothing is lost or done twice."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ray.cluster_utils import Cluster
from tiny_data import SETTINGS, write_tiny

OUT = Path("results/tiny")


def benchmark(said: str, address: str) -> subprocess.Popen:
    """Start a benchmark of eight drawn settings and two seeds; what it prints goes to a file."""
    usual = ["benchmark", "tiny", "--data-path", "data", "--models", "BPR", "--samples", "8"]
    usual += ["--seeds", "2", "--epochs", "60", "--metrics", "ndcg", "--topk", "10", "--address", address]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-m", "recbole_irllrec.cli.app", *usual]
    with open(said, "w") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment)


def wait_for(n: int, process: subprocess.Popen, said: str) -> dict[Path, bytes]:
    """The records of ``n`` runs, once there are so many."""
    deadline = time.monotonic() + 400
    while len(found := sorted(OUT.glob("*/*.json"))) < n:
        assert process.poll() is None and time.monotonic() < deadline, Path(said).read_text()[-3000:]
        time.sleep(0.05)
    return {file: file.read_bytes() for file in found}


@pytest.mark.slow
def test_a_node_and_then_the_driver_are_lost():
    write_tiny(Path("data"))
    settings = {name: value for name, value in SETTINGS.items() if name not in ("metrics", "topk", "valid_metric")}
    Path("data/tiny/tiny.yaml").write_text(yaml.safe_dump({**settings, "stopping_step": 100}))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        process = benchmark("first", cluster.address)
        wait_for(2, process, "first")
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        wait_for(5, process, "first")
        process.kill()
        process.wait()
        before = {file: file.read_bytes() for file in OUT.glob("*/*.json")}
        again = benchmark("second", cluster.address)
        again.wait(400)
    finally:
        cluster.shutdown()
    said = Path("second").read_text()
    assert again.returncode == 0, said[-3000:]
    records = {file: file.read_bytes() for file in OUT.glob("*/*.json")}
    assert len(records) == 10 and before.items() <= records.items() and 5 <= len(before) < 10
    assert said.count("] BPR, a trial:") + said.count("] BPR, seed") == 10 - len(before) and "failed" not in said
    # what the lost node was at has begun again by itself, and no other run has
    assert Path("first").read_text().count("] BPR, a trial:") <= len(before)
