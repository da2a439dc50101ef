"""Sampled contrasts, and the texts that a step looks at."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_model import batch_of, random_case
from trained import NO_TEXT

from recbole_irllrec.model.irllrec import IRLLRec
from recbole_irllrec.model.losses import own_among_all
from recbole_irllrec.model.sampling import contrast_sets, sample_nodes, sample_triples

ALL_TERMS = {"profile_weight": 0.3, "pairwise_weight": 0.4, "translation_weight": 0.5, "matching_weight": 0.6}


@settings(max_examples=100, deadline=None)
@given(
    n_users=st.integers(1, 30),
    n_items=st.integers(1, 30),
    size=st.integers(1, 40),
    limit=st.one_of(st.none(), st.integers(1, 50)),
    coverage=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_what_is_contrasted(n_users, n_items, size, limit, coverage, seed):
    torch.manual_seed(seed)
    present = torch.rand(n_users + n_items) < coverage
    users = present[:n_users].nonzero()[:, 0]
    batch = (
        torch.randint(n_users, (size,)),
        *(torch.randint(n_users, n_users + n_items, (size,)) for _ in range(2)),
    )
    sets = contrast_sets(batch, present, users, limit, torch.float64)
    # each member of the batch that has a text is an anchor as often as the batch has it
    anchors = torch.cat(
        [torch.empty(0, dtype=torch.int64), *(s.anchors.repeat_interleave(s.counts.long()) for s in sets)]
    )
    assert torch.equal(anchors.sort().values, torch.cat([m[present[m]] for m in batch]).sort().values)
    for anchors, counts, candidates, bias in sets:
        assert torch.isin(anchors, candidates).all() and present[candidates].all()
        assert len(candidates.unique()) == len(candidates) == len(bias)
        if anchors[0] >= n_users:
            assert torch.equal(bias, counts.log()) and torch.equal(candidates, anchors)
        elif limit is None or limit >= len(users):
            assert torch.equal(candidates.sort().values, users) and (bias == 0).all()
            assert torch.equal(candidates[: len(anchors)], anchors)
        else:
            assert len(candidates) <= len(anchors) + limit
            drew_others = len(candidates) > len(anchors)
            assert not drew_others or bias.exp().sum().item() == pytest.approx(len(users))
            assert (bias[: len(anchors)] == 0).all() and torch.equal(candidates[: len(anchors)], anchors)


def test_a_sample_is_drawn_evenly():
    torch.manual_seed(0)
    nodes = torch.arange(10, 20)
    drawn = torch.cat([sample_nodes(nodes, 4) for _ in range(5000)])
    shares = torch.bincount(drawn - 10, minlength=10) / len(drawn)
    assert (shares - 0.1).abs().max() < 0.01


def test_triples_stay_together():
    torch.manual_seed(0)
    user = torch.arange(1000)
    drawn = sample_triples((user, user + 1000, user + 2000), 200)
    assert torch.equal(drawn[0] + 1000, drawn[1]) and torch.equal(drawn[0] + 2000, drawn[2])
    assert len(drawn[0].unique()) == 200
    assert abs(drawn[0].double().mean() - 500) < 60


def terms_of(model, batch):
    return dict(
        zip(
            ("ranking", *(name.removesuffix("_weight") for name in ALL_TERMS)), model.calculate_loss(batch), strict=True
        )
    )


def model_of(config, dataset):
    torch.manual_seed(0)
    return IRLLRec(config, dataset).train()


def test_a_limit_above_the_number_of_nodes_changes_nothing(irllrec_config):
    dataset = random_case(0, missing_share=0.2)
    batch = batch_of(dataset)
    values = []
    for n in ("all", 10_000):
        model = model_of(
            irllrec_config(contrast_nodes=n, intent_neighbours="all", reg_weight=0.0, **ALL_TERMS), dataset
        )
        terms = model.calculate_loss(batch)
        sum(terms).backward()
        values.append([*terms, *(p.grad for p in model.parameters() if p.requires_grad)])
    for exact, limited in zip(*values, strict=True):
        assert torch.equal(exact, limited)


def test_sampled_contrasts_estimate_the_exact_ones(irllrec_config):
    """With the batch's users among the candidates, and the drawn ones standing for the others."""
    dataset = random_case(0, n_users=300, n_items=200)
    batch = batch_of(dataset, size=90)
    config = {"reg_weight": 0.0, "intent_neighbours": "all", **ALL_TERMS}
    exact, sampled = (model_of(irllrec_config(contrast_nodes=n, **config), dataset) for n in ("all", 100))
    exactly = terms_of(exact, batch)
    draws = [terms_of(sampled, batch) for _ in range(20)]
    for name in ("profile", "pairwise", "translation", "matching"):
        mean = torch.stack([terms[name] for terms in draws]).mean()
        assert len({terms[name].item() for terms in draws}) > 1, name
        torch.testing.assert_close(mean, exactly[name], rtol=0.02, atol=0)


