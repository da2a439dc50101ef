"""Sweeps on a real Ray: what is chosen, what is kept, what becomes of trials that go wrong."""

import contextlib
import csv
import html
import json
import os
import shlex
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from browser import look_at
from command import refusal, run
from recbole.quick_start import run_recbole
from tiny_data import SETTINGS, write_tiny, write_tiny_tables

from recbole_irllrec import IRLLRecError
from recbole_irllrec.cli.tune import _show
from recbole_irllrec.cluster import connected
from recbole_irllrec.runs import Evaluation, load_splits, pool
from recbole_irllrec.runs import train as train_run
from recbole_irllrec.runs.folder import read_json
from recbole_irllrec.runs.space import read_space
from recbole_irllrec.runs.worker import work
from recbole_irllrec.tuning import sweep as sweeps
from recbole_irllrec.tuning.page import encoded
from recbole_irllrec.tuning.recorder import Recorder
from recbole_irllrec.tuning.records import FAILED, FINISHED, STOPPED, Folder, Trial
from recbole_irllrec.tuning.report import RESULTS, _beside_popularity
from recbole_irllrec.tuning.trial import run_trial

BPR = "embedding_size: {choice: [4, 8]}\nlearning_rate: {loguniform: [1e-3, 1e-1]}\n"
IRLLREC = """
ranking_loss: {choice: [bpr, softmax]}
softmax_temperature: {uniform: [0.1, 0.4], when: {ranking_loss: softmax}}
profile_weight: {loguniform: [1e-3, 1], or: 0}
learning_rate: {loguniform: [1e-3, 1e-1]}
n_intents: 4
"""


def plan_of(text: str, model: str = "BPR", n_trials: int = 3, **more) -> sweeps.Plan:
    path = Path("space.yaml")
    path.write_text(text)
    return sweeps.Plan(model, read_space(path), n_trials, **{"scheduler": "none", **more})


def tiny(tmp_path, name="data", **more):
    data = tmp_path / name
    if not data.is_dir():
        write_tiny(data, **more)
    return load_splits("tiny", data, settings=SETTINGS)


def swept(plan, splits, folder="sweep", resume=False):
    """Run a sweep; returns what it found, and its folder."""
    where = Folder(Path(folder))
    return sweeps.run(sweeps.check_plan(plan, splits), where, resume), where


