"""Models in Python: frames and arrays in, frames out, and no file of anybody's in between."""

import gc
import json
import os
import pickle
import random
import sys
import zipfile
from pathlib import Path

import command
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from recbole_irllrec import IRLLRecError, fit, load
from recbole_irllrec.api import Model
from recbole_irllrec.data.intents import IntentTable

N_USERS, N_ITEMS = 60, 80
KIND = np.arange(N_ITEMS) % 4  # user u likes the items of kind u % 4
WORDS = ("warm woollen coat", "sharp steel knife", "funny board game", "old garden chair")
QUICK = {"epochs": 2, "embedding_size": 16, "train_batch_size": 256, "learning_rate": 0.01, "linear_weight": 0}


def tastes() -> pd.DataFrame:
    """Columns ``user`` and ``item``, numbers; and rating and timestamp."""
    rng = np.random.default_rng(0)
    users, items = np.argwhere(rng.random((N_USERS, N_ITEMS)) < np.where(KIND[:N_USERS, None] == KIND, 0.5, 0.03)).T
    order = rng.permutation(len(users))
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**6, len(users)), unit="s")
    ratings = rng.integers(1, 6, len(users))
    return pd.DataFrame({"user": users, "item": items, "rating": ratings, "timestamp": times}).iloc[order]


def texts() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item": np.arange(N_ITEMS),
            "title": [f"{WORDS[kind]} {n}" for n, kind in enumerate(KIND)],
            "classes": [["things", WORDS[kind].split()[0]] for kind in KIND],
            "year": 1950.0 + np.arange(N_ITEMS),
        }
    )


@pytest.fixture(scope="module")
def fitted() -> Model:
    return fit(tastes(), item_texts=texts(), **QUICK | {"epochs": 8})


@pytest.fixture(scope="module")
def ease() -> Model:
    return fit(tastes(), model="EASE")


def pairs(frame: pd.DataFrame) -> set[tuple]:
    return set(zip(frame["user"], frame["item"], strict=True))


def kinds_of(items) -> np.ndarray:
    return KIND[np.asarray(items, int)]


# ---- what comes out --------------------------------------------------------------------------------------------------


def test_recommendations(fitted):
    found = fitted.recommend(k=5)
    assert list(found) == ["user", "rank", "item", "score"] and len(found) == 5 * N_USERS
    assert set(found["user"]) == set(range(N_USERS)) and not pairs(found) & pairs(tastes())
    for _, rows in found.groupby("user"):
        assert list(rows["rank"]) == [1, 2, 3, 4, 5] and rows["score"].is_monotonic_decreasing
    assert (kinds_of(found["item"]) == found["user"] % 4).mean() > 0.8
    one = fitted.recommend(7, k=3, items=[4, 5, 6, 7])
    assert set(one["user"]) == {7} and set(one["item"]) <= {4, 5, 6, 7}
    pd.testing.assert_frame_equal(fitted.recommend(np.array([9, 7]), k=5), fitted.recommend(["9", "7"], k=5))
    assert len(fitted.recommend([])) == 0


def test_nothing_in_stock(fitted):
    assert fitted.recommend(items=[]).empty


def test_reasons_of_recommendations(fitted):
    found = fitted.recommend([1, 2], k=4, explain=True)
    assert (found["item_text"].str.split().str[1] == [WORDS[kind].split()[0] for kind in kinds_of(found["item"])]).all()
    trained = tastes()
    of_items = found[found["because_of"].notna()]  # others agree most with the user's own text, of all its items
    assert set(zip(of_items["user"], of_items["because_of"], strict=True)) <= pairs(trained)
    assert of_items["because_of"].map(type).eq(int).all() or found["because_of"].dtype == trained["item"].dtype
    first = of_items.iloc[0]
    reason = fitted.explain(first["user"], first["item"])
    for name in ("user", "item", "kind", "item_text", "rank"):
        assert getattr(reason, name) == first[name], name
    assert (reason.score, reason.similarity) == pytest.approx((first["score"], first["similarity"]))
    assert f"because of {reason.because_of}" in str(reason) and reason.user_text in str(reason)


