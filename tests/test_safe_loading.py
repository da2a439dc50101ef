"""What RecBole and this package read: good files load unchanged, hostile ones are refused and run nothing."""

import contextlib
import functools
import io
import operator
import os
import pickle
import pickletools
import struct
import zipfile
from collections import Counter, OrderedDict, defaultdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.interaction import Interaction
from recbole.data.utils import load_split_dataloaders
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import ModelType

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.safe_loading import (
    UnsafeFileError,
    config_from_plain,
    config_to_plain,
    load,
    load_data,
    load_pickle,
)

CANARY = "canary"
COMMAND = f"touch {CANARY}"
EVALUATED = f"__import__('os').system({COMMAND!r})"
QUIET = {"show_progress": False, "state": "ERROR", "epochs": 1, "eval_step": 1}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, small):
    """A BPR and an ItemKNN checkpoint, a saved data set and saved data loaders, written by RecBole itself."""
    folder = tmp_path_factory.mktemp("saved")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setattr("sys.argv", ["test"])
    result = {}
    for model in ("BPR", "ItemKNN"):
        results = run_recbole(
            model=model,
            dataset="small",
            config_dict={
                **QUIET,
                **small,
                "train_batch_size": 512,
                "checkpoint_dir": str(folder / model),
                "save_dataset": True,
                "save_dataloaders": True,
                "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"], "item": ["item_id", "class"]},
            },
        )
        (checkpoint,) = (folder / model).glob(f"{model}-*.pth")
        result[model] = SimpleNamespace(folder=folder / model, checkpoint=checkpoint, results=results)
    patch.undo()
    return result


def refuse(read, *args):
    """The file is refused in one sentence and has run nothing."""
    with pytest.raises(UnsafeFileError) as caught:
        read(*args)
    assert not os.path.exists(CANARY)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and "was not loaded" in message
    return message


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *args, state=None):
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.parts


class Setstate:
    pass


def gadget(module, name):
    return b"c" + f"{module}\n{name}\n".encode()


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def with_state(module, name, state):
    """An object of a class, made without its constructor, with a state."""
    return b"\x80\x04" + gadget(module, name) + b")\x81" + pickle.dumps(state, 2)[2:-1] + b"b."