def test_the_best_on_validation_is_tested_and_can_be_run_again(one_ray, tmp_path):
    splits = tiny(tmp_path)
    plan = plan_of(IRLLREC, "IRLLRec", n_seeds=2)
    found, folder = swept(plan, splits)
    trials = folder.trials()
    assert sorted(trials) == [1, 2, 3] and all(trial.status == FINISHED for trial in trials.values())
    scores = {number: trial.best.metrics["ndcg@10"] for number, trial in trials.items()}
    best = found["best"]
    assert scores[best.number] == max(scores.values())
    for trial in trials.values():
        assert [evaluation.epoch for evaluation in trial.history] == [0, 1, 2]
        assert all(set(e.metrics) == {"recall@5", "recall@10", "ndcg@5", "ndcg@10"} for e in trial.history)
        assert all({"ranking", "regularization"} <= set(e.losses) for e in trial.history)
        assert ("profile" in trial.best.losses) == (trial.settings["profile_weight"] > 0)
    # the same run by RecBole's own command, from the file alone
    settings = yaml.safe_load((folder.path / "best.yaml").read_text())
    assert best.settings.items() <= settings.items()
    again = run_recbole("IRLLRec", "tiny", config_file_list=[str(folder.path / "best.yaml")])
    first = found["seeds"].iloc[0]
    for name, value in again["test_result"].items():
        assert first[f"test {name}"] == value and first[f"valid {name}"] == again["best_valid_result"][name]
    # popularity on the same test
    popular = folder.read("sweep.json")["popularity"]
    assert popular == again["popularity_result"]
    ours = found["seeds"]["test ndcg@10"].mean()
    assert f"reaches ndcg@10 {popular['ndcg@10']:.4f} on the same test, IRLLRec {ours:.4f}" in found["compared"]
    assert html.escape(found["compared"]) in (folder.path / "report.html").read_text()
    assert shlex.split(found["command"])[-1] == f"--config_files={folder.given / 'best.yaml'}"
    assert list(found["seeds"]["seed"]) == [2020, 2021]
    # only the best trial's checkpoint is left, and nothing of Ray's
    assert [path.stem for path in (folder.path / "checkpoints").iterdir()] == [f"{best.number:04}"]
    assert not (folder.path / "ray").exists()
    table = pd.read_csv(folder.path / "trials.csv")
    assert list(table["trial"]) == [1, 2, 3]
    assert {"status", "best_epoch", "seconds", "ndcg@10", "loss ranking", "ranking_loss", "reason"} <= set(table)
    assert not [name for name in table if "test" in name]
    written = (folder.path / "report.html").read_text()
    assert f'<tr><th scope="row">2020</th><td>{found["seeds"]["best_epoch"].iloc[0]}</td><td>' in written
    assert "prefers-color-scheme: dark" in written and "overflow-x: auto" in written
    # a machine without a graphics card draws slowly, and the browser says so
    page = look_at(folder.path / "report.html", notices=("GL Driver Message", "software WebGL"))
    assert not page.console and not page.requests
    titles = ("Every trial", "Trial after trial", "Learning curves", "parcoords")  # too few to say what matters
    assert [title for title in titles if title not in page.dom] == []
    # gone on with, it has nothing to do, and looks at the test set no more
    before = {path: path.read_bytes() for path in folder.path.glob("**/*.json")}
    swept(plan, splits, resume=True)
    assert {path: path.read_bytes() for path in folder.path.glob("**/*.json")} == before


def test_a_ray_joined_without_the_models_of_ones_own_is_refused(one_ray, monkeypatch):
    monkeypatch.setenv("IRLLREC_MODELS", "mine.py")
    words = r"does not know the models of IRLLREC_MODELS: call ray.shutdown\(\) first, or ray.init with .*mine.py"
    with pytest.raises(IRLLRecError, match=words), connected():
        pass


def test_the_browser_sees_what_a_page_does():
    Path("bad.html").write_text('<script src="http://other.invalid/x.js"></script><script>throw Error("bad")</script>')
    page = look_at(Path("bad.html"))
    assert page.requests == ["http://other.invalid/x.js"] and "Uncaught Error: bad" in page.console[0]


@pytest.mark.slow  # a benchmark's trials and their choice say it, too
def test_the_test_set_has_no_say(one_ray, tmp_path):
    plan = plan_of(BPR, n_trials=2, max_concurrent=1, search="optuna")
    found, folder = swept(plan, tiny(tmp_path), "one")
    poisoned, other = swept(plan, tiny(tmp_path, "poisoned", test_seed=9), "two")
    assert found["best"].number == poisoned["best"].number
    for number, trial in folder.trials().items():
        same = other.trials()[number]
        assert [e._replace(seconds=0) for e in trial.history] == [e._replace(seconds=0) for e in same.history]
    assert (found["seeds"].filter(like="test ") != poisoned["seeds"].filter(like="test ")).any(axis=None)


@pytest.mark.slow
def test_asha_stops_trials_that_fall_behind(one_ray, tmp_path):
    plan = plan_of(
        "learning_rate: {grid: [0.05, 1e-9, 1e-8]}\nepochs: 12\nstopping_step: 20\n",
        n_trials=1,
        scheduler="asha",
        grace_epochs=2,
        max_concurrent=1,
    )
    _, folder = swept(plan, tiny(tmp_path))
    trials = folder.trials()
    # a grid's combinations, whatever was asked for
    assert {number: trial.status for number, trial in trials.items()} == {1: FINISHED, 2: STOPPED, 3: STOPPED}
    assert [len(trials[number].history) for number in (1, 2, 3)] == [12, 2, 2]


