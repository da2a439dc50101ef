"""The linear part of an encoder's scores: against weighted regressions, and through serving."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config
from scipy.sparse import csr_matrix
from trained import ALIGNMENT, SETTINGS, train

from recbole_irllrec import IRLLRecError
from recbole_irllrec.export import vectors
from recbole_irllrec.model import linear
from recbole_irllrec.model.linear_part import LinearPart
from recbole_irllrec.serving import serve
from recbole_irllrec.settings import schemas
from recbole_irllrec.settings.schemas import LinearSettings
from recbole_irllrec.settings.sources import read_settings

LINEAR = {"linear_weight": 1.0, "linear_text_weight": 5.0, "linear_neighbours": 40}


@st.composite
def cases(draw):
    n, m, k = draw(st.integers(1, 12)), draw(st.integers(2, 12)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    interactions = (rng.random((n, m)) < 0.4).astype(np.float64)
    interactions[0, 0] = 1
    text = rng.normal(size=(m, k))
    text[rng.random(m) < 0.2] = 0
    weights = [draw(st.floats(0.5, 100)), draw(st.floats(0.5, 100)), draw(st.floats(0, 0.5))]
    return interactions, text, *weights


def found(interactions, text, *weights) -> linear.Weighted:
    text = None if text is None else torch.from_numpy(text)
    return linear.weighted_ease(torch.from_numpy(interactions).to_sparse_csr(), text, *weights)


def column_by_column(interactions, text, reg_weight, text_weight, discount) -> np.ndarray:
    """Each item's regression on the others, as the formula has it."""
    lengths, counts = interactions.sum(axis=1), interactions.sum(axis=0) + 1
    of_users = np.where(lengths > 0, (lengths.clip(1) / lengths[lengths > 0].mean()) ** -0.5, 0)
    penalties = reg_weight * (counts / counts.mean()) ** 0.5
    rows = np.concatenate([interactions, text.T])
    of_rows = np.concatenate([of_users, np.full(text.shape[1], text_weight)])
    m = len(counts)
    weights = np.zeros((m, m))
    for j in range(m):
        others = np.delete(np.arange(m), j)
        x = rows[:, others]
        left = x.T @ (of_rows[:, None] * x) + np.diag(penalties[others])
        weights[others, j] = np.linalg.solve(left, x.T @ (of_rows * rows[:, j]))
    return weights * counts**-discount


@settings(deadline=None, max_examples=50)
@given(cases())
def test_weights_are_each_items_weighted_regression_on_the_others(case):
    np.testing.assert_allclose(found(*case).weights.numpy(), column_by_column(*case), atol=1e-9)
    interactions, text, *weights = case
    without = found(interactions, None, *weights)
    np.testing.assert_allclose(without.weights.numpy(), column_by_column(interactions, 0 * text, *weights), atol=1e-9)
    assert without.of_texts is None


@settings(deadline=None, max_examples=30)
@given(cases(), st.integers(0, 2**32 - 1))
def test_an_item_without_interactions_has_the_column_that_its_text_says(case, seed):
    """As if it had been there, but for the mean popularity, which it would have changed."""
    interactions, text, reg_weight, *weights = case
    new = np.random.default_rng(seed).normal(size=text.shape[1])
    counts = interactions.sum(axis=0) + 1
    changed = (np.append(counts, 1).mean() / counts.mean()) ** 0.5
    there = found(np.pad(interactions, ((0, 0), (0, 1))), np.vstack([text, new]), reg_weight * changed, *weights)
    of_texts = found(interactions, text, reg_weight, *weights).of_texts.numpy()
    np.testing.assert_allclose(of_texts @ new, there.weights[:-1, -1].numpy(), atol=1e-9)


def part(interactions, text, n_kept: int, dtype=torch.float32, **more) -> LinearPart:
    values = {
        "linear_weight": 1.0,
        "linear_reg_weight": 3.0,
        "linear_text_weight": 2.0,
        "linear_popularity_discount": 0.1,
        "linear_neighbours": n_kept,
    }
    padded = csr_matrix(np.pad(interactions, ((1, 0), (1, 0))))
    has_text = torch.ones(len(text)).bool()
    made = LinearPart(LinearSettings(**values), padded, (torch.from_numpy(text).float(), has_text), **more)
    made.to(dtype).solve()
    return made


