"""Makes RecBole know IRLLRec. The one module that touches RecBole's look-up places.

RecBole 1.2.1 has no plug-in mechanism: it looks models, datasets and trainers up by name in its own modules, and
settings in its own folder. Each function here fills one of these places; nothing of RecBole is copied.
"""

import functools
import sys

import recbole.config
import recbole.data.dataset
import recbole.data.utils
import recbole.model.general_recommender
import recbole.quick_start
import recbole.quick_start.quick_start
import recbole.trainer
from recbole.utils.argument_list import dataset_arguments

from . import compat, evaluation, popularity, settings
from .data.dataset import IRLLRecDataset
from .model import irllrec
from .trainer import IRLLRecTrainer

MODELS = {"IRLLRec": irllrec}


def register() -> None:
    """Register IRLLRec with RecBole. Called once, on ``import recbole_irllrec``."""
    compat.apply()
    for name, module in MODELS.items():
        # `get_model` imports recbole.model.general_recommender.<name in lower case>
        sys.modules[f"recbole.model.general_recommender.{name.lower()}"] = module
        setattr(recbole.model.general_recommender, name, getattr(module, name))
    recbole.data.dataset.IRLLRecDataset = IRLLRecDataset
    recbole.trainer.IRLLRecTrainer = IRLLRecTrainer
    recbole.data.utils.FullSortEvalDataLoader = evaluation.FullRanking
    quick_start = recbole.quick_start.quick_start
    quick_start.get_trainer = popularity.trainers(quick_start.get_trainer)
    # what a saved data set or data loader is compared by before it is taken for that of a run
    dataset_arguments.extend(evaluation.SETTINGS)
    _extend_config()
    _bring_the_import_along()


def _extend_config() -> None:
    """Give our models their default settings, below the user's own, and check what results."""
    config_class = recbole.config.Config
    load_internal, initialise = config_class._load_internal_config_dict, config_class.__init__

    def _load_internal_config_dict(self, model, model_class, dataset):
        load_internal(self, model, model_class, dataset)
        if model in MODELS:
            below_the_users = settings.defaults(model, dataset, self.external_config_dict, self.yaml_loader)
            self.internal_config_dict.update(below_the_users)

    def __init__(self, model=None, dataset=None, config_file_list=None, config_dict=None):
        self.config_file_list = config_file_list  # a refusal names the file
        initialise(self, model, dataset, config_file_list, config_dict)
        evaluation.check(self)
        if self.model in MODELS:
            settings.read_settings(self)

    config_class._load_internal_config_dict = _load_internal_config_dict
    config_class.__init__ = __init__


# A spawned child and a Ray worker import the module of the function they are given, and that alone: these live here, so
# that such a process knows IRLLRec.
_run_recbole = recbole.quick_start.run_recbole
_run_recboles = recbole.quick_start.quick_start.run_recboles
_objective_function = recbole.quick_start.objective_function


def run_recbole(model=None, dataset=None, config_file_list=None, config_dict=None, saved=True, queue=None):
    """RecBole's ``run_recbole``, whose log and result also say what popularity reaches on the same test."""
    is_first = (config_dict or {}).get("local_rank", 0) == 0
    run = functools.partial(_run_recbole, model, dataset, config_file_list, config_dict, saved)
    result = popularity.beside(run, speaks=is_first)
    if is_first and queue is not None:
        queue.put(result)
    return result


def run_recboles(rank, *args):
    """RecBole's ``run_recboles``, the target of its multi-process start."""
    return _run_recboles(rank, *args)


def objective_function(config_dict=None, config_file_list=None, saved=True):
    """RecBole's ``objective_function``, for hyper-parameter search."""
    return _objective_function(config_dict, config_file_list, saved)


def _bring_the_import_along() -> None:
    recbole.quick_start.quick_start.run_recboles = run_recboles
    for module in (recbole.quick_start, recbole.quick_start.quick_start):
        module.run_recbole = run_recbole
        module.objective_function = objective_function
