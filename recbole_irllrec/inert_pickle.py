"""A reader of pickles and of torch files in which nothing that a file says can run.

An allow-list of names is not enough, because allowed classes run code too: a constructor that evaluates strings, a
``__setstate__``, a ``__reduce__`` that names a function. So this reader never hands a name of the file to Python.
Every name becomes an inert :class:`Name`; the few that RecBole's files need have a builder here, which checks its
arguments and makes plain data from them. Instances are made with ``object.__new__`` and their ``__dict__`` is filled;
no method of an allowed class is called with anything from the file before the whole file has been checked.

Torch's own ``weights_only`` reader knows pickle's protocol 2 alone, and RecBole saves its checkpoints in protocol 4.
"""

import _compat_pickle
import collections
import enum
import importlib
import io
import logging
import math
import pickle
import re
import struct
import sys
import types
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from recbole.data.dataloader import AbstractDataLoader
from recbole.utils import enum_type


class Refused(Exception):
    """The file holds something that plain data does not need; the text says what, as the object of "it holds"."""


class Damaged(Exception):
    """The file is cut short, changed or of another kind; the text says what, as a clause."""


class Name(str):
    """A name that the file mentions, such as ``os.system``. Nothing is looked up or imported for it."""

    __slots__ = ()


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
        return line


def require(condition: bool, what: str) -> None:
    """Refuse the file unless the condition holds."""
    if not condition:
        raise Refused(what)


# --- Checks: none of them calls a method of what the file holds. ----------------------------------------------------

ENUMS = {
    name: cls
    for name, cls in vars(enum_type).items()
    if isinstance(cls, type) and issubclass(cls, enum.Enum) and cls.__module__ == enum_type.__name__
}
# A hash or an equality test is code as well: only these may be keys of a dictionary or members of a set.
KEYS = {str, int, float, bool, bytes, complex, type(None), torch.dtype, *ENUMS.values()}
KEYS |= {np.dtype(code).type for code in "?bhilqBHILQefdFDSU"}


def check_plain(value: Any, depth: int = 0) -> None:
    if type(value) in (tuple, list, dict) and depth < 8:
        for part in value.values() if type(value) is dict else value:
            check_plain(part, depth + 1)
    else:
        require(type(value) in KEYS, f"a {kind_of(value)} where a plain value belongs")


def kind_of(value: Any) -> str:
    return value if type(value) is Name else type(value).__name__


def is_one_of(value: Any, *allowed: str | int) -> bool:
    return type(value) in (str, int, Name) and value in allowed


def is_empty(value: Any) -> bool:
    return value is None or (type(value) in (dict, tuple, collections.OrderedDict) and not value)


def are_counts(value: Any) -> bool:
    return type(value) in (tuple, torch.Size) and all(type(part) is int and part >= 0 for part in value)


def is_array(value: Any, dimensions: int) -> bool:
    return type(value) is np.ndarray and value.ndim == dimensions


# --- Builders: each checks what it is given and makes plain data. ---------------------------------------------------


def plain(function: Callable) -> Callable:
    """The builder for a function that is harmless with plain values."""

    def build(*args: Any) -> Any:
        check_plain(args)
        return function(*args)

    return build


def build_parts(*parts: Any) -> tuple:
    """The parts of a DataFrame (manager, block or index) until the whole file is read."""
    return parts


def build_dtype(spec: Any, *_flags: Any) -> np.dtype:
    require(type(spec) is str and bool(re.fullmatch(r"[?\w]+", spec)), "a dtype")
    dtype = np.dtype(spec)
    require(dtype.kind in "biufcOSU", "a dtype")
    return dtype


def check_dtype_state(state: Any) -> None:
    """Nothing to do for plain types in this machine's byte order, and no other has a place in RecBole's files."""
    native = "<" if sys.byteorder == "little" else ">"
    fits = type(state) is tuple and len(state) in (8, 9) and is_one_of(state[1], native, "|", "=")
    require(fits and all(part is None for part in state[2:5]), "a structured or foreign dtype")


