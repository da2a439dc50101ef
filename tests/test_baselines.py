"""RecBole's baselines against what their sources say, written down densely or computed by scikit-learn.

A neural model takes one training step in float64, whose loss and gradients are compared. Where RecBole deviates, the
formula here does so too, and says "deviates": `properties/deviations.yaml` names it.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender.sgl import SGL
from recbole.utils import get_model, init_seed
from scipy.stats import chisquare
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import cosine_similarity
from text_files import TEST, TRAIN, VALID, write_dataset

from recbole_irllrec import zoo
from recbole_irllrec.compat.baselines import by_counts

NEURAL = {"embedding_size": 8, "reg_weight": 0.3, "train_batch_size": 256}


class Made:
    """A model, the loader of its training data, and the interactions as a dense matrix, padding included."""

    def __init__(self, name, where, dataset="small", **settings):
        self.config = Config(name, dataset, config_dict={"show_progress": False, **where, **settings})
        init_seed(self.config["seed"], True)
        self.loader, self.valid, self.test = data_preparation(self.config, create_dataset(self.config))
        self.data = self.loader._dataset
        # RecBole's own SGL, in whose place stands one of ours, which is compared with it
        self.model = (SGL if name == "SGL" else get_model(name))(self.config, self.data)
        self.x = dense(self.data)

    def scores(self):
        """[n_users, n_items]."""
        self.model.eval()
        users = self.data.inter_feat[:0]
        users.interaction = {"user_id": torch.arange(len(self.x))}
        users.length = len(self.x)
        with torch.no_grad():
            return self.model.full_sort_predict(users).view(len(self.x), -1)

    def in_float64(self):
        """The model, with what it keeps beside its parameters; in training mode."""
        self.model.double().train()
        for name, value in vars(self.model).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(self.model, name, value.double())
        return self.model

    def parameters(self):
        """Copies by name, as leaves."""
        return {name: value.detach().clone().requires_grad_() for name, value in self.model.named_parameters()}


def dense(data):
    """How often each user had each item, [n_users, n_items]."""
    x = np.zeros((data.user_num, data.item_num))
    np.add.at(x, (data.inter_feat["user_id"].numpy(), data.inter_feat["item_id"].numpy()), 1)
    return x


# --- Those that are computed at once. --------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [16, 4096])
def test_pop_counts_the_training_interactions_however_large_a_batch(small, batch):
    made = Made("Pop", small, train_batch_size=batch)
    trained = [made.model.calculate_loss(interaction).item() for interaction in made.loader]
    assert set(trained) == {0}
    counts = made.x.sum(0)
    assert made.model.item_cnt.squeeze(1).tolist() == counts.tolist() and made.model.max_cnt.item() == counts.max()
    scores = made.scores()
    assert (scores == scores[0]).all() and scores[0].unique().numel() == len(counts)
    order = scores[0].argsort(descending=True).numpy()
    assert (np.diff(counts[order]) <= 0).all()
    tokens = made.data.id2token("item_id", order)
    tied = np.diff(counts[order]) == 0
    assert tied.sum() > 50 and (tokens[:-1][tied] < tokens[1:][tied]).all()


def test_equally_popular_items_are_ranked_by_their_tokens_in_whatever_order_they_stand():
    tokens, counts = np.array(["[PAD]", "10", "9", "b", "a"], dtype=object), np.array([0, 2, 2, 7, 2])
    scores = by_counts(counts, tokens)
    assert tokens[scores.argsort(descending=True)].tolist() == ["b", "10", "9", "a", "[PAD]"]
    other = np.array([3, 1, 4, 0, 2])
    assert by_counts(counts[other], tokens[other]).tolist() == scores[other].tolist()
    many = by_counts(np.zeros(1 << 20, dtype=int), np.arange(1 << 20))
    assert many.unique().numel() == 1 << 20


@pytest.mark.parametrize("shrink", [0.0, 2.5])
def test_itemknn_sums_over_the_neighbours_of_the_scored_item(small, shrink):
    made = Made("ItemKNN", small, k=7, shrink=shrink)
    norms = np.linalg.norm(made.x, axis=0)
    products = np.outer(norms, norms)
    expected = cosine_similarity(made.x.T) * products / (products + shrink + 1e-6)
    np.fill_diagonal(expected, 0)
    found = made.model.w.toarray()
    kept = found != 0
    assert np.abs(found - expected)[kept].max() < 1e-6
    # an item's most similar ones stand in its column; of equally similar ones any
    best = -np.sort(-expected, axis=0)[:7]
    assert np.abs(-np.sort(-found, axis=0)[:7] - best).max() < 1e-6 and (kept.sum(0) == (best > 0).sum(0)).all()
    assert np.abs(made.scores().numpy() - made.x @ found).max() < 1e-5


def test_ease_is_a_ridge_regression_of_each_item_on_the_others(small):
    made = Made("EASE", small, reg_weight=20.0)
    found = np.asarray(made.model.item_similarity)
    for item in range(1, made.data.item_num, 10):
        others = np.delete(made.x, item, axis=1)
        expected = Ridge(alpha=20.0, fit_intercept=False).fit(others, made.x[:, item]).coef_
        assert np.abs(np.delete(found[:, item], item) - expected).max() < 1e-5
        assert found[item, item] == 0
    assert np.abs(made.scores().numpy() - made.x @ found).max() < 1e-5


@pytest.mark.parametrize("model", sorted(zoo.WITHOUT_CHANCE))
def test_what_is_computed_at_once_is_the_same_for_each_seed(small, model):
    by_time = {"load_col": None, "eval_args": {"order": "TO"}}  # a split that is the same, too
    one, other = (Made(model, small, seed=seed, **by_time).scores() for seed in (1, 2))
    assert torch.equal(one, other)


def test_which_models_count_repeated_interactions(tmp_path):
    """Deviates: the papers' matrices are binary."""
    write_dataset(tmp_path, train=[*TRAIN, ("u4", "i5"), *TRAIN[:2]])
    where = {"data_path": str(tmp_path), "benchmark_filename": ["train", "valid", "test"]}
    where |= {"topk": 2, "valid_metric": "MRR@2"}
    for model, counting in (("EASE", True), ("ItemKNN", True), ("SGL", True), ("LightGCN", False), ("NGCF", False)):
        made = Made(model, where, "tiny")
        assert made.x.max() == 2
        used = made.x if counting else np.minimum(made.x, 1)
        if model in ("EASE", "ItemKNN"):
            assert (made.model.interaction_matrix.toarray() == used).all()
        else:
            graph = (made.model.train_graph if model == "SGL" else made.model.norm_adj_matrix).to_dense().numpy()
            assert np.abs(graph - normalised(used)).max() < 1e-6


