"""What RecBole 1.2.1 needs on current versions of numpy, SciPy and Ray."""

import functools
import types
from typing import Any

import numpy as np
import scipy.sparse

# The names that RecBole uses, which numpy has dropped one after another.
_ALIASES = {
    "bool": np.bool_,
    "int": np.int_,
    "float": np.float64,
    "complex": np.complex128,
    "object": np.object_,
    "str": np.str_,
    "long": np.int_,
    "unicode": np.str_,
}


def restore_numpy_aliases(configurator: Any) -> None:
    """RecBole uses ``np.float`` and the like, which a ``Config`` restores, from names that numpy 2 lacks.

    A model that is loaded in a fresh process makes no ``Config``. Can go when RecBole no longer uses the aliases.
    """

    def restore(_config: object = None) -> None:
        for name, kind in _ALIASES.items():
            if name not in vars(np):
                setattr(np, name, kind)

    configurator.Config.compatibility_settings = restore
    restore()


def restore_dok_update(_recommenders: object) -> None:
    """LightGCN, NGCF, GCMC, SpectralCF, NCL, KGIN and MCCLK fill their graph through ``dok_matrix._update``.

    SciPy has dropped it. Can go when RecBole builds its graphs otherwise.
    """
    if not hasattr(scipy.sparse.dok_matrix, "_update"):
        scipy.sparse.dok_matrix._update = lambda matrix, entries: matrix._dict.update(entries)


def measure_in_plain_numbers(evaluators: Any) -> None:
    """RecBole's metrics are numpy's numbers, which numpy 2 prints as ``np.float64(0.24)``.

    Can go when RecBole makes them plain.
    """
    evaluator = evaluators.Evaluator
    original = evaluator.evaluate

    @functools.wraps(original)
    def evaluate(self: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        found = original(self, *args, **kwargs)
        return type(found)((name, float(value)) for name, value in found.items())

    evaluator.evaluate = evaluate


def report_to_ray(quick_start: Any) -> None:
    """RecBole's ``objective_function`` gives its metrics to ``tune.report`` one by one; Ray wants them together.

    Only the name ``tune`` in that one module changes. Can go when RecBole knows Ray 2.7.
    """
    from ray import tune

    quick_start.quick_start.tune = types.SimpleNamespace(report=lambda **metrics: tune.report(metrics))