# EASE keeps a matrix.
ARRAYS: dict[str, type[np.ndarray]] = {"numpy.ndarray": np.ndarray, "numpy.matrix": np.matrix}
ARRAYS[f"{np.matrix.__module__}.matrix"] = np.matrix


def build_array(cls: Any, _shape: Any, _code: Any) -> np.ndarray:
    require(is_one_of(cls, *ARRAYS), "an array of an unknown kind")
    return np.ndarray.__new__(ARRAYS[cls], (0,), dtype=np.int8)


def fill_array(array: np.ndarray, state: Any) -> None:
    require(type(state) is tuple and len(state) == 5, "an array without its state")
    _, shape, dtype, fortran, raw = state
    require(are_counts(shape) and max(shape, default=0) < 2**40, "an array of no shape")
    require(isinstance(dtype, np.dtype) and type(fortran) is bool, "an array of no type")
    expected, size = (list, 1) if dtype.hasobject else (bytes, dtype.itemsize)
    fits = type(raw) is expected and len(raw) == math.prod(shape) * size
    require(fits, "an array whose data does not fill its shape")
    require(type(array) is np.ndarray or len(shape) == 2, "a matrix of no shape")
    np.ndarray.__setstate__(array, (1, shape, dtype, fortran, raw))


def build_array_from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    require(type(raw) in (bytes, bytearray) and isinstance(dtype, np.dtype) and are_counts(shape), "an array")
    require(is_one_of(order, "C", "F"), "an array")
    return np.frombuffer(bytearray(raw), dtype=dtype).reshape(shape, order=order)


def build_scalar(dtype: Any, raw: Any) -> Any:
    require(isinstance(dtype, np.dtype) and type(raw) is bytes, "a number of an unknown kind")
    (value,) = np.frombuffer(raw, dtype=dtype)
    return value


def build_tensor(
    flat: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, metadata: Any = None
) -> torch.Tensor:
    """A view of a storage, which is a flat tensor here; torch would silently enlarge it for a view beyond it."""
    require(type(flat) is torch.Tensor and are_counts((offset,)), "a tensor without storage")
    require(are_counts(size) and are_counts(stride) and math.prod(size) < 2**40, "a tensor of no shape")
    require(type(grad) is bool and is_empty(hooks) and is_empty(metadata), "a tensor with hooks")
    steps = sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    end = offset + steps + 1 if all(size) else offset
    storage = flat.untyped_storage()
    require(end * flat.itemsize <= storage.nbytes(), "a tensor that reaches beyond its storage")
    return flat.new_empty(0).set_(storage, offset, size, stride).requires_grad_(grad)


def build_parameter(data: Any, grad: Any, hooks: Any) -> torch.Tensor:
    require(type(data) is torch.Tensor and type(grad) is bool and is_empty(hooks), "a parameter with hooks")
    return torch.nn.Parameter(data.detach(), requires_grad=grad)


def build_sparse_tensor(layout: Any, data: Any) -> torch.Tensor:
    require(layout is torch.sparse_coo or layout is torch.sparse_csr, "a tensor of an unknown layout")
    require(type(data) is tuple, "a sparse tensor")
    make: Any = torch.sparse_coo_tensor if layout is torch.sparse_coo else torch.sparse_csr_tensor
    *parts, size = (part for part in data if type(part) is not bool)  # which says whether indices repeat
    require(all(type(part) is torch.Tensor for part in parts) and are_counts(size), "a sparse tensor")
    return make(*parts, size, check_invariants=True)


def build_flat(raw: Any) -> torch.Tensor:
    """A tensor that plain pickle wrote holds a whole torch file in itself, which is read as warily as the outer one."""
    require(type(raw) is bytes, "a storage")
    flat = read(io.BytesIO(raw))
    require(type(flat) is torch.Tensor, "a storage that is none")
    return flat