# --- Those that learn. ------------------------------------------------------------------------------------------------


def normalised(x):
    """D^-1/2 A D^-1/2 of the graph of users and items, [n_users + n_items, n_users + n_items]."""
    n_users, n_items = x.shape
    a = np.block([[np.zeros((n_users, n_users)), x], [x.T, np.zeros((n_items, n_items))]])
    degree = a.sum(1)
    inverse = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    return inverse[:, None] * a * inverse


def bpr(users, positives, negatives):
    """-ln σ(u·i - u·j), [n]."""
    return -F.logsigmoid((users * (positives - negatives)).sum(1))


def regularised(parts, squared=False):
    """Deviates: the norm of the batch's rows, by the batch's size, where the papers have its square."""
    norms = [part.pow(2).sum().sqrt() for part in parts]
    return sum(norm**2 / 2 if squared else norm for norm in norms) / len(parts[-1])


def propagated(graph, nodes, n_layers):
    """LightGCN's mean of all layers."""
    layers = [nodes]
    for _ in range(n_layers):
        layers.append(graph @ layers[-1])
    return torch.stack(layers).mean(0)


def bpr_model(made, p, u, i, j):
    return bpr(p["user_embedding.weight"][u], p["item_embedding.weight"][i], p["item_embedding.weight"][j]).mean()


