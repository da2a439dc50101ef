"""From texts to vectors: against scikit-learn, numpy, and what must hold of any texts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge

from recbole_irllrec.model import text_map
from recbole_irllrec.model.text_map import TextMap, with_texts

PROPERTY = settings(max_examples=40, deadline=None)


def drawn(n, dim=6, d=4, seed=0, dtype=torch.float64):
    """Texts [n, dim] in a few groups, and vectors [n, d] that depend on them."""
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(5, dim))[rng.integers(5, size=n)] + 0.3 * rng.normal(size=(n, dim))
    vectors = np.tanh(text @ rng.normal(size=(dim, d))) + 1
    return torch.tensor(text, dtype=dtype), torch.tensor(vectors, dtype=dtype)


def unit(text, centre):
    """The rows [n, dim] less the centre, of length 1."""
    rows = np.asarray(text) - np.asarray(centre)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ridge(text, vectors, of, sharpness, reg_weight):
    """Scikit-learn's, [m, d]; exp(-s (1 - cos)) = exp(-s/2 |x - y|²) where both have length 1."""
    centre, mean = np.asarray(text).mean(axis=0), np.asarray(vectors).mean(axis=0)
    model = KernelRidge(alpha=reg_weight, kernel="rbf", gamma=sharpness / 2)
    return model.fit(unit(text, centre), np.asarray(vectors) - mean).predict(unit(of, centre)) + mean


@PROPERTY
@given(st.integers(2, 80), st.integers(0, 99), st.floats(0.1, 8), st.floats(0.05, 10))
def test_regression_is_kernel_ridge(n, seed, sharpness, reg_weight):
    text, vectors = drawn(n, seed=seed)
    of = drawn(7, seed=seed + 100)[0]
    found = TextMap(text, sharpness, reg_weight, 0.0).regression(vectors, of)
    np.testing.assert_allclose(found, ridge(text, vectors, of, sharpness, reg_weight), rtol=1e-3, atol=1e-3)


def test_more_items_than_landmarks(monkeypatch):
    text, vectors = drawn(900)
    of = drawn(50, seed=1)[0]
    expected = ridge(text, vectors, of, 1.0, 1.0)
    monkeypatch.setattr(text_map, "_BLOCK", 100)
    errors = []
    for n in (8, 60, 300):
        monkeypatch.setattr(text_map, "_LANDMARKS", n)
        errors.append(np.abs(np.asarray(TextMap(text, 1.0, 1.0, 0.0).regression(vectors, of)) - expected).max())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.01


def test_blocks_change_nothing(monkeypatch):
    text, vectors = drawn(100)
    of = drawn(33, seed=1)[0]
    whole = TextMap(text, 1.0, 1.0, 0.5)(vectors, of)
    monkeypatch.setattr(text_map, "_BLOCK", 7)
    monkeypatch.setattr(text_map, "_NEIGHBOUR_CELLS", 250)
    torch.testing.assert_close(TextMap(text, 1.0, 1.0, 0.5)(vectors, of), whole)


@pytest.mark.parametrize("n", [5, 64])
def test_neighbours_are_a_weighted_mean(n):
    text, vectors = drawn(n)
    of = drawn(9, seed=3)[0]
    centre = text.mean(dim=0)
    cosine = unit(of, centre) @ unit(text, centre).T
    expected = []
    for row in cosine:
        nearest = np.argsort(-row)[:20]
        weight = np.exp(row[nearest] / 0.1)
        expected.append(weight / weight.sum() @ vectors.numpy()[nearest])
    found = TextMap(text, 1.0, 1.0, 1.0).neighbours(vectors, of)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-4)


def test_length_and_direction():
    text, vectors = drawn(60)
    of = drawn(9, seed=3)[0]
    made = TextMap(text, 1.0, 1.0, 0.25)
    directions = [torch.nn.functional.normalize(part(vectors, of)) for part in (made.regression, made.neighbours)]
    expected = vectors.norm(dim=1).mean() * (0.75 * directions[0] + 0.25 * directions[1])
    torch.testing.assert_close(made(vectors, of), expected)
    assert made(vectors, of[:0]).shape == (0, 4)


def test_an_equal_text_that_is_often_there_gives_its_vector():
    """Two groups of equal texts: the kernel of the landmarks is singular but for the jitter."""
    text = torch.eye(2, 3, dtype=torch.float64).repeat(30, 1)
    vectors = torch.tensor([[1.0, 0], [0, 1]], dtype=torch.float64).repeat(30, 1)
    found = TextMap(text, 1.0, 0.01, 0.0)(vectors, text[:2])
    torch.testing.assert_close(found, vectors[:2], atol=0.01, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_vectors_keep_their_type(dtype):
    text, vectors = drawn(30, dtype=torch.float32)
    found = TextMap(text.to(dtype), 1.0, 1.0, 0.5)(vectors, text[:4].to(dtype))
    assert found.dtype == torch.float32 and found.isfinite().all()


@PROPERTY
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=9), st.floats(0, 1e6))
def test_weights_of_texts(counts, evidence):
    own, of_text = torch.ones(len(counts), 2), torch.full((len(counts), 2), 3.0)
    found = with_texts(own, of_text, torch.tensor(counts), evidence)
    expected = [3.0 if c == 0 else (c + 3 * evidence) / (c + evidence) for c in counts]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)
    if evidence == 0:
        seen = torch.tensor(counts) > 0
        assert (found[seen] == own[seen]).all() and (found[~seen] == of_text[~seen]).all()
