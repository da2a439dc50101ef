"""Which settings are tried next: by chance, or by Optuna, from what the trials so far have found."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from ray.tune.search import Searcher

from ..errors import IRLLRecError
from ..runs.space import RandomDrawer, Space
from .records import Trial

if TYPE_CHECKING:
    from optuna import Trial as OptunaTrial


class Proposer(Protocol):
    """Thinks of settings."""

    def ask(self, number: int) -> Trial:
        """A new trial; ``number`` counts from 1."""

    def tell(self, trial: Trial, score: float) -> None:
        """What came of it: the higher the better; NaN if it failed."""


class Random:
    """Trials by chance; each depends on the seed and its number alone."""

    def __init__(self, space: Space, seed: int, n_known: int = 0):
        self._space, self._seed = space, seed

    def ask(self, number: int) -> Trial:
        """See `Proposer`."""
        return Trial(number, self._space.draw(RandomDrawer(self._seed, number), number - 1))

    def tell(self, trial: Trial, score: float) -> None:
        """Chance learns nothing."""


class Optuna:
    """Optuna's tree-structured Parzen estimator.

    Args:
        space: what is drawn.
        seed: of the sweep.
        n_known: trials of earlier processes. They are told, not drawn: a sampler with their seed would repeat them.

    Raises:
        IRLLRecError: Optuna is not installed, or the space has a grid.
    """

    def __init__(self, space: Space, seed: int, n_known: int = 0):
        try:
            import optuna
        except ImportError:
            raise IRLLRecError(
                'The search by optuna needs the package optuna: pip install "recbole-irllrec[optuna]".'
            ) from None
        if space.grid != [{}]:
            raise IRLLRecError(f"{space.origin} has a grid, which optuna does not go through: use choice in its place.")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._failed = optuna.trial.TrialState.FAIL
        own_seed = int(np.random.SeedSequence([seed, n_known]).generate_state(1)[0]) if n_known else seed
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=own_seed))
        self._asked: dict[int, Any] = {}

    def ask(self, number: int) -> Trial:
        """See `Proposer`."""
        self._asked[number] = trial = self._study.ask()
        settings = self._space.draw(_OptunaDrawer(trial), number - 1)
        return Trial(number, settings, dict(trial.params))

    def tell(self, trial: Trial, score: float) -> None:
        """See `Proposer`; trials of an earlier process, which this one has not asked for, are told too."""
        if trial.number not in self._asked:
            self._study.enqueue_trial(trial.params)
            self.ask(trial.number)
        asked = self._asked.pop(trial.number)
        if math.isnan(score):
            self._study.tell(asked, state=self._failed)
        else:
            self._study.tell(asked, score)


class _OptunaDrawer:
    def __init__(self, trial: "OptunaTrial"):
        self._trial = trial

    def index(self, name: str, n: int) -> int:
        return self._trial.suggest_categorical(name, range(n))

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        return self._trial.suggest_float(name, low, high, log=log)

    def integer(self, name: str, low: int, high: int) -> int:
        return self._trial.suggest_int(name, low, high)


PROPOSERS: dict[str, Callable[[Space, int, int], Proposer]] = {"random": Random, "optuna": Optuna}


class Queue(Searcher):
    """Gives Ray Tune its trials: those left unfinished, then new ones."""

    def __init__(self, unfinished: list[Trial], numbers: list[int], proposer: Proposer):
        super().__init__(metric=None, mode=None)
        self._unfinished, self._numbers, self._proposer = list(unfinished), list(numbers), proposer

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next trial."""
        if self._unfinished:
            trial = self._unfinished.pop(0)
        elif self._numbers:
            trial = self._proposer.ask(self._numbers.pop(0))
        else:
            return Searcher.FINISHED
        return {"number": trial.number, "settings": trial.settings, "params": trial.params}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """The callback tells the proposer: it knows which trials have failed."""

    def save(self, checkpoint_path: str) -> None:
        """What there is to keep is in the sweep's folder; Ray Tune wants a file."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""
