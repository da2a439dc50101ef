"""What the model promises beyond the formulas: LightGCN's course, repeatability, missing texts, fusion, precision."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TinyDataset
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import run_recbole
from recbole.utils import FeatureType, get_model, get_trainer, init_seed
from trained import NO_TEXT

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.model import losses
from recbole_irllrec.model.graph import InteractionGraph, draw_neighbours, dropped, interaction_intents, propagate
from recbole_irllrec.model.irllrec import IRLLRec


def train(config, epochs):
    """RecBole's way from a Config to a trained model: (epoch losses, scores of 50 users)."""
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train_data, valid_data, saved=False, verbose=False)
    with torch.no_grad():
        scores = model.eval().full_sort_predict({"user_id": torch.arange(1, 51)})
    return list(trainer.train_loss_dict.values()), scores.view(50, -1)[:, 1:]


def test_without_alignment_it_is_lightgcn(small):
    common = {"reg_weight": 0.0, "epochs": 3, "show_progress": False, "n_layers": 2, "seed": 7, **small}
    common |= {"learning_rate": 0.002, "train_batch_size": 256}
    own = {**NO_TEXT, "layer_aggregation": "mean", "ranking_loss": "bpr", "item_bias": False, "embedding_size": 64}
    our_losses, our_scores = train(Config("IRLLRec", "small", config_dict=common | own), 3)
    their_losses, their_scores = train(Config("LightGCN", "small", config_dict=common), 3)
    np.testing.assert_allclose(our_losses, their_losses, rtol=1e-5)
    torch.testing.assert_close(our_scores, their_scores, rtol=1e-5, atol=1e-5)


def test_same_seed_same_numbers(small):
    config = {"epochs": 2, "train_batch_size": 256, "show_progress": False, **small}
    first, second = (run_recbole("IRLLRec", "small", config_dict=dict(config), saved=False) for _ in range(2))
    assert first == second


def random_case(seed, missing_share=0.0, n_users=9, n_items=12, dim=5):
    rng = np.random.default_rng(seed)
    texts = {}
    for kind in ("profile", "intent"):
        texts[kind] = rng.normal(size=(n_users + n_items, dim)).astype(np.float32)
        texts[f"{kind}_present"] = rng.random(n_users + n_items) >= missing_share
    users, items = rng.integers(0, n_users, 40), rng.integers(0, n_items, 40)
    return TinyDataset(users, items, n_users, n_items, texts)


def batch_of(dataset, size=16, seed=0):
    rng = np.random.default_rng(seed)
    ids = {"user_id": dataset.n_users, "item_id": dataset.n_items, "neg_item_id": dataset.n_items}
    return {name: torch.tensor(rng.integers(1, n + 1, size)) for name, n in ids.items()}


@pytest.mark.parametrize("fusion", ["text", "sum", "gate"])
@pytest.mark.parametrize(
    "ranking",
    [
        {"ranking_loss": "bpr"},
        {"ranking_loss": "bpr", "item_bias": True},
        {"ranking_loss": "softmax"},
        {"ranking_loss": "softmax", "softmax_negatives": "all", "item_bias": True},
    ],
    ids=["bpr", "bpr with biases", "sampled softmax", "full softmax with biases"],
)
def test_every_fusion_and_ranking_loss_trains_every_parameter(fusion, ranking, irllrec_config):
    weights = {"pairwise_weight": 0.1, "translation_weight": 0.1, "matching_weight": 0.1, "profile_weight": 0.1}
    config = irllrec_config(fusion=fusion, reg_weight=1e-4, **ranking, **weights)
    dataset = random_case(0)
    model = IRLLRec(config, dataset).train()
    terms = model.calculate_loss(batch_of(dataset))
    assert model.loss_names == ("ranking", "regularization", "profile", "pairwise", "translation", "matching")
    sum(terms).backward()
    for name, parameter in model.named_parameters():
        if name.startswith("alignment.teacher"):
            assert not parameter.requires_grad and parameter.grad is None
        else:
            assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_no_gradient_reaches_the_interaction_intents_through_the_teacher(irllrec_config):
    """In `sum` fusion the teacher sees r, but only the student's side may move it."""
    dataset = random_case(1)
    model = IRLLRec(irllrec_config(fusion="sum", **{**NO_TEXT, "matching_weight": 1.0}), dataset).train()
    terms = dict(zip(("ranking", "regularization", "matching"), model.calculate_loss(batch_of(dataset)), strict=True))
    alignment = model.alignment
    (actual,) = torch.autograd.grad(terms["matching"], alignment.user_prototypes)

    r = alignment.interaction_intents(model.encode(), torch.arange(model.graph.n_nodes)).embedding
    z = alignment.intent_tower(alignment.intent_texts.embedding)
    fixed = (alignment.teacher_tower(alignment.intent_texts.embedding) + r).detach()
    loss = 0.6 * torch.nn.functional.cross_entropy(z + r, fixed.softmax(dim=1))
    (expected,) = torch.autograd.grad(loss, alignment.user_prototypes)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("setting", ["profile_weight", "pairwise_weight", "translation_weight", "matching_weight"])
