"""A benchmark, a study and a sweep, told to Weights & Biases and MLflow from their folders."""

import json
import socket
from pathlib import Path

import pandas as pd
import pytest
from command import refusal, run
from test_tracking import TERMS, mlflow, runs, wandb, wandb_runs  # noqa: F401  (fixtures)
from tiny_data import SETTINGS, write_tiny

from recbole_irllrec.runs.tracking import TOLD

QUICK = ("tiny", "--data-path", "data", "--config-files", "tiny.yaml", "--max-concurrent", 1)


@pytest.fixture(autouse=True)
def here(one_ray):
    write_tiny(Path("data"))
    settings = {**SETTINGS, "hub_token": "hidden"}
    Path("tiny.yaml").write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))


def by_name(mlflow) -> dict:  # noqa: F811
    return {run.info.run_name: run for run in runs(mlflow)}


def files_of(mlflow, found) -> set[str]:  # noqa: F811
    return {Path(file.path).name for file in mlflow.MlflowClient().list_artifacts(found.info.run_id, "report")}


def test_a_benchmark(mlflow, wandb):  # noqa: F811
    """Told while it is made, told again with what has come since, and nothing twice."""
    asked = ["benchmark", *QUICK, "--samples", 0, "--seeds", 2, "--out", "results"]
    run(*asked, "--models", "BPR[learning_rate=0.01]", "--track", "mlflow")
    names = by_name(mlflow)
    first, second = (f"BPR[learning_rate=0.01], seed {seed}" for seed in (1, 2))
    assert names.keys() == {"results", first, second}
    whole, record = names["results"], json.loads(next(Path("results/runs").glob("BPR*-1.json")).read_text())
    assert whole.data.params["dataset"] == "tiny" and whole.data.tags["models"] == "BPR[learning_rate=0.01]"
    assert {"report.md", "report.html", "summary.csv"} <= files_of(mlflow, whole)
    assert "per_user.parquet" not in files_of(mlflow, whole)
    told_of = [Path("results", name).read_text() for name in ("report.md", "benchmark.json")]
    assert all("epochs" in text and "hidden" not in text for text in told_of)
    told = names[first]
    assert told.info.status == "FINISHED" and told.data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert told.data.params["learning_rate"] == "0.01" and told.data.params["seed"] == "1"
    assert told.data.metrics["eval/ndcg_at_10"] == record["test"]["ndcg@10"]
    client = mlflow.MlflowClient()
    curve = client.get_metric_history(told.info.run_id, "valid/ndcg_at_10")
    assert [(point.step, point.value) for point in curve] == [
        (each["epoch"] - 1, each["metrics"]["ndcg@10"]) for each in record["history"]
    ]

    run(*asked, "--models", "EASE")
    before = {name: each.info.run_id for name, each in names.items()}
    for _ in range(2):
        run("benchmark", "report", "results", "--track", "wandb, mlflow")
        after = {name: each.info.run_id for name, each in by_name(mlflow).items()}
        assert after == before | {"EASE, seed 1": after["EASE, seed 1"]} and len(runs(mlflow)) == 4
    summary = pd.read_csv("results/summary.csv").set_index("model")
    of_ease = by_name(mlflow)["results"].data.metrics["EASE/ndcg_at_10"]
    assert of_ease == pytest.approx(summary.loc["EASE", "ndcg@10"])
    kept = wandb_runs()
    assert kept.keys() == after.keys() and len(list(Path("wandb").glob("offline-run-*"))) == 5  # the whole twice
    assert kept[first]["summary"]["eval/ndcg@10"] == record["test"]["ndcg@10"]
    assert [row["valid_step"] for row in kept[first]["history"]] == [0, 1, 2]
    assert kept[first]["group"] == kept["results"]["id"] and "report.html" in kept["results"]["files"]
    assert kept["results"]["summary"]["EASE/ndcg@10"] > 0

    client.delete_run(before["results"])  # by somebody: all is told anew
    run("benchmark", "report", "results", "--track", "mlflow")
    assert by_name(mlflow)["results"].info.run_id not in before.values()
    assert {name: each.info.run_id == before.get(name) for name, each in by_name(mlflow).items()}[first] is False


@pytest.mark.slow
def test_a_run_that_has_failed(mlflow):  # noqa: F811
    run("study", "sparsity", *QUICK, "--seeds", 1, "--models", "Pop,BPR[learning_rate=1e30]", "--track", "mlflow")
    failed = by_name(mlflow)["BPR[learning_rate=1e30], seed 1"]
    assert failed.info.status == "FAILED" and "nan" in failed.data.tags["error"]


@pytest.mark.slow
def test_a_study(mlflow):  # noqa: F811
    run("study", "ablation", *QUICK, "--seeds", 1, "--out", "parts", "--track", "mlflow")
    names = by_name(mlflow)
    assert {"ablation.html", "ablation.csv"} <= files_of(mlflow, names["parts"])
    full = names["IRLLRec, seed 1"].data.metrics
    assert {f"train/loss/{term}" for term in TERMS} <= full.keys()
    assert full["train/train_loss"] == pytest.approx(sum(full[n] for n in full if n.startswith("train/loss/")))


@pytest.mark.slow
def test_a_sweep(mlflow):  # noqa: F811
    Path("space.yaml").write_text("learning_rate: {choice: [0.01, 0.02]}\n")
    asked = ["tune", *QUICK, "--model", "BPR", "--space", "space.yaml", "--samples", 2, "--out", "sweep"]
    run(*asked, "--track", "mlflow")
    names = by_name(mlflow)
    whole = names.pop("BPR-tiny sweep")
    assert files_of(mlflow, whole) == {"best.yaml", "trials.csv", "seeds.csv", "report.html"}
    settings = Path("sweep/best.yaml").read_text()
    assert "epochs: 3" in settings and "hidden" not in settings
    seeds = pd.read_csv("sweep/seeds.csv")
    assert whole.data.metrics["eval/ndcg_at_10"] == pytest.approx(seeds["test ndcg@10"][0])
    trials = pd.read_csv("sweep/trials.csv").set_index("trial")
    for number, trial in trials.iterrows():
        told = names.pop(f"trial {number}")
        assert float(told.data.params["learning_rate"]) == trial["learning_rate"]
        assert told.data.params["embedding_size"] == "8" and "eval/ndcg_at_10" not in told.data.metrics
    ((_, tested),) = names.items()
    assert tested.data.metrics["eval/ndcg_at_10"] == seeds["test ndcg@10"][0] and tested.data.params["seed"] == "2020"
    run(*asked, "--resume", "--track", "mlflow")
    assert len(runs(mlflow)) == 4 and json.loads(Path("sweep", TOLD).read_text())


def test_what_cannot_be_told_is_refused_before_any_work(mlflow, monkeypatch, capsys):  # noqa: F811
    asked = ["benchmark", *QUICK, "--models", "Pop"]
    assert "--track is 'mlfow': give wandb or mlflow" in refusal(capsys, *asked, "--track", "mlfow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://user:secret@here")
    said = refusal(capsys, *asked, "--track", "mlflow")
    assert "mlflow could not be told" in said and "//here" in said and "secret" not in said
    assert "leave --track out" in said and not Path("results").exists()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        assert "mlflow could not be told" in refusal(capsys, *asked, "--track", "mlflow")
    assert not Path("results").exists()