CONFIG_WITH_COMMAND = Call(Config, "BPR", "ml-100k", None, {"x": EVALUATED})
OBJECTS = {
    "os.system": Call(os.system, COMMAND),
    "eval": Call(eval, EVALUATED),
    "exec": Call(exec, EVALUATED),
    "a Config that evaluates": CONFIG_WITH_COMMAND,
    "a call within a call": Call(OrderedDict, [["a", Call(os.system, COMMAND)]]),
    "a call within an array": np.array([None, Call(os.system, COMMAND)], dtype=object),
    "a call within a table": pd.DataFrame({"a": [Call(os.system, COMMAND)]}),
    "a call as a key": {(1, Call(os.system, COMMAND)): 1},
    "a partial": Call(functools.partial, os.system, COMMAND),
    "a method caller": Call(operator.methodcaller, "system", COMMAND),
    "an attribute getter": operator.attrgetter("system"),
    "getattr": Call(getattr, Interaction, "__init__"),
    "getattr on a module": Call(getattr, Call(__import__, "os"), "system"),
    "import": Call(__import__, "os"),
    "torch.hub": Call(torch.hub.load, "a/b", "c"),
    "torch.load": Call(torch.serialization.load, "x"),
    "a table's state": Call(pd.DataFrame, state={"_mgr": Call(os.system, COMMAND)}),
    "a factory": Call(defaultdict, os.system),
    "a Counter of calls": Call(Counter, {"a": Call(os.system, COMMAND)}),
    "a function": os.system,
    "a foreign class": Setstate(),
    "a module's function in a list": [print],
    "a hash of its own": {Interaction.__new__(Interaction)},
    "an eval as a device": Call(torch.device, "cpu;" + EVALUATED),
}
STREAMS = {
    "INST": b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n.",
    "OBJ": b"(" + gadget("os", "system") + b"S'" + COMMAND.encode() + b"'\no.",
    "OBJ of an allowed class": b"(" + gadget("recbole.config.configurator", "Config") + b"o.",
    "NEWOBJ with arguments": b"\x80\x04" + gadget("recbole.config.configurator", "Config") + text("BPR") + b"\x85\x81.",
    "NEWOBJ_EX with arguments": b"\x80\x04"
    + gadget("recbole.config.configurator", "Config")
    + b")}"
    + text("model")
    + text("BPR")
    + b"s\x92.",
    "NEWOBJ of a string": b"\x80\x04" + text("os") + b")\x81.",
    "REDUCE of a string": b"\x80\x04" + text("os") + b")R.",
    "REDUCE of a class": b"\x80\x04" + gadget("recbole.data.interaction", "Interaction") + b"}\x85R.",
    "REDUCE through STACK_GLOBAL": b"\x80\x04" + text("posix") + text("system") + b"\x93" + text(COMMAND) + b"\x85R.",
    "a dotted name": b"\x80\x04" + text("recbole.data.utils") + text("os.system") + b"\x93" + text(COMMAND) + b"\x85R.",
    "a name of RecBole's module": b"\x80\x04" + text("recbole.data.dataset.dataset") + text("os") + b"\x93" + b")\x81.",
    "BUILD on a class": b"\x80\x04"
    + gadget("recbole.data.interaction", "Interaction")
    + b"}"
    + text("a")
    + b"K\x01sb.",
    "BUILD on a function": b"\x80\x04" + gadget("logging", "getLogger") + b"}" + text("a") + b"K\x01sb.",
    "BUILD on a shared object": b"\x80\x04" + gadget("logging", "getLogger") + b")R}" + text("a") + b"K\x01sb.",
    "BUILD on a list": b"\x80\x04]}b.",
    "BUILD twice": with_state("recbole.data.interaction", "Interaction", {"interaction": {}})[:-1] + b"}b.",
    "BUILD with slots": with_state("recbole.data.interaction", "Interaction", ({}, {"__class__": 1})),
    "a dunder attribute": with_state("recbole.data.interaction", "Interaction", {"__class__": 1}),
    "a function as the model of no Config": with_state(
        "recbole.data.interaction", "Interaction", {"model_class": os.system}
    ),
    "a nameless attribute": with_state("recbole.data.interaction", "Interaction", {1: 1}),
    "attributes of a dictionary": b"\x80\x04"
    + gadget("collections", "OrderedDict")
    + b")R}"
    + text("get")
    + b"K\x01sb.",
    "APPEND to an object": b"\x80\x04" + gadget("recbole.data.interaction", "Interaction") + b")\x81K\x01a.",
    "SETITEM on an object": b"\x80\x04"
    + gadget("recbole.config.configurator", "Config")
    + b")\x81"
    + text("a")
    + b"K\x01s.",
    "ADDITEMS to an object": b"\x80\x04" + gadget("recbole.config.configurator", "Config") + b")\x81(K\x01\x90.",
    "a table's state": with_state("pandas.core.frame", "DataFrame", {"_mgr": {"a": 1}, "_typ": "dataframe"}),
    "an unfilled Config": b"\x80\x04" + gadget("recbole.config.configurator", "Config") + b")\x81.",
    "an unfilled table": b"\x80\x04" + gadget("pandas.core.frame", "DataFrame") + b")\x81.",
    "a persistent name": b"Pos.system\n.",
    "a persistent object": b"\x80\x04" + text("x") + b"Q.",
    "an extension": b"\x80\x04\x82\x01.",
    "a buffer": b"\x80\x05\x97.",
    "a huge bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b".",
    "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".",
    "a huge frame": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b".",
    "copyreg": b"\x80\x04"
    + gadget("copy_reg", "_reconstructor")
    + gadget("recbole.config.configurator", "Config")
    + gadget("builtins", "object")
    + b"N\x87R.",
    "an endless key": b"\x80\x04}" + b"K\x01" + b"\x85" * 100_000 + b"K\x01s.",
    "nothing": b"",
    "no pickle": b"hello world, this is a text\n" * 100,
    "cut short": pickle.dumps(list(range(1000)))[:-100],
}


def as_pickle(obj, protocol):
    return pickle.dumps(obj, protocol)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", OBJECTS)
def test_hostile_objects_are_refused_in_every_format(tmp_path, name, protocol):
    obj = OBJECTS[name]
    try:
        raw = pickle.dumps(obj, protocol)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        pytest.skip(f"cannot be pickled at all: {error}")
    refuse(load_pickle, io.BytesIO(raw))
    for zipped in (True, False):
        file = tmp_path / "x.pth"
        torch.save({"config": 1, "x": obj}, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        for read in (load, load_data):
            assert str(file) in refuse(read, file)


@pytest.mark.parametrize("name", STREAMS)
def test_hostile_streams_are_refused(tmp_path, name):
    refuse(load_pickle, io.BytesIO(STREAMS[name]))
    file = tmp_path / "x.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", STREAMS[name])
    refuse(load, file)
    file.write_bytes(STREAMS[name])
    refuse(load, file)


def test_the_command_would_run_in_a_plain_unpickler():
    """Otherwise the tests above would prove nothing."""
    pickle.loads(pickle.dumps(Call(os.system, COMMAND)))  # noqa: S301 - on purpose
    assert os.path.exists(CANARY)
    os.remove(CANARY)
    pickle.loads(pickle.dumps(CONFIG_WITH_COMMAND))  # noqa: S301 - on purpose
    assert os.path.exists(CANARY)


# --- Tensors and arrays. --------------------------------------------------------------------------------------------


def test_hostile_pickle_within_a_pickled_storage():
    inner = io.BytesIO()
    torch.save(Call(os.system, COMMAND), inner, _use_new_zipfile_serialization=False)
    refuse(load_pickle, io.BytesIO(pickle.dumps(Call(torch.storage._load_from_bytes, inner.getvalue()))))
    inner = io.BytesIO()
    torch.save(Call(os.system, COMMAND), inner)
    refuse(load_pickle, io.BytesIO(pickle.dumps(Call(torch.storage._load_from_bytes, inner.getvalue()))))


class Storage:
    def __init__(self, count, location="cpu"):
        self.id = ("storage", torch.FloatStorage, "0", location, count)


