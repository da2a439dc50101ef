"""`irllrec benchmark`, from the command line to the files: real runs on Ray, killed, gone on with and added to."""

import json
import os
import re
import shlex
import signal
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from command import refusal, run, start
from tiny_data import SETTINGS, write_tiny, write_tiny_tables

from recbole_irllrec import IRLLRecError
from recbole_irllrec.benchmark import conductor, plots, results, tables
from recbole_irllrec.benchmark.conductor import Data, conduct, settings_of
from recbole_irllrec.benchmark.execute import execute
from recbole_irllrec.benchmark.plan import (
    Options,
    continued,
    named,
    read_variants,
    referred,
    rows,
    shared,
    tuned_file,
    with_tables,
)
from recbole_irllrec.benchmark.results import begin, read_plan, read_results, write_plan
from recbole_irllrec.cli.options import listed
from recbole_irllrec.data.training import TrainingTokens
from recbole_irllrec.runs import config_of, load_splits, progress
from recbole_irllrec.runs.fingerprints import default_tables, fingerprint
from recbole_irllrec.runs.folder import Key, read_record
from recbole_irllrec.runs.pool import Pool, Resources
from recbole_irllrec.settings.schemas import AlignmentSettings, IRLLRecSettings
from recbole_irllrec.text.default import VERSIONS

OUT = Path("results/tiny")
# NCL makes 1000 clusters of 49 users, which faiss refuses.
SPACES = {"BPR": "learning_rate: {loguniform: [0.01, 0.1]}", "NCL": "n_layers: {choice: [2]}"}
ARGUMENTS = ("benchmark", "tiny", "--data-path", "data", "--seeds", 1, "--samples", 2, "--epochs", 3)
ARGUMENTS += ("--space", "spaces", "--metrics", "ndcg,Recall", "--topk", "5,10", "--max-concurrent", 1)


@pytest.fixture
def here(one_ray):
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
    Path("spaces/rows.yaml").write_text("a: {model: IRLLRec, settings: {profile_weight: -1}}")


def records():
    return {file: file.stat().st_mtime_ns for file in OUT.glob("*/*.json")}


def test_killed_gone_on_with_and_added_to(here):
    asked = [*map(str, ARGUMENTS), "--models"]
    process = start(Path("said"), *asked, "BPR")
    while not (before := records()):
        assert process.is_alive(), Path("said").read_text()
        time.sleep(0.1)
    process.kill()
    process.join()
    split = {file: file.read_bytes() for file in OUT.glob("split/*/*")}

    said = run(*asked, "BPR,NCL,Pop", "--protocol", "recbole")
    assert {file: time for file, time in records().items() if file in before} == before
    assert {file: file.read_bytes() for file in OUT.glob("split/*/*")} == split
    assert "NCL, seed 1: failed: RuntimeError: Error in void faiss" in said.stderr
    assert "BPR, seed 1: NDCG@5" in said.stderr and "report.html" in said.stdout

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

    found = read_results(OUT)
    assert found.models == ["BPR", "Pop"] and list(found.failures["model"]) == ["NCL"]
    commands = [shlex.join(["irllrec", *asked, models]) for models in ("BPR", "BPR,NCL,Pop")]
    assert found.plan["commands"] == [commands[0], f"{commands[1]} --protocol recbole"]
    table = pd.read_parquet(OUT / "per_user.parquet")
    assert list(table) == ["user", "ndcg@5", "ndcg@10", "recall@5", "recall@10", "model", "seed"]
    assert table.groupby("model", observed=True).size().to_dict() == {"BPR": 48, "Pop": 48}
    report = (OUT / "report.md").read_text()
    popular = found.plan["popularity"]
    assert set(popular) == set(record["test"])
    line = f"reaches on the same split, by the same protocol: NDCG@5 {popular['ndcg@5']:.4f}, "
    assert line in report and line in said.stdout
    assert "NCL | failed" in report and "drawn by RecBole" in report and "Failed: NCL, seed 1" in report