def test_reasons_without_texts(ease):
    reason = ease.explain(3, 7)
    assert (3, reason.because_of) in pairs(tastes()) and reason.kind == "weights" and reason.item_text is None
    alike = ease.similar_items(reason.because_of, k=N_ITEMS).set_index("similar")
    assert reason.similarity == pytest.approx(alike.loc[7, "similarity"])
    popular = fit(tastes(), model="Pop").explain(3, 7)
    assert popular.because_of is None and str(popular).startswith("7 for 3: rank")


@pytest.mark.parametrize("model", ["IRLLRec", "EASE", "BPR"])
def test_similar_items_are_of_one_kind(model, fitted, ease):
    made = {"IRLLRec": fitted, "EASE": ease}.get(model) or fit(tastes(), model=model, **QUICK | {"epochs": 40})
    found = made.similar_items(range(N_ITEMS), k=5)
    assert list(found) == ["item", "rank", "similar", "similarity"] and len(found) == 5 * N_ITEMS
    assert (found["item"] != found["similar"]).all()
    assert (kinds_of(found["item"]) == kinds_of(found["similar"])).mean() > 0.8
    values = found["similarity"].to_numpy().reshape(N_ITEMS, 5)
    assert (np.diff(values) <= 0).all() and not len(made.similar_items([]))


def test_vectors_whose_products_are_scores(fitted):
    made = fitted.export()
    assert set(made.user_ids) == set(range(N_USERS)) and made.metric in ("cosine", "inner_product")
    scores = pd.DataFrame(made.users @ made.items.T, made.user_ids, made.item_ids)
    found = fitted.recommend(k=3)
    np.testing.assert_allclose(
        [scores.loc[user, item] for user, item in zip(found["user"], found["item"], strict=True)],
        found["score"],
        rtol=1e-5,
    )


def test_a_linear_part_is_in_scores_and_not_in_vectors(caplog):
    model = fit(tastes(), item_texts=texts(), **QUICK | {"linear_weight": 2.0})
    found = model.recommend([3], k=5)
    vectors = model.export()
    assert "linear part" in caplog.text and (found["item"] % 4 == 3).mean() > 0.7
    places = vectors.item_ids.get_indexer(found["item"])
    products = vectors.users[vectors.user_ids.get_loc(3)] @ vectors.items[places].T
    assert not np.allclose(products, found["score"], atol=1e-3)
    assert not model.similar_items([0], k=3).empty


def test_metrics_beside_popularitys(fitted):
    found = fitted.evaluate()
    assert list(found) == ["IRLLRec", "popularity"]
    assert found.loc["recall@10", "IRLLRec"] > 2 * found.loc["recall@10", "popularity"]
    assert fitted.history["is_best"].any() and "ndcg@10" in fitted.history
    assert fitted.settings["learning_rate"] == 0.01 and fitted.settings["MODEL_TYPE"]


def test_metrics_of_ones_own_test_set():
    frame = tastes()
    held_out = frame.groupby("user").head(3)
    made = fit(frame.drop(held_out.index), model="EASE", test=0, topk=[5, 10])
    known = held_out[held_out["item"].isin(made.items)]
    strange = pd.DataFrame({"user": [0, 10**6], "item": [10**6, 0]})
    found = made.evaluate(pd.concat([known, strange, frame.drop(held_out.index)]))
    best = made.recommend(k=5).merge(known[["user", "item"]])
    recall = (best.groupby("user").size() / known.groupby("user").size()).fillna(0).mean()
    assert found.loc["recall@5", "EASE"] == pytest.approx(recall, abs=1e-4)
    with pytest.raises(IRLLRecError, match="Nothing was held out"):
        made.evaluate()
    with pytest.raises(IRLLRecError, match="None of the 2 interactions of the test is new"):
        made.evaluate(strange)


# ---- ids -------------------------------------------------------------------------------------------------------------

