"""irllrec recommend and export: what a checkpoint recommends, how it is written, and what is refused."""

import json
import os
import pickle
import signal
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from command import full_disk, in_a_process
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.quick_start import load_data_and_model
from recbole.utils.case_study import full_sort_scores
from scipy.sparse import csr_matrix
from text_files import ITEMS, TRAIN, USERS, VALID, fingerprint, table, write_dataset
from trained import NO_TEXT, train

from recbole_irllrec import IRLLRecError, explain, recommend
from recbole_irllrec.cli import app
from recbole_irllrec.cli.recommend import _show as show
from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.recommend import SCHEMA, Ranker, Recommendations, ids_of, read_tokens, write_tables
from recbole_irllrec.serving import serve

# The data set "tiny" with an item that most users have not seen.
TRAINED = [*TRAIN, ("u4", "i5")]
PROPERTY = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, small):
    """IRLLRec on "small", with the texts of the embedded default."""
    settings = {"ranking_loss": "softmax", "train_batch_size": 256, "learning_rate": 0.01, "epochs": 3, **small}
    settings |= {"linear_weight": 0, "item_bias": False}  # scores are products of embeddings
    return train(tmp_path_factory.mktemp("ml"), "IRLLRec", "small", **settings)


@pytest.fixture(scope="module")
def served(checkpoint):
    return serve(checkpoint)


@pytest.fixture
def tiny(tmp_path):
    """Trains a model on the data set "tiny" in this folder; returns its checkpoint."""
    write_dataset(tmp_path / "dataset", train=TRAINED)

    def of(model="IRLLRec", **settings):
        parts = {"benchmark_filename": ["train", "valid", "test"], "topk": 2, "valid_metric": "MRR@2"}
        return train(tmp_path, model, "tiny", **parts, **(NO_TEXT if model == "IRLLRec" else {}), **settings)

    return of


