"""``irllrec study``: what a part, the texts, the data bring a model; benchmarks with a question."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..stopping import told_how_to_go_on
from .commands import command, single
from .options import (
    MODELS,
    RESULTS,
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
    Topk,
    Track,
    listed,
    measures,
    numbers,
)

app = single()
OF_ONE = "Of single studies"


@command(app, "irllrec study controls my-data --seeds 2")
def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="ablation: the model without each of its parts. controls: with its own texts, with texts shuffled "
            "among users and among items, with random vectors, without text, and text alone. sparsity: models "
            "by the user's and the item's number of training interactions. noise: what models "
            "lose by fake interactions and by texts shuffled or blank. encoders: the same texts "
            "through several encoders, and several fields of the items through one.",
            show_default=False,
        ),
    ],
    dataset: Dataset,
    models: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=MODELS,
            help="Names parted by commas, as `irllrec benchmark` takes them, IRLLRec\\[fusion=gate] among them; "
            "by default IRLLRec, and for sparsity and noise IRLLRec, LightGCN and EASE.",
            show_default=False,
        ),
    ] = None,
    shares: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=OF_ONE,
            help="Of noise: shares from 0 to 1, parted by commas; 0.1,0.2,0.3,0.4 by default.",
            show_default=False,
        ),
    ] = None,
    encoders: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=OF_ONE,
            help="Of encoders: tfidf-svd, sentence-transformers:MODEL or openai:MODEL, parted by commas; tfidf-svd by "
            "default.",
            show_default=False,
        ),
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=OF_ONE,
            help="Of encoders: fields of the items that are embedded by themselves, as title,title+genre; each by "
            "default.",
            show_default=False,
        ),
    ] = None,
    seeds: Seeds = 5,
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
            metavar="DIR", rich_help_panel=RESULTS, help="Folder of results; results/DATASET-NAME.", show_default=False
        ),
    ] = None,
    track: Track = None,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    max_concurrent: MaxConcurrent = None,
    address: Address = None,
) -> None:
    """Ask a question of a model on a data set: train variants of it on one split with several seeds, and tell.

    Every run is kept when it ends, and the same command goes on after a stop at any moment. The settings are those of
    the model on the data set, and no row is tuned.
    """
    from ..studies.all import find

    kind = find(name)
    own: dict[str, Any] = {}
    if shares is not None:
        own["shares"] = numbers("--shares", shares)
    own |= {option: listed(text) for option, text in (("encoders", encoders), ("fields", fields)) if text is not None}
    kind.refuse_options(name, own)
    wanted, cutoffs = measures(metrics, topk)
    from ..early import refuse_models

    refuse_models(listed(models or kind.models))

    from ..benchmark.conductor import Data
    from ..benchmark.plan import Options, named
    from ..benchmark.tracking import tell_folder
    from ..runs.pool import Resources
    from ..runs.tracking import refuse_unreachable
    from ..studies.study import Asked, carry_out

    trackers = listed(track or "")
    refuse_unreachable(trackers)

    options = Options(
        models=(),
        seeds=seeds,
        tune_samples=0,
        protocol=protocol,
        metrics=wanted,
        topk=cutoffs,
        valid_metric=metric,
        epochs=epochs,
    )
    asked = Asked(
        Data(dataset, data_path, config_files),
        options,
        [named(text) for text in listed(models or kind.models)],
        out or Path("results", f"{dataset}-{name}"),
        **own,
    )
    with told_how_to_go_on(f"What has ended is in {asked.folder}, and the same command goes on with the rest."):
        told, files = carry_out(
            kind.plan(asked),
            asked,
            resources=Resources(cpus, gpus, max_concurrent, retries=3 if address else 0),
            address=address,
            command=shlex.join(["irllrec", *sys.argv[1:]]),
        )
    print(told.paragraph)
    print(*files, sep="\n")
    tell_folder(trackers, asked.folder, files)