def test_irllrec_with_text_and_without_two_runs_at_a_time(here, monkeypatch):
    """Over again, it only tells again where the settings were drawn."""
    Path("tiny.yaml").write_text("eval_step: 1\nn_intents: 4\nembedding_size: 8\n")
    Path("spaces/IRLLRec.yaml").write_text("# Few,\n# for the time.\nedge_dropout: {uniform: [0, 0.2]}\n# no more\n")
    started = []
    start_run = Pool._start

    def counted(self, *what):
        started.append(len(self.running) + 1)
        return start_run(self, *what)

    monkeypatch.setattr(Pool, "_start", counted)
    models = ["IRLLRec", "IRLLRec-without-text", "no profiles"]
    row = "{model: 'IRLLRec:published', settings: {profile_weight: 0, pairwise_weight: 1e-2}}"
    Path("rows.yaml").write_text(f"no profiles: {row}")
    asked = [*ARGUMENTS, "--samples", 1, "--epochs", 1, "--max-concurrent", 2, "--config-files", "tiny.yaml"]
    asked += ["--models", ",".join(models[:2]), "--variants", "rows.yaml"]
    monkeypatch.setattr(progress, "_SELDOM", (0.0, 0.0))
    said = run(*asked, "--reference", "no profiles").stderr
    assert re.search(r"left\] under way: .*: epoch 1 of 1, NDCG@5 0\.\d{4}, ", said)
    assert max(started) == min(2, os.cpu_count())
    plan, before = read_plan(OUT), records()
    losses = {}
    for name in models:
        record = read_record(OUT, Key(name, plan["models"][name]["run"], 1))
        losses[name] = set(record["history"][0]["losses"]) & {"profile", "pairwise", "translation", "matching"}
    assert [len(losses[name]) for name in models] == [4, 0, 3] and "profile" not in losses[models[2]]
    drawn = {"edge_dropout": {"uniform": [0, 0.2]}}
    space = {"file": "spaces/IRLLRec.yaml", "comment": "Few, for the time.", "settings": drawn}
    assert [plan["models"][name]["space"] for name in models] == [space, space, None]
    assert list(plan["default_tables"]) == ["features, tfidf-svd"]

    for row in plan["models"].values():
        del row["space"]
    plan["popularity"] = dict.fromkeys(plan["popularity"], 0.125)  # not measured again
    write_plan(OUT, plan)
    assert "NDCG@5 0.1250, NDCG@10 0.1250" in run(*asked).stdout
    assert read_results(OUT).reference == "no profiles"
    assert records() == before and read_plan(OUT)["models"]["IRLLRec"]["space"] == space
    assert "spaces/IRLLRec.yaml; it says: “Few, for the time”." in (OUT / "report.md").read_text()


