"""RecBole's ways to start a run, with our models; takes their places when ``recbole.quick_start`` is imported.

A spawned child and a Ray worker import the module of the function they are given, and that alone: these live here, so
that such a process knows IRLLRec.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import popularity

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

_originals: dict[str, Callable] = {}  # RecBole's own, by their names


def _recboles(name: str) -> Callable:
    import recbole.quick_start  # noqa: F401  (a process may begin here)

    return _originals[name]


def run_recbole(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    queue: "SimpleQueue[dict[str, Any]] | None" = None,
) -> dict[str, Any]:
    """RecBole's ``run_recbole``, whose log and result also say what popularity reaches on the same test."""
    is_first = (config_dict or {}).get("local_rank", 0) == 0
    run = functools.partial(_recboles("run_recbole"), model, dataset, config_file_list, config_dict, saved)
    result = popularity.beside(run, speaks=is_first)
    if is_first and queue is not None:
        queue.put(result)
    return result


def run_recboles(rank: int, *args: Any) -> None:
    """RecBole's ``run_recboles``, the target of its multi-process start."""
    return _recboles("run_recboles")(rank, *args)


def objective_function(
    config_dict: dict[str, Any] | None = None, config_file_list: list[str] | None = None, saved: bool = True
) -> dict[str, Any]:
    """RecBole's ``objective_function``, for hyper-parameter search."""
    return _recboles("objective_function")(config_dict, config_file_list, saved)


def take_their_places(package: Any) -> None:
    """Put these in place of RecBole's."""
    quick_start = package.quick_start
    quick_start.get_trainer = popularity.trainers(quick_start.get_trainer)
    for ours in (run_recbole, run_recboles, objective_function):
        _originals[ours.__name__] = getattr(quick_start, ours.__name__)
        for module in (package, quick_start):
            setattr(module, ours.__name__, ours)
