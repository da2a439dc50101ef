"""An epoch of each encoder that wears the alignment, with its defaults, beside one of the encoder without it; and SGL.

    python benchmarks/speed/against_plain.py

IRLLRec stands beside RecBole's own LightGCN of its size, our SGL beside RecBole's. The same data and batches, each
through RecBole's trainer with its negative sampling, taking turns. On ml-100k with the embedded default's texts, and on
random data of Amazon-book's size with texts 1,536 (profile) and 3,072 (intent) wide, which `text_dim` reduces. Where
there is a GPU, all run on it. About twenty minutes on two cores.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from measuring import AMAZON_BOOK, SyntheticDataset, alternate, begin, command_line, ratio, report, shown, spread
from recbole.model.general_recommender.sgl import SGL as RecBolesSGL
from recbole.trainer import Trainer
from recbole_runs import OUR_DEFAULTS, Run, own_folder, write_dataset

BATCHES = (2048, 4096)  # RecBole's default; as published
SHAPE = {name: OUR_DEFAULTS[name] for name in ("embedding_size", "n_layers")}
AMAZON = "random-amazon-book"
WIDTHS = {"profile": 1536, "intent": 3072}
PAIRS = {
    "IRLLRec": "LightGCN",
    "IRLLRecSGL": "SGL",
    "IRLLRecSimGCL": "SimGCL",
    "IRLLRecDCCF": "DCCF",
    "IRLLRecBIGCF": "BIGCF",
    "RecBole's SGL": "SGL",
}


class RecBolesRun(Run):
    """A model of RecBole in whose place stands one of ours."""

    def make(self, dataset):
        return RecBolesSGL(self.config, dataset)

    def trainer(self):
        return Trainer(self.config, self.model)


def run(model: str, dataset: str, path: Path | None, settings: dict) -> Run:
    if model == "RecBole's SGL":
        return RecBolesRun("SGL", dataset, path, settings)
    own = {"LightGCN": SHAPE, "IRLLRec": OUR_DEFAULTS}.get(model, {})
    return Run(model, dataset, path, own | settings)


def comparisons(folder: Path, only: list[str]) -> Iterator[tuple[str, int, str, str, dict[str, Run]]]:
    """Data set, batch, the slower model's name and the other's, the models."""
    for dataset, path in (("ml-100k", None), (AMAZON, folder)):
        for batch in BATCHES:
            common = {"train_batch_size": batch, "eval_batch_size": 1 << 24}
            for slower, faster in PAIRS.items():
                if not only or slower in only:
                    models = {name: run(name, dataset, path, common) for name in (faster, slower)}
                    yield dataset, batch, slower, faster, models


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--only", nargs="*", default=[], help=f"of {', '.join(PAIRS)} (default: all)")
    arguments = parser.parse_args()
    begin(arguments)
    rows, results = [], []
    with own_folder() as folder:
        write_dataset(folder, AMAZON, SyntheticDataset(**AMAZON_BOOK, widths=WIDTHS))
        for dataset, batch, slower, faster, models in comparisons(folder, arguments.only):
            steps = len(models[slower].loaders[0])
            epochs = alternate({name: each.epoch for name, each in models.items()}, arguments.repeats)
            times = ratio(epochs[slower], epochs[faster])
            result = {"dataset": dataset, "batch": batch, "steps": steps, "slower": slower, "faster": faster}
            result |= {"times": times, "epoch_seconds": {name: spread(values) for name, values in epochs.items()}}
            results.append(result)
            row = {"data": dataset, "batch": batch, "model": slower, "beside": faster, "times": shown(times)}
            for title, name in (("model", slower), ("beside", faster)):
                row[f"{title}, s an epoch"] = shown(result["epoch_seconds"][name])
                row[f"{title}, ms a step"] = f"{1e3 * result['epoch_seconds'][name]['median'] / steps:.0f}"
            rows.append(row)
            print(rows[-1], flush=True)
    report("against_plain", {"comparisons": results}, pd.DataFrame(rows))


if __name__ == "__main__":
    main()
