"""The model class against the published implementation's values, in float64."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TinyDataset
from golden_models import TERMS, Case

from recbole_irllrec.model.irllrec import IRLLRec

GOLDEN = Path(os.environ.get("IRLLREC_GOLDEN_DIR") or Path(__file__).parent / "golden")
CASES = sorted(GOLDEN.glob("*.npz"))
OTHERS = sorted((GOLDEN / "models").glob("*.npz"))

# golden name -> ours
PARAMETERS = {
    "user_intent": "alignment.user_prototypes",
    "item_intent": "alignment.item_prototypes",
    "mlp": "alignment.profile_tower",
    "int_mlp": "alignment.intent_tower",
    "int_mlp_m": "alignment.teacher_tower",
}


def ours(golden_name: str) -> str:
    head, _, rest = golden_name.partition(".")
    return ".".join(filter(None, [PARAMETERS[head], rest]))


def build(case, make_config, dtype) -> IRLLRec:
    """IRLLRec with the case's sizes, weights, graph and texts, and RecBole's padding rows in place."""
    config = make_config(
        embedding_size=int(case["embedding_size"]),
        n_layers=int(case["n_layers"]),
        n_intents=int(case["n_intents"]),
        layer_aggregation="sum",
        ranking_loss="bpr",
        item_bias=False,
        linear_weight=0,
        fusion="text",
        reg_weight=float(case["weight.reg_weight"]),
        profile_weight=float(case["weight.kd_weight"]),
        profile_temperature=float(case["weight.kd_temperature"]),
        pairwise_weight=float(case["weight.kd_int_weight"]),
        pairwise_temperature=float(case["weight.kd_int_temperature"]),
        translation_weight=float(case["weight.kd_int_weight_2"]),
        matching_weight=float(case["weight.kd_int_weight_3"]),
        teacher_momentum=0.999,
        contrast_nodes="all",
        intent_neighbours="all",
    )
    texts = {
        "profile": np.concatenate([case["user_profile"], case["item_profile"]]),
        "intent": np.concatenate([case["user_intent_text"], case["item_intent_text"]]),
    }
    dataset = TinyDataset(case["train_user"], case["train_item"], int(case["n_users"]), int(case["n_items"]), texts)
    model = IRLLRec(config, dataset).to(dtype)
    state = {
        ours(k.removeprefix("param.")): v for k, v in case.items() if k.startswith("param.") and "_embeds" not in k
    }
    missing, unexpected = model.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=False)
    assert not unexpected and set(missing) == {"user_embedding.weight", "item_embedding.weight"}
    with torch.no_grad():
        model.user_embedding.weight[1:] = torch.tensor(case["param.user_embeds"])
        model.item_embedding.weight[1:] = torch.tensor(case["param.item_embeds"])
    noise = torch.tensor(case["noise_text"], dtype=dtype), torch.tensor(case["noise_interaction"], dtype=dtype)
    model.alignment.translation_noise = lambda like: noise
    return model


def step(model: IRLLRec, case) -> dict[str, torch.Tensor]:
    """The loss terms of the case's batch, after backward()."""
    batch = {
        "user_id": torch.tensor(case["user"]) + 1,
        "item_id": torch.tensor(case["pos_item"]) + 1,
        "neg_item_id": torch.tensor(case["neg_item"]) + 1,
    }
    model.train()
    model.zero_grad()
    losses = model.calculate_loss(batch)
    sum(losses).backward()
    return {name: value.detach() for name, value in zip(model.loss_names, losses, strict=True)}


def gradient(model: IRLLRec, golden_name: str) -> torch.Tensor:
    if golden_name in ("user_embeds", "item_embeds"):
        return getattr(model, golden_name.replace("_embeds", "_embedding")).weight.grad[1:]
    return model.get_parameter(ours(golden_name)).grad


