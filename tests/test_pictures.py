"""The README's pictures are what the command draws from the committed results."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    subprocess.run([sys.executable, ROOT / "tools" / "pictures.py", folder], check=True, timeout=60)
    return folder


def test_they_are_what_the_command_draws(drawn):
    shown = re.findall(r"!\[[^\]]+\]\(docs/pictures/([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(path.name for path in drawn.iterdir())
    for name in shown:
        assert (PICTURES / name).read_text(encoding="utf-8") == (drawn / name).read_text(encoding="utf-8"), name


def test_the_bars_are_as_long_as_the_results(drawn):
    picture = ElementTree.parse(drawn / "results.svg")
    told = picture.find("{*}desc").text
    values = [float(value) for value in re.findall(r"(?<!±) (0\.\d{4})", told)]
    bars = [float(bar.get("width")) for bar in picture.findall("{*}rect") if bar.get("height") == "20"]
    assert len(bars) == len(values) == 9
    assert [bar / max(bars) for bar in bars] == pytest.approx([value / max(values) for value in values], abs=1e-3)
    summary = pd.read_csv(ROOT / "results" / "citeulike-a" / "summary.csv").set_index("model")
    assert values[0] == pytest.approx(summary.loc["IRLLRec, 64 wide, with a linear part", "ndcg@20"], abs=5e-5)
    assert values[-1] == pytest.approx(summary.loc["LightGCN", "ndcg@20"], abs=5e-5)
