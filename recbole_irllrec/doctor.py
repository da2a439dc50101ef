"""Looks for what keeps a run from working: versions, devices, Ray, kept files, and a data set; says what to do."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from .data import dataset_folder
from .data.loading import split_datasets
from .data.text import KINDS, SIDES
from .errors import IRLLRecError
from .requirements import PACKAGE, advice, needs
from .settings.sources import read_settings
from .tables import atomic_file
from .tables.features import read_features
from .tables.intents import IntentTable

_RAY_SECONDS = 180
_LITTLE_SPACE = 2**30  # bytes
_ATOMIC = (".inter", ".user", ".item", ".kg", ".link", ".net")
_PARTS = ("train", "valid", "test")
_RAY_TASK = """
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
@ray.remote
def work():
    import recbole.quick_start, recbole_irllrec
    return recbole_irllrec.__version__
print("works with", ray.get(work.remote()))
"""


class Check(NamedTuple):
    """One thing that was looked at."""

    topic: str
    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""  # what to do, where the finding does not say it


# ---- the environment -------------------------------------------------------------------------------------------------


def versions() -> Iterator[Check]:
    """The packages against the ranges that this one declares."""
    try:
        python = metadata.metadata(PACKAGE)["Requires-Python"]
        wanted = list(needs())
    except metadata.PackageNotFoundError:
        yield Check("versions", PACKAGE, "fail", "is not installed", "pip install -c constraints.txt -e .")
        return
    # pip has refused another Python
    yield Check("versions", "python", "ok", f"{sys.version.split()[0]} ({python})")
    for need in wanted:
        found = f"{need.installed or 'missing'} ({need.requirement.specifier})"
        status: Literal["ok", "fail"] = "ok" if need.met else "fail"
        yield Check("versions", need.requirement.name, status, found, "" if need.met else advice([need]))


def extras() -> Iterator[Check]:
    """What can be installed in addition."""
    try:
        names = metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # `versions` says so
        return
    for extra in names:
        if extra == "dev":  # for who changes this package
            continue
        lacking = [need for need in needs(extra) if not need.met]
        found = f"lacks {', '.join(need.requirement.name for need in lacking)}" if lacking else "installed"
        how = f'pip install "{PACKAGE}[{extra}]", if you want it' if lacking else ""
        yield Check("extras", extra, "ok", found, how)


def devices() -> Iterator[Check]:
    """The processor and the GPUs."""
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = f"{threads} of {cores} threads, {_size(memory)} of memory"
    if threads > cores:
        yield Check("devices", "CPU", "warn", found, f"more threads than processors are slow: OMP_NUM_THREADS={cores}")
    else:
        yield Check("devices", "CPU", "ok", found)
    if torch.version.cuda is None:
        yield Check("devices", "CUDA", "ok", f"torch {torch.__version__} is built without it: runs use the CPU")
    elif not torch.cuda.is_available():
        found = f"torch {torch.__version__} is built with CUDA {torch.version.cuda} and finds no GPU: runs use the CPU"
        yield Check("devices", "CUDA", "warn", found, "if there is one, see nvidia-smi and CUDA_VISIBLE_DEVICES")
    for index in range(torch.cuda.device_count()):
        name = f"cuda:{index}"
        found = torch.cuda.get_device_name(index)
        try:
            torch.ones(2, device=name).sum().item()
        except RuntimeError as error:
            how = "update the driver, or install a torch for this GPU"
            yield Check("devices", name, "fail", f"{found}: {_first_line(error)}", how)
        else:
            total = torch.cuda.get_device_properties(index).total_memory
            yield Check("devices", name, "ok", f"{found}, {_size(total)}")


def ray() -> Iterator[Check]:
    """Whether a local cluster starts and runs a task that imports this package; takes some seconds."""
    yield from _ray_address()
    # In a process of its own: whatever happens in there, it ends here.
    with subprocess.Popen(
        [sys.executable, "-c", _RAY_TASK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            said, complained = child.communicate(timeout=_RAY_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            how = "see session_latest/logs in Ray's folder; tuning and benchmarks need Ray, training does not"
            yield Check("ray", "local cluster", "fail", f"no answer in {_RAY_SECONDS} s", how)
            return
    if child.returncode == 0:
        yield Check("ray", "local cluster", "ok", "starts and runs a task")
        return
    reason = (complained or said).strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
    how = "put the versions above right; tuning and benchmarks need Ray, training does not"
    yield Check("ray", "local cluster", "fail", reason[0], how)


def _ray_address() -> Iterator[Check]:
    """A cluster that Ray would join, or one that is gone and that it would wait for."""
    file = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray", "ray_current_cluster")
    for name, address, how in (
        ("RAY_ADDRESS", os.environ.get("RAY_ADDRESS"), "unset RAY_ADDRESS"),
        ("address file", file.read_text().strip() if file.is_file() else None, f"ray stop, or rm {file}"),
    ):
        if not address or address in ("local", "auto"):
            continue
        host, _, port = address.rpartition("://")[2].rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
        except (OSError, ValueError, OverflowError):
            found = f'{address}, where no cluster answers: ray.init() without address="local" fails'
            yield Check("ray", name, "warn", found, how)
        else:
            yield Check("ray", name, "ok", f"{address}, a cluster that runs")


def kept_files(folder: Path) -> Iterator[Check]:
    """What runs leave behind: checkpoints, cached texts, and RecBole's saved data.

    Args:
        folder: RecBole's ``checkpoint_dir``; it need not be there.
    """
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(nearest).free
    if not os.access(nearest, os.W_OK):
        yield Check("files", str(folder), "fail", f"{nearest} is not writable", "run elsewhere, or chmod u+w it")
    elif free < _LITTLE_SPACE:
        yield Check("files", str(folder), "warn", f"{_size(free)} are free", "make room, or set checkpoint_dir")
    else:
        yield Check("files", str(folder), "ok", f"writable, {_size(free)} are free")
    for name, pattern in (("checkpoints", "*.pth"), ("cached texts", "text_cache/*.parquet")):
        if kept := list(folder.glob(pattern)):
            yield Check("files", name, "ok", f"{_count(kept)} in {folder / pattern}")
    if stale := [*folder.glob("*Dataset.pth"), *folder.glob("*-dataloader.pth")]:
        how = "delete them after the data set's files change, or if you did not mean to save data sets"
        found = f"{_count(stale)}, which RecBole reads in place of the data set's own"
        yield Check("files", "saved data sets", "warn", found, how)
    if broken := [*folder.glob(".*.tmp"), *folder.glob("text_cache/.*.tmp")]:
        how = f"if no run is going: rm {' '.join(map(str, broken))}"
        yield Check("files", "unfinished files", "warn", f"{_count(broken)}, of runs that were killed", how)


# ---- a data set ------------------------------------------------------------------------------------------------------


def dataset(config: Config) -> Iterator[Check]:
    """A data set's files, one by one and then as RecBole loads them; its splits; its texts."""
    folder, name = Path(config["data_path"]), config["dataset"]
    if not folder.is_dir():
        yield Check("data set", name, "fail", str(dataset_folder.absent(folder)))
        return
    checks = [*_interactions(config, folder, name), *_atomic_files(config, folder, name)]
    yield from checks
    yield from _tables(folder, name)
    if any(check.status == "fail" for check in checks):
        return
    try:
        parts = split_datasets(config)
    except IRLLRecError as error:
        yield Check("data set", "loading", "fail", str(error))
        return
    yield from _splits(config, parts)
    yield from _texts(config, folder, name, parts[0])