def test_a_trial_to_its_last_validation_has_not_lost_patience(tmp_path):
    checked = sweeps.check_plan(plan_of(f"{BPR}epochs: 12\neval_step: 5\n"), tiny(tmp_path))
    best = Trial(1, {}, status=FINISHED, history=curve(10)[4::5])
    seeds, popular = {1: {"error": None, "test": {"ndcg@10": 0.1}}}, {"ndcg@10": 0.2}
    assert "more epochs (it was best after 10 of 10)" in _beside_popularity(checked, best, seeds, popular)
    best.history.pop()
    assert "more patience (it was best after 5 of 5 epochs" in _beside_popularity(checked, best, seeds, popular)


def curve(n_epochs: int) -> list[Evaluation]:
    """Evaluations of a model that learns."""
    return [Evaluation(epoch, {"ndcg@10": epoch / 100}, {}, 1.0, True) for epoch in range(n_epochs)]


def test_asha_compares_trials_that_go_on_at_the_same_epoch(tmp_path):
    checked = sweeps.check_plan(plan_of(f"{BPR}epochs: 60\n", scheduler="asha", grace_epochs=8), tiny(tmp_path))
    kept = Path("checkpoint")
    kept.mkdir()
    (kept / "history.json").write_text(json.dumps([e._asdict() for e in curve(30)]))
    # what came after the checkpoint is done again
    resumed = Trial(1, {}, history=curve(40), checkpoint=str(kept.resolve()))
    lost = Trial(2, {}, history=curve(40), checkpoint="not there any more")
    ended = Trial(4, {}, status=FINISHED, history=curve(40))
    scheduler = sweeps._scheduler(checked, [resumed, lost, ended], Folder(Path("sweep")))
    for number in (1, 2, 3):
        scheduler.on_trial_add(None, SimpleNamespace(trial_id=f"new {number}", config={"number": number}))
    rungs = dict(scheduler._brackets[0]._rungs)
    assert rungs == {8: {"ended 4": 0.07, "new 1": 0.07}, 24: {"ended 4": 0.23, "new 1": 0.23}}

    def report(number: int, epochs: int) -> str:
        trial = SimpleNamespace(trial_id=f"new {number}", config={"number": number})
        return scheduler.on_trial_result(None, trial, {"epochs": epochs, "score": (epochs - 1) / 100})

    assert report(1, 31) == "CONTINUE" and rungs[8]["new 1"] == 0.07
    assert {report(3, epochs) for epochs in range(1, 31)} == {"CONTINUE"} and not scheduler.stopped


def test_a_sweep_of_which_nothing_is_validated_is_refused(tmp_path):
    with pytest.raises(IRLLRecError, match="eval_step is 4 and epochs is 3, so nothing is validated"):
        sweeps.check_plan(plan_of(f"{BPR}eval_step: 4\n"), tiny(tmp_path))
    ease = plan_of("reg_weight: {choice: [1.0, 2.0]}\neval_step: 4\n", "EASE")
    assert sweeps.check_plan(ease, tiny(tmp_path)).epochs == 1


def test_a_metric_that_is_not_a_number(small, monkeypatch):
    """Without negatives there is no AUC; the loss is a number."""
    labels = {"load_col": {"inter": ["user_id", "item_id", "rating"]}, "threshold": {"rating": 1}}
    measured = {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "labeled"}}
    splits = load_splits("small", Path(small["data_path"]), settings={**labels, **measured, "epochs": 3}, model="BPR")
    checked = sweeps.check_plan(plan_of(BPR, metric="AUC"), splits)
    reports = []
    monkeypatch.setattr("recbole_irllrec.tuning.trial.tune", SimpleNamespace(report=reports.append))
    states = SimpleNamespace(read=lambda number: {})
    run_trial({"number": 1, "settings": {}}, checked.task, splits.without_test(), states)
    (said,) = reports
    assert said["failed"].startswith("The validation metric auc is nan after epoch 1: lower learning_rate")


