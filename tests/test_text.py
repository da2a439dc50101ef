"""Which text is used when, and the embedded default."""

import logging
import pickle

import numpy as np
import pandas as pd
import pytest
from recbole.config import Config
from recbole.utils import init_seed
from text_files import ITEMS, USERS, fingerprint, load, node_texts, table, tokens_of, write_dataset, write_tables
from threadpoolctl import threadpool_limits

from recbole_irllrec.data.dataset import IRLLRecDataset
from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.tables.features import read_atomic_file, read_features
from recbole_irllrec.text.default import made_of
from recbole_irllrec.text.encoders import TfidfSvdEncoder
from recbole_irllrec.text.profiles import item_texts, user_texts, words_of


def expected(dataset, dim=3):
    """What `text_files.table` holds for all nodes."""
    return table(tokens_of(dataset), dim).embeddings


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO)


# Which text is used


def test_tables_found_by_their_names_are_used(tmp_path):
    write_tables(write_dataset(tmp_path))
    config, dataset = load(tmp_path)
    texts = dataset.node_texts(config, ("profile", "intent"))
    for text in texts.values():
        np.testing.assert_array_equal(text.embedding, expected(dataset))
        assert text.embedding.dtype == np.float32
        assert text.present.all()


def test_nothing_is_read_where_no_text_is_asked_for(tmp_path):
    (write_dataset(tmp_path) / "tiny.user_profile.parquet").write_text("no table")
    assert node_texts(tmp_path, ()) == {}


def test_a_named_table_comes_before_the_one_found(tmp_path, monkeypatch):
    own = write_dataset(tmp_path)
    write_tables(own)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    table(USERS, dim=5).write("users.parquet")  # relative to the current folder
    table(ITEMS, dim=5).write(own / "items.parquet")  # relative to the data set's
    texts = node_texts(tmp_path, user_intent_table="users.parquet", item_intent_table="items.parquet")
    assert texts["intent"].embedding.shape == (7, 5)
    assert texts["profile"].embedding.shape == (7, 3)


def test_float16_missing_rows_and_unknown_tokens(tmp_path, caplog):
    own = write_dataset(tmp_path)
    write_tables(own, sides=["item"])
    tokens = np.array(["u9", "u3", "u1", "u8"])
    embeddings = np.array([[9, 9, 9], [3, 3, 3], [0, 0, 0], [8, 8, 8]], np.float16)
    for kind in ("profile", "intent"):
        IntentTable.from_arrays(tokens, embeddings, encoder="e", source="features").write(
            own / f"tiny.user_{kind}.parquet"
        )
    config, dataset = load(tmp_path, min_text_coverage=0)
    text = dataset.node_texts(config, ["intent"])["intent"]
    rows = dict(zip(tokens_of(dataset), zip(text.embedding.tolist(), text.present.tolist(), strict=True), strict=True))
    assert rows["u3"] == ([3, 3, 3], True)
    assert rows["u1"] == rows["u2"] == ([0, 0, 0], False)
    assert "1 of 3 users (33.3%)" in caplog.text
    assert "2 other tokens" in caplog.text


def test_mean_of_items(tmp_path, caplog):
    own = write_dataset(tmp_path, train=[("u1", "i1"), ("u1", "i2"), ("u1", "i2"), ("u2", "i3"), ("u3", "i4")])
    embeddings = np.array([[2, 0], [4, 2], [0, 0], [6, 6]], np.float32)  # i3 has none
    for kind in ("profile", "intent"):
        IntentTable.from_arrays(ITEMS, embeddings, encoder="e", source="features").write(
            own / f"tiny.item_{kind}.parquet"
        )
    config, dataset = load(tmp_path, user_text="mean_of_items")
    text = dataset.node_texts(config, ["profile"])["profile"]
    rows = pd.DataFrame(text.embedding, index=tokens_of(dataset)).assign(present=text.present)
    assert rows.loc["u1"].tolist() == [3, 1, True]  # the repeated interaction counts once
    assert rows.loc["u2"].tolist() == [0, 0, False]
    assert rows.loc["u3"].tolist() == [6, 6, True]
    assert "mean embedding of the user's items" in caplog.text


def test_mean_of_items_leaves_a_users_table_alone(tmp_path):
    write_tables(write_dataset(tmp_path))
    config, dataset = load(tmp_path, user_text="mean_of_items")
    np.testing.assert_array_equal(dataset.node_texts(config, ["intent"])["intent"].embedding, expected(dataset))


