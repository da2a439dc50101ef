"""``irllrec benchmark``: models side by side, on one split, by one protocol, with one tuning budget."""

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import Address, ConfigFiles, DataPath, MaxConcurrent

if TYPE_CHECKING:
    from ..benchmark.results import Results

app = typer.Typer(invoke_without_command=True)
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="ROW",
        help="The row that the others are tested against; without it, that of the command before, or the first.",
        show_default=False,
    ),
]
_MODELS = "IRLLRec,IRLLRec-without-text,LightGCN,SGL,NGCF,BPR,SimpleX,MultiVAE,EASE,ItemKNN,Pop"


@app.callback(
    epilog="Examples: `irllrec benchmark --dataset ml-100k --models IRLLRec,LightGCN,EASE --seeds 5`; later, into the "
    "same folder, `irllrec benchmark --dataset ml-100k --models SGL`."
)
def benchmark(
    context: typer.Context,
    dataset: Annotated[
        str | None, typer.Option(help="Name of the RecBole data set, e.g. ml-100k.", show_default=False)
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Names parted by commas: IRLLRec, general recommenders of RecBole, IRLLRec-without-text (all "
            "alignment weights 0), IRLLRec:published (the preset, which is not tuned), and any of them with settings "
            "changed, as IRLLRec\\[fusion=gate]; without them and --variants "
            f"{_MODELS.replace(',', ', ')}.",
            show_default=False,
        ),
    ] = None,
    variants: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML file with rows of your own: names, each with a model and settings (docs/benchmark.md).",
            show_default=False,
        ),
    ] = None,
    reference: Reference = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, help="Runs of each model with its chosen settings: seeds 1, 2, …; one of models without chance."
        ),
    ] = 5,
    tune_samples: Annotated[
        int,
        typer.Option(
            min=0,
            help="Settings drawn from each model's search space, of which validation chooses; 0: a model's settings as "
            "they are.",
        ),
    ] = 10,
    spaces: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with search spaces MODEL.yaml of your own; for other models, and without it, those that come "
            "with this package.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        Literal["recbole", "paper"] | None,
        typer.Option(
            help="Leave a user's training and validation items out of the test's ranking (recbole, unless the settings "
            "say otherwise), or its training items alone (paper).",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Metrics parted by commas; Recall,NDCG,MRR by default.", show_default=False)
    ] = None,
    topk: Annotated[
        str | None, typer.Option(help="Their cutoffs, parted by commas; 10,20 by default.", show_default=False)
    ] = None,
    valid_metric: Annotated[
        str | None,
        typer.Option(
            help="What validation chooses by, settings and epochs; NDCG at the first cutoff by default.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="The most epochs of a run; 300 by default. Training stops early.", show_default=False),
    ] = None,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of results; results/DATASET.", show_default=False)
    ] = None,
    cpus_per_run: Annotated[int, typer.Option(min=1, help="CPUs of a run, and so its threads.")] = 1,
    gpus_per_run: Annotated[float, typer.Option(min=0, help="GPUs of a run, e.g. 0.25.")] = 0,
    max_concurrent: MaxConcurrent = None,
    address: Address = None,
) -> None:
    """Train models on one split with several seeds and compare them; `report DIR` writes the report again.

    Every run is kept when it ends. The same command goes on after a stop at any moment, and more models or seeds may be
    asked for later: only what is missing is run.
    """
    if context.invoked_subcommand:
        return
    from ..benchmark.conductor import Data, conduct
    from ..benchmark.plan import Options, read_variants
    from ..errors import IRLLRecError
    from ..runs.pool import Resources

    if dataset is None:
        raise IRLLRecError("Name a data set with --dataset, or the folder of a benchmark with `report DIR`.")
    named = models if models is not None else "" if variants else _MODELS
    options = Options(
        models=_listed(named),
        seeds=seeds,
        tune_samples=tune_samples,
        variants=read_variants(variants) if variants else (),
        reference=reference,
        protocol=protocol,
        metrics=None if metrics is None else _listed(metrics),
        topk=None if topk is None else _cutoffs(topk),
        valid_metric=valid_metric,
        epochs=epochs,
        spaces=spaces,
    )
    results, files = conduct(
        options,
        Data(dataset, data_path, config_files),
        out or Path("results", dataset),
        resources=Resources(cpus_per_run, gpus_per_run, max_concurrent, retries=3 if address else 0),
        address=address,
        command=shlex.join(["irllrec", *sys.argv[1:]]),
    )
    _show(results)
    print(*files, sep="\n")


@app.command(epilog="Example: `irllrec benchmark report results/ml-100k`.")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of results.", show_default=False)],
    reference: Reference = None,
) -> None:
    """Write tables, files and the report of a benchmark again from its stored runs."""
    from ..benchmark.conductor import report_again

    print(*report_again(folder, reference), sep="\n")


def _listed(text: str) -> list[str]:
    """What stands between the commas, of which those in brackets part nothing."""
    return [name.strip() for name in re.split(r",(?![^\[]*\])", text) if name.strip()]


def _cutoffs(text: str) -> list[int]:
    from ..errors import IRLLRecError

    if not all(number.isdecimal() and int(number) for number in _listed(text)):
        raise IRLLRecError(f"--topk is {text!r}: give numbers of at least 1, parted by commas, such as 10,20.")
    return [int(number) for number in _listed(text)]


def _show(results: "Results") -> None:
    """Print the tables of metrics, and what stands below each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..benchmark.report import beside_popularity
    from ..benchmark.tables import boards_of, summary

    styles = {1: "bold", 2: "underline"}
    for board in boards_of(results):
        found = summary(results, board)
        table = Table(title=found.title, title_justify="left")
        for n, name in enumerate(found.head):
            table.add_column(name, justify="left" if n < found.n_left else "right")
        for row in found.rows:
            table.add_row(*(Text(cell.text, styles.get(cell.rank or 0, "")).append(cell.rest, "none") for cell in row))
        Console().print(table)
        print(*beside_popularity(results, board), sep="\n")
