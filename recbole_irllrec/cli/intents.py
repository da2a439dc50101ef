"""``irllrec intents``: texts about users and items, and the tables of their embeddings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import generate
from .commands import command, group
from .log import log_to_stderr
from .options import (
    FILES,
    MACHINE,
    RESULTS,
    TEXTS,
    AsJson,
    Checkpoint,
    ConfigFiles,
    DataPath,
    Dataset,
    Device,
    Store,
    TitleField,
    TrainedDataPath,
    character,
    is_there,
)

if TYPE_CHECKING:
    from recbole.config import Config

    from recbole_irllrec.dataset_tools.check import Report, TableReport

    from ..tables.intents import IntentTable

app = group("Texts about users and items, and the tables of their embeddings.", "irllrec intents check ml-100k")
ENCODER, ENDPOINT, PICTURE = "Encoder", "Endpoint", "Picture"


Side = Literal["user", "item"]
SideOrBoth = Literal["user", "item", "both"]
Kind = Literal["profile", "intent", "both"]
Source = Literal["features", "interactions"]
Kinds = Annotated[
    Kind,
    typer.Option(rich_help_panel=TEXTS, help="Which texts they are: the profile (what), the intent (why), or both."),
]
Atomic = Annotated[
    bool,
    typer.Option(
        "--atomic",
        rich_help_panel=RESULTS,
        help="Also write RecBole's float_seq files, for other models (preload_weight).",
    ),
]


@command(
    app,
    "irllrec intents import ml-100k --side item --embeddings items.npy --ids items.txt "
    "--encoder-name all-MiniLM-L6-v2 --source features",
    name="import",
)
def import_(
    dataset: Dataset,
    side: Annotated[Side, typer.Option(rich_help_panel=TEXTS, help="Whose embeddings they are.")],
    embeddings: Annotated[
        Path,
        typer.Option(
            rich_help_panel=FILES,
            help="The embeddings: .npy, .npz, Parquet or CSV.",
            metavar="FILE",
            callback=is_there,
            show_default=False,
        ),
    ],
    encoder_name: Annotated[
        str,
        typer.Option(
            rich_help_panel=TEXTS, help="Which encoder made them; the same for users and items.", show_default=False
        ),
    ],
    source: Annotated[
        Source,
        typer.Option(
            rich_help_panel=TEXTS,
            help="What they were made from: features alone, or also interactions (histories, reviews). With "
            "interactions you state that these were the data set's training interactions and no others; their "
            "fingerprint is stored, and training with another split will refuse the table.",
            show_default=False,
        ),
    ],
    ids: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FILES,
            help="Their ids: a text file with one a line, a .npy, or the name of the column or array. Without it "
            '"token", in a .npz "ids".',
            metavar="FILE|NAME",
            show_default=False,
        ),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FILES,
            help='The column or array of embeddings, or a pattern such as "dim_*" for one number a column. Without it '
            '"embedding" (in a .npz "embeddings"), or else all columns but those of ids and texts.',
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FILES,
            help="What was embedded: a column of the file, or a Parquet or CSV file with the columns token and text.",
            metavar="NAME|FILE",
            show_default=False,
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FILES,
            help=r"Between the columns of a CSV file, a tab as \t; a comma, or a tab in .tsv.",
            show_default=False,
        ),
    ] = None,
    kind: Kinds = "both",
    atomic: Atomic = False,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
) -> None:
    """Take embeddings that you already have."""
    from recbole_irllrec.dataset_tools.embed import fingerprint_for
    from recbole_irllrec.dataset_tools.import_embeddings import read_embeddings
    from recbole_irllrec.dataset_tools.tables import write_tables

    from ..data.loading import refuse_absent
    from ..tables.intents import IntentTable

    config = _config(dataset, data_path, config_files)
    refuse_absent(config)
    given = read_embeddings(embeddings, ids, vectors, texts, delimiter and character(delimiter))
    table = IntentTable.from_arrays(
        *given,
        encoder=encoder_name,
        source=source,
        train_fingerprint=fingerprint_for(config, source),
        origin=str(embeddings),
    )
    _say_written(table, write_tables(config, table, side, _each(kind, ("profile", "intent")), atomic))


@command(
    app,
    "irllrec intents embed ml-100k",
    then="Add `--encoder sentence-transformers --encoder-model all-MiniLM-L6-v2` for a model that runs here.",
)
def embed(
    dataset: Dataset,
    encoder: Annotated[
        Literal["tfidf-svd", "sentence-transformers", "openai"],
        typer.Option(
            rich_help_panel=ENCODER, help="TF-IDF, a model that runs here, or any OpenAI-compatible endpoint."
        ),
    ] = "tfidf-svd",
    encoder_model: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ENCODER,
            help="The model: a folder or name of the Hugging Face hub, or what the endpoint calls it.",
            metavar="PATH|NAME",
            show_default=False,
        ),
    ] = None,
    encoder_name: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ENCODER, help="What the tables call the encoder; the model's name.", show_default=False
        ),
    ] = None,
    texts: Annotated[
        str,
        typer.Option(
            rich_help_panel=TEXTS,
            help='Where the texts come from: "features" (.item and .user files, for users with their training items), '
            '"intents" (what comes with this package about public data sets), "all" (both), "generated" (what a '
            'language model wrote, see generate), "tables" (the texts of the tables that are there, for another '
            "encoder), or a Parquet or CSV file with the columns token and text.",
            metavar="features|intents|all|generated|tables|FILE",
        ),
    ] = "features",
    source: Annotated[
        Source | None,
        typer.Option(
            rich_help_panel=TEXTS,
            help="What the texts of a file were made from; with interactions you state that these were the data set's "
            "training interactions.",
            show_default=False,
        ),
    ] = None,
    store: Store = None,
    side: Annotated[SideOrBoth, typer.Option(rich_help_panel=TEXTS, help="Whose texts.")] = "both",
    kind: Kinds = "both",
    dtype: Annotated[
        Literal["float32", "float16"], typer.Option(rich_help_panel=RESULTS, help="How embeddings are kept.")
    ] = "float32",
    atomic: Atomic = False,
    prompt: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ENCODER, help="Put before each text (both models and endpoints).", show_default=False
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=ENCODER,
            help="How many tokens of a text are read; the model's own limit.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=ENCODER, help="Texts at once: 32, in a request 256.", show_default=False),
    ] = None,
    compute_dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        typer.Option(
            rich_help_panel=ENCODER,
            help="sentence-transformers: what the model computes in; float32.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=MACHINE,
            help="sentence-transformers: where, e.g. cuda:1; the fastest there is.",
            show_default=False,
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ENDPOINT,
            help="openai: the endpoint; OPENAI_BASE_URL, or OpenAI itself. The key is in OPENAI_API_KEY.",
            show_default=False,
        ),
    ] = None,
    dimensions: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=ENDPOINT, help="openai: the width of embeddings to ask for.", show_default=False
        ),
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=ENDPOINT, help="openai: the most tokens in a request; 100000.", show_default=False
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=ENDPOINT, help="openai: requests under way at once; 4.", show_default=False
        ),
    ] = None,
    requests_per_minute: Annotated[
        float | None,
        typer.Option(
            min=0.01, rich_help_panel=ENDPOINT, help="openai: the most requests in a minute.", show_default=False
        ),
    ] = None,
    tokens_per_minute: Annotated[
        float | None,
        typer.Option(min=1, rich_help_panel=ENDPOINT, help="openai: the most tokens in a minute.", show_default=False),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=MACHINE,
            help="A Ray cluster whose CPUs embed: auto, HOST:PORT or ray://HOST:PORT; without it, this machine does.",
            show_default=False,
        ),
    ] = None,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
) -> None:
    """Turn texts into tables of embeddings, in the data set's folder.

    What an endpoint answers is kept at once in DATASET.embeddings.sqlite: run the same command again to go on.
    """
    from ..blocks import each_block, only_on_cpus
    from ..errors import IRLLRecError

    if encoder == "openai" and address is not None:
        raise IRLLRecError("What an endpoint embeds is asked for from here alone: leave --address out.")
    if encoder == "sentence-transformers":
        device = only_on_cpus(address, device)

    import numpy as np

    from recbole_irllrec.dataset_tools import embed as pipeline

    from ..data.alike import encoding_of
    from ..data.loading import refuse_absent

    given = {
        "encoder_model": encoder_model,
        "encoder_name": encoder_name,
        "prompt": prompt,
        "max_length": max_length,
        "batch_size": batch_size,
        "compute_dtype": compute_dtype,
        "device": device,
        "base_url": base_url,
        "dimensions": dimensions,
        "batch_tokens": batch_tokens,
        "concurrency": concurrency,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
    }
    options = {name: value for name, value in given.items() if value is not None}
    pipeline.check_options(encoder, options)
    config = _config(dataset, data_path, config_files)
    refuse_absent(config)
    found = pipeline.find_texts(
        config, texts, _each(side, ("user", "item")), _each(kind, ("profile", "intent")), source, store
    )
    with log_to_stderr(), each_block(address) as each:
        for some, of_recipe in pipeline.together(encoder, found):
            with pipeline.open_encoder(encoder, options, config, some, each) as opened:
                told = encoding_of(encoder, options, of_recipe)
                for table, paths in pipeline.embed(config, opened, some, np.dtype(dtype).type, atomic, told):
                    _say_written(table, paths)


@command(app, "irllrec intents show ml-100k 50 --side item")
def show(
    dataset: Dataset,
    token: Annotated[str, typer.Argument(help="The id of a user or an item, as in the .inter file.")],
    side: Annotated[
        Side | None,
        typer.Option(
            rich_help_panel=TEXTS, help="Which it is, where both a user and an item have this id.", show_default=False
        ),
    ] = None,
    store: Store = None,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
) -> None:
    """Print the texts of one user or item."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    from recbole_irllrec.dataset_tools.show import look_up

    console = Console()
    found = look_up(_config(dataset, data_path, config_files), token, side, store)
    for row in found.rows:
        facts = [f"encoder {row.encoder}"] if row.encoder else []
        facts += [f"made from {row.source or 'unknown'}"]
        facts += [f"prompt {row.prompt_version}"] if row.prompt_version else []
        facts += [f"training interactions: {row.fingerprint}"] if row.fingerprint else []
        text = Text(row.text or "(no text)")
        console.print(Panel(text, title=Text(f"{found.side} {token}: {row.kind}"), subtitle=Text(", ".join(facts))))
    title = Text(f"{found.side} {token}: the language model's answer")
    if isinstance(found.answer, str):
        console.print(Panel(Text(f"None that is valid: {found.answer}"), title=title))
    elif found.answer is not None:
        lines = [f"Profile: {found.answer.profile}", f"Reasoning: {found.answer.reasoning}"]
        for name, intents in (("Likes", found.answer.likes), ("Dislikes", found.answer.dislikes)):
            lines += [f"{name}: {one.intent} (evidence: {'; '.join(one.evidence)})" for one in intents]
        console.print(Panel(Text("\n".join(lines)), title=title))