FACTORIES = {f"builtins.{kind.__name__}": kind for kind in (list, dict, set, int, float, str)}


def build_defaultdict(factory: Any = None) -> collections.defaultdict:
    require(factory is None or is_one_of(factory, *FACTORIES), "a defaultdict")
    return collections.defaultdict(factory and FACTORIES[factory])


def build_bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Bytes as pickle's older protocols write them."""
    require(type(text) in (str, bytes) and is_one_of(encoding, "latin1", "latin-1"), "bytes")
    return text if type(text) is bytes else text.encode("latin1")


def build_bytearray(*args: Any) -> bytearray:
    return bytearray(build_bytes(*args))


def build_logger(name: Any = None) -> logging.Logger:
    # Every dot of a name makes a logger.
    require(name is None or (type(name) is str and len(name) < 200), "a logger")
    return logging.getLogger(name)


# What RecBole's loaders keep as attributes of themselves, or hand to torch's loader.
LOADER_METHODS = ("collate_fn", "_neg_sample_by_pair_wise_sampling", "_neg_sample_by_point_wise_sampling")


def build_attribute(owner: Any, name: Any) -> Any:
    """``getattr`` as pickle uses it: for an enum value, and for the methods of data loaders."""
    if type(owner) is Name:
        cls = ENUMS.get(owner.removeprefix(f"{enum_type.__name__}."))
        require(cls is not None and type(name) is str, f"a call of getattr on {owner}")
        return cls[name]  # type: ignore[index]
    require(isinstance(owner, AbstractDataLoader) and is_one_of(name, *LOADER_METHODS), "a call of getattr")
    return types.MethodType(getattr(type(owner), name), owner)


# --- Objects: filled when the whole file is read. -------------------------------------------------------------------


def fill_attributes(value: Any, state: Any) -> None:
    require(type(state) is dict, "an object without attributes")
    for key in state:
        require(type(key) is str and not key.startswith("__"), f"the attribute {key!r}")
    if type(value) is collections.OrderedDict:
        require(set(state) <= {"_metadata"}, "a dictionary with attributes")
    value.__dict__.update(state)


def split(value: Any, count: int, what: str = "a DataFrame") -> Any:
    require(type(value) in (tuple, list) and len(value) == count, what)
    return value


def index_from(cls: Any, state: Any) -> pd.Index:
    require(type(state) is dict, "a DataFrame without an index")
    name, data = state.get("name"), state.get("data")
    check_plain(name)
    if is_one_of(cls, RANGE_INDEX):
        bounds = [state.get(key) for key in ("start", "stop", "step")]
        require(all(type(bound) is int for bound in bounds), "a DataFrame's index")
        return pd.RangeIndex(bounds[0], bounds[1], bounds[2], name=name)
    known = is_one_of(cls, INDEX) and is_array(data, 1)
    require(known, f"a DataFrame with {kind_of(cls)} as its index")
    check_plain(data.tolist())
    return pd.Index(data, name=name)


def fill_frame(frame: pd.DataFrame, state: Any) -> None:
    require(type(state) is dict, "a DataFrame")
    blocks, axes = split(state.get("_mgr"), 2)
    labels, index = (index_from(*split(axis, 2)) for axis in split(axes, 2))
    require(type(blocks) is tuple, "a DataFrame")
    width = 0
    for block in blocks:
        values, places, _ = split(block, 3)
        fits = is_array(values, 2) and (type(places) is slice or is_array(places, 1))
        require(fits, "a DataFrame with columns of its own kind")
        width += len(values)
    # Of no rows there may be columns without end.
    require(width == len(labels) < 2**20, "a DataFrame whose columns do not fit")
    columns: dict[int, np.ndarray] = {}
    for values, places, _ in blocks:
        columns |= zip(np.arange(width)[places].tolist(), values, strict=True)
    require(len(columns) == width, "a DataFrame whose columns do not fit")
    # Only now, with checked parts, does pandas' own code run.
    frame.__init__(dict(sorted(columns.items())), index=index)  # type: ignore[misc]
    frame.columns = labels