def torch_zip(file, obj, storages=((b"0", bytes(16)),), **entries):
    """A torch file with the storages and other entries as given."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return obj.id if isinstance(obj, Storage) else None

    raw = io.BytesIO()
    Pickler(raw, 2).dump(obj)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", raw.getvalue())
        for key, data in storages:
            archive.writestr(f"x/data/{key.decode()}", data)
        for name, data in entries.items():
            archive.writestr(f"x/{name.replace('__', '.')}", data)


def tensor(count=4, offset=0, size=(4,), stride=(1,), grad=False, hooks=None, location="cpu"):
    hooks = OrderedDict() if hooks is None else hooks
    return Call(torch._utils._rebuild_tensor_v2, Storage(count, location), offset, size, stride, grad, hooks)


def test_a_hand_made_torch_file_loads(tmp_path):
    torch_zip(tmp_path / "x.pth", [tensor(), tensor(location="cuda:7")])
    for value in load(tmp_path / "x.pth"):
        assert torch.equal(value, torch.zeros(4)) and value.device.type == "cpu"


def test_tensors_go_where_the_caller_says_or_this_machine_can(tmp_path):
    torch_zip(tmp_path / "x.pth", tensor(location="cuda:7"))
    for where, device in [
        ("meta", "meta"),
        (torch.device("meta"), "meta"),
        ({"cuda:7": "meta"}, "meta"),
        ({"cuda:6": "meta"}, "cpu"),
        (lambda storage, _location: torch.UntypedStorage(storage.nbytes(), device="meta"), "meta"),
        (lambda _storage, _location: None, "cpu"),
    ]:
        assert load(tmp_path / "x.pth", where).device.type == device


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": -1},
        {"count": 2**60},
        {"count": 5},
        {"count": 4.0},
        {"offset": -1},
        {"offset": 1},
        {"offset": 2**62},
        {"size": (-4,)},
        {"size": (5,)},
        {"size": (2**62,), "stride": (0,)},
        {"stride": (-1,)},
        {"stride": (2**40,)},
        {"stride": (1, 1)},
        {"size": (0,), "offset": 5},
        {"grad": "yes"},
        {"hooks": OrderedDict(a=1)},
        {"hooks": [1]},
    ],
)
def test_tensors_stay_within_their_storage(tmp_path, wrong):
    torch_zip(tmp_path / "x.pth", tensor(**wrong))
    refuse(load, tmp_path / "x.pth")


def test_hostile_archives(tmp_path):
    file = tmp_path / "x.pth"
    torch_zip(file, 1, constants__pkl=b"")
    assert "TorchScript" in refuse(load, file)
    torch_zip(file, tensor(), byteorder=b"big")
    refuse(load, file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps([0] * 10_000_000))
    assert "compressed" in refuse(load, file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("y/readme.txt", b"not torch's")
    refuse(load, file)
    torch_zip(file, tensor())
    file.write_bytes(file.read_bytes()[:-30])
    refuse(load, file)
    model = torch.jit.script(torch.nn.Linear(1, 1))
    torch.jit.save(model, str(file))
    refuse(load, file)


def array_state(shape, dtype, raw):
    # `__reduce__` of an array, with a state of our own
    function, args, _ = np.zeros(1).__reduce__()
    return Call(function, *args, state=(1, shape, dtype, False, raw))


@pytest.mark.parametrize(
    "wrong",
    [
        array_state((4,), np.dtype("f8"), bytes(24)),
        array_state((-1,), np.dtype("f8"), b""),
        array_state((2**50, 0), np.dtype("f8"), b""),
        array_state((1,), np.dtype("O"), bytes(8)),
        array_state((2,), np.dtype("O"), [1]),
        array_state((1,), np.dtype([("a", "f8")]), bytes(8)),
        array_state((1,), np.dtype(">f8"), bytes(8)),
        array_state([1], np.dtype("f8"), bytes(8)),
        array_state((1,), "f8", bytes(8)),
        Call(np.core.multiarray.scalar, np.dtype("O"), [Call(os.system, COMMAND)]),
        Call(np.core.multiarray.scalar, np.dtype("f8"), b"1234"),
        Call(np.core.multiarray._reconstruct, np.recarray, (0,), b"b"),
    ],
)
def test_arrays_fill_their_shape(wrong):
    refuse(load_pickle, io.BytesIO(pickle.dumps(wrong)))


def test_sparse_matrices_stay_within_their_shape():
    good = scipy.sparse.csr_matrix(np.eye(3))
    assert (load_pickle(io.BytesIO(pickle.dumps(good))) != good).nnz == 0
    for name, value in [
        ("indices", np.array([0, 1, 9], dtype=np.int32)),
        ("indices", np.array([0, -1, 2], dtype=np.int32)),
        ("indptr", np.array([0, 1, 2, 99], dtype=np.int32)),
        ("indptr", np.array([0, 3, 2, 3], dtype=np.int32)),
        ("data", np.array([None, None, None])),
        ("_shape", (3, -3)),
    ]:
        bad = good.copy()
        bad.__dict__[name] = value
        refuse(load_pickle, io.BytesIO(pickle.dumps(bad)))
    rows = scipy.sparse.lil_matrix(np.eye(3))
    rows.rows[0] = [77]
    refuse(load_pickle, io.BytesIO(pickle.dumps(rows)))


def test_plain_data_of_all_kinds_comes_back():
    table = pd.DataFrame({"f": [1.5, 2.0], "t": ["x", "y"], "s": [np.array([1, 2]), np.array([], int)], "i": [1, 2]})
    objects = np.array([None] * 3)
    objects[0], objects[1] = torch.arange(3), {1, 2}
    data = {
        "containers": [(1, 2.5, None, True, b"x", "y", 1j), {1, "a", (2, 3)}, frozenset([1]), range(3), slice(1, None)],
        "counts": defaultdict(list, {"a": [1]}),
        "ordered": OrderedDict(b=1, a=2),
        "arrays": [np.arange(6.0).reshape(2, 3).T, np.array(["ab", "c"]), np.float32(2.5), np.dtype("i8"), np.bool_(1)],
        "types": [torch.float16, torch.device("cpu"), torch.Size([2, 3]), ModelType.GENERAL],
        "tensors": [torch.arange(4).view(2, 2).t(), torch.tensor([True]), torch.zeros(0), torch.ones(2).half()],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "sparse": [
            kind(np.eye(3)) for kind in (scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, scipy.sparse.coo_matrix)
        ],
        "rows": scipy.sparse.lil_matrix(np.eye(3)),
        "bytes": bytearray(b"abc"),
        "big": -(2**200),
        "matrix": np.matrix([[1.0, 2.0]]),
    }
    files = []
    for protocol in (2, 4, 5):
        raw = pickle.dumps((data, table, objects), protocol)
        files.append(load_pickle(io.BytesIO(raw)))
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save((data, table, objects), file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
            file.seek(0)
            files.append(load(file))
    for read, read_table, read_objects in files:
        for key in ("containers", "counts", "ordered", "types", "bytes", "big"):
            assert read[key] == data[key] and type(read[key]) is type(data[key])
        for before, after in zip(data["arrays"][:3], read["arrays"][:3], strict=True):
            assert np.array_equal(before, after) and before.dtype == after.dtype
        for before, after in zip(data["tensors"], read["tensors"], strict=True):
            assert torch.equal(before, after) and before.dtype == after.dtype and before.stride() == after.stride()
        assert type(read["matrix"]) is np.matrix and np.array_equal(read["matrix"], data["matrix"])
        assert isinstance(read["parameter"], torch.nn.Parameter) and read["parameter"].requires_grad
        for before, after in zip([*data["sparse"], data["rows"]], [*read["sparse"], read["rows"]], strict=True):
            assert type(before) is type(after) and (before != after).nnz == 0
        assert read_table.drop(columns="s").equals(table.drop(columns="s"))
        assert all(map(np.array_equal, read_table["s"], table["s"])) and read_table.dtypes.equals(table.dtypes)
        assert read_objects[1] == {1, 2} and read_objects[2] is None and torch.equal(read_objects[0], torch.arange(3))
        read_table.loc[0, "f"] = 3.0  # A table to work with.


def test_sparse_tensors_and_shared_storages(tmp_path):
    sparse = torch.eye(3).to_sparse()
    whole = torch.arange(6.0)
    torch.save({"a": sparse, "b": whole, "c": whole[2:]}, tmp_path / "x.pth")
    read = load(tmp_path / "x.pth")
    assert torch.equal(read["a"].to_dense(), torch.eye(3))
    read["b"][2] = 50
    assert read["c"][0] == 50
    # There the indices follow what they are needed for.
    torch.save(sparse, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert "_rebuild_sparse_tensor" in refuse(load, tmp_path / "x.pth")


def test_state_dict_keeps_its_versions(tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict()
    torch.save(state, tmp_path / "x.pth")
    assert load(tmp_path / "x.pth")._metadata == state._metadata


# --- RecBole's own files. -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["BPR", "ItemKNN"])
def test_checkpoint_equals_what_was_saved(saved, model):
    file = saved[model].checkpoint
    expected = torch.load(file, weights_only=False)  # Torch's own reader.
    read = load(file)
    assert type(read["config"]) is Config and read["config"].model_class is expected["config"].model_class
    assert read["config"].final_config_dict == expected["config"].final_config_dict
    assert str(read["config"]).count("\n") and read["config"].dataset == "small"
    assert list(read) == list(expected) and read["epoch"] == expected["epoch"]
    assert list(read["state_dict"]) == list(expected["state_dict"])
    for name, value in expected["state_dict"].items():
        assert torch.equal(read["state_dict"][name], value)
    assert str(read["optimizer"]) == str(expected["optimizer"])
    for name, value in expected["other_parameter"].items():
        assert type(read["other_parameter"][name]) is type(value)
        assert (read["other_parameter"][name] != value).nnz == 0
    plain = load_data(file)
    assert plain["config"]["settings"]["MODEL_TYPE"] == {"__enum__": str(expected["config"]["MODEL_TYPE"])}
    assert plain["config"] == config_to_plain(expected["config"])


@pytest.mark.parametrize("model", ["BPR", "ItemKNN"])
def test_load_data_and_model_scores_as_before(saved, model):
    config, loaded, _dataset, _train, _valid, test = load_data_and_model(saved[model].checkpoint)
    from recbole.trainer import Trainer

    trainer = Trainer(config, loaded)
    trainer.eval_collector.data_collect(_train)
    assert trainer.evaluate(test, load_best_model=False) == saved[model].results["test_result"]


def same_features(before, after):
    assert list(before.interaction) == list(after.interaction)
    assert all(torch.equal(before[name], after[name]) for name in before.interaction)


def test_saved_data_set_and_loaders_equal_what_was_saved(saved, caplog):
    folder = saved["BPR"].folder
    config = load(saved["BPR"].checkpoint)["config"]
    dataset = create_dataset(config)
    with open(folder / "small-Dataset.pth", "rb") as file:
        expected = pickle.load(file)  # noqa: S301 - the reader to compare with
    assert set(vars(dataset)) == set(vars(expected)) and type(dataset) is type(expected)
    assert dataset.inter_feat.equals(expected.inter_feat) and dataset.field2type == expected.field2type
    assert list(dataset.item_feat["class"].map(tuple)) == list(expected.item_feat["class"].map(tuple))
    for field, names in expected.field2id_token.items():
        assert np.array_equal(dataset.field2id_token[field], names)
    assert dataset.build()[0].inter_num == expected.build()[0].inter_num

    loaders = load_split_dataloaders(config)
    with open(folder / "small-for-BPR-dataloader.pth", "rb") as file:
        expected = [loader for loader, _state in pickle.load(file)]  # noqa: S301 - the reader to compare with
    for loader, before in zip(loaders, expected, strict=True):
        assert set(vars(loader)) == set(vars(before)) and type(loader) is type(before)
        same_features(loader._dataset.inter_feat, before._dataset.inter_feat)
    assert all((loaders[0]._sampler.used_ids == expected[0]._sampler.used_ids).tolist())
    positives = zip(loaders[2].uid2positive_item, expected[2].uid2positive_item, strict=True)
    assert all(a is b is None or torch.equal(a, b) for a, b in positives)
    assert len(next(iter(loaders[0]))) == 512 and len(next(iter(loaders[2])))


def test_other_callers_of_torch_and_pickle_see_no_change(tmp_path):
    torch.save({"x": Call(os.system, COMMAND)}, tmp_path / "x.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "x.pth")
    assert not os.path.exists(CANARY)
    torch.load(tmp_path / "x.pth", weights_only=False)
    assert os.path.exists(CANARY)
    assert torch.load.__name__ == "load" and "pickle_module" in torch.load.__doc__
    assert pickle.load.__module__ == "_pickle"


def test_every_caller_in_recbole_is_covered(tmp_path):
    torch.save({"config": 1, "x": Call(os.system, COMMAND)}, tmp_path / "x.pth")
    code = compile("import torch\ntorch.load(file)", "somewhere", "exec")
    for module in (
        "recbole.quick_start.quick_start",
        "recbole.trainer.trainer",
        "recbole.model.sequential_recommender.s3rec",
    ):
        refuse(exec, code, {"__name__": module, "file": tmp_path / "x.pth"})


# --- Settings. ------------------------------------------------------------------------------------------------------


def altered(source, target, **changes):
    """RecBole's checkpoint with other settings."""
    checkpoint = torch.load(source, weights_only=False)
    checkpoint["config"].final_config_dict.update(changes)
    torch.save(checkpoint, target, pickle_protocol=4)
    return target


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "KD_DAGFM", "teacher": EVALUATED},
        {"model": "KD_DAGFM", "teacher": "breakpoint"},
        {"model": "os.system"},
        {"model": "../x"},
        {"model": 3},
        {"dataset": "../../etc"},
        {"dataset": "/etc"},
        {"dataset": ".."},
        {"dataset": None},
        {"device": 5},
        {"metrics": os.system},
        {"anything": [Setstate()]},
    ],
)
def test_settings_reach_no_evaluation(saved, tmp_path, changes):
    file = altered(saved["BPR"].checkpoint, tmp_path / "x.pth", **changes)
    refuse(load, file)
    refuse(load_data_and_model, file)


