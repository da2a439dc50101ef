"""irllrec data split: the written split is the one that RecBole draws."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from command import ended, irllrec, refusal
from hypothesis import given
from hypothesis import strategies as st
from recbole.quick_start import run_recbole
from recbole.utils import init_seed
from recbole_irllrec.dataset_tools.cold import draw
from recbole_irllrec.dataset_tools.describe import describe
from recbole_irllrec.dataset_tools.generation.inputs import read_known

from recbole_irllrec.data.features import train_fingerprint
from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.data.loading import load_config, split_datasets
from recbole_irllrec.errors import IRLLRecError

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
    (small / "small.answers.sqlite").write_bytes(b"answers")
    for side in ("user", "item"):
        (small / f"small.{side}_profile").write_text("as RecBole reads it")
    (small / "small.item_intent").write_text("of what, nobody says")
    for side, source in (("user", "interactions"), ("item", "features")):
        table = IntentTable.from_arrays(["a"], np.ones((1, 2)), encoder="e", source=source)
        table.write(small / f"small.{side}_profile.parquet")
    assert irllrec("data", "split", "small", "--out=other", "--name=fixed") == 0
    assert {path.name for path in Path("other/fixed").iterdir()} == {
        *(f"fixed.{part}.inter" for part in PARTS),
        *("fixed.item", "fixed.item_profile", "fixed.item_profile.parquet", "fixed.reviews.parquet", "fixed.yaml"),
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


def used(capsys):
    """The line that a command ends with, handed to a shell; what the run prints."""
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Use it: ")]
    shell = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line.removeprefix('Use it: ')}"], capture_output=True, text=True, check=True
    )
    program, *arguments = shell.stdout.split("\0")[:-1]
    cheap = ("--epochs=1", "--embedding_size=8", "--show_progress=False", "--use_gpu=False")
    done = ended(*arguments, *cheap, program=program)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_nothing_but_the_folder_of_the_data_set_is_touched(small, capsys):
    Path("dataset").rename("elsewhere")
    other = Path("dataset/small")
    other.mkdir(parents=True)
    (other / "small.train.inter").write_text("another data set's")
    assert irllrec("data", "split", "small", "--data-path=elsewhere") == 0
    assert {path.name for path in Path("elsewhere/small").iterdir()} == {
        *("small.inter", "small.yaml"),
        *(f"small.{part}.inter" for part in PARTS),
    }
    _settings("data_path: elsewhere\nseed: 3")  # which says as much
    assert irllrec("data", "split", "small", "--config-files=settings.yaml", "--force") == 0
    assert "seed 3" in Path("elsewhere/small/small.yaml").read_text()
    assert [path.read_text() for path in Path("dataset").rglob("*.*")] == ["another data set's"]
    assert "--force" in refusal(capsys, "data", "split", "small", "--data-path=elsewhere")


def test_each_setting_stands_in_the_file_once(small):
    (small / "small.yaml").write_text(
        "data_path: dataset\n# my columns\nload_col:\n  inter: [user_id, item_id, rating]\n\n  # and no others\n"
        "user_text: mean_of_items\n"
    )
    for order in ("TO", "RO"):
        assert irllrec("data", "split", "small", f"--order={order}", "--force") == 0
        text = (small / "small.yaml").read_text()
        keys = re.findall(r"^(\w+):", text, flags=re.MULTILINE)
        assert sorted(keys) == ["benchmark_filename", "data_path", "load_col", "user_text"]
        found = yaml.safe_load(text)
        assert found["load_col"]["inter"] == ["user_id", "item_id", "rating", "timestamp"]
        assert found["data_path"] == "dataset" and "# my columns" in text
    with open(small / "small.yaml", "a") as file:
        file.write("learning_rate: 0.1  # below the split's\n")
    assert irllrec("data", "split", "small", "--force") == 0
    assert "learning_rate: 0.1  # below the split's\n" in (small / "small.yaml").read_text()
    assert irllrec("data", "split", "small", "--out=other") == 0
    assert yaml.safe_load(Path("other/small/small.yaml").read_text())["user_text"] == "mean_of_items"


@pytest.mark.parametrize(
    "written",
    [
        "load_col: {\n  inter: [user_id, item_id]\n}\n",
        "load_col:\n# mine\n  inter: [user_id, item_id]\n",
        "load_col:\n  inter:\n  - user_id\n\n  - item_id\n",
        "load_col: {inter: [user_id, item_id]}",
    ],
)
def test_settings_in_any_form_of_yaml_are_replaced_whole(small, written):
    (small / "small.yaml").write_text(f"benchmark_filename: [\n]\nseed: 1\n# the columns\n{written}")
    for order in ("TO", "RO"):
        assert irllrec("data", "split", "small", f"--order={order}", "--force") == 0
        text = (small / "small.yaml").read_text()
        assert yaml.safe_load(text)["load_col"]["inter"] == ["user_id", "item_id", "timestamp"]
        assert text.startswith("seed: 1\n# the columns\n") and text.count("load_col:") == 1


def test_other_files_of_settings_do_not_drop_columns_that_are_loaded(small):
    (small / "small.yaml").write_text("load_col: {inter: [user_id, item_id, rating, timestamp]}\n")
    assert irllrec("data", "split", "small", "--order=TO", _settings("seed: 1")) == 0
    assert "rating" in drawn_columns()
    named = _settings("load_col: {inter: [user_id, item_id]}")
    assert irllrec("data", "split", "small", "--order=TO", "--force", named) == 0
    assert "rating" not in drawn_columns()


def drawn_columns():
    return split_datasets(load_config("small", config_files="dataset/small/small.yaml"))[0].inter_feat.columns


def test_the_line_to_use_it_works_in_a_shell_as_it_stands(small, capsys):
    own = Path("my data/it's")
    small.rename(own.parent.mkdir() or own)
    (own / "small.inter").rename(own / "it's.inter")
    Path("a b.yaml").write_text("topk: [7]\nvalid_metric: NDCG@7\n")
    assert irllrec("data", "split", "it's", "--data-path=my data", "--config-files='a b.yaml'") == 0
    assert "recall@7" in used(capsys)  # of the settings that were given
    both = "'a b.yaml' \"my data/it's/it's.yaml\""
    assert irllrec("data", "split", "it's", "--data-path=my data", f"--config-files={both}", "--force") == 0
    assert capsys.readouterr().out.count("s.yaml") == 1
    assert "close the quote" in refusal(capsys, "data", "split", "small", "--config-files='a b.yaml")


# --- Cold items and users. -------------------------------------------------------------------------------------------


def joined(parts):
    return [row for part in parts for row in part]


def sides(rows):
    """The users and the items of lines."""
    pairs = [line.split("\t")[:2] for line in rows]
    return {u for u, _ in pairs}, {i for _, i in pairs}


SHARES = st.sampled_from([0.0, 0.1, 0.2, 0.34, 0.5])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1), SHARES, SHARES, st.integers(0, 2**32 - 1))
def test_who_is_drawn_as_cold(pairs, of_items, of_users, seed):
    users, items = np.array([(f"u{u}", f"i{i}") for u, i in pairs], dtype=object).T
    tokens, shares = {"user": users, "item": items}, {"item": of_items, "user": of_users}
    sizes = {side: len(set(tokens[side])) for side in tokens}
    try:
        cold = draw(tokens, shares, seed)
    except IRLLRecError as refused:
        small = any(shares[side] > 0 and round(shares[side] * sizes[side]) < 2 for side in shares)
        assert small == ("larger share" in str(refused)) and small != ("left for training" in str(refused))
        return
    for side, share in shares.items():
        valid, test = cold.drawn[side]
        assert valid + test == round(share * sizes[side]) and 0 <= test - valid <= 1
    parts_of = {item: set(cold.part[items == item]) for item in items}
    of_cold_items = [parts for parts in parts_of.values() if len(parts) == 1 and parts != {0}]
    assert len(of_cold_items) >= sum(cold.drawn["item"])  # others may have cold users alone
    if of_users == 0:
        assert len(of_cold_items) == sum(cold.drawn["item"]) and all(len(parts) == 1 for parts in parts_of.values())
    order = np.random.default_rng(0).permutation(len(pairs))
    again = draw({side: each[order] for side, each in tokens.items()}, shares, seed)
    assert (again.part == cold.part[order]).all()  # whatever the file's order


@pytest.mark.parametrize("options", [["--order=TO"], ["--leave-one-out=valid_and_test"], ["--time-ratios=7,1,2"]])
def test_cold_items_and_users_are_not_in_training(options, small, capsys):
    options = [*options, "--cold-items=0.2", "--cold-users=0.1", "--seed=5"]
    assert irllrec("data", "split", "small", "--name=cold", *options) == 0
    printed = " ".join(capsys.readouterr().out.split())
    parts = written("cold")
    assert sorted(joined(parts)) == sorted((small / "small.inter").read_text().splitlines()[1:])
    (users, items), *held_out = map(sides, parts)
    all_users, all_items = sides(joined(parts))
    cold_items, cold_users = all_items - items, all_users - users
    assert len(cold_items) >= 6 and len(cold_users) >= 4
    assert (
        f"3 items drawn as cold, validation's 3 items drawn as cold, test's {len(cold_items) - 6} other items"
        in printed
    )
    assert (
        f"2 users drawn as cold, validation's 2 users drawn as cold, test's {len(cold_users) - 4} other users"
        in printed
    )
    for drawn in (held_out[0][1] - held_out[1][1], held_out[1][1] - held_out[0][1]):
        assert len(drawn & cold_items) >= 3  # all interactions of a cold item are in one part
    text = Path("dataset/cold/cold.yaml").read_text()
    assert "cold users 0.1, cold items 0.2" in text and yaml.safe_load(text)["item_boards"] is True
    found = describe("cold")["cold"]
    assert found["items held out and not in training"] == len(cold_items)
    assert found["users held out and not in training"] == len(cold_users)
    before = parts
    assert irllrec("data", "split", "small", "--name=cold", *options, "--force") == 0
    assert written("cold") == before
    assert irllrec("data", "split", "small", "--name=cold", *options, "--seed=6", "--force") == 0
    assert written("cold") != before


def test_without_cold_ones_nothing_is_left_of_them(small, capsys):
    assert irllrec("data", "split", "small", "--cold-items=0.2") == 0
    assert "users without a training interaction" in capsys.readouterr().out
    assert "without" not in ended("data", "split", "small", "--force").stdout
    assert "item_boards" not in yaml.safe_load((small / "small.yaml").read_text())
    refused = refusal(capsys, "data", "split", "small", "--force", "--cold-items=0.01")
    assert "Of 30 items, --cold-items 0.01 makes 0 cold" in refused
    assert "no interaction is left" in refusal(capsys, "data", "split", "small", "--force", "--cold-users=1")
    assert irllrec("data", "split", "small", "--force", "--cold-users=1.5") == 2


def test_a_data_set_that_comes_split_is_split_anew(small, capsys):
    assert irllrec("data", "split", "small") == 0
    (small / "small.inter").unlink()
    assert irllrec("data", "split", "small", "--name=cold", "--cold-items=0.2") == 0
    assert sorted(joined(written("cold"))) == sorted(joined(written("small")))
    assert sides(written("cold")[0])[1] < sides(written("small")[0])[1]
    assert "another --name or --out" in refusal(capsys, "data", "split", "small", "--force")
    valid = small / "small.valid.inter"
    valid.write_text(valid.read_text().replace("tags:token_seq", "words:token_seq", 1))
    assert "names other columns" in refusal(capsys, "data", "split", "small", "--name=cold", "--force")
    valid.unlink()
    assert "small.inter is not there" in refusal(capsys, "data", "split", "small", "--name=cold", "--force")


def test_reviews_of_cold_items_enter_no_prompt(small):
    rows = [line.split("\t")[:2] for line in (small / "small.inter").read_text().splitlines()[1:]]
    texts = [f"said of {item}" for _, item in rows]
    users, items = zip(*rows, strict=True)
    pd.DataFrame({"user": users, "item": items, "text": texts}).to_parquet(small / "small.reviews.parquet")
    assert irllrec("data", "split", "small", "--cold-items=0.2", "--cold-users=0.1") == 0
    train_users, train_items = sides(written("small")[0])
    sampling = {"seed": 0, "liked_from": 4.0, "most_history": 99, "most_reviews": 99}
    known = read_known(load_config("small", config_files="dataset/small/small.yaml"), **sampling)
    assert set(known.item_reviews["item"]) == train_items < set(items)
    assert set(known.item_reviews["text"]) == {f"said of {item}" for item in train_items}
    assert set(known.history["user"]) == train_users and set(known.history["item"]) == train_items
