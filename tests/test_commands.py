"""What all commands of ``irllrec`` have in common: names, groups of options, an example in each help that runs."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from command import ended
from test_docs import write_books, write_published, write_reviews
from test_imports import TOP

from recbole_irllrec.cli import app, run_recbole
from recbole_irllrec.cli.commands import RENAMED


def every(command=None, path=("irllrec",)) -> Iterator[tuple[str, typer.core.TyperCommand | typer.core.TyperGroup]]:
    """All commands and groups, by what is typed to reach them."""
    command = command or typer.main.get_command(app.app)
    yield " ".join(path), command
    for name, below in getattr(command, "commands", {}).items():
        yield from every(below, (*path, name))


COMMANDS = dict(every())
OPTIONS = {name for command in COMMANDS.values() for param in command.params for name in param.opts}


def test_one_name_for_one_thing():
    assert not OPTIONS & set(RENAMED) and set(RENAMED.values()) <= OPTIONS
    data_set = {name for name, command in COMMANDS.items() if any(p.name == "config_files" for p in command.params)}
    assert len(data_set) == 11
    for name in data_set:
        arguments = [param.name for param in COMMANDS[name].params if param.param_type_name == "argument"]
        assert "dataset" in arguments[:2], name


def test_options_stand_in_groups():
    """The same option in the same group, whatever the command; none stands apart but those that a help has anyway."""
    groups: dict[str, set[str | None]] = {}
    for command in COMMANDS.values():
        for param in command.params:
            if param.param_type_name == "option" and param.name not in ("install_completion", "show_completion"):
                groups.setdefault(param.opts[0], set()).add(param.rich_help_panel)
    assert not [option for option, found in groups.items() if None in found]
    shared = (
        "--data-path",
        "--config-files",
        "--address",
        "--device",
        "--out",
        "--metric",
        "--samples",
        "--title-field",
    )
    assert [option for option in shared if len(groups[option]) > 1] == []


@pytest.mark.parametrize(
    ("old", "hints", "refusal"),
    [
        ("tune --dataset ml-100k --cpus-per-trial none", "--dataset is the argument DATASET now", "'--cpus'"),
        ("benchmark --dataset=ml-100k --tune-samples=-1", "--tune-samples is --samples now", "'--samples'"),
        ("study --dataset ml-100k noise --shares much", "--dataset is the argument DATASET now", "--shares is 'much'"),
        ("study noise --valid-metric a --shares much -- ml-100k", "--valid-metric is --metric now", "--shares is"),
        ("benchmark ml-100k --spaces nowhere", "--spaces is --space now", "nowhere: no such file"),
        ("data convert yelp r.json --name=y --business b.json", "--business is --items now", "b.json: no such file"),
        ("data convert csv r.csv --name=y --business b.json", "--business is --items now", "b.json: no such file"),
        ("recommend --dataset ml-100k", "", "No such option"),
    ],
)
def test_names_of_earlier_versions_are_taken_with_a_hint(old, hints, refusal):
    """They are refused for what else is wrong."""
    said = ended(*old.split()).stderr
    assert hints in said and refusal in " ".join(said.split()), said
    assert ("; the old name goes in a later version.\n" in said) == bool(hints)


def test_old_names_are_in_no_help():
    for name in COMMANDS:
        if name.count(" ") == 1 or name == "irllrec benchmark compare":
            said = ended(*name.split()[1:], "--help").stdout
            assert not [old for old in RENAMED if re.search(rf"{old}\b(?!-)", said)], name


def examples(name: str) -> list[str]:
    """The lines for a shell below a command's help."""
    return [line for line in (COMMANDS[name].epilog or "").splitlines() if line.startswith("irllrec ")]


def test_every_help_ends_with_an_example():
    own = {line for name, command in COMMANDS.items() if not hasattr(command, "commands") for line in examples(name)}
    for name, command in COMMANDS.items():
        typed = name.removesuffix(" compare")
        if typed == "irllrec benchmark" and hasattr(command, "commands"):
            continue  # its help is that of the command without a name
        assert examples(name), name
        assert all(shlex.join(shlex.split(line)).startswith(f"{typed} ") for line in examples(name)), name
        assert not hasattr(command, "commands") or any(line in own for line in examples(name)), name