@settings(deadline=None, max_examples=25)
@given(cases(), st.integers(1, 12))
def test_the_strongest_weights_are_kept_and_scores_are_standardised(case, n_kept):
    interactions, text = case[:2]
    n_items = interactions.shape[1]
    whole, kept = part(interactions, text, n_items), part(interactions, text, n_kept)
    np.testing.assert_array_equal((kept.matrix.toarray() != 0).sum(axis=1) <= n_kept, True)
    histories = whole.interactions[np.diff(whole.interactions.indptr) > 0]
    scores = whole.scores(histories).numpy()
    if scores[:, 1:].std() > 1e-3 * abs(scores[:, 1:].mean()):  # or they are all the same, but for rounding
        np.testing.assert_allclose(scores[:, 1:].std(), 1, rtol=1e-3)
    items = np.arange(len(scores)) % n_items + 1
    of_pairs = whole.scores_of_pairs(histories, items)
    np.testing.assert_allclose(of_pairs, scores[np.arange(len(scores)), items], atol=1e-5)
    # what is left out of a row is no stronger than what is kept of it
    full, less = (np.abs(each.matrix.toarray()) for each in (whole, kept))
    if (less > 0).any():
        scale = full.max() / np.where(less > 0, less, 0).max() if full.max() else 1
        weakest = np.where(less > 0, less * scale, np.inf).min(axis=1)
        left_out = np.where(less > 0, 0, full)
        assert (left_out.max(axis=1) <= weakest + 1e-4 * full.max()).all()


def test_a_model_in_double_precision_has_the_same_weights():
    rng = np.random.default_rng(0)
    interactions, text = (rng.random((12, 9)) < 0.4).astype(np.float64), rng.normal(size=(9, 4))
    single, double = part(interactions, text, 9), part(interactions, text, 9, torch.float64)
    assert double.weights.dtype == torch.float64
    torch.testing.assert_close(double.weights.float(), single.weights)
    new = torch.from_numpy(text[:2])
    np.testing.assert_allclose(double.extended(new, 1.0).toarray(), single.extended(new, 1.0).toarray(), atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(cases())
def test_what_texts_say_of_items_without_interactions_is_scaled(case):
    interactions, text = case[:2]
    interactions[:, -1] = 0
    plain, scaled = (part(interactions, text, len(text), unseen_scale=by) for by in (1.0, 2.5))
    new = torch.from_numpy(text[:2] + 1)
    whole = plain.extended(new, 1.0), scaled.extended(new, 2.5)
    before, after = ((plain.interactions @ weights[:-2]).toarray()[:, 1:] for weights in whole)
    factors = np.where([*interactions.any(axis=0), False, False], 1, 2.5)
    np.testing.assert_allclose(after, before * factors, rtol=1e-5, atol=1e-6)


# ---- with an encoder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("IRLLRec", {}),
        ("IRLLRec", dict.fromkeys(ALIGNMENT, 0)),
        ("IRLLRec", {"ranking_loss": "bpr"}),
        ("IRLLRecSimGCL", {}),
    ],
)
def test_scores_are_those_of_vectors_and_of_the_part(trained, model, more):
    served = trained.served(model, epochs=2, **LINEAR, **more)
    users = torch.arange(1, 20)
    of_users, of_items = served.embeddings
    part = served.model.linear
    expected = of_users[users] @ of_items.T
    alone = served.train_items[1:20] @ part.matrix
    expected += served.model.linear_scale * torch.from_numpy(alone.toarray())
    torch.testing.assert_close(served.score(users), expected, atol=1e-5, rtol=1e-4)
    assert abs(part.scores(served.train_items[1:])[:, 1:].std() - 1) < 0.05
    pairs = {served.train.uid_field: users, served.train.iid_field: users + 3}
    torch.testing.assert_close(served.model.predict(pairs), expected[users - 1, users + 3], atol=1e-5, rtol=1e-4)
    assert served.vectors is None


def test_it_is_served_without_texts_and_not_in_vectors_to_export(trained, caplog):
    checkpoint, users = trained.checkpoint("IRLLRec", epochs=2, **LINEAR), torch.arange(1, 20)
    with_texts = trained.served("IRLLRec", epochs=2, **LINEAR)
    torch.testing.assert_close(serve(checkpoint).score(users), with_texts.score(users))
    with caplog.at_level(logging.WARNING):
        made = vectors(with_texts)
    assert "linear part (linear_weight), which no vectors hold" in caplog.text and made.metadata["linear_part"]
    assert made.values["users"].shape == (120, 16)