def fill_sparse(matrix: Any, state: Any) -> None:
    """SciPy's compiled code trusts the indices of its matrices, so they are all checked."""
    require(type(state) is dict, "a sparse matrix")
    cls, shape, data = type(matrix), state.get("_shape"), state.get("data")
    require(are_counts(shape) and len(shape) == 2, "a sparse matrix of no shape")
    layout = cls.__name__[:3]
    if layout == "coo":
        indices = split(state.get("coords", (state.get("row"), state.get("col"))), 2, "a sparse matrix")
    else:
        indices = [state.get(name) for name in (["rows"] if layout == "lil" else ["indices", "indptr"])]
    require(all(is_array(array, 1) for array in (data, *indices)), "a sparse matrix without data")
    if layout == "lil":
        (rows,), dtype = indices, state.get("dtype")
        require(isinstance(dtype, np.dtype) and dtype.kind in "biufc", "a sparse matrix of no type")
        require(len(rows) == len(data) == shape[0], "a sparse matrix whose rows do not fit")
        for places, values in zip(rows, data, strict=True):
            fits = type(places) is type(values) is list and len(places) == len(values)
            require(fits and {*map(type, places)} <= {int}, "a sparse matrix whose rows do not fit")
            require({*map(type, values)} <= KEYS, "a sparse matrix of no numbers")
            require(not places or (min(places) >= 0 and max(places) < shape[1]), "a sparse matrix out of bounds")
        fresh = cls(shape, dtype=dtype)
        fresh.rows, fresh.data = rows, data
    else:
        numbers = data.dtype.kind in "biufc" and all(array.dtype.kind == "i" for array in indices)
        require(numbers, "a sparse matrix of no numbers")
        fresh = cls((data, tuple(indices)) if layout == "coo" else (data, *indices), shape=shape)
        if layout != "coo":
            fresh.check_format(full_check=True)
    matrix.__dict__ = fresh.__dict__


# --- The names that RecBole's files need. ---------------------------------------------------------------------------

