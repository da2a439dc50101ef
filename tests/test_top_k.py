"""The greatest values of rows by maxima of blocks, against torch.topk and a dense ranking."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recbole_irllrec import IRLLRecError, recommend, top_k
from recbole_irllrec.recommend import Ranker, Vectors

PROPERTY = settings(max_examples=80, deadline=None)
SEEDS = st.integers(0, 2**32)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """So that a few columns are many blocks, and a few blocks a tile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_k, "_BLOCK", 4)
        patch.setattr(top_k, "_TILE", 64)
        patch.setattr(top_k, "_GATHERED", 100)
        yield


@PROPERTY
@given(
    rows=st.integers(0, 5),
    n=st.integers(1, 120),
    k=st.integers(1, 20),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    levels=st.sampled_from([1, 3, 10**6]),
    odd=st.sampled_from([0, 0.1, 0.9, 1]),
    what=st.sampled_from([-torch.inf, torch.inf, torch.nan]),
    seed=SEEDS,
)
@example(rows=2, n=50, k=50, dtype=torch.float32, levels=10**6, odd=0, what=torch.nan, seed=0)
def test_what_topk_finds(rows, n, k, dtype, levels, odd, what, seed):
    k, generator = min(k, n), torch.Generator().manual_seed(seed)
    values = torch.randint(levels, (rows, n), generator=generator).to(dtype)
    values[torch.rand(rows, n, generator=generator) < odd] = what
    found, columns = top_k.top_k(values, k)
    torch.testing.assert_close(found, values.topk(k).values, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(values.gather(1, columns), found, rtol=0, atol=0, equal_nan=True)
    assert all(len(set(row)) == k for row in columns.tolist())
    assert torch.equal(top_k.top_k(values.clone(), k)[1], columns)


@PROPERTY
@given(
    n_users=st.integers(1, 9),
    n_items=st.integers(3, 150),
    k=st.integers(1, 12),
    share_seen=st.sampled_from([0, 0.2, 0.9, 1]),
    share_left_out=st.sampled_from([0, 0.2, 0.9]),
    levels=st.sampled_from([2, 100]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=SEEDS,
)
def test_vectors_are_ranked_as_their_products(n_users, n_items, k, share_seen, share_left_out, levels, dtype, seed):
    """Products of small whole numbers, which are exact in whatever order they are summed."""
    rng = np.random.default_rng(seed)
    users, items = (rng.integers(-levels, levels, (n, 3)) for n in (n_users, n_items))
    seen = rng.random((n_users, n_items)) < share_seen
    candidates = rng.permutation(np.arange(1, n_items))[: max(1, round((n_items - 1) * (1 - share_left_out)))]
    vectors = Vectors(*(torch.tensor(side, dtype=dtype) for side in (users, items)))
    ranker = pickle.loads(pickle.dumps(Ranker(vectors, k, csr_matrix(seen), candidates)))  # noqa: S301
    wanted = rng.integers(n_users, size=7)
    user, rank, item, score = ranker(wanted)

    products = users @ items.T
    expected = [
        (u, place + 1, value)
        for u in wanted
        for place, value in enumerate(sorted((products[u, i] for i in candidates if not seen[u, i]), reverse=True)[:k])
    ]
    assert list(zip(user, rank, score, strict=True)) == expected
    assert (products[user, item] == score).all() and not seen[user, item].any() and np.isin(item, candidates).all()
    firsts = (rank == 1).nonzero()[0]
    assert all(len(set(row)) == len(row) for row in np.split(item, firsts[1:]))


@pytest.mark.parametrize("side", ["users", "items"])
def test_vectors_that_are_no_numbers(side):
    vectors = Vectors(torch.ones(2, 3), torch.ones(90, 3))
    getattr(vectors, side)[1, 2] = torch.nan
    ranker = Ranker(vectors, 2, csr_matrix((2, 90)), np.arange(1, 90))
    with pytest.raises(IRLLRecError, match="no numbers"):
        ranker(np.array([1]))


def test_blocks_are_larger_than_all_scores_would_allow(monkeypatch):
    monkeypatch.setitem(recommend._CELLS, "cpu", 30_000)
    vectors, users = Vectors(torch.ones(90, 1), torch.ones(10_000, 1)), np.arange(90)
    blocks = Ranker(vectors, 2, csr_matrix((90, 10_000)), np.arange(1, 10_000)).blocks(users)
    held = top_k.numbers_held(9_999, 2)
    assert len(blocks[0]) > 3 and len(blocks[0]) * held <= 30_000 and (np.concatenate(blocks) == users).all()
