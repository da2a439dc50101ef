"""What a command is given of settings, in YAML files above all; read without RecBole, which takes seconds to import."""

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import IRLLRecError


def paths_in(config_files: str) -> list[Path]:
    """The YAML files of an option, parted by spaces; one whose name has a space stands in quotes, as in a shell.

    Raises:
        IRLLRecError: a quote is not closed.
    """
    try:
        return [Path(path) for path in shlex.split(config_files)]
    except ValueError:
        raise IRLLRecError(f"The files of settings are {config_files!r}: close the quote, or escape it.") from None


def parted(text: str) -> list[str]:
    """What stands between the commas, of which those in brackets part nothing."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "[") - (sign == "]")
        if sign == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def run_command(model: str, dataset: str, files: Sequence[str | os.PathLike[str]]) -> str:
    """The line for a shell that trains a model with these files of settings, of which later ones lie above."""
    config_files = shlex.join([os.fspath(file) for file in files])
    return shlex.join(["run_recbole", f"--model={model}", f"--dataset={dataset}", f"--config_files={config_files}"])


def settings_files(paths: Iterable[Path]) -> list[str]:
    """Those of some YAML files that hold settings: an empty one holds none, and RecBole cannot read it.

    Raises:
        IRLLRecError: something else than settings stands in a file.
        FileNotFoundError: a file is not there.
    """
    return [str(path) for path in paths if settings_in(path)]


def settings_in(path: Path) -> dict[str, Any]:
    """The settings in a YAML file.

    Raises:
        IRLLRecError, FileNotFoundError: see `settings_files`.
    """
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), yaml.FullLoader) or {}  # RecBole's own loader
    except (yaml.YAMLError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise IRLLRecError(f"{path} holds no settings in YAML: mend or remove it.")
    return found
