"""A study: rows of a benchmark that together answer a question, and how the answer is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from .. import zoo
from ..benchmark import report, tables
from ..benchmark.conductor import Data, conduct, settings_of
from ..benchmark.plan import Options, Variant, rows
from ..benchmark.results import Results, some
from ..errors import IRLLRecError
from ..evaluation import is_of_users
from ..files import atomic_write
from ..runs.folder import write_table
from ..runs.splits import Settings
from ..settings.sources import read_settings


@dataclass(frozen=True)
class Asked:
    """What is asked of a study."""

    data: Data
    options: Options  # but for the rows
    models: Sequence[Variant]
    folder: Path  # of results, which gets the study's files beside the benchmark's own
    shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4)  # of noise
    encoders: Sequence[str] = ("tfidf-svd",)  # of texts, those of sentence-transformers as sentence-transformers:MODEL
    fields: Sequence[str] | None = None  # of the items, several with + between them; None for each

    @cached_property
    def _given(self) -> Settings:
        return settings_of(self.data)[1]

    @property
    def model(self) -> Variant:
        """The model of a study of one.

        Raises:
            IRLLRecError: there are several.
        """
        if len(self.models) != 1:
            names = ", ".join(model.name for model in self.models)
            raise IRLLRecError(f"This study is of one model, and --models names {names}: name one of them.")
        return self.models[0]

    def refuse_repeated(self) -> None:
        """Refuse models of which one is named twice.

        Raises:
            IRLLRecError: that is so, or there is none.
        """
        names = [model.name for model in self.models]
        if len(set(names)) < len(names) or not names:
            raise IRLLRecError(f"The models are {', '.join(names) or 'none'}: name at least one, and each once.")

    def settings(self, model: Variant) -> Any:
        """What a model of ours adds to RecBole's settings, as it would run; None of one of RecBole's.

        Raises:
            IRLLRecError: there is no such model or data set, or a setting is refused.
        """
        (row,) = rows(replace(self.options, models=(), variants=[model]), self._given)
        config = self.data.config(row.settings({}), row.model)
        return read_settings(config) if zoo.find(row.model) else None

    def settings_with_text(self, model: Variant) -> Any:
        """The same of a model that reads texts.

        Raises:
            IRLLRecError: it reads none; or as `settings`.
        """
        settings = self.settings(model)
        if settings is None or not settings.text_kinds:
            raise IRLLRecError(
                f"{model.name} reads no texts with these settings, and this study is of texts: take a model that does, "
                f"such as IRLLRec, or settings with a weight above 0."
            )
        return settings


@dataclass(frozen=True)
class Told:
    """What a study has found."""

    paragraph: str
    tables: list[tables.Table]
    figures: dict[str, Figure]  # by their titles
    numbers: pd.DataFrame


@dataclass(frozen=True)
class Study:
    """A question, as rows of a benchmark."""

    name: str  # of its files, too
    question: str
    rows: list[Variant]
    tell: Callable[[Results], Told]
    notes: list[str] = field(default_factory=list)  # what a reader has to know: what was left out, what was changed


def carry_out(study: Study, asked: Asked, **how: Any) -> tuple[Told, list[Path]]:
    """Make the runs of a study that the folder lacks, and tell what they say.

    Args:
        study: the study.
        asked: what was asked.
        how: further arguments of `benchmark.conductor.conduct`.

    Returns:
        What was found, and the study's files.

    Raises:
        IRLLRecError: see `conduct`; or users have no metric of the kind that validation chooses by, or a row without
            which nothing can be told has failed.
    """
    options = replace(asked.options, models=(), variants=study.rows, reference=study.rows[0].name)
    metric = rows(options, asked._given)[0].common["valid_metric"]
    if not is_of_users(metric):
        raise IRLLRecError(
            f"Users have no {metric} of their own, by which a study compares: take another one (--metric)."
        )
    results, _ = conduct(options, asked.data, asked.folder, afresh=False, **how)
    results = some(results, [row.name for row in study.rows])
    refuse_failed(results, study.rows[0].name)
    told = study.tell(results)
    return told, _write(study, told, results, asked.folder)


def refuse_failed(results: Results, row: str) -> None:
    """Refuse to tell anything without a row.

    Raises:
        IRLLRecError: it has no run that ended well.
    """
    if row not in results.models:
        reasons = results.failures.loc[results.failures["model"] == row, "error"]
        raise IRLLRecError(
            f"The row {row}, with which the others are compared, has failed ({reasons.iloc[0]}): put that right, and "
            f"give the same command again, which makes what is missing."
        )


def _write(study: Study, told: Told, results: Results, folder: Path) -> list[Path]:
    title = f"{study.question} ({results.plan['dataset']})"
    paragraphs = [told.paragraph, *study.notes]
    markdown = [f"# {title}", *paragraphs]
    for table in told.tables:
        markdown += [f"## {table.title}", tables.markdown(table).rstrip()]
    texts = {
        "html": report.page(title, results, [*paragraphs, *told.tables], told.figures),
        "md": "\n\n".join(markdown) + "\n",
        "tex": "\n".join(map(tables.latex, told.tables)),
    }
    files = {suffix: folder / f"{study.name}.{suffix}" for suffix in (*texts, "csv")}
    for suffix, text in texts.items():
        with atomic_write(files[suffix]) as file:
            file.write(text.encode())
    write_table(told.numbers, files["csv"])
    return list(files.values())
