"""``irllrec doctor``: what is wrong here, and what to do."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import command, single
from .options import AsJson, ConfigFiles, DataPath

if TYPE_CHECKING:
    from ..doctor import Check

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


app = single()


@command(app, "irllrec doctor ml-100k")
def doctor(
    dataset: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="A RecBole data set to look into.", show_default=False)
    ] = None,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
    as_json: AsJson = False,
) -> None:
    """Check versions, devices, Ray, kept files and a data set, and say what to do; exit status 1 if one fails."""
    from itertools import chain

    from rich.console import Console

    from .. import doctor as logic
    from ..data.loading import load_config

    console = Console(stderr=True)
    with console.status("Looking at versions, devices and Ray"):
        checks = list(chain(logic.versions(), logic.extras(), logic.devices(), logic.ray()))
    if dataset is None:
        checks += logic.kept_files(Path("saved"))
    else:
        config = load_config(dataset, data_path, config_files)
        with console.status(f"Looking at {dataset}"):
            checks += chain(logic.kept_files(Path(config["checkpoint_dir"])), logic.dataset(config))
    if as_json:
        print(json.dumps([check._asdict() for check in checks], indent=2, ensure_ascii=False))
    else:
        _show(checks)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


def _show(checks: "list[Check]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("topic", "check", "status", "found", "what to do"):
        table.add_column(name, overflow="fold", no_wrap=name == "status")
    before = None
    for check in checks:
        if before not in (None, check.topic):
            table.add_section()
        topic = "" if check.topic == before else check.topic
        before = check.topic
        status = Text(check.status, style=_COLOURS[check.status])
        table.add_row(*map(Text, (topic, check.name)), status, *map(Text, (check.found, check.advice)))
    Console().print(table)