@command(app, "irllrec intents check ml-100k")
def check(
    dataset: Dataset,
    as_json: AsJson = False,
    store: Store = None,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
) -> None:
    """Verify the text tables against the data set and its split; exit status 1 if training would refuse them."""
    from recbole_irllrec.dataset_tools.check import check as examine

    report = examine(_config(dataset, data_path, config_files), store)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print_report(report)
    if report.refusals:
        raise typer.Exit(1)


@command(app, "irllrec intents plot saved/IRLLRec.pth --map pca --out plots")
def plot(
    checkpoint: Checkpoint,
    out: Annotated[
        Path,
        typer.Option(
            rich_help_panel=RESULTS,
            help="Folder for plot.html and, in numbers, numbers.csv, angles.csv, items.csv.",
            metavar="DIR",
        ),
    ] = Path("plots"),
    title_field: TitleField = None,
    how: Annotated[
        Literal["tsne", "pca"],
        typer.Option("--map", rich_help_panel=PICTURE, help="How the plane is found: t-SNE, or principal components."),
    ] = "tsne",
    points: Annotated[
        int,
        typer.Option(
            min=3, rich_help_panel=PICTURE, help="Users and items, at most, that densities and numbers are of."
        ),
    ] = 500,
    data_path: TrainedDataPath = None,
    device: Device = None,
) -> None:
    """Draw a trained model's embeddings beside those of its texts, and a map of items by intent.

    The page needs no network. Alignment and uniformity (Wang and Isola) are printed.
    """
    from rich.console import Console

    from ..intent_plot import picture, write_picture
    from ..serving import serve

    with Console(stderr=True).status(f"Loading {checkpoint} and its data set"):
        served = serve(checkpoint, device, data_path, texts=True)
        made = picture(served, str(checkpoint), title_field, how, points)
    typer.echo(made.numbers.to_string(index=False, na_rep="", float_format="{:.4f}".format))
    for path in write_picture(out, made, f"{served.config['model']} on {served.config['dataset']}"):
        typer.echo(path)


