"""``irllrec benchmark``: models side by side, on one split, by one protocol, with one tuning budget."""

import re
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .options import Address, ConfigFiles, DataPath

if TYPE_CHECKING:
    from recbole.config import Config

    from ..benchmark.results import Results

app = typer.Typer(invoke_without_command=True)
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
        str,
        typer.Option(
            help="Names parted by commas: IRLLRec, general recommenders of RecBole, IRLLRec-without-text (all "
            "alignment weights 0), IRLLRec:published (the preset, which is not tuned), and any of them with settings "
            "changed, as IRLLRec[profile_weight=0,fusion=gate]."
        ),
    ] = _MODELS,
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
    max_concurrent: Annotated[
        int | None,
        typer.Option(min=1, help="The most runs at a time; as many as there is room for.", show_default=False),
    ] = None,
    address: Address = None,
) -> None:
    """Train models on one split with several seeds and compare them; `report DIR` writes the report again.

    Every run is kept when it ends. The same command goes on after a stop at any moment, and more models or seeds may be
    asked for later: only what is missing is run.
    """
    if context.invoked_subcommand:
        return
    from ..benchmark.execute import Resources, execute
    from ..benchmark.plan import Options, Row, continued, rows, shared
    from ..benchmark.report import write_report
    from ..benchmark.results import alone, begin, read_plan, read_results
    from ..cluster import connected
    from ..data.loading import load_config
    from ..errors import IRLLRecError
    from ..runs import load_splits, popularity_of
    from ..tuning.space import check_space

    if dataset is None:
        raise IRLLRecError("Name a data set with --dataset, or the folder of a benchmark with `report DIR`.")
    options = Options(
        models=_listed(models),
        seeds=seeds,
        tune_samples=tune_samples,
        protocol=protocol,
        metrics=None if metrics is None else _listed(metrics),
        topk=None if topk is None else _cutoffs(topk),
        valid_metric=valid_metric,
        epochs=epochs,
        spaces=spaces,
    )
    folder = out or Path("results", dataset)
    read_plan(folder)  # refuses a folder of something else
    config, given = _settings_of_data_set(dataset, data_path, config_files)
    asked = rows(options, given)

    def config_with(row: Row, settings: dict[str, Any]) -> "Config":
        return load_config(dataset, data_path, config_files, row.settings(settings), row.model)

    for row in asked:
        config_with(row, row.drawn[0])  # refuses its settings
        if row.space is not None and spaces is not None:
            check_space(row.space, row.model, partial(config_with, row))
    # Ray first: what it refuses leaves nothing behind.
    with connected(address, cpus=cpus_per_run, gpus=gpus_per_run), alone(folder):
        data_path, settings, how = _one_split(config, folder, data_path, config_files)
        splits = load_splits(dataset, data_path, config_files, {**asked[0].common, **settings})
        plan = shared(asked, splits, how)
        if (before := read_plan(folder)) is not None:
            plan = continued(before, plan, folder)
        if "popularity" not in plan:
            plan["popularity"] = popularity_of(asked[0].model, splits, asked[0].common)
        begin(folder, plan, splits, shlex.join(["irllrec", *sys.argv[1:]]))
        resources = Resources(cpus_per_run, gpus_per_run, max_concurrent, retries=3 if address else 0)
        execute(asked, seeds, splits, folder, plan, resources)
        results = read_results(folder)
        files = write_report(results, folder)
    _show(results)
    print(*files, sep="\n")


@app.command(epilog="Example: `irllrec benchmark report results/ml-100k`.")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of results.", show_default=False)],
) -> None:
    """Write tables, files and the report of a benchmark again from its stored runs."""
    from ..benchmark.report import write_report
    from ..benchmark.results import read_results

    print(*write_report(read_results(folder), folder), sep="\n")


def _listed(text: str) -> list[str]:
    """What stands between the commas, of which those in brackets part nothing."""
    return [name.strip() for name in re.split(r",(?![^\[]*\])", text) if name.strip()]


def _cutoffs(text: str) -> list[int]:
    from ..errors import IRLLRecError

    if not all(number.isdecimal() and int(number) for number in _listed(text)):
        raise IRLLRecError(f"--topk is {text!r}: give numbers of at least 1, parted by commas, such as 10,20.")
    return [int(number) for number in _listed(text)]


def _settings_of_data_set(
    dataset: str, data_path: Path | None, config_files: str | None
) -> "tuple[Config, dict[str, Any]]":
    """The settings of a data set that is there and evaluated by ranking all items, and what of them the files say."""
    from ..data.loading import load_config, refuse_absent, setting_in_files
    from ..errors import IRLLRecError

    # What the files say of these alone may not go together; the options count, too.
    stand_ins: dict[str, Any] = {"metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10"}
    config = load_config(dataset, data_path, config_files, stand_ins)
    refuse_absent(config)
    if set(config["eval_args"]["mode"].values()) != {"full"}:
        raise IRLLRecError(
            f"The mode in eval_args is {config['eval_args']['mode']}, but a benchmark ranks all items: set it to full."
        )
    said = {name: setting_in_files(name, dataset, data_path, config_files) for name in stand_ins}
    return config, {**config.external_config_dict, **said}


def _one_split(
    config: "Config", folder: Path, data_path: Path | None, config_files: str | None
) -> tuple[Path | None, dict[str, Any], str]:
    """Where the data set lies split, what makes runs use that split, and where it is from.

    A data set that comes without one is split into the folder of results, once.
    """
    from recbole_irllrec.dataset_tools.split import PARTS, split

    from ..benchmark.results import SPLIT

    if config["benchmark_filename"]:
        return data_path, {}, f"that of the data set's files ({', '.join(config['benchmark_filename'])})"
    dataset = config["dataset"]
    if not Path(folder, SPLIT, dataset, f"{dataset}.{PARTS[0]}.inter").is_file():
        split(dataset, folder / SPLIT, dataset, data_path, config_files, any_name=True)
    used = config["eval_args"]
    way = ", ".join(f"{name} {value}" for name, value in used["split"].items())
    drawn = f"order {used['order']}, group_by {used['group_by']}, {way}, seed {config['seed']}"
    return folder / SPLIT, {"benchmark_filename": list(PARTS)}, f"drawn by RecBole ({drawn}) and kept in {SPLIT}/"


def _show(results: "Results") -> None:
    """Print the table of metrics, and what stands below it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..benchmark.report import beside_popularity
    from ..benchmark.tables import summary

    found = summary(results)
    table = Table(title=found.title, title_justify="left")
    for n, name in enumerate(found.head):
        table.add_column(name, justify="left" if n < found.n_left else "right")
    styles = {1: "bold", 2: "underline"}
    for row in found.rows:
        table.add_row(*(Text(cell.text, styles.get(cell.rank or 0, "")).append(cell.rest, "none") for cell in row))
    Console().print(table)
    print(*beside_popularity(results), sep="\n")