def test_settings_are_not_evaluated(saved, tmp_path):
    file = altered(saved["BPR"].checkpoint, tmp_path / "x.pth", note=EVALUATED, learning_rate=EVALUATED)
    assert load(file)["config"]["note"] == EVALUATED
    assert not os.path.exists(CANARY)


@pytest.mark.parametrize("setting", ["dataset_save_path", "dataloaders_save_path"])
def test_settings_that_lead_to_another_file(saved, tmp_path, setting):
    trap = tmp_path / "trap.pth"
    trap.write_bytes(pickle.dumps(Call(os.system, COMMAND)))
    file = altered(saved["BPR"].checkpoint, tmp_path / "x.pth", **{setting: str(trap)})
    assert str(trap) in refuse(load_data_and_model, file)


def test_device_is_one_of_this_machine(saved, tmp_path):
    file = altered(saved["BPR"].checkpoint, tmp_path / "x.pth", device=torch.device("cuda", 99), single_spec=False)
    config = load(file)["config"]
    assert config["device"].type == "cuda" if torch.cuda.is_available() else config["device"] == torch.device("cpu")
    assert config["single_spec"] is True


def test_model_that_is_unknown_here_still_gives_its_weights(saved, tmp_path):
    file = altered(saved["BPR"].checkpoint, tmp_path / "x.pth", model="MyOwnModel")
    assert load(file)["config"].model_class is None
    with pytest.raises(IRLLRecError, match="no model named 'MyOwnModel'"):
        load_data_and_model(file)


