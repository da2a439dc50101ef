"""What a sweep is to do, and whether it can."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from recbole.config import Config

from ..data.training import TrainingTokens
from ..errors import IRLLRecError
from ..objective import Objective
from ..runs.fingerprints import default_tables, text_sources
from ..runs.pool import Resources
from ..runs.space import Space, check_space, text_variants
from ..runs.splits import Splits, config_of
from ..runs.training import eval_step, most_epochs
from .search import PROPOSERS
from .trial import Task

# How often a trial begins again whose process or node was lost; an error in training ends it at once.
RETRIES = 2


@dataclass(frozen=True)
class Plan:
    """What a sweep is to do."""

    model: str
    space: Space
    n_trials: int
    metric: str = "NDCG@10"
    search: str = "random"  # of PROPOSERS
    scheduler: str = "asha"  # or "none"
    grace_epochs: int | None = None  # before ASHA may stop a trial; None for a tenth of all, at least 5
    seed: int = 0  # of the search
    n_seeds: int = 1  # with how many seeds of the model the best settings are run, the trial's own included
    cpus: float = 1  # for a trial
    gpus: float = 0
    max_concurrent: int | None = None
    time_budget: float | None = None  # seconds

    @property
    def resources(self) -> Resources:
        """Of a run."""
        return Resources(self.cpus, self.gpus, self.max_concurrent, RETRIES)


@dataclass(frozen=True)
class Checked:
    """A plan that fits its data."""

    plan: Plan
    splits: Splits  # with the texts that trials read
    task: Task
    epochs: int  # of a trial at most
    about: dict[str, Any]  # what makes this sweep another than others, as JSON has it


def check_plan(plan: Plan, splits: Splits) -> Checked:
    """Refuse what cannot work, and resolve the texts.

    Raises:
        IRLLRecError: a setting, the space, the metric or a text is refused.
    """
    for name, value, known in (
        ("search", plan.search, PROPOSERS),
        ("scheduler", plan.scheduler, ("asha", "none")),
    ):
        if value not in known:
            raise IRLLRecError(f"There is no {name} called {value!r}: give {' or '.join(known)}.")
    fixed = {**plan.space.fixed, "valid_metric": plan.metric}
    config_of(plan.model, splits, {"valid_metric": plan.metric})  # refuses the metric, whatever the space is
    check_space(plan.space, plan.model, partial(config_of, plan.model, splits))
    config = config_of(plan.model, splits, fixed)
    eval_step(config)  # refuses a run without a validation
    PROPOSERS[plan.search](plan.space, plan.seed, 0)
    variants = [config_of(plan.model, splits, variant) for variant in text_variants(plan.space)]
    splits = splits.with_texts(variants)
    task = Task(plan.model, fixed, Objective(plan.metric), plan.resources.threads)
    return Checked(plan, splits, task, most_epochs(config), _about(plan, splits, variants))


def _about(plan: Plan, splits: Splits, variants: list[Config]) -> dict[str, Any]:
    about = {
        "model": plan.model,
        "dataset": splits.dataset,
        "interactions": [TrainingTokens(part).fingerprint for part in (splits.train, splits.valid)],
        "texts": [text_sources(variant, splits) for variant in variants],
        "default_tables": default_tables(variants, splits),
        "settings": splits.settings,
        "space": plan.space.as_plain(),
        "metric": plan.metric,
        "search": plan.search,
        "scheduler": plan.scheduler,
        "grace_epochs": plan.grace_epochs,
        "seed": plan.seed,
    }
    return json.loads(json.dumps(about, default=str))
