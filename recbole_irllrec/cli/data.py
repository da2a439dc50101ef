"""``irllrec data``: make, split and describe RecBole data sets."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import command, group
from .options import (
    FILES,
    RESULTS,
    AsJson,
    ConfigFiles,
    CountRepeats,
    DataPath,
    Dataset,
    Force,
    KCore,
    KeepUnseen,
    MinRating,
    Name,
    Out,
    Reviews,
    SampleSeed,
    SampleUsers,
    character,
    is_there,
)

if TYPE_CHECKING:
    from recbole_irllrec.dataset_tools.convert import Features
    from recbole_irllrec.dataset_tools.convert import Reviews as ReadReviews

app = group("Make, split and describe RecBole data sets.", "irllrec data describe ml-100k --plot ml-100k.html")
convert = group(
    "Make a RecBole data set DIR/NAME/NAME.* from files of other forms.",
    "irllrec data convert published amazon/ --name amazon-book",
)
app.add_typer(convert, name="convert")

COLUMNS, SPLIT = "Columns", "Split"
_SPLIT_NEXT = "Next: `irllrec data split NAME` fixes a split, `irllrec data describe NAME` shows what there is."


class Order(StrEnum):
    RO = "RO"
    TO = "TO"


class Group(StrEnum):
    user = "user"
    none = "none"


class LeaveOneOut(StrEnum):
    valid_and_test = "valid_and_test"
    valid_only = "valid_only"
    test_only = "test_only"


@command(
    app,
    "irllrec data split ml-100k --order TO --ratios 0.7,0.1,0.2 --name ml-100k-late",
    "irllrec data split ml-100k --cold-items 0.2 --name ml-100k-cold",
    then="Then: `run_recbole --model=IRLLRec --dataset=NAME --config_files=dataset/NAME/NAME.yaml`.",
)
def split(
    dataset: Dataset,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=RESULTS,
            help="Folder of data sets to write to; without it, that of the data set itself (dataset/ for ml-100k).",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=RESULTS,
            help="What the split data set is called; its own name, or ml-100k-split.",
            show_default=False,
        ),
    ] = None,
    order: Annotated[
        Order | None,
        typer.Option(
            rich_help_panel=SPLIT, help="RO: in random order; TO: by time, latest to test.", show_default=False
        ),
    ] = None,
    group_by: Annotated[
        Group | None,
        typer.Option(
            rich_help_panel=SPLIT, help="Split each user's interactions, or all together.", show_default=False
        ),
    ] = None,
    ratios: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=SPLIT, help="Shares of training, validation, test: 0.8,0.1,0.1.", show_default=False
        ),
    ] = None,
    leave_one_out: Annotated[
        LeaveOneOut | None,
        typer.Option(rich_help_panel=SPLIT, help="Hold out each user's last interactions.", show_default=False),
    ] = None,
    time_ratios: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=SPLIT,
            help="RecBole's TS: test is what is later than this share of the time.",
            show_default=False,
        ),
    ] = None,
    cold_items: Annotated[
        float,
        typer.Option(
            rich_help_panel=SPLIT,
            help="Keep this share of the items out of training: half go to validation, half to test.",
            min=0,
            max=1,
            show_default=False,
        ),
    ] = 0.0,
    cold_users: Annotated[
        float,
        typer.Option(
            rich_help_panel=SPLIT,
            help="The same of the users; a cold item goes before a cold user.",
            min=0,
            max=1,
            show_default=False,
        ),
    ] = 0.0,
    seed: Annotated[
        int | None, typer.Option(rich_help_panel=SPLIT, help="RecBole's seed, 2020 by default.", show_default=False)
    ] = None,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
    force: Force = False,
) -> None:
    """Fix a data set's split in files, so that every run sees the same.

    RecBole draws it, by its settings or by the options here. Each line of DATASET.inter goes to one of
    NAME.train.inter, NAME.valid.inter and NAME.test.inter; NAME.yaml makes runs use them. A data set that comes in
    these three files is put together and split anew, under another --name.
    """
    ways = {"RS": _shares("--ratios", ratios), "LS": leave_one_out and leave_one_out.value}
    ways["TS"] = _shares("--time-ratios", time_ratios)
    given = {way: value for way, value in ways.items() if value is not None}
    if len(given) > 1:
        raise typer.BadParameter("give one of --ratios, --leave-one-out and --time-ratios.")
    from recbole_irllrec.dataset_tools.split import split as write

    eval_args = {"order": order and order.value, "group_by": group_by and group_by.value, "split": given or None}
    chosen = {key: value for key, value in eval_args.items() if value is not None}
    cold = {"item": cold_items, "user": cold_users}
    settings, counts = write(dataset, out, name, data_path, config_files, chosen, seed, force, cold_shares=cold)
    _print_counts(counts)
    _print_use(settings, config_files)


@command(convert, "irllrec data convert published amazon/ --name amazon-book")
def published(
    source: Annotated[
        Path, typer.Argument(help="Folder with trn_mat.pkl, val_mat.pkl, tst_mat.pkl.", show_default=False)
    ],
    name: Name,
    out: Out = Path("dataset"),
    profile_encoder: Annotated[
        str, typer.Option(rich_help_panel=FILES, help="Encoder of usr_emb_np.pkl and itm_emb_np.pkl.")
    ] = "text-embedding-ada-002",
    intent_encoder: Annotated[
        str, typer.Option(rich_help_panel=FILES, help="Encoder of user_intent_emb_3.pkl and item_intent_emb_3.pkl.")
    ] = "text-embedding-3-large",
    force: Force = False,
) -> None:
    """The layout in which IRLLRec and RLMRec publish their data, with its split and, where present, its embeddings.

    A user's or item's id is its row or column in the matrices. Nothing in the pickles is executed.
    """
    from recbole_irllrec.dataset_tools.published import convert_published

    encoders = {"profile": profile_encoder, "intent": intent_encoder}
    _print_counts(convert_published(source, out, name, encoders, force))
    _print_use(out / name / f"{name}.yaml")


@command(
    convert,
    "irllrec data convert amazon Books.jsonl.gz --items meta_Books.jsonl.gz --name books --min-rating 3 --k-core 5",
    then=_SPLIT_NEXT,
)
def amazon(
    reviews: Annotated[
        list[Path], typer.Argument(help="Files of reviews, plain or gzipped.", callback=is_there, show_default=False)
    ],
    name: Name,
    items: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=FILES,
            help="File of the items' metadata, plain or gzipped.",
            callback=is_there,
            show_default=False,
        ),
    ] = None,
    out: Out = Path("dataset"),
    min_rating: MinRating = None,
    sample_users: SampleUsers = None,
    k_core: KCore = 1,
    keep_unseen: KeepUnseen = False,
    seed: SampleSeed = 2020,
    count_repeats: CountRepeats = False,
    force: Force = False,
) -> None:
    """Amazon reviews of 2014, 2018 or 2023, one JSON object a line, with the items' metadata.

    Review texts go to NAME.reviews.parquet, titles, brands, categories and descriptions to NAME.item.
    """
    from recbole_irllrec.dataset_tools import json_reviews

    features = {} if items is None else {"item": json_reviews.amazon_items(items)}
    keep = (min_rating, sample_users, k_core, seed, keep_unseen)
    _convert(out, name, json_reviews.amazon_reviews(reviews), features, keep, force, count_repeats)


@command(
    convert,
    "irllrec data convert yelp yelp_academic_dataset_review.json --items yelp_academic_dataset_business.json "
    "--name yelp --k-core 5",
    then=_SPLIT_NEXT,
)
def yelp(
    reviews: Reviews,
    name: Name,
    items: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=FILES, help="yelp_academic_dataset_business.json.", callback=is_there, show_default=False
        ),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=FILES, help="yelp_academic_dataset_user.json.", callback=is_there, show_default=False
        ),
    ] = None,
    out: Out = Path("dataset"),
    min_rating: MinRating = None,
    sample_users: SampleUsers = None,
    k_core: KCore = 1,
    keep_unseen: KeepUnseen = False,
    seed: SampleSeed = 2020,
    count_repeats: CountRepeats = False,
    force: Force = False,
) -> None:
    """Yelp's academic data set, one JSON object a line.

    Review texts go to NAME.reviews.parquet, what is known about businesses and users to NAME.item and NAME.user.
    """
    from recbole_irllrec.dataset_tools import json_reviews

    features = {} if items is None else {"item": json_reviews.yelp_items(items)}
    if users is not None:
        features["user"] = json_reviews.yelp_users(users)
    keep = (min_rating, sample_users, k_core, seed, keep_unseen)
    _convert(out, name, json_reviews.yelp_reviews(reviews), features, keep, force, count_repeats)


@command(
    convert,
    "irllrec data convert csv reviews.csv --name shop --user customer --item product --rating stars --text review "
    "--items products.csv",
    name="csv",
    then=f"With --keep-unseen also the products that nobody has reviewed. {_SPLIT_NEXT}",
)
def from_csv(
    reviews: Reviews,
    name: Name,
    user: Annotated[str, typer.Option(rich_help_panel=COLUMNS, help="Column of user ids.")] = "user_id",
    item: Annotated[
        str, typer.Option(rich_help_panel=COLUMNS, help="Column of item ids, in the file of items as well.")
    ] = "item_id",
    rating: Annotated[
        str | None, typer.Option(rich_help_panel=COLUMNS, help="Column of ratings.", show_default=False)
    ] = None,
    timestamp: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=COLUMNS,
            help="Column of times: seconds, milliseconds, 20241231, 2024-12-31.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(rich_help_panel=COLUMNS, help="Column of review texts.", show_default=False)
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=FILES,
            help="CSV file of items; its columns become features.",
            callback=is_there,
            show_default=False,
        ),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=FILES,
            help="CSV file of users; its columns become features.",
            callback=is_there,
            show_default=False,
        ),
    ] = None,
    delimiter: Annotated[
        str, typer.Option(rich_help_panel=FILES, help=r"What parts the values: one character, or \t.")
    ] = ",",
    no_quotes: Annotated[
        bool, typer.Option("--no-quotes", rich_help_panel=FILES, help="Quotes are ordinary characters.")
    ] = False,
    backslash: Annotated[
        bool,
        typer.Option(
            "--backslash",
            rich_help_panel=FILES,
            help=r"A backslash makes the next character an ordinary one: \" is a quote.",
        ),
    ] = False,
    out: Out = Path("dataset"),
    min_rating: MinRating = None,
    sample_users: SampleUsers = None,
    k_core: KCore = 1,
    keep_unseen: KeepUnseen = False,
    seed: SampleSeed = 2020,
    count_repeats: CountRepeats = False,
    force: Force = False,
) -> None:
    """Reviews or plain interactions in a CSV file with a header, and files of items and users.

    Review texts go to NAME.reviews.parquet. Columns of numbers become floats, which never go into texts.
    """
    delimiter = character(delimiter)
    if len(delimiter) != 1 or not delimiter.isascii():
        raise typer.BadParameter(f"--delimiter is {delimiter!r}: give one ASCII character.")
    from recbole_irllrec.dataset_tools.delimited import Dialect, csv_features, csv_reviews

    dialect = Dialect(delimiter, not no_quotes, backslash)
    columns = {"user": user, "item": item, "rating": rating, "timestamp": timestamp, "text": text}
    taken = {"user_id", "item_id", "rating", "timestamp", *(["count"] if count_repeats else [])}
    features = {}
    if items is not None:
        features["item"] = csv_features(items, item, "item", taken, dialect)
    if users is not None:
        features["user"] = csv_features(users, user, "user", taken, dialect)
    keep = (min_rating, sample_users, k_core, seed, keep_unseen)
    _convert(out, name, csv_reviews(reviews, columns, dialect), features, keep, force, count_repeats)


def _convert(
    out: Path,
    name: str,
    reviews: "ReadReviews",
    features: "dict[str, Features]",
    keep: tuple,
    force: bool,
    count_repeats: bool,
) -> None:
    """Convert; ``keep`` are the values of `Keep`."""
    from recbole_irllrec.dataset_tools.convert import Keep, convert

    chosen = Keep(*keep)
    if chosen.sample_users is not None and chosen.sample_users <= 0:
        raise typer.BadParameter("--sample-users is a share above 0, at most 1.")
    _print_counts(convert(out, name, reviews, features, chosen, force, count_repeats))
    _print_use(out / name / f"{name}.yaml")


def _shares(option: str, given: str | None) -> list[float] | None:
    if given is None:
        return None
    try:
        shares = [float(part) for part in given.split(",")]
    except ValueError:
        shares = []
    if len(shares) != 3 or min(shares) < 0 or shares[0] <= 0:
        raise typer.BadParameter(f"{option} is {given!r}: give three shares such as 0.8,0.1,0.1.")
    return shares


def _print_counts(counts: dict[str, int]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(justify="right")
    table.add_column()
    for what, number in counts.items():
        table.add_row(f"{number:,}", escape(what))
    Console().print(table)


def _print_use(settings: Path, config_files: str | None = None) -> None:
    """Say how to train with a data set's settings, above those of the files that it was made with."""
    from ..settings.files import paths_in, run_command

    below = [path for path in paths_in(config_files or "") if path.resolve() != settings.resolve()]
    worded = _has_texts(settings.with_suffix(""))
    print(f"Use it: {run_command('IRLLRec' if worded else 'LightGCN', settings.stem, [*below, settings])}")
    if not worded:
        print("IRLLRec needs texts: features of items (--items), or tables (irllrec intents).")


