"""Convert generated reviews in a process of its own and print its time and largest memory.

    python benchmarks/convert_reviews.py --reviews 10000000

The file is written first, as Amazon's of 2023 are (one JSON object a line, gzipped), with texts of 40 words on average,
users and items drawn by a power law, and every review by a new user with probability 0.3. With ``--metadata N``
a file of N items comes along, and every text has markup, as those of Amazon's 2018 may have.
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

WORDS = np.array([f"word{i}" for i in range(5000)])
BATCH = 100_000


def generate(path: Path, n: int, mark: Callable[[str], str]) -> None:
    """Write n reviews, whose texts are marked up."""
    rng = np.random.default_rng(0)
    n_users, n_items = int(0.3 * n), max(n // 50, 1)
    with gzip.open(path, "wt", compresslevel=1) as file:
        for start in range(0, n, BATCH):
            size = min(BATCH, n - start)
            users = (n_users * rng.random(size) ** 2).astype(int)
            items = (n_items * rng.random(size) ** 3).astype(int)
            ratings = rng.integers(1, 6, size)
            lengths = rng.geometric(1 / 40, size)
            words = iter(WORDS[rng.integers(0, len(WORDS), lengths.sum())].tolist())
            for user, item, rating, length in zip(users, items, ratings, lengths, strict=True):
                text = mark(" ".join(next(words) for _ in range(length)))
                file.write(
                    f'{{"rating": {rating}.0, "title": "t", "text": "{text}", "images": [], "asin": "B{item:09}", '
                    f'"parent_asin": "B{item:09}", "user_id": "AE{user:026}", "timestamp": {1588687728923 + start}, '
                    f'"helpful_vote": 0, "verified_purchase": true}}\n'
                )


def generate_metadata(path: Path, n: int) -> None:
    """Write n items."""
    with gzip.open(path, "wt", compresslevel=1) as file:
        for item in range(n):
            words = " ".join(WORDS[(item + np.arange(30)) % len(WORDS)])
            record = {"parent_asin": f"B{item:09}", "title": f"Cup &amp; {words[:30]}", "price": "$1,299.00"}
            record |= {"description": [marked(words), f"<p>{words}</p>"], "categories": ["Toys &amp; Games", "Cups"]}
            file.write(json.dumps(record) + "\n")


def marked(text: str) -> str:
    """A text with a line break and entities."""
    return f"{text[:20]}<br />{text[20:]} &#34;soft&#34;"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, default=10_000_000)
    parser.add_argument("--k-core", type=int, default=5)
    parser.add_argument("--metadata", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reviews.jsonl.gz")
        generate(path, arguments.reviews, marked if arguments.metadata else str)
        options = ["--name=generated", "--min-rating=3", f"--k-core={arguments.k_core}"]
        if arguments.metadata:
            generate_metadata(Path(folder, "items.jsonl.gz"), arguments.metadata)
            options.append(f"--items={folder}/items.jsonl.gz")
        command = [sys.executable, "-m", "recbole_irllrec.cli.app", "data", "convert", "amazon", path, *options]
        print(f"{path.stat().st_size / 1e9:.2f} GB of reviews", flush=True)
        start = time.perf_counter()
        subprocess.run([*command, f"--out={folder}"], check=True)
        seconds = time.perf_counter() - start
    # Linux counts in kibibytes; the only child is the converter.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{arguments.reviews:,} reviews: {seconds:.0f} s, at most {peak:.2f} GiB of memory")


if __name__ == "__main__":
    main()