def test_settings_come_back_from_plain_data(tmp_path):
    config = Config(model="LightGCN", dataset="ml-100k", config_dict={"note": None, "pair": "(1, 'a')"})
    config["nested"] = {"a": [1, (2, None, {"b": {1, 2}})], 3: ModelType.GENERAL, "f": frozenset("x")}
    config["numpy"] = np.float64(0.1)
    torch.save({"config": config_to_plain(config)}, tmp_path / "x.pth")
    plain = torch.load(tmp_path / "x.pth", weights_only=True)["config"]
    assert plain["settings"]["MODEL_TYPE"] == {"__enum__": "ModelType.GENERAL"} and plain["settings"]["device"] == "cpu"
    again = config_from_plain(plain)
    assert again.final_config_dict == config.final_config_dict
    assert again.model_class is config.model_class and (again.model, again.dataset) == ("LightGCN", "ml-100k")
    assert type(again["nested"]["a"][1]) is tuple and again["pair"] == (1, "a")
    assert str(again).splitlines()
    assert load(tmp_path / "x.pth")["config"].final_config_dict == config.final_config_dict
    assert load_data(tmp_path / "x.pth")["config"] == plain


@pytest.mark.parametrize("value", [object(), print, {"__enum__": 1}, torch.zeros(1)])
def test_settings_that_are_no_plain_values_are_not_saved(value):
    config = Config(model="BPR", dataset="ml-100k")
    config["odd"] = value
    with pytest.raises(IRLLRecError, match="The setting odd cannot be saved"):
        config_to_plain(config)


