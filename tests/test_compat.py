"""What RecBole needs on current torch, numpy, pandas and SciPy."""

import importlib
import importlib.util
import sys
import types

import numpy as np
import pytest
import scipy.sparse
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.evaluator import Evaluator
from recbole.quick_start import run_recbole
from recbole.utils import get_model as imported_get_model
from recbole.utils import utils

from recbole_irllrec import compat
from recbole_irllrec.errors import IRLLRecError


def test_numpy_aliases_and_dok_update():
    assert np.float is np.float64
    matrix = scipy.sparse.dok_matrix((2, 2), dtype=np.float32)
    matrix._update({(0, 1): 1.0})
    assert matrix.tocoo().todense().tolist() == [[0, 1], [0, 0]]


def test_metrics_are_plain_numbers():
    class Halves:
        def calculate_metric(self, _data):
            return {"recall@10": np.float64(0.5)}

    evaluator = Evaluator({"metrics": []})
    evaluator.metrics, evaluator.metric_class = ["recall"], {"recall": Halves()}
    found = evaluator.evaluate(None)
    assert repr(dict(found)) == "{'recall@10': 0.5}"


def test_no_anomalies_are_looked_for_where_sequential_models_are_imported():
    from recbole.model.sequential_recommender import sine

    assert not torch.is_anomaly_enabled()
    importlib.reload(sine)
    assert not torch.is_anomaly_enabled()


# --- Names of models. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LightGNC", "did you mean LightGCN"),
        ("bpr", "did you mean BPR?"),
        ("IRLRec", "did you mean"),
        ("zzzzzz", "see RecBole's model list"),
        ("os.path", "see RecBole's model list"),
        ("../bpr", "did you mean BPR?"),
        ("", "see"),
    ],
)
def test_unknown_model_is_one_sentence(name, hint):
    for start in (lambda: Config(model=name, dataset="ml-100k"), lambda: run_recbole(model=name, dataset="ml-100k")):
        with pytest.raises(IRLLRecError) as caught:
            start()
        message = str(caught.value)
        assert message.startswith(f"There is no model named {name!r}; ") and hint in message and "\n" not in message


def test_names_are_found_without_an_import():
    names = compat.model_names()
    assert {"BPR", "NCL", "KD_DAGFM", "XGBoost", "SASRec", "KGAT", "LDiffRec"} <= set(names) and len(names) > 85
    assert not any(name.startswith("recbole.model.exlib_recommender") for name in sys.modules)


def test_every_module_of_recbole_has_our_get_model():
    assert imported_get_model is compat.get_model
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "recbole" and "get_model" in vars(module):
            assert module.get_model is compat.get_model, name


def test_registered_models_are_found(monkeypatch):
    module = types.ModuleType("somewhere.else")
    module.MyModel = type("MyModel", (), {})
    monkeypatch.setitem(sys.modules, "recbole.model.general_recommender.mymodel", module)
    assert utils.get_model("MyModel") is module.MyModel
    with pytest.raises(IRLLRecError, match="did you mean MyModel"):
        utils.get_model("MyModle")


@pytest.mark.parametrize(
    ("model", "package", "how"),
    [
        ("NCL", "faiss", 'pip install "recbole-irllrec[ncl]"'),
        ("XGBoost", "xgboost and lightgbm", "pip install xgboost lightgbm"),
        ("KGAT", "dgl", "pip install dgl"),
    ],
)
def test_a_missing_extra_is_one_sentence_before_any_work(monkeypatch, model, package, how):
    find = importlib.util.find_spec
    missing = package.split(" and ")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in missing else find(name, *rest))
    with pytest.raises(IRLLRecError) as caught:
        Config(model=model, dataset="ml-100k")
    assert str(caught.value) == f"The model {model} needs the package {package}; install it with {how}."


def test_ldiffrec_reads_no_pickles(tmp_path):
    module = sys.modules[utils.get_model("LDiffRec").__module__]
    np.save(tmp_path / "plain.npy", np.ones(2))
    np.save(tmp_path / "pickled.npy", np.array([None]), allow_pickle=True)
    assert module.np.load(tmp_path / "plain.npy", allow_pickle=True).tolist() == [1, 1]
    with pytest.raises(ValueError, match="allow_pickle=False"):
        module.np.load(tmp_path / "pickled.npy", allow_pickle=True)
    assert np.load(tmp_path / "pickled.npy", allow_pickle=True).tolist() == [None]


# --- Missing values, which pandas 3 would leave as they are. --------------------------------------------------------


@pytest.fixture
def holes(tmp_path):
    folder = tmp_path / "holes"
    folder.mkdir()
    rows = [
        f"u{user}\ti{item}\t{'' if (user, item) == (1, 1) else user + item}" for user in range(4) for item in range(4)
    ]
    (folder / "holes.inter").write_text("\n".join(["user_id:token\titem_id:token\trating:float", *rows]) + "\n")
    items = ["i0\tOne Two\tfirst\t1.0", "i1\t\t\t", "i2\tThree\tsecond\t3.0", "i3\tFour\tfirst\t5.0"]
    (folder / "holes.item").write_text(
        "\n".join(["item_id:token\ttitle:token_seq\tshelf:token\tprice:float", *items]) + "\n"
    )
    users = ["u0\t10\ta", "u1\t\t", "u2\t20\tb", "u3\t30\ta"]
    (folder / "holes.user").write_text("\n".join(["user_id:token\tage:float\tgroup:token", *users]) + "\n")
    return create_dataset(
        Config(
            model="BPR",
            dataset="holes",
            config_dict={
                "data_path": str(tmp_path),
                "load_col": {
                    "inter": ["user_id", "item_id", "rating"],
                    "item": ["item_id", "title", "shelf", "price"],
                    "user": ["user_id", "age", "group"],
                },
                "normalize_all": False,
            },
        )
    )


def test_missing_values_are_filled_as_recbole_means(holes):
    items = holes.item_feat.set_index("item_id")
    users = holes.user_feat.set_index("user_id")
    item, user = holes.token2id("item_id", "i1"), holes.token2id("user_id", "u1")
    assert items.loc[item, "price"] == pytest.approx(3.0)
    assert users.loc[user, "age"] == pytest.approx(20.0)
    assert holes.id2token("shelf", int(items.loc[item, "shelf"])) == "[PAD]"
    assert holes.id2token("group", int(users.loc[user, "group"])) == "[PAD]"
    assert len(items.loc[item, "title"]) == 0
    filled = holes.id2token("title", items.loc[holes.token2id("item_id", "i0"), "title"])
    assert list(filled) == ["One", "Two"]
    assert not holes.inter_feat.isna().any().any()
    holes.build()