DTYPES = {**torch.storage._storage_type_to_dtype_map(), "UntypedStorage": torch.uint8}
STORAGES = {f"{module}.{name}": DTYPES[name] for name in DTYPES for module in ("torch", "torch.cuda", "torch.storage")}
NUMPY = ("numpy.core", "numpy._core")
BUILDERS: dict[str, Callable] = {
    **{f"{core}.multiarray._reconstruct": build_array for core in NUMPY},
    **{f"{core}.multiarray.scalar": build_scalar for core in NUMPY},
    **{f"{core}.numeric._frombuffer": build_array_from_buffer for core in NUMPY},
    **{f"{enum_type.__name__}.{name}": plain(cls) for name, cls in ENUMS.items()},
    **{f"builtins.{kind.__name__}": plain(kind) for kind in (set, frozenset, slice, range, complex)},
    "numpy.dtype": build_dtype,
    "torch._utils._rebuild_tensor_v2": build_tensor,
    "torch._utils._rebuild_parameter": build_parameter,
    "torch._utils._rebuild_sparse_tensor": build_sparse_tensor,
    "torch.serialization._get_layout": plain(torch.serialization._get_layout),
    "torch.storage._load_from_bytes": build_flat,
    "torch.Size": plain(torch.Size),
    "torch.device": plain(torch.device),
    "collections.OrderedDict": plain(collections.OrderedDict),
    "collections.defaultdict": build_defaultdict,
    "collections.Counter": plain(collections.Counter),
    "builtins.bytearray": build_bytearray,
    "builtins.getattr": build_attribute,
    "builtins.bytes": build_bytes,
    "_codecs.encode": build_bytes,
    "logging.getLogger": build_logger,
    "pandas.core.internals.managers.BlockManager": build_parts,
    "pandas._libs.internals._unpickle_block": build_parts,
    "pandas.core.indexes.base._new_Index": build_parts,
}
# Names that are only ever arguments of a builder.
INDEX, RANGE_INDEX = "pandas.core.indexes.base.Index", "pandas.core.indexes.range.RangeIndex"
MENTIONED = {*ARRAYS, *FACTORIES, *STORAGES, INDEX, RANGE_INDEX}
SPARSE = {f"{layout}_{kind}" for layout in ("csr", "csc", "coo", "lil") for kind in ("matrix", "array")}
# Modules of which every class of their own is rebuilt from its attributes: data, samplers and loaders.
MODULES = re.compile(
    r"recbole\.data\.(dataset\.\w+|dataloader\.\w+|interaction|transform)|recbole\.sampler\.sampler"
    r"|torch\.utils\.data\.(sampler|distributed)|recbole_irllrec\.(data\.dataset|evaluation)"
    # Sequential models with features keep an embedding layer among their other parameters.
    r"|recbole\.model\.layers"
)
CLASSES: dict[str, type] = {
    "pandas.core.frame.DataFrame": pd.DataFrame,
    "torch.nn.modules.sparse.Embedding": torch.nn.Embedding,
    "torch.nn.modules.container.ModuleDict": torch.nn.ModuleDict,
    "torch.nn.modules.container.ModuleList": torch.nn.ModuleList,
    "torch.nn.modules.linear.Linear": torch.nn.Linear,
}
# What is not simply its attributes. `safe_loading` adds RecBole's `Config` here, above and below.
FILLERS: dict[type, Callable] = {
    pd.DataFrame: fill_frame,
    **{getattr(scipy.sparse, name): fill_sparse for name in SPARSE},
}
# Attributes whose names may be unknown ones, as the filler has others in their place.
REPLACED: dict[type, tuple[str, ...]] = {}


def class_of(path: str) -> type | None:
    """The class of that name if it is one that may be rebuilt from its attributes."""
    module, _, name = path.rpartition(".")
    if module.startswith("scipy.sparse.") and name in SPARSE:
        return getattr(scipy.sparse, name)
    if not MODULES.fullmatch(module):
        return CLASSES.get(path)
    try:
        found: Any = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return None
    own = isinstance(found, type) and found.__module__ == module
    return found if own and not issubclass(found, (dict, list, tuple, type, BaseException)) else None


# --- The machine. ---------------------------------------------------------------------------------------------------

ANY_NAME = ""
ARRAY_NAMES = r"numpy\.|scipy\.sparse\.|_codecs\.encode$"  # pickle's older protocols write bytes as a call of the last
LEGACY_NAMES = r"(?!torch\._utils\._rebuild_sparse_tensor$)"  # whose indices cannot be checked before they are read

# As `Any`, because the type stubs do not describe the inside of this class.
_Unpickler: Any = pickle._Unpickler


