"""The commands, as the tests run them."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_irllrec.cli import app, run_recbole

PROGRAMS = {"irllrec": app.main, "run_recbole": run_recbole.main}


def irllrec(*arguments, program="irllrec") -> int:
    """Run the command in this process; returns its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [program, *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        try:
            return PROGRAMS[program]()
        except SystemExit as stop:  # typer's own
            return stop.code


def ended(*arguments, program="irllrec") -> subprocess.CompletedProcess:
    """Run the command in this process; returns its exit status and what it printed."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        status = irllrec(*arguments, program=program)
    return subprocess.CompletedProcess(arguments, status or 0, out.getvalue(), error.getvalue())


def run(*arguments, status=0) -> subprocess.CompletedProcess:
    """The same; it must end with this exit status."""
    done = ended(*arguments)
    assert done.returncode == status, done.stderr[-2000:]
    return done


def start(*arguments, **options) -> subprocess.Popen:
    """Start the command in a process of its own; options are those of `subprocess.Popen`."""
    command = [sys.executable, "-m", "recbole_irllrec.cli.app", *arguments]
    return subprocess.Popen(command, text=True, env=_environment(), **options)


def irllrec_after(preparation: str, *arguments) -> subprocess.CompletedProcess:
    """Run the command in a process of its own that first executes a line of Python."""
    code = f"{preparation}\nimport sys\nfrom recbole_irllrec.cli.app import main\nsys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=_environment())


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


def refusal(capsys, *arguments) -> str:
    """Run the command, which refuses; returns its one sentence."""
    capsys.readouterr()
    assert irllrec(*arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    (sentence,) = [line for line in lines if line.startswith("irllrec: ")]
    assert "Traceback" not in "".join(lines)
    return sentence
