"""``irllrec recommend`` and ``irllrec export``: what a trained model is for."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import command, single
from .options import MACHINE, RESULTS, Checkpoint, Device, TrainedDataPath, is_there

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ..scorer import Scorer

NEW, REASONS, WHOM = "New items and users", "Reasons", "Whom and what"
_SHOWN = 10  # users, on the screen


class Seen(StrEnum):
    """Which interactions keep an item from being recommended."""

    all = "all"
    train = "train"


class Only(StrEnum):
    """Which items are recommended, where there are new ones."""

    new = "new"
    known = "known"


NewItems = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=NEW,
        help="Items that the data set does not have: their ids with a text, with the words of its .item file, or with "
        "embeddings (.csv, .parquet, an atomic file, a text table).",
        metavar="FILE",
        callback=is_there,
        show_default=False,
    ),
]
Histories = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=NEW,
        help="Interactions of new users, or further ones of known users: columns user and item (.csv, .parquet, "
        ".inter).",
        metavar="FILE",
        callback=is_there,
        show_default=False,
    ),
]


class Format(StrEnum):
    """How vectors are written."""

    parquet = "parquet"
    npy = "npy"


app, export_app = single(), single()


@command(
    app,
    "irllrec recommend saved/IRLLRec.pth --users all --k 20 --out best.parquet",
    "irllrec recommend saved/IRLLRec.pth --new-items new.csv --histories visits.csv --k 5",
)
def recommend(
    checkpoint: Checkpoint,
    users: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|all",
            rich_help_panel=WHOM,
            help="Whom to recommend to: a file with a user a line (or a .csv or .parquet with a column user), or all.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(rich_help_panel=WHOM, help="One user; may be given several times.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, rich_help_panel=WHOM, help="Items a user.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=RESULTS,
            help="File to write: .parquet, .csv or .jsonl, a row a recommendation. Without it, they are shown here.",
            show_default=False,
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=WHOM,
            help="Recommend only these: a file with an item a line (or a .csv or .parquet with a column item).",
            callback=is_there,
            show_default=False,
        ),
    ] = None,
    new_items: NewItems = None,
    histories: Histories = None,
    only: Annotated[
        Only | None,
        typer.Option(
            rich_help_panel=NEW, help="With --new-items, recommend new items or known ones alone.", show_default=False
        ),
    ] = None,
    seen: Annotated[
        Seen,
        typer.Option(
            rich_help_panel=WHOM,
            help="Leave out what a user has in the data set (all), or in its training interactions (train).",
        ),
    ] = Seen.all,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            rich_help_panel=REASONS,
            help="Add the item's and the user's texts whose embeddings agree most, cut to 120 characters.",
        ),
    ] = False,
    explain_field: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=REASONS,
            help="Explain, with this column of the .item file in the place of items' texts, e.g. title.",
            metavar="FIELD",
            show_default=False,
        ),
    ] = None,
    explain_full: Annotated[
        bool, typer.Option("--explain-full", rich_help_panel=REASONS, help="Explain, with whole texts on each row.")
    ] = False,
    skip_unknown: Annotated[
        bool,
        typer.Option(
            "--skip-unknown", rich_help_panel=WHOM, help="Leave out users and items that the data set does not have."
        ),
    ] = False,
    data_path: TrainedDataPath = None,
    device: Device = None,
    address: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=MACHINE,
            help="A Ray cluster whose CPUs score: auto, HOST:PORT or ray://HOST:PORT; without it, this machine does.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """The best items of each user, without those it has seen.

    Without --users, the users of --histories. New items are placed by their texts, users by their histories, without
    training.
    """
    from ..blocks import each_block, only_on_cpus
    from ..errors import IRLLRecError
    from ..files import refuse_unknown_suffix

    if out is not None:
        refuse_unknown_suffix(out)
    if users is not None and user:
        raise IRLLRecError("Give the users once, either with --users FILE|all or with --user TOKEN.")
    if users is None and not user and histories is None:
        raise IRLLRecError("Give the users, with --users FILE|all, with --user TOKEN or with --histories FILE.")
    if only is not None and (new_items is None or items is not None):
        raise IRLLRecError("--only parts new items from known ones: give it with --new-items and without --items.")
    if users not in (None, "all"):
        is_there(users)
    device = only_on_cpus(address, device)

    from .. import recommend as logic
    from ..explain import Explainer
    from ..extending import Extended

    wanted = user or (None if users == "all" else logic.read_tokens(users, "user") if users is not None else None)
    stock = None if items is None else logic.read_tokens(items, "item")
    served = _serve(checkpoint, device, data_path, new_items=new_items, histories=histories)
    if wanted is None and users is None:
        assert isinstance(served, Extended)  # by its histories
        wanted = served.people
    user_ids = _ids(served.user_names, wanted, "user", skip_unknown)
    item_ids = _ids(served.item_names, stock, "item", skip_unknown)
    if only is not None:
        assert isinstance(served, Extended)  # by its new items
        item_ids = item_ids[(item_ids >= served.n_known_items) == (only is Only.new)]
    shown = user_ids if out is not None else user_ids[:_SHOWN]
    explains = explain or explain_field is not None or explain_full
    explainer = explains and Explainer(served, explain_field, explain_full)
    with each_block(address) as each:
        found = logic.recommend(
            served, shown, k, item_ids, seen is Seen.train, explainer, show_progress=out is not None, each=each
        )
        if out is not None:
            n_rows = logic.write_tables(out, found)
            print(f"{n_rows} recommendations to {len(user_ids)} users: {out}")
            return
        for table in found.tables:
            _show(table, explains)
    if len(user_ids) > len(shown):
        print(f"The first {len(shown)} of {len(user_ids)} users; --out FILE writes all.")


@command(export_app, "irllrec export saved/IRLLRec.pth --out vectors")
def export(
    checkpoint: Checkpoint,
    out: Annotated[
        Path, typer.Option(rich_help_panel=RESULTS, help="Folder for users.* and items.*.", show_default=False)
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            rich_help_panel=RESULTS,
            help="parquet: columns token and vector. npy: arrays beside text files of tokens.",
        ),
    ] = Format.parquet,
    new_items: NewItems = None,
    histories: Histories = None,
    data_path: TrainedDataPath = None,
    device: Device = None,
) -> None:
    """Users' and items' vectors with their ids, for a vector index."""
    from ..export import vectors, write_vectors

    made = vectors(_serve(checkpoint, device, data_path, vectors=True, new_items=new_items, histories=histories))
    for path in write_vectors(out, made, form.value):
        print(path)
    print(f"{made.metadata['dim']} wide; give the index the metric {made.metadata['metric']}.")


def _serve(
    checkpoint: Path,
    device: str | None,
    data_path: Path | None,
    vectors: bool = False,
    new_items: Path | None = None,
    histories: Path | None = None,
) -> "Scorer":
    from rich.console import Console

    from ..dataset_tools.new_rows import read_histories, read_new_items
    from ..extending import extend
    from ..serving import serve
    from .log import log_to_stderr

    with Console(stderr=True).status(f"Loading {checkpoint} and its data set"):
        if new_items is None and histories is None:
            return serve(checkpoint, device, data_path, vectors)
        served = serve(checkpoint, device, data_path, vectors, new_items is not None, histories is not None)
        items = None if new_items is None else read_new_items(new_items, served.config)
        pairs = None if histories is None else read_histories(histories, served.config)
    with log_to_stderr():
        return extend(served, items, pairs)


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
        table = Table(title=Text(f"User {user}"), title_justify="left")
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
                cells += [row.item_text or "", f"{row.user_text or ''} [{source}]", f"{row.similarity:.4f}"]
            table.add_row(*map(Text, cells))
        console.print(table)