def lightgcn(made, p, u, i, j):
    users, items = p["user_embedding.weight"], p["item_embedding.weight"]
    graph = torch.from_numpy(normalised(made.x))
    e, f = propagated(graph, torch.cat([users, items]), 2).split([len(users), len(items)])
    squared = made.config["require_pow"]
    return bpr(e[u], f[i], f[j]).mean() + 0.3 * regularised([users[u], items[i], items[j]], squared)


def ngcf(made, p, u, i, j):
    """With biases and normalised layers, as its authors' code has and the paper has not."""
    users, items = p["user_embedding.weight"], p["item_embedding.weight"]
    graph = torch.from_numpy(normalised(made.x))
    layers = [torch.cat([users, items])]
    for n in range(2):
        e, layer = layers[-1], f"GNNlayers.{n}"
        own = (graph @ e + e) @ p[f"{layer}.linear.weight"].T + p[f"{layer}.linear.bias"]
        both = (graph @ e * e) @ p[f"{layer}.interActTransform.weight"].T + p[f"{layer}.interActTransform.bias"]
        dropped = F.dropout(F.leaky_relu(own + both, 0.2), 0.25)
        layers.append(dropped / dropped.norm(dim=1, keepdim=True).clamp(min=1e-12))
    e, f = torch.cat(layers, dim=1).split([len(users), len(items)])
    return bpr(e[u], f[i], f[j]).mean() + 0.3 * regularised([e[u], f[i], f[j]])


def sgl(made, p, u, i, j):
    """Sums over the batch, as its authors' code; deviates: the padding rows are among the negatives."""
    users, items = p["user_embedding.weight"], p["item_embedding.weight"]

    def of(graph):
        return propagated(graph, torch.cat([users, items]), 2).split([len(users), len(items)])

    def contrast(one, other, rows):
        similar = F.normalize(one[rows]) @ F.normalize(other).T / 0.2
        return F.cross_entropy(similar, rows, reduction="sum")

    e, f = of(torch.from_numpy(normalised(made.x)))
    views = [of(graph.to_dense().double()) for graph in (made.model.sub_graph1, made.model.sub_graph2)]
    contrasts = contrast(views[0][0], views[1][0], u) + contrast(views[0][1], views[1][1], i)
    regularisation = regularised([users[u], items[i], items[j]])
    return bpr(e[u], f[i], f[j]).sum() + 0.3 * regularisation + 0.05 * contrasts


def simplex(made, p, u, i, j):
    users, items = p["user_emb.weight"], p["item_emb.weight"]
    n = len(u) // 5  # each positive stands there once a negative
    u, i, j = u[:n], i[:n], j.view(5, n).T
    history, length = made.model.history_item_id[u], made.model.history_item_len[u]
    mean = items[history].sum(1) / length[:, None]
    aggregated = 0.6 * users[u] + 0.4 * mean @ p["UI_map.weight"].T
    aggregated = F.normalize(F.dropout(aggregated, 0.25))
    positive = (aggregated * F.normalize(items[i])).sum(1)
    negative = torch.einsum("nd,nmd->nm", aggregated, F.normalize(items[j], dim=-1))
    loss = (1 - positive) + 10 * (negative - 0.1).clamp(min=0).mean(1)
    squared = made.config["require_pow"]
    return loss.mean() + 0.3 * regularised([users[u], items[i], items[history], items[j]], squared)


PAIRWISE = {
    "BPR": (bpr_model, {}),
    "LightGCN": (lightgcn, {"n_layers": 2}),
    "LightGCN, squared": (lightgcn, {"n_layers": 2, "require_pow": True}),
    "NGCF": (ngcf, {"hidden_size_list": [6, 5], "message_dropout": 0.25}),
    "SGL": (sgl, {"n_layers": 2, "ssl_tau": 0.2, "ssl_weight": 0.05}),
    "SimpleX": (simplex, {"gamma": 0.6, "margin": 0.1, "history_len": 6, "dropout_prob": 0.25}),
    "SimpleX, squared": (simplex, {"gamma": 0.6, "margin": 0.1, "dropout_prob": 0.25, "require_pow": True}),
}


