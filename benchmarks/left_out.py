"""Whether defaults that some data sets choose serve another: each data set left out in turn.

The candidates are the rows whose names begin with IRLLRec. On each data set a candidate's validation metric counts as a
share of the best candidate's; the one with the best mean over the other data sets is taken, and tested on the one that
was left out::

    python benchmarks/left_out.py results/defaults/films results/defaults/books --out left-out.csv
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from recbole_irllrec.benchmark.results import read_results

CANDIDATES = "IRLLRec"


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of `irllrec benchmark`, of the same rows.")],
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
) -> None:
    """Print, by data set left out, the defaults that the others choose, and each row's test metric there."""
    found = {results.plan["dataset"]: results for results in map(read_results, folders)}
    metric = {results.plan["valid_metric"].lower() for results in found.values()}
    if len(metric) > 1:
        raise typer.BadParameter(f"They are validated by different metrics ({', '.join(sorted(metric))}).")
    (chosen_by,) = metric
    valid = pd.DataFrame(
        {
            name: results.curves[results.curves["is_best"]]
            .groupby(["model", "seed"])[chosen_by]
            .last()
            .groupby("model")
            .mean()
            for name, results in found.items()
        }
    )
    tested = pd.DataFrame({name: results.runs.groupby("model")[chosen_by].mean() for name, results in found.items()})
    candidates = valid[valid.index.str.startswith(CANDIDATES)].dropna()  # those that every data set has
    shares = candidates / candidates.max()
    rows = []
    for name in found:
        chosen = shares.drop(columns=name).mean(axis=1).idxmax()
        rows.append(
            {"left out": name, "chosen by the others": chosen, "chosen's": tested.loc[chosen, name], **tested[name]}
        )
    table = pd.DataFrame(rows)
    print(table.round(4).to_string(index=False))
    if out:
        table.round(6).to_csv(out, index=False)


if __name__ == "__main__":
    typer.run(main)