def check_values(case, model: IRLLRec, close) -> None:
    with torch.no_grad():
        encoded = model.encode()
        close(encoded.final, np.concatenate([case["user_final"], case["item_final"]]))
        revealed = model.alignment.interaction_intents(encoded, torch.arange(len(encoded.final)))
        close(revealed.embedding, case["interaction_intent"])
    terms = step(model, case)
    close(terms["ranking"], case["loss.bpr_loss"])
    close(terms["regularization"], case["loss.reg_loss"])
    close(terms["profile"], case["loss.kd_loss"])
    close(terms["pairwise"], case["loss.kd_int_loss"])
    close(terms["translation"], case["weight.kd_int_weight_2"] * case["loss.translation_unweighted"])
    close(terms["matching"], case["loss.itm_weighted"])
    close(sum(terms.values()), case["loss.total"])
    for name in case:
        if name.startswith("grad."):
            close(gradient(model, name.removeprefix("grad.")), case[name])
        elif name.startswith("teacher_after."):
            close(model.get_parameter(ours(name.removeprefix("teacher_after."))).detach(), case[name])


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def test_there_are_cases():
    assert CASES, f"no .npz in {GOLDEN}"


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_equals_the_published_implementation_in_float64(path, irllrec_config):
    case = load(path)

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)

    check_values(case, build(case, irllrec_config, torch.float64), close)


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_equals_the_published_implementation_in_float32(path, irllrec_config):
    case = load(path)

    def close(actual, expected):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * scale)

    check_values(case, build(case, irllrec_config, torch.float32), close)


@pytest.mark.parametrize("fill", [0.0, 1e4, float("inf"), float("nan")])
@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_padding_rows_have_no_influence(path, fill, irllrec_config):
    case = load(path)
    model = build(case, irllrec_config, torch.float32)

    def observe():
        terms = step(model, case)
        gradients = [
            p.grad[1:] if name.endswith("_embedding.weight") else p.grad
            for name, p in model.named_parameters()
            if p.requires_grad
        ]
        model._forget_scores()
        with torch.no_grad():
            scores = model.eval().full_sort_predict({"user_id": torch.arange(1, model.n_users)})
        return [*terms.values(), *(g.clone() for g in gradients), scores.view(-1, model.n_items)[:, 1:]]

    teacher = model.alignment.teacher_tower.state_dict()
    teacher = {name: value.clone() for name, value in teacher.items()}
    before = observe()
    model.alignment.teacher_tower.load_state_dict(teacher)  # the first observation moved it
    model.train()
    with torch.no_grad():
        model.user_embedding.weight[0] = fill
        model.item_embedding.weight[0] = fill
    for expected, actual in zip(before, observe(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


# ---- the other models -----------------------------------------------------------------------------------------------


def test_there_are_cases_of_the_other_models():
    assert {case.stem.partition("_")[0] for case in OTHERS} >= {
        "lightgcn",
        "sgl",
        "simgcl",
        "dccf",
        "bigcf",
        "alpharec",
    }


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: p.stem)
def test_other_model_equals_the_published_one(path):
    case = Case(path)
    model = case.model

    def close(actual, expected):
        np.testing.assert_allclose(actual.detach(), expected, rtol=1e-10, atol=1e-10)

    model.train()
    losses = model.calculate_loss(case.batch())
    sum(losses).backward()
    terms = dict(zip(model.loss_names, losses, strict=True))
    expected = case.starting_with("loss.")
    close(sum(losses), expected.pop("total"))
    assert {TERMS[name] for name in expected if not name.endswith("_unweighted")} == set(terms)
    for name, value in expected.items():
        if not name.endswith("_unweighted"):
            close(terms[TERMS[name]], value)
    for name, value in case.starting_with("grad.").items():
        close(case.gradient(name), value)
    with torch.no_grad():
        check_embeddings(case, close)


def check_embeddings(case: Case, close) -> None:
    """The forward pass of training and of evaluation."""
    model = case.model
    start = model.get_ego_embeddings()
    if "masked_nodes" in case.values:
        hidden = case.tensor("masked_nodes")
        start = start.index_copy(0, hidden, model.alignment.mask_token.expand(len(hidden), -1))
    encoded = model.encode(start)
    names = case.values
    if "train_final" in names:
        close(encoded.final, case["train_final"])
    if "view1_final" in names:
        for view, name in zip((*encoded.own, encoded.final), ("view1", "view2", "view3"), strict=True):
            close(view, case[f"{name}_final"])
    if "layer.gnn" in names:
        for name, parts in zip(("gnn", "int", "gaa", "iaa"), zip(*encoded.own, strict=True), strict=True):
            close(torch.stack(parts), case[f"layer.{name}"])
    if "interaction_intent" in names:
        close(
            model.alignment.interaction_intents(encoded, torch.arange(len(start))).embedding, case["interaction_intent"]
        )
    if "global_intent" in names:
        close(encoded.own, case["global_intent"])
    model.eval()
    users, items = (vectors[1:] for vectors in model.scoring_embeddings())
    if "noise.eval" in names:  # ours scores with the means
        noise = torch.tensor(case["global_intent"] * case["noise.eval"])
        users, items = users + noise[: len(users)], items + noise[len(users) :]
    close(users, case["user_final"])
    close(items, case["item_final"])
    close(users @ items.T, case["scores"])