def _config(dataset: str, data_path: Path | None, config_files: str | None) -> "Config":
    from ..data.loading import load_config

    return load_config(dataset, data_path, config_files)


def _each(given: str, every: tuple[str, ...]) -> list[str]:
    return [*every] if given == "both" else [given]


def _say_written(table: "IntentTable", paths: list[Path]) -> None:
    embeddings = table.embeddings
    for path in paths:
        typer.echo(
            f"{path}: {len(embeddings)} tokens, {int(table.present.sum())} embedded, {embeddings.shape[1]} wide, "
            f"{embeddings.dtype}, encoder {table.metadata.encoder}"
        )


def _print_report(report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=f"Text tables of {report.dataset}", title_justify="left")
    grid.add_column("")
    columns = [_described(table) for table in report.tables]
    for table in report.tables:
        grid.add_column(f"{table.side} {table.kind}", overflow="fold")
    for name in columns[0] if columns else []:
        grid.add_row(name, *(column[name] for column in columns))
    Console().print(grid)
    for warning in report.warnings:
        typer.echo(f"Warning: {warning}")
    for refusal in report.refusals:
        typer.echo(f"Refused: {refusal}")
    typer.echo("Training refuses these tables." if report.refusals else "Training takes these tables.")


def _described(table: "TableReport") -> dict[str, str]:
    """A table's report in words, by the names of the rows."""
    covered, lengths, alike = table.coverage, table.lengths, table.alike

    def share(n: int, of: int) -> str:
        return f"{n} of {of} ({n / of:.1%})" if of else "0"

    return {
        "file": Path(table.source).name if table.source else "none",
        "encoder": table.encoder or "unknown" if covered else "",
        "embedding": f"{table.dim} x {table.dtype}" if covered else "",
        "made from": table.made_from or "unknown" if covered else "",
        "training interactions": table.fingerprint or "" if covered else "",
        "with embedding": share(covered.embedded, covered.tokens) if covered else "",
        "with text": share(covered.worded, covered.tokens) if covered else "",
        "other tokens": str(covered.unknown) if covered else "",
        "rows without embedding": str(table.zero_rows) if covered else "",
        "lengths (least, mean, most)": (
            f"{lengths.least:.3g}, {lengths.mean:.3g}, {lengths.most:.3g}" if lengths else ""
        ),
        "texts that repeat": str(table.repeated_texts) if covered else "",
        "nearly identical": share(alike.tokens, alike.checked) if alike else "",
    }


generate.add_command(app)