AWKWARD = ("NA", '"q"', "a\tb", "escaped:x", "007")
IDS = {
    "int64": lambda numbers: numbers * 7 + 1000,
    "int32": lambda numbers: (numbers * 7).astype(np.int32),
    "uint8": lambda numbers: numbers.astype(np.uint8),
    "strings": lambda numbers: np.array([f"id {n}" for n in numbers], object),
    "awkward strings": lambda numbers: np.array([f"{AWKWARD[n % 5]}{n // 5 or ''}" for n in numbers], object),
    "string dtype": lambda numbers: pd.array([f"id {n}" for n in numbers], dtype="string"),
    "categories": lambda numbers: pd.Categorical([f"id {n}" for n in numbers]),
    "Int64": lambda numbers: pd.array(numbers, dtype="Int64"),
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_come_back_as_they_were_given(kind, ease, tmp_path):
    frame = tastes()
    numbers = frame["item"].to_numpy()
    frame = pd.DataFrame({"user": frame["user"].to_numpy(), "item": IDS[kind](numbers)})
    made = fit(frame, model="EASE")
    found, plain = made.recommend(k=3), ease.recommend(k=3)
    assert found["item"].dtype == frame["item"].dtype
    back = dict(zip(frame["item"], numbers, strict=True))
    np.testing.assert_array_equal(found["item"].map(back).to_numpy(int), plain["item"])
    assert isinstance(found["item"].iloc[0], type(frame["item"].iloc[0]))
    wanted = frame["item"].iloc[0]
    assert set(made.similar_items(wanted)["item"]) == {wanted} and made.explain(0, wanted).item == wanted
    made.save(tmp_path / "model")
    pd.testing.assert_frame_equal(load(tmp_path / "model").recommend(k=3), found)


# ---- what goes in ----------------------------------------------------------------------------------------------------


def test_a_matrix_and_arrays(ease):
    frame = tastes()
    matrix = sp.coo_matrix((np.ones(len(frame)), (frame["user"], frame["item"])))
    arrays = (frame["user"].to_numpy(), frame["item"].tolist())
    for given in (matrix, arrays):
        found = fit(given, model="EASE").recommend(k=4)
        pd.testing.assert_frame_equal(found, ease.recommend(k=4), check_dtype=False)
    weighed = sp.csr_matrix((frame["rating"] - 1, (frame["user"], frame["item"])))
    made = fit(weighed, model="EASE")
    taken = frame[frame["rating"] > 1]
    assert not pairs(made.recommend(k=N_ITEMS)) & pairs(taken) and set(made.items) == set(taken["item"])


def test_columns_by_name_and_texts_in_three_forms():
    named = {"user": "who", "item": "what", "rating": "stars", "timestamp": "when"}
    frame = tastes().rename(columns=named)
    words = {n: WORDS[kind] for n, kind in enumerate(KIND)}
    forms = [
        words,
        pd.Series(words),
        pd.DataFrame({"what": list(words), "description": list(words.values())}),
    ]
    users = pd.DataFrame({"likes": [WORDS[user % 4] for user in range(N_USERS)]}).rename_axis("id")
    found = [fit(frame, form, users, **named, **QUICK).recommend(k=3, explain=True) for form in forms]
    for other in found[1:]:
        pd.testing.assert_frame_equal(found[0], other)
    own = found[0]["because_of"].isna()
    assert own.any() and found[0]["user_text"][own].str.startswith("likes: ").all()
    first = found[0][own].iloc[0]
    assert first["because_of"] is None and type(found[0]["because_of"][~own].iloc[0]) is int


def test_embeddings_in_four_forms():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 12))
    vectors = (centres[KIND] + 0.1 * rng.normal(size=(N_ITEMS, 12))).astype(np.float32)
    forms = [
        dict(enumerate(vectors)),
        (np.arange(N_ITEMS), vectors),
        pd.DataFrame(vectors, index=pd.Index(np.arange(N_ITEMS))),
        pd.DataFrame(vectors[::-1]).assign(item=np.arange(N_ITEMS)[::-1]),  # numbers of rows are other items' ids
    ]
    found = [fit(tastes(), texts(), item_embeddings=form, model="AlphaRec", **QUICK) for form in forms]
    tables = [made.recommend(k=3, explain=True) for made in found]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other)
    assert tables[0]["item_text"].str.startswith("title: ").all()
    cold = found[0].extend(items=pd.DataFrame({"embedding": [centres[2]], "item": [10**6]}))
    users = cold.recommend(k=1, items=10**6).sort_values("score")["user"]
    assert (users.tail(5) % 4 == 2).all()


