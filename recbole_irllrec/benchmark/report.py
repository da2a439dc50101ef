"""What is made of the results: files of numbers, and the report as Markdown and as one page with plots."""

import html
import re
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from plotly.graph_objects import Figure

from .. import boards, html_page, popularity
from ..errors import IRLLRecError
from ..files import atomic_write
from ..runs.folder import write_table
from ..runs.splits import bare_config
from ..runs.training import is_cut_short
from . import plots, tables
from .results import Results
from .statistics import over_seeds, paired_tests


def write_report(results: Results, folder: Path) -> list[Path]:
    """Make all that a benchmark's folder offers to readers anew from its stored runs; returns the files."""
    compared = paired_tests(results.users, results.reference, tables.per_user_metrics(results))
    frames = {
        "per_user.parquet": results.users.assign(model=results.users["model"].astype("category")),
        "summary.csv": tables.flat(results),
        "tests.csv": compared,
        "runs.csv": results.runs,
        "trials.csv": results.trials,
        "failures.csv": results.failures,
    }
    summaries = {board: tables.summary(results, board) for board in tables.boards_of(results)}
    tests = [tables.tests(results, compared, board) for board in summaries]
    grouped = [table] if (table := tables.by_group(results)) else []
    others = [*grouped, *(table for table in tests if table.rows), tables.costs(results), tables.chosen(results)]
    texts = {
        "tables.tex": "\n".join(map(tables.latex, [*summaries.values(), *others])),
        "report.md": _markdown(results, summaries, others),
        "report.html": _page(results, summaries, others),
    }
    for name, frame in frames.items():
        write_table(frame, folder / name)
    for name, text in texts.items():
        with atomic_write(folder / name) as file:
            file.write(text.encode())
    return [folder / name for name in (*texts, *frames)]


def notes(results: Results, board: str = tables.OVERALL) -> list[str]:
    """What stands below a table of metrics, in lines."""
    return [*([] if board else _linear_parts(results)), *_beside_popularity(results, board)]


def _linear_parts(results: Results) -> list[str]:
    """Which models' scores are not their encoder's alone; older folders do not tell it."""
    weights = results.runs.get("linear_weight", pd.Series(dtype=float)).groupby(results.runs["model"], sort=False).max()
    having = [f"{model} ({weight:g})" for model, weight in weights.items() if weight > 0]
    return [f"With a linear part beside the encoder, of this linear_weight: {', '.join(having)}."] if having else []


def _beside_popularity(results: Results, board: str) -> list[str]:
    """What popularity reaches, in a line; nothing where it was not measured.

    For all items, a line more for each model that lies below.
    """
    popular = results.plan.get("popularity")  # older folders do not tell it
    if not popular:
        return []
    names = tables.metric_names(results, board)
    told = ", ".join(f"{title} {popular[name]:.4f}" for name, title in names.items() if name in popular)
    if not told:
        return [f"{popularity.NAME} {boards.CANNOT}."]
    lines = [f"{popularity.NAME} reaches on the same split, by the same protocol{tables.on(board)}: {told}."]
    if board:
        return lines
    metric = results.plan["valid_metric"]
    means, _ = over_seeds(results.runs, [metric.lower()])
    for model, reached in means[metric.lower()].items():
        if popularity.is_below(metric, reached, popular[metric.lower()]):
            helps = _what_helps(results, str(model))
            lines.append(f"{model} is less than popularity ({metric} {reached:.4f}). {helps}".rstrip())
    return lines


def _what_helps(results: Results, model: str) -> str:
    row, runs = results.plan["models"][model], results.runs.query("model == @model").to_dict("records")
    epochs, best = max((int(run["epochs"]), int(run["best_epoch"])) for run in runs)
    given = {**(row["chosen"] or {}), **row["common"], **row.get("fixed", {})}  # older folders do not tell the last
    try:
        config = bare_config(row["model"], results.plan["dataset"], given)
    except IRLLRecError:  # of a model whose packages are elsewhere
        return ""
    return popularity.what_helps(config, popularity.Course(epochs, best, is_cut_short(config, epochs)))


def _title(results: Results) -> str:
    return f"Benchmark on {results.plan['dataset']}"


