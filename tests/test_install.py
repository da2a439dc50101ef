"""The package installed in each of the three ways, and its commands used from another folder."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
ONE_EPOCH = ["--dataset=ml-100k", "--epochs=1", "--train_batch_size=16384", "--show_progress=False"]


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
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "uninstall", "-q", "-y", "setuptools", cwd=tmp_path)  # it would hide the newer one
    here = sysconfig.get_path("purelib")
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).stdout.strip()
    (Path(site) / "libraries.pth").write_text(here + "\n")
    absent = run(python, "-c", "import recbole_irllrec", cwd=tmp_path, check=False)
    assert "No module named 'recbole_irllrec'" in absent.stderr
    return python


def pip_install(python, *what, cwd) -> None:
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", *what, cwd=cwd)


@pytest.mark.parametrize("way", ["install .", "install -e .", "wheel"])
def test_installed_and_used_from_another_folder(way, checkout, python, tmp_path):
    if way == "wheel":
        run(
            python,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            tmp_path / "dist",
            ".",
            cwd=checkout,
        )
        (wheel,) = (tmp_path / "dist").glob("*.whl")
        pip_install(python, wheel, cwd=tmp_path)
    else:
        pip_install(python, *way.split()[1:], cwd=checkout)
    if way != "install -e .":
        shutil.rmtree(checkout)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    trained = run(python.with_name("run_recbole"), "--model=IRLLRec", *ONE_EPOCH, cwd=elsewhere)
    assert "recall@10" in trained.stdout
    run(python, "-c", "import recbole_irllrec.dataset_tools, recbole_irllrec.properties", cwd=elsewhere)


def test_the_script_in_a_checkout(checkout, tmp_path):
    trained = run(sys.executable, checkout / "run_recbole_irllrec.py", *ONE_EPOCH, cwd=tmp_path)
    assert "recall@10" in trained.stdout