@pytest.mark.parametrize("case", PAIRWISE)
def test_a_step_has_the_loss_and_the_gradients_of_the_formula(small, case):
    name, (formula, settings) = case.partition(",")[0], PAIRWISE[case]
    if name == "SimpleX":
        settings = {**settings, "train_neg_sample_args": {"distribution": "uniform", "sample_num": 5}}
    made = Made(name, small, **NEURAL, **settings)
    model = made.in_float64()
    batch = next(iter(made.loader))
    ours = made.parameters()

    torch.manual_seed(5)  # the same dropout
    loss = model.calculate_loss(batch)
    loss.sum().backward()
    torch.manual_seed(5)
    expected = formula(made, ours, batch["user_id"], batch["item_id"], batch["neg_item_id"])
    expected.backward()
    compare(model, loss, ours, expected)


def compare(model, loss, ours, expected):
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for name, value in model.named_parameters():
        scale = ours[name].grad.abs().max()
        # graphs are float32; BPRLoss adds 1e-10 to the sigmoid, and SimpleX's padding item does not learn
        difference = (value.grad - ours[name].grad).abs()
        if name == "item_emb.weight":
            difference[0] = 0
        assert scale > 0 and difference.max() < 1e-6 * scale, name


@pytest.mark.parametrize("deterministic", [False, True])
def test_multivae_takes_a_step_of_the_papers_bound(small, deterministic):
    """Deviates: the noise has a hundredth of its standard deviation, and the code half of `latent_dimension`."""
    settings = {"mlp_hidden_size": [12], "latent_dimension": 8, "anneal_cap": 0.4, "total_anneal_steps": 10}
    dropout = 0.0 if deterministic else 0.5
    made = Made("MultiVAE", small, train_batch_size=64, dropout_prob=dropout, train_neg_sample_args=None, **settings)
    model = made.in_float64()
    made.model.history_item_value = made.model.history_item_value.float()  # what the rating matrix is made of
    users = next(iter(made.loader))["user_id"]
    rows = torch.from_numpy(made.x)[users]
    model.get_rating_matrix = lambda user, own=model.get_rating_matrix: own(user).double()
    assert torch.equal(model.get_rating_matrix(users), rows)
    p = made.parameters()
    interaction = made.data.inter_feat[: len(users)]
    interaction.interaction["user_id"] = users
    for step in (1, 2, 9):
        model.update = step - 1
        model.zero_grad()
        for value in p.values():
            value.grad = None
        torch.manual_seed(5)
        loss = model.calculate_loss(interaction)
        loss.backward()
        torch.manual_seed(5)
        hidden = F.dropout(F.normalize(rows), dropout)
        hidden = torch.tanh(hidden @ p["encoder.0.weight"].T + p["encoder.0.bias"])
        mean, log_variance = (hidden @ p["encoder.2.weight"].T + p["encoder.2.bias"]).split(4, dim=1)
        code = mean + (log_variance / 2).exp() * 0.01 * torch.randn_like(mean)
        hidden = torch.tanh(code @ p["decoder.0.weight"].T + p["decoder.0.bias"])
        logits = hidden @ p["decoder.2.weight"].T + p["decoder.2.bias"]
        likelihood = (rows * (logits - logits.logsumexp(1, keepdim=True))).sum(1)
        divergence = ((mean**2 + log_variance.exp() - 1 - log_variance) / 2).sum(1)
        expected = (min(0.4, step / 10) * divergence - likelihood).mean()
        expected.backward()
        compare(model, loss, p, expected)


def test_models_score_as_they_are_trained(small):
    """By the same embeddings, without dropout, all users at once or pair by pair."""
    for case, (_, settings) in PAIRWISE.items():
        made = Made(case.partition(",")[0], small, **{**NEURAL, **settings})
        all_at_once = made.scores()
        batch = next(iter(made.loader))
        with torch.no_grad():
            pair_by_pair = made.model.predict(batch)
        assert torch.allclose(pair_by_pair, all_at_once[batch["user_id"], batch["item_id"]], atol=1e-6)
        if case == "LightGCN":
            weights = {name: value.double() for name, value in made.parameters().items()}
            nodes = torch.cat([weights["user_embedding.weight"], weights["item_embedding.weight"]])
            e, f = propagated(torch.from_numpy(normalised(made.x)), nodes, 2).split(made.x.shape)
            assert torch.allclose(all_at_once.double(), e @ f.T, atol=1e-6)