class Killer(threading.Thread):
    """Kills the process of a trial with kill -9 as often as it comes up."""

    def __init__(self, folder: Folder, number: int):
        super().__init__(daemon=True)
        self.folder, self.number, self.killed, self.over = folder, number, set(), threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            trial = self.folder.trials().get(self.number)
            if trial and trial.status == "running" and trial.history:
                for pid in trial_processes():
                    if pid not in self.killed:
                        os.kill(pid, signal.SIGKILL)
                        self.killed.add(pid)


def trial_processes() -> list[int]:
    """The Ray workers below this process that run trials."""

    def parent(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    found = []
    for folder in Path("/proc").iterdir():
        try:
            is_trial = folder.name.isdecimal() and "ray::ImplicitFunc" in (folder / "cmdline").read_text()
            if is_trial and parent(parent(int(folder.name))) == os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_trials_that_go_wrong_end_with_their_reason(one_ray, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "RETRIES", 1)  # each has a new process, which takes long
    plan = plan_of(BPR + "epochs: 4\n", n_trials=5, max_concurrent=1)
    splits = tiny(tmp_path)
    checked, folder = sweeps.check_plan(plan, splits), Folder(Path("sweep"))
    # as if a sweep had drawn these
    wrong = {
        1: {"clip_grad_norm": {"no_such_argument": 1}},  # raises
        2: {"embedding_size": 10**12},  # more memory than there can be
        3: {"learning_rate": 1e30},  # NaN
        4: {"epochs": 100_000, "stopping_step": 100_000},  # killed
    }
    for number, settings in wrong.items():
        folder.keep(Trial(number, settings))
    folder.begin(checked.about, resume=False)
    killer = Killer(folder, 4)
    killer.start()
    found = sweeps.run(checked, folder, resume=True)
    killer.over.set()
    trials = folder.trials()
    assert {number for number, trial in trials.items() if trial.status == FAILED} == set(wrong)
    assert "no_such_argument" in trials[1].reason and "Traceback" in trials[1].traceback
    assert trials[2].reason.startswith("out of memory")
    assert "nan" in trials[3].reason.lower()
    assert "process was lost 2 times" in trials[4].reason and len(killer.killed) == 2
    assert trials[5].status == FINISHED and found["best"].number == 5
    with open(folder.path / "trials.csv", newline="") as file:
        reasons = {row["trial"]: row["reason"] for row in csv.DictReader(file)}
    assert {number: trial.reason for number, trial in trials.items()} == {int(n): r for n, r in reasons.items()}


def test_the_checkpoint_of_a_trial_whose_record_is_deleted_is_no_rival(tmp_path):
    """As advice on a damaged record has it."""
    checked, folder = sweeps.check_plan(plan_of(BPR), tiny(tmp_path)), Folder(Path("sweep"))
    found = Trial(1, {}, status=FINISHED, history=curve(3))
    folder.checkpoint(3).parent.mkdir(parents=True)
    folder.checkpoint(3).write_bytes(b"of a deleted one")
    folder.keep_state(1, {"best.pth": b"its own"})
    Recorder(folder, checked, {1: found}, None, None, None)._keep_if_best(found)
    assert {file.name: file.read_bytes() for file in folder.path.glob("checkpoints/*")} == {"0001.pth": b"its own"}


def test_what_was_not_drawn_lies_below_what_was():
    assert encoded(pd.Series(["sum", None, "gate", float("nan")], dtype=object)).tolist() == [1, -1, 0, -1]
    assert encoded(pd.Series([[64, 32], float("nan")], dtype=object)).tolist() == [0, -1]


def test_when_every_trial_fails(tmp_path):
    task = sweeps.check_plan(plan_of(BPR), tiny(tmp_path)).task
    with pytest.raises(IRLLRecError, match=r"No trial has ended well \(trial 1 failed: why\)"):
        sweeps.chosen_trial([Trial(1, {}, status=FAILED, reason="why"), Trial(2, {})], task)


@pytest.mark.slow
def test_a_test_and_a_seed_that_fail_are_told_and_tried_again(one_ray, tmp_path, monkeypatch, capsys):
    splits, plan = tiny(tmp_path), plan_of(BPR, n_trials=1, n_seeds=3)

    def unlucky(job, splits, threads, tell):
        if job.settings.get("seed") == 2021:
            raise RuntimeError("no such luck")
        if job.settings.get("seed") != 2022:
            raise ValueError("none at all")  # the best, which is only tested
        return work(job, splits, threads, tell)

    with monkeypatch.context() as patch:
        patch.setattr(pool, "_work", unlucky)
        found, folder = swept(plan, splits)
    assert all((folder.path / name).is_file() for name in RESULTS)
    assert "RuntimeError: no such luck" in (folder.path / "report.html").read_text()
    table = pd.read_csv(folder.path / "seeds.csv", keep_default_na=False).set_index("seed")
    assert list(table["reason"]) == ["ValueError: none at all", "RuntimeError: no such luck", ""]
    assert list(table["test ndcg@10"] == "") == [True, True, False]
    assert str(table["best_epoch"].iloc[2]).isdecimal() and table["best_epoch"].iloc[1] == ""
    _show(found, folder.path, "NDCG@10")
    said = capsys.readouterr().out
    assert found["compared"] in said and f"BPR {found['seeds']['test ndcg@10'].mean():.4f}" in found["compared"]
    for seed, why in ((2020, "ValueError: none at all"), (2021, "RuntimeError: no such luck")):
        assert f"seed {seed} failed (--resume tries it again): {why}" in said
    _show({**found, "seeds": found["seeds"][:1]}, folder.path, "NDCG@10")  # nothing that has ended well
    said += capsys.readouterr().out
    assert f"{found['best'].best.metrics['ndcg@10']:.4f}" in said and "nan" not in said
    again, _ = swept(plan, splits, resume=True)
    assert list(again["seeds"]["reason"]) == [""] * 3 and again["seeds"].notna().all(axis=None)
    assert again["best"].history == found["best"].history  # not trained again
    assert again["seeds"].iloc[2].to_dict() == found["seeds"].iloc[2].to_dict()  # nor run again


@pytest.mark.slow
def test_out_of_time_and_gone_on_with(one_ray, tmp_path):
    splits = tiny(tmp_path)
    text = BPR + "epochs: 60\nstopping_step: 100\nn_intents: 4\n"
    best, budget = None, 6
    while best is None:  # on a slow machine no epoch has ended
        budget *= 2
        plan = plan_of(text, "IRLLRec", n_trials=2, max_concurrent=1, time_budget=budget)
        with contextlib.suppress(IRLLRecError):
            swept(plan, splits, resume=True)
        best = next(map(read_json, Path("sweep/runs").glob("*.json")), None)
    cut = Folder(Path("sweep")).trials()
    assert best["best_epoch"] == cut[best["number"]].best.epoch + 1  # tested as it was
    assert best["valid"] == cut[best["number"]].best.metrics
    assert any(trial.status == "running" for trial in cut.values()) or len(cut) < 2
    _, folder = swept(plan_of(text, "IRLLRec", n_trials=2), splits, resume=True)
    for trial in folder.trials().values():
        assert trial.status == FINISHED and [e.epoch for e in trial.history] == list(range(60))
    settings = {**sweeps.check_plan(plan, splits).task.settings, **trial.settings}
    whole = train_run("IRLLRec", splits, settings, "whole")
    assert [e.metrics for e in trial.history] == [e.metrics for e in whole.history]


def test_what_a_folder_holds(tmp_path):
    splits = tiny(tmp_path)
    about, folder = sweeps.check_plan(plan_of(BPR), splits).about, Folder(Path("sweep"))
    folder.begin(about, resume=True)
    folder.begin(about, resume=True)
    with pytest.raises(IRLLRecError, match="holds a sweep: go on with it"):
        folder.begin(about, resume=False)
    for other, words in (
        (plan_of(BPR.replace("4, 8", "4, 16")), "other space"),
        (plan_of(BPR, metric="Recall@5"), "other metric"),
        (plan_of(BPR, search="optuna"), "other search"),
    ):
        with pytest.raises(IRLLRecError, match=f"holds another sweep, with {words}"):
            folder.begin(sweeps.check_plan(other, splits).about, resume=True)
    texted, texts = Folder(Path("texted")), plan_of(IRLLREC, "IRLLRec")
    texted.begin(sweeps.check_plan(texts, splits).about, resume=False)
    features = tmp_path / "data/tiny/tiny.item"
    features.write_text(features.read_text() + "i99\tanother\n")
    with pytest.raises(IRLLRecError, match="holds another sweep, with other default_tables: give"):
        texted.begin(sweeps.check_plan(texts, splits).about, resume=True)
    del (older := texted.read("sweep.json"))["default_tables"]
    texted.write("sweep.json", older)
    texted.begin(sweeps.check_plan(texts, splits).about, resume=True)
    (texted.path / "sweep.json").unlink()
    write_tiny_tables(tmp_path / "data", 1.0)
    texted.begin(sweeps.check_plan(texts, splits).about, resume=False)
    texted.begin(sweeps.check_plan(texts, splits).about, resume=True)
    write_tiny_tables(tmp_path / "data", 2.0)
    with pytest.raises(IRLLRecError, match="holds another sweep, with other texts: give what it was begun with"):
        texted.begin(sweeps.check_plan(texts, splits).about, resume=True)
    folder.keep(Trial(2, {}))
    (folder.path / "trials/0002.json").write_text("{")
    with pytest.raises(IRLLRecError, match=r"0002\.json is damaged: delete it"):
        folder.trials()
    with folder.locked(), pytest.raises(IRLLRecError, match="Another process"), folder.locked():
        pass


def test_bad_input_is_refused_in_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    write_tiny(tmp_path / "data")
    (tmp_path / "data/tiny/tiny.yaml").write_text(yaml.safe_dump(SETTINGS))
    Path("space.yaml").write_text(BPR)
    usual = ["tune", "tiny", "--data-path", tmp_path / "data", "--model", "BPR", "--space", "space.yaml"]
    Path("foreign.yaml").write_text("n_intents: {choice: [1, 2]}\n")
    for more, words in (
        (["--model", "BRP"], "There is no model named 'BRP'"),
        (["--model", "SASRec"], "no general recommender"),
        (["--metric", "NDCG@7"], "valid_metric is NDCG@7"),
        (["--metric", "Fame@10"], "valid_metric is Fame@10"),
        (["--space", "foreign.yaml"], "BPR has no setting n_intents"),
        (["--space", "nothing.yaml"], "nothing.yaml"),
        (["--address", "127.0.0.1:1"], "does not answer"),
        (["--data-path", "nodata"], "nodata"),
    ):
        assert words in refusal(capsys, *usual, *more), words
    assert not Path("tuning").exists()
    # before any Ray is asked for
    Folder(Path("other")).begin({"model": "LightGCN"}, resume=False)
    for more, words in ((["--resume"], "holds another sweep, with other model"), ([], "holds a sweep: go on with it")):
        assert words in refusal(capsys, *usual, "--address", "127.0.0.1:1", "--out", "other", *more)
    for option, words in (("--scheduler", "'asha', 'none'"), ("--search", "'random', 'optuna'")):
        assert words in run(*usual, option, "fifo", status=2).stderr
