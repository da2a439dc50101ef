"""Trackers of experiments: Weights & Biases, by RecBole's own logger, and MLflow.

`Trackers` stands where RecBole's trainers have their logger, so that a training of any model is told to MLflow too, and
each loss term by its name. `MlflowRun` and `WandbRun` are runs of these trackers, also for what is told afterwards
(`runs.tracking`). Where runs go is said by the trackers' own environment variables.
"""

import functools
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from .errors import IRLLRecError

TRACKERS = ("wandb", "mlflow")
ASKING = tuple(f"log_{name}" for name in TRACKERS)  # the settings by which a training is told to them
SETTINGS = (*ASKING, "wandb_project")  # which leave a run as it is
PROJECT = "recbole"  # of Weights & Biases, as RecBole's setting wandb_project has it
_HEADS = ("train", "valid")  # of what is measured again and again
_SECRET = re.compile(r"api_?key|(access|auth|hub)token|(^|_)(key|token)$|secret|passw|credential", re.IGNORECASE)
_LONGEST = 500  # MLflow's servers differ in how much of a parameter they take
_MOST = 100  # parameters or metrics that MLflow takes at once

_log = logging.getLogger(__name__)


def refuse_missing(names: Iterable[str], asked: str = "log_{}") -> None:
    """Refuse trackers whose packages are not installed.

    Args:
        names: of `TRACKERS`.
        asked: how the user asks for one.

    Raises:
        IRLLRecError: says which, and what to install.
    """
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # such as the folder wandb/ that Weights & Biases leaves behind
            raise IRLLRecError(f'{asked.format(name)} needs the package {name}: pip install "recbole-irllrec[{name}]".')


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as parameters of a run: numbers, texts and None; without what may be secret."""
    return {
        name: value if value is None or isinstance(value, bool | int | float | str) else str(value)
        for name, value in sorted(settings.items())
        if not is_secret(name)
    }


def is_secret(setting: str) -> bool:
    """Whether a setting's name says that nobody but the user may know its value."""
    return _SECRET.search(setting) is not None


def losses_by_name(model: Any, losses: Any) -> dict[str, float]:
    """A trainer's loss of an epoch, a number or a tuple of terms, by the terms' names where the model has some."""
    values = losses if isinstance(losses, tuple) else (losses,)
    numbered = [f"loss_{n}" for n in range(1, len(values) + 1)] if len(values) > 1 else ["loss"]
    names = getattr(model, "loss_names", numbered)
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def headed(head: str, values: Mapping[str, float]) -> dict[str, float]:
    """Values below a heading, as RecBole's logger has it."""
    return {f"{head}/{name}": value for name, value in values.items()}


def of_losses(terms: Mapping[str, float]) -> dict[str, float]:
    """What is told of an epoch's loss: its sum and, where there are several, each term."""
    return {"train_loss": sum(terms.values()), **(headed("loss", terms) if len(terms) > 1 else {})}


# ---- runs ------------------------------------------------------------------------------------------------------------


class Run(Protocol):
    """A run of a tracker."""

    id: str

    def log(self, measured: Mapping[int, Mapping[str, float]]) -> None:
        """What was measured, by epochs from 0."""

    def note(self, facts: Mapping[str, Any]) -> None:
        """What is known of it beside the parameters, and may change."""

    def keep(self, files: Iterable[Path]) -> None:
        """Files, as an artifact called report."""

    def end(self, status: str = "FINISHED") -> None:
        """That it has ended: FINISHED, FAILED or KILLED, as MLflow calls it."""