@pytest.fixture
def irllrec(monkeypatch, capfd):
    """Runs the command; gives its exit status and what it wrote."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["irllrec", *map(str, arguments)])
        try:
            status = app.main()
        except SystemExit as stop:  # typer ends this way
            status = stop.code
        return status, *capfd.readouterr()

    return run


def refused(result) -> str:
    """The sentence of a command that refused, and did nothing else."""
    status, _out, err = result
    sentences = [line for line in err.splitlines() if line.startswith("irllrec: ")]
    assert status == 1 and len(sentences) == 1 and "Traceback" not in err, err
    return sentences[0]


def rows(found: Recommendations) -> pd.DataFrame:
    return pa.concat_tables(found.tables).to_pandas()


# ---- what is recommended ---------------------------------------------------------------------------------------------


def test_equals_recboles_ranking_of_all_users(checkpoint, served):
    """Training items left out, as RecBole leaves them out for validation."""
    _config, model, dataset, _train, valid, _test = load_data_and_model(checkpoint)
    users = np.arange(1, dataset.user_num)
    expected = full_sort_scores(users, model, valid)
    best, items = expected.topk(20)
    found = rows(recommend.recommend(served, users, 20, repeat_held_out=True))
    assert len(found) == len(users) * 20 and (found["rank"].to_numpy().reshape(-1, 20) == np.arange(1, 21)).all()
    assert (found["user"].to_numpy().reshape(-1, 20)[:, 0] == dataset.field2id_token["user_id"][1:]).all()
    score = found["score"].to_numpy().reshape(-1, 20)
    np.testing.assert_allclose(score, best, rtol=1e-5)
    # The same items; where RecBole has two of equal score, either.
    ids = dataset.token2id("item_id", found["item"].to_numpy()).reshape(-1, 20)
    np.testing.assert_allclose(expected.numpy()[np.arange(len(users))[:, None], ids], score, rtol=1e-5)
    apart = (best[:, :-1] - best[:, 1:] > 1e-5).numpy().all(axis=1)
    assert apart.mean() > 0.5 and (ids[apart, :-1] == items.numpy()[apart, :-1]).all()


def test_no_text_is_read(checkpoint, tmp_path):
    copy = tmp_path / checkpoint.name
    copy.write_bytes(checkpoint.read_bytes())
    served = serve(copy)
    assert not (tmp_path / "text_cache").exists() and not list(served.model.alignment.parameters())


def test_escaped_ids_come_back(tmp_path, irllrec):
    """An id that no atomic file can hold is the same when it comes out as when it went in."""
    odd, plain = 'tab\t"quote', "007"
    lines = ["user_id,item_id"] + [f'u{n},"{item}"' for n in range(4) for item in (odd.replace('"', '""'), plain)]
    Path("odd.csv").write_text("\n".join([*lines[:-1], "u3,other"]) + "\n")
    assert irllrec("data", "convert", "csv", "odd.csv", "--name", "odd", "--out", tmp_path)[0] == 0
    # u3 has not seen 007, and everybody else not the other
    settings = {"data_path": str(tmp_path), "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}}, "eval_step": 0, **NO_TEXT}
    checkpoint = train(tmp_path, "IRLLRec", "odd", **settings)
    Path("users.txt").write_text("u3\n")
    assert irllrec("recommend", checkpoint, "--users", "users.txt", "--out", "r.parquet")[0] == 0
    assert pq.read_table("r.parquet")["item"].to_pylist() == [plain]
    Path("items.txt").write_text(f"{odd}\n")
    status, _, err = irllrec("recommend", checkpoint, "--user", "u3", "--items", "items.txt")
    assert status == 0, err
    assert irllrec("export", checkpoint, "--out", "v")[0] == 0
    assert set(pq.read_table("v/items.parquet")["token"].to_pylist()) == {odd, plain, "other"}


def test_everything_known_is_left_out(served, small):
    users = np.arange(1, len(served.user_tokens))
    found = rows(recommend.recommend(served, users, 2000))
    pairs = set(zip(found["user"], found["item"], strict=True))
    row, column = served.known_items.nonzero()
    known = set(zip(served.user_tokens[row], served.item_tokens[column], strict=True))
    n_items = len(served.item_tokens) - 1
    assert not pairs & known and len(pairs | known) == len(users) * n_items and "[PAD]" not in set(found["item"])
    n = len(Path(small["data_path"], "small", "small.inter").read_text().splitlines()) - 1
    assert served.known_items.nnz == n and 0.5 * n < served.train_items.nnz < 0.9 * n


@PROPERTY
@given(data=st.data())
def test_ranking_equals_a_dense_one(data):
    n_users, n_items = data.draw(st.integers(1, 9)), data.draw(st.integers(2, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scores = rng.permutation(n_users * n_items).reshape(n_users, n_items).astype(np.float32)
    seen = rng.random((n_users, n_items)) < data.draw(st.sampled_from([0, 0.3, 1]))
    users = np.array(data.draw(st.lists(st.integers(0, n_users - 1), max_size=20)), int)
    candidates = np.array(sorted(data.draw(st.sets(st.integers(1, n_items - 1), min_size=1))))
    k, cells = data.draw(st.integers(1, 15)), data.draw(st.integers(1, 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recommend._CELLS, "cpu", cells)
        ranker = Ranker(lambda block: torch.tensor(scores)[block], k, csr_matrix(seen), candidates)
        blocks = ranker.blocks(users)
        assert all(len(block) == 1 or len(block) * n_items <= cells for block in blocks)
        found = [ranker(block) for block in blocks]
    expected = [
        (user, place + 1, item, scores[user, item])
        for user in users
        for place, item in enumerate(
            sorted((i for i in candidates if not seen[user, i]), key=lambda i: -scores[user, i])[:k]
        )
    ]
    assert [row for block in found for row in zip(*block, strict=True)] == expected


def test_scores_that_are_no_numbers():
    ranker = Ranker(lambda block: torch.full((len(block), 3), torch.nan), 1, csr_matrix((2, 3)), np.array([1, 2]))
    with pytest.raises(IRLLRecError, match="no numbers"):
        ranker(np.array([1]))


def test_only_these_items_to_only_these_users(checkpoint, irllrec):
    Path("stock.txt").write_text("i50\ni100\r\n\ni81\n")
    pd.DataFrame({"name": ["x", "y"], "user": ["u19", "007"]}).to_csv("users.csv", index=False)
    command = ("recommend", checkpoint, "--users", "users.csv", "--items", "stock.txt", "--out", "best.csv", "--k", 2)
    assert "1 of 2 users is not in the data set, first '007'" in refused(irllrec(*command))
    status, out, _err = irllrec(*command, "--skip-unknown")
    found = pd.read_csv("best.csv", dtype={"user": str, "item": str})
    assert status == 0 and "2 recommendations to 1 users" in out
    assert set(found["user"]) == {"u19"} and set(found["item"]) <= {"i50", "i100", "i81"}


def test_shown_on_the_screen(checkpoint, irllrec, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _err = irllrec("recommend", checkpoint, "--user", "u19", "--user", "u1", "-k", 3, "--explain")
    assert status == 0 and "User u19" in out and "User u1" in out and "title: the " in out and "[item " in out
    status, out, _err = irllrec("recommend", checkpoint, "--users", "all", "-k", 1)
    assert status == 0 and out.count("User ") == 10 and "The first 10 of 120 users" in out


@pytest.mark.parametrize("user", ["x[b]", "[anna]", "a[/b]"])
def test_brackets_in_ids_are_no_markup(user, capsys):
    show(pa.table({"user": [user], "rank": [1], "item": [user], "score": [0.5]}), explain=False)
    assert f"User {user}" in (said := capsys.readouterr().out) and f" {user} " in said


# ---- why -------------------------------------------------------------------------------------------------------------


def test_explanations_name_what_agrees_most(checkpoint, served, irllrec):
    status, _out, err = irllrec("recommend", checkpoint, "--users", "all", "-k", 3, "--out", "x.parquet", "--explain")
    assert status == 0 and "120/120" in err
    found = pd.read_parquet("x.parquet")
    cache = checkpoint.parent / "text_cache"
    users, items = (IntentTable.read(*cache.glob(f"*.{side}.parquet")) for side in ("user", "item"))
    texts = pd.Series(items.texts, items.tokens)
    of_users_texts = pd.Series(users.texts, users.tokens)
    assert of_users_texts.str.len().median() > 120 and found["user_text"].str.len().max() <= 120

    def begins(shown, text):
        """Whether it is the text, or the beginning of one that is too long, to the end of a word."""
        rest = text.removeprefix(shown.removesuffix("…"))
        return shown == text if len(text) <= 120 else shown.endswith("…") and rest != text and rest.startswith(" ")

    of_items, of_users = (pd.Series([*t.embeddings], t.tokens) for t in (items, users))  # of length 1, or 0
    history = {user: served.item_tokens[served.train_items[row].indices] for row, user in enumerate(served.user_tokens)}
    for row in found.iloc[::10].itertuples():
        told = of_items[history[row.user]]
        cosines = np.stack([*told]) @ of_items[row.item]
        own = of_users[row.user] @ of_items[row.item]
        assert row.similarity == pytest.approx(max(cosines.max(), own), abs=1e-5) and begins(
            row.item_text, texts[row.item]
        )
        if row.because_of is None:
            assert own >= cosines.max() - 1e-5 and begins(row.user_text, of_users_texts[row.user])
        else:
            assert of_items[row.because_of] @ of_items[row.item] == pytest.approx(row.similarity, abs=1e-5)
            assert row.because_of in history[row.user] and begins(row.user_text, texts[row.because_of])


def test_explanations_by_a_field_and_with_whole_texts(checkpoint, served, irllrec, small):
    command = ("recommend", checkpoint, "--users", "all", "-k", 3)
    found = {}
    for name, options in {
        "short": ["--explain"],
        "title": ["--explain-field", "title"],
        "full": ["--explain-full"],
    }.items():
        assert irllrec(*command, "--out", f"{name}.parquet", *options)[0] == 0
        found[name] = pd.read_parquet(f"{name}.parquet")
    same = ["user", "rank", "item", "score", "kind", "because_of", "similarity"]
    for other in ("title", "full"):
        pd.testing.assert_frame_equal(found["short"][same], found[other][same])
    lines = Path(small["data_path"], "small", "small.item").read_text().splitlines()
    titles = dict(line.split("\t")[:2] for line in lines)
    by_item = found["title"]["because_of"].notna()
    assert by_item.any() and (found["title"]["item_text"] == found["title"]["item"].map(titles)).all()
    named = found["title"][by_item]
    assert (named["user_text"] == named["because_of"].map(titles)).all()
    table = IntentTable.read(*(checkpoint.parent / "text_cache").glob("*.user.parquet"))
    own = found["full"][~by_item]
    assert (own["user_text"] == own["user"].map(pd.Series(table.texts, table.tokens))).all()
    assert "where --explain-field names colour" in refused(irllrec(*command, "--explain-field", "colour"))


def test_long_texts_end_with_a_word():
    texts = np.array(["", "a b", "one two three", "x" * 12, "one twothree four"], object)
    assert explain.shortened(texts, 9).tolist() == ["", "a b", "one two…", "xxxxxxxx…", "one…"]


@PROPERTY
@given(data=st.data())
def test_most_similar_equals_a_dense_search(data):
    n_users, n_items = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 8))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    similarity = rng.permutation(n_items * n_items).reshape(n_items, n_items).astype(np.float32) - 20
    similarity[rng.random((n_items, n_items)) < 0.2] = -np.inf
    history = rng.random((n_users, n_items)) < 0.5
    n = data.draw(st.integers(0, 12))
    user, item = rng.integers(n_users, size=n), rng.integers(n_items, size=n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain, "_PAIRS", data.draw(st.integers(1, 20)))
        best, highest = explain.most_similar(csr_matrix(history), user, item, lambda a, b: similarity[a, b])
    known = np.where(history[user], similarity[:, item].T, -np.inf)
    assert (highest == known.max(axis=1, initial=-np.inf)).all()
    assert (best == np.where(np.isneginf(highest), 0, known.argmax(axis=1) if n else 0)).all()


def test_explained_by_tables_of_two_kinds_with_gaps(tiny, tmp_path):
    checkpoint, own = tiny(), tmp_path / "dataset" / "tiny"
    same, other = [1.0, 0.0], [0.0, 1.0]
    about = {"encoder": "e", "source": "features"}
    texts = [f"about {item}" for item in ITEMS]
    # Of the training items of u2, i2 is like i1 as a profile, and nothing is as an intent; u2 itself has no text.
    IntentTable.from_arrays(ITEMS, np.array([same, same, other, [0, 0]]), texts, **about).write(
        own / "tiny.item_profile.parquet"
    )
    IntentTable.from_arrays(ITEMS, np.array([same, other, other, same]), texts, **about).write(
        own / "tiny.item_intent.parquet"
    )
    IntentTable.from_arrays(["u1", "u3"], np.array([same, same]), ["one", "three"], **about).write(
        own / "tiny.user_intent.parquet"
    )
    served = serve(checkpoint)
    users = ids_of(served.user_tokens, ["u1", "u2"], "user", False)
    found = rows(recommend.recommend(served, users, 9, repeat_held_out=True, explain=True)).set_index(["user", "item"])
    row = found.loc[("u2", "i1")]
    assert (row["kind"], row["because_of"], row["user_text"]) == ("profile", "i2", "about i2") and row[
        "similarity"
    ] == 1
    row = found.loc[("u1", "i4")]  # i1 and u1's own text agree alike: its own is named
    assert (row["kind"], row["because_of"], row["user_text"]) == ("intent", None, "one")
    assert found.loc[("u2", "i4"), "similarity"] == 0
    assert found.loc[("u2", "i5"), list(explain.Explainer.SCHEMA.names)].isna().all()
    assert list(found.loc["u1"].index.sort_values()) == ["i3", "i4", "i5"]  # all but what it was trained on


def test_explanations_need_texts(tiny, irllrec):
    checkpoint = tiny()
    Path("dataset/tiny/tiny.item").unlink()
    assert "no texts" in refused(irllrec("recommend", checkpoint, "--users", "all", "--explain"))


def test_a_table_of_other_interactions_explains_nothing(tiny, irllrec):
    checkpoint = tiny()
    other = {"source": "interactions", "train_fingerprint": fingerprint([*TRAINED, *VALID])}
    table(ITEMS, **other).write("dataset/tiny/tiny.item_profile.parquet")
    sentence = refused(irllrec("recommend", checkpoint, "--users", "all", "--explain"))
    assert "made with other training interactions" in sentence


# ---- files -----------------------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


def as_recommendations(blocks) -> Recommendations:
    """Rows (user, rank, item, score) in blocks."""
    tables = (pa.table([pa.array(column) for column in zip(*block, strict=True)], SCHEMA) for block in blocks)
    return Recommendations(SCHEMA, tables)


@PROPERTY
@given(
    blocks=st.lists(
        st.lists(st.tuples(ANY_TEXT, st.integers(1, 99), ANY_TEXT, st.floats(-9, 9, width=32)), min_size=1, max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_any_token_arrives_in_every_format(blocks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    expected = [row for block in blocks for row in block]
    strings = {"user": str, "item": str}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recommend, "_ROW_GROUP", 3)
        for suffix in ("parquet", "csv", "jsonl"):
            assert write_tables(folder / f"x.{suffix}", as_recommendations(blocks)) == len(expected)
    lines = (folder / "x.jsonl").read_text(encoding="utf-8").split("\n")
    frames = (
        pd.read_parquet(folder / "x.parquet"),
        pd.read_csv(folder / "x.csv", dtype=strings, keep_default_na=False),
        pd.DataFrame([json.loads(line) for line in lines if line]),
    )
    for frame in frames:
        assert list(frame.columns) == ["user", "rank", "item", "score"]
        read = frame.astype({"score": np.float32}).itertuples(index=False, name=None)
        assert [(u, r, i, pytest.approx(s, rel=1e-6, abs=1e-12)) for u, r, i, s in read] == expected


def test_what_fails_midway_leaves_the_old_file():
    def blocks():
        yield [("u", 1, "i", 0.5)]
        raise IRLLRecError("Something came up.")

    for name in ("x.parquet", "x.csv", "x.jsonl"):
        Path(name).write_text("old")
        with pytest.raises(IRLLRecError, match="Something"):
            write_tables(name, as_recommendations(blocks()))
        assert Path(name).read_text() == "old"
    assert sorted(os.listdir()) == ["x.csv", "x.jsonl", "x.parquet"]


def killed_midway():
    """Write a row, and die before the next."""
    recommend._ROW_GROUP = 1

    def tables():
        yield pa.table([["u"], [1], ["i"], [0.5]], SCHEMA)
        os.kill(os.getpid(), signal.SIGKILL)

    write_tables("x.csv", Recommendations(SCHEMA, tables()))


def test_killed_midway_leaves_the_old_file(tmp_path):
    Path("x.csv").write_text("old")
    process = in_a_process("said", killed_midway)
    process.join()
    assert process.exitcode == -9
    assert Path("x.csv").read_text() == "old" and len(list(tmp_path.glob(".x.csv.*.tmp"))) == 1


def test_no_room_for_the_file(checkpoint, irllrec):
    Path("v").mkdir()
    files = (Path("x.parquet"), Path("v/users.npy"))
    for file in files:
        file.write_text("old")
    with full_disk(2_000):
        assert "x.parquet: file too large." in refused(
            irllrec("recommend", checkpoint, "--users", "all", "--out", "x.parquet")
        )
        assert "v/users.npy: file too large." in refused(irllrec("export", checkpoint, "--out", "v", "--format", "npy"))
    assert all(file.read_text() == "old" for file in files)
    assert sorted(os.listdir()) == ["v", "x.parquet"] and os.listdir("v") == ["users.npy"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable(checkpoint, irllrec):
    Path("mine").mkdir(mode=0o500)
    assert "permission denied" in refused(irllrec("recommend", checkpoint, "--users", "all", "--out", "mine/x.csv"))


def test_a_folder_that_is_a_file(checkpoint, irllrec):
    Path("mine").write_text("old")
    assert "mine: " in refused(irllrec("recommend", checkpoint, "--users", "all", "--out", "mine/x.csv"))
    assert Path("mine").read_text() == "old"


@PROPERTY
@given(tokens=st.lists(ANY_TEXT.filter(lambda text: not set("\r\n") & set(text)), min_size=1, unique=True))
def test_lists_of_tokens(tokens, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    frame = pd.DataFrame({"n": range(len(tokens)), "user": tokens})
    (folder / "x.txt").write_text("\r\n".join(tokens), encoding="utf-8-sig", newline="")
    frame.to_csv(folder / "x.csv", index=False)
    frame.to_parquet(folder / "x.parquet")
    for name in ("x.txt", "x.csv", "x.parquet"):
        assert list(read_tokens(folder / name, "user")) == tokens


def test_numbers_are_tokens_too():
    pd.DataFrame({"user": [7, 8]}).to_parquet("x.parquet")
    assert list(read_tokens("x.parquet", "user")) == ["7", "8"]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("x.txt", b"", "no tokens"),
        ("x.txt", b"\n\n", "no tokens"),
        ("x.csv", b"user\n", "no tokens"),
        ("x.csv", b"", "cannot be read"),
        ("x.csv", b"name\nx\n", "column user"),
        ("x.txt", b"\xff\xfe", "cannot be read"),
        ("x.csv", b"user\n\xff", "cannot be read"),
        ("x.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_lists_that_are_refused(name, content, words):
    Path(name).write_bytes(content)
    with pytest.raises(IRLLRecError, match=words) as error:
        read_tokens(name, "user")
    assert name in str(error.value)


# ---- vectors ---------------------------------------------------------------------------------------------------------


def test_products_of_vectors_are_scores(checkpoint, served, irllrec):
    status, out, _err = irllrec("export", checkpoint, "--out", "v")
    assert status == 0 and "64 wide" in out and "the metric cosine" in out
    sides = {side: pq.read_table(f"v/{side}.parquet") for side in ("users", "items")}
    users, items = (np.stack(side["vector"].to_numpy()) for side in sides.values())
    assert sides["users"].schema.field("vector").type == pa.list_(pa.float32(), 64)
    assert sides["users"]["token"].to_pylist() == list(served.user_tokens[1:])
    assert sides["items"]["token"].to_pylist() == list(served.item_tokens[1:])
    scores = served.score(torch.arange(1, len(users) + 1))[:, 1:]
    np.testing.assert_allclose(users @ items.T, scores, atol=1e-5)
    metadata = json.loads(sides["items"].schema.metadata[b"recbole_irllrec"])
    assert metadata["metric"] == "cosine" and metadata["normalized"] and metadata["dataset"] == "small"
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, atol=1e-5)


def test_biases_of_items_are_in_the_vectors(tiny, irllrec):
    checkpoint = tiny(ranking_loss="softmax", item_bias=True)
    status, out, _err = irllrec("export", checkpoint, "--out", "v", "--format", "npy")
    assert status == 0 and "65 wide" in out and "the metric inner_product" in out
    users, items = np.load("v/users.npy"), np.load("v/items.npy")
    assert items[:, -1].any()
    scores = serve(checkpoint).score(torch.arange(1, len(users) + 1))[:, 1:]
    np.testing.assert_allclose(users @ items.T, scores, atol=1e-6)


def test_arrays_beside_lists_of_tokens(tiny, irllrec):
    status, out, _err = irllrec("export", tiny(ranking_loss="bpr", item_bias=False), "--out", "v", "--format", "npy")
    assert status == 0 and "the metric inner_product" in out
    assert sorted(os.listdir("v")) == ["items.npy", "items.txt", "users.npy", "users.txt", "vectors.json"]
    assert Path("v/items.txt").read_text().split() == [*ITEMS, "i5"] and np.load("v/items.npy").shape == (5, 64)
    assert Path("v/users.txt").read_text().split() == [*USERS, "u4"] and np.load("v/users.npy").dtype == np.float32
    assert json.loads(Path("v/vectors.json").read_text())["normalized"] is False


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def test_other_models_recommend_and_are_not_exported(tiny, irllrec):
    checkpoint = tiny("BPR")
    status, _out, _err = irllrec("recommend", checkpoint, "--users", "all", "--out", "x.jsonl", "--seen", "train")
    found = pd.read_json("x.jsonl", lines=True)
    unseen = {*product([*USERS, "u4"], [*ITEMS, "i5"])} - {*TRAINED}
    assert status == 0 and set(zip(found["user"], found["item"], strict=True)) == unseen
    assert "checkpoint of BPR" in refused(irllrec("export", checkpoint, "--out", "v"))
    assert not Path("v").exists()


def test_a_model_that_cannot_rank_for_a_user(tiny, irllrec):
    sentence = refused(irllrec("recommend", tiny("NeuMF"), "--users", "all", "--out", "x.csv"))
    assert "checkpoint of NeuMF" in sentence and not Path("x.csv").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"train": [*TRAINED, ("u5", "i1")]},  # a user more
        {"train": [("u2", "i3"), *TRAINED]},  # the same users and items in another order
    ],
)
def test_a_data_set_that_has_changed(tiny, irllrec, change):
    checkpoint = tiny()
    write_dataset(Path("dataset"), **change)
    sentence = refused(irllrec("recommend", checkpoint, "--users", "all", "--out", "x.csv"))
    assert "has changed since training" in sentence and "dataset/tiny" in sentence and not Path("x.csv").exists()


def test_a_changed_data_set_under_another_model(tiny, irllrec):
    checkpoint = tiny("BPR")
    write_dataset(Path("dataset"), train=[*TRAINED, ("u5", "i1")])
    assert "has changed since training" in refused(irllrec("recommend", checkpoint, "--users", "all"))


def test_new_interactions_of_known_users_are_seen(tiny):
    checkpoint = tiny()
    write_dataset(Path("dataset"), train=[*TRAINED, ("u3", "i5")])
    served = serve(checkpoint)
    assert rows(recommend.recommend(served, np.array([3]), 9)).empty


def test_a_data_set_that_has_moved(tiny, irllrec):
    checkpoint = tiny()
    Path("dataset").rename("elsewhere")
    command = ("recommend", checkpoint, "--user", "u3", "--seen", "train", "--out", "x.csv")
    assert "--data-path" in refused(irllrec(*command))
    assert irllrec(*command, "--data-path", "elsewhere")[0] == 0
    assert set(pd.read_csv("x.csv")["item"]) == {"i2", "i5"}


class Attack:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_files_that_are_no_checkpoints(checkpoint, irllrec):
    Path("hostile.pth").write_bytes(pickle.dumps({"config": Attack(), "state_dict": {}}))
    torch.save({"config": Attack(), "state_dict": {}}, "hostile-torch.pth")
    Path("cut.pth").write_bytes(checkpoint.read_bytes()[:50_000])
    Path("empty.pth").write_bytes(b"")
    torch.save({"weights": torch.ones(2)}, "other.pth")
    torch.save(torch.ones(2), "tensor.pth")
    resume = checkpoint.with_suffix(".resume.pth")
    words = {"hostile.pth": "was not loaded", "hostile-torch.pth": "was not loaded", "cut.pth": "was not loaded"}
    torch.save({"config": "IRLLRec", "state_dict": {}}, "text.pth")
    words |= {"empty.pth": "was not loaded"}
    words |= dict.fromkeys(["text.pth", "other.pth", "tensor.pth"], "no checkpoint")
    for file, said in {**words, "none.pth": "cannot be opened", resume: str(checkpoint)}.items():
        for command in (["recommend", file, "--users", "all", "--out", "x.csv"], ["export", file, "--out", "v"]):
            sentence = refused(irllrec(*command))
            assert str(file) in sentence and said in sentence
    assert not {"ran", "x.csv", "v"} & set(os.listdir())


def test_weights_that_are_missing(checkpoint, irllrec):
    content = torch.load(checkpoint, weights_only=True)
    del content["state_dict"]["item_embedding.weight"]
    torch.save(content, "x.pth")
    assert "item_embedding.weight" in refused(irllrec("recommend", "x.pth", "--users", "all"))


def test_command_lines_that_are_refused(checkpoint, irllrec):
    for arguments, words in (
        (["--users", "all", "--out", "x.txt"], ".parquet, .csv, .jsonl"),
        ([], "--users"),
        (["--users", "all", "--user", "1"], "--users"),
        (["--users", "nobody.txt"], "nobody.txt"),
        (["--users", "all", "--device", "nonsense"], "nonsense"),
    ):
        assert words in refused(irllrec("recommend", checkpoint, *arguments))
    status, _out, err = irllrec("recommend", checkpoint, "--users", "all", "--k", "0")
    assert status == 2 and "--k" in err
