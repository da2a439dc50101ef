"""A reader of pickles and of torch files in which nothing that a file says can run.

An allow-list of names is not enough, because allowed classes run code too: a constructor that evaluates strings, a
``__setstate__``, a ``__reduce__`` that names a function. So this reader never hands a name of the file to Python.
Every name becomes an inert :class:`Name`; the few that RecBole's files need have a builder here, which checks its
arguments and makes plain data from them. Instances are made with ``object.__new__`` and their ``__dict__`` is filled;
no method of an allowed class is called with anything from the file before the whole file has been checked.
"""

import _compat_pickle
import collections
import enum
import importlib
import io
import logging
import pickle
import re
import struct
import sys
import types
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from recbole.config import Config
from recbole.data.dataloader import AbstractDataLoader
from recbole.utils import enum_type

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


class Refused(Exception):
    """The file holds something that plain data does not need; the text says what, as the object of "it holds"."""


class Damaged(Exception):
    """The file is cut short, changed or of another kind; the text says what, as a clause."""


class Name:
    """A name that the file mentions. It stands for itself: nothing is looked up or imported for it."""

    __slots__ = ("accepted", "build", "cls", "path")

    def __init__(self, path: str, build: Callable | None = None, cls: type | None = None):
        self.path = path
        self.build = build  # builder(reader, *args), for REDUCE
        self.cls = cls  # made by object.__new__, for NEWOBJ
        self.accepted = build is not None or cls is not None


class Storage:
    """The bytes of one or more tensors."""

    __slots__ = ("data", "device", "dtype", "filled")

    def __init__(self, data: torch.UntypedStorage, dtype: torch.dtype, device: torch.device, filled: bool):
        self.data, self.dtype, self.device, self.filled = data, dtype, device, filled


class Source:
    """A binary file that never reads past its end, so that a huge length in a file allocates nothing."""

    def __init__(self, file: BinaryIO):
        self._file = file
        start = file.tell()
        self.left = file.seek(0, io.SEEK_END) - start
        file.seek(start)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise Damaged("it ends too early")
        self.left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline()
        self.left -= len(line)
        if not line.endswith(b"\n"):
            raise Damaged("it ends too early")
        return line


def require(condition: bool, what: str) -> None:
    """Refuse the file unless the condition holds."""
    if not condition:
        raise Refused(what)


# --- Builders: each checks what it is given and makes plain data. ---------------------------------------------------

# A hash or an equality test is code as well: only these may be keys of a dictionary or members of a set.
KEYS = {str, int, float, bool, bytes, complex, type(None), torch.dtype}
KEYS |= {np.dtype(code).type for code in "?bhilqBHILQefdFDSU"}
ENUMS = {
    name: cls
    for name, cls in vars(enum_type).items()
    if isinstance(cls, type) and issubclass(cls, enum.Enum) and cls.__module__ == enum_type.__name__
}
KEYS |= set(ENUMS.values())


def check_key(key: Any, depth: int = 0) -> None:
    if type(key) is tuple and depth < 8:
        for part in key:
            check_key(part, depth + 1)
    else:
        require(type(key) in KEYS, f"a {type(key).__name__} as a key")


def is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def is_one_of(value: Any, *allowed: str | int) -> bool:
    """Equality for plain values only: a comparison of anything else would call its own ``__eq__``."""
    return type(value) in (str, int) and value in allowed


def is_empty(value: Any) -> bool:
    return value is None or (type(value) in (dict, tuple, collections.OrderedDict) and not value)


def build_dtype(reader: "Reader", spec: Any, *_flags: Any) -> np.dtype:
    spec = spec.path.removeprefix("numpy.") if type(spec) is Name else spec
    require(
        type(spec) is str and bool(re.fullmatch(r"[?biufcOSU]\d{0,9}|(u?int|float)\d+|bool|object_?", spec)), "a dtype"
    )
    return np.dtype(spec)


def state_of_dtype(reader: "Reader", dtype: np.dtype, state: Any) -> None:
    """Nothing to do for plain types in this machine's byte order, and no other has a place in RecBole's files."""
    native = "<" if sys.byteorder == "little" else ">"
    plain = type(state) is tuple and len(state) in (8, 9) and is_one_of(state[1], native, "|", "=")
    require(plain and all(part is None for part in state[2:5]), "a structured or foreign dtype")


# EASE keeps a matrix.
ARRAYS: dict[str, type[np.ndarray]] = {"numpy.ndarray": np.ndarray, "numpy.matrix": np.matrix}
ARRAYS[f"{np.matrix.__module__}.matrix"] = np.matrix


def build_array(reader: "Reader", cls: Any, shape: Any, _code: Any) -> np.ndarray:
    require(type(cls) is Name and cls.path in ARRAYS, "an array of an unknown kind")
    require(type(shape) is tuple and len(shape) == 1 and is_one_of(shape[0], 0), "an array of an unknown kind")
    return reader.to_be_filled(np.ndarray.__new__(ARRAYS[cls.path], (0,), dtype=np.int8))


def state_of_array(reader: "Reader", array: np.ndarray, state: Any) -> None:
    require(type(state) is tuple and len(state) == 5, "an array without its state")
    _, shape, dtype, fortran, raw = state
    require(type(shape) is tuple and len(shape) <= 32 and all(map(is_count, shape)), "an array of no shape")
    require(isinstance(dtype, np.dtype) and type(fortran) is bool, "an array of no type")
    count = 1
    for size in shape:
        require(size < 2**40, "an array beyond all size")
        count *= size
    expected, length = (list, count) if dtype.hasobject else (bytes, count * dtype.itemsize)
    require(type(raw) is expected and len(raw) == length, "an array whose data does not fill its shape")
    require(type(array) is np.ndarray or len(shape) == 2, "a matrix of no shape")
    np.ndarray.__setstate__(array, (1, shape, dtype, fortran, raw))