def test_a_missing_text_has_no_influence(setting, irllrec_config):
    """Neither as a positive nor as a negative: other values in its row change nothing."""
    config = irllrec_config(**{**NO_TEXT, setting: 0.5})
    dataset = random_case(2, missing_share=0.4)
    noise = [torch.randn(dataset.n_users + dataset.n_items, 64) for _ in range(2)]

    def observe():
        torch.manual_seed(0)
        model = IRLLRec(config, dataset).train()
        model.alignment.translation_noise = lambda like: [n[: len(like)] for n in noise]
        terms = model.calculate_loss(batch_of(dataset))
        sum(terms).backward()
        return [*terms, *(p.grad for p in model.parameters() if p.requires_grad)]

    before = observe()
    for kind in ("profile", "intent"):
        dataset.texts[kind][~dataset.texts[f"{kind}_present"]] = 1e3
    for expected, actual in zip(before, observe(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-7)


def test_nodes_without_any_text_leave_zero_alignment(irllrec_config):
    dataset = random_case(3)
    dataset.texts["profile_present"][:] = False
    model = IRLLRec(irllrec_config(**{**NO_TEXT, "profile_weight": 1.0}), dataset)
    terms = dict(zip(("ranking", "regularization", "profile"), model.calculate_loss(batch_of(dataset)), strict=True))
    assert terms["profile"] == 0


def test_a_checkpoint_from_before_the_alignment_was_a_module_is_read(irllrec_config):
    config = irllrec_config(fusion="gate", **{**NO_TEXT, "pairwise_weight": 1.0, "matching_weight": 1.0})
    model = IRLLRec(config, random_case(0))
    before = {name.removeprefix("alignment."): value + 1 for name, value in model.state_dict().items()}
    assert {"intent_tower.0.weight", "teacher_gate.linear.bias", "user_prototypes"} < {*before}
    model.load_state_dict(before)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name.removeprefix("alignment.")])


def test_edge_dropout_acts_in_training_only(irllrec_config):
    dataset = random_case(4)
    model = IRLLRec(irllrec_config(**NO_TEXT, edge_dropout=0.5), dataset)
    with torch.no_grad():
        model.train()
        assert not torch.equal(model.encode().final, model.encode().final)
        model.eval()
        assert torch.equal(model.encode().final, model.encode().final)


def test_autocast_keeps_the_losses_close(irllrec_config):
    dataset = random_case(5)
    model = IRLLRec(irllrec_config(profile_weight=0.5, pairwise_weight=0.5), dataset).train()
    noise = [torch.randn(dataset.n_users + dataset.n_items, 64) for _ in range(2)]
    model.alignment.translation_noise = lambda like: [n[: len(like)] for n in noise]
    exact = torch.stack(model.calculate_loss(batch_of(dataset)))
    with torch.autocast(device_type="cpu"):
        mixed = torch.stack(model.calculate_loss(batch_of(dataset)))
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, exact, rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize("seed, temperature", [(0, 0.05), (1, 0.3), (2, 1.0)])
def test_the_full_softmax_is_the_cross_entropy_of_the_scores(seed, temperature, irllrec_config):
    dataset = random_case(seed)
    softmax = {"ranking_loss": "softmax", "softmax_negatives": "all", "softmax_temperature": temperature}
    model = IRLLRec(irllrec_config(item_bias=True, reg_weight=0.0, **softmax, **NO_TEXT), dataset).double().train()
    torch.nn.init.normal_(model.item_bias, generator=torch.Generator().manual_seed(seed))
    batch = batch_of(dataset)  # of 16 triples of few users: they repeat
    users, items = model.forward()
    scores = users[batch["user_id"]] @ items[1:].T
    expected = torch.nn.functional.cross_entropy(scores / temperature, batch["item_id"] - 1)
    (actual,) = model.calculate_loss(batch)
    torch.testing.assert_close(actual, expected)
    inputs = (model.user_embedding.weight, model.item_embedding.weight, model.item_bias)
    expected, actual = (torch.autograd.grad(loss, inputs) for loss in (expected, actual))
    torch.testing.assert_close(actual, expected)


