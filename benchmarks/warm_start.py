"""What beginning from yesterday's model saves: IRLLRec on ml-100k, a tenth of whose training interactions came since.

    python benchmarks/warm_start.py --seeds 3 --out results/warm-start/ml-100k.csv

Yesterday's data are the earliest nine tenths of the training interactions, with the users and items that occur in them.
Trained on the whole are a model from nothing and one that begins from yesterday's, which stop by the same validation,
and one that begins from yesterday's and has a third of the epochs that the first was best after.
"""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import pandas as pd
import typer
from recbole_irllrec.dataset_tools.split import split

import recbole_irllrec
from recbole_irllrec.runs.splits import load_splits
from recbole_irllrec.runs.training import train

TIME = "timestamp:float"


def yesterday(folder: Path, name: str, before: str, share: float) -> None:
    """Write the data set ``before`` with the earliest ``share`` of the training interactions of ``name``."""
    source, made = folder / name, folder / before
    made.mkdir()
    parts = {part: pd.read_csv(source / f"{name}.{part}.inter", sep="\t", dtype=str) for part in PARTS}
    times = parts["train"][TIME].astype(float)
    parts["train"] = parts["train"][times <= times.quantile(share)]
    for part, rows in parts.items():
        kept = rows.isin({column: set(parts["train"][column]) for column in IDS})[list(IDS)].all(axis=1)
        rows[kept].to_csv(made / f"{before}.{part}.inter", sep="\t", index=False)
    for side in ("item", "user"):
        (made / f"{before}.{side}").write_bytes((source / f"{name}.{side}").read_bytes())


METRIC = "ndcg@10"
PARTS = ("train", "valid", "test")
IDS = ("user_id:token", "item_id:token")


def main(
    seeds: Annotated[int, typer.Option(help="Runs of each kind.")] = 3,
    share: Annotated[float, typer.Option(help="Of the training interactions, those of yesterday.")] = 0.9,
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
) -> None:
    """Train them, and print what each reached and when."""
    settings = {"benchmark_filename": list(PARTS), "load_col": {"inter": ["user_id", "item_id"]}}
    rows = []
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        split("ml-100k", out=folder, name="today")
        yesterday(folder, "today", "yesterday", share)
        data = {name: load_splits(name, folder, "", settings) for name in ("yesterday", "today")}
        tuned = Path(recbole_irllrec.properties.__file__).with_name("tuned") / "IRLLRec-ml-100k.yaml"
        own = load_settings(tuned)
        for seed in range(1, seeds + 1):
            old = train("IRLLRec", data["yesterday"], {**own, "seed": seed}, folder / f"old-{seed}")
            warm = {"warm_start": str(old.checkpoint)}
            nothing = train("IRLLRec", data["today"], {**own, "seed": seed}, folder / f"nothing-{seed}")
            third = math.ceil((nothing.best.epoch + 1) / 3)
            kinds = {"from yesterday's": warm, "from yesterday's, a third": {**warm, "epochs": third}}
            runs = {"from nothing": nothing} | {
                kind: train("IRLLRec", data["today"], {**own, **more, "seed": seed}, folder / f"{kind}-{seed}")
                for kind, more in kinds.items()
            }
            for kind, run in runs.items():
                row = {"seed": seed, "begun": kind, "epochs": len(run.history), "best epoch": run.best.epoch + 1}
                row |= {"s to best": run.best.seconds}
                validations = {"first": run.history[0], "best": run.best}
                row |= {f"{name} valid {METRIC}": at.metrics[METRIC] for name, at in validations.items()}
                tested = run.test().metrics
                rows.append(row | {name: tested[name] for name in ("recall@10", METRIC)})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(table.groupby("begun").agg(["mean", "std"]).drop(columns="seed", level=0).round(4).T)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(out, index=False)


def load_settings(path: Path) -> dict:
    """The settings of a YAML file."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
