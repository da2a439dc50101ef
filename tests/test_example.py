"""The examples run."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import openai_server
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_ml_100k_from_recboles_files_to_a_trained_model(tmp_path):
    with openai_server.serve(latency=0.01, fault_rate=0.02, hang=3) as server:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OPENAI_BASE_URL": server.url,
            "CONCURRENCY": "32",
        }
        script = [ROOT / "examples" / "intents-ml-100k.sh", "--epochs=3", "--show_progress=False"]
        done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stderr[-3000:]
        asked = server.account()
    assert "recall@10" in done.stdout and "1,682" in done.stdout and "wants" in done.stdout
    (log,) = (tmp_path / "log" / "IRLLRec").iterdir()
    for kind in ("profile", "intent"):
        for side, n in (("user", 943), ("item", 1682)):
            read = f"The {kind} text covers {n} of {n} {side}s (100.0%): dataset/ml-100k/ml-100k.{side}_{kind}.parquet"
            assert read in log.read_text()
    assert {entry["path"] for entry in asked} == {"chat/completions", "embeddings"}


def names_of(notebook: str) -> dict:
    """What the cells of a notebook leave behind, run one after the other with a single epoch."""
    cells = json.loads((ROOT / "examples" / notebook).read_text(encoding="utf-8"))["cells"]
    program = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    program, n = re.subn(r"^EPOCHS = \d+$", "EPOCHS = 1", program, flags=re.MULTILINE)
    assert n == 1
    names: dict = {}
    exec(program, names)
    return names


def test_first_steps():
    names = names_of("first_steps.ipynb")
    assert names["again"].recommend(k=2).equals(names["model"].recommend(k=2))
    assert set(names["found"]["user"]) == {"visitor"} and [path.name for path in Path().iterdir()] == ["films.irllrec"]


def test_own_embeddings():
    names = names_of("own_embeddings.ipynb")
    best, scores = names["best"], names["scores"]
    assert best["score"].tolist() == pytest.approx([scores.loc[row.user, row.item] for row in best.itertuples()], 1e-4)
    assert not set(names["arrived"]["item"]) & set(names["model"].items) and not list(Path().iterdir())
    assert len(names["hits"]) / len(names["found"]) > 1.2 * names["at_random"]


def test_intents_by_a_language_model(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = names_of("intents.ipynb")
    names["server"].shutdown()
    told = capsys.readouterr().out
    for side, n in (("items", 120), ("users", 100)):
        assert re.search(rf"{side}\W+{n}\W+0\W", told), told
    reason = names["model"].explain(5, names["best"]["item"].iloc[0])
    assert reason.kind in ("profile", "intent") and reason.item_text and reason.user_text
    assert {"wants", "about"} & set(f"{reason.item_text} {reason.user_text}".split())
