"""Users from their histories: known ones are themselves, and new ones with their histories are near them."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from trained import NO_TEXT

from recbole_irllrec import IRLLRecError
from recbole_irllrec.model import folding

BIAS = {"item_bias": True, "ranking_loss": "softmax"}
ENCODERS = [
    ("IRLLRec", NO_TEXT),  # LightGCN
    ("IRLLRec", BIAS),
    ("IRLLRec", {"layer_aggregation": "sum", "ranking_loss": "bpr"}),
    ("IRLLRecSGL", {}),
    ("SGL", {}),
    ("SimGCL", {}),
    ("BIGCF", {}),
    ("AlphaRec", {}),
]


@pytest.mark.parametrize(("model", "settings"), ENCODERS)
def test_a_known_user_with_its_own_history_is_itself(trained, model, settings):
    served = trained.served(model, **settings)
    known = np.array([3, 1, 77])
    found = served.model.fold_in(served.train_items[known], known)
    torch.testing.assert_close(found, served.vectors[0][known], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "settings"), ENCODERS)
def test_a_user_given_anew_is_near_itself(trained, model, settings):
    """As long as it has read something: what is lost is its own embedding, which its history predicts."""
    served = trained.served(model, **settings)
    known = np.flatnonzero(np.diff(served.train_items.indptr) >= 8)
    found = served.model.fold_in(served.train_items[known], np.zeros(len(known), int))
    users, items = served.vectors
    cosine = torch.nn.functional.cosine_similarity(found, users[known]).mean()
    tops = [(each @ items[1:].T).topk(20).indices.tolist() for each in (found, users[known])]
    overlap = np.mean([len({*a} & {*b}) / 20 for a, b in zip(*tops, strict=True)])
    assert cosine > 0.8 and overlap > 0.5


@pytest.mark.parametrize("model", ["EASE", "ItemKNN", "SLIMElastic", "L3AE", "AdditiveEASE"])
def test_weights_of_items_give_a_models_own_scores(trained, model):
    served = trained.served(model)
    pair = pd.DataFrame({"user": ["somebody"], "item": [served.item_names[5].as_py()]})
    extended = served.extend(histories=pair)
    users = torch.tensor([1, 9, 50])
    torch.testing.assert_close(extended.score(users), served.score(users).cpu().float(), rtol=1e-4, atol=1e-5)
    weights = folding.item_weights(served.model)
    row = weights[5].toarray()[0] if hasattr(weights, "toarray") else np.asarray(weights)[5]
    found = extended.score(torch.tensor([len(served.user_tokens)]))[0]
    np.testing.assert_allclose(found, row, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("DCCF", {}),
        ("BPR", {}),
        ("NGCF", {}),
        ("MultiVAE", {}),
        ("ItemKNN", {"knn_method": "user"}),
        ("ADMMSLIM", {"center_columns": True}),
    ],
)
def test_models_without_a_way_are_refused(trained, model, settings):
    served = trained.served(model, **settings)
    with pytest.raises(IRLLRecError, match=rf"^{model} knows users by .* train again with these interactions\.$"):
        served.extend(histories=pd.DataFrame({"user": ["x"], "item": ["i1"]}))


def test_what_items_pass_on():
    """D_u^-1/2 X D_i^-1/2 E, with the degrees that are given."""
    rng = np.random.default_rng(0)
    histories, degrees = rng.random((4, 6)) < 0.5, np.array([1, 2, 3, 4, 5, 0])
    histories[2] = False
    layer = rng.normal(size=(6, 3))
    (found,) = folding.passed_on(csr_matrix(histories.astype(np.float32)), [torch.tensor(layer)], degrees)
    own = np.maximum(histories.sum(axis=1), 1)
    expected = (histories / np.sqrt(own)[:, None] / np.sqrt(np.maximum(degrees, 1))) @ layer
    np.testing.assert_allclose(found, expected)
    assert not found[2].any()


def test_regression_of_users(monkeypatch):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(300, 4)), rng.normal(size=(4, 2))
    x[:, 3] = 7  # says nothing, and must not blow up where others differ from it
    of = rng.normal(size=(5, 4))
    y = x[:, :3] @ weight[:3] + 2
    for most in (1000, 90):
        monkeypatch.setattr(folding, "_MOST_USERS", most)
        found = folding.regressed(*map(torch.tensor, (x, y, of)))
        np.testing.assert_allclose(found, of[:, :3] @ weight[:3] + 2, atol=0.01)
