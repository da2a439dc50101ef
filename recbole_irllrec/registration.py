"""Makes RecBole know our models. The one module that touches RecBole's look-up places.

RecBole 1.2.1 has no plug-in mechanism: it looks models, datasets and trainers up by name in its own modules, and
settings in its own folder. Each function here fills one of these places; nothing of RecBole is copied. Its
``get_model`` is `compat.get_model`, which asks the `zoo` first.
"""

import functools

import recbole.config
import recbole.data.dataset
import recbole.data.utils
import recbole.quick_start
import recbole.quick_start.quick_start
import recbole.trainer
from recbole.utils.argument_list import dataset_arguments

from . import compat, evaluation, popularity, zoo
from .data.dataset import IRLLRecDataset
from .settings import sources
from .trainer import IRLLRecTrainer


def install() -> None:
    """Make RecBole know our models. Called once, on ``import recbole_irllrec``."""
    # what a saved data set or data loader is compared by before it is taken for that of a run; compat adds to a copy
    dataset_arguments.extend(evaluation.SETTINGS)
    compat.apply()
    _extend_modules()
    recbole.data.utils.FullSortEvalDataLoader = evaluation.FullRanking
    quick_start = recbole.quick_start.quick_start
    quick_start.get_trainer = popularity.trainers(quick_start.get_trainer)
    _extend_config()
    _bring_the_import_along()


def _extend_modules() -> None:
    """RecBole takes ``<Model>Dataset`` and ``<Model>Trainer`` where its modules have them."""

    def dataset(name: str) -> type:
        if name.endswith("Dataset") and zoo.find(name.removesuffix("Dataset")):
            return IRLLRecDataset
        raise AttributeError(f"module {recbole.data.dataset.__name__!r} has no attribute {name!r}")

    def trainer(name: str) -> type:
        model = zoo.find(name.removesuffix("Trainer")) if name.endswith("Trainer") else None
        if model and model.own_trainer:
            return IRLLRecTrainer
        if model and model.recboles and (recboles := vars(recbole.trainer).get(f"{model.recboles}Trainer")):
            return recboles
        raise AttributeError(f"module {recbole.trainer.__name__!r} has no attribute {name!r}")

    vars(recbole.data.dataset)["__getattr__"] = dataset
    vars(recbole.trainer)["__getattr__"] = trainer


def _extend_config() -> None:
    """Give our models their default settings, below the user's own, and check what results."""
    config_class = recbole.config.Config
    load_internal, initialise = config_class._load_internal_config_dict, config_class.__init__

    def _load_internal_config_dict(self, model, model_class, dataset):
        ours = zoo.find(model)
        load_internal(self, ours.recboles if ours and ours.recboles else model, model_class, dataset)
        if ours:
            below_the_users = sources.defaults(model, dataset, self.external_config_dict, self.yaml_loader)
            self.internal_config_dict.update(below_the_users)

    def __init__(self, model=None, dataset=None, config_file_list=None, config_dict=None):
        self.config_file_list = config_file_list  # a refusal names the file
        initialise(self, model, dataset, config_file_list, config_dict)
        evaluation.check(self)
        if zoo.find(self.model):
            sources.read_settings(self)

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
