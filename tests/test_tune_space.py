"""Search spaces: what files say, what is refused, what is drawn."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import SETTINGS, write_tiny

from recbole_irllrec import IRLLRecError
from recbole_irllrec.runs import config_of, load_splits
from recbole_irllrec.runs.space import RandomDrawer, check_space, default_space, read_space, text_variants
from recbole_irllrec.tuning.search import Optuna, Random

MODELS = (
    "IRLLRec",
    "LightGCN",
    "SGL",
    "IRLLRecDCCF",
    "RLMRecGenSimGCL",
    "IRLLRecNGCF",
    "AlphaRec",
    "NGCF",
    "BPR",
    "SimpleX",
    "MultiVAE",
    "EASE",
    "ItemKNN",
    "L3AE",
    "CollectiveEASE",
    "WeightedEASE",
    "ContentMean",
    "AdditiveEASE",
)
SPACE = """
ranking_loss: {choice: [bpr, softmax]}
softmax_temperature: {uniform: [0.1, 0.4], when: {ranking_loss: softmax}}
n_layers: {randint: [1, 3]}
translation_weight: {loguniform: [1e-7, 1e-1], or: 0}
matching_weight: {loguniform: [1e-3, 1e-1], or: [0, 1.0]}
fusion: {choice: [text, sum], when: {matching_weight: true}}
embedding_size: {grid: [8, 16, 32]}
epochs: 4
"""


def space_of(text: str):
    path = Path("space.yaml")
    path.write_text(text)
    return read_space(path)


@pytest.fixture
def splits(tmp_path):
    return load_splits("tiny", write_tiny(tmp_path / "data"), settings=SETTINGS)


@settings(deadline=None)  # a busy machine takes long now and then
@given(seed=st.integers(0, 2**31), number=st.integers(0, 10_000))
def test_every_draw_is_of_the_space(tmp_path_factory, seed, number):
    path = tmp_path_factory.getbasetemp() / "space.yaml"
    if not path.exists():
        path.write_text(SPACE)
    drawn = read_space(path).draw(RandomDrawer(seed, number), number)
    assert drawn == read_space(path).draw(RandomDrawer(seed, number), number)
    assert drawn["ranking_loss"] in ("bpr", "softmax") and drawn["n_layers"] in (1, 2, 3)
    assert ("softmax_temperature" in drawn) == (drawn["ranking_loss"] == "softmax")
    assert 0.1 <= drawn.get("softmax_temperature", 0.2) <= 0.4
    assert drawn["translation_weight"] == 0 or 1e-7 <= drawn["translation_weight"] <= 1e-1
    assert ("fusion" in drawn) == (drawn["matching_weight"] != 0)
    assert drawn["embedding_size"] == (8, 16, 32)[number % 3] and "epochs" not in drawn


def test_draws_have_the_shape_that_the_file_says():
    space = space_of(SPACE)
    draws = [space.draw(RandomDrawer(0, n), n) for n in range(2000)]
    weights = np.array([drawn["translation_weight"] for drawn in draws])
    assert np.mean(weights == 0) == pytest.approx(0.5, abs=0.05)
    exponents = np.log10(weights[weights > 0])
    assert np.histogram(exponents, bins=6, range=(-7, -1))[0] / len(exponents) == pytest.approx(1 / 6, abs=0.05)
    layers = [drawn["n_layers"] for drawn in draws]
    assert {n: layers.count(n) / 2000 for n in (1, 2, 3)} == pytest.approx(dict.fromkeys((1, 2, 3), 1 / 3), abs=0.05)


def test_false_in_when_is_what_true_is_not(splits):
    space = space_of(
        "item_bias: {choice: [true, false]}\nprofile_weight: {loguniform: [0.1, 1.0], or: 0}\n"
        "n_layers: {choice: [2], when: {item_bias: false}}\ntext_dim: {choice: [4], when: {profile_weight: false}}\n"
    )
    check_space(space, "IRLLRec", partial(config_of, "IRLLRec", splits))
    draws = [space.draw(RandomDrawer(0, n), n) for n in range(50)]
    assert {("n_layers" in drawn, drawn["item_bias"]) for drawn in draws} == {(True, False), (False, True)}
    assert {("text_dim" in drawn, drawn["profile_weight"] > 0) for drawn in draws} == {(True, False), (False, True)}


def test_optuna_draws_from_the_same_space_and_learns():
    space = space_of("x: {uniform: [-1.0, 1.0]}\ny: {choice: [[1], [2, 3]]}\nz: {loguniform: [0.1, 1.0], or: 0}\n")

    def best_of(search) -> float:
        scores = []
        for number in range(1, 41):
            trial = search.ask(number)
            assert trial.settings["y"] in ([1], [2, 3])
            scores.append(-abs(trial.settings["x"] - 0.3) - trial.settings["z"])
            search.tell(trial, scores[-1] if number % 10 else float("nan"))
        return float(np.mean(scores[-10:]))

    assert best_of(Optuna(space, 0)) > best_of(Random(space, 0)) + 0.2
    told = Optuna(space, 0)
    for number in range(1, 31):  # trials of an earlier process
        trial = Optuna(space, number).ask(number)
        told.tell(trial, -abs(trial.settings["x"] - 0.3))
    near = [told.ask(number).settings["x"] for number in range(31, 36)]
    assert np.mean(np.abs(np.array(near) - 0.3)) < 0.3


@pytest.mark.parametrize("search", [Random, Optuna])
def test_a_sweep_that_goes_on_repeats_no_trial(search):
    space = space_of("x: {uniform: [0, 1]}")
    whole = search(space, 0)
    before = [whole.ask(number) for number in (1, 2, 3)]
    resumed = search(space, 0, len(before))
    for trial in before:
        resumed.tell(trial, 0.0)
    after = [resumed.ask(number) for number in (4, 5, 6)]
    assert len({trial.settings["x"] for trial in (*before, *after)}) == 6
    if search is Random:
        assert after == [whole.ask(number) for number in (4, 5, 6)]


def test_optuna_refuses_a_grid():
    with pytest.raises(IRLLRecError, match="has a grid"):
        Optuna(space_of(SPACE), 0)


@pytest.mark.parametrize("model", MODELS)
def test_spaces_that_come_along(model, splits):
    space = default_space(model)
    check_space(space, model, partial(config_of, model, splits))
    for number in range(5):
        config_of(model, splits, {**space.fixed, **space.draw(RandomDrawer(0, number), number)})


def test_irllrecs_space_is_wide():
    space = default_space("IRLLRec")
    by_name = {parameter.name: parameter for parameter in space.parameters}
    assert set(by_name["ranking_loss"].values) == {"bpr", "softmax"} and 256 in by_name["embedding_size"].values
    for weight in ("translation_weight", "matching_weight"):
        assert by_name[weight].values == (1e-7, 1e-1) and by_name[weight].others == (0.0,)
    (variant,) = text_variants(space)
    assert all(variant[f"{name}_weight"] > 0 for name in ("profile", "pairwise", "translation", "matching"))


def test_texts_of_every_trial():
    space = space_of(
        "ranking_loss: {choice: [bpr, softmax]}\n"
        "profile_weight: {loguniform: [0.1, 1], or: 0}\n"
        "user_text: {choice: [null, mean_of_items], when: {ranking_loss: softmax}}\n"
        "text_dim: {choice: [2, 4], when: {profile_weight: true}}\n"
        "min_text_coverage: {choice: [0.5], when: {user_text: mean_of_items}}\n"
    )
    weight = {"profile_weight": 1}
    assert text_variants(space) == [
        weight | {"user_text": None, "text_dim": 2},
        weight | {"user_text": None, "text_dim": 4},
        weight | {"user_text": "mean_of_items", "text_dim": 2, "min_text_coverage": 0.5},
        weight | {"user_text": "mean_of_items", "text_dim": 4, "min_text_coverage": 0.5},
        weight | {"text_dim": 2},
        weight | {"text_dim": 4},
    ]
    assert text_variants(space_of("linear_weight: {choice: [auto, 2.0]}\n")) == [{"linear_weight": 2.0}]
    assert text_variants(space_of("linear_weight: {choice: [auto]}\n")) == [{}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("n_layers: {choise: [1, 2]}", "no way to draw called 'choise'; did you mean choice"),
        ("n_layers: {choice: [1], uniform: [0, 1]}", "exactly one of"),
        ("n_layers: {choice: [1], wenn: {x: 1}}", "exactly one of"),
        ("n_layers: {choice: 3}", "choice is 3; give a list"),
        ("n_layers: {choice: []}", "give a list"),
        ("reg_weight: {uniform: [1]}", "two numbers"),
        ("reg_weight: {uniform: [2, 1]}", "above the first"),
        ("reg_weight: {uniform: [a, b]}", "two numbers"),
        ("reg_weight: {uniform: [0, .inf]}", "above the first"),
        ("reg_weight: {loguniform: [0, 1]}", "has no logarithm"),
        ("n_layers: {randint: [1, 2.5]}", "whole numbers"),
        ("n_layers: {choice: [1, 2], or: 3}", "or goes with bounds"),
        ("n_layers: {choice: [1, 2], when: 3}", "when is 3"),
        ("n_layers: {choice: [1, 2], when: {fusion: sum}}", "when names fusion, which is not in the file"),
        ("a: {choice: [1], when: {b: 1}}\nb: {choice: [1], when: {a: 1}}", "depend on it in turn"),
        ("epochs: 4", "draws no setting"),
        ("- 1", "holds no search space"),
        ("a: [", "is no YAML"),
    ],
)
def test_files_that_make_no_sense(text, words):
    with pytest.raises(IRLLRecError, match=re.escape(words)) as refusal:
        space_of(text)
    assert "space.yaml" in str(refusal.value)


@pytest.mark.parametrize(
    ("model", "text", "words"),
    [
        ("LightGCN", "n_intents: {choice: [1, 2]}", "the model LightGCN has no setting n_intents"),
        ("IRLLRec", "profil_weight: {choice: [0.1]}", "did you mean profile_weight"),
        ("LightGCN", "topk: {choice: [[10], [20]]}", "not a setting of the model, but of the data, the evaluation"),
        ("LightGCN", "n_layers: {choice: [1]}\nseed: 3", "not a setting of the model"),
        ("LightGCN", "epochs: {choice: [10, 20]}", "same in all trials"),
        ("IRLLRec", "profile_temperature: {uniform: [0.0, 1.0]}", "profile_temperature"),
        ("IRLLRec", "fusion: {choice: [text, mixed]}", "fusion"),
        ("L3AE", "reg_weight: {uniform: [-500, 0]}\ndistillation_weight: {uniform: [300, 900]}", "above 0"),
        ("IRLLRec", "min_text_coverage: {uniform: [0.1, 0.5]}", "with choice"),
    ],
)
def test_spaces_that_do_not_fit_the_model(model, text, words, splits):
    with pytest.raises(IRLLRecError, match=words) as refusal:
        check_space(space_of(text), model, partial(config_of, model, splits))
    assert "space.yaml" in str(refusal.value)


def test_what_is_allowed_may_depend_on_what_else_is_drawn(splits):
    space = space_of("reg_weight: {uniform: [-500, 0]}\ndistillation_weight: {uniform: [600, 900]}")
    check_space(space, "L3AE", partial(config_of, "L3AE", splits))


def test_a_model_without_a_space():
    with pytest.raises(IRLLRecError, match="no search space for Pop"):
        default_space("Pop")
    with pytest.raises(IRLLRecError, match="no model named"):
        default_space("IRLRec")