def test_without_texts_a_model_of_texts_does_without(ease):
    made = fit(tastes(), **QUICK)
    assert made.settings["profile_weight"] == 0 and len(made.recommend(k=2)) == 2 * N_USERS
    with pytest.raises(IRLLRecError, match="give item_texts to fit, or leave explain out"):
        made.recommend(k=2, explain=True)
    with pytest.raises(IRLLRecError, match="EASE are not known to be products of vectors"):
        ease.export()


def test_the_settings_are_those_of_the_training(fitted):
    fitted.recommend(k=1)
    assert fitted.settings["profile_weight"] > 0 and fitted.settings["epochs"] == 8


def test_numbers_of_rows_are_no_ids():
    frame = texts().drop(columns="item").iloc[::2]
    with pytest.raises(IRLLRecError, match=r"no column item_id or item, .*: name its column of ids so, or its index"):
        fit(tastes(), frame, **QUICK)


def test_a_table_of_texts_named_by_a_setting(tmp_path):
    frame = pd.DataFrame({"id": [*map(str, range(N_ITEMS))]})
    table = IntentTable.from_arrays(
        frame["id"], np.eye(N_ITEMS, 8, dtype=np.float32) + 1, [WORDS[kind] for kind in KIND], encoder="e", source=None
    )
    table.write(tmp_path / "items.parquet")
    named = {f"item_{kind}_table": str(tmp_path / "items.parquet") for kind in ("profile", "intent")}
    made = fit(tastes(), user_text="mean_of_items", **named, **QUICK | {"epochs": 1})
    assert made.recommend(0, k=1, explain=True)["item_text"].iloc[0] in WORDS


def test_unseen_items_are_kept_for_their_texts():
    frame = tastes()
    gone = frame["item"] == 6
    made = fit(frame[~gone], texts(), keep_unseen=True, **QUICK | {"epochs": 8})
    assert 6 in set(made.items) and 6 not in set(fit(frame[~gone], texts(), model="EASE").items)
    found = made.recommend(k=1, items=[6]).sort_values("score")
    assert (found["user"].tail(5) % 4 == 6 % 4).all()


def test_a_split_by_time():
    frame = tastes()
    made = fit(frame, model="EASE", eval_args={"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"})
    latest = frame.sort_values("timestamp", kind="stable").groupby("user").tail(1)
    seen = made.recommend(k=N_ITEMS, repeat_held_out=True)
    assert pairs(latest) <= pairs(seen)


def test_a_model_to_begin_with(fitted):
    """Another day's model, hardly trained, recommends as the one before did."""
    hardly = {**QUICK, "epochs": 1, "learning_rate": 1e-9}
    warm, cold = (fit(tastes(), texts(), **hardly, **begin).recommend(k=5) for begin in ({"warm_start": fitted}, {}))
    before = pairs(fitted.recommend(k=5))
    assert len(pairs(warm) & before) > 0.9 * len(before) > 2 * len(pairs(cold) & before)


# ---- beside the command line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["IRLLRec", "LightGCN", "L3AE"])
def test_the_command_line_gives_the_same(model):
    frame = tastes()
    frame.to_csv("shop.csv", index=False)
    texts().drop(columns="classes").to_csv("items.csv", index=False)
    columns = ["--user", "user", "--item", "item", "--rating", "rating", "--timestamp", "timestamp"]
    command.run("data", "convert", "csv", "shop.csv", "--name", "shop", *columns, "--items", "items.csv")
    settings = [f"--{name}={value}" for name, value in QUICK.items()]
    done = command.ended(
        *(f"--model={model}", "--dataset=shop", "--config_files=dataset/shop/shop.yaml", "--seed=5", *settings),
        program="run_recbole",
    )
    assert done.returncode == 0, done.stderr
    (checkpoint,) = (path for path in Path("saved").glob("*.pth") if ".resume" not in path.name)
    command.run("recommend", checkpoint, "--users", "all", "--k", "6", "--out", "best.parquet")
    theirs = pd.read_parquet("best.parquet").astype({"user": int, "item": int})
    made = fit(frame, texts().drop(columns="classes"), model=model, seed=5, **QUICK)
    ours = made.recommend(k=6)
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, rtol=1e-5)
    for name, value in made.evaluate()[model].items():
        assert f"{value:.4f}" in done.stdout, name


