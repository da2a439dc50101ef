"""A run in a process of Ray's, or anywhere: its record, whatever happens to it."""

import os
import platform
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from .. import __version__
from ..failures import reason_of
from .splits import Settings, Splits
from .training import Evaluation, Tested, best_of, test, train

Record = dict[str, Any]


class Job(NamedTuple):
    """A run to be made."""

    model: str
    settings: Settings  # all that it is given, above the splits' own
    tests: bool = False  # whether it looks at the test set, once it has been trained
    checkpoint: bytes | None = None  # of a run that has been trained: it is tested alone


class Done(NamedTuple):
    """What has become of a run."""

    record: Record
    users: pd.DataFrame | None = None  # the test metrics by user
    items: pd.DataFrame | None = None  # how often the test found each item


def work(job: Job, splits: Splits, threads: int, on_evaluation: Callable[[Evaluation], None] | None = None) -> Done:
    """Make a run in a folder that goes with it; as of `attempt`."""
    with tempfile.TemporaryDirectory(prefix="irllrec-") as own:
        return attempt(job, splits, threads, Path(own), on_evaluation)


def attempt(
    job: Job,
    splits: Splits,
    threads: int,
    folder: Path,
    on_evaluation: Callable[[Evaluation], None] | None = None,
    resume: bool = False,
) -> Done:
    """Train, and test where that is wanted; an exception is the run's end, and stands in its record.

    Args:
        job: the run.
        splits: what it is trained on.
        threads: of this process.
        folder, on_evaluation, resume: as of `training.train`.

    Returns:
        The record: ``error``, None if all went well, and its ``traceback``; of a run that was trained ``parameters``,
        ``seconds``, those of the processor, which other work changes little, and what `validated` says; of one that
        was tested what `tested` says.
    """
    import torch._dynamo  # else an optimizer does, in the time of training

    torch.set_num_threads(threads)
    record: Record = {"error": None}
    begun = time.process_time()
    with threadpool_limits(threads):
        try:
            if job.checkpoint is not None:
                checkpoint = folder / "best.pth"
                checkpoint.write_bytes(job.checkpoint)
                found = test(job.model, splits, job.settings, checkpoint)
                return Done(record | tested(found, threads), found.per_user, found.per_item)
            run = train(job.model, splits, job.settings, folder, on_evaluation=on_evaluation, resume=resume)
            record |= {"processor_seconds": time.process_time() - begun, "parameters": run.n_parameters}
            record |= {"seconds": run.seconds, "linear_weight": run.linear_weight, **validated(run.history)}
            if not job.tests:
                return Done(record)
            found = run.test()
            return Done(record | tested(found, threads), found.per_user, found.per_item)
        except Exception as error:  # whatever it is, the other runs go on
            return Done({"error": reason_of(error), "traceback": traceback.format_exc()})


def validated(history: list[Evaluation]) -> Record:
    """What validation saw, epochs counted from 1."""
    best = best_of(history)
    return {
        "valid": best.metrics,
        "best_epoch": best.epoch + 1,
        "epochs": history[-1].epoch + 1,
        "seconds_to_best": best.seconds,
        "history": [{**evaluation._asdict(), "epoch": evaluation.epoch + 1} for evaluation in history],
    }


def tested(found: Tested, threads: int) -> Record:
    """What the test found, and where."""
    about = {"machine": _machine(), "threads": threads, "versions": _versions()}
    return {"test": found.metrics, "inference_seconds": found.seconds, **about}


def memory() -> dict[str, int]:
    """The largest memory of this process so far, in bytes; on a GPU, that of its tensors."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.cuda.is_available():
        found["peak_gpu_memory"] = torch.cuda.max_memory_allocated()
    return found


def _machine() -> str:
    """The processor, its cores, the memory, the GPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([processor, f"{os.cpu_count()} cores", f"{memory:.0f} GiB", *gpu])


def _versions() -> str:
    packages = [f"{name} {metadata.version(name)}" for name in ("recbole", "torch", "numpy")]
    return ", ".join([f"recbole-irllrec {__version__}", *packages, f"Python {platform.python_version()}"])
