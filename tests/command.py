"""The commands, as the tests run them."""

import contextlib
import io
import multiprocessing
import os
import resource
import subprocess
import sys
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
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


def start_method() -> str:
    """How processes of their own start: as copies of one that has imported everything, which takes seconds."""
    forkserver.set_forkserver_preload(["recbole_irllrec", "recbole.quick_start", "torch._dynamo"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))  # not what may be installed from elsewhere
        forkserver.ensure_running()
    return "forkserver"


def in_a_process(output: Path, function, *arguments) -> BaseProcess:
    """Start a function in a process of its own; what it prints goes to the end of a file."""
    context = multiprocessing.get_context(start_method())
    # set by a Ray that this process has had; Ray's processes read it, but no more the copy that starts them
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    process = context.Process(target=_redirected, args=(output, environment, function, arguments), daemon=True)
    process.start()
    return process


def _redirected(output: Path, environment: dict[str, str], function, arguments) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with open(output, "a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    function(*arguments)


def start(output: Path, *arguments) -> BaseProcess:
    """Start the command in a process of its own; what it prints goes to the end of a file."""
    return in_a_process(output, _exit_with, *arguments)


def _exit_with(*arguments) -> None:
    sys.exit(irllrec(*arguments))


@contextlib.contextmanager
def full_disk(most: int):
    """No file can become larger than so many bytes, which a program meets as it meets a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refusal(capsys, *arguments) -> str:
    """Run the command, which refuses; returns its one sentence."""
    capsys.readouterr()
    assert irllrec(*arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    (sentence,) = [line for line in lines if line.startswith("irllrec: ")]
    assert "Traceback" not in "".join(lines)
    return sentence