def test_three_boards_of_a_split_with_cold_items(one_ray):
    """All items, hot ones and cold ones, in every table, plot and test; validation is on all items."""
    write_tiny(Path("data"))
    run("data", "split", "tiny", "--data-path", "data", "--name", "cold", "--cold-items", 0.2, "--seed", 1)
    models, metrics = ["AlphaRec", "L3AE", "BPR"], ["Recall", "NDCG", "ItemCoverage"]
    options = Options(models, seeds=1, tune_samples=0, metrics=metrics, topk=[5, 10], epochs=1)
    # not in processes of their own, each of which takes seconds to start; the command finds them and tells them
    conduct(options, Data("cold", Path("data")), OUT, resources=Resources(max_concurrent=1), afresh=False)
    made = sorted(OUT.glob("runs/*.json"), key=lambda file: file.stat().st_mtime_ns)
    assert [file.name.partition("-")[0] for file in made] == models  # in their order
    asked = ["benchmark", "cold", "--data-path", "data", "--models", ",".join(models), "--seeds", 1, "--samples", 0]
    asked += ["--epochs", 1, "--topk", "5,10", "--max-concurrent", 1]
    printed = " ".join(run(*asked, "--metrics", ",".join(metrics), "--out", OUT).stdout.split())
    found = read_results(OUT)
    sizes = found.plan["boards"]
    assert tables.boards_of(found) == ["", "hot", "cold"]
    assert sizes["hot"]["items"] == 48 and sizes["cold"]["items"] == 12
    assert sum(size["interactions"] for size in sizes.values()) == found.plan["split"]["interactions"]["test"]

    by_board = {board: tables.summary(found, board) for board in tables.boards_of(found)}
    measured = ["Recall@5", "Recall@10", "NDCG@5", "NDCG@10"]
    assert by_board[""].head == ["model", *measured, "ItemCoverage@5", "ItemCoverage@10"]
    assert by_board["hot"].head == by_board["cold"].head == ["model", *measured]
    runs = found.runs.set_index("model")
    for board, prefix in (("", ""), ("hot", "hot_"), ("cold", "cold_")):
        rows = {row[0].text: row[1:] for row in by_board[board].rows}
        assert rows["AlphaRec"][2].text == f"{runs.loc['AlphaRec', f'{prefix}ndcg@5']:.4f}"
        assert by_board[board].title in printed
    assert [cell.text for cell in rows["BPR"]] == ["cannot score unseen items", "-", "-", "-"]

    tests = pd.read_csv(OUT / "tests.csv")
    of_cold = tests[tests["metric"].str.startswith("cold_")]
    assert set(of_cold["model"]) == {"L3AE"} and (of_cold["users"] == sizes["cold"]["users"]).all()
    assert set(tests.loc[tests["metric"].str.startswith("hot_"), "model"]) == {"L3AE", "BPR"}
    per_user = pd.read_parquet(OUT / "per_user.parquet").query("model == 'AlphaRec'")
    for metric in ("hot_recall@5", "cold_recall@5"):
        assert per_user[metric].mean() == pytest.approx(runs.loc["AlphaRec", metric], abs=1e-5)
    assert "cold_recall@5" in pd.read_csv(OUT / "summary.csv")

    popular = found.plan["popularity"]
    texts = {file: (OUT / file).read_text() for file in ("tables.tex", "report.md", "report.html")}
    for text in texts.values():
        for board in ("", " on hot items alone", " on cold items alone"):
            assert text.count(f"Test metrics{board}, mean") == text.count(f"AlphaRec against each{board}, paired") == 1
        assert "cannot score unseen items" in text
    for text in (texts["report.md"], texts["report.html"]):
        assert f"protocol on hot items alone: Recall@5 {popular['hot_recall@5']:.4f}, " in text
        assert "training interactions) cannot score unseen items." in text
        assert "Validation, and so selection, is on all items." in text
    assert {f"Test metrics on {board} items alone" for board in ("hot", "cold")} < plots.figures(found).keys()


def test_the_test_set_has_no_say(one_ray, tmp_path):
    """In what is chosen; the runs that come after it have processes of their own, which take long."""
    options = Options(["BPR"], seeds=0, tune_samples=3)
    tests, found = [], []
    for name, seed in (("one", 0), ("poisoned", 9)):
        splits = load_splits("tiny", write_tiny(tmp_path / name, test_seed=seed), settings=SETTINGS)
        asked, folder = rows(options, splits.settings), Path(f"of {name}")
        plan = shared(asked, splits, "")
        execute(asked, options.seeds, splits, folder, plan, Resources(max_concurrent=1))
        tests.append(plan["split"]["fingerprints"].pop("test"))
        trials = [read_record(folder, Key("BPR", settings)) for settings in plan["models"]["BPR"]["trials"]]
        found.append((plan, [(trial["settings"], trial["valid"], trial["best_epoch"]) for trial in trials]))
    assert tests[0] != tests[1] and found[0] == found[1] and len(trials) == 3


@pytest.mark.parametrize("last", ["write_plan", "write_table"])
def test_killed_in_the_first_moment(here, monkeypatch, last):
    splits = load_splits("tiny", Path("data"))
    plan = shared(rows(Options(["BPR"], seeds=1, tune_samples=0), {}), splits, "drawn")

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(results, last, killed)
        begin(OUT, plan, splits, "command")
    begin(OUT, read_plan(OUT) or plan, splits, "command")
    assert read_plan(OUT) == plan and (OUT / results.USERS).is_file()


