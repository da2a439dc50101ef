"""The irllrec command, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def irllrec(*arguments, status=0, env=None, **options):
    """Run the command in the current folder; it must end with this exit status. Returns the finished process."""
    result = subprocess.run(
        [sys.executable, "-m", "recbole_irllrec.cli.app", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **(env or {})},
        **options,
    )
    assert result.returncode == status, result.stderr[-2000:]
    return result
