"""Makes RecBole know our models. With `starts`, the one module that touches RecBole's look-up places.

RecBole 1.2.1 has no plug-in mechanism: it looks models, datasets and trainers up by name in its own modules, and
settings in its own folder. Each function here fills one of these places; nothing of RecBole is copied. Its
``get_model`` is `compat.get_model`, which asks the `zoo` first.

Each is called when RecBole's module has been imported (`hooks`), and takes it. What of ours stands on more of RecBole
is imported when RecBole calls for it.
"""

from typing import TYPE_CHECKING, Any

from . import zoo
from .settings.schemas import LOADER_SETTINGS

if TYPE_CHECKING:
    from recbole.config import Config

    from .evaluation import FullRanking


def extend_arguments(argument_list: Any) -> None:
    """By what a saved data set or loader is compared before it is taken for that of a run; compat adds to a copy."""
    argument_list.dataset_arguments.extend(LOADER_SETTINGS)


def extend_datasets(datasets: Any) -> None:
    """RecBole takes ``<Model>Dataset`` where its module has it."""

    def dataset(name: str) -> type:
        if name.endswith("Dataset") and zoo.find(name.removesuffix("Dataset")):
            from .data.dataset import IRLLRecDataset

            return IRLLRecDataset
        raise AttributeError(f"module {datasets.__name__!r} has no attribute {name!r}")

    datasets.__getattr__ = dataset


def extend_trainers(trainers: Any) -> None:
    """RecBole takes ``<Model>Trainer`` where its module has it."""

    def trainer(name: str) -> type:
        model = zoo.find(name.removesuffix("Trainer")) if name.endswith("Trainer") else None
        if model and model.own_trainer:
            from .trainer import IRLLRecTrainer

            return IRLLRecTrainer
        if model and model.recboles and (recboles := vars(trainers).get(f"{model.recboles}Trainer")):
            return recboles
        raise AttributeError(f"module {trainers.__name__!r} has no attribute {name!r}")

    trainers.__getattr__ = trainer


def rank_in_full(data: Any) -> None:
    """RecBole's class of this place is only ever called."""

    def full_ranking(*args: Any, **kwargs: Any) -> "FullRanking":
        from .evaluation import FullRanking

        return FullRanking(*args, **kwargs)

    data.utils.FullSortEvalDataLoader = full_ranking


def extend_config(configurator: Any) -> None:
    """Give our models their default settings, below the user's own, and check what results."""
    config_class = configurator.Config
    load_internal, initialise = config_class._load_internal_config_dict, config_class.__init__

    def _load_internal_config_dict(self: "Config", model: str, model_class: type, dataset: str) -> None:
        ours = zoo.find(model)
        load_internal(self, ours.recboles if ours and ours.recboles else model, model_class, dataset)
        if ours:
            from .settings import sources

            below_the_users = sources.defaults(model, dataset, self.external_config_dict, self.yaml_loader)
            self.internal_config_dict.update(below_the_users)

    def __init__(
        self: "Config",
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: list[str] | None = None,
        config_dict: dict[str, Any] | None = None,
    ) -> None:
        from . import evaluation
        from .settings import sources

        self.config_file_list = config_file_list  # a refusal names the file
        initialise(self, model, dataset, config_file_list, config_dict)
        evaluation.refuse_unmeasurable(self)
        if zoo.find(self.model):
            sources.read_settings(self)

    config_class._load_internal_config_dict = _load_internal_config_dict
    config_class.__init__ = __init__