def test_the_split_is_drawn_by_the_settings_that_the_report_tells(here, monkeypatch):
    """One that no run has used is drawn again; with others than those of the runs that are there, nothing is added."""

    def asked(seed):
        Path("data/tiny/tiny.yaml").write_text(f"seed: {seed}\n")
        return conduct(Options(["Pop"], 1, 0), Data("tiny", Path("data")), OUT, afresh=False)

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(conductor, "begin", killed)
        asked(1)
    before = (OUT / "split/tiny/tiny.train.inter").read_bytes()
    found, _ = asked(2)
    assert (OUT / "split/tiny/tiny.train.inter").read_bytes() != before
    drawn = load_splits("tiny", Path("data"), settings={"seed": 2})
    assert found.plan["split"]["fingerprints"]["train"] == TrainingTokens(drawn.train).fingerprint
    assert "seed 2" in found.plan["split"]["how"]
    with pytest.raises(IRLLRecError, match=r"whose split is drawn .*, seed 2\) .*, and here it is drawn .*, seed 3\)"):
        asked(3)


def test_results_of_another_split_or_protocol_are_not_added_to(here):
    """What runs share, without any run."""
    splits = load_splits("tiny", Path("data"), settings={"seed": 1})
    options = Options(["BPR"], seeds=1, tune_samples=0, metrics=["NDCG"], topk=[10])
    plan = shared(rows(options, splits.settings), splits, "drawn")
    assert continued(plan, plan, OUT) is plan and plan["protocol"] == "recbole"
    other = load_splits("tiny", Path("data"), settings={"seed": 2})
    for changed, words in (
        (shared(rows(options, {}), other, "drawn"), "runs whose train set is [0-9a-f]{16}, and here it is"),
        (
            shared(rows(replace(options, protocol="paper"), {}), splits, ""),
            "whose protocol is recbole, and here it is paper",
        ),
        (shared(rows(replace(options, topk=[5]), {}), splits, ""), r"whose topk is \[10\], and here it is \[5\]"),
        (shared(rows(options, {}), splits, "drawn otherwise"), "whose split is drawn, and here it is drawn otherwise"),
        (shared(rows(options, {"item_boards": True}), splits, ""), "whose item_boards is False, and here it is True"),
    ):
        with pytest.raises(IRLLRecError, match=words):
            continued(plan, changed, OUT)


def test_what_runs_are_given():
    options = Options(["IRLLRec", "IRLLRec-without-text", "IRLLRec:published", "Pop", "EASE"], 1, 6, protocol="paper")
    given = {"n_layers": 2, "epochs": 7, "data_path": "somewhere", "metrics": None}
    ours, without, published, pop, ease = rows(options, given)
    assert len(ours.drawn) == len(without.drawn) == len(ease.drawn) == 6
    assert published.drawn == pop.drawn == [{}] and not published.tunable and pop.tunable
    assert not any("n_layers" in drawn for row in (ours, without) for drawn in row.drawn)
    assert any(drawn.get("profile_weight") for drawn in ours.drawn)
    text = {"profile_weight", "pairwise_weight", "profile_temperature", "n_intents", "fusion"}
    assert not any(text & drawn.keys() for drawn in without.drawn)
    assert [list(row.seeds(3)) for row in (ours, pop, ease)] == [[1, 2, 3], [1], [1]]
    for row in (ours, without, published, pop, ease):
        settings = row.settings(row.drawn[0])
        assert settings["epochs"] == 7 and settings["n_layers"] == 2 and settings["mask_valid_in_test"] is False
        assert settings["metrics"] == ["Recall", "NDCG", "MRR"] and settings["valid_metric"] == "NDCG@10"
        assert "data_path" not in settings
    assert without.settings(without.drawn[0])["profile_weight"] == 0
    assert published.origin is None and pop.origin is None
    assert ease.origin == {"file": None, "comment": "", "settings": {"reg_weight": {"loguniform": [1.0, 2000.0]}}}
    larger = rows(replace(options, tune_samples=9), given)[0]
    assert larger.drawn[:6] == ours.drawn
    (changed,) = rows(replace(options, models=["IRLLRec[profile_weight=0,fusion=gate]"]), given)
    assert changed.origin == ours.origin and not any(
        {"profile_weight", "fusion"} & drawn.keys() for drawn in changed.drawn
    )
    assert len(changed.drawn) > 1 and changed.settings(changed.drawn[0])["fusion"] == "gate"


