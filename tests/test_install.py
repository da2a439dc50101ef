"""A checkout, an editable install and a wheel, used from another folder."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


def one_epoch(small) -> list[str]:
    return ["--dataset=small", f"--data_path={small['data_path']}", "--epochs=1", "--show_progress=False"]


def run(*command, cwd, check=True) -> subprocess.CompletedProcess:
    result = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=400)
    assert not check or result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    return result


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what git would give, so that builds leave nothing behind here."""
    unwanted = shutil.ignore_patterns(
        ".git", ".venv*", "build", "dist", "*.egg-info", ".*_cache", "__pycache__", "saved", "log*"
    )
    return Path(shutil.copytree(CHECKOUT, tmp_path / "checkout", ignore=unwanted))


@pytest.fixture
def python(tmp_path) -> Path:
    """A virtual environment that sees this one's libraries, but not its installation of the package."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    here = sysconfig.get_path("purelib")
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).stdout.strip()
    (Path(site) / "libraries.pth").write_text(here + "\n")
    absent = run(python, "-c", "import recbole_irllrec", cwd=tmp_path, check=False)
    assert "No module named 'recbole_irllrec'" in absent.stderr
    return python


def pip(python, *arguments, cwd) -> None:
    run(python, "-m", "pip", arguments[0], "-q", "--no-deps", "--no-build-isolation", *arguments[1:], cwd=cwd)


# The console script, and then what else is installed, in one process.
USED = """
import runpy, sys
del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    import recbole_irllrec.dataset_tools, recbole_irllrec.properties
"""


@pytest.mark.parametrize("way", ["editable", "wheel"])
def test_installed_and_used_from_another_folder(way, checkout, python, tmp_path, small):
    if way == "wheel":
        pip(python, "wheel", "-w", tmp_path / "dist", ".", cwd=checkout)
        (wheel,) = (tmp_path / "dist").glob("*.whl")
        pip(python, "install", wheel, cwd=tmp_path)
        shutil.rmtree(checkout)
    else:
        pip(python, "install", "-e", ".", cwd=checkout)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    trained = run(python, "-c", USED, python.with_name("run_recbole"), *one_epoch(small), cwd=elsewhere)
    assert "recall@10" in trained.stdout


def test_the_script_in_a_checkout(checkout, tmp_path, small):
    trained = run(sys.executable, checkout / "run_recbole_irllrec.py", *one_epoch(small), cwd=tmp_path)
    assert "recall@10" in trained.stdout