def test_sgl_drops_so_many_edges_and_normalises_what_is_left_anew_each_epoch(small):
    made = Made("SGL", small, n_layers=2, drop_ratio=0.3)
    n_users, n_edges = len(made.x), int(made.x.sum())
    seen = []
    for _ in range(2):
        made.model.train()
        for graph in (made.model.sub_graph1, made.model.sub_graph2):
            view = graph.to_dense().numpy()
            kept = view[:n_users, n_users:] > 0
            assert kept.sum() == int(0.7 * n_edges) and (made.x[kept] == 1).all()
            assert np.abs(view - normalised(kept.astype(float))).max() < 1e-6
            seen.append(kept)
    assert all((one != other).any() for n, one in enumerate(seen) for other in seen[:n])
    made.model.eval()
    assert (made.model.sub_graph2.to_dense().numpy()[:n_users, n_users:] > 0).tolist() == seen[-1].tolist()


def test_ngcf_drops_edges_while_it_learns_alone(small):
    made = Made("NGCF", small, node_dropout=0.4)
    graph = made.model.norm_adj_matrix.to_dense()
    dropped = made.model.train().sparse_dropout(made.model.norm_adj_matrix).to_dense()
    kept = dropped > 0
    assert torch.allclose(dropped[kept], graph[kept] / 0.6)
    assert kept.sum() / (graph > 0).sum() == pytest.approx(0.6, abs=0.04)
    assert torch.equal(made.model.eval().sparse_dropout(made.model.norm_adj_matrix).to_dense(), graph)


def test_simplexs_histories_are_training_items_drawn_once(small):
    made = Made("SimpleX", small, history_len=6)
    for user, (items, length) in enumerate(zip(made.model.history_item_id, made.model.history_item_len, strict=True)):
        assert length == min(6, made.x[user].sum()) and (items[length:] == 0).all()
        assert items[:length].unique().numel() == length and (made.x[user, items[:length]] == 1).all()
    assert len(made.model.history_item_id[0]) == 6


def test_negatives_are_uniform_among_all_but_the_users_training_items(small):
    made = Made("BPR", small)
    assert not ((made.x > 0) & (dense(made.test._dataset) > 0)).any()
    drawn = np.zeros_like(made.x)
    for _ in range(60):
        for batch in made.loader:
            np.add.at(drawn, (batch["user_id"].numpy(), batch["neg_item_id"].numpy()), 1)
    assert drawn.sum() == 60 * made.x.sum()
    assert drawn[:, 0].sum() == 0 and (drawn[made.x > 0] == 0).all()
    assert drawn[dense(made.test._dataset) > 0].sum() > 0  # held-out items are drawn as any other, as in the papers
    free = made.x == 0
    free[0], free[:, 0] = False, False
    expected = drawn.sum(1, keepdims=True) / np.maximum(free.sum(1, keepdims=True), 1) * free
    by_item, wanted = drawn.sum(0)[1:], expected.sum(0)[1:]
    assert chisquare(by_item, wanted * by_item.sum() / wanted.sum()).pvalue > 0.001


def test_users_who_train_nothing_are_no_trouble(tmp_path):
    write_dataset(tmp_path, train=[*(pair for pair in TRAIN if pair[0] != TEST[0][0]), ("u4", "i5")])
    where = {"data_path": str(tmp_path), "benchmark_filename": ["train", "valid", "test"]}
    where |= {"topk": 2, "valid_metric": "MRR@2"}
    assert VALID
    for model in ("Pop", "ItemKNN", "EASE", "BPR", "LightGCN", "SGL", "NGCF", "SimpleX", "MultiVAE"):
        settings = {"train_neg_sample_args": None} if model == "MultiVAE" else {}
        made = Made(model, where, "tiny", **settings)
        assert made.scores().isfinite().all(), model
