"""RecBole's modules are mended, and learn of our models, the moment each of them is imported.

RecBole takes seconds to import, and most of what a command does first needs none of it. So ``import recbole_irllrec``
imports nothing of RecBole, and yet whoever imports RecBole, before or after, finds our models there. What is done to a
module imports none that stands above it: neither half-imported modules of ours nor threads are in its way.
"""

import functools
import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

# RecBole's modules, in the order in which they stand upon each other, and our functions that are called with them.
_AFTER = {
    "recbole.utils.argument_list": ["registration:extend_arguments"],
    "recbole.utils.utils": ["compat.models:answer_for_models", "compat.files:read_checkpoints_safely"],
    "recbole.evaluator.collector": ["compat.metrics:collect_numbers"],
    "recbole.evaluator.evaluator": ["compat.versions:measure_in_plain_numbers"],
    "recbole.config.configurator": ["compat.versions:restore_numpy_aliases", "registration:extend_config"],
    "recbole.config": ["own_models:load_with"],
    "recbole.data.dataset": [
        "compat.time_order:sort_by_exact_times",
        "compat.loading:read_every_id",
        "compat.loading:answer_for_data_sets",
        "registration:extend_datasets",
    ],
    "recbole.data.utils": ["compat.files:read_saved_data_safely", "compat.time_order:drop_saved_data_of_other_order"],
    "recbole.data": ["registration:rank_in_full"],
    "recbole.trainer.trainer": ["tracking:take_the_loggers_place"],
    "recbole.trainer": ["compat.loading:answer_for_checkpoints", "registration:extend_trainers"],
    "recbole.model.abstract_recommender": ["compat.versions:restore_dok_update"],
    "recbole.model.general_recommender.pop": ["compat.baselines:count_interactions"],
    "recbole.model.sequential_recommender.sine": ["compat.models:look_for_no_anomalies"],
    "recbole.quick_start": [
        "compat.versions:report_to_ray",
        "compat.loading:answer_for_loading",
        "starts:take_their_places",
    ],
}


class _Finder:
    """Finds these modules of RecBole's as the other finders do, and has our functions called after them."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _AFTER:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                from .requirements import explained  # whose own imports take a tenth of a second

                with explained():
                    execute(module)
                    _call_after(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # this loader is of this module alone
        return spec


def _call_after(module: ModuleType) -> None:
    for place in _AFTER[module.__name__]:
        ours, _, function = place.partition(":")
        getattr(importlib.import_module(f"{__package__}.{ours}"), function)(module)


@functools.cache
def install() -> None:
    """Have them called from now on, and at once after what is imported already. A second call does nothing."""
    sys.meta_path.insert(0, _Finder())
    for name in _AFTER:
        if name in sys.modules:
            _call_after(importlib.import_module(name))
