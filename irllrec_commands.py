"""The commands: they say in one sentence what keeps the package from being imported, such as a step of installation."""

import importlib
import sys


def irllrec() -> int:
    """``irllrec``."""
    return _run("irllrec", "recbole_irllrec.cli.app")


def run_recbole() -> int:
    """``run_recbole``."""
    return _run("run_recbole", "recbole_irllrec.cli.run_recbole")


def _run(name: str, module: str) -> int:
    try:
        command = importlib.import_module(module).main
    except ImportError as error:
        if "--debug" in sys.argv[1:]:
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return command()
