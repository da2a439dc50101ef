"""A step of IRLLRec beside one of the dense formulation (`dense.py`), at Amazon-book's size.

    python benchmarks/speed/against_dense.py

11,000 users, 9,332 items, 120,464 interactions, every term at its published weight, a batch of 4,096. Texts are 1,536
(profile) and 3,072 (intent) wide, or 384. "Exact" is `contrast_nodes: all`, `intent_neighbours: all` and `text_dim: ~`;
"defaults" has these settings by default, and all else as published. A step is forward, backward and Adam.

First, from the same parameters and with the same noise, exact and dense give the same losses and gradients; then the
memory of a first step is measured in a process of its own; then they take turns. About five minutes on two cores, 8 GB.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from dense import DenseIRLLRec
from measuring import (
    AMAZON_BOOK,
    DEVICE,
    SyntheticDataset,
    alternate,
    begin,
    command_line,
    in_child,
    peak_memory,
    ratio,
    report,
    shown,
    spread,
)
from recbole_runs import OUR_DEFAULTS

from recbole_irllrec.data.loading import load_config
from recbole_irllrec.model.irllrec import IRLLRec
from recbole_irllrec.settings.sources import read_settings

BATCH = 4096
WIDTHS = {"published": {"profile": 1536, "intent": 3072}, "384": {"profile": 384, "intent": 384}}
EXACT = {"contrast_nodes": "all", "intent_neighbours": "all", "text_dim": None}
DEFAULTS = {name: OUR_DEFAULTS[name] for name in EXACT}
# name: width of the texts, settings of IRLLRec beside the published ones (None: the dense formulation)
VARIANTS: dict[str, tuple[str, dict | None]] = {
    "dense, published width": ("published", None),
    "exact, published width": ("published", EXACT),
    "defaults, published width": ("published", DEFAULTS),
    "dense, 384 wide": ("384", None),
    "exact, 384 wide": ("384", EXACT),
    "defaults, 384 wide": ("384", DEFAULTS),
}


def config(settings: dict | None):
    """RecBole's settings with the published ones; the data set's name does not matter."""
    return load_config("ml-100k", settings={"preset": "published", **(settings or {})})


def dataset(width: str) -> SyntheticDataset:
    return SyntheticDataset(**AMAZON_BOOK, widths=WIDTHS[width])


def build(width: str, settings: dict | None) -> torch.nn.Module:
    """The model, or the dense formulation."""
    data = dataset(width)
    torch.manual_seed(0)
    if settings is not None:
        return IRLLRec(config(settings), data)
    texts = [torch.as_tensor(data.text(kind), device=DEVICE) for kind in ("profile", "intent")]
    return DenseIRLLRec(data.users, data.items, data.n_users, data.n_items, *texts, read_settings(config(None)))


def nodes(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch's ids as nodes."""
    n_users = AMAZON_BOOK["n_users"]
    return batch["user_id"] - 1, batch["item_id"] - 1 + n_users, batch["neg_item_id"] - 1 + n_users


def fresh_noise() -> tuple[torch.Tensor, torch.Tensor]:
    """ε and ε' of translation alignment; d is 32 in the published settings."""
    shape = AMAZON_BOOK["n_users"] + AMAZON_BOOK["n_items"], 32
    return torch.randn(shape, device=DEVICE), torch.randn(shape, device=DEVICE)


def stepper(width: str, settings: dict | None) -> Callable[[], None]:
    """What takes one training step after another."""
    data, model = dataset(width), build(width, settings)
    model.train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    rng = np.random.default_rng(0)

    def step() -> None:
        batch = nodes(data.batch(BATCH, rng))
        noise = (fresh_noise(),) if settings is None else ()
        optimizer.zero_grad()
        sum(model.loss_terms(batch, *noise).values()).backward()
        optimizer.step()

    return step


def memory(width: str, settings: dict | None) -> dict[str, float]:
    """The memory of a first step, in MiB."""
    step = stepper(width, settings)
    with peak_memory() as found:
        step()
    return found


# where the dense formulation's parameters are among the model's
EMBEDDINGS = {"user_embedding": "user_embedding.weight", "item_embedding": "item_embedding.weight"}


def differences(width: str) -> dict[str, dict[str, float]]:
    """How far exact and dense are apart, relative to the largest absolute value of each: loss terms and gradients."""
    data, ours, dense = dataset(width), build(width, EXACT), build(width, None)
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            own = ours.get_parameter(EMBEDDINGS.get(name, f"alignment.{name}"))
            parameter.copy_(own[1:] if name in EMBEDDINGS else own)
    noise = fresh_noise()
    ours.alignment.translation_noise = lambda like: noise
    batch = nodes(data.batch(BATCH, np.random.default_rng(1)))
    found, expected = ours.loss_terms(batch), dense.loss_terms(batch, noise)
    for terms in (found, expected):
        sum(terms.values()).backward()

    def apart(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(((a - b).abs().max() / b.abs().max()).detach())

    gradients = {}
    for name, parameter in dense.named_parameters():
        if parameter.grad is not None:
            own = ours.get_parameter(EMBEDDINGS.get(name, f"alignment.{name}")).grad
            gradients[name] = apart(own[1:] if name in EMBEDDINGS else own, parameter.grad)
    return {"losses": {name: apart(found[name], term) for name, term in expected.items()}, "gradients": gradients}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds, after one to warm up (default: 3)")
    arguments = parser.parse_args()
    begin(arguments)

    apart = {width: differences(width) for width in WIDTHS}
    worst = {width: max(max(each.values()) for each in of.values()) for width, of in apart.items()}
    print("exact against dense, largest relative difference of a loss or gradient:", worst, flush=True)
    if max(worst.values()) > 1e-4:
        raise SystemExit("They are not the same: no comparison.")

    peaks = {name: in_child(arguments, memory, *variant) for name, variant in VARIANTS.items()}
    taken: dict[str, list[float]] = {}
    for width in WIDTHS:
        of_width = {name: stepper(*variant) for name, variant in VARIANTS.items() if variant[0] == width}
        taken |= alternate(of_width, arguments.repeats)
        del of_width

    rows, results = [], {}
    for name, (width, _) in VARIANTS.items():
        dense = next(other for other, variant in VARIANTS.items() if variant == (width, None))
        faster = ratio(taken[dense], taken[name])
        less = peaks[name]["growth"] / peaks[dense]["growth"]
        results[name] = {"step_seconds": spread(taken[name]), "times_faster": faster, "memory_mib": peaks[name]}
        results[name]["memory_share"] = less
        rows.append(
            {
                "": name,
                "a step, s": shown(results[name]["step_seconds"]),
                "times faster": shown(faster),
                "memory of a step, MiB": f"{peaks[name]['growth']:.0f}",
                "share of the dense": f"{less:.3f}",
            }
        )
    report("against_dense", {"relative_differences": apart, "variants": results}, pd.DataFrame(rows))


if __name__ == "__main__":
    main()