def test_a_users_table_may_stand_beside_the_mean_of_items_of_the_other_kind(tmp_path):
    own = write_dataset(tmp_path)
    write_tables(own, sides=["item"])
    write_tables(own, kinds=["profile"], sides=["user"])
    config, dataset = load(tmp_path, user_text="mean_of_items")
    texts = dataset.node_texts(config, ("profile", "intent"))
    np.testing.assert_array_equal(texts["profile"].embedding, expected(dataset))
    assert not np.array_equal(texts["intent"].embedding[:3], expected(dataset)[:3])


# RecBole's own convention


def preload_settings(side):
    fields = {"user": "uid", "item": "iid"}
    return {
        "additional_feat_suffix": [f"{side}emb"],
        "load_col": {"inter": ["user_id", "item_id"], f"{side}emb": [fields[side], f"{side}_emb"]},
        f"alias_of_{side}_id": [fields[side]],
        "preload_weight": {fields[side]: f"{side}_emb"},
    }


def both_preloaded():
    users, items = preload_settings("user"), preload_settings("item")
    both = {**users, **items}
    for name in ("additional_feat_suffix", "load_col", "preload_weight"):
        both[name] = users[name] + items[name] if isinstance(users[name], list) else {**users[name], **items[name]}
    return both


def write_preloaded(own, items=ITEMS):
    table(USERS).write_atomic_file(own / "tiny.useremb", "uid", "user_emb")
    table(items).write_atomic_file(own / "tiny.itememb", "iid", "item_emb")


def test_preload_weight_of_an_alias_is_used_for_both_kinds(tmp_path, caplog):
    own = write_dataset(tmp_path)
    write_preloaded(own)
    write_tables(own, dim=9)  # comes after preload_weight
    config, dataset = load(tmp_path, **both_preloaded())
    texts = dataset.node_texts(config, ("profile", "intent"))
    np.testing.assert_array_equal(texts["profile"].embedding, expected(dataset))
    assert texts["intent"] is texts["profile"]
    assert "preload_weight's field iid does not say what it was made from" in caplog.text


def test_a_row_of_zeros_or_none_in_preload_weight_is_a_missing_text(tmp_path):
    own = write_dataset(tmp_path)
    (own / "tiny.itememb").write_text("iid:token\titem_emb:float_seq\ni1\t1 2\ni2\t0 0\ni3\t3 4\n")
    config, dataset = load(tmp_path, **preload_settings("item"), user_text="mean_of_items")
    text = dataset.node_texts(config, ["profile"])["profile"]
    assert dict(zip(tokens_of(dataset), text.present, strict=True)) == {
        **dict.fromkeys(["u1", "u2", "u3", "i1", "i3"], True),
        **dict.fromkeys(["i2", "i4"], False),
    }


def test_a_named_table_comes_before_preload_weight(tmp_path):
    own = write_dataset(tmp_path)
    write_preloaded(own)
    table(USERS, dim=4).write(own / "u.parquet")
    table(ITEMS, dim=4).write(own / "i.parquet")
    texts = node_texts(tmp_path, **both_preloaded(), user_profile_table="u.parquet", item_profile_table="i.parquet")
    assert (texts["profile"].embedding.shape[1], texts["intent"].embedding.shape[1]) == (4, 3)


def test_a_setting_may_name_an_atomic_file_which_adds_no_items(tmp_path):
    own = write_dataset(tmp_path)
    write_preloaded(own, items=[*ITEMS, "i8", "i9"])
    settings = {
        f"{side}_{kind}_table": f"tiny.{side}emb" for side in ("user", "item") for kind in ("profile", "intent")
    }
    config, dataset = load(tmp_path, **settings)
    texts = dataset.node_texts(config, ("profile", "intent"))
    np.testing.assert_array_equal(texts["profile"].embedding, expected(dataset))
    assert dataset.item_num == 1 + len(ITEMS)


# The embedded default


def ml100k(tmp_path, **settings):
    config = Config(
        model="IRLLRec", dataset="ml-100k", config_dict={"checkpoint_dir": str(tmp_path / "saved"), **settings}
    )
    init_seed(config["seed"], config["reproducibility"])  # draws the split
    return config, IRLLRecDataset(config).build()[0]


def cached(tmp_path):
    return {path.name: path.read_bytes() for path in (tmp_path / "saved" / "text_cache").iterdir()}


