"""Models of users: `docs/own-model.md` as it stands there, and what is refused."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from command import run
from recbole.model.general_recommender import BPR
from recbole.quick_start import run_recbole
from test_docs import DOCS, execute

from recbole_irllrec import IRLLRec, IRLLRecError, aligned, own_models, register, zoo
from recbole_irllrec.data.loading import load_config
from recbole_irllrec.model.encoder import GraphEncoder

PAGE = (DOCS / "own-model.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _known_as_before(monkeypatch):
    monkeypatch.setattr(zoo, "_MODELS", dict(zoo._MODELS))
    yield
    sys.modules.pop("my_models", None)


@pytest.mark.slow  # Ray begins twice; the two tests below say most of it
def test_the_pages_commands(small, monkeypatch):
    data = Path(small["data_path"]) / "small"
    target = Path("dataset/ml-100k")
    target.mkdir(parents=True)
    for file in data.iterdir():
        shutil.copy(file, target / file.name.replace("small", "ml-100k"))
    (target / "ml-100k.yaml").write_text("epochs: 2\n")
    for name in ("inter", "item"):
        text = (target / f"ml-100k.{name}").read_text()
        (target / f"ml-100k.{name}").write_text(re.sub(r"^u(\d)", r"\1", text, flags=re.MULTILINE))
    *classes, script = blocks("python")
    assert all(len(code.splitlines()) < 30 for code in classes)
    Path("my_models.py").write_text("".join(classes))
    (space,) = blocks("yaml")
    Path("weighed.yaml").write_text(space.replace("epochs: 20", "epochs: 2"))
    monkeypatch.setenv(own_models.VARIABLE, "my_models.py")
    own_models.load()  # the commands run in this process, which has imported the package
    said = execute("own-model.md", "Use it")
    assert "uniformity: " not in said  # of the log, not of what is printed
    runs = pd.read_csv("results/ml-100k/runs.csv")
    assert set(runs["model"]) == {"UniformRec", "UniformRec[uniformity_weight=0]", "WeighedLayers"}
    assert len(pd.read_csv("tuning/ml-100k-WeighedLayers/trials.csv")) == 2
    exec(script, {})


def test_the_pages_models_train_and_are_recommended_from(small):
    exec("".join(blocks("python")[:2]), {"__name__": "my_models"})
    for name, setting in (("UniformRec", {"uniformity_weight": 0.3}), ("WeighedLayers", {"n_layers": 2})):
        run_recbole(model=name, dataset="small", config_dict={"epochs": 2, "state": "ERROR", **small, **setting})
        (file,) = (file for file in Path("saved").glob(f"{name}-*.pth") if "resume" not in file.name)
        said = run("recommend", file, "--user", "u1", "--k", 5).stdout
        assert "u1" in said and said.count(" i") >= 5


def test_a_process_of_its_own_knows_the_models():
    Path("my_models.py").write_text("".join(blocks("python")[:2]))
    ask = "import recbole_irllrec; from recbole.utils import get_model; print(get_model('UniformRec').__module__)"
    environment = os.environ | {own_models.VARIABLE: "my_models.py", "PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "my_models", done.stderr


def test_settings_are_those_of_what_it_is_made_from_and_its_own():
    class Other(IRLLRec):
        pass

    register(Other, my_weight=0.5, n_layers=2)
    config = load_config("untuned", settings={"profile_weight": 0.3}, model="Other")
    assert (config["my_weight"], config["n_layers"], config["profile_weight"]) == (0.5, 2, 0.3)
    assert config["ranking_loss"] == "softmax" and zoo.find("Other").preset == "LightGCN"
    with pytest.raises(IRLLRecError, match=r"The setting my_weight \(in config_dict\) is 'much'"):
        load_config("untuned", settings={"my_weight": "much"}, model="Other")
    with pytest.raises(IRLLRecError, match="did you mean my_weight"):
        load_config("untuned", settings={"my_weigth": 1.0}, model="Other")


def test_a_recommender_of_ones_own_wears_the_alignment():
    @register
    @aligned
    class MyBPR(BPR):
        pass

    @register
    class Plain(BPR):
        pass

    @register
    @aligned
    class Weighed(GraphEncoder):
        pass

    with pytest.raises(IRLLRecError, match="no published settings of Weighed"):
        load_config("untuned", settings={"preset": "published"}, model="Weighed")

    worn, plain = zoo.find("MyBPR"), zoo.find("Plain")
    assert "profile_weight" in worn.settings.names() and worn.own_trainer and worn.recboles == "BPR"
    assert "profile_weight" not in plain.settings.names() and not plain.own_trainer


@pytest.mark.parametrize("name", ["IRLLRec", "LightGCN", "SGL", "IRLLRecNGCF"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(IRLLRecError, match=f"There is a model named {name} already: give yours another name."):
        register(type(name, (IRLLRec,), {}))


def test_what_is_no_recommender_is_refused():
    with pytest.raises(IRLLRecError, match="int is no general recommender"):
        register(int)


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("gone.py", None, "The models in gone.py, which IRLLREC_MODELS names, cannot be imported: FileNotFoundError"),
        (
            "broken.py",
            "import nothing_at_all",
            "cannot be imported: ModuleNotFoundError: No module named 'nothing_at_all'",
        ),
        ("nowhere_module", None, "The models in nowhere_module, which IRLLREC_MODELS names, cannot be imported"),
    ],
)
def test_what_cannot_be_imported_is_named(name, content, said, monkeypatch):
    if content:
        Path(name).write_text(content)
    monkeypatch.setenv(own_models.VARIABLE, name)
    with pytest.raises(ImportError) as refused:
        own_models.load()
    assert said in str(refused.value)
