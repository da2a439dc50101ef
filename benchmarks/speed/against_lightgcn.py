"""An epoch of IRLLRec with its defaults beside one of RecBole's own LightGCN.

    python benchmarks/speed/against_lightgcn.py

The same data, embedding size (64), layers (3) and batches, each through RecBole's trainer with its negative sampling,
taking turns; validation apart. On ml-100k with the embedded default's texts, and on random data of Amazon-book's size
with texts 1,536 (profile) and 3,072 (intent) wide, which `text_dim` reduces. Where there is a GPU, both run on it.
About eight minutes on two cores.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from measuring import AMAZON_BOOK, SyntheticDataset, alternate, begin, command_line, ratio, report, shown, spread
from recbole_runs import OUR_DEFAULTS, Run, own_folder, write_dataset

BATCHES = (2048, 4096)  # RecBole's default; as published
SHAPE = {name: OUR_DEFAULTS[name] for name in ("embedding_size", "n_layers")}
AMAZON = "random-amazon-book"
WIDTHS = {"profile": 1536, "intent": 3072}


def comparisons(folder: Path) -> Iterator[tuple[str, int, dict[str, Run]]]:
    """Data set, batch, models."""
    for dataset, path in (("ml-100k", None), (AMAZON, folder)):
        for batch in BATCHES:
            common = {"train_batch_size": batch, "eval_batch_size": 1 << 24}
            models = {"LightGCN": SHAPE, "IRLLRec": OUR_DEFAULTS}
            yield dataset, batch, {name: Run(name, dataset, path, own | common) for name, own in models.items()}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    arguments = parser.parse_args()
    begin(arguments)
    rows, results = [], []
    with own_folder() as folder:
        write_dataset(folder, AMAZON, SyntheticDataset(**AMAZON_BOOK, widths=WIDTHS))
        for dataset, batch, models in comparisons(folder):
            steps = {name: len(run.loaders[0]) for name, run in models.items()}
            epochs = alternate({name: run.epoch for name, run in models.items()}, arguments.repeats, warm_up=0)
            validations = alternate({name: run.validation for name, run in models.items()}, arguments.repeats)
            times = ratio(epochs["IRLLRec"], epochs["LightGCN"])
            result = {"dataset": dataset, "batch": batch, "steps": steps["IRLLRec"], "times_lightgcn": times}
            result["epoch_seconds"] = {name: spread(values) for name, values in epochs.items()}
            result["validation_seconds"] = {name: spread(values) for name, values in validations.items()}
            results.append(result)
            rows.append(
                {
                    "data": dataset,
                    "batch": batch,
                    "steps": steps["IRLLRec"],
                    **{f"{name}, s an epoch": shown(each) for name, each in result["epoch_seconds"].items()},
                    "times LightGCN": shown(times),
                    **{
                        f"{name}, ms a step": f"{1e3 * each['median'] / steps[name]:.0f}"
                        for name, each in result["epoch_seconds"].items()
                    },
                    **{f"{name}, s a validation": shown(each) for name, each in result["validation_seconds"].items()},
                }
            )
            print(rows[-1], flush=True)
    report("against_lightgcn", {"comparisons": results}, pd.DataFrame(rows))


if __name__ == "__main__":
    main()