RANKING = [
    {"ranking_loss": "bpr"},
    {"ranking_loss": "softmax"},
    {"ranking_loss": "softmax", "softmax_negatives": "all"},
]


def ranking_gradients(make_config, dataset, batch, dtype, **ranking):
    """The ranking loss of a batch, and its gradients."""
    init_seed(3, True)
    model = IRLLRec(make_config(reg_weight=0.0, **ranking, **NO_TEXT), dataset).to(dtype).train()
    init_seed(4, True)  # the drawn negatives are the same
    (loss,) = model.calculate_loss(batch)
    loss.backward()
    return loss.detach(), model.user_embedding.weight.grad, model.item_embedding.weight.grad


@pytest.mark.parametrize("ranking", RANKING, ids=["bpr", "sampled", "full"])
def test_an_interaction_weighs_as_if_it_were_repeated(ranking, irllrec_config):
    dataset, batch = random_case(6), batch_of(random_case(6))
    counts = torch.tensor(np.random.default_rng(1).integers(1, 5, len(batch["user_id"])))
    dataset.inter_feat, dataset.field2type = pd.DataFrame({"count": [1.0]}), {"count": FeatureType.FLOAT}
    weighted = {**ranking, "interaction_weight": "count"}
    repeated = {name: ids.repeat_interleave(counts) for name, ids in batch.items()}
    plain = ranking_gradients(irllrec_config, dataset, repeated, torch.float64, **ranking)
    heavy = ranking_gradients(irllrec_config, dataset, batch | {"count": counts.float()}, torch.float64, **weighted)
    torch.testing.assert_close(heavy, plain)
    without = ranking_gradients(irllrec_config, dataset, batch, torch.float32, **ranking)
    assert not torch.allclose(heavy[1].float(), without[1])
    ones = {"count": torch.ones(len(counts))}
    alike = ranking_gradients(irllrec_config, dataset, batch | ones, torch.float32, **weighted)
    assert all(map(torch.equal, alike, without))


def test_negatives_of_their_own_weigh_as_if_they_were_repeated():
    positive, negatives, counts = torch.randn(5), torch.randn(5, 3), torch.tensor([1, 2, 3, 1, 4])
    repeated = losses.softmax_of_own(*(x.repeat_interleave(counts, 0) for x in (positive, negatives)), 0.2)
    torch.testing.assert_close(losses.softmax_of_own(positive, negatives, 0.2, counts.float()), repeated)
    ones = losses.softmax_of_own(positive, negatives, 0.2, torch.ones(5))
    assert torch.equal(ones, losses.softmax_of_own(positive, negatives, 0.2))


def test_interactions_weigh_by_a_column_that_is_loaded(small):
    common = {"epochs": 1, "show_progress": False, "embedding_size": 8, **small}
    loaded = {"load_col": {"inter": ["user_id", "item_id", "rating"]}}

    def trained(model, **more):
        config = Config(model, "small", config_dict={**common, **more})
        return train(config, 1)[0]

    for model in ("IRLLRec", "SGL"):
        by_rating = trained(model, **loaded, interaction_weight="rating")
        assert np.isfinite(by_rating).all() and by_rating != trained(model, **loaded)
    with pytest.raises(IRLLRecError, match=r"names rating, which is none of the .* \(user_id, item_id\)"):
        trained("IRLLRec", load_col={"inter": ["user_id", "item_id"]}, interaction_weight="rating")
    with pytest.raises(IRLLRecError, match="a column of token"):
        trained("SGL", **loaded, interaction_weight="item_id")
    with pytest.raises(IRLLRecError, match="names rating, in which 0 stands"):
        trained("SGL", **loaded, interaction_weight="rating", normalize_all=True)


@pytest.mark.parametrize("ranking_loss", ["bpr", "softmax"])
def test_a_bias_is_added_to_an_items_scores(ranking_loss, irllrec_config):
    dataset = random_case(2)
    plain = IRLLRec(irllrec_config(ranking_loss=ranking_loss, **NO_TEXT), dataset).eval()
    biased = IRLLRec(irllrec_config(ranking_loss=ranking_loss, item_bias=True, **NO_TEXT), dataset).eval()
    biased.load_state_dict(plain.state_dict(), strict=False)
    bias = torch.randn(dataset.n_items, 1)
    biased.item_bias.data = bias
    batch = batch_of(dataset)
    with torch.no_grad():
        torch.testing.assert_close(biased.predict(batch), plain.predict(batch) + bias[batch["item_id"] - 1, 0])
        shape = (len(batch["user_id"]), dataset.n_items + 1)
        scores = biased.full_sort_predict(batch).view(shape)[:, 1:]
        torch.testing.assert_close(scores, plain.full_sort_predict(batch).view(shape)[:, 1:] + bias[:, 0])


