"""What release 0.1.0 wrote, with Python 3.11, numpy 1.26 and Ray 2.6: read as it was, or gone on with.

``tests/earlier`` holds checkpoints of the data set "tiny", beside each what that release recommended by it; a saved
data set and loaders; a sweep that was killed in its second trial; and a benchmark (its Ray was a newer one) that was
killed before BPR's second seed.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from command import run
from recbole.quick_start import run_recbole
from tiny_data import SETTINGS, write_tiny

from recbole_irllrec.benchmark.plan import Options, rows
from recbole_irllrec.benchmark.results import Key, read_plan, read_record
from recbole_irllrec.cluster import connected
from recbole_irllrec.recommend import recommend, write_tables
from recbole_irllrec.runs.fingerprints import fingerprint
from recbole_irllrec.runs.space import read_space
from recbole_irllrec.runs.splits import config_of, load_splits
from recbole_irllrec.serving import serve
from recbole_irllrec.tuning import sweep as sweeps
from recbole_irllrec.tuning.records import FINISHED, RUNNING, Folder

EARLIER = Path(__file__).parent / "earlier"


@pytest.fixture
def data() -> Path:
    own = write_tiny(Path("data"))
    (own / "tiny" / "tiny.yaml").write_text(yaml.safe_dump(SETTINGS))
    return own


@pytest.mark.parametrize("model", ["BPR", "EASE", "IRLLRec", "ItemKNN", "LightGCN"])
def test_a_checkpoint_recommends_what_it_did(model, data):
    served = serve(EARLIER / f"{model}.pth", data_path=data)
    users = pd.RangeIndex(1, len(served.user_tokens)).to_numpy()
    write_tables("found.csv", recommend(served, users, 3))
    found, before = (
        pd.read_csv(path, dtype={"user": str, "item": str}) for path in ("found.csv", EARLIER / f"{model}.csv")
    )
    pd.testing.assert_frame_equal(found, before, rtol=1e-5)


def test_a_saved_data_set_and_its_loaders_train(data):
    shutil.copytree(EARLIER, "saved")
    settings = {**SETTINGS, "data_path": str(data), "embedding_size": 4, "epochs": 2}
    found = {}
    for saved in ({}, {"dataset_save_path": "saved/tiny-Dataset.pth"}):
        more = {"dataloaders_save_path": "saved/tiny-for-BPR-dataloader.pth"} if saved else {}
        found[bool(saved)] = run_recbole("BPR", "tiny", config_dict={**settings, **saved, **more})["test_result"]
    assert found[True] == found[False]


# of the release that made these files, as CHANGELOG.md has them
DEFAULTS = {
    **{"linear_weight": 0, "softmax_negatives": 1024, "item_bias": False},
    **{"train_batch_size": 2048, "learning_rate": 0.001},
}


@pytest.mark.slow
def test_a_sweep_that_was_killed_is_gone_on_with(data):
    shutil.copytree(EARLIER / "sweep", "sweep")
    folder = Folder(Path("sweep"))
    trial = json.loads(Path("sweep/trials/0002.json").read_text())
    assert trial["status"] == RUNNING
    # the file says where the folder was when the sweep began
    trial["checkpoint"] = str(Path("sweep/ray/state").resolve())
    Path("sweep/trials/0002.json").write_text(json.dumps(trial))
    before = folder.trials()
    splits = load_splits("tiny", data, settings={"valid_metric": "NDCG@10", **DEFAULTS})
    checked = sweeps.check_plan(sweeps.Plan("IRLLRec", read_space(EARLIER / "space.yaml"), 2, scheduler="none"), splits)
    folder.write("sweep.json", {**folder.read("sweep.json"), "settings": checked.about["settings"]})  # paths
    with connected():
        sweeps.run(checked, folder, resume=True)
    after = folder.trials()
    assert after[1] == before[1] and after[2].status == FINISHED and len(after[2].history) == 30
    n = len(json.loads((EARLIER / "sweep/ray/state/history.json").read_text()))
    assert after[2].history[:n] == before[2].history[:n] and n > 1
    assert not Path("sweep/ray").exists()


@pytest.fixture
def benchmark() -> Path:
    return Path(shutil.copytree(EARLIER / "benchmark", "results/tiny"))


def test_a_benchmarks_runs_are_found_and_told(data, benchmark):
    options = Options(["BPR", "EASE", "Pop"], seeds=2, tune_samples=2, metrics=["ndcg"], topk=[10])
    splits = load_splits("tiny", data)
    asked = rows(options, splits.settings)
    found = {
        row.name: [
            Key(row.name, fingerprint(config_of(row.model, splits, row.settings(drawn)), splits), seed)
            for drawn in row.drawn
            for seed in [None] * row.is_drawn + [1]
        ]
        for row in asked
    }
    there = {name: [read_record(benchmark, key) is not None for key in keys] for name, keys in found.items()}
    # with each of two settings a trial, with the chosen one a run; Pop is another since a mend of RecBole's
    assert {name: sum(each) for name, each in there.items()} == {"BPR": 3, "EASE": 3, "Pop": 0}
    run("benchmark", "report", benchmark)
    report = (benchmark / "report.md").read_text()
    assert all(f"| {name} |" in report for name in ("BPR", "EASE", "Pop"))


@pytest.mark.slow
def test_a_benchmark_that_was_killed_is_gone_on_with(data, benchmark):
    before = {file: file.read_bytes() for file in benchmark.glob("*/*.json")}
    usual = ["tiny", "--data-path", data, "--seeds", 2, "--samples", 2, "--metrics", "ndcg"]
    said = run("benchmark", *usual, "--topk", 10, "--models", "BPR,EASE,Pop").stderr
    after = {file: file.read_bytes() for file in benchmark.glob("*/*.json")}
    assert before.items() <= after.items() and len(after) == len(before) + 2
    assert "BPR, seed 2: NDCG@10" in said and "Pop, seed 1: NDCG@10" in said and said.count(" seed ") == 2
    assert set(read_plan(benchmark)["models"]) == {"BPR", "EASE", "Pop"}
