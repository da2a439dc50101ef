"""The order of time is that of the times in the file, for whatever sorts or splits by it."""

import pickle
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import recbole.data.utils
from command import irllrec
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.quick_start import run_recbole
from recbole.utils import init_seed

from recbole_irllrec import safe_loading
from recbole_irllrec.data.loading import load_config, seeded_dataset
from recbole_irllrec.errors import IRLLRecError

NOW = 1_754_000_000  # where floats of 32 bits are 128 seconds apart
LAST = {"order": "TO", "split": {"LS": "test_only"}, "group_by": "user", "mode": "full"}
THIRDS = {"order": "TO", "split": {"TS": [0.5, 0.25, 0.25]}, "group_by": "user", "mode": "full"}


def write(rows, kind="float", name="d", folder="dataset"):
    """A data set of rows (user, item, time); returns settings that find it."""
    own = Path(folder, name)
    own.mkdir(parents=True, exist_ok=True)
    lines = [f"user_id:token\titem_id:token\ttimestamp:{kind}", *("\t".join(map(str, row)) for row in rows)]
    (own / f"{name}.inter").write_text("\n".join(lines) + "\n")
    return {
        "data_path": str(own.parent),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "show_progress": False,
    }


def build(found, model="BPR", eval_args=LAST, **more):
    config = load_config("d", settings={**found, "eval_args": eval_args, **more}, model=model)
    return seeded_dataset(config).build()


def pairs(part):
    names = [part.field2id_token[f][np.asarray(part.inter_feat[f])].tolist() for f in ("user_id", "item_id")]
    return list(zip(*names, strict=True))


def interactions(n_users=6, n_each=8, step=15, start=NOW, seed=0):
    """Rows in an order of their own, with each user's times a few seconds apart, all users at once."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{u}", f"i{rng.integers(100)}-{n}", start + step * (n_users * n + u))
        for u in range(n_users)
        for n in range(n_each)
    ]
    return [rows[place] for place in rng.permutation(len(rows))]


def last_of_each(rows):
    """The last interaction of each user by time, then by place: what Python's exact, stable sort says."""
    last = {}
    for user, item, _ in sorted(rows, key=lambda row: row[2]):
        last[user] = (user, item)
    return sorted(last.values())


def test_the_last_of_a_converted_file_is_the_last():
    times = {"b": 0, "c": 15, "a": -15}
    rows = [
        f"{user},{item},5,{NOW + seconds}" for user in "uv" for item, seconds in sorted(times.items(), reverse=True)
    ]
    Path("r.csv").write_text("\n".join(["user_id,item_id,rating,timestamp", *rows, ""]))
    assert irllrec("data", "convert", "csv", "r.csv", "--name=d", "--timestamp=timestamp") == 0
    assert irllrec("data", "split", "d", "--order=TO", "--leave-one-out=test_only") == 0
    test = Path("dataset/d/d.test.inter").read_text().splitlines()[1:]
    assert sorted(tuple(line.split("\t")[:2]) for line in test) == [("u", "c"), ("v", "c")]


TIMES = st.one_of(
    st.integers(-(10**18), 10**18),
    st.builds(lambda base, near: base + near, st.sampled_from([NOW, NOW * 10**3, NOW * 10**9]), st.integers(0, 200)),
)
MILLISECONDS = st.integers(NOW * 1000, NOW * 1000 + 3000).map(lambda ms: f"{ms // 1000}.{ms % 1000:03}")


@given(
    st.one_of(
        *(
            st.lists(st.tuples(st.sampled_from("uvw"), times), min_size=2, max_size=30)
            for times in (TIMES, MILLISECONDS)
        )
    ),
    st.sampled_from(["float", "token"]),
)
@settings(max_examples=30, deadline=None)
def test_the_last_are_those_of_an_exact_sort(drawn, kind):
    rows = [(user, f"i{place}", time) for place, (user, time) in enumerate(drawn)]
    with tempfile.TemporaryDirectory() as folder:
        parts = build(write(rows, kind, folder=folder))
    several = {user for user, *_ in rows if [row[0] for row in rows].count(user) > 1}  # others stay in training
    assert sorted(pairs(parts[2])) == [pair for pair in last_of_each(rows) if pair[0] in several]
    order = [(user, item) for user, item, _ in sorted(rows, key=lambda row: row[2])]
    for user in "uvw":
        assert [p for p in pairs(parts[0]) if p[0] == user] == [p for p in order if p[0] == user][
            : -1 if user in several else None
        ]


