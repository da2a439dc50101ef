"""``irllrec benchmark``: models side by side, on one split, by one protocol, with one tuning budget."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..stopping import told_how_to_go_on
from .commands import Command, Group, command
from .options import (
    MODELS,
    RESULTS,
    SEARCH,
    Address,
    ConfigFiles,
    Cpus,
    DataPath,
    Dataset,
    Epochs,
    Gpus,
    MaxConcurrent,
    Metric,
    Metrics,
    Protocol,
    Seeds,
    Space,
    Topk,
    Track,
    is_there,
    listed,
    measures,
)

if TYPE_CHECKING:
    from ..benchmark.results import Results

_COMPARE = "compare"


class _Benchmark(Group):
    """``irllrec benchmark DATASET`` and ``irllrec benchmark report DIR``: without a command, it is the first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = args and args[0] in self.commands
        return super().parse_args(ctx, args if named else [_COMPARE, *args])


class _Compare(Command):
    """A command that goes by the name of its group."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return super().make_context(parent.info_name, args, parent.parent, **extra)


app = typer.Typer(
    cls=_Benchmark,
    help="Models side by side: one split, one tuning budget, several seeds, tests, a report.",
    add_completion=False,
)
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="ROW",
        rich_help_panel=RESULTS,
        help="The row that the others are tested against; without it, that of the command before, or the first.",
        show_default=False,
    ),
]
_MODELS = "IRLLRec,IRLLRec-without-text,LightGCN,SGL,NGCF,BPR,SimpleX,MultiVAE,EASE,ItemKNN,Pop"


@command(
    app,
    "irllrec benchmark ml-100k --models IRLLRec,LightGCN,EASE --seeds 5",
    name=_COMPARE,
    cls=_Compare,
    then="Later, into the same folder, `irllrec benchmark ml-100k --models SGL`.",
)
def benchmark(
    dataset: Dataset,
    models: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=MODELS,
            help="Names parted by commas: IRLLRec, general recommenders of RecBole, IRLLRec-without-text (no "
            "weight on texts), IRLLRec:published (the preset, which is not tuned), and any of them with settings "
            "changed, as IRLLRec\\[fusion=gate]; without them and --variants "
            f"{_MODELS.replace(',', ', ')}.",
            show_default=False,
        ),
    ] = None,
    variants: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=MODELS,
            help="YAML file with rows of your own: names, each with a model and settings (docs/benchmark.md).",
            callback=is_there,
            show_default=False,
        ),
    ] = None,
    reference: Reference = None,
    seeds: Seeds = 5,
    samples: Annotated[
        int,
        typer.Option(
            min=0,
            rich_help_panel=SEARCH,
            help="Settings drawn from each model's search space, of which validation chooses; 0: a model's settings as "
            "they are.",
        ),
    ] = 10,
    space: Space = None,
    protocol: Protocol = None,
    metrics: Metrics = None,
    topk: Topk = None,
    metric: Metric = None,
    epochs: Epochs = None,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", rich_help_panel=RESULTS, help="Folder of results; results/DATASET.", show_default=False
        ),
    ] = None,
    track: Track = None,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    max_concurrent: MaxConcurrent = None,
    address: Address = None,
) -> None:
    """Train models on one split with several seeds and compare them; `report DIR` writes the report again.

    Every run is kept when it ends. The same command goes on after a stop at any moment, and more models or seeds may be
    asked for later: only what is missing is run.
    """
    named = models if models is not None else "" if variants else _MODELS
    wanted, cutoffs = measures(metrics, topk)
    from ..early import refuse_models

    refuse_models(listed(named))

    from ..benchmark.conductor import Data, conduct
    from ..benchmark.plan import Options, read_variants
    from ..benchmark.tracking import tell_folder
    from ..runs.pool import Resources
    from ..runs.tracking import refuse_unreachable

    trackers = listed(track or "")
    refuse_unreachable(trackers)

    options = Options(
        models=listed(named),
        seeds=seeds,
        tune_samples=samples,
        variants=read_variants(variants) if variants else (),
        reference=reference,
        protocol=protocol,
        metrics=wanted,
        topk=cutoffs,
        valid_metric=metric,
        epochs=epochs,
        spaces=space,
    )
    folder = out or Path("results", dataset)
    with told_how_to_go_on(f"What has ended is in {folder}, and the same command goes on with the rest."):
        results, files = conduct(
            options,
            Data(dataset, data_path, config_files),
            folder,
            resources=Resources(cpus, gpus, max_concurrent, retries=3 if address else 0),
            address=address,
            command=shlex.join(["irllrec", *sys.argv[1:]]),
        )
    _show(results)
    print(*files, sep="\n")
    tell_folder(trackers, folder, files)


@command(app, "irllrec benchmark report results/ml-100k")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of results.", show_default=False)],
    reference: Reference = None,
    track: Track = None,
) -> None:
    """Write tables, files and the report of a benchmark again from its stored runs."""
    from ..benchmark import refuse_another

    refuse_another(folder)

    from ..benchmark.conductor import report_again
    from ..benchmark.tracking import tell_folder

    files = report_again(folder, reference)
    print(*files, sep="\n")
    tell_folder(listed(track or ""), folder, files)


def _show(results: "Results") -> None:
    """Print the tables of metrics, and what stands below each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..benchmark.report import notes
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
        print(*notes(results, board), sep="\n")
