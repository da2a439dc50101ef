"""``irllrec tune``: the best settings of a model for a data set."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..stopping import told_how_to_go_on
from .options import Address, ConfigFiles, DataPath, MaxConcurrent, is_there


def add_commands(app: typer.Typer) -> None:
    """Add the command to the top level of ``irllrec``."""
    app.command(
        epilog="Examples: irllrec tune --dataset ml-100k --num-samples 30 | "
        "irllrec tune --dataset ml-100k --num-samples 60 --resume | "
        "irllrec tune --dataset my-data --model LightGCN --search optuna --address auto --gpus-per-trial 0.5"
    )(tune)


def tune(
    dataset: Annotated[str, typer.Option(help="Name of the RecBole data set, e.g. ml-100k.", show_default=False)],
    model: Annotated[str, typer.Option(help="A general recommender, IRLLRec or one of RecBole's.")] = "IRLLRec",
    space: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with what to draw (docs/tune.md); without it, the one that comes with the model.",
            callback=is_there,
            show_default=False,
        ),
    ] = None,
    num_samples: Annotated[
        int, typer.Option(min=1, help="Trials, those of an earlier part of the sweep included.")
    ] = 30,
    metric: Annotated[
        str | None,
        typer.Option(
            help="The validation metric to choose by; without it, valid_metric of the settings files, else NDCG@10.",
            show_default=False,
        ),
    ] = None,
    search: Annotated[
        Literal["random", "optuna"],
        typer.Option(help="By chance, or by Optuna's TPE from what trials found (needs recbole-irllrec\\[optuna])."),
    ] = "random",
    scheduler: Annotated[
        Literal["asha", "none"],
        typer.Option(help="Stop trials early that fall behind at the same epoch (asha), or none."),
    ] = "asha",
    grace_epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs before asha may stop a trial; without it a tenth of all, at least 5.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            help="Run the best settings with so many seeds of the model, and test each; models without chance once.",
        ),
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search; the model's is the setting seed.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; default tuning/DATASET-MODEL.", show_default=False)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the sweep in the folder where it stopped, or begin it.")
    ] = False,
    address: Address = None,
    cpus_per_trial: Annotated[float, typer.Option(min=0.1, help="CPUs, and so threads, for each trial.")] = 1,
    gpus_per_trial: Annotated[float, typer.Option(min=0, help="GPUs for each trial; 0.5 puts two on one.")] = 0,
    max_concurrent: MaxConcurrent = None,
    time_budget: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds; then trials are cut short and the best so far is reported."),
    ] = None,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
) -> None:
    """Try settings of a model on validation, and test the best.

    Writes best.yaml, trials.csv, seeds.csv and report.html into the folder of the sweep.
    """
    from ..cluster import connected
    from ..data.loading import setting_in_files
    from ..runs.space import default_space, read_space
    from ..runs.splits import load_splits
    from ..tuning.plan import Plan, check
    from ..tuning.records import Folder
    from ..tuning.sweep import run
    from .log import log_to_stderr

    found_space = read_space(space) if space else default_space(model)
    with log_to_stderr():
        metric = metric or setting_in_files("valid_metric", dataset, data_path, config_files) or "NDCG@10"
        splits = load_splits(dataset, data_path, config_files, {"valid_metric": metric}, model)
        plan = Plan(
            model,
            found_space,
            num_samples,
            metric,
            search,
            scheduler,
            grace_epochs,
            seed,
            seeds,
            cpus_per_trial,
            gpus_per_trial,
            max_concurrent,
            time_budget,
        )
        checked = check(plan, splits)
        folder = Folder(out or Path("tuning") / f"{dataset}-{model}")
        folder.refuse_another(checked.about, resume)  # before Ray, which takes its time
        how = f"What has ended is in {folder.path}, and the same command with --resume goes on with the rest."
        with told_how_to_go_on(how), connected(address, cpus=cpus_per_trial, gpus=gpus_per_trial):
            _show(run(checked, folder, resume), folder.path, metric)


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
