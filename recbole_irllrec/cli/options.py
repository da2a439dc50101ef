"""Options that several commands share, so that they read alike everywhere."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

# How options are grouped in the help of every command.
DATA = "Data"
FILES = "Files"
KEPT = "What is kept"
MACHINE = "Where it runs"
MODELS = "Models"
RESULTS = "Results"
SEARCH = "Search"
TEXTS = "Texts"
TRAINING = "Training and measures"


def is_there(given: Any) -> Any:
    """Refuse files that are not there before anything is imported that reads them.

    Raises:
        OSError: names the first.
    """
    for path in given if isinstance(given, list | tuple) else [given]:
        if path is not None:
            Path(path).stat()
    return given


def _opens(given: Path) -> Path:
    from ..files import open_to_read

    open_to_read(given).close()
    return given


def _hold_settings(given: str | None) -> str | None:
    from ..settings.files import paths_in, settings_files

    settings_files(paths_in(given or ""))
    return given


def character(given: str) -> str:
    """What parts values, with a tab as people can type it."""
    return "\t" if given == r"\t" else given


Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="Name of the RecBole data set, e.g. ml-100k.")]
DataPath = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=DATA,
        help="Folder that holds the data set's folder; without it, as RecBole: dataset/ here, or RecBole's own.",
        show_default=False,
    ),
]
ConfigFiles = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=DATA,
        help='YAML files with RecBole settings, "first.yaml second.yaml"; without them DATASET.yaml in the data set\'s '
        "folder, where there is one.",
        callback=_hold_settings,
        show_default=False,
    ),
]
# Of the commands that take a trained model
Checkpoint = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT", help="What run_recbole saved: saved/NAME.pth.", callback=_opens, show_default=False
    ),
]
TrainedDataPath = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=DATA,
        help="Folder that holds the data set's folder; without it, as in training.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=MACHINE,
        help="Where to score, e.g. cpu or cuda:1; without it, as in training.",
        show_default=False,
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=TEXTS,
        help="File of a language model's answers; without it, DATASET.answers.sqlite in the data set's folder.",
        show_default=False,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=MACHINE,
        help="A Ray cluster to join: auto, HOST:PORT or ray://HOST:PORT; without it, a Ray on this machine.",
        show_default=False,
    ),
]
MaxConcurrent = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=MACHINE,
        help="The most at a time; without it, as many as there are CPUs and GPUs for.",
        show_default=False,
    ),
]

# Of the commands that search settings
Space = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|DIR",
        rich_help_panel=SEARCH,
        help="YAML file with what to draw (docs/tune.md), or a folder with one for each model, MODEL.yaml; without it, "
        "what comes with a model.",
        callback=is_there,
        show_default=False,
    ),
]

# Of the commands that compare models
Seeds = Annotated[
    int,
    typer.Option(
        min=1,
        rich_help_panel=TRAINING,
        help="Runs of each model with its chosen settings: seeds 1, 2, …; one of models without chance.",
    ),
]
Protocol = Annotated[
    Literal["recbole", "paper"] | None,
    typer.Option(
        rich_help_panel=TRAINING,
        help="Leave a user's training and validation items out of the test's ranking (recbole, unless the settings "
        "say otherwise), or its training items alone (paper).",
        show_default=False,
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=TRAINING, help="Metrics parted by commas; Recall,NDCG,MRR by default.", show_default=False
    ),
]
Topk = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=TRAINING, help="Their cutoffs, parted by commas; 10,20 by default.", show_default=False
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=TRAINING,
        help="What validation chooses by, settings and epochs; by default valid_metric of the settings, or NDCG.",
        show_default=False,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=TRAINING,
        help="The most epochs of a run; 300 by default. Training stops early.",
        show_default=False,
    ),
]
Cpus = Annotated[float, typer.Option(min=0.1, rich_help_panel=MACHINE, help="CPUs of a run, and so its threads.")]
Gpus = Annotated[float, typer.Option(min=0, rich_help_panel=MACHINE, help="GPUs of a run; 0.5 puts two on one.")]


def _can_be_told(given: str | None) -> str | None:
    from ..errors import IRLLRecError
    from ..tracking import TRACKERS, refuse_missing

    names = listed(given or "")
    if set(names) - set(TRACKERS):
        raise IRLLRecError(f"--track is {given!r}: give {' or '.join(TRACKERS)}, or both, parted by a comma.")
    refuse_missing(names, "--track {}")
    return given


Track = Annotated[
    str | None,
    typer.Option(
        metavar="TRACKERS",
        rich_help_panel=RESULTS,
        help="Tell wandb (Weights & Biases), mlflow or both, parted by a comma, of the report and of every run "
        "(docs/tracking.md; needs recbole-irllrec\\[wandb] or \\[mlflow]).",
        callback=_can_be_told,
        show_default=False,
    ),
]


def listed(text: str) -> list[str]:
    """The names that stand between commas."""
    from ..settings.files import parted

    return [name for name in parted(text) if name]


def numbers(option: str, text: str) -> list[float]:
    """The numbers of an option, parted by commas.

    Raises:
        IRLLRecError: something else stands there.
    """
    from ..errors import IRLLRecError

    try:
        return [float(number) for number in listed(text)]
    except ValueError:
        raise IRLLRecError(f"{option} is {text!r}: give numbers, parted by commas, such as 0.1,0.2.") from None


def measures(metrics: str | None, topk: str | None) -> tuple[list[str] | None, list[int] | None]:
    """The metrics and cutoffs of the options; None where they say nothing.

    Raises:
        IRLLRecError: a cutoff is no number of at least 1.
    """
    from ..errors import IRLLRecError

    cutoffs = None if topk is None else listed(topk)
    if cutoffs is not None and not all(number.isdecimal() and int(number) for number in cutoffs):
        raise IRLLRecError(f"--topk is {topk!r}: give numbers of at least 1, parted by commas, such as 10,20.")
    return None if metrics is None else listed(metrics), None if cutoffs is None else [int(n) for n in cutoffs]


# Of the commands that show what a trained model knows
TitleField = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=RESULTS,
        help="The column of the .item file that names items; without it, the first with title or name in its name.",
        metavar="FIELD",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", rich_help_panel=RESULTS, help="Print JSON, for programs.")]

# Of the commands that write data sets
Out = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        rich_help_panel=RESULTS,
        help="Folder of data sets; a relative one holds for runs from the current folder only.",
    ),
]
Name = Annotated[str, typer.Option(rich_help_panel=RESULTS, help="What the data set is called.", show_default=False)]
Force = Annotated[
    bool,
    typer.Option("--force", rich_help_panel=RESULTS, help="Replace what is there; other files in the folder stay."),
]
MinRating = Annotated[
    float | None, typer.Option(rich_help_panel=KEPT, help="Keep reviews with at least this rating.", show_default=False)
]
SampleUsers = Annotated[
    float | None,
    typer.Option(
        rich_help_panel=KEPT, help="Then keep this share of the users, drawn at random.", max=1, show_default=False
    ),
]
KCore = Annotated[
    int,
    typer.Option(
        "--k-core", rich_help_panel=KEPT, help="Then drop users and items until each has at least so many.", min=1
    ),
]
KeepUnseen = Annotated[
    bool,
    typer.Option(
        "--keep-unseen",
        rich_help_panel=KEPT,
        help="Also keep users and items of the features that have no interaction; RecBole gives them ids.",
    ),
]
SampleSeed = Annotated[int, typer.Option("--seed", rich_help_panel=KEPT, help="Seed of the random sample of users.")]
CountRepeats = Annotated[
    bool,
    typer.Option(
        "--count-repeats",
        rich_help_panel=KEPT,
        help="Write how many reviews or purchases of an item a user has, as the column count; see the setting "
        "interaction_weight.",
    ),
]
Reviews = Annotated[
    Path, typer.Argument(help="File of reviews, plain or gzipped.", callback=is_there, show_default=False)
]
