"""Where a training step of IRLLRec goes, by part of the model, beside what the part could not do without.

    python benchmarks/speed/profile_step.py
    python benchmarks/speed/profile_step.py --exact --d 32 --batch 4096

Random data of Amazon-book's size with texts 1,536 (profile) and 3,072 (intent) wide, the defaults (`--exact`: all nodes
contrasted, texts as wide as they are). Parts are labelled from outside; a backward operation belongs to the part whose
forward operation it undoes. A minute on two CPU cores.

Lower bounds, measured here: each part's matrix products alone, shape by shape, with their memory in place; its
exponentials alone, in a block that the cache holds; and a copy of the bytes that it must read or write once. The first
two add up, the third counts where it is larger.
"""

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import wraps

import numpy as np
import pandas as pd
import torch
from measuring import AMAZON_BOOK, SyntheticDataset, begin, command_line, report, seconds
from recbole_runs import OUR_DEFAULTS
from torch.profiler import ProfilerActivity, profile, record_function

from recbole_irllrec.data.loading import load_config
from recbole_irllrec.model import alignment, losses
from recbole_irllrec.model.alignment import Alignment
from recbole_irllrec.model.encoder import GraphEncoder
from recbole_irllrec.model.graph import Neighbourhood
from recbole_irllrec.model.irllrec import IRLLRec
from recbole_irllrec.model.sampling import sample_triples

LABEL = "part: "
# what is called -> the part it is counted for
PARTS = {
    (GraphEncoder, "encode"): "graph propagation",
    (alignment, "interaction_intents"): "interaction intents",
    (Alignment, "_embed"): "text towers",
    (Alignment, "_teacher_intents"): "teacher",
    (Alignment, "_update_teachers"): "teacher",
    (Alignment, "_contrast_sets"): "drawing and counting nodes",
    (alignment, "sample_nodes"): "drawing and counting nodes",
    (alignment, "_aligned"): "alignment contrasts",
    (Alignment, "_translation"): "translation",
    (losses, "distillation"): "matching",
    (GraphEncoder, "_ranking_loss"): "ranking",
    (GraphEncoder, "regularization"): "regularisation",
}
OPTIMIZER, REST = "optimizer", "the rest"
EXPONENTIALS = ("aten::exp_", "aten::exp", "aten::_softmax", "aten::_log_softmax")


def label_parts() -> None:
    """Have every part tell the profiler when it runs."""

    def labelled(function: Callable, part: str) -> Callable:
        @wraps(function)
        def labelled_function(*arguments, **options):
            with record_function(LABEL + part):
                return function(*arguments, **options)

        return labelled_function

    for (owner, name), part in PARTS.items():
        setattr(owner, name, labelled(getattr(owner, name), part))


def parts_of(events) -> list[tuple[str, bool, object]]:
    """For every event its part and whether it runs in the backward pass."""
    events = sorted(events, key=lambda event: event.time_range.start)
    by_sequence: dict[int, str] = {}
    found = []
    for event in events:
        part, node = None, None
        above = event
        while above is not None and part is None:
            if above.name.startswith(LABEL):
                part = above.name.removeprefix(LABEL)
            if above.name.startswith("autograd::engine::evaluate_function"):
                node = above
            above = above.cpu_parent
        if part is None and node is not None:
            # the number of the forward operation; no later operation has it
            found.append((by_sequence.get(node.sequence_nr, REST), True, event))
        else:
            found.append((part or REST, False, event))
            if part is not None and event.sequence_nr >= 0:
                by_sequence[event.sequence_nr] = part
    return found


def product_shape(event) -> tuple[int, int, int] | None:
    """n, k, m of a dense matrix product [n, k] @ [k, m]; None for everything else."""
    if event.name not in ("aten::mm", "aten::addmm", "aten::addmm_"):
        return None
    below = {child.name for child in event.cpu_children}
    if below & {"aten::mm", "aten::addmm"}:
        return None  # it only hands over
    if "aten::_nnz" in below:
        return None  # a sparse matrix's
    # what comes before is added to the product, what comes after is where it is written
    first, second = event.input_shapes[:2] if event.name == "aten::mm" else event.input_shapes[1:3]
    return first[0], first[1], second[1]


def best_seconds(task: Callable[[], object], at_least: float = 0.02) -> float:
    """The fastest of as many runs as fit into that time, three at least."""
    task()
    taken, begun = [], time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - begun < at_least:
        taken.append(seconds(task))
    return min(taken)


def product_seconds(n: int, k: int, m: int) -> float:
    """A matrix product alone."""
    a, b, out = torch.randn(n, k), torch.randn(k, m), torch.empty(n, m)
    return best_seconds(lambda: torch.mm(a, b, out=out))


def exponential_seconds() -> float:
    """One exponential, of many in the cache."""
    block = torch.zeros(1 << 17)
    return best_seconds(block.exp_) / len(block)


def bytes_a_second() -> float:
    """Read and written by a copy larger than the cache."""
    a, b = torch.ones(1 << 26), torch.empty(1 << 26)
    return 2 * a.nbytes / best_seconds(lambda: b.copy_(a), 0.5)


def neighbourhood_of(model: IRLLRec, batch: dict[str, torch.Tensor]) -> Neighbourhood:
    """That of a step whose interaction intents are those of the contrasted triples' nodes."""
    first_item = model.graph.n_users - 1
    triples = batch["user_id"] - 1, batch["item_id"] + first_item, batch["neg_item_id"] + first_item
    return model.graph.neighbourhood(torch.cat(sample_triples(triples, model.alignment._limit)).unique())


def least_bytes(model: IRLLRec, batch: dict[str, torch.Tensor]) -> dict[str, int]:
    """What each part must read or write at least, in float32, each thing once a pass."""
    row = model.latent_dim * 4
    # the 2E entries with their columns, a dense matrix in, one out
    product = 2 * len(model.graph.heads) * 8 + 2 * model.graph.n_nodes * row
    around = neighbourhood_of(model, batch)
    matrix, edges = len(around.nodes) * row, len(around.by_item)
    rows, row_entries = (part.stop - part.start for part in (around.rows, around.row_entries))
    similarity, gathering = edges * 8 + matrix, row_entries * 8 + matrix + rows * row
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) * 4
    teacher = sum(p.numel() for p in model.alignment.teacher_tower.parameters()) * 4
    tower = sum(p.numel() for p in model.alignment.profile_tower.parameters()) * 4
    ranked = len(batch["user_id"]) * row
    return {
        "graph propagation": 2 * model.n_layers * product,
        # per layer: similarities, the rows' product and its gradient by the weights, two products for the others
        "interaction intents": model.n_layers * (similarity + 2 * gathering + 2 * (2 * edges * 8 + 2 * matrix)),
        "text towers": 3 * (tower + teacher),  # the student's are as large as the teacher's: read, and a gradient
        "teacher": 3 * teacher,  # both read, one written
        "ranking": 6 * ranked,
        "regularisation": 3 * trained,  # read; a gradient read and written
        OPTIMIZER: 7 * trained,  # parameter, gradient and two moments read, three written
    }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--steps", type=int, default=10, help="profiled, after two to warm up (default: 10)")
    parser.add_argument("--batch", type=int, default=2048, help="triples a step (default: 2048, RecBole's)")
    parser.add_argument("--d", type=int, default=OUR_DEFAULTS["embedding_size"], help="embedding size (the default's)")
    parser.add_argument("--exact", action="store_true", help="contrast_nodes, intent_neighbours: all; text_dim: ~")
    arguments = parser.parse_args()
    begin(arguments)
    if torch.cuda.is_available():
        raise SystemExit("This profile is of a CPU: hide the GPU with CUDA_VISIBLE_DEVICES=''.")
    label_parts()
    data = SyntheticDataset(**AMAZON_BOOK, widths={"profile": 1536, "intent": 3072})
    settings = OUR_DEFAULTS | {"embedding_size": arguments.d}
    if arguments.exact:
        settings |= {"contrast_nodes": "all", "intent_neighbours": "all", "text_dim": None}
    model = IRLLRec(load_config("ml-100k", settings=settings), data).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    rng = np.random.default_rng(0)
    batches = [data.batch(arguments.batch, rng) for _ in range(arguments.steps + 2)]

    def step(batch: dict[str, torch.Tensor]) -> None:
        with record_function(LABEL + OPTIMIZER):
            optimizer.zero_grad()
        sum(model.calculate_loss(batch)).backward()
        with record_function(LABEL + OPTIMIZER):
            optimizer.step()

    for batch in batches[:2]:
        step(batch)
    plain = statistics.median([seconds(lambda batch=batch: step(batch)) for batch in batches[2:]])
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for batch in batches[2:]:
            step(batch)

    spent: dict[str, Counter] = defaultdict(Counter)
    products: dict[str, Counter] = defaultdict(Counter)
    exponentials: Counter = Counter()
    for part, backward, event in parts_of(profiler.events()):
        spent[part]["backward" if backward else "forward"] += event.self_cpu_time_total / 1e3 / arguments.steps
        if (shape := product_shape(event)) is not None:
            products[part][shape] += 1 / arguments.steps
        elif event.name in EXPONENTIALS:
            exponentials[part] += int(np.prod(event.input_shapes[0])) / arguments.steps

    alone = {shape: product_seconds(*shape) for shape in {s for of_part in products.values() for s in of_part}}
    an_exponential, bandwidth = exponential_seconds(), bytes_a_second()
    must_move = least_bytes(model, batches[0])
    whole = sum(sum(each.values()) for each in spent.values())
    results = {}
    for part in sorted(spent, key=lambda part: -sum(spent[part].values())):
        flops = sum(2 * n * k * m * count for (n, k, m), count in products[part].items())
        result = {
            "forward_ms": spent[part]["forward"],
            "backward_ms": spent[part]["backward"],
            "share": sum(spent[part].values()) / whole,
            "product_gflop": flops / 1e9,
            "products_alone_ms": 1e3 * sum(alone[shape] * count for shape, count in products[part].items()),
            "exponentials_alone_ms": 1e3 * an_exponential * exponentials[part],
            "copy_alone_ms": 1e3 * must_move.get(part, 0) / bandwidth,
        }
        result["bound_ms"] = max(result["products_alone_ms"] + result["exponentials_alone_ms"], result["copy_alone_ms"])
        results[part] = {name: float(f"{value:.4g}") for name, value in result.items()}

    table = pd.DataFrame(
        {
            "part": part,
            "forward, ms": f"{each['forward_ms']:.1f}",
            "backward, ms": f"{each['backward_ms']:.1f}",
            "share": f"{each['share']:.0%}",
            "products, GFLOP": f"{each['product_gflop']:.2f}",
            "products alone, ms": f"{each['products_alone_ms']:.1f}",
            "exponentials alone, ms": f"{each['exponentials_alone_ms']:.1f}",
            "copy alone, ms": f"{each['copy_alone_ms']:.1f}",
            "time / bound": (
                f"{(each['forward_ms'] + each['backward_ms']) / each['bound_ms']:.1f}" if each["bound_ms"] else ""
            ),
        }
        for part, each in results.items()
    )
    speeds = {
        "step_ms": 1e3 * plain,
        "step_profiled_ms": whole,
        "product_gflop_a_second": 2e-9 * 1024**3 / product_seconds(1024, 1024, 1024),
        "exponentials_a_second": 1 / an_exponential,
        "copy_gb_a_second": bandwidth / 1e9,
    }
    speeds = {name: float(f"{value:.4g}") for name, value in speeds.items()}
    settings = {"batch": arguments.batch, "d": arguments.d, "exact": arguments.exact}
    name = "profile_step_exact" if arguments.exact else "profile_step"
    report(name, {"settings": settings, "speeds": speeds, "parts": results}, table, pd.DataFrame([speeds]))


if __name__ == "__main__":
    main()
