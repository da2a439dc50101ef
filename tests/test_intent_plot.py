"""`irllrec intents plot`: densities, alignment and uniformity of a trained model's embeddings, and the map of items."""

import re
import shutil
from pathlib import Path

import command
import numpy as np
import pandas as pd
import pytest
import torch
from browser import look_at
from scipy.integrate import trapezoid
from trained import NO_TEXT

from recbole_irllrec import geometry, intent_plot
from recbole_irllrec.model.graph import interaction_intents

MADE = ("plot.html", "numbers.csv", "angles.csv", "items.csv")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_alignment_and_uniformity_are_those_of_wang_and_isola():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 7, 3))
    a, b = unit(x), unit(y)
    assert geometry.alignment(x, 5 * y) == pytest.approx(
        np.mean([((p - q) ** 2).sum() for p, q in zip(a, b, strict=True)])
    )
    every = [((p - q) ** 2).sum() for p in a for q in b]
    assert geometry.distance_of_any(x, y) == pytest.approx(np.mean(every))
    pairs = [np.exp(-2 * ((a[i] - a[j]) ** 2).sum()) for i in range(7) for j in range(i)]
    assert geometry.uniformity(3 * x) == pytest.approx(np.log(np.mean(pairs)))
    assert geometry.uniformity(np.ones((4, 3))) == 0 == geometry.alignment(x, x)


def test_densities_integrate_to_one_and_show_what_has_collapsed():
    at = np.linspace(-np.pi, np.pi, 2001)
    angles = np.concatenate([np.full(90, 3.1), np.full(30, -1.0)])
    density = geometry.density_of_angles(angles, at)
    assert trapezoid(density, at) == pytest.approx(1, abs=1e-6)
    assert density[0] == pytest.approx(density[-1])  # it is a circle
    assert abs(at[density.argmax()]) == pytest.approx(3.1, abs=0.01)
    assert trapezoid(np.where(np.abs(at + 1) < 0.8, density, 0), at) == pytest.approx(0.25, abs=0.01)
    axis = np.linspace(-2, 2, 201)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    plane = geometry.density_on_the_plane(np.linspace(-3, 3, 50), grid)
    assert plane.sum() * 0.02**2 == pytest.approx(1, abs=0.01)
    equal = geometry.on_the_circle(geometry.in_two_dimensions(np.ones((9, 4)), "pca"))
    assert geometry.density_on_the_plane(equal, np.array([[1.0, 0.0]]))[0] > 100


@pytest.mark.parametrize("how", ["tsne", "pca"])
def test_near_embeddings_stay_near(how):
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2], 20)
    rows = 3 * np.eye(3, 8)[kind] + rng.normal(scale=0.1, size=(60, 8))
    places = geometry.in_two_dimensions(rows, how)
    np.testing.assert_array_equal(places, geometry.in_two_dimensions(2 * rows, how))
    distance = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(60)
    assert (kind[distance.argmin(axis=1)] == kind).mean() > 0.95


