"""How fast recommendations are made where users and items are many, and in how much memory.

Random embeddings and interactions; a sample of the users is ranked, as ``irllrec recommend --users all`` ranks them,
and the time for all is computed from it::

    python benchmarks/recommend.py --n-users 200000 --n-items 300000 --sample 5000

On a busy machine threads wait for one another, so ``OMP_NUM_THREADS=1`` and the processor's time say more there.
"""

import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import pyarrow as pa
import torch
import typer
from scipy.sparse import csr_matrix

from recbole_irllrec.recommend import SCHEMA, Ranker, Recommendations, Vectors, write_tables


def main(
    n_users: Annotated[int, typer.Option(help="Users of the data set.")] = 200_000,
    n_items: Annotated[int, typer.Option(help="Items of the data set.")] = 300_000,
    sample: Annotated[int, typer.Option(help="Users that are ranked.")] = 5_000,
    dim: Annotated[int, typer.Option(help="Width of an embedding.")] = 64,
    seen: Annotated[int, typer.Option(help="Interactions of each user.")] = 50,
    k: Annotated[int, typer.Option(help="Recommendations a user.")] = 20,
) -> None:
    """Rank a sample of random users, write the result as Parquet, and print time and memory."""
    generator = torch.Generator().manual_seed(0)
    user_e, item_e = (torch.randn(n, dim, generator=generator) for n in (n_users, n_items))
    rng = np.random.default_rng(0)
    columns = rng.integers(n_items, size=n_users * seen, dtype=np.int32)
    ends = np.arange(0, len(columns) + 1, seen)
    seen_items = csr_matrix((np.ones(len(columns), np.float32), columns, ends), (n_users, n_items))
    tokens = pa.array(np.arange(max(n_users, n_items))).cast(pa.string())
    users = rng.choice(np.arange(1, n_users), min(sample, n_users - 1), replace=False)
    before = _peak()

    ranker = Ranker(Vectors(user_e, item_e), k, seen_items, np.arange(1, n_items))
    start, start_of_processor = time.perf_counter(), time.process_time()

    def tables():
        for block in ranker.blocks(users):
            user, rank, item, score = ranker(block)
            yield pa.table([tokens.take(pa.array(user)), rank, tokens.take(pa.array(item)), score], SCHEMA)

    with TemporaryDirectory() as folder:
        n_rows = write_tables(Path(folder) / "best.parquet", Recommendations(SCHEMA, tables()))
    seconds, of_processor = time.perf_counter() - start, time.process_time() - start_of_processor
    rate = len(users) / seconds
    print(f"{n_users} users x {n_items} items, {dim} wide, k = {k}, {torch.get_num_threads()} threads")
    print(f"{len(users)} users in {seconds:.1f} s: {rate:.0f} users/s, {n_rows} rows")
    print(f"{of_processor:.1f} s of the processor: {len(users) / of_processor:.0f} users a second of a core")
    print(f"all {n_users} users: {n_users / rate / 60:.1f} min, computed from these")
    print(f"peak memory {_peak():.2f} GB, of which {before:.2f} GB before ranking (embeddings and interactions)")


def _peak() -> float:
    """The largest resident memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    typer.run(main)
