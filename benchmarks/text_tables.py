"""How long it takes to read a text table and to align it with a data set's ids.

    python benchmarks/text_tables.py --nodes 1000000 --dim 384 --dtype float32

Half of the nodes are users, half items, as a run reads them: two tables, whose ids the data set has in another order.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from recbole_irllrec.tables.intents import IntentTable, open_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asked = {side: _write(Path(folder, f"{side}.parquet"), side, given) for side in ("user", "item")}
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e9
        print(f"{given.nodes} nodes x {given.dim}, {given.dtype}: {size:.2f} GB on disk")
        for repeat in range(given.repeats):
            wall, cpu = time.perf_counter(), time.process_time()
            for side, tokens in asked.items():
                rows = open_table(Path(folder, f"{side}.parquet")).rows_for(tokens)
                assert len(rows.embeddings) == len(tokens)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(f"read and aligned, {repeat + 1}: {wall:.2f} s, {cpu:.2f} s of CPU")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"most memory of the process, writing included: {peak:.2f} GB")


def _write(path: Path, side: str, given: argparse.Namespace) -> np.ndarray:
    """Write a table with a text for each token and without one embedding in a thousand; returns shuffled tokens."""
    rng = np.random.default_rng(0)
    n = given.nodes // 2
    embeddings = rng.standard_normal((n, given.dim), dtype=np.float32).astype(given.dtype, copy=False)
    embeddings[::1000] = 0
    tokens = np.array([f"{side[0]}B{number:09}" for number in range(n)], object)
    texts = [
        f"title: number {number} of its kind; genre: the {number % 97}th; and some words more" for number in range(n)
    ]
    IntentTable.from_arrays(tokens, embeddings, texts, encoder="random", source="features").write(path)
    return rng.permutation(tokens)


if __name__ == "__main__":
    main()
