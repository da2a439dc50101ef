"""What RecBole 1.2.1 needs on current versions of torch, numpy, SciPy and Ray, and what it gets wrong.

:func:`apply` is called on ``import recbole_irllrec``. Each mend is a function that says why it is here and until when.
"""

import functools

import recbole.quick_start  # whatever imports get_model is there before it is replaced
import recbole.trainer  # noqa: F401

from . import baselines, files, loading, metrics, models, time_order, versions
from .models import find_model, get_model, model_names

__all__ = ["apply", "find_model", "get_model", "model_names"]


@functools.cache
def apply() -> None:
    """Mend RecBole in this process. A second call does nothing."""
    versions.restore_numpy_aliases()
    versions.restore_dok_update()
    versions.measure_in_plain_numbers()
    versions.report_to_ray()
    files.read_checkpoints_safely()
    files.read_saved_data_safely()
    models.answer_for_models()
    time_order.sort_by_exact_times()
    time_order.drop_saved_data_of_other_order()
    loading.read_every_id()
    loading.answer_for_data_sets()
    loading.answer_for_checkpoints()
    baselines.count_interactions()
    metrics.collect_numbers()