def titles_of(small) -> dict[str, str]:
    lines = Path(small["data_path"], "small", "small.item").read_text().splitlines()
    return dict(line.split("\t")[:2] for line in lines)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, trained) -> Path:
    """The folder in which the example of the help has run."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "saved").mkdir()
    checkpoint = trained.checkpoint("IRLLRec")
    shutil.copy(checkpoint, folder / "saved" / "IRLLRec.pth")
    help_said = " ".join(command.run("intents", "plot", "--help").stdout.split())
    (example,) = re.findall(r"Example: irllrec (intents plot .*?)\s*$", help_said)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        said = command.run(*example.split()).stdout
    assert all(name in said for name in MADE)
    return folder / "plots"


def test_the_example_of_the_help(drawn, trained, small):
    assert sorted(path.name for path in drawn.iterdir()) == sorted(MADE)
    numbers = pd.read_csv(drawn / "numbers.csv", keep_default_na=False).set_index(["measure", "side", "of", "beside"])
    served = trained.served("IRLLRec")
    model, n_users = served.model, 120
    with torch.no_grad():
        encoded = model.encode()
        nodes = torch.arange(len(encoded.final))
        prototypes = (model.alignment.user_prototypes, model.alignment.item_prototypes)
        mine = {
            "interaction": encoded.final,
            "interaction intent": interaction_intents(model.graph, encoded.layers, *prototypes, nodes, limit=None),
            "profile": model.alignment.profile_tower(model.alignment.profile_texts.embedding),
            "intent": model.alignment.intent_tower(model.alignment.intent_texts.embedding),
        }
    mine = {name: rows.numpy() for name, rows in mine.items()}
    for side, its in {"users": slice(n_users), "items": slice(n_users, None)}.items():
        for name, rows in mine.items():
            found = numbers.loc[("uniformity", side, name, "")]
            assert float(found["value"]) == pytest.approx(geometry.uniformity(rows[its]), abs=1e-5)
            assert int(found["n"]) == len(rows[its])
        for first, second in [("interaction", "profile"), ("interaction intent", "intent"), ("profile", "intent")]:
            found = numbers.loc[("alignment", side, first, second)]
            expected = geometry.alignment(mine[first][its], mine[second][its])
            assert float(found["value"]) == pytest.approx(expected, abs=1e-5)
    pairs = numbers.loc[("alignment", "both", "interaction", "interaction")]
    users, items = served.train_items.nonzero()
    e = mine["interaction"]
    assert float(pairs["value"]) == pytest.approx(geometry.alignment(e[users - 1], e[n_users + items - 1]), abs=1e-5)
    items = pd.read_csv(drawn / "items.csv").set_index("item")
    assert len(items) == 150 and items["interactions"].sum() == served.train_items.nnz
    titles = dict(
        line.split("\t")[:2] for line in Path(small["data_path"], "small/small.item").read_text().splitlines()
    )
    assert all(items.loc[item, "title"] == titles[item] for item in items.index)
    assert items["text"].str.startswith("title: ").all()
    angles = pd.read_csv(drawn / "angles.csv")
    assert angles.columns.tolist() == ["angle", *mine]
    assert all(trapezoid(angles[name], angles["angle"]) == pytest.approx(1, abs=1e-3) for name in mine)


def test_the_page_asks_nobody_for_anything(drawn, small):
    page = (drawn / "plot.html").read_text()
    assert titles_of(small)["i0"] in page and not re.search(r'<(?:script|link)[^>]*(?:src|href)="(?!data:)', page)
    assert (
        '<th scope="col" class="left">measure</th>' in page and '<th scope="row" class="left">uniformity</th>' in page
    )
    assert "prefers-color-scheme: dark" in page and "overflow-x: auto" in page
    seen = look_at(drawn / "plot.html", ("GPU stall", "WebGL"))
    assert seen.requests == [] and seen.console == []
    # not where plotly's own styles name it
    assert len(re.findall(r'class="[^"]*\bjs-plotly-plot\b', seen.dom)) == 2 and "uniformity" in seen.dom


@pytest.mark.parametrize(
    ("model", "settings", "there"),
    [
        ("RLMRecCon", {}, ["interaction", "profile"]),
        ("IRLLRecBPR", {"profile_weight": 0}, ["interaction", "interaction intent", "intent"]),
    ],
)
def test_models_with_some_of_it(model, settings, there, trained):
    checkpoint = trained.checkpoint(model, **settings)
    command.run("intents", "plot", checkpoint, "--map", "pca", "--points", "40", "--title-field", "class")
    assert pd.read_csv("plots/angles.csv").columns.tolist() == ["angle", *there]
    assert pd.read_csv("plots/items.csv")["title"].str.startswith("kind ").all()
    assert pd.read_csv("plots/numbers.csv").query("measure == 'uniformity'")["n"].max() == 40


def test_tables_of_intents_alone(trained, monkeypatch):
    served = trained.served("IRLLRec")
    (its,) = intent_plot.tables(served.config, served.train).values()
    monkeypatch.setattr(intent_plot, "tables", lambda *_: {"intent": its})
    made = intent_plot.picture(served, "it", None, "pca", 40)
    assert made.items["text"].str.startswith("title: ").all()


def test_what_is_refused(trained, capsys):
    for checkpoint in (trained.checkpoint("BPR"), trained.checkpoint("IRLLRec", **NO_TEXT)):
        said = command.refusal(capsys, "intents", "plot", checkpoint)
        assert "aligns no embeddings with texts: give one of a model that does, such as IRLLRec" in said
    checkpoint = trained.checkpoint("IRLLRec")
    said = command.refusal(capsys, "intents", "plot", checkpoint, "--title-field", "movie")
    assert "small.item has, of columns of words, title, class, where --title-field names movie" in said
    assert not Path("plots").exists()
