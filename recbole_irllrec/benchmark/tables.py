"""The tables of a benchmark, and their forms: Markdown, LaTeX (booktabs), HTML."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import boards, html_page
from ..objective import Objective
from .results import Results
from .statistics import by_interactions, over_seeds, ranks

COSTS = {
    "parameters": ("parameters trained by gradients", 1, "{:,.0f}"),
    "seconds": ("training, s", 1, "{:.1f}"),
    "processor_seconds": ("of it on processors, s", 1, "{:.1f}"),
    "seconds_to_best": ("to best epoch, s", 1, "{:.1f}"),
    "inference_seconds": ("inference, s", 1, "{:.2f}"),
    "peak_memory": ("peak memory, MiB", 2**20, "{:,.0f}"),
    "peak_gpu_memory": ("peak GPU memory, MiB", 2**20, "{:,.0f}"),
}


class Cell(NamedTuple):
    """What stands in a table."""

    text: str
    rank: int | None = None  # 1 for the best of its column, 2 for the second
    rest: str = ""  # what follows the text and is not emphasised


@dataclass(frozen=True)
class Table:
    """A table: columns of numbers but for the first ``n_left``."""

    title: str
    head: list[str]
    rows: list[list[Cell]]
    n_left: int = 1


# ---- what the tables hold --------------------------------------------------------------------------------------------


OVERALL = ""  # beside the boards: all items


def boards_of(results: Results) -> list[str]:
    """What the test is measured on: all items, and the boards if the runs have them, but for empty ones."""
    sizes = results.plan.get("boards", {})  # older folders have none
    return [OVERALL, *(name for name, size in sizes.items() if size["interactions"] and metric_names(results, name))]


def metric_names(results: Results, board: str = OVERALL) -> dict[str, str]:
    """The test metrics' names, such as ``ndcg@10`` or ``cold_ndcg@10``, and how tables write them."""
    names = [f"{metric}@{k}" for metric in results.plan["metrics"] for k in results.plan["topk"]]
    names += [metric for metric in results.plan["metrics"]]  # those without a cutoff, such as GAUC
    found = {name.lower(): name for name in names if name.lower() in results.runs}
    return boards.named(board, found) if board else found


def per_user_metrics(results: Results) -> list[str]:
    """Those of the test metrics that users have, on boards, too."""
    return [name for board in boards_of(results) for name in metric_names(results, board) if name in results.users]


def model_names(results: Results) -> dict[str, str]:
    """How tables name the models: with the number of seeds, where others have more."""
    counts = results.runs["model"].value_counts()
    most = counts.max()
    as_it_is = results.without_chance | {model for model, n in counts.items() if n == most}
    return {
        model: model if model in as_it_is or model not in counts else f"{model} ({counts[model]} of {most} seeds)"
        for model in results.plan["models"]
    }


def on(board: str) -> str:
    """What a title adds for a board."""
    return f" on {boards.titled(board)}" if board else ""


def summary(results: Results, board: str = OVERALL) -> Table:
    """The test metrics: mean ± standard deviation over the seeds."""
    names = metric_names(results, board)
    means, deviations = over_seeds(results.runs, list(names))
    written = {}
    for name in names:
        best = ranks(means[name].round(4), Objective(name).smaller_is_better)
        columns = zip(means[name], deviations[name], best, strict=True)
        cells = [_cell(mean, deviation, "{:.4f}", rank) for mean, deviation, rank in columns]
        written[name] = dict(zip(means.index, cells, strict=True))
    if board:
        unknown = means.index[means.isna().all(axis=1)]
        written[next(iter(names))] |= dict.fromkeys(unknown, Cell(boards.CANNOT))
    return _by_model(f"Test metrics{on(board)}, mean ± standard deviation over the seeds", results, names, written)


def costs(results: Results) -> Table:
    """What the models cost: parameters, times, memory."""
    names = {name: title for name, (title, _, _) in COSTS.items() if name in results.runs}
    means, deviations = over_seeds(results.runs, list(names))
    written = {}
    for name in names:
        _, unit, form = COSTS[name]
        columns = zip(
            means[name] / unit, deviations[name] / unit if "seconds" in name else [np.nan] * len(means), strict=True
        )
        written[name] = dict(zip(means.index, [_cell(*one, form) for one in columns], strict=True))
    return _by_model("Costs of a run, mean over the seeds", results, names, written)


def tests(results: Results, compared: pd.DataFrame, board: str = OVERALL) -> Table:
    """The reference against each of the other models, as `statistics.paired_tests` has found."""
    names = metric_names(results, board)
    rows = []
    for row in compared[compared["metric"].isin(names)].to_dict("records"):
        p = [row[name] for name in ("t", "t_holm", "wilcoxon", "wilcoxon_holm")]
        users = f"{row['better']:,} / {row['worse']:,}"
        cells = [row["model"], names[row["metric"]], f"{row['difference']:+.4f}", users, *map(p_value, p)]
        rows.append([Cell(text) for text in cells])
    head = ["model", "metric", "difference", "users better / worse", "p, t", "Holm", "p, Wilcoxon", "Holm"]
    return Table(f"{results.reference} against each{on(board)}, paired by user", head, rows, n_left=2)


