"""Where there is no Ray, or not what a task needs, is said in one sentence."""

import contextlib
import http.server
import os
import socket
import threading
import time

import pytest
import ray
from ray.cluster_utils import Cluster

from recbole_irllrec import IRLLRecError
from recbole_irllrec.cluster import _got, connected, refuse_too_much


@pytest.fixture
def web_server():
    with http.server.ThreadingHTTPServer(("", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def dead_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_addresses_where_no_ray_answers(web_server, dead_port, monkeypatch):
    for address, words in (
        (f"127.0.0.1:{dead_port}", "does not answer"),
        (f"ray://127.0.0.1:{dead_port}", "does not answer"),
        ("nohost.invalid:6379", "does not answer"),
        (f"127.0.0.1:{web_server}", "is no Ray"),
        (f"ray://127.0.0.1:{web_server}", "is no Ray"),
        ("http://127.0.0.1", "is no host:port"),
    ):
        with pytest.raises(IRLLRecError, match=words) as refusal, connected(address):
            pass
        assert address in str(refusal.value)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{dead_port}")  # other Rays may run here
    with pytest.raises(IRLLRecError, match="auto cannot be joined"), connected("auto"):
        pass
    assert not ray.is_initialized()


def test_a_task_gets_what_it_needs_and_no_more_or_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(IRLLRecError, match=r"9999 CPUs, but no node"), connected():
        with pytest.raises(IRLLRecError, match=r"3 GPUs, but"):
            refuse_too_much(cpus=1, gpus=3)
        task = ray.remote(num_cpus=1)(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        assert ray.get(task.remote()) == ""
        refuse_too_much(cpus=9999, gpus=0)
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ray.exceptions.WorkerCrashedError(), "its process was lost: .*died unexpectedly"),
        (ray.exceptions.OutOfMemoryError("the node was low on memory"), "the node ran low on memory"),
        (ray.exceptions.NodeDiedError("its node is gone"), "its node is gone"),
        (ray.exceptions.ObjectLostError("1" * 56, None, ""), "lost due to node failure"),
    ],
)
def test_a_lost_worker_is_told_in_a_sentence(monkeypatch, error, words):
    def lost(_reference):
        raise error

    monkeypatch.setattr(ray, "get", lost)
    with pytest.raises(
        IRLLRecError, match=rf"^The cluster has lost a part of the work \(.*{words}.*(?<!\.)\): give its nodes"
    ):
        _got(None)


KILLED_ONCE = """
import contextlib, os, sys
if "--mode=specific-server" in sys.orig_argv:
    with contextlib.suppress(FileExistsError):
        os.mkdir("{}")
        os.kill(os.getpid(), 9)
"""


def _wait_for(port: int) -> None:
    """The cluster is there before its server of clients is."""
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)


@pytest.mark.slow
def test_a_client_server_that_loses_its_process_is_asked_again(dead_port, tmp_path, monkeypatch):
    killed = tmp_path / "killed"
    (tmp_path / "sitecustomize.py").write_text(KILLED_ONCE.format(killed))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "ray_client_server_port": dead_port})
    try:
        _wait_for(dead_port)
        with connected(f"ray://127.0.0.1:{dead_port}"):
            assert killed.is_dir() and ray.get(ray.remote(lambda: 3).remote()) == 3
    finally:
        cluster.shutdown()
    assert not ray.is_initialized()
