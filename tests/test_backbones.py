"""The encoders beside LightGCN, and what wears the alignment: against RecBole's own, plain against worn."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import TinyDataset
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import BPR, NGCF, NeuMF
from recbole.model.general_recommender.sgl import SGL as RecBolesSGL
from recbole.quick_start import run_recbole

from recbole_irllrec import zoo
from recbole_irllrec.data.text import NodeText
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.model.graph import InteractionGraph, without_edges
from recbole_irllrec.model.sgl import SGL

N_USERS, N_ITEMS = 9, 11
ENCODERS = ("SGL", "SimGCL", "DCCF", "BIGCF")


class Data(TinyDataset):
    """A training data set as RecBole's models read it."""

    uid_field, iid_field = "user_id", "item_id"

    def __init__(self, n_interactions=40):
        rng = np.random.default_rng(0)
        pairs = rng.choice(N_USERS * N_ITEMS, n_interactions, replace=False)
        n = N_USERS + N_ITEMS
        texts = {
            kind: rng.normal(size=(n, width)).astype(np.float32) for kind, width in (("profile", 6), ("intent", 5))
        }
        super().__init__(*np.divmod(pairs, N_ITEMS), N_USERS, N_ITEMS, texts)

    def node_texts(self, config, kinds):
        found = super().node_texts(config, kinds)
        if zoo.text_sides(config["model"]) == ("item",):
            found = {kind: NodeText(*(part[N_USERS:] for part in text[:2])) for kind, text in found.items()}
        return found

    @property
    def inter_feat(self):
        return {"user_id": torch.tensor(self.users + 1), "item_id": torch.tensor(self.items + 1)}


def make(name, **values):
    torch.manual_seed(0)
    given = {"embedding_size": 8, "n_intents": 4, "ssl_nodes": "all", "use_gpu": False, **values}
    config = Config(model=name, dataset="untuned", config_dict=given)
    return (zoo.find(name).load() if zoo.find(name) else RecBolesSGL)(config, Data())


def batch(n=12) -> Interaction:
    rng = np.random.default_rng(1)
    columns = {
        "user_id": rng.integers(1, N_USERS + 1, n),
        "item_id": rng.integers(1, N_ITEMS + 1, n),
        "neg_item_id": rng.integers(1, N_ITEMS + 1, n),
        "label": np.ones(n),
    }
    return Interaction({name: torch.tensor(values) for name, values in columns.items()})


def loss(model) -> torch.Tensor:
    torch.manual_seed(3)
    model.train()
    found = model.calculate_loss(batch())
    return sum(found) if isinstance(found, tuple) else found


