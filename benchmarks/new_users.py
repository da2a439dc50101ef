"""What users get who come after training: by their first interactions alone, and by a training anew with these.

A fifth of the users is kept out of training and validation. Of those with more than ten interactions with trained
items, ten are drawn as their history, whose first 1, 2, 5 and 10 the model is given; the others are to be found among
all items but the ten::

    python benchmarks/new_users.py benchmarks/new-users/citeulike-a.yaml --dataset citeulike-a \\
        --config-files benchmarks/citeulike-a/settings.yaml --out results/new-users/citeulike-a.csv

The data set's folder holds a split in files. Training anew knows all new users at once, by the same settings.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from recbole_irllrec.dataset_tools.cold import PARTS, draw

from recbole_irllrec import zoo
from recbole_irllrec.benchmark.plan import read_variants
from recbole_irllrec.runs.splits import load_splits
from recbole_irllrec.runs.training import train
from recbole_irllrec.scorer import Scorer
from recbole_irllrec.serving import serve

GIVEN = (1, 2, 5, 10)
K = 20
USER, ITEM = "user_id:token", "item_id:token"


def main(
    rows: Annotated[Path, typer.Argument(help="YAML file of models and their settings, as --variants of a benchmark.")],
    dataset: Annotated[str, typer.Option(help="A data set split into files.")] = "citeulike-a",
    data_path: Annotated[Path, typer.Option(help="The folder of its folder.")] = Path("dataset"),
    config_files: Annotated[str, typer.Option(help="Settings of all rows.")] = "",
    seeds: Annotated[int, typer.Option(help="Runs of a model that depends on chance.")] = 1,
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
) -> None:
    """Print recall and NDCG of the new users, by model and by what was given."""
    parts, new = drawn(data_path / dataset, dataset)
    histories, wanted = new[new["place"] < max(GIVEN)], new[new["place"] >= max(GIVEN)]
    print(f"{new[USER].nunique()} new users, {len(wanted)} interactions to be found", flush=True)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = {0: written(folder, "given-0", data_path / dataset, dataset, parts)}
        for given in GIVEN:
            more = parts["train"], histories[histories["place"] < given].drop(columns="place")
            now = {**parts, "train": pd.concat(more)}
            made[given] = written(folder, f"given-{given}", data_path / dataset, dataset, now)
        data = {given: load_splits(name, folder, config_files) for given, name in made.items()}
        results = []
        for row in read_variants(rows):
            for seed in range(1, (seeds if zoo.has_chance(row.model) else 1) + 1):
                paths = {}
                for given, splits in data.items():
                    run = train(
                        row.model, splits, {**row.settings, "seed": seed}, folder / f"{row.name}-{seed}-{given}"
                    )
                    paths[given] = run.checkpoint
                known = serve(paths[0])
                for given in GIVEN:
                    now = histories[histories["place"] < given]
                    pairs = now.rename(columns={USER: "user", ITEM: "item"})[["user", "item"]]
                    scorers = {"folded in": known.extend(histories=pairs), "trained anew": serve(paths[given])}
                    for how, scorer in scorers.items():
                        found = measured(scorer, histories, wanted)
                        results.append({"model": row.name, "seed": seed, "given": given, "how": how, **found})
                        print(results[-1], flush=True)
    table = pd.DataFrame(results)
    print(table.pivot_table(index=["model", "given"], columns="how", values=[f"recall@{K}", f"ndcg@{K}"]).round(4))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(out, index=False)


def drawn(folder: Path, name: str) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The parts of the split without the new users, and the interactions of these with trained items.

    ``place`` says when a user had an interaction, from 0, in an order that is drawn.
    """
    parts = {part: pd.read_csv(folder / f"{name}.{part}.inter", sep="\t", dtype=str) for part in PARTS}
    all_rows = pd.concat(parts.values())
    tokens = {"user": all_rows[USER].to_numpy(), "item": all_rows[ITEM].to_numpy()}
    new_users = {*tokens["user"][draw(tokens, {"user": 0.2, "item": 0}, seed=1).part > 0]}
    old = {part: rows[~rows[USER].isin(new_users)] for part, rows in parts.items()}
    new = all_rows[all_rows[USER].isin(new_users) & all_rows[ITEM].isin(set(old["train"][ITEM]))]
    new = new.sample(frac=1, random_state=1)
    new = new.assign(place=new.groupby(USER).cumcount())
    return old, new[new.groupby(USER)[ITEM].transform("size") > max(GIVEN)]


def written(folder: Path, name: str, source: Path, source_name: str, parts: dict[str, pd.DataFrame]) -> str:
    """Write a data set with these parts and all else that its source has; returns its name."""
    (folder / name).mkdir()
    for file in source.iterdir():
        if file.suffix in (".item", ".user", ".parquet"):
            (folder / name / file.name.replace(source_name, name, 1)).symlink_to(file.resolve())
    for part, rows in parts.items():
        rows.to_csv(folder / name / f"{name}.{part}.inter", sep="\t", index=False)
    return name


def measured(scorer: Scorer, histories: pd.DataFrame, wanted: pd.DataFrame) -> dict[str, float]:
    """Recall and NDCG at `K`, the mean of the new users; the items of whole histories are not ranked."""
    codes, users = pd.factorize(wanted[USER])
    user_ids = pd.Index(scorer.user_names.to_numpy(zero_copy_only=False)).get_indexer(pd.Index(users))
    items = pd.Index(scorer.item_names.to_numpy(zero_copy_only=False))
    shape = (len(users), len(items))
    hidden, sought = np.zeros(shape, bool), np.zeros(shape, bool)
    hidden[:, 0] = True
    hidden[pd.Index(users).get_indexer(pd.Index(histories[USER])), items.get_indexer(pd.Index(histories[ITEM]))] = True
    sought[codes, items.get_indexer(pd.Index(wanted[ITEM]))] = True
    scores = torch.cat([scorer.score(ids) for ids in torch.as_tensor(user_ids).split(256)])
    top = scores.masked_fill(torch.as_tensor(hidden), -torch.inf).topk(K).indices.numpy()
    hits = np.take_along_axis(sought, top, axis=1)
    discount = 1 / np.log2(np.arange(2, K + 2))
    total = sought.sum(axis=1)
    ideal = np.cumsum(discount)[np.minimum(total, K) - 1]
    return {f"recall@{K}": (hits.sum(axis=1) / total).mean(), f"ndcg@{K}": (hits @ discount / ideal).mean()}


if __name__ == "__main__":
    typer.run(main)
