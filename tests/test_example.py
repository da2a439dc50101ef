"""The examples run."""

import json
import os
import subprocess
import sys
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


def test_the_notebook():
    notebook = json.loads((ROOT / "examples" / "first_steps.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "EPOCHS = 10" in cells[0]
    names: dict = {}
    for cell in cells:
        exec(cell.replace("EPOCHS = 10", "EPOCHS = 1"), names)
    assert names["again"].recommend(k=2).equals(names["model"].recommend(k=2))
    assert set(names["found"]["user"]) == {"visitor"} and [path.name for path in Path().iterdir()] == ["films.irllrec"]