def _markdown(results: Results, summaries: dict[str, tables.Table], others: list[tables.Table]) -> str:
    def section(table: tables.Table) -> str:
        return f"## {table.title}\n\n{tables.markdown(table)}"

    parts = [f"# {_title(results)}\n"]
    for board, table in summaries.items():
        parts += [section(table), *(f"{line}\n" for line in notes(results, board))]
    parts += map(section, others)
    parts.append("## How it was measured\n")
    parts += [f"**{name}.** {text}\n" for name, text in facts(results)]
    parts += ["**Commands.**\n", *(f"    {command}" for command in results.plan["commands"]), ""]
    return "\n".join(parts)


def _page(results: Results, summaries: dict[str, tables.Table], others: list[tables.Table]) -> str:
    first: list[str | tables.Table] = []
    for board, table in summaries.items():
        first += [table, *notes(results, board)]
    return page(_title(results), results, first, plots.figures(results), others)


def page(
    title: str,
    results: Results,
    first: Sequence[str | tables.Table],
    figures: dict[str, Figure],
    others: Sequence[tables.Table] = (),
) -> str:
    """A page of its own on results: paragraphs and tables, then figures, further tables and how all was measured."""

    def section(one: str | tables.Table) -> str:
        if isinstance(one, str):
            return f"<p>{html.escape(one)}</p>"
        return f"<h2>{html.escape(one.title)}</h2>\n{tables.as_html(one)}"

    told = [f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in facts(results)]
    commands = html.escape("\n".join(results.plan["commands"]))
    measured = f"<h2>How it was measured</h2>\n<dl>{''.join(told)}<dt>Commands</dt><dd><pre>{commands}</pre></dd></dl>"
    body = "\n".join([*map(section, first), html_page.plots(figures, _below), *map(section, others), measured])
    return html_page.html_page(title, body)


def _below(title: str, figure: Figure) -> str:
    """What a figure says of itself, and a link to its numbers."""
    note = f"{html.escape(figure.layout.meta)} " if figure.layout.meta else ""
    name = re.sub(r"[^A-Za-z0-9@]+", "-", title).strip("-") + ".csv"
    link = html_page.download(name, plots.numbers(figure).to_csv(index=False).encode(), "text/csv")
    return f"<p>{note}<a {link}>Its numbers as CSV</a></p>"


def facts(results: Results) -> Iterator[tuple[str, str]]:
    """What a reader needs to know beside the numbers: a name and sentences each."""
    plan = results.plan
    split, sizes = plan["split"], plan["split"]["interactions"]
    yield (
        "Data set",
        f"{plan['dataset']}: {split['users']:,} users, {split['items']:,} items; interactions: {sizes['train']:,} for "
        f"training, {sizes['valid']:,} for validation, {sizes['test']:,} for the test.",
    )
    prints = ", ".join(f"{part} {fingerprint[:16]}" for part, fingerprint in split["fingerprints"].items())
    yield "Split", f"One for all runs, {split['how']}. Fingerprints: {prints}."
    masked = {"recbole": "the training and validation items", "paper": "the training items alone"}[plan["protocol"]]
    yield "Protocol", f"{plan['protocol']}: all items are ranked, without {masked} of the user in the test."
    if plan.get("boards"):
        yield "Boards", _boards(plan)
    yield (
        "Selection",
        f"By {plan['valid_metric']} on validation, of settings and of the epoch. The test set is looked at once a run, "
        "after its training.",
    )
    yield "Seeds", _seeds(results)
    yield "Tuning budget", _by_models(plan, _budget)
    if spaces := _by_models(plan, _space):
        yield "Search spaces", spaces
    yield "Settings of all runs", _by_models(plan, _common)
    if below := _by_models(plan, lambda row: f"{row['tuned_file']}, below what is drawn." if row["tuned_file"] else ""):
        yield "Settings found before", below
    if deviating := _deviations(plan):
        yield "RecBole's deviations", deviating
    yield "Significance", _SIGNIFICANCE
    runs = results.runs
    yield (
        "Machine",
        f"{_different(runs['machine'])}; threads of a run: {_different(runs['threads'])}. Memory is the largest of the "
        "run's own process, libraries included.",
    )
    yield "Versions", f"{_different(runs['versions'])}."
    for (model, error), failed in results.failures.groupby(["model", "error"], sort=False, dropna=False):
        seeds = [f"{seed:.0f}" for seed in failed["seed"].dropna()]
        which = [f"seed {', '.join(seeds)}"] if seeds else []
        if n_trials := int(failed["seed"].isna().sum()):
            which.append("a trial" if n_trials == 1 else f"{n_trials} trials")
        yield f"Failed: {model}, {' and '.join(which)}", str(error)


