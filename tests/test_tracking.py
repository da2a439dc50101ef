"""Weights & Biases and MLflow, as they are: what they are told while a model trains."""

import json
import re
import struct
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from command import irllrec
from recbole.quick_start import run_recbole
from test_recbole import run_in_two_processes
from tiny_data import SETTINGS, write_tiny

from recbole_irllrec import IRLLRecError, fit, tracking

TERMS = {"ranking", "regularization", "profile", "pairwise"}
METRICS = {"recall@5", "recall@10", "ndcg@5", "ndcg@10"}


@pytest.fixture
def mlflow(monkeypatch, tmp_path):
    """MLflow with a store of its own; a function that gives the runs by name."""
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "true")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "tests")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return mlflow


def runs(mlflow) -> list:
    """All, the first first."""
    client = mlflow.MlflowClient()
    found = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_name))


@pytest.fixture
def wandb(monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield wandb
    wandb.teardown()


def wandb_records(file: Path) -> Iterator:
    """What a run that was kept offline has sent: a log of LevelDB's form, records in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, record = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""


def wandb_runs() -> dict[str, dict]:
    """Runs that were kept offline by their names: settings, rows of the history, summary, files of artifacts."""
    found: dict[str, dict] = {}
    for file in sorted(Path("wandb").glob("offline-run-*/*.wandb")):
        run: dict = {"history": [], "summary": {}, "config": {}, "files": set(), "exit": None}
        for record in wandb_records(file):
            updates = [*record.run.config.update, *record.config.update]
            run["config"] |= {each.key: json.loads(each.value_json) for each in updates}
            if record.HasField("run"):
                run |= {"id": record.run.run_id, "group": record.run.run_group}
                found[record.run.display_name] = run
            if items := record.history.item:
                run["history"].append({i.key or i.nested_key[0]: json.loads(i.value_json) for i in items})
            values = [*record.summary.update, *record.run.summary.update]
            run["summary"] |= {i.key or i.nested_key[0]: json.loads(i.value_json) for i in values}
            for artifact in (record.artifact, record.request.log_artifact.artifact):
                run["files"] |= {entry.path for entry in artifact.manifest.contents}
            if record.HasField("exit"):
                run["exit"] = record.exit.exit_code
    return found


def trained(model: str, **settings) -> dict:
    write_tiny(Path("data")) if not Path("data").is_dir() else None
    return run_recbole(model, "tiny", config_dict={**SETTINGS, "data_path": "data", **settings})


def test_mlflow_is_told_of_a_training(mlflow):
    result = trained("IRLLRec", log_mlflow=True, api_key="hidden")
    (run,) = runs(mlflow)
    assert run.info.run_name == "IRLLRec-tiny" and run.info.status == "FINISHED"
    assert run.data.params["embedding_size"] == "8" and run.data.params["metrics"] == "['Recall', 'NDCG']"
    assert "hidden" not in run.data.params.values()
    client = mlflow.MlflowClient()
    for term in TERMS:
        history = client.get_metric_history(run.info.run_id, f"train/loss/{term}")
        assert [point.step for point in history] == [0, 1, 2]
    told = run.data.metrics
    assert told["train/train_loss"] == pytest.approx(
        sum(value for name, value in told.items() if name.startswith("train/loss/"))
    )
    scores = client.get_metric_history(run.info.run_id, "valid/ndcg_at_10")
    assert max(point.value for point in scores) == result["best_valid_result"]["ndcg@10"] and len(scores) == 3
    for metric, value in result["test_result"].items():
        assert told[f"eval/{metric.replace('@', '_at_')}"] == value


def test_recboles_models_are_told_of_below_the_users_own_run(mlflow):
    """One after another, without a word between them."""
    mlflow.set_experiment("tests")
    with mlflow.start_run(run_name="mine") as mine:
        mlflow.log_param("learning_rate", "own")
        trained("BPR", log_mlflow=True)
        trained("MultiVAE", log_mlflow=True, embedding_size=4)
        assert mlflow.active_run().info.run_id == mine.info.run_id
    names = {run.info.run_name: run for run in runs(mlflow)}
    assert names.keys() == {"mine", "BPR-tiny", "MultiVAE-tiny"}
    assert names["mine"].data.params == {"learning_rate": "own"} and not names["mine"].data.metrics
    for name in ("BPR-tiny", "MultiVAE-tiny"):
        assert names[name].data.tags["mlflow.parentRunId"] == mine.info.run_id
        assert {"train/train_loss", "valid/recall_at_5", "eval/recall_at_5"} <= names[name].data.metrics.keys()


def test_of_two_processes_one_tells(mlflow, small, monkeypatch):
    result = run_in_two_processes(monkeypatch, **small, log_mlflow=True)
    (run,) = runs(mlflow)
    assert run.info.status == "FINISHED" and "train/loss/ranking" in run.data.metrics
    assert run.data.metrics["eval/recall_at_10"] == result["test_result"]["recall@10"]


def test_a_training_that_fails_is_told_so(mlflow):
    with pytest.raises(ValueError, match="nan"):
        trained("BPR", log_mlflow=True, learning_rate=1e30)
    (run,) = runs(mlflow)
    assert run.info.status == "FAILED"


def test_a_training_outlives_its_tracker(mlflow, monkeypatch, caplog):
    def vanish(self, measured):
        raise mlflow.MlflowException("the server has gone")

    monkeypatch.setattr(tracking.MlflowRun, "log", vanish)
    assert trained("BPR", log_mlflow=True)["test_result"]
    assert caplog.text.count("mlflow could not be told (the server has gone)") == 1


def test_an_address_that_is_none_is_refused_before_training(mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://here")
    with pytest.raises(IRLLRecError, match=r"mlflow could not be told .*MLFLOW_TRACKING_URI"):
        trained("BPR", log_mlflow=True)


def test_weights_and_biases_is_told_each_term(wandb):
    result = trained("IRLLRec", log_wandb=True, wandb_project="mine")
    wandb.finish()
    (run,) = wandb_runs().values()
    assert run["config"]["embedding_size"] == 8 and run["config"]["model"] == "IRLLRec"
    losses = [row for row in run["history"] if "train/train_loss" in row]
    assert [row["train_step"] for row in losses] == [0, 1, 2]
    for row in losses:
        assert row["train/train_loss"] == pytest.approx(sum(row[f"train/loss/{term}"] for term in TERMS), rel=1e-3)
    scores = [row["valid/ndcg@10"] for row in run["history"] if "valid/ndcg@10" in row]
    assert max(scores) == result["best_valid_result"]["ndcg@10"]
    assert {name: run["summary"][f"eval/{name}"] for name in METRICS} == dict(result["test_result"])


def test_without_being_asked_nobody_is_told(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: pytest.fail("looked for"))
    trained("BPR")
    assert not Path("wandb").exists() and not Path("mlruns").exists() and not Path("mlflow.db").exists()


@pytest.mark.parametrize("tracker", tracking.TRACKERS)
def test_a_missing_package_is_one_sentence(tracker, monkeypatch, capsys):
    """The folder that Weights & Biases leaves behind is no package; the search finds nothing else here."""
    Path(tracker).mkdir()
    monkeypatch.setattr(tracking, "find_spec", lambda name: PathFinder.find_spec(name, [str(Path.cwd())]))
    sentence = f'log_{tracker} needs the package {tracker}: pip install "recbole-irllrec[{tracker}]".'
    with pytest.raises(IRLLRecError, match=re.escape(sentence)):
        trained("BPR", **{f"log_{tracker}": True})
    assert irllrec(f"--log_{tracker}=True", program="run_recbole") == 1
    assert capsys.readouterr().err.endswith(f"run_recbole: {sentence}\n")


def test_secrets_by_their_names():
    secret = ("api_key", "openai_key", "OPENAI_API_KEY_FILE", "hf_token", "token", "wandb_password", "client_secret")
    plain = ("keyword", "tokenizer", "n_tokens", "USER_ID_FIELD", "monkey", "passes")
    assert [name for name in secret + plain if tracking.is_secret(name)] == list(secret)


def test_where_nobody_is_told_is_refused():
    """In Python, RecBole trains in a folder that vanishes."""
    with pytest.raises(IRLLRecError, match="The setting log_mlflow is of run_recbole"):
        fit((["a", "b"], ["x", "y"]), log_mlflow=True)


def test_settings_that_make_no_sense():
    with pytest.raises(IRLLRecError, match="log_mlflow is 'maybe'"):
        trained("BPR", log_mlflow="maybe")
