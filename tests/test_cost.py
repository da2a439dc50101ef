"""What a training step costs, in operations and bytes, which no machine changes: a guard against costs coming back."""

import numpy as np
import pytest
import torch
from conftest import TinyDataset
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recbole_irllrec.model import losses
from recbole_irllrec.model.irllrec import IRLLRec

aten = torch.ops.aten
D, LAYERS, INTENTS, WIDTH, BATCH = 16, 2, 24, 40, 128
HIDDEN = (WIDTH + D) // 2


class Costs(TorchDispatchMode):
    """Counts, of the operations that run in it, forward and backward.

    Attributes:
        flop: of dense matrix products.
        sparse_flop: of products with a sparse matrix, or at a sparse matrix's entries.
        largest: the elements of the largest tensor that was made.
    """

    def __init__(self):
        super().__init__()
        self.flop = self.sparse_flop = self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)]
        known = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.layout == torch.strided}
        for made in tree_leaves(result):
            if isinstance(made, torch.Tensor) and made.layout == torch.strided:
                storage = made.untyped_storage()
                if storage.data_ptr() not in known:
                    self.largest = max(self.largest, storage.nbytes() // made.element_size())
        if function.overloadpacket in (aten.mm, aten.addmm, aten.addmm_):
            first, second = tensors[-2:] if function.overloadpacket != aten.mm else tensors[:2]
            if first.layout == torch.strided:
                self.flop += 2 * first.numel() * second.shape[1]
            else:
                self.sparse_flop += 2 * first.values().numel() * second.shape[1]
        elif function.overloadpacket is aten.sparse_sampled_addmm:
            self.sparse_flop += 2 * tensors[0].values().numel() * tensors[1].shape[1]
        return result


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """What is held of a matrix of similarities is the machine's matter: far less than these tests' small ones."""
    monkeypatch.setitem(losses._BLOCK, "cpu", 1 << 20)


@pytest.fixture
def make(irllrec_config):
    """Makes a model and a batch on a random graph, and the function that takes a step and returns its costs."""

    def of_size(n_users: int, n_items: int, n_interactions: int, repeats: int = 1, **settings):
        rng = np.random.default_rng(0)
        users, items = rng.integers(0, n_users, n_interactions), rng.integers(0, n_items, n_interactions)
        texts = {kind: rng.normal(size=(n_users + n_items, WIDTH)).astype(np.float32) for kind in ("profile", "intent")}
        config = irllrec_config(
            **{
                **{"embedding_size": D, "n_layers": LAYERS, "n_intents": INTENTS, "ranking_loss": "bpr"},
                **{"linear_weight": 0, "item_bias": False, "softmax_negatives": 1024},
                **{"profile_weight": 0.1, "pairwise_weight": 0.1, "translation_weight": 0.1, "matching_weight": 0.1},
                **settings,
            }
        )
        torch.manual_seed(0)
        model = IRLLRec(config, TinyDataset(users, items, n_users, n_items, texts)).train()
        batch = {
            "user_id": torch.from_numpy(users[:BATCH].repeat(repeats)) + 1,
            "item_id": torch.from_numpy(items[:BATCH].repeat(repeats)) + 1,
            "neg_item_id": torch.from_numpy(rng.integers(0, n_items, BATCH).repeat(repeats)) + 1,
        }

        def step() -> Costs:
            with Costs() as costs:
                sum(model.calculate_loss(batch)).backward()
            return costs

        return step

    return of_size


EXACT = {"contrast_nodes": "all", "intent_neighbours": "all", "text_dim": None}
SAMPLED = {"contrast_nodes": 64, "intent_neighbours": "all"}


def test_no_tensor_of_nodes_times_nodes(make):
    n = 4000
    costs = make(n * 6 // 10, n * 4 // 10, 5 * n, **EXACT)()
    assert costs.largest <= max(losses._BLOCK["cpu"], 2 * n * max(WIDTH, INTENTS)) < n * n / 10


def test_a_sampled_step_grows_with_propagation_alone(make):
    """The interaction intents are computed of the sampled nodes, whose degree is the same in both graphs."""
    small, large = 6000, 24_000
    before, after = (make(n // 2, n // 2, 5 * n, **SAMPLED)() for n in (small, large))
    assert after.flop < 1.15 * before.flop  # a few more of the sampled nodes and of their neighbours differ
    propagation = [make(n // 2, n // 2, 5 * n, **SAMPLED, pairwise_weight=0)().sparse_flop for n in (small, large)]
    assert propagation[1] < 1.01 * large / small * propagation[0]
    assert 0 < after.sparse_flop - propagation[1] < 1.05 * (before.sparse_flop - propagation[0])


def test_the_teacher_has_its_first_layer_for_nothing(make):
    n = 600
    step = make(n // 2, n // 2, 5 * n, **EXACT)
    first, second, third = step(), step(), step()
    assert first.flop - second.flop == 2 * n * WIDTH * HIDDEN
    assert third.flop == second.flop


@pytest.mark.parametrize("settings", [EXACT, {"contrast_nodes": 1000}], ids=["exact", "sampled"])
def test_what_a_batch_repeats_is_contrasted_once(make, settings):
    once, thrice = (make(300, 300, 3000, repeats=r, **settings)() for r in (1, 3))
    assert thrice.flop == once.flop


# Measured. A change that needs more says so here; one that needs less lowers them.
BUDGETS = {
    "exact": (EXACT, {"flop": 463_900_000, "sparse_flop": 4_280_000}),
    "sampled": (SAMPLED, {"flop": 19_770_000, "sparse_flop": 3_520_000}),
}


@pytest.mark.parametrize("mode", BUDGETS)
def test_a_step_keeps_to_its_budget(make, mode):
    settings, budget = BUDGETS[mode]
    costs = make(1200, 800, 10_000, **settings)()
    for name, allowed in budget.items():
        assert getattr(costs, name) <= 1.05 * allowed, (name, getattr(costs, name))
