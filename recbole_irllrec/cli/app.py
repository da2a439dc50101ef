"""``irllrec``: from your own files to texts, tables and recommendations. Each group of commands is a module here."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from .commands import Group, example
from .errors import debug_wanted, in_one_sentence

# Where each stands, in the order of the help.
_COMMANDS = {
    "data": "data:app",
    "intents": "intents:app",
    "benchmark": "benchmark:app",
    "study": "study:app",
    "tune": "tune:app",
    "recommend": "recommend:app",
    "export": "recommend:export_app",
    "explore": "explore:app",
    "doctor": "doctor:app",
}


class _Commands(Mapping):
    """Commands by their names; each is made when it is asked for, with its options, by an import of its module."""

    def __getitem__(self, name: str) -> Any:
        module, _, variable = _COMMANDS[name].partition(":")
        command = typer.main.get_command(getattr(importlib.import_module(f".{module}", __package__), variable))
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Group(Group):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes | {"commands": _Commands()})


app = typer.Typer(
    name="irllrec",
    cls=_Group,
    epilog=example(
        "irllrec recommend saved/IRLLRec.pth --users all --k 20 --out best.parquet",
        then="Training is `run_recbole --model=IRLLRec`. With --debug anywhere, errors show their traceback.",
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def irllrec() -> None:
    """Your own data for IRLLRec: data sets, texts, tables of embeddings, recommendations."""


def main() -> int:
    """Run the command with ``sys.argv``. Returns the exit status."""
    debug = debug_wanted()
    return in_one_sentence("irllrec", app, debug)


if __name__ == "__main__":
    sys.exit(main())