@pytest.mark.parametrize("temperature", [0.1, 0.3, 1.0])
def test_a_sample_among_itself_estimates_all_and_its_gradient(temperature):
    """A row's positive stands for itself alone, however sharp the contrast is."""
    torch.manual_seed(0)
    n_all, n, n_draws = 200, 50, 400
    y = torch.randn(n_all, 16, dtype=torch.float64)
    x = (y + 0.5 * torch.randn_like(y)).requires_grad_()

    def found(loss):
        return loss.detach(), torch.autograd.grad(loss, x)[0]

    exact, gradient = found(own_among_all(x, y, temperature))
    samples = [torch.randperm(n_all)[:n] for _ in range(n_draws)]
    draws = [found(own_among_all(x[drawn], y[drawn], temperature, n_all)) for drawn in samples]
    values, gradients = (torch.stack(each) for each in zip(*draws, strict=True))
    assert abs(values.mean() / exact - 1) < 0.05
    difference = (gradients.mean(dim=0) - gradient).norm() / gradient.norm()
    assert difference < 0.25, difference
    along = (gradients.mean(dim=0) * gradient).sum() / gradient.square().sum()
    assert abs(along - 1) < 0.05, along


def test_all_rows_among_themselves_are_exact():
    x, y = torch.randn(2, 30, 8)
    assert own_among_all(x, y, 0.2, 30) == own_among_all(x, y, 0.2)


@pytest.mark.parametrize("n", [1, 2])
def test_few_rows_that_stand_for_many_give_numbers(n):
    x, y = torch.randn(2, n, 8, requires_grad=True)
    loss = own_among_all(x, y, 0.1, 1_000_000)
    (gradient,) = torch.autograd.grad(loss, x)
    assert loss.isfinite() and gradient.isfinite().all()


def test_towers_see_only_the_texts_of_the_step(irllrec_config):
    dataset = random_case(0, n_users=4000, n_items=4000)
    model = model_of(irllrec_config(contrast_nodes=50, **ALL_TERMS), dataset)
    seen = []
    alignment = model.alignment
    for tower in (alignment.profile_tower, alignment.intent_tower, alignment.teacher_tower):
        tower[0].register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    model.calculate_loss(batch_of(dataset, size=20))
    # 20 users, 20 positive and 20 negative items, 50 drawn users; 50 drawn nodes
    assert len(seen) == 3 and max(seen) <= 60 + 50 + 50


@pytest.mark.parametrize("fusion", ["text", "gate"])
def test_the_moving_average_of_the_first_layer_is_the_plain_teacher(fusion, irllrec_config):
    config = irllrec_config(**{**NO_TEXT, "matching_weight": 1.0}, contrast_nodes="all", fusion=fusion)
    dataset = random_case(0, missing_share=0.3)
    model = model_of(config, dataset).double()
    alignment = model.alignment
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for step in range(5):
        optimizer.zero_grad()
        sum(model.calculate_loss(batch_of(dataset, seed=step))).backward()
        nodes = alignment.intent_texts.nodes
        plain = alignment.teacher_tower[0](alignment.intent_texts.of(nodes, torch.float64))
        torch.testing.assert_close(alignment._teacher_hidden, plain, rtol=1e-12, atol=1e-12)
        optimizer.step()
    start = alignment.intent_tower[0].weight
    assert not torch.allclose(start, alignment.teacher_tower[0].weight)


def test_half_precision_texts_are_kept_as_they_are(irllrec_config):
    dataset = random_case(0)
    values = {}
    for dtype in ("float16", "float32"):
        dataset.texts = {
            k: v.astype("float16").astype(dtype) if v.dtype != bool else v for k, v in dataset.texts.items()
        }
        model = model_of(irllrec_config(**ALL_TERMS), dataset)
        assert model.alignment.profile_texts.embedding.dtype == getattr(torch, dtype)
        values[dtype] = torch.stack(model.calculate_loss(batch_of(dataset)))
    assert torch.equal(values["float16"], values["float32"])
