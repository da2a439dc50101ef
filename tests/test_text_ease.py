"""Linear models with text: against regressions of one item on the others, and through every door of the package."""

import numpy as np
import pandas as pd
import pytest
import torch
from command import run
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.quick_start import run_recbole
from scipy.sparse import csr_matrix
from tiny_data import SETTINGS, write_tiny

from recbole_irllrec import IRLLRecError, runs
from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.early import refuse_values
from recbole_irllrec.model import linear
from recbole_irllrec.serving import serve

MODELS = ("ContentMean", "CollectiveEASE", "WeightedEASE", "AdditiveEASE", "L3AE")


def column_by_column(rows: np.ndarray, reg_weight: float, target: np.ndarray, towards: float = 0.0) -> np.ndarray:
    """Weights with zero diagonal: each item's ridge regression on the others, drawn towards a column of ``target``."""
    m = rows.shape[1]
    weights = np.zeros((m, m))
    for j in range(m):
        others = np.delete(np.arange(m), j)
        x = rows[:, others]
        left = x.T @ x + (reg_weight + towards) * np.eye(m - 1)
        weights[others, j] = np.linalg.solve(left, x.T @ rows[:, j] + towards * target[others, j])
    return weights


@st.composite
def cases(draw):
    n, m, k = draw(st.integers(1, 12)), draw(st.integers(2, 12)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    interactions = (rng.random((n, m)) < 0.4).astype(np.float64)
    text = rng.normal(size=(m, k))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    text[rng.random(m) < 0.2] = 0
    reg, text_reg, weight = (draw(st.floats(0.1, 100)) for _ in range(3))
    return interactions, text, reg, text_reg, weight


def solved(case, solve, *weights) -> np.ndarray:
    interactions, text = case[:2]
    return solve(torch.from_numpy(interactions).to_sparse_csr(), torch.from_numpy(text), *weights).numpy()


@settings(deadline=None, max_examples=50)
@given(cases())
def test_weights_are_each_items_regression_on_the_others(case):
    interactions, text, reg, text_reg, weight = case
    nothing = np.zeros((len(text), len(text)))
    of_text = column_by_column(text.T, text_reg, nothing)
    alone = column_by_column(interactions, reg, nothing)
    np.testing.assert_allclose(solved(case, lambda x, _: linear.ease(x, reg)), alone, atol=1e-9)

    both = column_by_column(np.concatenate([interactions, weight**0.5 * text.T]), reg, nothing)
    np.testing.assert_allclose(solved(case, linear.collective_ease, reg, weight), both, atol=1e-9)

    share = weight / 100
    expected = (1 - share) * alone + share * of_text
    np.testing.assert_allclose(solved(case, linear.additive_ease, reg, text_reg, share), expected, atol=1e-9)

    drawn = column_by_column(interactions, reg, of_text, weight)
    np.testing.assert_allclose(solved(case, linear.l3ae, reg, text_reg, weight), drawn, atol=1e-9)
    more = column_by_column(interactions, -weight / 2, of_text, weight)
    np.testing.assert_allclose(solved(case, linear.l3ae, -weight / 2, text_reg, weight), more, atol=1e-9)


def test_a_matrix_without_an_inverse_is_refused():
    with pytest.raises(IRLLRecError, match="raise reg_weight"):
        linear.ease(torch.ones(3, 3).to_sparse_csr(), 1e-12)


def test_products_of_sparse_interactions_are_made_in_blocks(monkeypatch):
    """As a whole, with its indices, it takes many times the memory of what comes out."""
    made = []
    product = csr_matrix.__matmul__
    monkeypatch.setattr(csr_matrix, "__matmul__", lambda *pair: made.append(product(*pair)) or made[-1])
    monkeypatch.setattr(linear, "_ROWS", 7)
    x = torch.rand(60, 40, generator=torch.Generator().manual_seed(0))
    x = torch.where(x < 0.5, x, 0).to_sparse_csr()
    found = linear.precision(x, 1.0)
    assert [each.shape[0] for each in made] == [7] * 5 + [5]
    dense = x.to_dense().double()
    torch.testing.assert_close(found.double(), torch.linalg.inv(dense.T @ dense + torch.eye(40)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("rows", "matrices"), [(5000, 3), (4000, 3), (3800, 7.7), (2000, 5), (0, 2)])
def test_more_rows_below_the_number_of_items_take_more_memory(rows, matrices):
    assert linear.matrices_held(rows, 4000) == pytest.approx(matrices)


def test_what_lies_on_a_gpu_needs_its_memory(monkeypatch):
    device = torch.device("cuda")
    for name, found in {"mem_get_info": (6e9, 8e9), "memory_reserved": 2e9, "memory_allocated": 1e9}.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, found=found: found)
    linear.refuse_too_many("L3AE", 20_000, 4, device)
    with pytest.raises(IRLLRecError, match="L3AE of 19,999 items needs 8 GB of GPU memory, and 7 GB are free: take"):
        linear.refuse_too_many("L3AE", 20_000, 5, device)


@pytest.mark.parametrize(("model", "held"), [("L3AE", 10**9), ("ContentMean", 1)])
def test_more_items_than_memory_holds_are_refused(model, held, small, monkeypatch, tmp_path):
    monkeypatch.setattr(linear, "matrices_held", lambda *_: 10**9)
    refused = []

    def refuse(what, n_items, matrices, device, instead=""):
        refused.append(matrices)
        if matrices > 1:
            raise IRLLRecError(f"{what} of {n_items - 1}")

    monkeypatch.setattr(linear, "refuse_too_many", refuse)
    settings = {**small, "show_progress": False, "checkpoint_dir": str(tmp_path)}
    if held == 1:
        run_recbole(model, "small", config_dict=settings)
    else:
        with pytest.raises(IRLLRecError, match="L3AE of 150"):
            run_recbole(model, "small", config_dict=settings)
    assert refused[:2] == [1, held]


def test_texts_pull_no_more_than_a_ridge_is_left():
    given = {"reg_weight": -5.0, "distillation_weight": 5.0}
    with pytest.raises(IRLLRecError, match=r"distillation_weight \(.*\) is 5.0: its sum with reg_weight"):
        Config("L3AE", "ml-100k", config_dict=given)


def test_a_ridge_by_default_is_one_on_the_command_line():
    refuse_values("L3AE", ["--distillation_weight=0"])
    with pytest.raises(IRLLRecError, match="its sum with reg_weight"):
        refuse_values("L3AE", ["--distillation_weight=0", "--reg_weight=-1"])


# ---- as models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_trained_served_and_compared_by_its_scores(model, small, tmp_path):
    """`recommend` gives what the formula gives, and reads no text for it."""
    settings = {**small, "show_progress": False, "checkpoint_dir": str(tmp_path), "reg_weight": 10.0}
    result = run_recbole(model, "small", config_dict=settings)
    assert result["test_result"]["ndcg@10"] > 0.09  # by chance: 0.04

    (checkpoint,) = tmp_path.glob("*.pth")
    served = serve(checkpoint)
    scores = served.score(torch.arange(1, 11)).numpy()
    expected = served.train_items[1:11].toarray() @ served.model.weights.numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    assert not served.model.weights.diagonal().any() and not scores[:, 0].any()

    run(
        "recommend",
        checkpoint,
        "--users",
        "all",
        "--k",
        "5",
        "--out",
        tmp_path / "best.csv",
        "--data-path",
        small["data_path"],
    )
    assert len(pd.read_csv(tmp_path / "best.csv")) == 5 * 120


def test_items_with_tables_need_no_texts_of_users(tmp_path):
    """Unlike for IRLLRec; and with tables of one kind alone the way to it is told."""
    data = write_tiny(tmp_path / "data")
    splits = runs.load_splits("tiny", data, settings=SETTINGS)
    items = splits.train.field2id_token["item_id"][1:]
    vectors = np.random.default_rng(0).normal(size=(len(items), 8)).astype(np.float32)
    table = IntentTable.from_arrays(list(items), vectors, encoder="e", source="features")
    table.write(data / "tiny" / "tiny.item_profile.parquet")
    found = runs.train("L3AE", splits, {}, "run")
    assert found.test().metrics["recall@10"] > 0
    with pytest.raises(IRLLRecError, match="users have none"):
        runs.train("IRLLRec", splits, {"pairwise_weight": 0, "translation_weight": 0, "matching_weight": 0}, "other")
    with pytest.raises(IRLLRecError, match="text_kind: profile"):
        runs.train("L3AE", splits, {"text_kind": "intent"}, "third")


def test_texts_carry_an_item_that_nobody_has():
    """Interactions say nothing of it, texts that it is like another: only with texts does it get a weight."""
    rng = np.random.default_rng(0)
    interactions = (rng.random((50, 6)) < 0.5).astype(np.float64)
    interactions[:, 5] = 0
    text = np.eye(6)[:, :5]
    text[5, 0] = 1
    case = interactions, text
    assert not solved(case, lambda x, _: linear.ease(x, 1.0))[:, 5].any()
    for weights in (solved(case, linear.collective_ease, 1.0, 5.0), solved(case, linear.l3ae, 1.0, 1.0, 5.0)):
        assert weights[:, 5].argmax() == 0 and weights[0, 5] > 0.1