ENDLESS: list = []
for _ in range(60):
    ENDLESS = [ENDLESS, ENDLESS]


@pytest.mark.parametrize(
    "change",
    [
        {"settings": None},
        {"model": "NGCF"},
        {"settings": {"model": "BPR"}},
        {"settings": {"model": "BPR", "dataset": "x", "device": "cpu", "y": ENDLESS}},
        {"settings": {"model": "BPR", "dataset": "x", "device": "cpu", "y": {"__enum__": "os.system"}}},
        {"settings": {"model": "BPR", "dataset": "x", "device": "what"}},
    ],
)
def test_settings_from_plain_data_are_checked(tmp_path, change):
    plain = config_to_plain(Config(model="BPR", dataset="ml-100k")) | change
    with pytest.raises(IRLLRecError, match="These"):
        config_from_plain(plain)
    torch.save({"config": plain}, tmp_path / "x.pth")
    for read in (load, load_data):
        refuse(read, tmp_path / "x.pth")


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(IRLLRecError, match="cannot be opened"):
        load(tmp_path / "none.pth")


# --- Chance. --------------------------------------------------------------------------------------------------------


def read_mutation(raw, read):
    with contextlib.suppress(UnsafeFileError):
        read(io.BytesIO(raw))
    assert not os.path.exists(CANARY)