def _interactions(config: Config, folder: Path, name: str) -> Iterator[Check]:
    """Whether the files of interactions are there that the settings ask for."""
    try:
        wanted = dataset_folder.interaction_files(config, folder, name)
    except IRLLRecError as error:
        yield Check("data set", "split files", "fail", str(error))
        return
    for path in wanted:
        if not path.is_file():
            yield Check("data set", path.name, "fail", str(dataset_folder.missing_file(config, folder, name, path)))
    there = all((folder / f"{name}.{part}.inter").is_file() for part in _PARTS)
    if there and not config["benchmark_filename"] and wanted[0].is_file():
        how = f"set benchmark_filename: [{', '.join(_PARTS)}], unless you want a split of your own"
        yield Check("data set", "split files", "warn", "there is a fixed split, which the settings do not use", how)


def _atomic_files(config: Config, folder: Path, name: str) -> Iterator[Check]:
    """Each file that RecBole may read, as it reads it."""
    for path in sorted(folder.glob(f"{name}.*")):
        if path.suffix in _ATOMIC:
            try:
                columns = atomic_file.checked_columns(path, config["field_separator"], config["encoding"])
                dataset_folder.refuse_columns(config, path, path.suffix[1:], columns, columns)
            except IRLLRecError as error:
                yield Check("data set", path.name, "fail", str(error))
            else:
                yield Check("data set", path.name, "ok", _size(path.stat().st_size))