# What an example asks for, and less of it, for the time; docs/studies.md has the study's, which test_studies runs.
LESS = {
    "ml-100k": "small",
    "--models IRLLRec,LightGCN,EASE --seeds 5": "--models EASE,Pop --seeds 1 --samples 0",
    "--samples 30": "--samples 1 --model EASE",
    "--epochs=50": "--epochs=1 --show_progress=False",
    "--model gpt-4o-mini": "--model another --context-length 8192",  # without a download of a vocabulary
}
ON_RAY = ("irllrec tune", "irllrec benchmark", "irllrec doctor")
ELSEWHERE = "irllrec study controls my-data --seeds 2"


def write_files(small: str) -> None:
    """What the examples name: the data set, files to convert, vectors, new items and histories."""
    Path("dataset/small").mkdir(parents=True)
    for end in ("inter", "item"):
        text = Path(small, "small", f"small.{end}").read_text()
        Path(f"dataset/small/small.{end}").write_text(re.sub(r"\b[ui](?=\d)", "", text))
    Path("dataset/small/small.yaml").write_text("epochs: 1\ntrain_batch_size: 1024\nembedding_size: 8\n")
    write_reviews()
    write_books()
    write_published()
    stays = {"business_id": "b", "name": "Bar", "categories": "Bars, Food", "city": "Y", "state": "AZ"}
    reviews = [
        {"user_id": f"u{u}", "business_id": f"b{i}", "stars": 4.0, "date": "2020-01-02 00:00:01", "text": "nice"}
        for u in range(6)
        for i in range(6)
    ]
    for name, rows in (("review", reviews), ("business", [stays | {"business_id": f"b{i}"} for i in range(6)])):
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        Path(f"yelp_academic_dataset_{name}.json").write_text(text)
    np.save("items.npy", np.random.default_rng(0).normal(size=(150, 8)).astype(np.float32))
    Path("items.txt").write_text("".join(f"{i}\n" for i in range(150)))
    Path("new.csv").write_text("item,title,class\nn1,the warm one,kind 1\nn2,the old one,kind 2\n")
    Path("visits.csv").write_text("user,item\nsomebody,i3\nsomebody,n1\nu5,n2\n")


@pytest.mark.parametrize("on_ray", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_example_runs(on_ray, small, trained):
    """Each as it stands in its help, but for `LESS`, one after another in a folder; a Ray takes long to start."""
    write_files(small["data_path"])
    Path("saved").mkdir()
    shutil.copy(trained.checkpoint("IRLLRec"), "saved/IRLLRec.pth")
    lines = [line for name in COMMANDS for line in examples(name)]
    lines += [line.strip() for line in run_recbole.EPILOG.splitlines() if line.strip().startswith("run_recbole")][:1]
    taken = {less for less in LESS if any(less in line for line in lines)}
    assert taken == set(LESS) and ELSEWHERE in lines
    for line in dict.fromkeys(lines):
        for much, less in LESS.items():
            line = line.replace(much, less)
        if not line.startswith("irllrec intents"):  # whose tables are of a split that a benchmark does not take
            for table in Path("dataset/small").glob("*.parquet"):
                table.unlink()
        if line != ELSEWHERE and on_ray == line.startswith(ON_RAY):
            program, *arguments = shlex.split(line)
            done = ended(*arguments, program=program)
            assert done.returncode == 0, (line, done.stdout[-2000:], done.stderr[-2000:])
    for written in (
        ["results/small", "tuning"] if on_ray else ["best.parquet", "page.html", "small.html", "vectors", "plots"]
    ):
        assert Path(written).exists(), written


COMPLETED = """
irllrec --install-completion && source ~/.bashrc
for words in "irllrec tu" "irllrec tune --sampl" "irllrec benchmark --seed"; do
    COMP_WORDS=($words)
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _irllrec_completion irllrec
    echo "completed ${COMPREPLY[*]}"
done
"""


def test_the_shell_completes(tmp_path):
    """As the README says it is asked to."""
    assert "irllrec --install-completion" in (TOP / "README.md").read_text(encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"HOME": str(tmp_path), "PATH": path, "PYTHONPATH": str(TOP)}
    done = subprocess.run(["bash", "-c", COMPLETED], env=environment, capture_output=True, text=True, timeout=300)
    completed = [line for line in done.stdout.splitlines() if line.startswith("completed")]
    assert completed == ["completed tune", "completed --samples", "completed --seeds"], done
