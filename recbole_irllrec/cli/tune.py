"""``irllrec tune``: the best settings of a model for a data set."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..stopping import told_how_to_go_on
from .commands import command, single
from .options import (
    MODELS,
    RESULTS,
    SEARCH,
    TRAINING,
    Address,
    ConfigFiles,
    Cpus,
    DataPath,
    Dataset,
    Gpus,
    MaxConcurrent,
    Metric,
    Space,
    Track,
    listed,
)

app = single()


@command(
    app,
    "irllrec tune ml-100k --samples 30",
    then="Later, for more, `irllrec tune ml-100k --samples 60 --resume`.",
)
def tune(
    dataset: Dataset,
    model: Annotated[
        str, typer.Option(rich_help_panel=MODELS, help="A general recommender, IRLLRec or one of RecBole's.")
    ] = "IRLLRec",
    space: Space = None,
    samples: Annotated[
        int, typer.Option(min=1, rich_help_panel=SEARCH, help="Trials, those of an earlier part of the sweep included.")
    ] = 30,
    metric: Metric = None,
    search: Annotated[
        Literal["random", "optuna"],
        typer.Option(
            rich_help_panel=SEARCH,
            help="By chance, or by Optuna's TPE from what trials found (needs recbole-irllrec\\[optuna]).",
        ),
    ] = "random",
    scheduler: Annotated[
        Literal["asha", "none"],
        typer.Option(
            rich_help_panel=SEARCH, help="Stop trials early that fall behind at the same epoch (asha), or none."
        ),
    ] = "asha",
    grace_epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=SEARCH,
            help="Epochs before asha may stop a trial; without it a tenth of all, at least 5.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel=TRAINING,
            help="Run the best settings with so many seeds of the model, and test each; models without chance once.",
        ),
    ] = 1,
    seed: Annotated[
        int, typer.Option(min=0, rich_help_panel=SEARCH, help="Seed of the search; the model's is the setting seed.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=RESULTS, help="Folder of the sweep; default tuning/DATASET-MODEL.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            rich_help_panel=RESULTS,
            help="Go on with the sweep in the folder where it stopped, or begin it.",
        ),
    ] = False,
    track: Track = None,
    address: Address = None,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    max_concurrent: MaxConcurrent = None,
    time_budget: Annotated[
        float | None,
        typer.Option(
            min=1, rich_help_panel=SEARCH, help="Seconds; then trials are cut short and the best so far is reported."
        ),
    ] = None,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
) -> None:
    """Try settings of a model on validation, and test the best.

    Writes best.yaml, trials.csv, seeds.csv and report.html into the folder of the sweep.
    """
    from ..early import refuse_models

    refuse_models([model])

    from ..cluster import connected
    from ..data.loading import setting_in_files
    from ..runs.space import default_space, file_of, read_space
    from ..runs.splits import load_splits
    from ..runs.tracking import refuse_unreachable
    from ..tuning.plan import Plan, check_plan
    from ..tuning.records import Folder
    from ..tuning.sweep import run
    from ..tuning.tracking import tell_sweep
    from .log import log_to_stderr

    trackers = listed(track or "")
    refuse_unreachable(trackers)
    found_space = read_space(file_of(space, model)) if space else default_space(model)
    with log_to_stderr():
        metric = metric or setting_in_files("valid_metric", dataset, data_path, config_files) or "NDCG@10"
        splits = load_splits(dataset, data_path, config_files, {"valid_metric": metric}, model)
        plan = Plan(
            model,
            found_space,
            samples,
            metric,
            search,
            scheduler,
            grace_epochs,
            seed,
            seeds,
            cpus,
            gpus,
            max_concurrent,
            time_budget,
        )
        checked = check_plan(plan, splits)
        folder = Folder(out or Path("tuning") / f"{dataset}-{model}")
        folder.refuse_another(checked.about, resume)  # before Ray, which takes its time
        how = f"What has ended is in {folder.path}, and the same command with --resume goes on with the rest."
        with told_how_to_go_on(how), connected(address, cpus=cpus, gpus=gpus):
            found = run(checked, folder, resume)
    _show(found, folder.path, metric)
    again = shlex.join(["irllrec", *sys.argv[1:], *(() if resume else ("--resume",))])
    tell_sweep(trackers, checked, folder, found, again)


def _show(found: dict[str, Any], folder: Path, metric: str) -> None:
    """Print the best trial, its metrics, and where everything is."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    best, failed = found["best"], found["seeds"]["reason"] != ""
    seeds = found["seeds"][~failed]
    print(f"Trial {best.number}, the best by {metric} on validation:")
    table = Table()
    for column in ("metric", "valid", "test"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, value in best.best.metrics.items():
        if seeds.empty:
            table.add_row(name, f"{value:.4f}", "failed")
            continue
        cells = (seeds[f"{part} {name}"] for part in ("valid", "test"))
        spread = "" if len(seeds) == 1 else " ± {:.4f}"
        table.add_row(name, *(f"{cell.mean():.4f}" + spread.format(cell.std()) for cell in cells))
    console.print(table)
    if found["compared"]:
        print(found["compared"])
    for _, run in found["seeds"][failed].iterrows():
        print(f"seed {run['seed']} failed (--resume tries it again): {run['reason']}")
    for name, value in best.settings.items():
        console.print(f"{name}: {value}", highlight=False)
    print(f"\nIn {folder}: best.yaml, trials.csv, seeds.csv, report.html")
    print(found["command"])