def test_more_items_than_memory_holds_are_refused_before_an_epoch(trained, monkeypatch):
    monkeypatch.setattr(linear, "matrices_held", lambda *_: 10**9)
    with pytest.raises(IRLLRecError, match=r"of 150 items needs 9\d{4} GB .* set linear_weight to 0"):
        trained.checkpoint("IRLLRec", epochs=3, **LINEAR)


def test_new_items_and_users_have_both_parts(trained):
    served = trained.served("IRLLRec", epochs=2, **LINEAR)
    file = pd.read_csv(Path(served.config["data_path"]) / "small.item", sep="\t")
    items = file.set_axis(["item", "title", "class"], axis=1)[:8].assign(item=[f"new{n}" for n in range(8)])
    pairs = pd.DataFrame({"user": ["somebody"] * 4, "item": ["i0", "i4", "i8", "new0"]})
    extended = served.extend(items, pairs)
    old = served.score(torch.arange(1, 20))
    torch.testing.assert_close(extended.score(torch.arange(1, 20))[:, : old.shape[1]], old, atol=1e-4, rtol=1e-4)
    found = extended.score(torch.tensor([len(extended.user_tokens) - 1]))
    of_users, of_items = extended.embeddings
    history = extended.train_items[-1].toarray()[0]
    expected = (of_users[-1] @ of_items.T).numpy() + history @ extended.weights.toarray()
    np.testing.assert_allclose(found.numpy()[0], expected, atol=1e-5)
    n_old = len(served.item_tokens)
    assert extended.weights[:, n_old:].nnz and not extended.weights[n_old:].nnz
    halved, users = trained.served("IRLLRec", epochs=2, **LINEAR, unseen_scale=0.5), torch.arange(1, 20)
    scores = (each.score(users)[:, n_old:] for each in (extended, halved.extend(items, pairs)))
    torch.testing.assert_close(*(scale * of_new for scale, of_new in zip((0.5, 1), scores, strict=True)))
    assert served.model.unseen_scale == 1.75 and trained.served("IRLLRec", epochs=2).model.unseen_scale == 1


def test_a_checkpoint_from_before_has_no_linear_part(trained, tmp_path):
    """Whatever has been tuned since."""
    checkpoint = trained.checkpoint("IRLLRec", epochs=2)  # without
    state = torch.load(checkpoint, weights_only=False)
    for name in LinearSettings.names():
        del state["config"]["settings"][name]
    torch.save(state, old := tmp_path / "old.pth")
    torch.testing.assert_close(serve(old).score(torch.arange(1, 9)), serve(checkpoint).score(torch.arange(1, 9)))


def test_auto_asks_for_no_text_where_nothing_else_does(small):
    """Unlike a weight that somebody gave."""
    given = {**small, **dict.fromkeys(ALIGNMENT, 0)}
    for weight, kinds in (("auto", ()), (1.0, ("profile",))):
        found = read_settings(Config("IRLLRec", "small", config_dict=given | {"linear_weight": weight}))
        resolved = found.of_data(150)
        assert (resolved.text_kinds, resolved.linear_weight > 0, found.text_kinds) == (kinds, True, kinds)
    found = read_settings(Config("IRLLRec", "small", config_dict={**small, "linear_weight": "auto"})).of_data(150)
    assert found.linear_text_weight > 0


@pytest.mark.parametrize(("most", "model"), [(150, "IRLLRec"), (149, "IRLLRec"), (150, "IRLLRecSimGCL")])
def test_auto_looks_at_the_number_of_items(most, model, small, monkeypatch, tmp_path, caplog):
    """And the log says so; a linear part is there with no text either."""
    monkeypatch.setattr(schemas, "FEW_ITEMS", most)
    few = most == 150
    auto = dict.fromkeys(["linear_weight", "softmax_negatives"], "auto")
    settings = {**SETTINGS, **dict.fromkeys(ALIGNMENT, 0), **small, "ranking_loss": "softmax", **auto}
    with caplog.at_level(logging.INFO):
        served = serve(train(tmp_path, model, "small", **settings))
    assert (served.model.linear is not None) == few == (served.vectors is None)
    why = "there are 150 items, no more than 150" if few else "there are 150 items, more than 149"
    for name, value in {"linear_weight": 1.5 if few else 0.0, "softmax_negatives": "all" if few else 4096}.items():
        assert f"{name}: auto is {value} here: {why}." in caplog.text
        assert getattr(served.model.settings, name) == value