# ---- pure functions against their dense formulation -----------------------------------------------------------------

sizes = st.integers(1, 7)


ROW_LOSSES = {
    "InfoNCE": lambda positive, log_sum: log_sum - positive,
    "softmax": lambda positive, log_sum: torch.logaddexp(positive, log_sum) - positive,
    "translation": lambda positive, log_sum: -((positive - (log_sum.exp() + 1e-8).log()).exp() + 1e-8).log(),
}


def contrast_and_gradients(contrast, a, b, positive, *rest):
    inputs = [x.detach().requires_grad_() for x in (a, b, positive)]
    value = contrast(*inputs, *rest)
    return [value.detach(), *torch.autograd.grad(3 * value, inputs)]


def dense_contrast(a, b, positive, row_loss, weight, bias):
    return (weight * row_loss(positive, (a @ b.T + bias).logsumexp(dim=1))).sum()


@pytest.mark.parametrize("row_loss", ROW_LOSSES.values(), ids=ROW_LOSSES)
@settings(max_examples=30, deadline=None)
@given(n=sizes, m=sizes, d=sizes, block=st.integers(1, 60), seed=st.integers(0, 10))
def test_contrast_equals_the_dense_one(row_loss, n, m, d, block, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, d), (m, d), (n,), (n,), (m,))
    a, b, positive, weight, bias = (torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(losses._BLOCK, "cpu", block)
        actual = contrast_and_gradients(losses.contrast, a, b, positive, row_loss, weight, bias)
    expected = contrast_and_gradients(dense_contrast, a, b, positive, row_loss, weight, bias)
    for got, wanted in zip(actual, expected, strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("temperature", [1.0, 0.2, 0.005])
def test_contrast_in_float32_equals_the_dense_one_in_float64(temperature):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.nn.functional.normalize(torch.randn(300, 32, dtype=torch.float64, generator=generator)) for _ in "xy")
    x = x / temperature
    rest = (ROW_LOSSES["InfoNCE"], torch.ones(300, dtype=torch.float64), torch.zeros(300, dtype=torch.float64))
    expected = contrast_and_gradients(dense_contrast, x, y, (x * y).sum(dim=1), *rest)
    x, y = x.float(), y.float()
    rest = (ROW_LOSSES["InfoNCE"], torch.ones(300), torch.zeros(300))
    actual = contrast_and_gradients(losses.contrast, x, y, (x * y).sum(dim=1), *rest)
    for got, wanted in zip(actual, expected, strict=True):
        # similarities of 200 have an error of 2e-5 in float32, whoever sums their exponentials
        tolerance = 1e-5 * max(1, 0.2 / temperature)
        torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=tolerance * wanted.abs().max().item())


def test_contrast_keeps_its_precision_under_autocast():
    x, y = torch.randn(40, 8), torch.randn(30, 8)
    exact = losses.contrast(x, y, x[:, 0], ROW_LOSSES["InfoNCE"])
    with torch.autocast("cpu"):
        assert torch.equal(losses.contrast(x, y, x[:, 0], ROW_LOSSES["InfoNCE"]), exact)


def test_a_term_that_is_no_number_is_named(small):
    settings = {"learning_rate": 1e30, "epochs": 3, "train_batch_size": 256, "show_progress": False, **small}
    with pytest.raises(IRLLRecError, match=r"Training stopped: the loss term .*\(nan\).* is not a finite number"):
        run_recbole("IRLLRec", "small", config_dict=settings, saved=False)
    nan = torch.full((4, 8), torch.nan)
    assert losses.contrast(nan, nan, nan[:, 0], ROW_LOSSES["InfoNCE"]).isnan()


def random_graph(rng, n_users, n_items, n_edges):
    """A graph of interactions some of which repeat, some nodes have none, and its dense adjacency."""
    users, items = rng.integers(0, n_users, n_edges), rng.integers(0, n_items, n_edges)
    adjacency = torch.zeros(n_users + n_items, n_users + n_items, dtype=torch.float64)
    adjacency[users, items + n_users] = 1
    adjacency[items + n_users, users] = 1
    return InteractionGraph(users, items, n_users, n_items).double(), adjacency