@pytest.mark.parametrize(
    ("scale", "more"),
    [
        (1, {}),
        (10**9, {}),
        (1, {"normalize_field": ["timestamp"]}),
        (
            1,
            {
                "numerical_features": ["timestamp"],
                "discretization": {"timestamp": {"method": "ED", "bucket": 3}},
            },
        ),
        (1, {"val_interval": {"timestamp": f"[{NOW + 100},inf)"}}),
        (10**9, {"rm_dup_inter": "first"}),
    ],
    ids=["seconds", "nanoseconds", "normalised", "in buckets", "filtered", "without repeats"],
)
def test_all_orders_whatever_is_done_to_the_column(scale, more):
    rows = [(user, item, time * scale) for user, item, time in interactions()]
    kept = [row for row in rows if "val_interval" not in more or row[2] >= NOW + 100]
    in_order = [(user, item) for user, item, _ in sorted(kept, key=lambda row: row[2])]
    parts = build(write(rows), eval_args={**LAST, "split": {"RS": [0.5, 0.25, 0.25]}, "group_by": "none"}, **more)
    assert [pair for part in parts for pair in pairs(part)] == in_order


def test_what_models_see_of_a_time_is_as_before():
    rows = [(user, item, NOW * 10**9 + time) for user, item, time in interactions(start=0)]
    seen = build(write(rows))[0].inter_feat
    assert seen["timestamp"].dtype.is_floating_point and seen["timestamp"].itemsize == 4
    assert set(seen.columns) == {"user_id", "item_id", "timestamp"}
    assert set(seen["timestamp"].numpy()) == {np.float32(NOW * 10**9)}


@pytest.mark.parametrize("order", ["TO", "RO"])
def test_a_split_at_a_time(order):
    rows = interactions()
    train, valid, test = build(write(rows), eval_args={**THIRDS, "order": order})
    in_order = [(user, item) for user, item, _ in sorted(rows, key=lambda row: row[2])]
    # RecBole's percentile lies between the 36th and the 37th of 48.
    assert sorted(pairs(test)) == sorted(in_order[36:])
    for user in {user for user, *_ in rows}:
        earlier = [pair for pair in in_order[:36] if pair[0] == user]
        held = [pair for part in (train, valid) for pair in pairs(part) if pair[0] == user]
        assert held == earlier
    assert train.time_field == "timestamp" and set(train.inter_feat.columns) == {"user_id", "item_id", "timestamp"}


@pytest.mark.parametrize(
    ("model", "more"),
    [("GRU4Rec", {"train_neg_sample_args": None}), ("DIEN", {"metrics": ["AUC"], "valid_metric": "AUC"})],
)
def test_sequences(model, more):
    rows = interactions(n_users=3)
    eval_args = {**LAST, "split": {"LS": "valid_and_test"}, "mode": "labeled" if model == "DIEN" else "full"}
    train, valid, test = build(write(rows), model, eval_args, **more)
    own = defaultdict(list)
    for user, item, _ in sorted(rows, key=lambda row: row[2]):
        own[user].append(item)
    for part, end in ((valid, -2), (test, -1)):
        seen = part.inter_feat
        users, targets = np.array(pairs(part)).T
        before = [part.field2id_token["item_id"][items[items > 0]].tolist() for items in seen["item_id_list"].numpy()]
        assert dict(zip(users, targets, strict=True)) == {user: items[end] for user, items in own.items()}
        assert dict(zip(users, before, strict=True)) == {user: items[:end] for user, items in own.items()}
    assert len(pairs(train)) == 3 * 5


def test_a_model_that_sorts_by_time_itself():
    """T-DiffRec weighs a user's training items by their order; here they come to it shuffled."""
    train = build(write(interactions()), "DiffRec", {**LAST, "order": "RO"})[0]
    found = train.inter_feat[np.arange(len(train))[::-1]]
    found.sort("timestamp")
    times = {(user, item): time for user, item, time in interactions()}
    train.inter_feat = found
    assert [times[pair] for pair in pairs(train)] == sorted(times[pair] for pair in pairs(train))


def test_of_repeated_interactions_the_latest_is_kept_and_of_equal_times_the_one_in_the_file():
    rows = [(f"u{n % 3}", f"i{n % 20}", NOW) for n in range(300)]
    late = [("u0", "i0", NOW - 1), ("u1", "i1", ""), *rows]
    config = load_config("d", settings={**write(late), "rm_dup_inter": "first"})
    found = seeded_dataset(config)
    assert pairs(found) == [("u0", "i0"), *dict.fromkeys((u, i) for u, i, _ in rows if (u, i) != ("u0", "i0"))]