# ---- SGL against RecBole's ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ED", "ND", "RW"])
def test_sgl_is_recboles_on_the_same_views(kind):
    """Both draw what is kept or lost with this function, in the same order; RecBole numbers the padding, too."""
    ours = make("SGL", type=kind, drop_ratio=0.3, reg_weight=0.1)
    config = Config(model="SGL", dataset="untuned", config_dict={"embedding_size": 8, "type": kind, "drop_ratio": 0.3})
    config["reg_weight"] = 0.1
    theirs = RecBolesSGL(config, Data())
    theirs.load_state_dict(ours.state_dict(), strict=False)
    order = {pair: n for n, pair in enumerate(zip(Data().users.tolist(), Data().items.tolist(), strict=True))}
    edges = zip(ours.graph.heads.tolist(), (ours.graph.tails - N_USERS).tolist(), strict=True)
    places = np.array([order[pair] for pair in edges])  # of our edges among the interactions
    rng = np.random.default_rng(4)
    drawn = [
        rng.permutation(n)[: int(n * 0.3)]
        for _ in range(2 * ours.n_layers)
        for n in ((N_USERS, N_ITEMS) if kind == "ND" else (len(order),))
    ]
    mine, yours = iter(drawn), iter(drawn)

    def kept(n):
        lost = next(mine)
        mask = np.ones(n, dtype=bool)
        mask[lost] = False
        return torch.tensor(mask if kind == "ND" else mask[places])

    def sample(high, size=None, replace=True):
        lost = next(yours)
        return lost + 1 if kind == "ND" else np.setdiff1d(np.arange(high), lost)

    ours._draw, theirs.rand_sample = kept, sample
    theirs.train()  # draws
    found = loss(ours)
    user, positive, negative = (batch()[name] for name in ("user_id", "item_id", "neg_item_id"))
    expected = theirs.calc_bpr_loss(*theirs(theirs.train_graph), user, positive, negative)
    views = [theirs(graph) for graph in (theirs.sub_graph1, theirs.sub_graph2)]
    # RecBole contrasts with the padding as if it were a user and an item
    users, items = ([view[side][1:] for view in views] for side in (0, 1))
    expected = expected + theirs.calc_ssl_loss(user - 1, positive - 1, *users, *items)
    torch.testing.assert_close(found * len(user), expected.squeeze(), rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_degrees_are_counted_anew_without_edges(seed, share):
    rng = np.random.default_rng(seed)
    graph = InteractionGraph(rng.integers(0, 5, 14), rng.integers(0, 6, 14), 5, 6).double()
    kept = torch.tensor(rng.random(len(graph.heads)) < share)
    values, transposed = without_edges(graph, kept)
    matrix = sp.csr_matrix((values.numpy(), graph.col.numpy(), graph.crow.numpy()), (11, 11)).toarray()
    adjacency = np.zeros((11, 11))
    heads, tails = graph.heads[kept].long().numpy(), graph.tails[kept].long().numpy()
    adjacency[heads, tails] = adjacency[tails, heads] = 1
    degree = np.maximum(adjacency.sum(1), 1)
    np.testing.assert_allclose(matrix, adjacency / np.sqrt(np.outer(degree, degree)), atol=1e-12)
    assert torch.equal(values, transposed)


def test_views_last_an_epoch_and_no_longer():
    model = make("SGL", drop_ratio=0.5)
    first = loss(model)
    views = model._views
    model.calculate_loss(batch())
    assert model._views is views
    model.eval()
    model.train()
    assert model._views is None and loss(model) == first  # drawn again from the same seed


# ---- plain and worn -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
def test_without_weights_the_alignment_changes_nothing(name):
    plain, worn = (
        make(name),
        make(f"IRLLRec{name}", linear_weight=0, **zoo.find(f"IRLLRec{name}").settings.without_text()),
    )
    assert set(worn.state_dict()) == set(plain.state_dict())
    assert loss(plain) == loss(worn)


@pytest.mark.parametrize("name", ENCODERS)
def test_terms_are_the_encoders_and_the_alignments(name):
    model = make(f"IRLLRec{name}", matching_weight=0.1, fusion="gate")
    loss(model).backward()
    aligned = {"profile", "pairwise", "translation", "matching"}
    assert set(model.loss_names) - {"prototypes"} == aligned | {"ranking", "regularization", "contrast"}
    missing = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not missing


@pytest.mark.parametrize("name", ["", *ENCODERS])
def test_hidden_nodes_start_from_the_token(name):
    model = make(f"RLMRecGen{name}", mask_ratio=0.4)
    with torch.no_grad():
        model.alignment.mask_token.fill_(7)
    seen = []
    encode = model.encode
    model.encode = lambda start: seen.append(start.detach()) or encode(start)
    loss(model)
    hidden = (seen[0] == 7).all(dim=1)
    assert hidden.sum() == int(0.4 * (N_USERS + N_ITEMS))
    torch.testing.assert_close(seen[0][~hidden], model.get_ego_embeddings()[~hidden])


def test_scores_do_not_depend_on_draws():
    for name in (*ENCODERS, "AlphaRec"):
        model = make(name).eval()
        users = {"user_id": torch.arange(1, N_USERS + 1)}
        first = model.full_sort_predict(users)
        model._forget_scores()
        assert torch.equal(first, model.full_sort_predict(users))


# ---- any recommender of RecBole -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BPR", "NGCF", "LightGCN"])
def test_a_recommenders_own_loss_is_as_it_was(name):
    worn = make(f"IRLLRec{name}", profile_weight=0.5)
    base = type(worn).__mro__[2]
    plain = base(Config(model=name, dataset="untuned", config_dict={"embedding_size": 8, "use_gpu": False}), Data())
    plain.load_state_dict(worn.state_dict(), strict=False)
    torch.manual_seed(3)
    plain.train()
    alone = plain.calculate_loss(batch())
    worn.alignment.begin = lambda *_, begin=worn.alignment.begin: _without_chance(begin, *_)
    loss(worn)
    torch.manual_seed(3)
    *_, own = worn.calculate_loss(batch())
    torch.testing.assert_close(own, alone)


def _without_chance(begin, *arguments):
    with torch.random.fork_rng():
        return begin(*arguments)


def test_what_forward_gave_is_aligned_and_computed_once():
    model = make("IRLLRecNGCF")
    passes = []
    forward = NGCF.forward
    try:
        NGCF.forward = lambda self: passes.append(forward(self)) or passes[-1]
        terms = model.alignment.terms
        seen = []
        model.alignment.terms = lambda step, encoded: seen.append(encoded) or terms(step, encoded)
        loss(model)
    finally:
        NGCF.forward = forward
    assert len(passes) == 1
    users, items = passes[0]
    assert torch.equal(seen[0].final, torch.cat([users[1:], items[1:]]))
    assert model.alignment.profile_tower[2].out_features == users.shape[1] > 8  # the layers side by side


def test_tables_are_aligned_where_forward_gives_none():
    assert BPR.forward and NeuMF.forward  # both want a batch
    model = make("IRLLRecBPR")
    loss(model).backward()
    table = torch.cat([model.user_embedding.weight[1:], model.item_embedding.weight[1:]])
    assert torch.equal(model._embeddings(), table)
    assert make("IRLLRecNeuMF")._embeddings().shape == (N_USERS + N_ITEMS, 64)


def test_a_batch_of_single_items_has_negatives_by_its_labels():
    model = make("IRLLRecNeuMF")
    given = batch(6)
    given.interaction.pop("neg_item_id")
    given.interaction["label"] = torch.tensor([1.0, 1, 1, 1, 0, 0])
    users, positives, negatives = model._triples(given)
    assert len(users) == len(positives) == len(negatives) == 4
    assert torch.equal(negatives, (given["item_id"][4:] + N_USERS - 1).repeat(2))
    given.interaction["label"] = torch.ones(6)
    _, _, drawn = model._triples(given)
    assert len(drawn) == 6 and ((drawn >= N_USERS) & (drawn < N_USERS + N_ITEMS)).all()


@pytest.mark.parametrize("name", ["IRLLRecBPR", "IRLLRecNGCF"])
def test_a_recommender_is_aligned_under_autocast(name):
    model = make(name)
    exact = loss(model)
    with torch.autocast(device_type="cpu"):
        mixed = loss(model)
    torch.testing.assert_close(mixed, exact, rtol=5e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["DiffRec", "LDiffRec"])
def test_a_recommender_of_whole_rows_is_refused(name, small):
    with pytest.raises(IRLLRecError, match=f"{name} cannot wear the alignment, because it learns from whole rows"):
        run_recbole(model=f"IRLLRec{name}", dataset="small", config_dict={"state": "ERROR", **small})


@pytest.mark.parametrize("name", ["EASE", "Pop", "ItemKNN", "MultiVAE"])
def test_a_recommender_without_embeddings_is_refused(name, small):
    with pytest.raises(IRLLRecError, match=f"{name} cannot wear the alignment, because it has no embeddings"):
        run_recbole(model=f"IRLLRec{name}", dataset="small", config_dict={"state": "ERROR", **small})


@pytest.mark.parametrize("name", ["IRLLRecFoo", "RLMRecGenBPR", "IRLLRecngcf", "IRLLRec.x"])
def test_other_names_are_no_models(name):
    with pytest.raises(IRLLRecError, match="There is no model named"):
        Config(model=name, dataset="untuned")


def test_a_trainer_of_recboles_takes_no_settings_of_ours():
    settings = {name: zoo.find(f"IRLLRec{name}").settings.names() for name in ("NCL", "BPR")}
    assert {*settings["BPR"]} - {*settings["NCL"]} == {"resume", "warm_start", "log_mlflow"}


# ---- presets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, dataset, expected",
    [
        ("SGL", "yelp", {"ssl_weight": 1e-3, "reg_weight": 1e-6, "drop_ratio": 0.2}),
        ("IRLLRecSGL", "yelp", {"ssl_weight": 0.1, "profile_temperature": 1.0, "translation_weight": 0}),
        ("RLMRecCon", "amazon-book", {"edge_dropout": 0.2, "profile_weight": 1e-2, "n_layers": 3}),
        ("RLMRecGen", "yelp2018", {"mask_ratio": 0.05, "reconstruction_weight": 0.01, "n_layers": 2}),
        ("IRLLRecDCCF", "amazon-movie", {"n_layers": 3, "reg_weight": 1e-3, "pairwise_weight": 5e-2}),
        ("BIGCF", "another", {"ssl_weight": 0.05, "embedding_size": 32, "layer_aggregation": "sum"}),
        ("AlphaRec", "yelp", {"softmax_negatives": 256, "layer_aggregation": "mean", "train_batch_size": 1024}),
    ],
)
def test_published_settings(model, dataset, expected):
    config = Config(model=model, dataset=dataset, config_dict={"preset": "published"})
    assert {name: config[name] for name in expected} == expected


@pytest.mark.parametrize("model", [model for model in zoo.models() if model.preset], ids=lambda model: model.name)
def test_every_preset_can_be_made(model):
    assert make(model.name, preset="published", embedding_size=8).as_published
    assert not make(model.name).as_published


def test_a_preset_of_what_nobody_has_published_is_refused():
    for name in ("IRLLRecBPR", "RLMRecConBPR"):
        with pytest.raises(
            IRLLRecError, match=rf"preset \(in config_dict\) is published, but .* of {name}: leave it out"
        ):
            make(name, preset="published")


@pytest.mark.parametrize("negatives", ["all", "auto"])
def test_negatives_of_each_triple_are_a_number(negatives):
    with pytest.raises(IRLLRecError, match="softmax_negatives is all, but AlphaRec under preset: published draws"):
        make("AlphaRec", preset="published", softmax_negatives=negatives)


def test_faults_are_the_presets_alone():
    assert loss(make("SimGCL", n_layers=3)) != loss(make("SimGCL", preset="published"))
    assert isinstance(make("SGL"), SGL) and make("IRLLRecSimGCL").pairwise_negatives
    assert not make("IRLLRecSimGCL", preset="published").pairwise_negatives