class Reader(_Unpickler):
    """An unpickler whose every opcode makes plain data only.

    Args:
        source: where the pickle is read from.
        storage: ``storage(key, size, location)`` for the storages of a torch file; plain pickles have none.
        names: the beginning of the names that are admitted, as a regular expression.
    """

    def __init__(self, source: Source, storage: Callable | None = None, names: str = ANY_NAME):
        super().__init__(source, encoding="utf-8")
        self.flats: dict[str, torch.Tensor] = {}
        self._storage, self._admitted = storage, re.compile(names)
        self._unknown: set[str] = set()
        # By their ids the new objects that the next BUILD may fill, once; objects of anyone else are never touched.
        self._unfilled: dict[int, Any] = {}
        self._states: list[tuple[Any, Any]] = []

    def load(self) -> Any:
        result = super().load()
        require(not self._unknown, f"the name {min(self._unknown, default='')}")
        require(not any(type(value) in FILLERS for value in self._unfilled.values()), "an object without its content")
        for value, state in self._states:
            FILLERS.get(type(value), fill_attributes)(value, state)
        return result

    # Names.

    def find_class(self, module: str, name: str) -> Any:
        if self.proto < 3:
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        path = Name(f"{module}.{name}")
        require(bool(self._admitted.match(path)), f"the name {path}")
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        if path not in BUILDERS and path not in MENTIONED and class_of(path) is None:
            self._unknown.add(path)
        return path

    def persistent_load(self, pid: Any) -> Any:
        known = self._storage is not None and type(pid) is tuple and len(pid) in (5, 6) and is_one_of(pid[0], "storage")
        require(known and (len(pid) == 5 or pid[5] is None), "a reference to something outside the file")
        kind, key, location, count = pid[1:5]
        require(is_one_of(kind, *STORAGES) and are_counts((count,)), "a storage of an unknown kind")
        require(type(key) is str and type(location) is str, "a storage without a name")
        dtype = STORAGES[kind]
        if key not in self.flats:
            storage = self._storage(key, count * dtype.itemsize, location)  # type: ignore[misc]
            self.flats[key] = torch.empty(0, dtype=dtype, device=storage.device).set_(storage)
        flat = self.flats[key]
        require(flat.untyped_storage().nbytes() == count * dtype.itemsize, "a storage of another size")
        return flat.view(dtype)  # one storage may be seen through several types

    # Calls: none of the file's functions or classes is called.

    def load_reduce(self) -> None:
        args = self.stack.pop()
        function = self.stack.pop()
        build = BUILDERS.get(function) if type(function) is Name else None
        if build is None or type(args) is not tuple:
            raise Refused(f"a call of {kind_of(function)}")
        value = build(*args)
        self.append(value)
        if isinstance(value, np.ndarray | collections.OrderedDict):
            self._unfilled[id(value)] = value

    def load_newobj(self) -> None:
        args = self.stack.pop()
        name = self.stack.pop()
        cls = class_of(name) if type(name) is Name else None
        if cls is None or not is_empty(args):
            raise Refused(f"an object of {kind_of(name)}")
        value: Any = object.__new__(cls)
        self.append(value)
        self._unfilled[id(value)] = value

    def load_build(self) -> None:
        state = self.stack.pop()
        value = self.stack[-1]
        if isinstance(value, np.dtype):
            check_dtype_state(state)
        elif self._unfilled.pop(id(value), None) is None:
            raise Refused(f"a change of a {kind_of(value)}")
        elif isinstance(value, np.ndarray):
            fill_array(value, state)
        else:
            self._states.append((value, state))
            for key in REPLACED.get(type(value), ()):
                if type(state) is dict and type(state.get(key)) is Name:
                    self._unknown.discard(state.pop(key))

    def load_other(self) -> None:
        raise Refused("an instruction that plain data does not need")

    load_inst = load_obj = load_newobj_ex = load_ext1 = load_ext2 = load_ext4 = load_other
    load_next_buffer = load_readonly_buffer = load_other

    # Containers: only Python's own are added to, and only plain values become keys.

    def _add(self, items: list) -> None:
        target: Any = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is set:
            check_plain(items)
            target.update(items)
        else:
            kinds = (dict, collections.OrderedDict, collections.defaultdict)
            require(type(target) in kinds, f"an addition to a {kind_of(target)}")
            check_plain(items[::2])
            target.update(zip(items[::2], items[1::2], strict=True))

    def load_append(self) -> None:
        item = self.stack.pop()
        self._add([item])

    def load_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._add([key, value])

    def load_items(self) -> None:
        items = self.pop_mark()
        self._add(items)

    load_appends = load_setitems = load_additems = load_items

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._add(items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()  # First, for it changes what `append` appends to.
        self.append(plain(frozenset)(items))

    def load_bytearray8(self) -> None:
        # Python's own makes room for the length that the file states before it looks whether the bytes are there.
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))


