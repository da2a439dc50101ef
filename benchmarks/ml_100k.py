"""IRLLRec, IRLLRec without text, LightGCN, BPR and EASE on ml-100k: the table of the README.

    irllrec data split ml-100k --name ml-100k-split
    python benchmarks/ml_100k.py --jobs 2

One split for all. Each model draws as many settings from its space, the best on validation is trained with five seeds,
and the test set is looked at with these alone. Finished runs are kept in results/ml-100k and not repeated.
"""

import argparse
import json
import os
import time
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from tqdm import tqdm

RESULTS = Path(__file__).parent.parent / "results" / "ml-100k"
METRICS = ("recall@10", "ndcg@10", "mrr@10")
TRIALS, SEEDS = 4, (1, 2, 3, 4, 5)
COMMON = {
    "benchmark_filename": ["train", "valid", "test"],
    "valid_metric": "NDCG@10",
    "epochs": 60,
    "stopping_step": 5,
    "train_batch_size": 4096,
    "eval_batch_size": 4_000_000,
    "metric_decimal_place": 6,
    "show_progress": False,
    "state": "ERROR",
}
# Translation alignment and matching are off: their published weights, 1e-7, are next to nothing, and cost much time.
OFF = {"translation_weight": 0.0, "matching_weight": 0.0}
SOFTMAX = {"softmax_temperature": [0.15, 0.2, 0.25, 0.3], "n_layers": [2, 3]}
TEXT = {"profile_weight": [1e-3, 1e-2], "pairwise_weight": [1e-3, 1e-2]}
IRLLREC = {"ranking_loss": "softmax", "learning_rate": 0.003, "contrast_nodes": "all"} | OFF
# a row's name: RecBole's name of the model, what is fixed, what is drawn
MODELS: dict[str, tuple[str, dict, dict]] = {
    "IRLLRec": ("IRLLRec", IRLLREC, SOFTMAX | TEXT),
    "IRLLRec without text": ("IRLLRec", IRLLREC | dict.fromkeys(TEXT, 0.0), SOFTMAX),
    "LightGCN": (
        "LightGCN",
        {"learning_rate": 0.01, "stopping_step": 10},
        {"reg_weight": [1e-6, 1e-5, 1e-4, 1e-3], "n_layers": [2, 3]},
    ),
    "BPR": ("BPR", {"learning_rate": 0.003}, {"weight_decay": [0.0, 1e-6, 1e-5, 1e-4], "embedding_size": [32, 64]}),
    "EASE": ("EASE", {"epochs": 1}, {"reg_weight": [100.0, 200.0, 400.0, 700.0]}),
}


def drawn(space: dict[str, list]) -> list[dict]:
    """TRIALS settings: a Latin square's rows, so that each value of a setting is drawn equally often.

    A setting's draws do not depend on what else is in the space: models that share settings are tried with the same.
    """
    columns = {}
    for name, values in space.items():
        order = np.random.default_rng(zlib.crc32(name.encode())).permutation(TRIALS)
        columns[name] = [values[n % len(values)] for n in order]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def train(name: str, dataset: str, seed: int, settings: dict, folder: str) -> dict:
    """One run: its best validation metrics and the test metrics of that epoch."""
    os.chdir(folder)
    import sys

    sys.argv = sys.argv[:1]  # RecBole reads it
    import torch

    torch.set_num_threads(1)
    from recbole.quick_start import run_recbole

    import recbole_irllrec  # noqa: F401

    model, fixed, _ = MODELS[name]
    begun = time.perf_counter()
    with TemporaryDirectory() as own:  # RecBole names a checkpoint by the second
        config = {**COMMON, **fixed, **settings, "seed": seed, "checkpoint_dir": own}
        result = run_recbole(model, dataset, config_dict=config)
    seconds = time.perf_counter() - begun
    return {
        "model": name,
        "seed": seed,
        "settings": json.dumps(settings, sort_keys=True),
        "seconds": round(seconds),
        **{f"valid {metric}": result["best_valid_result"][metric] for metric in METRICS},
        **{f"test {metric}": result["test_result"][metric] for metric in METRICS},
    }


def run_all(tasks: list[dict], dataset: str, jobs: int, file: Path) -> pd.DataFrame:
    """The rows of all tasks (name, seed, settings); those that the file has are not run again."""
    done = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["model", "seed", "settings"])
    known = set(zip(done["model"], done["seed"], done["settings"], strict=True))
    left = [t for t in tasks if (t["name"], t["seed"], json.dumps(t["settings"], sort_keys=True)) not in known]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        futures = [pool.submit(train, dataset=dataset, folder=os.getcwd(), **task) for task in left]
        for future in tqdm(as_completed(futures), desc=file.stem, unit="run", total=len(futures), disable=not left):
            done = pd.concat([done, pd.DataFrame([future.result()])], ignore_index=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            done.to_csv(file, index=False)
    return done


def table(runs: pd.DataFrame) -> str:
    """Mean ± standard deviation over the seeds, in Markdown, the best mean of each metric in bold."""
    groups = runs.groupby("model")[[f"test {metric}" for metric in METRICS]]
    means, spreads = groups.mean(), groups.std()
    rows = []
    for name in MODELS:
        cells = [
            f"{'**' if mean == means[column].max() else ''}{mean:.4f}{'**' if mean == means[column].max() else ''}"
            f" ± {spreads.loc[name, column]:.4f}"
            for column, mean in means.loc[name].items()
        ]
        rows.append(" | ".join([name, *cells]))
    head = " | ".join(
        ["model", *(metric.replace("recall", "Recall").upper().replace("RECALL", "Recall") for metric in METRICS)]
    )
    return "\n".join(f"| {row} |" for row in (head, " | ".join(["---"] * (1 + len(METRICS))), *rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k-split", help="the split data set (default: ml-100k-split)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each (default: 1)")
    arguments = parser.parse_args()
    trials = [{"name": name, "seed": 0, "settings": settings} for name in MODELS for settings in drawn(MODELS[name][2])]
    tried = run_all(trials, arguments.dataset, arguments.jobs, RESULTS / "trials.csv")
    best = tried.loc[tried.groupby("model")["valid ndcg@10"].idxmax()].set_index("model")["settings"]
    finals = [{"name": name, "seed": seed, "settings": json.loads(best[name])} for seed in SEEDS for name in MODELS]
    runs = run_all(finals, arguments.dataset, arguments.jobs, RESULTS / "runs.csv")
    print(best.loc[list(MODELS)].to_string(), table(runs), sep="\n\n")


if __name__ == "__main__":
    main()