def test_what_was_tuned_before_does_not_mix_with_a_preset():
    options = Options(["IRLLRec", "IRLLRec:published"], 1, 0)
    assert [tuned_file(row, "ml-100k") for row in rows(options, {})] == [
        "properties/tuned/IRLLRec-ml-100k.yaml",
        None,
    ]
    assert [tuned_file(row, "ml-100k") for row in rows(options, {"preset": "published"})] == [None, None]


def test_settings_of_a_file_as_recbole_takes_them():
    own = write_tiny(Path("data")) / "tiny/tiny.yaml"
    parts = "benchmark_filename: [train, valid, test]"
    own.write_text(f"{parts}\nmetrics: NDCG\ntopk: 10\nwarm_start: saved/earlier.pth\n")
    _, given = settings_of(Data("tiny", Path("data")))
    (row,) = rows(Options(["BPR"], 1, 0), given)
    assert [row.common[name] for name in ("metrics", "topk", "valid_metric")] == [["NDCG"], [10], "NDCG@10"]
    assert row.common["warm_start"] == str(Path("saved/earlier.pth").resolve())  # a run's current folder is another


def test_rows_are_named_in_brackets_or_in_a_file():
    Path("rows.yaml").write_text(
        "full: {model: IRLLRec}\nbare: {model: IRLLRec-without-text, settings: {n_layers: 2, reg_weight: 1e-7}}\n"
        "theirs: {model: 'IRLLRec:published', settings: {fusion: gate}}\n"
    )
    options = Options(["BPR", "IRLLRec[n_layers=2,user_text=null]"], 1, 2, variants=read_variants(Path("rows.yaml")))
    found = {row.name: row for row in rows(options, {})}
    assert list(found) == ["BPR", "IRLLRec[n_layers=2,user_text=null]", "full", "bare", "theirs"]
    fixed = [row.fixed for row in found.values()]
    without_text = IRLLRecSettings.without_text()
    assert fixed == [
        {},
        {"n_layers": 2, "user_text": None},
        {},
        {**without_text, "n_layers": 2, "reg_weight": 1e-7},
        {"preset": "published", "fusion": "gate"},
    ]
    assert not any("n_layers" in drawn for drawn in found["bare"].drawn) and not found["theirs"].tunable
    plan = {"models": {"EASE": {}}}
    assert referred(plan, None, found.values())["reference"] == "EASE"
    assert referred(plan, "bare", found.values())["reference"] == "bare"
    assert referred({"models": {}}, None, found.values())["reference"] == "BPR"
    with pytest.raises(IRLLRecError, match="There is no row bar to refer to: take one of EASE, BPR, "):
        referred(plan, "bar", found.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "rows.yaml holds no rows"),
        ("a: {model: [", "rows.yaml is no YAML"),
        ("a: LightGCN", "rows.yaml, a: found 'LightGCN', where a model is needed"),
        ("a: {settings: {n_layers: 2}}", "rows.yaml, a: found {'settings': .*where a model is needed"),
        ("a: {model: BPR, setings: {n_layers: 2}}", "rows.yaml, a: .* called setings .*; did you mean settings"),
        ("a: {model: BPR, learning_rate: 1}", "rows.yaml, a: .* what a row changes stands below settings"),
        ("a: {model: BPR, settings: [1]}", r"rows.yaml, a: settings is \[1\]; give names with values"),
        ("a: {model: BRP}", "There is no model named 'BRP'"),
        ("a: {model: BPR, settings: {lr: 1}}", "The row a: the model BPR has no setting lr; remove it"),
        ("BPR: {model: BPR}", "The models are BPR, BPR: name at least one, and each once"),
    ],
)
def test_files_of_rows_that_make_no_sense(text, words):
    Path("rows.yaml").write_text(text)
    with pytest.raises(IRLLRecError, match=words):
        rows(Options(["BPR"], 1, 0, variants=read_variants(Path("rows.yaml"))), {})


