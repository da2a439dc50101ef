"""What all commands have in common: examples in their help, and the names that options had in earlier versions."""

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# What was called so, and how it is called everywhere now; without dashes, an argument. No old name means anything else.
RENAMED = {
    "--business": "--items",
    "--cpus-per-run": "--cpus",
    "--cpus-per-trial": "--cpus",
    "--dataset": "dataset",
    "--gpus-per-run": "--gpus",
    "--gpus-per-trial": "--gpus",
    "--metadata": "--items",
    "--num-samples": "--samples",
    "--separator": "--delimiter",
    "--spaces": "--space",
    "--tune-samples": "--samples",
    "--valid-metric": "--metric",
}


class Command(TyperCommand):
    """A command that still takes the old names of what it has, with a line on standard error."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments by their new names."""
        known = {name for param in self.params for name in param.opts}
        hints: list[str] = []
        renamed = list(_renamed(args, known, hints))
        for hint in () if ctx.resilient_parsing else hints:  # no word while a shell completes a line
            typer.echo(f"{hint}; the old name goes in a later version.", err=True)
        return super().parse_args(ctx, renamed)


class Group(TyperGroup):
    """A group without options where a command of it is named: their values would take the time to import pydantic."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before the command."""
        if args and args[0] in self.commands:
            self.params, self.add_help_option = [], False
        return super().parse_args(ctx, args)


def _renamed(args: list[str], known: Collection[str], hints: list[str]) -> Iterator[str]:
    """The arguments by the names that a command knows, and a hint for each that had another; arguments go last."""
    left, last = iter(args), []
    for arg in left:
        name, has_value, value = arg.partition("=")
        new = RENAMED.get(name, "")
        if arg == "--":  # what follows are no options
            yield arg
            yield from left
        elif new not in known:
            yield arg
        elif new.startswith("--"):
            hints.append(f"{name} is {new} now")
            yield f"{new}{has_value}{value}"
        else:
            hints.append(f"{name} is the argument {new.upper()} now")
            last = [value] if has_value else [*islice(left, 1)]
    yield from last


def command(app: typer.Typer, *examples: str, name: str | None = None, then: str = "", cls: type = Command) -> Callable:
    """Decorates a function that is a command of an app.

    Args:
        app: a group of commands, or what holds a single one.
        *examples: lines for a shell, which the help ends with and the tests run.
        name: of the command; the function's by default.
        then: what else stands below its help.
        cls: another class of commands.
    """
    return app.command(name, cls=cls, epilog=example(*examples, then=then))


def example(*lines: str, then: str = "") -> str:
    """What stands below a help: lines for a shell, each by itself."""
    return "\n\n".join(["Examples:" if len(lines) > 1 else "Example:", *lines, *filter(None, [then])])


def group(help: str, example_line: str) -> typer.Typer:
    """A group of commands, with a line for a shell below its help."""
    return typer.Typer(cls=Group, help=help, epilog=example(example_line), no_args_is_help=True, add_completion=False)


def single() -> typer.Typer:
    """What holds a single command."""
    return typer.Typer(add_completion=False)