def build_array_from_buffer(reader: "Reader", raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    require(type(raw) in (bytes, bytearray) and isinstance(dtype, np.dtype) and not dtype.hasobject, "an array")
    require(type(shape) is tuple and all(map(is_count, shape)) and is_one_of(order, "C", "F"), "an array of no shape")
    return np.frombuffer(bytearray(raw), dtype=dtype).reshape(shape, order=order)


def build_scalar(reader: "Reader", dtype: Any, raw: Any) -> Any:
    plain = isinstance(dtype, np.dtype) and not dtype.hasobject and type(raw) is bytes and len(raw) == dtype.itemsize
    require(plain and dtype.itemsize > 0, "a number of an unknown kind")
    return np.frombuffer(raw, dtype=dtype)[0]


def check_view(storage: Any, offset: Any, size: Any, stride: Any) -> None:
    require(type(storage) is Storage and is_count(offset), "a tensor without storage")
    require(type(size) in (tuple, torch.Size) and type(stride) is tuple and len(size) == len(stride) <= 64, "a tensor")
    require(all(map(is_count, size)) and all(map(is_count, stride)), "a tensor of no shape")
    # Torch would silently enlarge the storage for a view that reaches beyond it.
    last = (
        offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if all(size)
        else offset - 1
    )
    require((last + 1) * storage.dtype.itemsize <= storage.data.nbytes(), "a tensor that reaches beyond its storage")
    require(all(length < 2**40 for length in size), "a tensor beyond all size")


def build_tensor(
    reader: "Reader", storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, metadata: Any = None
) -> torch.Tensor:
    check_view(storage, offset, size, stride)
    require(type(grad) is bool and is_empty(hooks) and is_empty(metadata), "a tensor with hooks")
    tensor = torch.empty(0, dtype=storage.dtype).set_(storage.data, offset, tuple(size), stride)
    return reader.placed(tensor.requires_grad_(grad), storage.device)


def build_parameter(reader: "Reader", data: Any, grad: Any, hooks: Any) -> torch.Tensor:
    require(type(data) is torch.Tensor and type(grad) is bool and is_empty(hooks), "a parameter with hooks")
    return reader.placed(torch.nn.Parameter(data.detach(), requires_grad=grad), reader.device_of(data))


def build_layout(reader: "Reader", name: Any) -> str:
    require(is_one_of(name, "torch.sparse_coo", "torch.sparse_csr"), "a tensor of an unknown layout")
    return name


def build_sparse_tensor(reader: "Reader", layout: Any, data: Any) -> torch.Tensor:
    require(reader.storages_are_filled, "a sparse tensor in torch's old file format")
    coo = is_one_of(layout, "torch.sparse_coo")
    parts = 2 if coo else 3
    make: Any = torch.sparse_coo_tensor if coo else torch.sparse_csr_tensor
    require(type(data) is tuple and len(data) > parts, "a sparse tensor")
    size = build_size(reader, data[parts])
    require(all(type(part) is torch.Tensor for part in data[:parts]), "a sparse tensor")
    return reader.placed(make(*data[:parts], size, check_invariants=True), reader.device_of(data[parts - 1]))


def build_size(reader: "Reader", size: Any) -> torch.Size:
    require(type(size) in (tuple, list, torch.Size) and all(map(is_count, size)), "a torch.Size")
    return torch.Size(size)


def build_device(reader: "Reader", kind: Any, index: Any = None) -> torch.device:
    require(type(kind) is str and bool(re.fullmatch(r"(cpu|cuda|mps|xpu|meta)(:\d{1,3})?", kind)), "a torch.device")
    require(index is None or is_count(index), "a torch.device")
    return torch.device(kind) if index is None else torch.device(kind, index)


def build_nested_storage(reader: "Reader", raw: Any) -> Storage:
    """A tensor that plain pickle wrote holds a whole torch file in itself, which is read as warily as the outer one."""
    require(type(raw) is bytes, "a storage")
    storage = read(io.BytesIO(raw), reader.map_location, reader.rebuild_config)
    require(type(storage) is Storage, "a storage that is none")
    storage.filled = True
    return storage


def build_ordered(reader: "Reader", items: Any = ()) -> collections.OrderedDict:
    """Items come along in pickle's oldest form only; otherwise the file adds them afterwards."""
    require(type(items) in (tuple, list) and all(type(item) in (tuple, list) for item in items), "an OrderedDict")
    result: collections.OrderedDict = collections.OrderedDict()
    for key, value in items:
        check_key(key)
        result[key] = value
    return reader.to_be_filled(result)


def build_defaultdict(reader: "Reader", factory: Any = None) -> collections.defaultdict:
    factories = {f"builtins.{kind.__name__}": kind for kind in (list, dict, set, int, float, str)}
    require(factory is None or (type(factory) is Name and factory.path in factories), "a defaultdict")
    return collections.defaultdict(factory and factories[factory.path])


def build_counter(reader: "Reader", counts: Any) -> collections.Counter:
    require(type(counts) is dict and all(type(count) in (int, float) for count in counts.values()), "a Counter")
    return collections.Counter(counts)


def build_set(reader: "Reader", items: Any = ()) -> set:
    require(type(items) in (list, tuple), "a set")
    for item in items:
        check_key(item)
    return set(items)


def build_frozenset(reader: "Reader", items: Any = ()) -> frozenset:
    return frozenset(build_set(reader, items))


def build_slice(reader: "Reader", *bounds: Any) -> slice:
    require(1 <= len(bounds) <= 3 and all(b is None or type(b) is int for b in bounds), "a slice")
    return slice(*bounds)


def build_range(reader: "Reader", *bounds: Any) -> range:
    require(1 <= len(bounds) <= 3 and all(type(b) is int for b in bounds), "a range")
    return range(*bounds)


def build_complex(reader: "Reader", real: Any, imaginary: Any) -> complex:
    require(type(real) is float and type(imaginary) is float, "a complex number")
    return complex(real, imaginary)


def build_bytes(reader: "Reader", text: Any = "", encoding: Any = "latin1") -> bytes:
    """Bytes as pickle's older protocols write them."""
    require(type(text) is str and is_one_of(encoding, "latin1", "latin-1"), "bytes")
    return text.encode("latin1")


def build_bytearray(reader: "Reader", raw: Any = b"", *encoding: Any) -> bytearray:
    return bytearray(raw if type(raw) is bytes else build_bytes(reader, raw, *encoding))


def build_logger(reader: "Reader", name: Any = None) -> logging.Logger:
    require(name is None or (type(name) is str and len(name) < 200), "a logger")
    return logging.getLogger(name)


# What RecBole's loaders keep as attributes of themselves, or hand to torch's loader.
LOADER_METHODS = ("collate_fn", "_neg_sample_by_pair_wise_sampling", "_neg_sample_by_point_wise_sampling")


def build_attribute(reader: "Reader", owner: Any, name: Any) -> Any:
    """``getattr`` as pickle uses it: for an enum value, and for the methods of data loaders."""
    if type(owner) is Name and owner.path.rpartition(".")[0] == enum_type.__name__ and type(name) is str:
        cls = ENUMS.get(owner.path.rpartition(".")[2])
        members = cls.__members__ if cls else {}
        require(name in members, f"an unknown {owner.path}")
        return members[name]
    require(isinstance(owner, AbstractDataLoader) and is_one_of(name, *LOADER_METHODS), "a call of getattr")
    return types.MethodType(getattr(type(owner), name), owner)


def enum_builder(cls: type[enum.Enum]) -> Callable:
    def build(reader: "Reader", value: Any) -> enum.Enum:
        # Calling the class would call its `_missing_`, so the members are compared instead.
        for member in cls:
            if type(member.value) is type(value) and member.value == value:
                return member
        raise Refused(f"an unknown {cls.__name__}")

    return build


class Frame:
    """The parts of a DataFrame (manager, block or index) until the whole file is read."""

    def __init__(self, kind: str, *parts: Any):
        self.kind, self.parts = kind, parts


def frame_part(kind: str) -> Callable:
    return lambda reader, *parts: Frame(kind, *parts)


def index_from(part: Any, length: int) -> pd.Index:
    require(type(part) is Frame and part.kind == "index" and len(part.parts) == 2, "a DataFrame without an index")
    cls, state = part.parts
    require(type(cls) is Name and type(state) is dict, "a DataFrame without an index")
    name = state.get("name")
    check_key(name)
    if cls.path == "pandas.core.indexes.range.RangeIndex":
        bounds = [state.get(key) for key in ("start", "stop", "step")]
        require(all(type(bound) is int for bound in bounds) and bounds[2] != 0, "a DataFrame's index")
        index: pd.Index = pd.RangeIndex(bounds[0], bounds[1], bounds[2], name=name)
    else:
        require(cls.path == "pandas.core.indexes.base.Index", f"a DataFrame with {cls.path} as its index")
        data = state.get("data")
        require(type(data) is np.ndarray and data.ndim == 1, "a DataFrame's index")
        for label in data.tolist():
            check_key(label)
        index = pd.Index(data, name=name)
    require(len(index) == length, "a DataFrame whose index does not fit")
    return index


def fill_frame(frame: pd.DataFrame, state: Any) -> None:
    manager: Any = state.get("_mgr") if type(state) is dict else None
    require(type(manager) is Frame and manager.kind == "manager" and len(manager.parts) == 2, "a DataFrame")
    blocks, axes = manager.parts
    require(type(blocks) is tuple and type(axes) is list and len(axes) == 2, "a DataFrame")
    columns: dict[int, np.ndarray] = {}
    for block in blocks:
        require(type(block) is Frame and block.kind == "block" and len(block.parts) == 3, "a DataFrame")
        values, places, ndim = block.parts
        require(
            type(values) is np.ndarray and values.ndim == 2 and is_one_of(ndim, 2),
            "a DataFrame with columns of its own kind",
        )
        if type(places) is slice:
            bounds = (places.start or 0, places.stop, places.step or 1)
            require(all(type(bound) is int for bound in bounds), "a DataFrame")
            places = range(*bounds)
        else:
            require(type(places) is np.ndarray and places.ndim == 1 and places.dtype.kind == "i", "a DataFrame")
            places = places.tolist()
        require(len(places) == len(values), "a DataFrame whose columns do not fit")
        columns.update(zip(places, values, strict=True))
    require(sorted(columns) == list(range(len(columns))), "a DataFrame whose columns do not fit")
    lengths = {len(column) for column in columns.values()}
    require(len(lengths) <= 1, "a DataFrame whose columns do not fit")
    rows = lengths.pop() if lengths else 0
    labels = index_from(axes[0], len(columns))
    # Only now, with checked parts, does pandas' own code run.
    frame.__init__({place: columns[place] for place in range(len(columns))}, index=index_from(axes[1], rows))  # type: ignore[misc]
    frame.columns = labels


def fill_sparse(matrix: Any, state: Any) -> None:
    """SciPy's compiled code trusts the indices of its matrices, so they are all checked."""
    require(type(state) is dict, "a sparse matrix")
    cls, shape = type(matrix), state.get("_shape")
    require(type(shape) is tuple and len(shape) == 2 and all(map(is_count, shape)), "a sparse matrix of no shape")
    layout = cls.__name__[:3]
    names = {"csr": ["data", "indices", "indptr"], "csc": ["data", "indices", "indptr"], "lil": ["data", "rows"]}
    if layout == "coo":
        row, column = state["coords"] if type(state.get("coords")) is tuple else (state.get("row"), state.get("col"))
        arrays = [state.get("data"), row, column]
    else:
        arrays = [state.get(name) for name in names[layout]]
    require(all(type(array) is np.ndarray and array.ndim == 1 for array in arrays), "a sparse matrix without data")
    if layout == "lil":
        data, rows = arrays
        dtype = state.get("dtype")
        require(isinstance(dtype, np.dtype) and dtype.kind in "biufc", "a sparse matrix of no type")
        require(len(rows) == len(data) == shape[0], "a sparse matrix whose rows do not fit")
        for indices, values in zip(rows, data, strict=True):
            require(type(indices) is list and type(values) is list, "a sparse matrix without rows")
            require(len(indices) == len(values), "a sparse matrix whose rows do not fit")
            require({*map(type, indices)} <= {int} and {*map(type, values)} <= KEYS, "a sparse matrix of no numbers")
            require(not indices or (min(indices) >= 0 and max(indices) < shape[1]), "a sparse matrix out of bounds")
        fresh = cls(shape, dtype=dtype)
        fresh.rows, fresh.data = rows, data
    else:
        require(arrays[0].dtype.kind in "biufc", "a sparse matrix of no numbers")
        require(all(array.dtype.kind == "i" for array in arrays[1:]), "a sparse matrix of no numbers")
        parts = (arrays[0], (row, column)) if layout == "coo" else tuple(arrays)
        fresh = cls(parts, shape=shape)
        if layout != "coo":
            fresh.check_format(full_check=True)
    matrix.__dict__ = fresh.__dict__


# --- The names that RecBole's files need. ---------------------------------------------------------------------------

DTYPES = {
    **{"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16},
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128},
    "Untyped": torch.uint8,
}
STORAGES = {
    f"{module}.{name}Storage": dtype
    for name, dtype in DTYPES.items()
    for module in (("torch.storage", "torch") if name == "Untyped" else ("torch", "torch.cuda"))
}
NUMPY = ("numpy.core", "numpy._core")
BUILDERS: dict[str, Callable] = {
    **{f"{core}.multiarray._reconstruct": build_array for core in NUMPY},
    **{f"{core}.multiarray.scalar": build_scalar for core in NUMPY},
    **{f"{core}.numeric._frombuffer": build_array_from_buffer for core in NUMPY},
    **{f"{enum_type.__name__}.{name}": enum_builder(cls) for name, cls in ENUMS.items()},
    "numpy.dtype": build_dtype,
    "torch._utils._rebuild_tensor_v2": build_tensor,
    "torch._utils._rebuild_parameter": build_parameter,
    "torch._utils._rebuild_sparse_tensor": build_sparse_tensor,
    "torch.serialization._get_layout": build_layout,
    "torch.storage._load_from_bytes": build_nested_storage,
    "torch.Size": build_size,
    "torch.device": build_device,
    "collections.OrderedDict": build_ordered,
    "collections.defaultdict": build_defaultdict,
    "collections.Counter": build_counter,
    "builtins.set": build_set,
    "builtins.frozenset": build_frozenset,
    "builtins.slice": build_slice,
    "builtins.range": build_range,
    "builtins.complex": build_complex,
    "builtins.bytearray": build_bytearray,
    "builtins.getattr": build_attribute,
    "builtins.bytes": build_bytes,
    "_codecs.encode": build_bytes,
    "logging.getLogger": build_logger,
    "pandas.core.internals.managers.BlockManager": frame_part("manager"),
    "pandas._libs.internals._unpickle_block": frame_part("block"),
    "pandas.core.indexes.base._new_Index": frame_part("index"),
}
# Names that are only ever arguments of a builder, or that `Config` mentions and the reader leaves out.
MENTIONED = {
    *ARRAYS,
    "numpy.int64",
    "numpy.float64",
    "pandas.core.indexes.base.Index",
    "pandas.core.indexes.range.RangeIndex",
    "yaml.loader.FullLoader",
    *(f"builtins.{kind}" for kind in ("list", "dict", "int", "float", "str")),
    *STORAGES,
}
SPARSE = {name: getattr(scipy.sparse, name) for name in ("csr_matrix", "csc_matrix", "coo_matrix", "lil_matrix")}
SPARSE |= {name: getattr(scipy.sparse, name) for name in ("csr_array", "csc_array", "coo_array", "lil_array")}
# Modules of which every class of their own is rebuilt from its attributes: data, samplers and loaders.
MODULES = re.compile(
    r"recbole\.data\.(dataset\.\w+|dataloader\.\w+|interaction|transform)|recbole\.sampler\.sampler"
    r"|torch\.utils\.data\.(sampler|distributed)|recbole_irllrec\.(data\.dataset|evaluation)"
    # Sequential models with features keep an embedding layer among their other parameters.
    r"|recbole\.model\.layers"
)
CLASSES: dict[str, type] = {
    "recbole.config.configurator.Config": Config,
    "pandas.core.frame.DataFrame": pd.DataFrame,
    "torch.nn.modules.sparse.Embedding": torch.nn.Embedding,
    "torch.nn.modules.container.ModuleDict": torch.nn.ModuleDict,
    "torch.nn.modules.container.ModuleList": torch.nn.ModuleList,
    "torch.nn.modules.linear.Linear": torch.nn.Linear,
}


def class_of(module: str, name: str) -> type | None:
    """The class of that name if it is one that may be rebuilt from its attributes."""
    if module.startswith("scipy.sparse."):
        return SPARSE.get(name)
    if not MODULES.fullmatch(module) or not name.isidentifier():
        return CLASSES.get(f"{module}.{name}")
    try:
        found: Any = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return None
    plain = isinstance(found, type) and found.__module__ == module and not issubclass(found, (dict, list, tuple, type))
    return found if plain and not issubclass(found, BaseException) else None


# --- The machine. ---------------------------------------------------------------------------------------------------


# As `Any`, because the type stubs do not describe the inside of this class.
_Unpickler: Any = pickle._Unpickler


class Reader(_Unpickler):
    """An unpickler whose every opcode makes plain data only.

    Args:
        source: where the pickle is read from.
        map_location: as in ``torch.load``; it comes from the caller, never from the file.
        rebuild_config: ``rebuild_config(empty_config, state)`` fills a ``Config`` when everything else is read.
        storage: ``storage(type, key, location, count)`` for the storages of a torch file; plain pickles have none.
    """

    dispatch: ClassVar[dict[int, Callable]] = dict(_Unpickler.dispatch)
    storages_are_filled = True

    def __init__(self, source: Source, map_location: Any, rebuild_config: Callable, storage: Callable | None = None):
        super().__init__(source, encoding="utf-8")
        self.map_location = map_location
        self.rebuild_config = rebuild_config
        self._storage = storage
        self._names: dict[str, Name] = {}
        self._unfilled: dict[int, Any] = {}
        self._finish: list[tuple[Callable, Any, Any]] = []
        self._placed: list[tuple[torch.Tensor, torch.device]] = []

    def to_be_filled(self, value: Any) -> Any:
        """A new object that the next BUILD for it may fill, once; objects of anyone else are never touched."""
        self._unfilled[id(value)] = value
        return value

    def placed(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Move the tensor when its storage has been read, which in the old format is later."""
        if device.type != "cpu":
            self._placed.append((tensor, device))
        return tensor

    def device_of(self, tensor: torch.Tensor) -> torch.device:
        return next((device for known, device in self._placed if known is tensor), torch.device("cpu"))

    def finish(self) -> None:
        """Check and complete what needed the rest of the file."""
        for name in self._names.values():
            require(name.accepted, f"the name {name.path}")
        for value in self._unfilled.values():
            require(not isinstance(value, (pd.DataFrame, Config, *SPARSE.values())), "an object without its content")
        for fill, value, state in self._finish:
            fill(value, state)
        for tensor, device in self._placed:
            tensor.data = tensor.data.to(device)

    # Names.

    def find_class(self, module: str, name: str) -> Any:
        if self.proto < 3:
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        path = f"{module}.{name}"
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        if path not in self._names:
            known = Name(path, BUILDERS.get(path), class_of(module, name))
            known.accepted |= path in MENTIONED
            self._names[path] = known
        return self._names[path]

    def get_extension(self, code: int) -> None:
        raise Refused("an extension code")

    def persistent_load(self, pid: Any) -> Any:
        if (
            self._storage is None
            or type(pid) is not tuple
            or len(pid) not in (5, 6)
            or not is_one_of(pid[0], "storage")
        ):
            raise Refused("a reference to something outside the file")
        require(len(pid) == 5 or pid[5] is None, "a view of a storage")
        kind, key, location, count = pid[1:5]
        require(type(kind) is Name and kind.path in STORAGES and is_count(count), "a storage of an unknown kind")
        require(type(key) is str and type(location) is str, "a storage without a name")
        return self._storage(STORAGES[kind.path], key, location, count)

    # Calls: none of the file's functions or classes is called.

    def load_reduce(self) -> None:
        args = self.stack.pop()
        function = self.stack[-1]
        if type(function) is not Name or function.build is None:
            raise Refused(f"a call of {function.path if type(function) is Name else type(function).__name__}")
        require(type(args) is tuple, "a call without arguments")
        self.stack[-1] = function.build(self, *args)

    def _new(self, cls: Any, args: Any, kwargs: Any) -> None:
        if type(cls) is not Name or cls.cls is None:
            raise Refused(f"an object of {cls.path if type(cls) is Name else type(cls).__name__}")
        require(is_empty(args) and is_empty(kwargs), f"arguments for {cls.path}")
        self.append(self.to_be_filled(object.__new__(cls.cls)))

    def load_newobj(self) -> None:
        args = self.stack.pop()
        self._new(self.stack.pop(), args, {})

    def load_newobj_ex(self) -> None:
        kwargs = self.stack.pop()
        args = self.stack.pop()
        self._new(self.stack.pop(), args, kwargs)

    def _instantiate(self, klass: Any, args: Any) -> None:
        raise Refused(f"an object of {klass.path if type(klass) is Name else type(klass).__name__}")

    def load_build(self) -> None:
        state = self.stack.pop()
        value = self.stack[-1]
        if isinstance(value, np.dtype):
            return state_of_dtype(self, value, state)
        if self._unfilled.pop(id(value), None) is None:
            raise Refused(f"a change of {value.path if type(value) is Name else type(value).__name__}")
        if type(value) in ARRAYS.values():
            return state_of_array(self, value, state)
        if isinstance(value, tuple(SPARSE.values())):
            self._finish.append((fill_sparse, value, state))
        elif type(value) is pd.DataFrame:
            self._finish.append((fill_frame, value, state))
        elif type(value) is Config:
            require(type(state) is dict, "a Config without settings")
            for key in ("model_class", "yaml_loader"):
                if type(name := state.pop(key, None)) is Name:
                    name.accepted = True
            self._finish.append((self.rebuild_config, value, state))
        else:
            self._fill(value, state)
        return None

    def _fill(self, value: Any, state: Any) -> None:
        if type(state) is tuple and len(state) == 2:
            state, slots = state
            require(slots is None, "an object with slots")
        require(type(state) is dict, "an object without attributes")
        for key in state:
            require(type(key) is str and not key.startswith("__"), f"the attribute {key!r}")
        if type(value) is collections.OrderedDict:
            require(set(state) <= {"_metadata"}, "a dictionary with attributes")
        value.__dict__.update(state)

    # Containers: only Python's own are added to, and only plain values become keys.

    def load_append(self) -> None:
        value = self.stack.pop()
        target = self.stack[-1]
        require(type(target) is list, f"an addition to a {type(target).__name__}")
        target.append(value)

    def load_appends(self) -> None:
        items = self.pop_mark()
        target = self.stack[-1]
        require(type(target) is list, f"an addition to a {type(target).__name__}")
        target.extend(items)

    def _set_items(self, target: Any, items: list) -> None:
        kinds = (dict, collections.OrderedDict, collections.defaultdict)
        require(type(target) in kinds and len(items) % 2 == 0, f"an addition to a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            check_key(key)
            target[key] = value

    def load_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._set_items(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._set_items(self.stack[-1], items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(self.stack[-1], items)

    def load_additems(self) -> None:
        items = self.pop_mark()
        target = self.stack[-1]
        require(type(target) is set, f"an addition to a {type(target).__name__}")
        for item in items:
            check_key(item)
        target.update(items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()  # First, for it changes what `append` appends to.
        self.append(build_frozenset(self, items))

    def load_bytearray8(self) -> None:
        # Python's own makes room for the length that the file states before it looks whether the bytes are there.
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    def load_outside_buffer(self) -> None:
        raise Refused("a reference to something outside the file")

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.APPEND[0]] = load_append
    dispatch[pickle.APPENDS[0]] = load_appends
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.FROZENSET[0]] = load_frozenset
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.NEXT_BUFFER[0]] = load_outside_buffer
    dispatch[pickle.READONLY_BUFFER[0]] = load_outside_buffer


# --- The file formats. ----------------------------------------------------------------------------------------------


def target_device(storage: torch.UntypedStorage, location: str, map_location: Any) -> torch.device:
    """Where ``torch.load`` would put the storage; the CPU if this machine lacks the device that it was saved from."""
    if callable(map_location):
        moved = map_location(storage, location)
        return torch.device("cpu") if moved is None else moved.device
    if isinstance(map_location, dict):
        location = map_location.get(location, location)
    elif map_location is not None:
        return torch.device(map_location)
    match = re.fullmatch(r"cuda:(\d{1,3})", location)
    if match and int(match[1]) < torch.cuda.device_count():
        return torch.device(location)
    return torch.device("cpu")


def read_zip(file: BinaryIO, map_location: Any, rebuild_config: Callable) -> Any:
    """What ``torch.save`` writes: a zip archive of a pickle and one entry for each storage."""
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = {entry.filename: entry for entry in entries}
        stored = all(entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1 for entry in entries)
        require(stored and len(names) == len(entries), "compressed or repeated entries")
        require(sum(entry.file_size for entry in entries) <= size, "entries larger than itself")
        pickles = [name for name in names if re.fullmatch(r"[^/]*/data\.pkl", name)]
        if len(pickles) != 1:
            raise Damaged("it is a zip archive, but not one that torch.save writes")
        root = pickles[0].removesuffix("data.pkl")
        require(f"{root}constants.pkl" not in names, "a TorchScript program")
        order = archive.read(f"{root}byteorder").decode("ascii", "replace") if f"{root}byteorder" in names else "little"
        if order != sys.byteorder:
            raise Damaged(f"its numbers are in {order[:10]!r} byte order")
        storages: dict[str, Storage] = {}

        def storage(dtype: torch.dtype, key: str, location: str, count: int) -> Storage:
            if key not in storages:
                entry = names.get(f"{root}data/{key}")
                require(entry is not None and entry.file_size == count * dtype.itemsize, "a storage of another size")
                raw = archive.read(entry)  # type: ignore[arg-type]
                data = torch.UntypedStorage(len(raw))
                if raw:
                    torch.empty(0, dtype=torch.uint8).set_(data).numpy()[:] = np.frombuffer(raw, dtype=np.uint8)
                storages[key] = Storage(data, dtype, target_device(data, location, map_location), True)
            # One storage may be seen through several types.
            known = storages[key]
            return Storage(known.data, dtype, known.device, True)

        source = Source(io.BytesIO(archive.read(pickles[0])))
        reader = Reader(source, map_location, rebuild_config, storage)
        result = reader.load()
        reader.finish()
        return result


def read_next(source: Source, map_location: Any, rebuild_config: Callable) -> Any:
    """Read the one pickle that starts here."""
    reader = Reader(source, map_location, rebuild_config)
    result = reader.load()
    reader.finish()
    return result


def read_legacy(source: Source, map_location: Any, rebuild_config: Callable) -> Any:
    """What ``torch.save`` wrote before its zip archives, and what a tensor still is within a plain pickle."""

    def plain() -> Any:
        return read_next(source, map_location, rebuild_config)

    if not is_one_of(plain(), LEGACY_PROTOCOL):
        raise Damaged("it is in an unknown version of torch's format")
    plain()  # The machine that wrote it.
    storages: dict[str, Storage] = {}

    def storage(dtype: torch.dtype, key: str, location: str, count: int) -> Storage:
        if key not in storages:
            # The bytes follow later, so there are at least as many in the file.
            promised = sum(known.data.nbytes() for known in storages.values()) + count * dtype.itemsize
            require(promised <= source.left, "a storage larger than itself")
            data = torch.UntypedStorage(count * dtype.itemsize)
            storages[key] = Storage(data, dtype, target_device(data, location, map_location), False)
        require(storages[key].dtype == dtype, "a storage of two types")
        return storages[key]

    reader = Reader(source, map_location, rebuild_config, storage)
    reader.storages_are_filled = False
    result = reader.load()
    keys = plain()
    require(type(keys) is list and all(type(key) is str for key in keys), "storages without names")
    require(len(keys) == len(storages) and set(keys) == set(storages), "other storages than it names")
    for key in keys:
        data, dtype = storages[key].data, storages[key].dtype
        (count,) = struct.unpack("<q", source.read(8))
        require(count * dtype.itemsize == data.nbytes(), "a storage of another size")
        if count:
            raw = np.frombuffer(source.read(data.nbytes()), dtype=np.uint8)
            torch.empty(0, dtype=torch.uint8).set_(data).numpy()[:] = raw
    reader.finish()
    return result


def read(file: BinaryIO, map_location: Any, rebuild_config: Callable) -> Any:
    """Read what ``torch.save`` wrote."""
    start = file.read(4)
    file.seek(-len(start), io.SEEK_CUR)
    if start == b"PK\x03\x04":
        return read_zip(file, map_location, rebuild_config)
    source = Source(file)
    if not is_one_of(read_next(source, map_location, rebuild_config), LEGACY_MAGIC):
        raise Damaged("it is not a file that torch.save wrote")
    return read_legacy(source, map_location, rebuild_config)


def read_pickle(file: BinaryIO, rebuild_config: Callable) -> Any:
    """Read what ``pickle.dump`` wrote."""
    return read_next(Source(file), None, rebuild_config)