Reader.dispatch = {opcode: getattr(Reader, load.__name__) for opcode, load in _Unpickler.dispatch.items()}


# --- The file formats. ----------------------------------------------------------------------------------------------


def restorer(map_location: Any) -> Callable:
    """Put a storage where ``torch.load`` would; on the CPU if this machine lacks the device that it was saved from."""

    def restore(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
        if isinstance(map_location, str | torch.device):
            return torch.serialization.default_restore_location(storage, str(map_location))
        if callable(map_location) and (moved := map_location(storage, location)) is not None:
            return moved
        location = map_location.get(location, location) if isinstance(map_location, dict) else location
        try:
            return torch.serialization.default_restore_location(storage, location)
        except RuntimeError:
            return storage

    return restore


def read_zip(file: BinaryIO, restore: Callable) -> Any:
    """What ``torch.save`` writes: a zip archive of a pickle and one entry for each storage."""
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        stored = all(entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1 for entry in entries)
        require(stored and len(names) == len(entries), "compressed or repeated entries")
        require(sum(entry.file_size for entry in entries) <= size, "entries larger than itself")
        roots = [name.removesuffix("data.pkl") for name in names if re.fullmatch(r"[^/]*/data\.pkl", name)]
        if len(roots) != 1:
            raise Damaged("it is a zip archive, but not one that torch.save writes")
        root = roots[0]
        require(f"{root}constants.pkl" not in names, "a TorchScript program")
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in names else b"little"
        if order != sys.byteorder.encode():
            raise Damaged("its numbers are in another byte order than this machine's")

        def storage(key: str, _size: int, location: str) -> torch.UntypedStorage:
            raw = bytearray(archive.read(f"{root}data/{key}"))
            flat = torch.frombuffer(raw, dtype=torch.uint8).clone() if raw else torch.empty(0, dtype=torch.uint8)
            return restore(flat.untyped_storage(), location)

        return Reader(Source(io.BytesIO(archive.read(f"{root}data.pkl"))), storage).load()


def read_legacy(source: Source, restore: Callable) -> Any:
    """What ``torch.save`` wrote before its zip archives, and what a tensor still is within a plain pickle."""
    for number in (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION):
        if not is_one_of(Reader(source).load(), number):
            raise Damaged("it is not a file that torch.save wrote")
    Reader(source).load()  # The machine that wrote it.

    def storage(_key: str, size: int, location: str) -> torch.UntypedStorage:
        # The bytes follow later, so there are at least as many in the file.
        promised = size + sum(flat.nbytes for flat in reader.flats.values())
        require(promised <= source.left, "a storage larger than itself")
        return restore(torch.UntypedStorage(size), location)

    reader = Reader(source, storage, LEGACY_NAMES)
    result = reader.load()
    keys = Reader(source).load()
    require(type(keys) is list and all(type(key) is str for key in keys), "storages without names")
    require(sorted(keys) == sorted(reader.flats), "other storages than it names")
    for key in keys:
        flat = reader.flats[key]
        require(struct.unpack("<q", source.read(8)) == (flat.numel(),), "a storage of another size")
        if flat.numel():
            flat.copy_(torch.frombuffer(bytearray(source.read(flat.nbytes)), dtype=flat.dtype))
    return result


def read(file: BinaryIO, map_location: Any = None) -> Any:
    """Read what ``torch.save`` wrote."""
    start = file.read(4)
    file.seek(-len(start), io.SEEK_CUR)
    restore = restorer(map_location)
    return read_zip(file, restore) if start == b"PK\x03\x04" else read_legacy(Source(file), restore)


def read_pickle(file: BinaryIO, names: str = ANY_NAME) -> Any:
    """Read what ``pickle.dump`` wrote."""
    return Reader(Source(file), names=names).load()
