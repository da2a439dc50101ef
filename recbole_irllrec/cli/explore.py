"""``irllrec explore``: a page that shows what a trained model recommends to whom, and why."""

from pathlib import Path
from typing import Annotated

import typer

from .commands import command, single
from .options import RESULTS, Checkpoint, Device, TitleField, TrainedDataPath

_SUFFIXES = (".html", ".htm")


app = single()
PAGE = "The page"


@command(app, "irllrec explore saved/IRLLRec.pth --users 50 --out page.html")
def explore(
    checkpoint: Checkpoint,
    users: Annotated[
        str,
        typer.Option(
            metavar="FILE|N",
            rich_help_panel=PAGE,
            help="Whom to show: a file with a user a line (or a .csv or .parquet with a column user), or a number: so "
            "many, the first ones of the data set.",
        ),
    ] = "200",
    out: Annotated[Path, typer.Option(metavar="FILE.html", rich_help_panel=RESULTS, help="The page.")] = Path(
        "page.html"
    ),
    k: Annotated[int, typer.Option("--k", "-k", min=1, rich_help_panel=PAGE, help="Recommendations a user.")] = 20,
    title_field: TitleField = None,
    data_path: TrainedDataPath = None,
    device: Device = None,
) -> None:
    """One page that opens without a network: users, what they are recommended, and why.

    Search a user; see its history, likes and dislikes with evidence, its recommendations with reasons in words, and
    what popularity would have shown; and items with those that are like them.
    """
    from ..errors import IRLLRecError

    if out.suffix not in _SUFFIXES or out.is_dir():
        raise IRLLRecError(f"--out is {out}: name a file that ends in {' or '.join(_SUFFIXES)}.")
    if users.isdecimal() and int(users) == 0:
        raise IRLLRecError("--users is 0: give at least 1, or a file of users.")
    import numpy as np
    from rich.console import Console

    from .. import explore as logic
    from ..recommend import ids_of, read_tokens
    from ..serving import serve
    from .log import log_to_stderr

    wanted = None if users.isdecimal() else read_tokens(users, "user")
    with log_to_stderr(), Console(stderr=True).status(f"Loading {checkpoint} and its data set"):
        served = serve(checkpoint, device, data_path)
        names = served.user_names.to_numpy(zero_copy_only=False)
        ids = np.arange(1, min(int(users) + 1, len(names))) if wanted is None else ids_of(names, wanted, "user")
        records = logic.explore(served, ids, k, title_field)
        logic.write_page(out, records)
    print(f"{len(records['users'])} users, {len(records['items'])} items, {out.stat().st_size / 1e6:.1f} MB: {out}")
