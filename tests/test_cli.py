"""The run_recbole command: RecBole's flags and overrides, and errors in one sentence."""

import logging
import subprocess
import sys
from pathlib import Path

import command
import pytest
from text_files import TRAIN, write_dataset

from recbole_irllrec import IRLLRecError
from recbole_irllrec.cli.log import log_to_stderr

ONE_EPOCH = ["--dataset=ml-100k", "--epochs=1", "--train_batch_size=16384", "--show_progress=False"]


def run(*arguments) -> subprocess.CompletedProcess:
    return command.ended(*arguments, program="run_recbole")


def test_overrides_beat_files(small):
    """In a process of its own."""
    Path("first.yaml").write_text("embedding_size: 8\nn_layers: 1\n")
    Path("second.yaml").write_text("n_layers: 2\n")
    Path("empty.yaml").touch()
    files = "--config_files=first.yaml second.yaml empty.yaml"
    run_recbole = [sys.executable, "-m", "recbole_irllrec.cli.run_recbole", "--model=IRLLRec", *ONE_EPOCH[1:]]
    run_recbole += ["--dataset=small", f"--data_path={small['data_path']}"]
    result = subprocess.run([*run_recbole, files, "--embedding_size=16"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "recall@10" in result.stdout and "FutureWarning" not in result.stderr
    (log,) = Path("log/IRLLRec").iterdir()
    assert "embedding_size = 16" in log.read_text() and "n_layers = 2" in log.read_text()


def test_other_models_run_too():
    write_dataset(Path("dataset"), train=[*TRAIN, ("u4", "i5")])
    parts = "--benchmark_filename=['train', 'valid', 'test']"
    result = run("--model=BPR", "--dataset=tiny", parts, "--epochs=1", "--topk=2", "--valid_metric=MRR@2")
    assert result.returncode == 0 and "recall@2" in result.stdout


def test_errors_are_one_sentence():
    Path("list.yaml").write_text("- n_layers\n")
    for arguments, words in (
        (["--model=IRLRec"], "IRLLRec"),
        (["--model=IRLLRec", "--profile_weight=-1"], "profile_weight"),
        (["--model=IRLLRec", "--profle_weight=1"], "did you mean profile_weight"),
        (["--model=IRLLRec", "--config_files=nothing.yaml"], "nothing.yaml"),
        (["--model=IRLLRec", "--config_files=list.yaml"], "list.yaml holds no settings"),
        (["--model=IRLLRec", "--item_profile_table=nothing.parquet"], "nothing.parquet"),
    ):
        result = run(*arguments, *ONE_EPOCH)
        (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("run_recbole: ")]
        assert result.returncode == 1 and words in sentence and "Traceback" not in result.stderr


def test_more_items_than_there_are_cannot_be_ranked():
    write_dataset(Path("dataset"), train=[*TRAIN, ("u4", "i5")])
    parts = "--benchmark_filename=['train', 'valid', 'test']"
    result = run("--model=BPR", "--dataset=tiny", parts, "--epochs=1")
    assert result.returncode == 1 and "topk is [10], but there are 5 items to rank: give numbers up" in result.stderr
    assert not Path("saved").exists() or not list(Path("saved").iterdir())


def test_debug_shows_the_traceback(caplog):
    with pytest.raises(IRLLRecError, match="profile_weight"):
        run("--model=IRLLRec", "--profile_weight=-1", "--debug", *ONE_EPOCH)
    assert "will not be used in RecBole" not in caplog.text


def test_help_reads_well():
    result = run("--help")
    assert result.returncode == 0 and "--key=value" in result.stdout and "--resume=True" in result.stdout


def test_our_log_is_shown_while_a_command_works_and_then_is_as_it_was(capsys, caplog):
    ours = logging.getLogger("recbole_irllrec.text.default")
    with log_to_stderr():
        ours.info("while it works")
    assert capsys.readouterr().err == "while it works\n" and not caplog.records
    with caplog.at_level("INFO"):
        ours.info("afterwards")
    assert caplog.messages == ["afterwards"] and not capsys.readouterr().err
