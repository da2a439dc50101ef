"""What the speed benchmarks share: alternating timers, peak memory, synthetic data, results as JSON and Markdown."""

import argparse
import gc
import json
import os
import platform
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import scipy.sparse as sp
import torch

RESULTS = Path(__file__).resolve().parents[2] / "results" / "speed"
MIB = 1 << 20
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


# ---- time and memory ------------------------------------------------------------------------------------------------


def command_line(description: str) -> argparse.ArgumentParser:
    """The options of every program here; `begin` obeys them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="measure the processor's time instead of the clock's: on a machine that does other work, too, with one "
        "thread",
    )
    return parser


def begin(arguments: argparse.Namespace) -> None:
    """Set threads and clock; call it first."""
    global _clock
    torch.set_num_threads(arguments.threads)
    _clock = time.process_time if arguments.processor_time else time.perf_counter


_clock: Callable[[], float] = time.perf_counter


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(task: Callable[[], object]) -> float:
    """How long a task takes."""
    synchronize()
    begun = _clock()
    task()
    synchronize()
    return _clock() - begun


def alternate(tasks: dict[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each task. Every round runs all of them, so that whatever else the machine does meets all alike.

    A task that returns a number has measured itself.
    """
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(-warm_up, repeats):
        for name, task in tasks.items():
            own: list[object] = []
            once = seconds(lambda task=task, own=own: own.append(task()))
            if turn >= 0:
                taken[name].append(own[0] if isinstance(own[0], float) else once)
    return taken


def spread(values: list[float]) -> dict[str, Any]:
    """The median, the extremes and the values themselves."""
    rounded = [float(f"{value:.4g}") for value in values]
    return {"median": statistics.median(rounded), "min": min(rounded), "max": max(rounded), "all": rounded}


def ratio(numerator: list[float], denominator: list[float]) -> dict[str, Any]:
    """The spread of the ratios, round by round, of two tasks that took turns."""
    return spread([n / d for n, d in zip(numerator, denominator, strict=True)])


def shown(values: dict[str, Any], digits: int = 3) -> str:
    """A spread as text: median (smallest to largest)."""
    median, least, most = (f"{values[name]:.{digits}g}" for name in ("median", "min", "max"))
    return f"{median} ({least} to {most})"


@contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """Measures, into the dictionary that it gives, ``peak`` and ``growth``: MiB at most, and above those at the start.

    Of the GPU if there is one, else the resident memory of this process, looked at every millisecond.
    """
    found: dict[str, float] = {}
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        peak = torch.cuda.max_memory_allocated()
    else:
        gc.collect()
        process, done = psutil.Process(), threading.Event()
        before = peak = process.memory_info().rss

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.001):
                peak = max(peak, process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield found
        finally:
            done.set()
            watcher.join()
    found |= {"peak": peak / MIB, "growth": (peak - before) / MIB}


def in_child(options: argparse.Namespace, function: Callable, *arguments) -> Any:
    """What a function of a module returns, called in a fresh process: its memory is its own."""
    with ProcessPoolExecutor(1, get_context("spawn"), begin, (options,)) as pool:
        return pool.submit(function, *arguments).result()


# ---- synthetic data -------------------------------------------------------------------------------------------------


def power_law(n_users: int, n_items: int, n_interactions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Different pairs of a user and an item, popularity falling as a power of the rank.

    Returns:
        [n_interactions] users and items, from 0; every user and every item has one at least.
    """
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(  # every user with some item, every item with some user
        [
            np.arange(n_users) * n_items + _skewed(rng, n_items, n_users),
            _skewed(rng, n_users, n_items) * n_items + np.arange(n_items),
        ]
    )
    pairs = np.unique(drawn)
    if len(pairs) > n_interactions:
        raise ValueError(f"{n_interactions} interactions are too few for {n_users} users and {n_items} items.")
    others = np.empty(0, np.int64)
    while (missing := n_interactions - len(pairs) - len(others)) > 0:
        more = _skewed(rng, n_users, missing + 1000) * n_items + _skewed(rng, n_items, missing + 1000)
        others = np.setdiff1d(np.union1d(others, more), pairs, assume_unique=True)
    pairs = np.concatenate([pairs, rng.permutation(others)[: n_interactions - len(pairs)]])
    rng.shuffle(pairs)
    return pairs // n_items, pairs % n_items


def _skewed(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Numbers below n whose frequency falls as a power of the number."""
    return (n * rng.random(size) ** 2).astype(np.int64)


@dataclass
class SyntheticDataset:
    """What IRLLRec and LightGCN read of a training data set, from random interactions and texts.

    Args:
        n_users, n_items, n_interactions: as of `power_law`.
        widths: the widths of the embedded texts by kind.
    """

    n_users: int
    n_items: int
    n_interactions: int
    widths: dict[str, int]
    users: np.ndarray = field(init=False)
    items: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.users, self.items = power_law(self.n_users, self.n_items, self.n_interactions)

    def num(self, name: str) -> int:
        """How many ids a field has, the padding among them."""
        return {"user_id": self.n_users, "item_id": self.n_items}[name] + 1

    def inter_matrix(self, form: str) -> sp.coo_matrix:
        """The interactions by RecBole's ids."""
        ones = np.ones(len(self.users), np.float32)
        return sp.coo_matrix((ones, (self.users + 1, self.items + 1)), shape=(self.n_users + 1, self.n_items + 1))

    def text(self, kind: str, text_dim: int | None = None) -> np.ndarray:
        """[N, width] random embeddings of unit length, float32, the same at each call.

        With the setting ``text_dim`` no wider than that: what is drawn so costs a step as much as what is reduced so.
        """
        rng = np.random.default_rng(sum(kind.encode()))
        width = min(self.widths[kind], text_dim or self.widths[kind])
        texts = rng.standard_normal((self.n_users + self.n_items, width), dtype=np.float32)
        texts /= np.linalg.norm(texts, axis=1, keepdims=True)
        return texts

    def node_texts(self, config, kinds) -> dict:
        """As of `IRLLRecDataset`."""
        from recbole_irllrec.data.text import NodeText

        present = np.ones(self.n_users + self.n_items, dtype=bool)
        return {kind: NodeText(self.text(kind, config["text_dim"]), present) for kind in kinds}

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """A batch as RecBole's loader makes it, negatives drawn evenly, those that the user has among them."""
        chosen = rng.choice(len(self.users), size, replace=False, shuffle=False)
        columns = {
            "user_id": self.users[chosen] + 1,
            "item_id": self.items[chosen] + 1,
            "neg_item_id": rng.integers(1, self.n_items + 1, size),
        }
        return {name: torch.as_tensor(values, device=DEVICE) for name, values in columns.items()}


# Amazon-book as the published code has it
AMAZON_BOOK = {"n_users": 11_000, "n_items": 9_332, "n_interactions": 120_464}


# ---- results --------------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """The processor, its cores, the threads in use, the versions: what a figure depends on."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", information.read_text(), flags=re.MULTILINE)
        name = found.group(1) if found else name
    described = {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "time": "of the processor" if _clock is time.process_time else "of the clock",
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    return described


def report(name: str, results: dict[str, Any], *tables: pd.DataFrame) -> None:
    """Write ``results/speed/<name>.json`` and ``.md``, and print both; the tables are what the second holds."""
    data = {"machine": machine(), **results}
    told = "{processor}, {cores} cores, {threads} threads, torch {torch}; time {time}".format(**data["machine"])
    told += f", {data['machine']['gpu']}" if "gpu" in data["machine"] else ""
    text = "\n\n".join([*(table.to_markdown(index=False, disable_numparse=True) for table in tables), told]) + "\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    written = json.dumps(data, indent=1)
    RESULTS.joinpath(f"{name}.json").write_text(re.sub(r"\[[\d\s.,e+-]*\]", _one_line, written) + "\n")
    RESULTS.joinpath(f"{name}.md").write_text(text)
    print(written, text, sep="\n\n")


def _one_line(numbers: re.Match[str]) -> str:
    return " ".join(numbers.group().split())