class MlflowRun:
    """A run of MLflow, by its id: other runs in this process, the user's active one among them, stay as they are.

    Args:
        name: of the run.
        params: its parameters, once and for all.
        parent: the id of the run that it is below; without it, the one that is active here, if one is.
        id: of a run that is gone on with.
    """

    def __init__(self, name: str, params: Mapping[str, Any], parent: str | None = None, id: str | None = None):
        import mlflow
        from mlflow.entities import Param

        self._client = mlflow.MlflowClient()
        if id is not None:
            self.id = id
            return
        if parent is None and (active := mlflow.active_run()):
            parent = active.info.run_id
        experiment = self._client.get_run(parent).info.experiment_id if parent else _experiment(self._client)
        tags = {"mlflow.parentRunId": parent} if parent else {}
        self.id = self._client.create_run(experiment, tags=tags, run_name=name).info.run_id
        told = [Param(_as_mlflow_takes(name), str(value)[:_LONGEST]) for name, value in params.items()]
        for some in _batches(told):
            self._client.log_batch(self.id, params=some)

    @classmethod
    def place(cls) -> str:
        """Where runs go."""
        import mlflow

        return f"{mlflow.get_tracking_uri()} {_experiment(mlflow.MlflowClient())}"

    @classmethod
    def is_there(cls, id: str) -> bool:
        """Whether nobody has deleted that run."""
        import mlflow

        try:
            return mlflow.MlflowClient().get_run(id).info.lifecycle_stage == "active"
        except mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def log(self, measured: Mapping[int, Mapping[str, float]]) -> None:
        """See `Run`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        told = [
            Metric(_as_mlflow_takes(name), float(value), now, step)
            for step, values in measured.items()
            for name, value in values.items()
        ]
        for some in _batches(told):
            self._client.log_batch(self.id, metrics=some)

    def note(self, facts: Mapping[str, Any]) -> None:
        """See `Run`."""
        for name, value in facts.items():
            self._client.set_tag(self.id, name, str(value))

    def keep(self, files: Iterable[Path]) -> None:
        """See `Run`."""
        for file in files:
            self._client.log_artifact(self.id, str(file), "report")

    def end(self, status: str = "FINISHED") -> None:
        """See `Run`."""
        self._client.set_terminated(self.id, status)


def _batches(told: list) -> Iterator[list]:
    return (told[start : start + _MOST] for start in range(0, len(told), _MOST))


def _experiment(client: Any) -> str:
    """The id of the experiment that the environment names, where MLflow's set_experiment leaves it as well."""
    if (name := os.environ.get("MLFLOW_EXPERIMENT_NAME")) is not None:
        found = client.get_experiment_by_name(name)
        return found.experiment_id if found else client.create_experiment(name)
    return client.get_experiment(os.environ.get("MLFLOW_EXPERIMENT_ID", "0")).experiment_id


def _as_mlflow_takes(name: str) -> str:
    """A metric's or parameter's name: ndcg@10 is ndcg_at_10."""
    return re.sub(r"[^\w\-. /]", "_", name.replace("@", "_at_"), flags=re.ASCII)


class WandbRun:
    """A run of Weights & Biases; arguments are those of `MlflowRun`, and a run below another is in its group."""

    def __init__(self, name: str, params: Mapping[str, Any], parent: str | None = None, id: str | None = None):
        import wandb

        self._run = wandb.init(
            project=_project(),
            name=name,
            config=dict(params),
            group=parent,
            job_type="run" if parent else "report",
            id=id,
            resume="allow" if id else None,
            settings=wandb.Settings(silent=parent is not None, console="off"),
        )
        self.id = self._run.id
        for head in _HEADS:
            self._run.define_metric(f"{head}/*", step_metric=f"{head}_step")  # as RecBole's logger has it

    @classmethod
    def place(cls) -> str:
        """Where runs go."""
        said = (os.environ.get(f"WANDB_{name}", "") for name in ("BASE_URL", "ENTITY", "MODE"))
        return " ".join(["wandb", _project(), *said])

    @classmethod
    def is_there(cls, id: str) -> bool:
        """Taken for granted: nobody can be asked while runs are kept offline."""
        return True

    def log(self, measured: Mapping[int, Mapping[str, float]]) -> None:
        """See `Run`."""
        for step, values in measured.items():
            heads = {name.partition("/")[0] for name in values} & set(_HEADS)
            if heads:
                self._run.log({**values, "epoch": step, **{f"{head}_step": step for head in heads}})
            else:
                self._run.summary.update(dict(values))

    def note(self, facts: Mapping[str, Any]) -> None:
        """See `Run`."""
        self._run.config.update(dict(facts), allow_val_change=True)

    def keep(self, files: Iterable[Path]) -> None:
        """See `Run`."""
        import wandb

        artifact = wandb.Artifact(f"report-{self.id}", type="report")
        for file in files:
            artifact.add_file(str(file), name=file.name)
        self._run.log_artifact(artifact)

    def end(self, status: str = "FINISHED") -> None:
        """See `Run`."""
        self._run.finish(exit_code=0 if status == "FINISHED" else 1)


def _project() -> str:
    return os.environ.get("WANDB_PROJECT") or PROJECT


RUNS: dict[str, type[MlflowRun] | type[WandbRun]] = {"wandb": WandbRun, "mlflow": MlflowRun}


