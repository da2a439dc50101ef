"""The irllrec command, as the tests run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_irllrec.cli.app import main


def irllrec(*arguments) -> int:
    """Run the command in this process; returns its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["irllrec", *map(str, arguments)])
        try:
            return main()
        except SystemExit as stop:  # typer's own
            return stop.code


def irllrec_after(preparation: str, *arguments) -> subprocess.CompletedProcess:
    """Run the command in a process of its own that first executes a line of Python."""
    code = f"{preparation}\nimport sys\nfrom recbole_irllrec.cli.app import main\nsys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    root = str(Path(__file__).parent.parent)
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": root})


def refusal(capsys, *arguments) -> str:
    """Run the command, which refuses; returns its one sentence."""
    capsys.readouterr()
    assert irllrec(*arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    (sentence,) = [line for line in lines if line.startswith("irllrec: ")]
    assert "Traceback" not in "".join(lines)
    return sentence
