"""What exact and sampled contrasts, and narrower texts, cost and bring: accuracy and time to it, over seeds.

    irllrec data split ml-100k --name ml-100k-split
    python benchmarks/accuracy.py --dataset ml-100k-split
    python benchmarks/accuracy.py --dataset citeulike-a --data-path sentences --metric NDCG@20

(For sentences/ see citeulike.py.) Each variant of the settings is trained with the same seeds; the validation picks the
epoch and the test set is looked at once. Time is processor time, which other work on the machine changes little.
Finished runs are kept in results/speed/accuracy-<dataset>.csv and not repeated.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

RESULTS = Path(__file__).parent.parent / "results" / "speed"
COMMON = {
    "benchmark_filename": ["train", "valid", "test"],
    "ranking_loss": "softmax",
    "n_layers": 2,
    "learning_rate": 0.003,
    "train_batch_size": 4096,
    "metrics": ["Recall", "NDCG"],
    "metric_decimal_place": 6,
    "show_progress": False,
    "state": "ERROR",
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
}


def train(dataset: str, data_path: str, metric: str, settings: dict, seed: int) -> dict:
    """One run's best validation score, the test metrics of that epoch, and the processor seconds up to it."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    import recbole_irllrec  # noqa: F401

    k = int(metric.split("@")[1])
    scores: list[float] = []
    seconds: list[float] = []
    with TemporaryDirectory() as own:  # RecBole names a checkpoint by the second
        of_run = {"data_path": data_path, "checkpoint_dir": own, "seed": seed, "valid_metric": metric, "topk": [k]}
        config = Config("IRLLRec", dataset, config_dict={**COMMON, **OF_DATASET[dataset], **settings, **of_run})
        init_seed(seed, config["reproducibility"])
        train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
        trainer = get_trainer(config["MODEL_TYPE"], "IRLLRec")(config, get_model("IRLLRec")(config, train_data.dataset))
        begun = time.process_time()

        def note(epoch: int, score: float) -> None:
            scores.append(score)
            seconds.append(time.process_time() - begun)

        trainer.fit(train_data, valid_data, verbose=False, callback_fn=note)
        tested = trainer.evaluate(test_data)
    best = max(range(len(scores)), key=scores.__getitem__)
    return {
        "valid": scores[best],
        **{f"test {name}": value for name, value in tested.items()},
        "best epoch": (best + 1) * config["eval_step"],
        "CPU seconds to it": round(seconds[best], 1),
        "CPU seconds an epoch": round(seconds[-1] / (len(seconds) * config["eval_step"]), 2),
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
    sys.argv = sys.argv[:1]  # RecBole reads it
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    file = RESULTS / f"accuracy-{arguments.name or arguments.dataset}.csv"
    runs = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["variant", "seed"])
    for seed in range(1, arguments.seeds + 1):
        for variant in arguments.variants:
            if ((runs["variant"] == variant) & (runs["seed"] == seed)).any():
                continue
            found = train(arguments.dataset, arguments.data_path, arguments.metric, VARIANTS[variant], seed)
            runs = pd.concat([runs, pd.DataFrame([{"variant": variant, "seed": seed, **found}])], ignore_index=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            runs.to_csv(file, index=False)
            print(variant, seed, found, flush=True)
    table = runs.groupby("variant", sort=False).agg(["mean", "std"]).drop(columns="seed", level=0)
    print(table.to_markdown(floatfmt=".4f"))


if __name__ == "__main__":
    main()