def test_the_default_on_ml100k_is_made_once_and_read_back(tmp_path, caplog):
    config, dataset = ml100k(tmp_path)
    before = set(vars(dataset)), len(pickle.dumps(dataset)), dataset.user_num, dataset.item_num
    random_state = np.random.get_state()[1].copy()
    made = dataset.node_texts(config, ("profile", "intent"))
    assert (set(vars(dataset)), len(pickle.dumps(dataset)), dataset.user_num, dataset.item_num) == before
    np.testing.assert_array_equal(np.random.get_state()[1], random_state)
    assert made["profile"].embedding.shape == (943 + 1682, 128)
    assert made["profile"].present.all()
    assert made["intent"] is made["profile"]
    np.testing.assert_allclose(np.linalg.norm(made["profile"].embedding, axis=1), 1, rtol=1e-5)
    for said in ("made the default without a language model", "tfidf-svd", "943 of 943 users (100.0%)", "text_cache"):
        assert said in caplog.text
    files = cached(tmp_path)
    assert len(files) == 2

    caplog.clear()
    read = dataset.node_texts(config, ["intent"])
    assert "read back the default without a language model" in caplog.text
    np.testing.assert_array_equal(read["intent"].embedding, made["intent"].embedding)

    config, dataset = ml100k(tmp_path / "again")
    with threadpool_limits(1):  # the number of threads makes no difference
        again = dataset.node_texts(config, ["intent"])["intent"]
    np.testing.assert_array_equal(again.embedding, made["intent"].embedding)
    assert cached(tmp_path / "again") == files


def test_the_default_tables_say_what_they_are(tmp_path):
    own = write_dataset(tmp_path)
    node_texts(tmp_path, checkpoint_dir=str(tmp_path / "saved"))
    users, items = (IntentTable.read(next((tmp_path / "saved/text_cache").glob(f"*.{s}.*"))) for s in ("user", "item"))
    assert (users.metadata.source, users.metadata.train_fingerprint) == ("interactions", fingerprint())
    assert (items.metadata.source, items.metadata.train_fingerprint) == ("features", None)
    said = dict(zip([*users.tokens, *items.tokens], [*users.texts, *items.texts], strict=True))
    assert said["i1"] == "title: the red barn; genre: western"  # a rating is no word
    assert said["u1"] == f"gender: M | {said['i1']} | {said['i2']}"
    assert said["u3"] == f"{said['i1']} | {said['i3']} | {said['i4']}"
    assert not own.joinpath("text_cache").exists()


def test_the_default_depends_on_a_model_in_a_folder(tmp_path):
    (tmp_path / "mine/.git").mkdir(parents=True)
    model = tmp_path / "mine/weights"
    write_dataset(tmp_path)
    config, _ = load(tmp_path, default_encoder=str(model.parent))
    model.write_bytes(b"before")
    before = made_of(config, "features")
    (tmp_path / "mine/.git/HEAD").write_bytes(b"no part of it")
    assert made_of(config, "features") == before
    model.write_bytes(b"trained anew")
    assert made_of(config, "features") != before
    assert len(made_of(load(tmp_path)[0], "features")) == len(before) - 1


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more PAR1", "middle", "other tokens"])
def test_a_damaged_cache_is_made_again(tmp_path, damage):
    write_dataset(tmp_path)
    settings = {"checkpoint_dir": str(tmp_path / "saved")}
    made = node_texts(tmp_path, **settings)
    good = cached(tmp_path)
    for path in (tmp_path / "saved" / "text_cache").iterdir():
        content = path.read_bytes()
        if damage == "middle":
            path.write_bytes(content[:60] + bytes(byte ^ 255 for byte in content[60:160]) + content[160:])
        elif damage == "other tokens":
            table(["x1", "x2"]).write(path)
        else:
            path.write_bytes(damage)
    again = node_texts(tmp_path, **settings)
    np.testing.assert_array_equal(again["profile"].embedding, made["profile"].embedding)
    assert cached(tmp_path) == good


def test_a_folder_that_cannot_be_written_costs_the_cache_only(tmp_path, caplog):
    write_dataset(tmp_path)
    (tmp_path / "saved").write_text("a file where a folder should be")
    assert node_texts(tmp_path, checkpoint_dir=str(tmp_path / "saved"))["profile"].present.all()
    assert "not kept for the next run" in caplog.text


def test_other_features_are_other_default_tables(tmp_path):
    own = write_dataset(tmp_path)
    node_texts(tmp_path, checkpoint_dir=str(tmp_path / "saved"))
    item_file = own / "tiny.item"
    item_file.write_text(item_file.read_text().replace("western", "comedy"))
    node_texts(tmp_path, checkpoint_dir=str(tmp_path / "saved"))
    assert len(cached(tmp_path)) == 4