@pytest.mark.parametrize("scale", [1, 10**9])
def test_missing_times_stand_at_the_mean_as_recbole_fills_them(scale, caplog):
    rows = [("u", f"i{n}", (NOW + n) * scale) for n in (4, 3, 1, 0)]
    parts = build(write([("u", "nowhen", ""), *rows]), eval_args={**LAST, "split": {"RS": [1, 0, 0]}})
    assert [item for _, item in pairs(parts[0])] == ["i0", "i1", "nowhen", "i3", "i4"]


def test_missing_times_are_counted(caplog):
    build(write([("u", "nowhen", ""), ("u", "a", NOW), ("u", "b", NOW + 9)]))
    assert "1 interactions have no timestamp: in the order of time they stand at the mean of the others." in caplog.text


def test_dates_in_a_column_of_words():
    rows = [("u", "c", "2024-03-01T10:00:00.002"), ("u", "b", "2024-03-01T10:00:00.001"), ("u", "a", "2023-12-31")]
    assert pairs(build(write(rows, "token"))[2]) == [("u", "c")]


def test_words_are_no_times():
    found = write([("u", "a", "Monday"), ("u", "b", NOW)], "token")
    with pytest.raises(IRLLRecError, match=r"d\.inter, column timestamp:token, holds 'Monday', which is neither"):
        build(found)
    assert len(pairs(build(found, eval_args={**LAST, "order": "RO"})[2])) == 1


def test_run_recbole_and_what_it_saved(monkeypatch, caplog):
    caplog.set_level("INFO")
    rows = interactions(n_users=10, n_each=6)
    settings = {**write(rows), "epochs": 1, "embedding_size": 4, "save_dataset": True, "save_dataloaders": True}
    settings["eval_args"] = {**LAST, "split": {"LS": "valid_and_test"}}
    seen = []
    original = recbole.data.utils.create_samplers
    monkeypatch.setattr(recbole.data.utils, "create_samplers", lambda *given: seen.append(given[2]) or original(*given))

    def test_set(**more):
        seen.clear()
        caplog.clear()
        run_recbole("BPR", "d", config_dict={**settings, **more}, saved=False)
        return sorted(pairs(seen[0][2])) if seen else None

    assert test_set() == last_of_each(rows)
    assert test_set() is None and "Load split dataloaders from" in caplog.text
    Path("saved/d-for-BPR-dataloader.pth").unlink()
    assert test_set() == last_of_each(rows) and "Load filtered dataset from" in caplog.text
    # With another order the saved data set is not taken, for it would be split in its own.
    at_random = {**settings["eval_args"], "order": "RO"}
    assert test_set(eval_args=at_random) != last_of_each(rows) and "Load filtered" not in caplog.text


def test_data_that_were_saved_before_are_made_anew(caplog):
    """As an earlier version has left them: without the exact times."""
    rows = interactions()
    found = {**write(rows), "eval_args": LAST, "save_dataset": True, "save_dataloaders": True}
    config = Config("BPR", "d", config_dict=found)
    init_seed(config["seed"], True)
    data_preparation(config, create_dataset(config))
    for path, loaders in (("saved/d-Dataset.pth", False), ("saved/d-for-BPR-dataloader.pth", True)):
        with open(path, "rb") as file:
            saved = safe_loading.load_pickle(file)
        for dataset in [loader._dataset for loader, _ in saved] if loaders else [saved]:
            del dataset.exact_times
            vars(dataset.inter_feat).pop("sort_keys", None)
        if not loaders:
            saved.inter_feat["timestamp"] = 0.0  # what an order that is wrong would come from
        with open(path, "wb") as file:
            pickle.dump(saved, file)
    test = data_preparation(config, create_dataset(config))[2].dataset
    assert sorted(pairs(test)) == last_of_each(rows)
    assert caplog.text.count("was saved before times were exact") == 2


def test_interactions_without_times_have_no_keys():
    rows = Interaction({"a": np.array([3, 1, 2])})
    rows.sort("a")
    assert rows["a"].tolist() == [1, 2, 3] and rows[:2].sort_keys == {}
    with pytest.raises(ValueError, match="not exist"):
        rows.sort("b")
