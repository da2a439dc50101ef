"""How IRLLRec's cost grows with the data: random power-law graphs of 1e5, 1e6 and 1e7 interactions.

    python benchmarks/speed/growth.py

A node for every 50 interactions (60 % users), texts 128 wide, the defaults, which sample the contrasts. Each size in a
process of its own: seconds to build the graph (on one thread), seconds a step and an epoch in batches of 4,096, 16,384
and 65,536 triples, and the most memory. An epoch is the steps times the median step, but for the smallest size, whose
epoch is run as well. RecBole's own way from the atomic file to the loaders is measured apart, of 1e5 and 1e6
interactions; `--load-largest` adds 1e7, which takes 3 minutes and 10 GB. Three minutes on two cores without it.

Draws the figures in results/speed/growth.svg, too, with the exponents fitted to them.
"""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measuring import (
    RESULTS,
    SyntheticDataset,
    alternate,
    begin,
    command_line,
    in_child,
    peak_memory,
    report,
    seconds,
    shown,
    spread,
)

SIZES = (100_000, 1_000_000, 10_000_000)
BATCHES = (4096, 16_384, 65_536)
STEPS = {100_000: 20, 1_000_000: 5, 10_000_000: 2}  # timed of each batch


def dataset(n_interactions: int) -> SyntheticDataset:
    n_nodes = n_interactions // 50
    n_users = n_nodes * 6 // 10
    return SyntheticDataset(n_users, n_nodes - n_users, n_interactions, {"profile": 128, "intent": 128})


def training(n_interactions: int) -> dict:
    """Graph, steps, an epoch and memory of one size."""
    from recbole_runs import OUR_DEFAULTS

    from recbole_irllrec.data.loading import load_config
    from recbole_irllrec.model.graph import InteractionGraph
    from recbole_irllrec.model.irllrec import IRLLRec

    data = dataset(n_interactions)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    graph = seconds(lambda: InteractionGraph(data.users, data.items, data.n_users, data.n_items))
    torch.set_num_threads(threads)
    found = {"interactions": n_interactions, "nodes": data.n_users + data.n_items, "graph_seconds": graph}
    rng = np.random.default_rng(0)
    with peak_memory() as memory:
        torch.manual_seed(0)
        model = IRLLRec(load_config("ml-100k", settings=OUR_DEFAULTS), data).train()
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)

        def step(batch: int) -> None:
            drawn = data.batch(batch, rng)
            optimizer.zero_grad()
            sum(model.calculate_loss(drawn)).backward()
            optimizer.step()

        taken = alternate({str(batch): partial(step, batch) for batch in BATCHES}, STEPS[n_interactions])
    found |= {"memory_mib": memory, "step_seconds": {batch: spread(values) for batch, values in taken.items()}}
    found["epoch_seconds"] = {
        batch: times["median"] * math.ceil(n_interactions / int(batch))
        for batch, times in found["step_seconds"].items()
    }
    if n_interactions == SIZES[0]:
        steps = math.ceil(n_interactions / BATCHES[0])
        found["whole_epoch_seconds"] = seconds(lambda: [step(BATCHES[0]) for _ in range(steps)])
    return found


def loading(n_interactions: int) -> dict:
    """RecBole's own way from the atomic file to the loaders."""
    from recbole_runs import Run, own_folder, write_dataset

    data = dataset(n_interactions)
    data.widths = {}
    with own_folder() as folder:
        write_dataset(folder, "random", data)
        run = Run("LightGCN", "random", folder, {})
        with peak_memory() as memory:
            read = seconds(lambda: run.dataset)
            split = seconds(lambda: run.loaders)
    return {"interactions": n_interactions, "read_seconds": read, "split_seconds": split, "memory_mib": memory}


def exponent(sizes: list[int], values: list[float]) -> float:
    """b of the least-squares fit values ∝ sizes^b."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def series(trained: list[dict], loaded: list[dict]) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """What is plotted: panel -> name -> interactions and values."""
    sizes = [each["interactions"] for each in trained]
    read_sizes = [each["interactions"] for each in loaded]
    times = {"build the graph": (sizes, [each["graph_seconds"] for each in trained])}
    times["RecBole loads"] = (read_sizes, [each["read_seconds"] + each["split_seconds"] for each in loaded])
    for what in ("step", "epoch"):
        for batch in map(str, BATCHES):
            values = [each[f"{what}_seconds"][batch] for each in trained]
            medians = [value["median"] if what == "step" else value for value in values]
            times[f"{what}, batch {int(batch):,}"] = (sizes, medians)
    memory = {
        "train": (sizes, [each["memory_mib"]["peak"] / 1024 for each in trained]),
        "RecBole loads": (read_sizes, [each["memory_mib"]["peak"] / 1024 for each in loaded]),
    }
    return {"seconds": times, "peak memory, GiB": memory}


def plot(panels: dict, exponents: dict[str, float], path: Path) -> None:
    """Both panels against the interactions, on logarithmic axes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "growth"  # the same file for the same figures
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(11, 7), layout="constrained")
    for ax, (panel, lines) in zip(axes, panels.items(), strict=True):
        for name, (sizes, values) in lines.items():
            ax.loglog(sizes, values, marker="o", label=f"{name}: exponent {exponents[f'{panel}: {name}']:.2f}")
        ax.set(xlabel="interactions", ylabel=panel)
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12))
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, choices=SIZES, help="interactions")
    parser.add_argument("--load-largest", action="store_true", help="let RecBole load 1e7 interactions, too")
    arguments = parser.parse_args()
    begin(arguments)
    trained, loaded = [], []
    for size in arguments.sizes:
        trained.append(in_child(arguments, training, size))
        print(trained[-1], flush=True)
        if size < SIZES[-1] or arguments.load_largest:
            loaded.append(in_child(arguments, loading, size))
            print(loaded[-1], flush=True)
    panels = series(trained, loaded)
    exponents = {f"{panel}: {name}": exponent(*line) for panel, lines in panels.items() for name, line in lines.items()}
    rows = [
        {
            "interactions": f"{each['interactions']:,}",
            "nodes": f"{each['nodes']:,}",
            "graph, s": f"{each['graph_seconds']:.3g}",
            **{f"s a step of {int(batch):,}": shown(times) for batch, times in each["step_seconds"].items()},
            **{f"s an epoch in {int(batch):,}": f"{value:.3g}" for batch, value in each["epoch_seconds"].items()},
            "peak memory, GiB": f"{each['memory_mib']['peak'] / 1024:.2f}",
        }
        for each in trained
    ]
    reads = [
        {
            "interactions": f"{each['interactions']:,}",
            "RecBole reads, s": f"{each['read_seconds']:.3g}",
            "splits and makes loaders, s": f"{each['split_seconds']:.3g}",
            "peak memory, GiB": f"{each['memory_mib']['peak'] / 1024:.2f}",
        }
        for each in loaded
    ]
    fits = [{"what": name, "exponent": f"{value:.2f}"} for name, value in exponents.items()]
    results = {"training": trained, "loading": loaded, "exponents": exponents}
    report("growth", results, *map(pd.DataFrame, (rows, reads, fits)))
    plot(panels, exponents, RESULTS / "growth.svg")


if __name__ == "__main__":
    main()