def test_without_a_table_mean_of_items_is_the_mean_of_the_default(tmp_path):
    write_dataset(tmp_path)
    config, dataset = load(tmp_path, user_text="mean_of_items")
    text = dataset.node_texts(config, ["profile"])["profile"]
    rows = dict(zip(tokens_of(dataset), text.embedding, strict=True))
    np.testing.assert_allclose(rows["u1"], (rows["i1"] + rows["i2"]) / 2, atol=1e-6)


def test_an_item_without_words_has_no_embedding(tmp_path):
    write_dataset(tmp_path, item="item_id:token\ttitle:token_seq\ni1\tred barn\ni2\t\ni3\tgreen hills\n")
    config, dataset = load(tmp_path)
    text = dataset.node_texts(config, ["profile"])["profile"]
    present = dict(zip(tokens_of(dataset), text.present, strict=True))
    assert [present[item] for item in ITEMS] == [True, False, True, False]


# Texts


def test_atomic_files_are_read_as_they_are(tmp_path):
    path = tmp_path / "d.item"
    path.write_text(
        "item_id:token\ttitle:token_seq\tclass:token\n"
        '1\tan "unbalanced quote\tNA\n'
        '2\t"a whole one"\tx\ty\n'
        "3\n"
        "\n"
        "4\t\tnull\n"
        "4\tagain\t\n",
        encoding="utf-8",
    )
    frame, types = read_atomic_file(path)
    assert frame.to_numpy().tolist() == [
        ["1", 'an "unbalanced quote', "NA"],
        ["2", "a whole one", "x\ty"],
        ["3", "", ""],
        ["4", "", "null"],
        ["4", "again", ""],
    ]
    assert types == {"item_id": "token", "title": "token_seq", "class": "token"}
    assert read_features(path, "item_id", "\t", "utf-8").loc["4"].tolist() == ["", "null"]


def test_an_unbalanced_quote_in_the_item_file_changes_no_ids(tmp_path):
    own = write_dataset(tmp_path)
    _, plain = load(tmp_path)
    (own / "tiny.item").write_text('item_id:token\ttitle:token\ni1\t"open\ni2\ttab\there\ni7\tunknown\n')
    config, dataset = load(tmp_path)
    assert dataset.node_texts(config, ["intent"])["intent"].present.sum() == 5  # i3, i4 have none
    assert (dataset.user_num, dataset.item_num) == (plain.user_num, plain.item_num) == (4, 5)


def test_texts_in_words():
    features = pd.DataFrame(
        {"movie_title": ["Toy Story", "", "  "], "class": ["Comedy", "Drama", ""]}, index=list("abc")
    )
    items = item_texts(features)
    assert items.tolist() == ["movie title: Toy Story; class: Comedy", "class: Drama", ""]
    pairs = pd.DataFrame({"user": ["v", "u", "u", "u", "w"], "item": ["c", "b", "a", "b", "z"]})
    users = user_texts(pd.DataFrame({"age": ["24", "", ""]}, index=list("uvw")), items, pairs)
    assert users.tolist() == [f"age: 24 | {items['a']} | {items['b']}", "", ""]
    assert words_of(users["u"]).split() == ["24", "Toy", "Story", "Comedy", "Drama"]


def test_no_user_file_and_no_history():
    users = user_texts(
        pd.DataFrame(index=["u", "v"]), pd.Series({"a": "x: y"}), pd.DataFrame({"user": ["v"], "item": ["a"]})
    )
    assert users.tolist() == ["", "x: y"]


def test_the_encoder():
    texts = ["title: red barn; year: 1995", "title: blue river", "title: red river", "", "gender: M"]
    encoder = TfidfSvdEncoder(texts)
    embeddings = encoder.encode([*texts, "title: unseen", "colour: red barn; stood: 1995"])
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (7, encoder.dim)
    assert not embeddings[[3, 5]].any()
    np.testing.assert_allclose(np.linalg.norm(embeddings[[0, 1, 2, 4, 6]], axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(embeddings[6], embeddings[0])  # names of fields are no words
    np.testing.assert_array_equal(TfidfSvdEncoder(texts).encode(texts), embeddings[:5])


def test_the_encoder_reads_prose_to_its_colons():
    prose = ["The reader likes three things most: dragons", "Nobody hates three things: dragons", "maps"]
    one, two, _ = TfidfSvdEncoder(prose, fields_named=False).encode(prose)
    assert one @ two < 0.9
    assert TfidfSvdEncoder(prose).name != TfidfSvdEncoder(prose, fields_named=False).name
