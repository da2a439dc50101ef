"""What sampled contrasts, narrower texts and the parts of the ranking loss cost and bring, over seeds.

    irllrec data split ml-100k --name ml-100k-split
    python benchmarks/accuracy.py --dataset ml-100k-split
    python benchmarks/accuracy.py --dataset citeulike-a --data-path dataset --metric NDCG@20

(results/sweeps/README.md tells how citeulike-a gets its texts.) Each variant of the settings is trained with the same
seeds; the validation picks the epoch and the test set is looked at once. Time is processor time, which other work on
the machine changes little. Finished runs are kept in results/speed/accuracy-<dataset>.csv and not repeated.
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
import yaml

from recbole_irllrec import runs
from recbole_irllrec.runs import Settings, Splits
from recbole_irllrec.settings.sources import defaults

RESULTS = Path(__file__).parent.parent / "results" / "speed"
COMMON = {
    **defaults("IRLLRec", "", {}, yaml.SafeLoader),  # not what was tuned for a data set
    "benchmark_filename": ["train", "valid", "test"],
    "ranking_loss": "softmax",
    "n_layers": 2,
    "learning_rate": 0.003,
    "train_batch_size": 4096,
    "metrics": ["Recall", "NDCG"],
    "metric_decimal_place": 6,
    "translation_weight": 0.0,  # its cost, exact, is N² at each step
    "matching_weight": 0.0,
    "pairwise_weight": 0.01,
}
OF_DATASET = {
    "ml-100k-split": {
        "softmax_temperature": 0.25,
        "profile_weight": 0.001,
        "epochs": 25,
        "stopping_step": 5,
    },
    "citeulike-a": {
        "softmax_temperature": 0.15,
        "profile_weight": 0.1,
        "embedding_size": 32,
        "epochs": 12,
        "eval_step": 2,
        "stopping_step": 2,
        "user_text": "mean_of_items",
        "min_text_coverage": 0.0,
    },
}
# TRANSLATED: with weights at which translation alignment and matching matter
TRANSLATED = {"translation_weight": 0.01, "matching_weight": 0.01}
# the ranking loss's parts, at a temperature that suits them all
WARM = {"softmax_temperature": 0.3}
ALL = {"softmax_negatives": "all"}
BIAS = {"item_bias": True}
LARGE = {"train_batch_size": 16_384, "learning_rate": 0.006, "epochs": 30}
VARIANTS = {
    "exact": {"contrast_nodes": "all", "text_dim": None},
    "default": {},
    "512 nodes": {"contrast_nodes": 512},
    "text_dim: 128": {"text_dim": 128},
    "exact, text_dim: 128": {"contrast_nodes": "all", "text_dim": 128},
    "512 nodes, text_dim: 128": {"contrast_nodes": 512, "text_dim": 128},
    "32 intents": {"n_intents": 32},
    "batches of 16384": LARGE,
    "batches of 16384, 4096 nodes": {"contrast_nodes": 4096, **LARGE},
    "exact, translated": {"contrast_nodes": "all", "text_dim": None, **TRANSLATED},
    "default, translated": TRANSLATED,
    "1,024 drawn items": WARM,
    "1,024 drawn items, biases": WARM | BIAS,
    "all items": WARM | ALL,
    "all items, biases": WARM | ALL | BIAS,
    "all items, biases, no text": WARM | ALL | BIAS | {"profile_weight": 0.0, "pairwise_weight": 0.0},
}


def train(splits: Splits, settings: Settings, seed: int) -> dict[str, float]:
    """One run's best validation score, the test metrics of that epoch, and the processor seconds up to it."""
    ended: list[float] = []  # processor time at the end of each evaluation
    with TemporaryDirectory() as own:
        begun = time.process_time()

        def note(_evaluation: runs.Evaluation) -> None:
            ended.append(time.process_time() - begun)

        run = runs.train("IRLLRec", splits, {**settings, "seed": seed}, own, on_evaluation=note)
        tested = run.test().metrics
    best = run.best
    return {
        "valid": best.metrics[run.config["valid_metric"].lower()],
        **{f"test {name}": value for name, value in tested.items()},
        "best epoch": best.epoch + 1,
        "CPU seconds to it": round(ended[run.history.index(best)], 1),
        "CPU seconds an epoch": round(ended[-1] / (run.history[-1].epoch + 1), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=OF_DATASET, required=True)
    parser.add_argument("--data-path", default="dataset", help="folder that holds its folder (default: dataset)")
    parser.add_argument("--metric", default="NDCG@10", help="what validation goes by (default: NDCG@10)")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--name", help="of the results (default: the data set's)")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    of_dataset = {"valid_metric": arguments.metric, "topk": [int(arguments.metric.split("@")[1])]}
    settings = {**COMMON, **OF_DATASET[arguments.dataset], **of_dataset}
    splits = runs.load_splits(arguments.dataset, Path(arguments.data_path), settings=settings)
    file = RESULTS / f"accuracy-{arguments.name or arguments.dataset}.csv"
    found = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["variant", "seed"])
    for seed in range(1, arguments.seeds + 1):
        for variant in arguments.variants:
            if ((found["variant"] == variant) & (found["seed"] == seed)).any():
                continue
            run = {"variant": variant, "seed": seed, **train(splits, VARIANTS[variant], seed)}
            found = pd.concat([found, pd.DataFrame([run])], ignore_index=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            found.to_csv(file, index=False)
            print(run, flush=True)
    table = found.groupby("variant", sort=False).agg(["mean", "std"]).drop(columns="seed", level=0)
    print(table.to_markdown(floatfmt=".4f"))


if __name__ == "__main__":
    main()
