"""`irllrec benchmark`, from the command line to the files: real runs on Ray, killed, gone on with and added to."""

import json
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from command import refusal, run, start
from tiny_data import write_tiny

from recbole_irllrec.benchmark.results import read_results

OUT = Path("results/tiny")
# NCL makes 1000 clusters of 49 users, which faiss refuses.
SPACES = {"BPR": "learning_rate: {loguniform: [0.01, 0.1]}", "NCL": "n_layers: {choice: [2]}"}
ARGUMENTS = ("benchmark", "--dataset", "tiny", "--data-path", "data", "--seeds", 1, "--tune-samples", 2, "--epochs", 3)
ARGUMENTS += ("--spaces", "spaces", "--metrics", "ndcg,Recall", "--topk", "5,10", "--max-concurrent", 1)


@pytest.fixture
def here():
    """A data set without a split in data/, and search spaces in spaces/."""
    own = write_tiny(Path("data")) / "tiny"
    lines: list[str] = []
    for part in ("train", "valid", "test"):
        file = own / f"tiny.{part}.inter"
        header, *rest = file.read_text().splitlines()
        lines += rest
        file.unlink()
    (own / "tiny.inter").write_text("\n".join([header, *lines, ""]))
    Path("tiny.yaml").write_text("train_batch_size: 256\n")
    Path("spaces").mkdir()
    for model, space in SPACES.items():
        Path(f"spaces/{model}.yaml").write_text(space)


def records():
    return {file: file.stat().st_mtime_ns for file in OUT.glob("*/*.json")}


def test_killed_gone_on_with_and_added_to(here):
    asked = [*map(str, ARGUMENTS), "--models"]
    process = start(*asked, "BPR", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (before := records()):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    split = {file: file.read_bytes() for file in OUT.glob("split/*/*")}

    said = run(*asked, "BPR,NCL")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert "NCL, seed 1: failed: RuntimeError: Error in void faiss" in said.stderr
    assert "BPR, seed 1: NDCG@5" in said.stderr and "report.html" in said.stdout
    assert {file: file.read_bytes() for file in OUT.glob("split/*/*")} == split

    trials = [json.loads(file.read_text()) for file in OUT.glob("trials/*.json")]
    assert len(trials) == 2 and not any("test" in trial for trial in trials)
    (file,) = OUT.glob("runs/BPR*.json")
    record = json.loads(file.read_text())
    best = max(trials, key=lambda trial: trial["valid"]["ndcg@5"])
    assert record["settings"] == best["settings"]
    assert [entry["epoch"] for entry in record["history"]] == [1, 2, 3]
    assert record["seconds"] >= record["seconds_to_best"] > 0 and record["inference_seconds"] > 0
    assert record["parameters"] == (49 + 61) * 64 and record["peak_memory"] > 100e6
    users = pd.read_parquet(file.with_suffix(".parquet"))
    for metric, value in record["test"].items():
        assert users[metric].mean() == pytest.approx(value, abs=1e-5)

    after = records()
    run(*asked, "BPR,Pop", "--protocol", "recbole")
    assert {file: time for file, time in records().items() if file in after} == after
    found = read_results(OUT)
    assert found.models == ["BPR", "Pop"] and list(found.failures["model"]) == ["NCL"]
    commands = [shlex.join(["irllrec", *asked, more]) for more in ("BPR", "BPR,NCL", "BPR,Pop")]
    assert found.plan["commands"] == [*commands[:2], f"{commands[2]} --protocol recbole"]
    table = pd.read_parquet(OUT / "per_user.parquet")
    assert list(table) == ["user", "ndcg@5", "ndcg@10", "recall@5", "recall@10", "model", "seed"]
    assert table.groupby("model", observed=True).size().to_dict() == {"BPR": 48, "Pop": 48}
    report = (OUT / "report.md").read_text()
    assert "NCL | failed" in report and "drawn by RecBole" in report and "Failed: NCL, seed 1" in report

    (OUT / "report.html").unlink()
    assert "report.html" in run("benchmark", "report", OUT).stdout
    assert (OUT / "report.html").is_file()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--models", "BRP"], "There is no model named 'BRP'; did you mean BPR?"),
        (["--models", "BPR,BPR"], "The models are BPR, BPR: name at least one, and each once."),
        (["--models", "BPR:published"], "There is no model BPR:published: presets are of IRLLRec."),
        (["--models", "IRLLRec:best"], "The setting preset .* is 'best'"),
        (
            ["--models", "BPR", "--metrics", "Recall,RMSE"],
            "There is no metric RMSE of rankings: take some of AveragePopularity, GAUC",
        ),
        (["--models", "BPR", "--topk", "5,0"], "--topk is '5,0': give numbers of at least 1"),
        (["--models", "BPR", "--valid-metric", "MRR@5"], r"valid_metric is MRR@5, which metrics \['NDCG', 'Recall'\]"),
        (["--models", "FISM"], "There is no search space for FISM: write FISM.yaml"),
        (["--models", "BPR", "--dataset", "tinny"], "tinny is not there: give the data set's right name"),
        (["--models", "BPR", "--out", "spaces"], "spaces holds other files and no benchmark.json"),
        (["--models", "BPR", "--address", "127.0.0.1:1"], "The Ray address 127.0.0.1:1 cannot be joined"),
        (
            ["--models", "NGCF", "--spaces", "wrong"],
            "the model NGCF has no setting node_dropuot; did you mean node_dropout",
        ),
        (["--models", "GRU4Rec", "--tune-samples", "0"], "GRU4Rec is no general recommender but a sequential"),
    ],
)
def test_refused(here, capsys, more, words):
    Path("wrong").mkdir()
    Path("wrong/NGCF.yaml").write_text("node_dropuot: {choice: [0, 0.1]}")
    assert re.search(words, refusal(capsys, *ARGUMENTS, *more))
    assert not list(Path("results").glob("*/runs/*"))