def test_nothing_stays_behind():
    before = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate(), Path.cwd(), list(sys.argv)
    made = fit(tastes(), texts(), show_progress=True, **QUICK)
    made.recommend(k=2, explain=True)
    made.evaluate()
    made.explain(0, 1)
    extended = made.extend({10**6: WORDS[0]}, pd.DataFrame({"user": ["new"], "item": ["4"]}))
    assert not os.listdir()
    np.testing.assert_array_equal(before[0], np.random.get_state()[1])
    assert torch.equal(before[1], torch.get_rng_state())
    assert before[2:] == (random.getstate(), Path.cwd(), sys.argv)
    folder = made._folder.path
    assert folder.is_dir()
    del made
    gc.collect()
    assert len(extended.recommend(k=1, explain=True)) == N_USERS + 1
    del extended
    gc.collect()
    assert not folder.exists()


# ---- new items and histories -----------------------------------------------------------------------------------------


def test_new_items_and_histories(fitted):
    new = {10**6 + kind: words for kind, words in enumerate(WORDS)}
    histories = pd.DataFrame({"user": [500, 500, 500, 3], "item": [2, 6, 10, 10**6]})
    later = fitted.extend(new, histories)
    found = later.recommend(500, k=8)
    assert found["user"].dtype == np.int64 and (found["item"] % 4 == 2).mean() > 0.6
    assert not {2, 6, 10} & set(found["item"]) and 10**6 not in set(later.recommend(3, k=N_ITEMS)["item"])
    assert set(later.users) == {*range(N_USERS), 500} and set(new) < set(later.items)
    assert set(later.recommend(k=1, items=list(new))["item"]) <= set(new)
    assert later.explain(500, 10**6 + 2).because_of in (2, 6, 10)
    assert (later.similar_items(10**6, k=5)["similar"] % 4 == 0).all()
    assert len(later.export().item_ids) == N_ITEMS + 4
    kinds = [["things", words.split()[0]] for words in WORDS]
    as_frame = pd.DataFrame({"title": [f"<p>{words}</p> 7" for words in WORDS], "classes": kinds, "item": [*new]})
    as_fitted = fitted.extend(as_frame, [np.array([500]), np.array([2])])
    assert len(as_fitted.recommend(k=1, items=[*new])) == N_USERS + 1
    assert as_fitted._scorer.new_items.texts[0] == "title: warm woollen coat 7; classes: things, warm"
    with pytest.raises(IRLLRecError, match="histories is a int: give a data frame"):
        fitted.extend(histories=7)
    with pytest.raises(IRLLRecError, match="has 1 items that the data set has, first '7'"):
        fitted.extend({7: "again"})


# ---- saving ----------------------------------------------------------------------------------------------------------


def answers(model: Model) -> dict[str, pd.DataFrame]:
    later = model.extend({10**6: WORDS[0]})
    return {
        "found": model.recommend(k=5, explain=True).astype({"because_of": float}),
        "metrics": model.evaluate(),
        "alike": later.similar_items(10**6),
    }


def write_answers(path: Path, folder: Path) -> None:
    os.chdir(folder)
    found = answers(load(path))
    assert not os.listdir()
    for name, frame in found.items():
        frame.to_parquet(f"{name}.parquet")