def _boards(plan: dict[str, Any]) -> str:
    told = [
        f"{name} {size['items']:,} items, {size['interactions']:,} test interactions of {size['users']:,} users"
        for name, size in plan["boards"].items()
    ]
    return (
        "Hot items have training interactions, cold ones have none. On a board its items alone are ranked, and the "
        f"test interactions with them alone count: {'; '.join(told)}. Validation, and so selection, is on all items."
    )


def _different(values: pd.Series) -> str:
    return "; ".join(map(str, values.unique()))


_SIGNIFICANCE = (
    "A user's metric is its mean over the seeds. Student's t and Wilcoxon's signed ranks, both paired by user and "
    "two-sided; Holm's correction over the models, for each metric and test."
)


def _seeds(results: Results) -> str:
    found = results.runs.groupby("model", sort=False)["seed"].apply(sorted)
    once = [model for model in found.index if model in results.without_chance]
    most = max(found, key=len)
    fewer = [f"{model} {', '.join(map(str, seeds))}" for model, seeds in found.drop(once).items() if seeds != most]
    said = [f"{', '.join(map(str, most))}; they vary the models, not the split."]
    said += [f"Others have: {'; '.join(fewer)}."] if fewer else []
    said += [f"One run, which is the same for each seed: {', '.join(once)}."] if once else []
    return " ".join(said)


def deviations() -> list[dict[str, Any]]:
    """Where RecBole deviates from the sources of models and metrics: `of`, their names, and `note`, sentences."""
    return yaml.safe_load(files("recbole_irllrec.properties").joinpath("deviations.yaml").read_text(encoding="utf-8"))


def _deviations(plan: dict[str, Any]) -> str:
    """Of the models and metrics that are there."""
    there = {row: about["model"] for row, about in plan["models"].items()} | {name: name for name in plan["metrics"]}
    concerned = [([name for name in there if there[name] in one["of"]], one["note"]) for one in deviations()]
    return " ".join(f"{', '.join(names)}: {note}" for names, note in concerned if names)


def _budget(row: dict[str, Any]) -> str:
    if not row["tunable"]:
        return "Not tuned: the settings that the name stands for."
    if not row["tune_samples"]:
        return "Not tuned."
    if not row["trials"]:
        return "One setting drawn, nothing to choose from." if row.get("space") else "Nothing to choose from."
    n, different = row["tune_samples"], len(row["trials"])
    also = "" if different == n else f", {different} of them different"
    return f"{n} settings drawn at random{also}, each trained once in full."


def _space(row: dict[str, Any]) -> str:
    space = row.get("space")  # older folders do not tell it
    if not space:
        return ""
    given = ", ".join(name for name in space["settings"] if name in row["common"])
    without = f" without what the settings of all runs give ({given})" if given else ""
    comment = f"; it says: “{space['comment'].rstrip('.')}”" if space["comment"] else ""
    return f"{space['file'] or 'the shipped one'}{without}{comment}."


def _common(row: dict[str, Any]) -> str:
    told = ("metrics", "topk", "valid_metric", "mask_valid_in_test", "item_boards", "metric_decimal_place")
    return ", ".join(f"{name}: {value}" for name, value in row["common"].items() if name not in told) + "."


def _by_models(plan: dict[str, Any], say: Callable[[dict[str, Any]], str]) -> str:
    """The same sentence for models for which it is the same; without naming them if it is so for all."""
    said = {model: say(row) for model, row in plan["models"].items()}
    sentences = [sentence for sentence in dict.fromkeys(said.values()) if sentence]
    if len(set(said.values())) == 1:
        return "".join(sentences)
    named = {s: ", ".join(model for model, other in said.items() if other == s) for s in sentences}
    return " ".join(f"{models}: {sentence}" for sentence, models in named.items())