def p_value(p: float) -> str:
    """A p value as people print it."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def by_group(results: Results) -> Table | None:
    """The metric of `grouped_metric` for groups of users; None where users have none of their own."""
    if (metric := grouped_metric(results)) is None:
        return None
    found = by_interactions(results.users, results.interactions, metric)
    sizes = found.groupby("group", sort=False)["users"].first()
    written: dict[str, dict[str, Cell]] = {}
    for group, rows in found.groupby("group", sort=False):
        best = ranks(rows["mean"].round(4), Objective(metric).smaller_is_better)
        columns = zip(rows["mean"], rows["std"], best, strict=True)
        cells = [_cell(mean, deviation, "{:.4f}", rank) for mean, deviation, rank in columns]
        written[str(group)] = dict(zip(rows["model"], cells, strict=True))
    heads = {str(group): f"{group} ({size:,} users)" for group, size in sizes.items()}
    title = f"{metric_names(results)[metric]} by the user's number of training interactions"
    return _by_model(f"{title}, mean ± standard deviation over the seeds", results, heads, written)


def grouped_metric(results: Results) -> str | None:
    """The metric by which groups of users are compared: a recall; None where users have none of their own."""
    return next((name for name in per_user_metrics(results) if name.startswith("recall@")), None)


def chosen(results: Results) -> Table:
    """The settings that validation chose for each model."""
    rows = []
    for model, row in results.plan["models"].items():
        settings = ", ".join(f"{name}: {value}" for name, value in (row["chosen"] or {}).items())
        told = "-" if row["run"] is None else settings or "as they are"
        rows.append([Cell(model), Cell(str(len(row["trials"]))), Cell(told)])
    return Table("Settings chosen on validation", ["model", "tried", "settings"], rows, n_left=3)


def flat(results: Results) -> pd.DataFrame:
    """Metrics and costs as numbers: a row a model, a column each for mean and standard deviation."""
    metrics = [name for board in boards_of(results) for name in metric_names(results, board)]
    names = [name for name in (*metrics, *COSTS) if name in results.runs]
    means, deviations = over_seeds(results.runs, names)
    columns = {"seeds": results.runs["model"].value_counts().loc[means.index]}
    for name in names:
        columns |= {name: means[name], f"{name} std": deviations[name]}
    return pd.DataFrame(columns).rename_axis("model").reset_index()


def _cell(mean: float, deviation: float, form: str, rank: float | None = None) -> Cell:
    if np.isnan(mean):
        return Cell("-")
    return Cell(
        form.format(mean),
        None if rank is None else int(rank),
        "" if np.isnan(deviation) else f" ± {form.format(deviation)}",
    )


def _by_model(title: str, results: Results, heads: dict[str, str], written: dict[str, dict[str, Cell]]) -> Table:
    names = model_names(results)
    rows = [
        [Cell(names[model]), *(written[column].get(model, Cell("failed")) for column in heads)]
        for model in names
        if model in results.models or model in set(results.failures["model"])
    ]
    return Table(title, ["model", *heads.values()], rows)


# ---- their forms -----------------------------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """The table for a Markdown page; the best bold, the second underlined."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    def plain(text: str) -> str:
        return text.replace("|", "\\|").replace("<", "&lt;")

    aligned = ["---" if n < table.n_left else "---:" for n in range(len(table.head))]
    rows = [[_formed(cell, plain, "**{}**", "<u>{}</u>") for cell in row] for row in table.rows]
    return "\n".join(map(line, [list(map(plain, table.head)), aligned, *rows])) + "\n"


def latex(table: Table) -> str:
    """The table for a LaTeX document with the package booktabs."""

    def line(cells: Sequence[str]) -> str:
        row = f"{' & '.join(cells)} \\\\"
        return "{}" + row if row.startswith(("[", "*")) else row  # which the line before would take for an argument

    columns = "l" * table.n_left + "r" * (len(table.head) - table.n_left)
    rows = [[_formed(cell, _latex_text, "\\textbf{{{}}}", "\\underline{{{}}}") for cell in row] for row in table.rows]
    return "\n".join(
        [
            f"% {table.title}",
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            line([_latex_text(name) for name in table.head]),
            "\\midrule",
            *map(line, rows),
            "\\bottomrule",
            "\\end{tabular}\n",
        ]
    )


def as_html(table: Table) -> str:
    """The table for a page."""
    head = [html.escape(name) for name in table.head]
    rows = [[_formed(cell, html.escape, "<b>{}</b>", "<u>{}</u>") for cell in row] for row in table.rows]
    return html_page.table(head, rows, [n < table.n_left for n in range(len(head))])


def _formed(cell: Cell, escape: Callable[[str], str], best: str, second: str) -> str:
    form = {1: best, 2: second}.get(cell.rank or 0, "{}")
    return form.format(escape(cell.text)) + escape(cell.rest)


_GREEK = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"  # pdfLaTeX knows none of them; the others look like Latin letters
_GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
_LATEX = str.maketrans(
    {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
    | {"^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$"}
    | {letter: f"$\\{name}$" for letter, name in zip(_GREEK, _GREEK_NAMES.split(), strict=True)}
)


def _latex_text(text: str) -> str:
    return text.translate(_LATEX)