@settings(max_examples=25, deadline=None)
@given(n_users=sizes, n_items=sizes, n_edges=st.integers(1, 30), seed=st.integers(0, 1000))
def test_graph_products_equal_the_dense_ones(n_users, n_items, n_edges, seed):
    rng = np.random.default_rng(seed)
    graph, adjacency = random_graph(rng, n_users, n_items, n_edges)
    degree = adjacency.sum(dim=1).clamp_min(1)
    normalised = adjacency / (degree[:, None] * degree).sqrt()
    x = torch.tensor(rng.normal(size=(n_users + n_items, 3)))
    dense = [x, normalised @ x, normalised @ normalised @ x]
    for actual, expected in zip(propagate(graph, x, 2), dense, strict=True):
        torch.testing.assert_close(actual, expected)


@settings(max_examples=50, deadline=None)
@given(n_users=sizes, n_items=sizes, n_edges=st.integers(1, 30), share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_interaction_intents_of_any_nodes_equal_the_dense_ones(n_users, n_items, n_edges, share, seed):
    rng = np.random.default_rng(seed)
    graph, adjacency = random_graph(rng, n_users, n_items, n_edges)
    n, d, k = n_users + n_items, 3, 4
    nodes = torch.tensor(rng.random(n) < share).nonzero()[:, 0]
    inputs = [torch.tensor(rng.normal(size=s), requires_grad=True) for s in ((n, d), (n, d), (d, k), (d, k))]
    *layers, c, e = inputs

    def dense(x):
        described = torch.cat([(x[:n_users] @ c).softmax(1) @ c.T, (x[n_users:] @ e).softmax(1) @ e.T])
        described = torch.nn.functional.normalize(described)
        weights = adjacency * (described @ described.T + 1) / 2
        return weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-300) @ x

    expected = ((dense(layers[0]) + dense(layers[1])) / 2)[nodes]
    actual = interaction_intents(graph, layers, c, e, nodes)
    torch.testing.assert_close(actual, expected)
    assert (actual[adjacency[nodes].sum(dim=1) == 0] == 0).all()
    upstream = torch.tensor(rng.normal(size=(len(nodes), d)))
    for got, wanted in zip(
        torch.autograd.grad(actual, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-9)


def test_dropped_entries_have_the_transposed_gradient():
    rng = np.random.default_rng(0)
    graph = InteractionGraph(rng.integers(0, 5, 12), rng.integers(0, 6, 12), 5, 6).double()
    x = torch.randn(11, 3, dtype=torch.float64, requires_grad=True)

    def product(embedding):
        torch.manual_seed(0)
        return propagate(graph, embedding, 2, dropped(graph, 0.4))[-1]

    assert torch.autograd.gradcheck(product, (x,))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_drawn_neighbours_are_different_neighbours(seed, limit):
    rng = np.random.default_rng(seed)
    graph = InteractionGraph(rng.integers(0, 6, 30), rng.integers(0, 7, 30), 7, 8)  # the last of each has no edge
    neighbours, there = draw_neighbours(graph, torch.arange(15), limit)
    for node, (found, valid) in enumerate(zip(neighbours, there, strict=True)):
        all_of_it = set(graph.col[graph.crow[node] : graph.crow[node + 1]].tolist())
        drawn = found[valid].tolist()
        assert len(drawn) == len(set(drawn)) == min(limit, len(all_of_it)) and set(drawn) <= all_of_it


def test_each_neighbour_is_drawn_as_often():
    graph = InteractionGraph(np.zeros(7, int), np.arange(7), 1, 7)
    torch.manual_seed(0)
    drawn = torch.cat([draw_neighbours(graph, torch.tensor([0]), 3)[0].flatten() for _ in range(2000)])
    counts = torch.bincount(drawn - 1, minlength=7) / 2000
    torch.testing.assert_close(counts, torch.full((7,), 3 / 7), atol=0.04, rtol=0)


def test_intents_of_all_drawn_neighbours_are_exact():
    """In values and in gradients, of nodes without edges, too."""
    rng = np.random.default_rng(0)
    graph = InteractionGraph(rng.integers(0, 5, 14), rng.integers(0, 6, 14), 7, 8).double()
    leaves = [torch.tensor(rng.normal(size=shape), requires_grad=True) for shape in ((15, 4), (15, 4), (4, 3), (4, 3))]
    upstream = torch.tensor(rng.normal(size=(15, 4)))

    def found(limit):
        first, second, c, e = leaves
        r = interaction_intents(graph, [first, second], c, e, torch.arange(15), limit=limit)
        return r, torch.autograd.grad((r * upstream).sum(), leaves)

    torch.testing.assert_close(found(14), found(None))
