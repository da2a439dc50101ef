"""Where the time of a run goes besides IRLLRec's steps: RecBole's loading, negative sampling, batches and validation.

    python benchmarks/speed/epoch_parts.py

On ml-100k and on random data of Amazon-book's size, with IRLLRec's defaults: each part of a run, once or as the median
of some; then what RecBole and this package offer against the largest of them. Four minutes on two CPU cores.
"""

from collections.abc import Callable

import pandas as pd
from measuring import AMAZON_BOOK, SyntheticDataset, alternate, begin, command_line, report, seconds, shown, spread
from recbole_runs import OUR_DEFAULTS, Run, own_folder, write_dataset

AMAZON = "random-amazon-book"
WIDTHS = {"profile": 1536, "intent": 3072}
# name -> model and settings
VALIDATIONS = {
    "LightGCN, eval_batch_size 4,096 (RecBole's default)": ("LightGCN", {}),
    "LightGCN, eval_batch_size 16,777,216": ("LightGCN", {"eval_batch_size": 1 << 24}),
    "IRLLRec, eval_batch_size 4,096": ("IRLLRec", {}),
    "IRLLRec, valid_users 1,000": ("IRLLRec", {"valid_users": 1000}),
}
LOADERS = {
    "batches of 2,048": {"train_batch_size": 2048},
    "batches of 16,384": {"train_batch_size": 16_384},
    "batches of 2,048, worker: 1": {"train_batch_size": 2048, "worker": 1},
}


def drained(run: Run) -> Callable[[], None]:
    """Iterates the training batches with their negatives, and does nothing with them."""

    def drain() -> None:
        for _ in run.loaders[0]:
            pass

    return drain


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds, after one to warm up (default: 3)")
    arguments = parser.parse_args()
    begin(arguments)
    rows, results = [], {}
    with own_folder() as folder:
        write_dataset(folder, AMAZON, SyntheticDataset(**AMAZON_BOOK, widths=WIDTHS))
        for dataset, path in (("ml-100k", None), (AMAZON, folder)):
            run = Run("IRLLRec", dataset, path, OUR_DEFAULTS)
            once = {
                "read the atomic files": seconds(lambda run=run: run.dataset),
                "split, make the loaders": seconds(lambda run=run: run.loaders),
                "build the model, read or make the texts": seconds(lambda run=run: run.model),
                "build the model again": seconds(lambda run=run: _model_again(run)),
            }
            loaders = {
                f"{name}: batches and negatives of an epoch": drained(Run("LightGCN", dataset, path, settings))
                for name, settings in LOADERS.items()
            }
            own = {"IRLLRec": OUR_DEFAULTS, "LightGCN": {}}
            validations = {
                f"a validation of {name}": Run(model, dataset, path, own[model] | settings).validation
                for name, (model, settings) in VALIDATIONS.items()
            }
            several = alternate({"a whole epoch": run.epoch, **loaders, **validations}, arguments.repeats)
            found = {name: spread([value]) for name, value in once.items()}
            found |= {name: spread(values) for name, values in several.items()}
            results[dataset] = found
            rows += [{"data": dataset, "part": name, "seconds": shown(value)} for name, value in found.items()]
    report("epoch_parts", {"seconds": results}, pd.DataFrame(rows))


def _model_again(run: Run) -> None:
    """Build it from kept texts."""
    del run.model
    assert run.model


if __name__ == "__main__":
    main()
