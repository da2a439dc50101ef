"""Options that several commands share, so that they read alike everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="Name of the RecBole data set, e.g. ml-100k.")]
DataPath = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds the data set's folder; without it, as RecBole: dataset/ here, or RecBole's own.",
        show_default=False,
    ),
]
ConfigFiles = Annotated[
    str | None,
    typer.Option(
        help='YAML files with RecBole settings, "first.yaml second.yaml"; without them DATASET.yaml in the data set\'s '
        "folder, where there is one.",
        show_default=False,
    ),
]
# Of the commands that take a trained model
Checkpoint = Annotated[Path, typer.Argument(help="What run_recbole saved: saved/NAME.pth.", show_default=False)]
TrainedDataPath = Annotated[
    Path | None,
    typer.Option(help="Folder that holds the data set's folder; without it, as in training.", show_default=False),
]
Device = Annotated[
    str | None,
    typer.Option(help="Where to score, e.g. cpu or cuda:1; without it, as in training.", show_default=False),
]
Store = Annotated[
    Path | None,
    typer.Option(
        help="File of a language model's answers; without it, DATASET.answers.sqlite in the data set's folder.",
        show_default=False,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A Ray cluster to join: auto, HOST:PORT or ray://HOST:PORT; without it, a Ray on this machine.",
        show_default=False,
    ),
]
MaxConcurrent = Annotated[
    int | None,
    typer.Option(
        min=1, help="The most at a time; without it, as many as there are CPUs and GPUs for.", show_default=False
    ),
]

# Of the commands that write data sets
Out = Annotated[
    Path,
    typer.Option(
        metavar="DIR", help="Folder of data sets; a relative one holds for runs from the current folder only."
    ),
]
Name = Annotated[str, typer.Option(help="What the data set is called.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there; other files in the folder stay.")]
MinRating = Annotated[float | None, typer.Option(help="Keep reviews with at least this rating.", show_default=False)]
SampleUsers = Annotated[
    float | None,
    typer.Option(help="Then keep this share of the users, drawn at random.", max=1, show_default=False),
]
KCore = Annotated[
    int, typer.Option("--k-core", help="Then drop users and items until each has at least so many.", min=1)
]
KeepUnseen = Annotated[
    bool,
    typer.Option(
        "--keep-unseen",
        help="Also keep users and items of the features that have no interaction; RecBole gives them ids.",
    ),
]
SampleSeed = Annotated[int, typer.Option("--seed", help="Seed of the random sample of users.")]
CountRepeats = Annotated[
    bool,
    typer.Option(
        "--count-repeats",
        help="Write how many reviews or purchases of an item a user has, as the column count; see the setting "
        "interaction_weight.",
    ),
]
Reviews = Annotated[Path, typer.Argument(help="File of reviews, plain or gzipped.", show_default=False)]
