"""A checkout, an editable install and a wheel, used from another folder; what pip knows of RecBole."""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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
    distutils = Path(here, "distutils-precedence.pth")  # thop's distutils, of setuptools
    if distutils.is_file():
        shutil.copy(distutils, site)
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
    from recbole_irllrec.text.written import read_written
    read_written("ml-100k")
"""


@pytest.mark.parametrize("way", [pytest.param("editable", marks=pytest.mark.slow), "wheel"])
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


def test_the_script_in_a_checkout(checkout, tmp_path):
    script = [sys.executable, checkout / "run_recbole_irllrec.py"]
    refused = run(*script, "--model=IRLLRec", "--profile_weight=-1", cwd=tmp_path, check=False)
    assert refused.returncode == 1 and "profile_weight (on the command line) is -1" in refused.stderr


def test_what_recbole_needs_is_required_here_but_for_its_bound_on_ray():
    """RecBole is installed without its requirements."""
    ours, its = (
        {need.name.lower(): need for need in map(Requirement, metadata.requires(package)) if need.marker is None}
        for package in ("recbole-irllrec", "recbole")
    )
    assert its.keys() <= ours.keys() and "recbole" not in ours


METADATA = """\
Metadata-Version: 2.1
Name: recbole
Version: 1.2.1
License-File: LICENSE
Requires-Dist: numpy (>=1.17.2)
Requires-Dist: ray (<=2.6.3,>=1.13.0)
Requires-Dist: hyperopt (==0.2.5) ; extra == 'hyperopt'
"""


def test_recboles_wheel_without_its_bound_on_ray(tmp_path):
    spec = importlib.util.spec_from_file_location("recbole_wheel", CHECKOUT / "tools" / "recbole_wheel.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    info, made = "recbole-1.2.1.dist-info", tmp_path / "recbole-1.2.1+anyray-py3-none-any.whl"
    wheel = "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {"recbole/__init__.py": "x = 1\n", f"{info}/METADATA": METADATA, f"{info}/WHEEL": wheel}
    files |= {f"{info}/LICENSE": "MIT", f"{info}/RECORD": ""}
    with zipfile.ZipFile(tmp_path / "old.whl", "w") as old:
        for name, content in files.items():
            old.writestr(name, content)
    tool.rewrite(tmp_path / "old.whl", made)
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "-t", "there", made, cwd=tmp_path)
    (found,) = metadata.distributions(name="recbole", path=[str(tmp_path / "there")])
    assert found.version == "1.2.1+anyray" and "1.2.1+anyray" in Requirement("recbole==1.2.1").specifier
    assert found.requires == ["numpy (>=1.17.2)", "ray", "hyperopt (==0.2.5) ; extra == 'hyperopt'"]
    assert found.read_text("LICENSE") == "MIT" and (tmp_path / "there/recbole/__init__.py").read_text() == "x = 1\n"
    assert all(len(file.hash.value) == 43 for file in found.files if file.hash)
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as other:
        other.writestr(f"{info}/METADATA", METADATA.replace("1.2.1", "1.2.2"))
    with pytest.raises(SystemExit, match=r"not RecBole 1\.2\.1 as it was published"):
        tool.rewrite(tmp_path / "other.whl", made)
