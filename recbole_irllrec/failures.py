"""Why a run, or a part of other work on Ray, has failed, in a line."""

import re

import ray
import torch

from .errors import IRLLRecError


def reason_of(error: BaseException) -> str:
    """What an exception says that was raised in a run."""
    said = " ".join(str(error).split())
    if isinstance(error, IRLLRecError):
        return said
    # torch has no exception of its own for the CPU's memory
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "DefaultCPUAllocator" in said:
        return f"out of memory{': ' if said else ''}{said}"
    return f"{type(error).__name__}: {said}"


def reason_of_ray(error: ray.exceptions.RayError, n_times: int) -> str:
    """What Ray says of a task that was begun so many times: what was raised, or what became of its process."""
    if isinstance(error, ray.exceptions.RayTaskError):
        return reason_of(error.cause)
    return reason_of_loss(str(error), n_times)


def reason_of_loss(said: str, n_times: int) -> str:
    """Why a process was lost, from Ray's many words."""
    words = " ".join(said.split())
    detail = re.findall(r"Worker exit detail: (.*?)\.? (?:There are|Failure|$)", words + " ")
    if "low on memory" in words or "OutOfMemory" in words:
        why = "Ray ended it because the node ran low on memory"
    elif detail:
        why = f"it died, perhaps for lack of memory ({detail[-1].strip()})"
    else:
        why = words[-300:] or "it died"
    times = "" if n_times == 1 else f" {n_times} times"
    return f"its process was lost{times}: {why}"