def _has_texts(stem: Path) -> bool:
    """Whether IRLLRec finds texts in a data set's files: words about its items, or a table."""
    from ..tables.atomic_file import read_fields

    items = stem.with_name(f"{stem.name}.item")
    kinds = list(read_fields(items).values()) if items.is_file() else []
    tables = [f"{stem.name}.{side}_{kind}.parquet" for side in ("user", "item") for kind in ("profile", "intent")]
    return any(kind.startswith("token") for kind in kinds[1:]) or any(stem.with_name(name).is_file() for name in tables)


@command(app, "irllrec data describe ml-100k --plot ml-100k.html")
def describe(
    dataset: Dataset,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", rich_help_panel=RESULTS, help="Write a plot of the interactions.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a data set holds after RecBole's filters: its sizes, split, cold items, texts, and warnings.

    Without --config-files the settings in the data set's folder, NAME.yaml, are used where present.
    """
    import json

    from recbole_irllrec.dataset_tools import describe as description

    found = description.describe(dataset, data_path, config_files)
    if plot is not None:
        description.plot(found, plot)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _print_description(found)


def _print_description(found: dict) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from recbole_irllrec.dataset_tools.describe import histogram

    console = Console()
    console.print(
        f"[bold]{escape(found['data set'])}[/bold]: {found['users']:,} users, {found['items']:,} items, "
        f"{found['interactions']:,} interactions, density {found['density']:.4%}\n"
    )
    quantiles = Table(title="Interactions", title_justify="left")
    names = [name for name in found["per_user"] if name != "counts"]
    for heading in ("per", *names):
        quantiles.add_column(heading, justify="right")
    for side in ("user", "item"):
        quantiles.add_row(side, *(f"{found[f'per_{side}'][name]:,.1f}".removesuffix(".0") for name in names))
    console.print(quantiles)
    for side in ("user", "item"):
        bars = histogram(found[f"per_{side}"]["counts"])
        table = Table(title=f"{side.title()}s by their interactions", title_justify="left", show_header=False, box=None)
        table.add_column(justify="right")
        table.add_column(justify="right")
        table.add_column()
        for name, number in bars.items():
            table.add_row(name, f"{number:,}", "█" * round(40 * number / max(bars.values())))
        console.print(table)
    split = found["split"]
    sizes = ", ".join(f"{part} {split[part]:,}" for part in ("train", "valid", "test"))
    console.print(f"\n[bold]Split[/bold]: {sizes} ({escape(split['how'])})", highlight=False)
    _print_counts(found["cold"])
    if found["texts"]:
        texts = Table(title="Texts", title_justify="left")
        for heading in ("what", "with text", "of", "words, mean", "words, max", "embedding"):
            texts.add_column(heading, justify="left" if heading == "what" else "right")
        for text in found["texts"]:
            embedded = f"{text['with embedding']:,} of {text['dim']}, {text['encoder']}" if "dim" in text else ""
            numbers = [
                f"{text['with text']:,}",
                f"{text['of']:,}",
                f"{text['words, mean']:.1f}",
                f"{text['words, max']:,}",
            ]
            texts.add_row(escape(text["what"]), *numbers, escape(embedded))
        console.print(texts)
    for warning in found["warnings"]:
        console.print(f"[yellow]![/yellow] {escape(warning)}", highlight=False)
