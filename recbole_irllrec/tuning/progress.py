"""A sweep for people who watch it: one line a trial, with the best so far and the time left."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from .records import FAILED, FINISHED, RUNNING, STOPPED, Trial, best_trial
from .trial import Task


class Progress:
    """Says a line at the end of each trial; the bar, on standard error, is for terminals alone."""

    def __init__(self, metric: str, task: Task, trials: dict[int, Trial], n_trials: int, say: Callable[[str], None]):
        self._metric, self._task, self._trials, self._say = metric, task, trials, say
        self._before = sum(trial.status != RUNNING for trial in trials.values())
        self._ended, self._total = self._before, max(n_trials, self._before)
        self._running: set[int] = set()
        self._begun = time.monotonic()
        self._bar = tqdm(
            total=self._total, initial=self._ended, unit="trial", desc="trials", disable=not sys.stderr.isatty()
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_error) -> None:
        self._bar.close()

    def going_on(self, trial: Trial) -> None:
        """A trial has begun, or gone a step further."""
        self._running.add(trial.number)
        self._bar.set_postfix_str(f"{len(self._running)} running, {self._best()}")

    def ended(self, trial: Trial) -> None:
        """A trial is over."""
        self._running.discard(trial.number)
        if trial.status != RUNNING:
            self._ended += 1
            self._bar.update()
        head = f"{self._ended}/{self._total}, {self._best()}, {self._left()} left"
        self._say(f"[{head}] {self._line(trial)}")

    def _line(self, trial: Trial) -> str:
        best = trial.best
        parts = [f"{self._value(best)} at epoch {best.epoch} of {trial.history[-1].epoch}"] if best else []
        parts += [f"{trial.history[-1].seconds:.0f} s"] if best else []
        parts.append(
            {
                FINISHED: "finished",
                STOPPED: "stopped by ASHA",
                FAILED: f"failed: {trial.reason}",
                RUNNING: "out of time (--resume goes on)",
            }[trial.status]
        )
        drawn = ", ".join(f"{name} {_short(value)}" for name, value in trial.settings.items())
        return f"trial {trial.number}: {', '.join(parts)} ({drawn})"

    def _best(self) -> str:
        best = best_trial(self._trials.values(), self._task.score)
        return f"best {self._metric} {self._value(best.best)} (trial {best.number})" if best else "no best yet"

    def _value(self, evaluation) -> str:
        return f"{evaluation.metrics[self._task.metric]:.4f}"

    def _left(self) -> str:
        done = self._ended - self._before
        if not done:
            return "?"
        return tqdm.format_interval((time.monotonic() - self._begun) / done * (self._total - self._ended))


def _short(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
