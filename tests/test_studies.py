"""`irllrec study`: what is changed, what is refused, and each study from the command line to its files."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from command import refusal
from recbole.config import Config
from test_docs import commands, execute
from tiny_data import N_ITEMS, N_USERS, write_tiny

from recbole_irllrec import IRLLRecError
from recbole_irllrec.benchmark.conductor import Data, conduct
from recbole_irllrec.benchmark.plan import Options, named
from recbole_irllrec.benchmark.results import read_results
from recbole_irllrec.benchmark.statistics import found_by_interactions
from recbole_irllrec.cli import app
from recbole_irllrec.cli.options import listed
from recbole_irllrec.data.fakes import fake_interactions
from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.data.text_change import changed
from recbole_irllrec.data.training import TrainingTokens
from recbole_irllrec.runs import config_of, load_splits
from recbole_irllrec.runs.pool import Resources
from recbole_irllrec.studies import encoders
from recbole_irllrec.studies.all import STUDIES, find
from recbole_irllrec.studies.study import Asked

NAME = "my-data"
SETTINGS = """
benchmark_filename: [train, valid, test]
epochs: 2
train_batch_size: 256
embedding_size: 8
n_intents: 4
translation_weight: 0
matching_weight: 0
linear_weight: 0
item_bias: False
metrics: [NDCG, Recall]
topk: [5, 10]
valid_metric: NDCG@10
"""


def write_data(folder: Path) -> None:
    """The tiny data set with settings of its own, where RecBole looks for it."""
    own = write_tiny(folder / "dataset", NAME) / NAME
    (own / f"{NAME}.yaml").write_text(SETTINGS)
    head, *items = (own / f"{NAME}.item").read_text().splitlines()
    rows = [f"{head}\tclass:token", *(f"{item}\tkind {n % 4}" for n, item in enumerate(items)), ""]
    (own / f"{NAME}.item").write_text("\n".join(rows))


def asked(folder: Path, models: str) -> Asked:
    """What the commands of docs/studies.md ask for."""
    options = Options((), seeds=2, tune_samples=0)
    return Asked(
        Data(NAME, folder / "dataset"),
        options,
        [named(model) for model in listed(models)],
        folder / "results",
        shares=[0.2],
        fields=["title"],
    )


@pytest.fixture(scope="module")
def made(one_ray, tmp_path_factory) -> Path:
    """A folder of results with the runs of all studies, made at once."""
    folder = tmp_path_factory.mktemp("studies")
    write_data(folder)
    planned = [kind.plan(asked(folder, kind.models)) for kind in STUDIES.values()]
    rows = {row.name: row for study in planned for row in study.rows}
    some = asked(folder, "IRLLRec")
    options = replace(some.options, models=(), variants=list(rows.values()))
    conduct(options, some.data, folder / "results", resources=Resources(max_concurrent=1), afresh=False)
    return folder / "results"


def runs(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("runs/*.json")}


def test_each_study_as_the_page_and_the_help_tell(made):
    """Runs that are there are not made again, whichever study asked for them."""
    write_data(Path())
    for name in STUDIES:
        shutil.copytree(made, f"results/{NAME}-{name}")
    said = execute("studies.md", "In short")
    for name in STUDIES:
        folder = Path(f"results/{NAME}-{name}")
        assert runs(folder) == runs(made)
        page, paragraph, latex, numbers = (
            (folder / f"{name}.{end}").read_text() for end in ("html", "md", "tex", "csv")
        )
        first = paragraph.split("\n\n")[1]
        assert "{" not in first
        assert first in said and "p is that of Wilcoxon's" in first
        assert page.count('class="plotly-graph-div') >= 1 and "<script src" not in page
        assert latex.count("\\toprule") == latex.count("\\begin{tabular}") >= 1
        assert numbers.count("\n") > 2

    controls = pd.read_csv(f"results/{NAME}-controls/controls.csv").set_index("model")
    tests = controls.loc["IRLLRec with shuffled texts"]
    assert tests["compared with"] == "IRLLRec" and 0 <= tests["p"] <= 1
    assert tests["ndcg@10 difference"] == pytest.approx(tests["ndcg@10"] - controls.loc["IRLLRec", "ndcg@10"], abs=1e-5)
    assert list(controls.index)[3:] == ["IRLLRec without text", "AlphaRec", "ContentMean"]
    page = Path(f"results/{NAME}-controls/controls.md").read_text()
    assert re.search(r"The texts' content (helps|harms|makes no difference that is found) \(NDCG@10 0\.\d+ with", page)
    ablation = Path(f"results/{NAME}-ablation/ablation.md").read_text()
    off = "translation, matching, fusion, linear part and item bias"
    assert f"Left out, for the settings on this data set have switched it off: {off}." in ablation
    assert "IRLLRec without softmax loss" in ablation and "IRLLRec without translation" not in ablation

    sparsity = pd.read_csv(f"results/{NAME}-sparsity/sparsity.csv")
    runs_of = pd.read_csv(f"results/{NAME}-sparsity/runs.csv").groupby("model").mean(numeric_only=True)
    for model, rows in sparsity[sparsity["metric"] == "ndcg@10"].groupby("model"):
        assert rows["size"].sum() == N_USERS
        assert np.average(rows["mean"], weights=rows["size"]) == pytest.approx(runs_of.loc[model, "ndcg@10"], abs=1e-5)
    noise = pd.read_csv(f"results/{NAME}-noise/noise.csv")
    by_kind = noise.dropna(subset="noise").groupby("noise")["of"].apply(list).to_dict()
    assert by_kind == {
        "fake interactions": ["IRLLRec", "LightGCN", "EASE"],
        "texts shuffled": ["IRLLRec"],
        "texts blank": ["IRLLRec"],
    }
    ease = noise[noise["of"] == "EASE"].set_index("share")["ndcg@10"]
    assert ease[0.2] != ease[np.nan]  # it learnt of the fakes
    embedded = pd.read_csv(f"results/{NAME}-encoders/encoders.csv")
    assert list(embedded["model"]) == ["IRLLRec, tfidf-svd, all fields", "IRLLRec, tfidf-svd, title"]
    assert {file.name for file in made.glob("texts/*")} == {
        file.name for file in Path(f"results/{NAME}-encoders").glob("texts/*")
    }
    example = typer.main.get_command(app.app).commands["study"].epilog.splitlines()[-1]
    assert example in commands("studies.md", "In short").splitlines()


def test_what_is_found_of_items_is_what_is_found_of_users(made):
    found = read_results(made)
    sums = found.items.groupby(["model", "seed"])[["interactions", "found@5", "found@10"]].sum()
    assert (sums["interactions"] == found.plan["split"]["interactions"]["test"]).all()
    users = found.users.groupby(["model", "seed"])[["recall@5", "recall@10"]].mean()
    for k in (5, 10):  # each user has three test interactions
        shares = sums[f"found@{k}"] / sums["interactions"]
        pd.testing.assert_series_equal(shares, users[f"recall@{k}"], check_names=False, atol=1e-6)
    of_ease = found.items.query("model == 'EASE'")
    groups = found_by_interactions(of_ease, found.of_items, "found@10", 4)
    assert groups["items"].sum() == of_ease["item"].nunique() and len(groups) > 1
    weighted = np.average(groups["mean"], weights=groups["interactions"])
    assert weighted == pytest.approx(of_ease["found@10"].sum() / of_ease["interactions"].sum())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["ablatoin"], "There is no study ablatoin: did you mean ablation?"),
        (["quality"], "There is no study quality: take one of ablation, controls"),
        (["ablation", "--models", "LightGCN"], "LightGCN has no part to leave out with these settings"),
        (["ablation", "--models", "IRLLRec,LightGCN"], "is of one model, and --models names IRLLRec, LightGCN"),
        (["controls", "--models", "LightGCN"], "LightGCN reads no texts with these settings, and this study"),
        (["controls", "--models", "IRLLRec-without-text"], "IRLLRec-without-text reads no texts with these settings"),
        (["controls", "--models", "IRLLRec[fusion=some]"], "The setting fusion .* is 'some'"),
        (["controls", "--data-path", "nowhere"], "my-data is not there: correct the data set's name"),
        (["noise", "--shares", "0.1,1.5"], "The shares of noise are 0.1, 1.5: give some above 0 and up to 1"),
        (["noise", "--shares", "-0.1"], "The shares of noise are -0.1"),
        (["noise", "--shares", "a few"], "--shares is 'a few': give numbers"),
        (["ablation", "--shares", "0.1"], "The study ablation takes no --shares: leave it out"),
        (["encoders", "--models", "LightGCN"], "LightGCN reads no texts with these settings, and this study"),
        (["encoders", "--encoders", "word2vec"], "There is no encoder word2vec: name tfidf-svd, sentence-transformers"),
        (["encoders", "--encoders", "openai"], "The encoder openai needs a model"),
        (["encoders", "--fields", "title,colour"], "my-data.item has no field of words colour: take some of title"),
        (["encoders", "--fields", "title+class"], "There is nothing to compare: name several encoders"),
        (["sparsity", "--models", "EASE,EASE"], "The models are EASE, EASE: name at least one, and each once"),
        (["ablation", "--metrics", "NDCG,GAUC", "--metric", "GAUC"], "Users have no GAUC of their own"),
        (["ablation", "--metric", "NGCD@10"], "valid_metric is NGCD@10, which metrics"),
        (["sparsity", "--metrics", "GiniIndex", "--metric", "GiniIndex@5"], "Users have no GiniIndex@5 of their own"),
        (["controls", "--topk", "0"], "--topk is '0': give numbers of at least 1"),
    ],
)
def test_refused_before_any_training(capsys, more, words):
    write_data(Path())
    assert re.search(words, refusal(capsys, "study", more[0], NAME, *more[1:]))
    assert not Path("results").exists()


def test_tables_are_embedded_once_and_keep_what_they_were_made_with():
    write_data(Path())
    made_with = load_splits(NAME, Path("dataset"))
    fingerprint = TrainingTokens(made_with.train).fingerprint
    for side, n in (("user", N_USERS), ("item", N_ITEMS)):
        tokens, texts = [f"{side[0]}{place}" for place in range(n)], [f"likes {place % 7} things" for place in range(n)]
        table = IntentTable.from_arrays(
            *(tokens, np.ones((n, 3), np.float32), texts),
            **{"encoder": "e", "source": "interactions", "train_fingerprint": fingerprint},
        )
        table.write(Path(f"dataset/{NAME}/{NAME}.{side}_profile.parquet"))
    some = replace(asked(Path(), "IRLLRec[pairwise_weight=0,matching_weight=0]"), fields=None)
    with pytest.raises(IRLLRecError, match=r"profile.parquet is a table of others: leave --fields out"):
        encoders.plan(replace(some, fields=["title"]))
    with pytest.raises(IRLLRecError, match="There is nothing to compare"):
        encoders.plan(some)
    config = some.data.config({})
    first, again = (
        encoders.embedded(Path("out"), config, *of, "tfidf-svd", {}) for of in [encoders.of_tables(config).values()] * 2
    )
    assert first == again and set(first) == {"user_profile_table", "item_profile_table"}
    config = some.data.config(first)
    text = made_with.train.node_texts(config, ["profile"])["profile"]
    assert text.present.all() and text.made["encoder"].startswith("tfidf-svd")
    same = (text.embedding[0] == text.embedding[7]).all() and (text.embedding[0] == text.embedding[N_USERS]).all()
    assert same and (text.embedding[0] != text.embedding[1]).any()


def test_fields_of_features():
    write_data(Path())
    config = asked(Path(), "IRLLRec").data.config({})
    found = {name: list(of[0].texts[:1]) for name, of in encoders.of_features(config, None).items()}
    assert found == {
        "all fields": ["title: the warm warm one; class: kind 0"],
        "title": ["title: the warm warm one"],
        "class": ["class: kind 0"],
    }
    assert list(encoders.of_features(config, ["class+title", "class"])) == ["all fields", "class"]


def test_what_has_no_part_in_a_model_is_not_left_out_of_it():
    """Fusion is nothing where nothing is matched."""

    def parts(model: str) -> list[str]:
        full, *rows = find("ablation").plan(asked(Path(), model)).rows
        assert full.name == model
        return [row.name.removeprefix(f"{model} without ") for row in rows]

    write_data(Path())
    assert parts("IRLLRec[fusion=gate,item_bias=True]") == ["profile", "pairwise", "item bias", "softmax loss"]
    assert parts("IRLLRec[fusion=gate,matching_weight=1e-3,ranking_loss=bpr]") == [
        *("profile", "pairwise", "matching", "fusion")
    ]
    assert parts("IRLLRec[linear_weight=auto]") == ["profile", "pairwise", "linear part", "softmax loss"]
    assert parts("RLMRecGen[item_bias=True]") == ["reconstruction", "item bias", "softmax loss"]
    assert parts("IRLLRec-without-text") == ["softmax loss"]


def test_a_study_names_what_it_leaves_out():
    write_data(Path())
    study = find("controls").plan(asked(Path(), "L3AE"))
    assert [row.name for row in study.rows] == [
        *("L3AE", "L3AE with shuffled texts", "L3AE with random vectors", "AlphaRec", "ContentMean")
    ]
    assert "L3AE is no model without text, so there is no such row." in study.notes


# ---- changed texts --------------------------------------------------------------------------------------------------


@pytest.fixture
def texts():
    generator = np.random.default_rng(0)
    embedding = generator.normal(size=(40, 6)).astype(np.float32)
    present = generator.random(40) < 0.8
    embedding[~present] = 0
    return embedding, present


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_shuffled_texts_are_the_same_ones_at_other_nodes(texts, share):
    before, there = texts
    embedding, present = changed("shuffled", share, 3, before, there)
    assert (present == there).all()
    assert sorted(map(tuple, embedding)) == sorted(map(tuple, before))
    moved = (embedding != before).any(axis=1)
    assert moved.sum() == round(share * there.sum()) and not moved[~there].any()


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_random_vectors_are_as_long_and_no_more(texts, share):
    before, there = texts
    embedding, present = changed("random", share, 3, before, there)
    assert (present == there).all()
    np.testing.assert_allclose(*(np.linalg.norm(rows, axis=1) for rows in (embedding, before)), rtol=1e-5)
    assert (embedding != before).any(axis=1).sum() == round(share * there.sum())


def test_blank_texts_are_a_share_and_not_all(texts):
    before, there = texts
    embedding, present = changed("blank", 0.4, 3, before, there)
    gone = there & ~present
    assert gone.sum() == round(0.4 * there.sum()) and not present[~there].any()
    assert not embedding[gone].any() and (embedding[present] == before[present]).all()
    with pytest.raises(IRLLRecError, match="leave no text"):
        changed("blank", 1.0, 3, before, there)


def test_changes_are_drawn_by_their_seed_and_larger_ones_hold_smaller_ones(texts):
    def nodes(how, share, seed):
        before = texts[0].copy()
        found = (changed(how, share, seed, *texts)[0] != before).any(axis=1)
        assert (texts[0] == before).all()
        return found

    for how in ("random", "blank"):
        assert (nodes(how, 0.5, 1) == nodes(how, 0.5, 1)).all()
        assert (nodes(how, 0.5, 1) != nodes(how, 0.5, 2)).any()
        assert not (nodes(how, 0.2, 1) & ~nodes(how, 0.5, 1)).any()


def test_the_setting_changes_each_side_by_itself_and_all_kinds_alike():
    write_data(Path())
    splits = load_splits(NAME, Path("dataset"))

    def read(**settings):
        config = Config("IRLLRec", NAME, [f"dataset/{NAME}/{NAME}.yaml"], {"data_path": "dataset", **settings})
        return splits.train.node_texts(config, ["profile", "intent"])

    own, shuffled = read(), read(text_change="shuffled")
    for kind in ("profile", "intent"):
        for side in (slice(N_USERS), slice(N_USERS, None)):
            before, after = (found[kind].embedding[side] for found in (own, shuffled))
            assert sorted(map(tuple, before)) == sorted(map(tuple, after)) and (before != after).any()
    np.testing.assert_array_equal(shuffled["profile"].embedding, shuffled["intent"].embedding)
    with pytest.raises(IRLLRecError, match=r"text_change .* is 'lost'"):
        read(text_change="lost")


# ---- fake interactions ----------------------------------------------------------------------------------------------


@pytest.fixture
def splits():
    write_data(Path())
    return load_splits(NAME, Path("dataset"))


def pairs(feat, dataset) -> list[tuple[int, int]]:
    return list(zip(feat[dataset.uid_field].tolist(), feat[dataset.iid_field].tolist(), strict=True))


def test_fakes_are_no_interactions_that_there_are(splits):
    train, held_out = splits.train, (splits.valid, splits.test)
    fakes = fake_interactions(train, held_out, 0)
    drawn = pairs(fakes, train)
    there = {pair for dataset in (train, *held_out) for pair in pairs(dataset.inter_feat, train)}
    assert len(drawn) == len(set(drawn)) == len(train) and not there & set(drawn)
    assert {item for _, item in drawn} <= {item for _, item in pairs(train.inter_feat, train)}
    counts = [np.bincount([user for user, _ in of], minlength=49) for of in (drawn, pairs(train.inter_feat, train))]
    np.testing.assert_array_equal(*counts)  # a user has as many as it has interactions
    assert drawn == pairs(fake_interactions(train, held_out, 0), train)
    assert drawn != pairs(fake_interactions(train, held_out, 1), train)


def test_a_run_has_exactly_the_share_of_fakes(splits):
    before = pairs(splits.train.inter_feat, splits.train)
    found = {}
    for share in (0, 0.1, 0.37, 1):
        config = config_of("EASE", splits, {"fake_interactions": share})
        # trials do not know the test set, and have the same fakes
        for of in (splits.with_fakes([config]), splits.with_fakes([config]).without_test()):
            noisy = pairs(of.training(config).inter_feat, splits.train)
            assert noisy[: len(before)] == before and len(noisy) == len(before) + round(share * len(before))
            assert found.setdefault(share, noisy) == noisy
    assert found[0.1] == found[0.37][: len(found[0.1])]
    assert pairs(splits.train.inter_feat, splits.train) == before
    other = config_of("EASE", splits, {"fake_interactions": 0.1, "fake_interactions_seed": 5})
    assert pairs(splits.training(other).inter_feat, splits.train) != found[0.1]
    with pytest.raises(IRLLRecError, match="without a test set"):
        splits.without_test().training(config)
    with pytest.raises(IRLLRecError, match=r"fake_interactions is 1.5: give a share"):
        splits.with_fakes([config_of("EASE", splits, {"fake_interactions": 1.5})])


def test_texts_know_nothing_of_fakes(splits):
    config = config_of("IRLLRec", splits, {"fake_interactions": 0.5})
    true, noisy = (of.node_texts(config, ["profile"])["profile"] for of in (splits, splits.with_fakes([config])))
    np.testing.assert_array_equal(true.embedding, noisy.embedding)


def test_no_room_for_fakes():
    folder = Path("dataset/full")
    folder.mkdir(parents=True)
    for part, item in (("train", "ab"), ("valid", "c"), ("test", "d")):
        rows = [f"u{user}\t{one}" for user in range(3) for one in item]
        (folder / f"full.{part}.inter").write_text("\n".join(["user_id:token\titem_id:token", *rows, ""]))
    full = load_splits("full", Path("dataset"), settings={"benchmark_filename": ["train", "valid", "test"]})
    with pytest.raises(IRLLRecError, match="full has too few pairs of a user and an item without an interaction"):
        fake_interactions(full.train, (full.valid, full.test), 0)