def test_runs_are_found_by_their_settings_and_texts():
    write_tiny(Path("data"))
    splits = load_splits("tiny", Path("data"), settings=SETTINGS)

    def found(**settings):
        return fingerprint(config_of("IRLLRec", splits, {"matching_weight": 0.0, **settings}), splits)

    first = found(seed=1)
    assert first == found(seed=2) == found(seed=1, show_progress=True, checkpoint_dir="elsewhere")
    assert len({first, found(n_layers=2), found(epochs=4), found(mask_valid_in_test=False)}) == 4
    without_text = AlignmentSettings.without_text()
    before = found(**without_text)
    write_tiny_tables(Path("data"), 1.0)
    assert found(seed=1) != first and found(**without_text) == before


def test_runs_with_other_default_texts_are_not_added_to(monkeypatch):
    """Without a change of the runs' fingerprints, by which older folders name their files."""
    write_tiny(Path("data"))
    splits = load_splits("tiny", Path("data"), settings=SETTINGS)
    config = config_of("IRLLRec", splits, {})
    without = [config_of("EASE", splits, {}), config_of("IRLLRec", splits, AlignmentSettings.without_text())]
    assert default_tables(without, splits) == {}

    def now():
        return default_tables([*without, config], splits)

    plan = with_tables({}, now(), OUT)  # an older folder's
    assert list(plan["default_tables"]) == ["features, tfidf-svd"]
    assert with_tables(plan, now(), OUT) == with_tables(plan, {}, OUT) == plan
    before, words = fingerprint(config, splits), r"default text tables \(features, tfidf-svd\) were made of other"
    with monkeypatch.context() as patch, pytest.raises(IRLLRecError, match=words):
        patch.setitem(VERSIONS, "features", "features 2")
        with_tables(plan, now(), OUT)
    with Path("data/tiny/tiny.item").open("a") as file:
        file.write("i99\tanother\n")
    with pytest.raises(IRLLRecError, match=words):
        with_tables(plan, now(), OUT)
    assert fingerprint(config, splits) == before
    write_tiny_tables(Path("data"), 1.0)
    assert now() == {}


