"""``irllrec recommend`` and ``irllrec export``: what a trained model is for."""

import textwrap
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ..serving import Served

# On the screen:
_SHOWN = 10  # users
_LETTERS = 240  # of a text

Checkpoint = Annotated[Path, typer.Argument(help="What run_recbole saved: saved/NAME.pth.", show_default=False)]
DataPath = Annotated[
    Path | None,
    typer.Option(help="Folder that holds the data set's folder; without it, as in training.", show_default=False),
]
Device = Annotated[
    str | None,
    typer.Option(help="Where to score, e.g. cpu or cuda:1; without it, as in training.", show_default=False),
]


class Seen(StrEnum):
    """Which interactions keep an item from being recommended."""

    all = "all"
    train = "train"


class Format(StrEnum):
    """How vectors are written."""

    parquet = "parquet"
    npy = "npy"


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the top level of ``irllrec``."""
    app.command(epilog="Example: irllrec recommend saved/IRLLRec.pth --users all --k 20 --out best.parquet")(recommend)
    app.command(epilog="Example: irllrec export saved/IRLLRec.pth --out vectors")(export)


def recommend(
    checkpoint: Checkpoint,
    users: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|all",
            help="Whom to recommend to: a file with a user a line (or a .csv or .parquet with a column user), or all.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        list[str] | None, typer.Option(help="One user; may be given several times.", show_default=False)
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Items a user.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write: .parquet, .csv or .jsonl, a row a recommendation. Without it, they are shown here.",
            show_default=False,
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            help="Recommend only these: a file with an item a line (or a .csv or .parquet with a column item).",
            show_default=False,
        ),
    ] = None,
    seen: Annotated[
        Seen,
        typer.Option(help="Leave out what a user has in the data set (all), or in its training interactions (train)."),
    ] = Seen.all,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the item's and the user's texts whose embeddings agree most.")
    ] = False,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out users and items that the data set does not have.")
    ] = False,
    data_path: DataPath = None,
    device: Device = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="A Ray cluster whose CPUs score: auto, HOST:PORT or ray://HOST:PORT; without it, this machine does.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """The best items of each user, without those it has seen."""
    from .. import recommend as logic
    from ..cluster import each_block, only_on_cpus
    from ..errors import IRLLRecError

    if out is not None:
        logic.refuse_unknown_suffix(out)
    if (users is None) == (not user):
        raise IRLLRecError("Give the users, either with --users FILE|all or with --user TOKEN.")
    wanted = user if users is None else None if users == "all" else logic.read_tokens(users, "user")
    stock = None if items is None else logic.read_tokens(items, "item")
    served = _serve(checkpoint, only_on_cpus(address, device), data_path)
    user_ids = _ids(served.user_names, wanted, "user", skip_unknown)
    item_ids = _ids(served.item_names, stock, "item", skip_unknown)
    shown = user_ids if out is not None else user_ids[:_SHOWN]
    with each_block(address) as each:
        found = logic.recommend(
            served, shown, k, item_ids, seen is Seen.train, explain, show_progress=out is not None, each=each
        )
        if out is not None:
            n_rows = logic.write_tables(out, found)
            print(f"{n_rows} recommendations to {len(user_ids)} users: {out}")
            return
        for table in found.tables:
            _show(table, explain)
    if len(user_ids) > len(shown):
        print(f"The first {len(shown)} of {len(user_ids)} users; --out FILE writes all.")


def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="Folder for users.* and items.*.", show_default=False)],
    form: Annotated[
        Format,
        typer.Option("--format", help="parquet: columns token and vector. npy: arrays beside text files of tokens."),
    ] = Format.parquet,
    data_path: DataPath = None,
    device: Device = None,
) -> None:
    """Users' and items' vectors with their ids, for a vector index."""
    from ..export import vectors, write_vectors

    made = vectors(_serve(checkpoint, device, data_path, vectors=True))
    for path in write_vectors(out, made, form.value):
        print(path)
    print(f"{made.metadata['dim']} wide; give the index the metric {made.metadata['metric']}.")


def _serve(checkpoint: Path, device: str | None, data_path: Path | None, vectors: bool = False) -> "Served":
    from rich.console import Console

    from ..serving import serve

    with Console(stderr=True).status(f"Loading {checkpoint} and its data set"):
        return serve(checkpoint, device, data_path, vectors)


def _ids(names: "pa.Array", wanted: "Sequence[str] | np.ndarray | None", what: str, skip_unknown: bool) -> "np.ndarray":
    """RecBole's ids of the names that are wanted; of all where None is."""
    import numpy as np

    from ..recommend import ids_of

    if wanted is None:
        return np.arange(1, len(names))
    return ids_of(names.to_numpy(zero_copy_only=False), wanted, what, skip_unknown)


def _show(recommendations: "pa.Table", explain: bool) -> None:
    """Print each user's rows as a table; texts that agree stand side by side."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for user, rows in recommendations.to_pandas().groupby("user", sort=False):
        table = Table(title=f"User {user}", title_justify="left")
        table.add_column("rank", justify="right")
        table.add_column("item", overflow="fold")
        table.add_column("score", justify="right")
        if explain:
            table.add_column("text of the item", ratio=1)
            table.add_column("text of the user's side", ratio=1)
            table.add_column("similarity", justify="right")
        for row in rows.itertuples(index=False):
            cells = [str(row.rank), row.item, f"{row.score:.4f}"]
            if explain and row.kind is not None:
                source = "user" if row.because_of is None else f"item {row.because_of}"
                cells += [_shortened(row.item_text), f"{_shortened(row.user_text)} [{source}]", f"{row.similarity:.4f}"]
            table.add_row(*map(Text, cells))
        console.print(table)


def _shortened(text: str | None) -> str:
    return textwrap.shorten(text or "", _LETTERS, placeholder="…")