CHANCE = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@CHANCE
@given(
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8), cut=st.floats(0.5, 1.5)
)
def test_mutated_checkpoints_load_or_are_refused(saved, changes, cut):
    """Bytes of the pickle itself change, so that the archive's checksum does not catch it first."""
    with zipfile.ZipFile(saved["BPR"].checkpoint) as archive:
        content = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = next(name for name in content if name.endswith("data.pkl"))
    raw = bytearray(content[name])
    for place, value in changes:
        raw[int(place * (len(raw) - 1))] = value
    content[name] = bytes(raw[: int(len(raw) * min(cut, 1))])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for entry, data in content.items():
            archive.writestr(entry, data)
    read_mutation(file.getvalue(), load)


@CHANCE
@given(data=st.data())
def test_mutated_pickles_load_or_are_refused(data):
    good = pickle.dumps(
        {
            "a": np.arange(3),
            "b": torch.arange(3),
            "c": pd.DataFrame({"x": [1, 2], "y": ["a", "b"]}),
            "d": scipy.sparse.csr_matrix(np.eye(2)),
            "e": [{1, 2}, ModelType.GENERAL, Interaction({"u": torch.arange(2)})],
        },
        4,
    )
    ends = [place for _code, _value, place in pickletools.genops(good) if place]
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["byte", "opcode", "insert", "delete"]))
        place = data.draw(st.sampled_from(ends)) if kind != "byte" else data.draw(st.integers(0, len(raw) - 1))
        place = min(place, len(raw) - 1)
        if kind == "delete":
            del raw[place]
        elif kind == "insert":
            raw[place:place] = data.draw(
                st.sampled_from([b"R", b"b", b"\x81", b"0", b"2", b"a", b"s", b")", b"N", b"o"])
            )
        else:
            raw[place] = data.draw(st.integers(0, 255))
    read_mutation(bytes(raw), load_pickle)