def test_runs_from_before_a_mend_are_not_taken_for_those_after_it(monkeypatch):
    write_tiny(Path("data"))
    splits = load_splits("tiny", Path("data"), settings=SETTINGS)
    after = [fingerprint(config_of(model, splits, {}), splits) for model in ("Pop", "EASE")]
    sampled = {"contrast_nodes": 20, "translation_weight": 0.1}  # of 108
    ours = [
        ("IRLLRec", {}, False),
        ("IRLLRec", {"contrast_nodes": 20}, False),
        ("IRLLRec", sampled, True),
        ("IRLLRec", sampled | {"translation_weight": 0.0}, False),
        ("IRLLRec", {"contrast_nodes": "all"}, False),
        ("RLMRecGen", sampled, False),  # 10 are hidden
        ("RLMRecGen", {"contrast_nodes": 9}, True),
        ("RLMRecCon", sampled, False),
        ("IRLLRecBPR", sampled, True),
        ("IRLLRec", {"unseen_items": "text"}, True),
        ("IRLLRec", {"unseen_items": "text", "linear_weight": 0.0}, False),
        ("RLMRecCon", {"unseen_items": "text"}, False),
        ("L3AE", {}, False),
    ]
    after_ours = [fingerprint(config_of(model, splits, more), splits) for model, more, _ in ours]
    monkeypatch.setattr("recbole_irllrec.runs.fingerprints.MENDED", {})
    monkeypatch.setattr("recbole_irllrec.runs.fingerprints._mended_in_ours", lambda *_: [])
    before = [fingerprint(config_of(model, splits, {}), splits) for model in ("Pop", "EASE")]
    assert after[0] != before[0] and after[1] == before[1]
    for (model, more, is_mended), then in zip(ours, after_ours, strict=True):
        assert (fingerprint(config_of(model, splits, more), splits) != then) == is_mended, (model, more)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--models", "BRP"], "There is no model named 'BRP'; did you mean BPR?"),
        (["--models", "BPR,BPR"], "The models are BPR, BPR: name at least one, and each once."),
        (["--models", "BPR:published"], "There is no model BPR:published: presets are of IRLLRec."),
        (
            ["--models", "BPR[lerning_rate=0.1]"],
            r"row BPR\[lerning_rate=0.1\]: the model BPR has no setting lerning_rate; did you mean learning_rate",
        ),
        (["--models", "BPR[metrics=5]"], "metrics is not a setting of the model, but of the data"),
        (["--models", "BPR[learning_rate]"], "says 'learning_rate': write setting=value"),
        (["--models", "BPR[learning_rate=1"], "does not end with its bracket"),
        (["--models", "IRLLRec[fusion='gate]"], r"""says "fusion='gate": write setting=value"""),
        (
            ["--models", "IRLLRec[profile_weight=-1]"],
            r"The row IRLLRec\[.*\]: The setting profile_weight .* is -1",
        ),
        (
            ["--models", "IRLLRec-without-text[profile_weight=0.1]"],
            "is of IRLLRec-without-text and gives profile_weight 0.1, which reads texts: leave that out",
        ),
        (["--models", "IRLLRec:best"], "The setting preset .* is 'best'"),
        (
            ["--models", "BPR", "--metrics", "Recall,RMSE"],
            "There is no metric RMSE of rankings: take some of AveragePopularity, GAUC",
        ),
        (["--models", "BPR", "--topk", "5,0"], "--topk is '5,0': give numbers of at least 1"),
        (["--models", "BPR", "--metric", "MRR@5"], r"valid_metric is MRR@5, which metrics \['NDCG', 'Recall'\]"),
        (["--models", "FISM"], "There is no search space for FISM: write FISM.yaml"),
        (["--models", "BPR", "--data-path", "elsewhere"], "elsewhere/tiny is not there: correct the data set's name"),
        (["--models", "BPR", "--out", "spaces"], "spaces holds other files and no benchmark.json"),
        (["--models", "BPR", "--address", "127.0.0.1:1"], "The Ray address 127.0.0.1:1 cannot be joined"),
        (["--models", "BPR", "--gpus", "1"], "Ray finds no GPU"),
        (["--models", "BPR", "--reference", "EASE"], "There is no row EASE to refer to: take one of BPR"),
        (["--variants", "spaces/rows.yaml"], "The row a: The setting profile_weight .* is -1"),
        (
            ["--models", "NGCF", "--space", "wrong"],
            "the model NGCF has no setting node_dropuot; did you mean node_dropout",
        ),
        (["--models", "GRU4Rec", "--samples", "0"], "GRU4Rec is no general recommender but a sequential"),
    ],
)
def test_refused(here, capsys, monkeypatch, more, words):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    Path("wrong").mkdir()
    Path("wrong/NGCF.yaml").write_text("node_dropuot: {choice: [0, 0.1]}")
    assert re.search(words, refusal(capsys, *ARGUMENTS, *more))
    assert not Path("results").exists()


def test_lists_in_the_brackets_of_a_row():
    names = ["MultiVAE[mlp_hidden_size=[600,300]]", "M[a=1,b=[[1,2],[3]],c=x]", "BPR"]
    assert listed(", ".join(names)) == names
    found = [named(name).settings for name in names]
    assert found == [{"mlp_hidden_size": [600, 300]}, {"a": 1, "b": [[1, 2], [3]], "c": "x"}, {}]


def test_a_split_that_the_settings_do_not_name_is_not_drawn_anew(tmp_path, capsys):
    write_tiny(tmp_path / "data")
    sentence = refusal(capsys, *ARGUMENTS[:2], "--data-path", tmp_path / "data", "--models", "EASE")
    assert "tiny.inter is not there" in sentence and "set `benchmark_filename: [train, valid, test]`" in sentence
    assert not Path("results").exists()


def test_stopped_by_a_scheduler_it_says_how_to_go_on(here):
    """Ray itself answers SIGTERM with a trace."""
    asked = [*map(str, ARGUMENTS), "--epochs", "100000", "--models", "BPR"]
    process = start(Path("said"), *asked)
    while not (OUT / "benchmark.json").is_file():
        assert process.is_alive(), Path("said").read_text()
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 130
    last = Path("said").read_text().splitlines()[-1]
    assert last == f"irllrec: stopped. What has ended is in {OUT}, and the same command goes on with the rest."
    assert "***" not in Path("said").read_text() and not list(OUT.glob("runs/*"))