@contextmanager
def refused_by(tracker: str, what_to_do: str) -> Iterator[None]:
    """Within, what a tracker cannot do is an `IRLLRecError`, which ends with what to do."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith((tracker, "requests", "sqlalchemy")):
            raise
        told = re.sub(r"//[^/@\s]+@", "//", " ".join(str(error).split()))  # an address without its password
        reason = told[:300].rstrip(".")
        raise IRLLRecError(f"{tracker} could not be told ({reason}): {what_to_do}") from error


# ---- while RecBole's trainers train ----------------------------------------------------------------------------------


class _Settings(dict):
    """Settings that RecBole's logger takes for a Config, and Weights & Biases for what they are."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


class Trackers:
    """In the place of RecBole's ``WandbLogger``, which every trainer makes and tells.

    MLflow is told of trainings alone, Weights & Biases of all that RecBole tells it. Of several processes the first
    speaks.

    Raises:
        IRLLRecError: the package of a tracker that is asked for is not installed, or ``log_mlflow`` is neither True nor
            False.
    """

    recboles: Callable[[Any], Any]

    def __init__(self, config: Any):
        if config["log_mlflow"] not in (None, True, False):
            raise IRLLRecError(f"The setting log_mlflow is {config['log_mlflow']!r}: give True or False.")
        refuse_missing(name for name in TRACKERS if config[f"log_{name}"])
        first = _is_first()
        self._settings = plain(config.final_config_dict)
        self._name = f"{config['model']}-{config['dataset']}"
        self._wandb = self.recboles(_Settings(self._settings, log_wandb=bool(config["log_wandb"]) and first))
        self._asks_mlflow = bool(config["log_mlflow"]) and first
        self._mlflow: MlflowRun | None = None
        self._trains, self._model, self._epoch = False, None, 0

    def begin(self, model: Any) -> None:
        """The model is trained from now on.

        Raises:
            IRLLRecError: MLflow cannot be told.
        """
        self._trains, self._model = True, model
        if self._asks_mlflow and self._mlflow is None:
            with refused_by("mlflow", "MLFLOW_TRACKING_URI says where it is; or set log_mlflow to False."):
                self._mlflow = MlflowRun(self._name, self._settings)

    def end(self, status: str) -> None:
        """The training has ended, as of `Run.end`."""
        self._trains = False
        self._tell(lambda run: run.end(status))

    def log_metrics(self, metrics: Mapping[str, Any], head: str = "train", commit: bool = True) -> None:
        """As RecBole's; of a loss in several terms, the sum and each term."""
        told = {name: value for name, value in metrics.items() if name != "train_loss"}
        if "train_loss" in metrics:
            told |= of_losses(losses_by_name(self._model, metrics["train_loss"]))
        self._wandb.log_metrics(told, head, commit)
        self._epoch = told.pop("epoch", self._epoch)
        values = {name: value for name, value in told.items() if not name.endswith("_step")}
        self._tell(lambda run: run.log({self._epoch: headed(head, values)}))

    def log_eval_metrics(self, metrics: Mapping[str, float], head: str = "eval") -> None:
        """As RecBole's; MLflow hears nothing twice, and validation is told by `log_metrics`."""
        self._wandb.log_eval_metrics(metrics, head)
        if not self._trains:
            self._tell(lambda run: run.log({self._epoch: headed(head, metrics)}))

    def _tell(self, tell: Callable[[MlflowRun], None]) -> None:
        """Tell MLflow; a training outlives what becomes of its server."""
        if self._mlflow is None:
            return
        try:
            with refused_by("mlflow", "it is told nothing more of this run."):
                tell(self._mlflow)
        except IRLLRecError as error:
            _log.warning(str(error))
            self._mlflow, self._asks_mlflow = None, False


def _is_first() -> bool:
    import torch.distributed as processes

    return not (processes.is_available() and processes.is_initialized()) or processes.get_rank() == 0


def take_the_loggers_place(trainers: Any) -> None:
    """Have RecBole's trainers make `Trackers`, which learn when a training begins and how it ends."""
    Trackers.recboles, trainers.WandbLogger = trainers.WandbLogger, Trackers
    for trainer in vars(trainers).values():
        if isinstance(trainer, type) and trainer.__module__ == trainers.__name__ and "fit" in vars(trainer):
            trainer.fit = _watched(trainer.fit)  # type: ignore[attr-defined]


def _watched(fit: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fit)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        trackers = getattr(self, "wandblogger", None)
        if not isinstance(trackers, Trackers):
            return fit(self, *args, **kwargs)
        trackers.begin(self.model)
        status = "KILLED"  # by Ctrl-C and what is like it
        try:
            result = fit(self, *args, **kwargs)
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            trackers.end(status)
        return result

    return watched