def test_another_process_gives_the_same_answers(fitted, tmp_path):
    fitted.save(tmp_path / "model.irllrec")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    process = command.in_a_process(tmp_path / "printed", write_answers, tmp_path / "model.irllrec", folder)
    process.join()
    assert process.exitcode == 0, (tmp_path / "printed").read_text()
    for name, here in answers(fitted).items():
        pd.testing.assert_frame_equal(pd.read_parquet(folder / f"{name}.parquet"), here, rtol=1e-5)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def rewritten(path: Path, **members: bytes) -> Path:
    """A copy of a saved model with other members."""
    copy = path.with_name("rewritten")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as other:
        kept = {name: archive.read(name) for name in archive.namelist()}
        for name, content in (kept | members).items():
            other.writestr(name, content)
    return copy


def test_files_that_are_no_models(ease, tmp_path):
    with pytest.raises(IRLLRecError, match="nothing is not there"):
        load("nothing")
    Path("words").write_text("no model")
    with pytest.raises(IRLLRecError, match="words is no model that save"):
        load("words")
    ease.save(saved := tmp_path / "saved")
    for member in ("../escaped", "/tmp/escaped", "run/other.pth", "frames/../x"):
        with pytest.raises(IRLLRecError, match="is no model that save"):
            load(rewritten(saved, **{member: b"x"}))
    about = json.dumps({"format": 99, "model": "EASE", "has_texts": False}).encode()
    with pytest.raises(IRLLRecError, match="its format is 99"):
        load(rewritten(saved, **{"model.json": about}))
    with pytest.raises(IRLLRecError, match="was not loaded"):
        load(rewritten(saved, **{"run/best.pth": pickle.dumps(Trap())})).recommend()
    with pytest.raises(IRLLRecError, match="is no model that save"):
        load(rewritten(saved, **{"frames/frames.yaml": b"a: !!python/object/apply:os.mkdir [sprung]"}))
    with zipfile.ZipFile(saved) as archive:
        place = archive.getinfo("run/best.pth").header_offset + 200
    damaged = bytearray(saved.read_bytes())
    damaged[place : place + 50] = bytes(50)
    Path("damaged").write_bytes(damaged)
    with pytest.raises(IRLLRecError, match="damaged is no model that save"):
        load("damaged")
    assert not Path("sprung").exists() and not (tmp_path.parent / "escaped").exists()


# ---- what is refused -------------------------------------------------------------------------------------------------

