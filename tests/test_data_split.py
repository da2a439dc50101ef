"""irllrec data split: the written split is the one that RecBole draws."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from command import irllrec, refusal
from recbole.quick_start import run_recbole
from recbole.utils import init_seed

from recbole_irllrec.data.features import train_fingerprint
from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.data.loading import load_config, split_datasets

PARTS = ("train", "valid", "test")
TIMES = {"inter": ["user_id", "item_id", "timestamp"]}


@pytest.fixture
def small():
    """A data set of 40 users in an order of its own, with times that float32 cannot tell apart."""
    rng = np.random.default_rng(7)
    own = Path("dataset/small")
    own.mkdir(parents=True)
    pairs = rng.permutation([(u, i) for u in range(40) for i in range(30) if (3 * u + 5 * i) % 7 < 3])
    rows = [
        f"u{u}\t{i:03}\t{rng.integers(1, 6)}\t{1_588_687_728 + rng.integers(0, 9999)}.5\ta b{n}"
        for n, (u, i) in enumerate(pairs)
    ]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\ttags:token_seq"
    (own / "small.inter").write_text("\n".join([header, *rows, ""]))
    return own


def drawn(dataset, config_files=None, **settings):
    """The interactions of each part in order, as a run of RecBole sees them."""
    config = load_config(dataset, config_files=config_files, settings=settings)
    init_seed(config["seed"], config["reproducibility"])
    return [interactions(part) for part in split_datasets(config)]


def interactions(part):
    users, items = (part.inter_feat[field].tolist() for field in ("user_id", "item_id"))
    return list(zip(part.field2id_token["user_id"][users], part.field2id_token["item_id"][items], strict=True))


def written(name, folder="dataset"):
    return [Path(f"{folder}/{name}/{name}.{part}.inter").read_text().splitlines()[1:] for part in PARTS]


@pytest.mark.parametrize(
    ("options", "eval_args"),
    [
        ([], {}),
        (["--seed=7", "--group-by=none"], {"group_by": "none"}),
        (["--ratios=6,2,2", "--order=TO"], {"split": {"RS": [6, 2, 2]}, "order": "TO"}),
        (["--order=TO", "--group-by=none"], {"order": "TO", "group_by": "none"}),
        (["--leave-one-out=valid_and_test", "--order=TO"], {"split": {"LS": "valid_and_test"}, "order": "TO"}),
        (["--leave-one-out=valid_only"], {"split": {"LS": "valid_only"}}),
        (["--leave-one-out=test_only"], {"split": {"LS": "test_only"}}),
        (["--time-ratios=0.7,0.1,0.2", "--order=TO"], {"split": {"TS": [0.7, 0.1, 0.2]}, "order": "TO"}),
    ],
)
def test_it_is_the_split_that_recbole_draws(options, eval_args, small):
    seed = 7 if "--seed=7" in options else 2020
    expected = drawn("small", load_col=TIMES, seed=seed, eval_args=eval_args)
    assert irllrec("data", "split", "small", *options) == 0
    assert drawn("small", "dataset/small/small.yaml") == expected
    # Every line as it was, with all its columns.
    lines = [line for part in written("small") for line in part]
    assert sorted(lines) == sorted((small / "small.inter").read_text().splitlines()[1:])
    assert [[tuple(line.split("\t")[:2]) for line in part] for part in written("small")] == expected


def test_filters_of_the_settings_hold(small):
    with open(small / "small.inter", "a") as file:
        file.write("u1\t000\t5\t3.0\t\n" * 2 + "\n")
    (small / "small.item").write_text("item_id:token\tcolour:token\n" + "".join(f"{i:03}\tred\n" for i in range(29)))
    Path("settings.yaml").write_text(
        "load_col: {inter: [user_id, item_id, rating, timestamp], item: [item_id, colour]}\n"
        "rm_dup_inter: last\nval_interval: {rating: '[2,inf)'}\nuser_inter_num_interval: '[5,inf)'\n"
        "threshold: {rating: 3}\neval_args: {order: TO}\n"
    )
    expected = drawn("small", "settings.yaml")
    assert irllrec("data", "split", "small", "--config-files=settings.yaml") == 0
    assert sum(map(len, expected)) < len((small / "small.inter").read_text().splitlines()) - 60
    assert drawn("small", "dataset/small/small.yaml") == expected
    found = yaml.safe_load((small / "small.yaml").read_text())
    assert found["threshold"] == {"rating": 3} and "val_interval" not in found


def test_ml_100k_in_an_empty_folder_and_a_run_on_it():
    expected = drawn("ml-100k")
    assert irllrec("data", "split", "ml-100k") == 0
    assert drawn("ml-100k-split", "dataset/ml-100k-split/ml-100k-split.yaml") == expected
    names = {path.suffix for path in Path("dataset/ml-100k-split").iterdir()}
    assert names == {".inter", ".item", ".user", ".kg", ".link", ".yaml"}


def test_a_run_on_the_written_split(small):
    assert irllrec("data", "split", "small", "--order=TO") == 0
    settings = {"epochs": 1, "show_progress": False, "embedding_size": 8}
    result = run_recbole("BPR", "small", config_file_list=["dataset/small/small.yaml"], config_dict=settings)
    assert "recall@10" in result["test_result"]


def test_what_is_copied_to_another_folder(small):
    (small / "small.item").write_text("item_id:token\n000\n")
    (small / "small.reviews.parquet").write_bytes(b"reviews")
    (small / "notes.txt").write_text("mine")
    for side, source in (("user", "interactions"), ("item", "features")):
        table = IntentTable.from_arrays(["a"], np.ones((1, 2)), encoder="e", source=source)
        table.write(small / f"small.{side}_profile.parquet")
    assert irllrec("data", "split", "small", "--out=other", "--name=fixed") == 0
    assert {path.name for path in Path("other/fixed").iterdir()} == {
        *(f"fixed.{part}.inter" for part in PARTS),
        *("fixed.item", "fixed.item_profile.parquet", "fixed.reviews.parquet", "fixed.yaml"),
    }
    assert drawn("fixed", "other/fixed/fixed.yaml") == drawn("small")


def test_settings_beside_the_data_are_used_and_kept(small):
    text = (small / "small.inter").read_text().replace("user_id", "who")
    (small / "small.inter").write_text(text)
    (small / "small.yaml").write_text("# mine\nUSER_ID_FIELD: who\nload_col: {inter: [who, item_id]}")
    assert irllrec("data", "split", "small") == 0
    first = (small / "small.yaml").read_text()
    assert first.startswith("# mine\nUSER_ID_FIELD: who\n") and "seed 2020" in first
    before = written("small")
    assert irllrec("data", "split", "small", "--seed=1", "--force") == 0
    assert written("small") != before
    again = (small / "small.yaml").read_text()
    assert again.startswith("# mine\n") and again.count("irllrec data split") == 1 and "seed 1" in again
    config = load_config("small", config_files="dataset/small/small.yaml")
    assert len(split_datasets(config)[0].inter_feat) == len(written("small")[0])


def test_refusals(small, capsys):
    assert irllrec("data", "split", "small") == 0
    before = {path.name: path.read_bytes() for path in small.iterdir()}
    assert "--force" in refusal(capsys, "data", "split", "small")
    assert "nowhere is not there" in refusal(capsys, "data", "split", "nowhere")
    assert "no column when" in refusal(
        capsys, "data", "split", "small", "--force", "--order=TO", _settings("TIME_FIELD: when")
    )
    (small / "small.yaml").write_text("a: b: c")
    assert "holds no settings" in refusal(capsys, "data", "split", "small", "--force")
    for words, content in {
        "holds no interactions": "user_id:token\titem_id:token\n",
        "begins with a quote that does not close": 'user_id:token\titem_id:token\nu\t"i\nj"\nu\tk\n',
    }.items():
        (small / "small.inter").write_text(content)
        assert words in refusal(capsys, "data", "split", "small", "--force", _settings("seed: 1"))
    after = {path.name: path.read_bytes() for path in small.iterdir()}
    changed = {name for name in before if before[name] != after[name]}
    assert after.keys() == before.keys() and changed == {"small.inter", "small.yaml"}  # by this test itself
    assert irllrec("data", "split", "small", "--force", "--ratios=1,2") == 2
    assert irllrec("data", "split", "small", "--force", "--ratios=8,1,1", "--leave-one-out=test_only") == 2
    assert re.search("give one of", capsys.readouterr().err)


def _settings(text):
    Path("settings.yaml").write_text(text)
    return "--config-files=settings.yaml"


def test_the_fingerprint_is_that_of_the_written_training_interactions(small):
    assert irllrec("data", "split", "small") == 0
    users, items = np.array([line.split("\t")[:2] for line in written("small")[0]], dtype=object).T
    seen = drawn("small", "dataset/small/small.yaml")[0]
    assert train_fingerprint(users, items) == train_fingerprint(*np.array(seen, dtype=object).T)
