"""The irllrec command."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from recbole_irllrec.cli.app import main

ROOT = Path(__file__).parents[1]


def run(*arguments):
    """Run the command in this process. Returns its exit status and what it printed."""
    out, error = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        patch.dict(os.environ, COLUMNS="200"),
        patch.object(sys, "argv", ["irllrec", *arguments]),
    ):
        try:
            ended = main()
        except SystemExit as end:
            ended = end.code
    return subprocess.CompletedProcess(arguments, ended or 0, out.getvalue(), error.getvalue())


def irllrec(*arguments, status=0):
    """The same; it must end with this exit status."""
    ended = run(*arguments)
    assert ended.returncode == status, ended.stderr[-2000:]
    return ended


def start(*arguments, **options):
    """Start the command in a process of its own; options are those of `subprocess.Popen`."""
    return subprocess.Popen(
        [sys.executable, "-m", "recbole_irllrec.cli.app", *arguments],
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )
