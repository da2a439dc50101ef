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
