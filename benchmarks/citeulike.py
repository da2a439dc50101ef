"""What text brings on citeulike-a, by the users' number of training interactions.

    cp -r dataset sentences
    irllrec intents embed citeulike-a --data-path sentences --side item \\
        --encoder sentence-transformers --encoder-model all-MiniLM-L6-v2
    python benchmarks/citeulike.py --data-path dataset --sentences-path sentences

IRLLRec without text, with the embedded default (TF-IDF and SVD of the readers' tags), and with a sentence encoder's
embeddings of the same tags, each with the same number of epochs and all else equal. Finished runs are kept in
results/citeulike-a and not repeated.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
import yaml

from recbole_irllrec.settings import defaults

RESULTS = Path(__file__).parent.parent / "results" / "citeulike-a"
SEEDS = (1,)
METRICS = ("recall@20", "ndcg@20")
COMMON = {
    **defaults("IRLLRec", "", {}, yaml.SafeLoader),  # not what was tuned for a data set
    "benchmark_filename": ["train", "valid", "test"],
    "embedding_size": 64,
    "n_layers": 2,
    "ranking_loss": "softmax",
    "softmax_temperature": 0.15,
    "learning_rate": 0.003,
    "train_batch_size": 4096,
    "epochs": 12,
    "stopping_step": 2,
    "valid_metric": "NDCG@20",
    "metrics": ["Recall", "NDCG"],
    "topk": [20],
    "metric_decimal_place": 6,
    "translation_weight": 0.0,  # its published weight, 1e-7, is next to nothing and costs N² products a step
    "matching_weight": 0.0,
    "contrast_nodes": "all",
    "min_text_coverage": 0.0,  # 3,461 of 16,980 items have no tags
    "show_progress": False,
    "state": "WARNING",
}
NO_TEXT = {"profile_weight": 0.0, "pairwise_weight": 0.0}
TEXT = {"profile_weight": 0.1, "pairwise_weight": 0.01}


def train(data_path: str, settings: dict, seed: int) -> tuple[float, pd.DataFrame]:
    """One run: its best validation score, and the test metrics of that epoch by user."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    import recbole_irllrec  # noqa: F401
    from recbole_irllrec.evaluation import per_user

    with TemporaryDirectory() as own:  # RecBole names a checkpoint by the second
        folders = {"data_path": data_path, "checkpoint_dir": own}
        config = Config("IRLLRec", "citeulike-a", config_dict={**COMMON, **settings, **folders, "seed": seed})
        init_seed(seed, config["reproducibility"])
        train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
        trainer = get_trainer(config["MODEL_TYPE"], "IRLLRec")(config, get_model("IRLLRec")(config, train_data.dataset))
        score, _ = trainer.fit(train_data, valid_data)
        trainer.evaluate(test_data)  # loads the best epoch
        found = per_user(trainer, test_data)
        dataset = train_data.dataset
        users = dataset.id2token("user_id", dataset.inter_feat["user_id"].numpy())
    return score, found.assign(interactions=found["user"].map(pd.Series(users).value_counts()).fillna(0))


def kept(name: str, data_path: str, settings: dict, seed: int) -> pd.DataFrame:
    """The run's results, from the folder of results if it is there."""
    file = RESULTS / f"{name.replace(' ', '-')}_{seed}"
    if not file.with_suffix(".parquet").is_file():
        print(f"training {file.name}", flush=True)
        score, found = train(data_path, settings, seed)
        RESULTS.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".json").write_text(json.dumps({"valid ndcg@20": score, **settings}, indent=1))
        found.astype({metric: np.float32 for metric in METRICS}).to_parquet(file.with_suffix(".parquet"), index=False)
    return pd.read_parquet(file.with_suffix(".parquet")).assign(variant=name, seed=seed)


def _cell(values: pd.Series) -> str:
    return f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")


def table(runs: pd.DataFrame) -> str:
    """Mean ± standard deviation over the seeds, in Markdown: a row a variant, all users and each quartile of them."""
    first = runs.drop_duplicates("user").set_index("user")["interactions"]
    quartile, bounds = pd.qcut(first, 4, labels=False, retbins=True)
    groups = {"all users": runs} | {
        f"{bounds[n] + (n > 0):.0f} to {bounds[n + 1]:.0f}": runs[runs["user"].map(quartile) == n] for n in range(4)
    }
    lines = []
    for metric in METRICS:
        lines.append(" | ".join([metric, *groups]))
        lines.append(" | ".join(["---"] * (1 + len(groups))))
        for name in runs["variant"].unique():
            by_seed = [g[g["variant"] == name].groupby("seed")[metric].mean() for g in groups.values()]
            lines.append(" | ".join([name, *map(_cell, by_seed)]))
        lines.append("")
    return "\n".join(f"| {line} |" if line else "" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="dataset", help="folder that holds citeulike-a/ (default: dataset)")
    parser.add_argument("--sentences-path", help="another one, in which the items have sentence embeddings")
    parser.add_argument("--only", help="train this variant alone, and print no table")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole reads it
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    variants = {
        "without text": (arguments.data_path, NO_TEXT),
        "TF-IDF and SVD": (arguments.data_path, TEXT),
        "all-MiniLM-L6-v2": (arguments.sentences_path, TEXT | {"user_text": "mean_of_items"}),
    }
    runs = []
    for name, (path, settings) in variants.items():
        if arguments.only in (None, name):
            runs += [kept(name, path, settings, seed) for seed in SEEDS]
    if arguments.only is None:
        print(table(pd.concat(runs, ignore_index=True)))


if __name__ == "__main__":
    main()