WRONG = {
    "no column of items": (
        {"interactions": tastes().drop(columns="item")},
        "interactions has no column item_id or item, but user, rating",
    ),
    "no rows": ({"interactions": tastes().head(0)}, "interactions holds no rows"),
    "no such named column": ({"user": "who"}, "interactions has no column who, but user"),
    "no such named time": (
        {"timestamp": "when"},
        "interactions has no column when, but .*: name its column of timestamps",
    ),
    "no frame": ({"interactions": "shop.csv"}, "interactions is a str: give a data frame"),
    "arrays of two lengths": ({"interactions": ([1, 2], [1])}, "2 users and 1 items"),
    "ids that are fractions": (
        {"interactions": tastes().assign(item=0.5)},
        "column item, is of type double, where strings or integers",
    ),
    "ids of two kinds": (
        {"interactions": pd.DataFrame({"user": [1, 2], "item": ["1", 1]})},
        "column item, holds values of several kinds",
    ),
    "a missing id": (
        {"interactions": pd.DataFrame({"user": ["a", None], "item": ["b", "c"]})},
        "column user, is empty in row 2",
    ),
    "a rating that is none": (
        {"interactions": tastes().assign(rating="good")},
        "column rating, holds 'good', which is no number",
    ),
    "two columns of a name": (
        {"interactions": pd.concat([tastes(), tastes()[["rating"]]], axis=1)},
        "two columns 'rating'",
    ),
    "no such model": ({"model": "IRLLRecc"}, "no model named 'IRLLRecc'; did you mean"),
    "a sequential model": ({"model": "SASRec"}, "SASRec is no general recommender"),
    "a model that ranks no items": ({"model": "NeuMF"}, "NeuMF cannot score all items"),
    "a setting that is none": ({"epoch": 3}, "no setting epoch of EASE: did you mean epochs"),
    "a value that is none": ({"model": "IRLLRec", "n_layers": 0}, "setting n_layers .* is 0"),
    "a setting that is an array": ({"epochs": np.ones(2)}, "setting epochs is a ndarray"),
    "a setting of the files": ({"data_path": "here"}, "data_path is of the files"),
    "fewer items than are looked at": ({"interactions": ([1, 1, 2], [1, 2, 3])}, "There are 3 items, .* smaller topk"),
    "a user who has everything": (
        {"interactions": ([1, 1, 1, 2, 2], [1, 2, 2, 1, 1]), "topk": [1, 2], "valid_metric": "MRR@2"},
        "The user '1' has all 2 items",
    ),
    "no validation": ({"valid": 0}, "valid is 0: give a share"),
    "nothing to train on": ({"valid": 0.5, "test": 0.5}, "leave something to train on"),
    "two splits": (
        {"test": 0.2, "eval_args": {"split": {"LS": "valid_and_test"}}},
        "leave valid and test out, or eval_args",
    ),
    "texts for no model": ({"model": "L3AE"}, "L3AE reads texts, and there are none"),
    "texts of numbers": ({"item_texts": texts()[["item", "year"]]}, "item_texts has no column of texts beside item"),
    "texts without ids": ({"item_texts": texts().drop(columns="item")}, "item_texts has no column item_id or item"),
    "texts that are none": ({"item_texts": ["a", "b"]}, "item_texts is a list: give a data frame"),
    "two texts of an item": (
        {"item_texts": pd.concat([texts(), texts().head(1)])},
        "item_texts has two rows of the item '0'",
    ),
    "two texts of an item with embeddings": (
        {
            "item_texts": pd.concat([texts(), texts().head(1)]),
            "item_embeddings": (range(N_ITEMS), np.eye(N_ITEMS)),
        },
        "item_texts has two rows of the item '0': keep one of them",
    ),
    "texts that are dictionaries": (
        {"item_texts": texts().assign(details=[{"a": 1}] * N_ITEMS)},
        r"item_texts, column details, is of type struct<a: int64>, where words, lists of words or numbers",
    ),
    "texts that are lists of dictionaries": (
        {"item_texts": texts().assign(details=[[{"a": 1}]] * N_ITEMS)},
        "item_texts, column details, is of type list<",
    ),
    "texts of other items": ({"item_texts": {"x": "words"}}, "item_texts shares no item id with the reviews"),
    "users' texts alone": ({"user_texts": {1: "words"}}, "user_texts and no item_texts"),
    "texts beside embeddings": (
        {"user_texts": {1: "a"}, "item_texts": texts(), "item_embeddings": {1: [1.0]}},
        "user_texts beside item_embeddings",
    ),
    "unseen without texts": ({"keep_unseen": True}, "keep_unseen takes users and items from their texts"),
    "embeddings of two widths": ({"item_embeddings": {1: [1.0], 2: [1.0, 2.0]}}, "no vectors of numbers of one width"),
    "embeddings that are none": ({"item_embeddings": {1: [np.inf]}}, "item_embeddings"),
    "embeddings with ids that are fractions": (
        {"item_embeddings": pd.DataFrame({"item_id": [0.5], "d": [1.0]})},
        "item_embeddings, column item_id, is of type double",
    ),
    "embeddings without ids": ({"item_embeddings": np.ones((3, 2))}, "item_embeddings is a ndarray"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_refused(what):
    given, sentence = WRONG[what]
    with pytest.raises(IRLLRecError, match=sentence) as refusal:
        fit(**{"interactions": tastes(), "model": "EASE"} | given)
    assert str(refusal.value)[-1] in ".?" and "\n" not in str(refusal.value)
    assert not os.listdir()


def test_unknown_ids_are_refused(ease):
    with pytest.raises(IRLLRecError, match=r"first 'nobody': correct the list\.$"):
        ease.recommend([1, "nobody"])
    with pytest.raises(IRLLRecError, match="1 of 1 items is not in the data set"):
        ease.similar_items(10**6)
    with pytest.raises(IRLLRecError, match="k is 0"):
        ease.recommend(k=0)
