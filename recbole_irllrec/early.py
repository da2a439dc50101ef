"""What is refused before RecBole is imported, which takes seconds: names and values that are wrong in themselves."""

import ast
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from . import own_models, zoo
from .compat.models import find_model, unknown
from .settings.schemas import refusal
from .tracking import TRACKERS, refuse_missing


def refuse_models(names: Iterable[str]) -> None:
    """Refuse plain names that are of no model, unless models of the user's own are still to come.

    Raises:
        IRLLRecError: there is one.
    """
    for name in names:
        if name.isidentifier() and not (zoo.find(name) or find_model(name) or own_models.expected()):
            raise unknown(name)


def refuse_values(model: str, arguments: Iterable[str]) -> None:
    """Refuse impossible values of a model of ours among arguments ``--setting=value``; others are left to RecBole.

    Raises:
        IRLLRecError: there is one.
    """
    entry = next((ours for ours in zoo.models() if ours.name == model), None)
    if entry is None:
        return
    given = dict(_settings(arguments))
    try:
        entry.settings.model_validate({name: given[name] for name in entry.settings.names() if name in given})
    except ValidationError as error:
        wrong = [one for one in error.errors() if one["type"] != "missing"]
        if wrong:
            raise refusal(wrong[0], "on the command line", given[str(wrong[0]["loc"][0])]) from None


def refuse_trackers(arguments: Iterable[str]) -> None:
    """Refuse trackers that arguments ``--log_wandb=True``, ``--log_mlflow=True`` ask for and that are not installed.

    Raises:
        IRLLRecError: there is one.
    """
    given = dict(_settings(arguments))
    refuse_missing(name for name in TRACKERS if given.get(f"log_{name}") is True)


def _settings(arguments: Iterable[str]) -> Iterable[tuple[str, Any]]:
    """Names and values as RecBole reads them, without those that it computes."""
    for argument in arguments:
        name, has_value, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and has_value:
            try:
                yield name, ast.literal_eval(value)
            except (ValueError, SyntaxError):
                if value.isidentifier():
                    yield name, {"true": True, "false": False}.get(value.lower(), value)
