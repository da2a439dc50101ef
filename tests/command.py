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


def irllrec(*arguments, status=0):
    """Run the command in this process; it must end with this exit status. Returns what it printed."""
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
    assert (ended or 0) == status, error.getvalue()[-2000:]
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), error.getvalue())


def start(*arguments, **options):
    """Start the command in a process of its own; options are those of `subprocess.Popen`."""
    return subprocess.Popen(
        [sys.executable, "-m", "recbole_irllrec.cli.app", *arguments],
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )
