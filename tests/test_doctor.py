"""irllrec doctor: it finds what is wrong, names it, and says what to do."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from text_files import ITEMS, TEST, TRAIN, VALID, fingerprint, table, write_dataset, write_tables

from recbole_irllrec import doctor
from recbole_irllrec.cli.doctor import _show as show
from recbole_irllrec.data.loading import load_config
from recbole_irllrec.requirements import complaint, needs

SPLIT = {"benchmark_filename": ["train", "valid", "test"]}


def look(**config):
    """The checks of the data set "tiny" in this folder, those that are not ok by name."""
    checks = list(doctor.dataset(load_config("tiny", Path("dataset"), settings=config)))
    return checks, {check.name: check for check in checks if check.status != "ok"}


def run(*arguments, **environment):
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300)


def pretend(folder: Path, name: str, version: str) -> None:
    """Put the metadata of another version of a package there."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def with_path(folder: Path) -> str:
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


# ---- the environment -------------------------------------------------------------------------------------------------


def test_versions_that_fit():
    checks = {check.name: check for check in doctor.versions()}
    assert {"python", "torch", "recbole", "ray", "numpy", "pandas", "setuptools", "pyarrow"} <= checks.keys()
    assert {check.status for check in checks.values()} == {"ok"}
    assert "hypothesis" not in {need.requirement.name for need in needs()}
    assert {need.requirement.name for need in needs("ncl")} == {"faiss-cpu"}


def test_versions_that_do_not_fit(tmp_path, monkeypatch):
    pretend(tmp_path, "pandas", "3.0.1")
    monkeypatch.syspath_prepend(tmp_path)
    (bad,) = (check for check in doctor.versions() if check.status != "ok")
    assert bad == ("versions", "pandas", "fail", "3.0.1 (<3,>=2.0)", 'pip install "pandas<3,>=2.0"')


def test_an_arrow_that_refuses_numpy_1(tmp_path, monkeypatch):
    pretend(tmp_path, "numpy", "1.26.4")
    pretend(tmp_path, "pyarrow", "26.0.1")
    monkeypatch.syspath_prepend(tmp_path)
    assert complaint() == 'The packages do not fit: pyarrow is 26.0.1; pip install "pyarrow<26".'


def test_an_import_that_fails_says_which_package(tmp_path):
    pretend(tmp_path, "recbole", "1.0.0")
    (tmp_path / "recbole").mkdir()
    (tmp_path / "recbole" / "__init__.py").write_text("")
    last = run("-c", "import recbole_irllrec", PYTHONPATH=with_path(tmp_path)).stderr.splitlines()[-1]
    expected = "ImportError: The packages do not fit: recbole is 1.0.0; pip install --no-deps recbole==1.2.1."
    assert last == expected


def test_without_recbole_the_commands_say_so_in_one_sentence(tmp_path):
    (tmp_path / "recbole.py").write_text("raise ModuleNotFoundError('No module named recbole', name='recbole')")
    pretend(tmp_path, "recbole", "1.2.0")  # as if it were not there: another one is
    for command in ("irllrec", "run_recbole"):
        code = (
            f"import sys, irllrec_commands; sys.argv = [{command!r}, 'doctor']; sys.exit(irllrec_commands.{command}())"
        )
        done = run("-c", code, PYTHONPATH=with_path(tmp_path))
        sentence = "The packages do not fit: recbole is 1.2.0; pip install --no-deps recbole==1.2.1."
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{command}: {sentence}\n")


def test_an_import_that_fails_for_another_reason_says_that(tmp_path):
    (tmp_path / "recbole").mkdir()
    (tmp_path / "recbole" / "__init__.py").write_text("raise RuntimeError('of its own')")
    last = run("-c", "import recbole_irllrec, recbole", PYTHONPATH=with_path(tmp_path)).stderr.splitlines()[-1]
    assert last == "RuntimeError: of its own"


def test_devices():
    names = {check.name: check for check in doctor.devices()}
    assert "threads" in names["CPU"].found and len(names) > 1


@pytest.mark.slow
def test_ray_beside_a_stale_address():
    """The whole command, with a real cluster, where the address file names one that is gone."""
    with tempfile.TemporaryDirectory(prefix="r") as folder, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        Path(folder, "ray").mkdir()
        Path(folder, "ray", "ray_current_cluster").write_text(f"127.0.0.1:{closed.getsockname()[1]}")
        done = run("-m", "recbole_irllrec.cli.app", "doctor", "tiny", "--json", RAY_TMPDIR=folder)
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["address file"]["status"] == "warn" and "ray_current_cluster" in checks["address file"]["advice"]
    assert checks["local cluster"]["status"] == "ok", checks
    assert done.returncode == 1 and checks["tiny"]["found"].startswith("dataset/tiny is not there: ")


def test_shown_as_a_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    show([doctor.Check("versions", "[numpy]", "ok", "1"), doctor.Check("files", "saved", "fail", "[red]", "do it")])
    lines = capsys.readouterr().out.splitlines()
    assert any("[numpy]" in line and "ok" in line for line in lines)
    assert any(line.count("[red]") and "fail" in line and "do it" in line for line in lines)


def test_a_cluster_that_does_not_start(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null")  # no folder
    address, cluster = doctor.ray()
    assert address.status == "warn" and "RAY_ADDRESS" in address.advice
    assert cluster.status == "fail" and cluster.found and cluster.advice


def test_a_cluster_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(doctor, "_RAY_SECONDS", 1)
    monkeypatch.setattr(doctor, "_RAY_TASK", "import time; time.sleep(600)")
    assert list(doctor.ray())[-1].found == "no answer in 1 s"


def test_kept_files():
    saved = Path("saved")
    (saved / "text_cache").mkdir(parents=True)
    for name in ("a.pth", "tiny-IRLLRecDataset.pth", ".a.pth.0123.tmp", "text_cache/t.parquet"):
        (saved / name).write_bytes(b"x" * 2048)
    checks = {check.name: check for check in doctor.kept_files(saved)}
    assert checks["saved"].status == "ok" and "free" in checks["saved"].found
    assert checks["cached texts"].found == "1 file, 2 KB in saved/text_cache/*.parquet"
    assert checks["saved data sets"].status == "warn" and "1 file" in checks["saved data sets"].found
    assert checks["unfinished files"].advice == "if no run is going: rm saved/.a.pth.0123.tmp"
    assert [check.status for check in doctor.kept_files(Path("not/there/yet"))] == ["ok"]


# ---- a data set ------------------------------------------------------------------------------------------------------


def test_a_data_set_that_is_well():
    write_dataset(Path("dataset"))
    checks, bad = look(**SPLIT)
    assert not bad
    found = {check.name: check.found for check in checks}
    assert found["split"] == "3 users, 4 items; interactions: 7 train, 2 valid, 3 test"
    assert found["in use"] == "the embedded default, from title, genre in tiny.item"


def test_no_such_data_set():
    checks, _bad = look()
    (check,) = checks
    assert check.status == "fail" and check.found.startswith("dataset/tiny is not there: correct the data set's name")


INTER = "user_id:token\titem_id:token\n"


@pytest.mark.parametrize(
    "name, content, words",
    [
        (
            "tiny.train.inter",
            INTER + 'u1\ti1\nu2\t"i2\nu3\ti3\n',
            "line 3: '\"i2' begins with a quote that does not close",
        ),
        (
            "tiny.item",
            'item_id:token\ttitle:token_seq\ni1\t"so ""called""\ni2\tb\n',
            'line 2: \'"so ""called""\' begins with a quote',
        ),
        ("tiny.train.inter", "u1\ti1\n", "first line, and 'u1' stands in it"),
        ("tiny.train.inter", "", "line 1: it is empty"),
        ("tiny.train.inter", "user_id:token\titem_id:int\n", "item_id has the type 'int'"),
        ("tiny.train.inter", "user:token\titem_id:token\nu1\ti1\n", "no column user_id (there are user, item_id)"),
        ("tiny.user", "id:token\nu1\n", "no column user_id (there is id)"),
        ("tiny.user", "user_id:token\ta:token\ta:float\nu1\n", "several columns a"),
        ("tiny.item", b"item_id:token\ttitle:token\ni1\tcaf\xe9\n", "not utf-8"),
    ],
)
def test_a_file_that_is_broken(name, content, words):
    own = write_dataset(Path("dataset"))
    (own / name).write_bytes(content.encode() if isinstance(content, str) else content)
    _checks, bad = look(**SPLIT)
    assert bad[name].status == "fail" and words in bad[name].found


@pytest.mark.parametrize("value", ['"a\tb"', 'say "no"', '"quoted"', '6"', '"a ""b"" c"'])
def test_quotes_that_do_no_harm(value):
    write_dataset(Path("dataset"), item=f"item_id:token\ttitle:token_seq\ni1\t{value}\ni2\tb\n")
    assert not look(**SPLIT)[1]


def test_what_recbole_cannot_load():
    own = write_dataset(Path("dataset"))
    (own / "tiny.train.inter").write_text("user_id:token\titem_id:token\trating:float\nu1\ti1\tgood\n")
    _checks, bad = look(load_col={"inter": "*"}, **SPLIT)
    assert bad["loading"].status == "fail" and "line 2: the column rating:float has 'good'" in bad["loading"].found


def test_splits():
    own = write_dataset(Path("dataset"), valid=[], train=[*TRAIN[:5], ("u2", "i1")])
    _checks, bad = look(**SPLIT)
    assert bad["split"].status == "warn" and "0 valid" in bad["split"].found
    assert bad["cold items"].found == "1 items have no training interaction"
    checks, on_boards = look(**SPLIT, item_boards=True)
    assert on_boards.keys() == bad.keys() - {"cold items"}
    assert any("1 items have no training interaction: they have a board" in check.found for check in checks)
    _checks, bad = look()
    assert "benchmark_filename: [train, valid, test]" in bad["tiny.inter"].found
    (own / "tiny.inter").write_text(INTER + "".join(f"{u}\t{i}\n" for u, i in [*TRAIN, *VALID, *TEST]))
    _checks, bad = look()
    assert bad["split files"].status == "warn"


def test_tables():
    own = write_dataset(Path("dataset"))
    write_tables(own)
    checks, bad = look(**SPLIT)
    found = {check.name: check.found for check in checks}
    assert not bad and found["tiny.item_profile.parquet"] == "4 embeddings of 3 numbers from e"
    assert found["intent in use"] == "covers 100.0% of users and items"
    other = {"source": "interactions", "train_fingerprint": fingerprint([*TRAIN, *VALID])}
    table(ITEMS, **other).write(own / "tiny.item_intent.parquet")
    _checks, bad = look(**SPLIT)
    assert bad.keys() == {"in use"} and "made with other training interactions" in bad["in use"].found
    path = own / "tiny.item_profile.parquet"
    path.write_bytes(path.read_bytes()[:100])
    _checks, bad = look(**SPLIT)
    assert bad["tiny.item_profile.parquet"].status == "fail"


def test_no_words():
    own = write_dataset(Path("dataset"))
    (own / "tiny.item").unlink()
    _checks, bad = look(**SPLIT)
    assert bad["in use"].status == "fail" and "tiny.item says nothing" in bad["in use"].found
    weights = dict.fromkeys(["profile_weight", "pairwise_weight", "translation_weight", "matching_weight"], 0)
    assert not look(**SPLIT, **weights)[1]