def _splits(config: Config, parts: Sequence[Dataset]) -> Iterator[Check]:
    """How many interactions each part has."""
    train = parts[0]
    sizes = ", ".join(f"{len(part)} {name}" for name, part in zip(_PARTS, parts, strict=True))
    found = f"{train.user_num - 1} users, {train.item_num - 1} items; interactions: {sizes}"
    empty = [name for name, part in zip(_PARTS, parts, strict=True) if len(part) == 0]
    if empty:
        how = "models are chosen by validation and reported on test: change eval_args or the split files"
        yield Check("data set", "split", "warn", found, how)
    else:
        yield Check("data set", "split", "ok", found)
    for side, field, n in (("users", train.uid_field, train.user_num), ("items", train.iid_field, train.item_num)):
        cold = n - 1 - len(np.unique(train.inter_feat[field]))
        if cold and side == "items" and config["item_boards"]:
            found = f"{cold} items have no training interaction: they have a board of their own (item_boards)"
            yield Check("data set", "cold items", "ok", found)
        elif cold:
            how = f"graph models know nothing of them; filter with {side[:-1]}_inter_num_interval, if they matter"
            yield Check("data set", f"cold {side}", "warn", f"{cold} {side} have no training interaction", how)


def _default_tables(folder: Path, name: str) -> list[Path]:
    paths = (folder / f"{name}.{side}_{kind}.parquet" for side in SIDES for kind in KINDS)
    return [path for path in paths if path.is_file()]


def _tables(folder: Path, name: str) -> Iterator[Check]:
    """The text tables under their default names, each for itself."""
    for path in _default_tables(folder, name):
        try:
            table = IntentTable.read(path)
        except IRLLRecError as error:
            yield Check("texts", path.name, "fail", str(error))
            continue
        made = table.metadata
        found = f"{int(table.present.sum())} embeddings of {made.dim} numbers from {made.encoder or 'unknown'}"
        yield Check("texts", path.name, "ok", found)


def _texts(config: Config, folder: Path, name: str, train: Dataset) -> Iterator[Check]:
    """What IRLLRec would use, and whether it fits the training interactions."""
    kinds = read_settings(config).text_kinds
    if not kinds:
        yield Check("texts", "in use", "ok", "none: all alignment weights are 0")
        return
    own = [config[f"{side}_{kind}_table"] for side in SIDES for kind in KINDS]
    try:
        has_table = any(own) or config["preload_weight"] or _default_tables(folder, name)
        if has_table or config["default_texts"] != "features":
            for kind, text in train.node_texts(config, kinds).items():
                yield Check("texts", f"{kind} in use", "ok", f"covers {text.present.mean():.1%} of users and items")
            return
        file = folder / f"{name}.item"
        words = read_features(file, config["ITEM_ID_FIELD"], config["field_separator"], config["encoding"])
    except IRLLRecError as error:
        yield Check("texts", "in use", "fail", str(error))
        return
    if (words != "").to_numpy().any():
        found = f"the embedded default, from {', '.join(words.columns)} in {file.name}"
        yield Check("texts", "in use", "ok", found)
    else:
        how = "give tables (irllrec intents), or set the alignment weights to 0"
        yield Check("texts", "in use", "fail", f"no table, and {file.name} says nothing in words", how)


# ---- words -----------------------------------------------------------------------------------------------------------


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _count(paths: list[Path]) -> str:
    size = sum(path.stat().st_size for path in paths)
    return f"{len(paths)} {'file' if len(paths) == 1 else 'files'}, {_size(size)}"


def _size(n_bytes: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if n_bytes < 1024:
            return f"{n_bytes:.4g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.4g} TB"
