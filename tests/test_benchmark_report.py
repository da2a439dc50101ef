"""The tables and the report of a benchmark, from stored results; the page in a real browser."""

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import look_at, tab
from command import refusal, run
from hypothesis import given
from hypothesis import strategies as st
from recbole.evaluator.register import metrics_dict

from recbole_irllrec import IRLLRecError, compat
from recbole_irllrec.benchmark import plots, report, tables
from recbole_irllrec.benchmark.results import (
    PLAN,
    USERS,
    read_plan,
    read_results,
    write_plan,
)
from recbole_irllrec.runs.folder import Key, alone, read_record, write_record, write_table

FOLDER = Path("results")
N_USERS, METRICS = 40, ("recall@5", "recall@10", "ndcg@5", "ndcg@10")
# model: seeds, level; EASE is the same for each seed, NGCF has lost two of its runs, NCL has not a single one
MODELS = {"IRLLRec": (3, 0.5), "IRLLRec:published": (3, 0.45), "EASE": (3, 0.55), "NGCF": (1, 0.3), "NCL": (0, 0.0)}
ERROR = "RuntimeError: <script>alert(1)</script> | k_max > n"

# Of where the settings were drawn.
SPACES = {
    "IRLLRec": {"file": None, "comment": "", "settings": {"epochs": 9, "n_layers": {"choice": [1]}}},
    "EASE": {"file": "spaces/EASE.yaml", "comment": "the best of 15", "settings": {"reg_weight": {"choice": [25.0]}}},
}


def record(model, seed, users):
    """A run that has ended well."""
    level = {name: float(users[name].mean()) for name in METRICS}
    steps = 1 if model == "EASE" else 5
    history = [
        {
            "epoch": n + 1,
            "seconds": n + 0.5,
            "metrics": {k: v * (n + 1) / steps for k, v in level.items()},
            "losses": {},
        }
        for n in range(steps)
    ]
    numbers = {
        "best_epoch": steps,
        "epochs": steps,
        "parameters": 1234567,
        "seconds": 10.0 * seed,
        "seconds_to_best": 5.0,
    }
    about = {
        "machine": "a machine",
        "threads": 1,
        "versions": "torch 2",
        "inference_seconds": 0.25,
        "peak_memory": 2**29,
    }
    return {"settings": {}, "error": None, "valid": level, "test": level, "history": history, **numbers, **about}


@pytest.fixture
def folder():
    """Results of five models."""
    rng = np.random.default_rng(0)
    tokens = np.array([f"u{n}" for n in range(N_USERS)], dtype=object)
    entries = {}
    for model, (n_seeds, level) in MODELS.items():
        for seed in (1, 2, 3):
            if seed > n_seeds:
                if model == "NCL" or seed == 2:
                    write_record(FOLDER, Key(model, "abc", seed), {"settings": {}, "error": ERROR}, None)
                continue
            users = pd.DataFrame({"user": tokens, **{m: (level + 0.1 * rng.random(N_USERS)) for m in METRICS}})
            write_record(FOLDER, Key(model, "abc", seed), record(model, seed, users), users)
        entries[model] = {
            "model": model.partition(":")[0],
            "common": {"epochs": 50 if model == "NGCF" else 300},
            "tunable": ":" not in model,
            "tune_samples": 4,
            "space": SPACES.get(model),
            "tuned_file": None,
            "trials": [],
            "chosen": {"embedding_size": 64, "type": "a_b"},
            "run": "abc",
        }
    prints = dict.fromkeys(("train", "valid", "test"), "0123456789abcdef" * 4)
    sizes = {"train": 1000, "valid": 100, "test": 100}
    plan = {
        "dataset": "tiny",
        "split": {"how": "drawn", "fingerprints": prints, "interactions": sizes, "users": N_USERS, "items": 50},
        "protocol": "paper",
        "metrics": ["Recall", "NDCG"],
        "topk": [5, 10],
        "valid_metric": "NDCG@10",
        "models": entries,
        "commands": ["irllrec benchmark --dataset tiny"],
    }
    write_plan(FOLDER, plan)
    write_table(pd.DataFrame({"user": tokens, "interactions": np.arange(N_USERS) // 4}), FOLDER / USERS)
    return FOLDER


def test_the_summary_marks_best_and_second_and_what_is_missing(folder):
    results = read_results(folder)
    table = tables.summary(results)
    assert table.head == ["model", "Recall@5", "Recall@10", "NDCG@5", "NDCG@10"]
    by_name = {row[0].text: row[1:] for row in table.rows}
    assert list(by_name) == ["IRLLRec", "IRLLRec:published", "EASE", "NGCF (1 of 3 seeds)", "NCL"]
    assert {cell.rank for cell in by_name["EASE"]} == {1} and {cell.rank for cell in by_name["IRLLRec"]} == {2}
    assert {cell.text for cell in by_name["NCL"]} == {"failed"}
    runs = results.runs.set_index("model")["ndcg@10"]
    assert by_name["IRLLRec"][3].text == f"{runs['IRLLRec'].mean():.4f}"
    assert by_name["IRLLRec"][3].rest == f" ± {runs['IRLLRec'].std():.4f}"
    assert by_name["NGCF (1 of 3 seeds)"][3].rest == ""


def test_a_model_without_chance_has_one_run_and_no_deviation_however_many_are_stored(folder):
    assert len(list(folder.glob("runs/EASE-*.json"))) == 3
    results = read_results(folder)
    assert results.runs.groupby("model")["seed"].apply(list)["EASE"] == [1]
    assert results.runs["model"].value_counts()["IRLLRec"] == 3
    for table in (tables.summary(results), tables.costs(results)):
        rests = {row[0].text: {cell.rest for cell in row[1:]} for row in table.rows}
        assert rests["EASE"] == {""} and any("±" in rest for rest in rests["IRLLRec"])
    for figure in plots.figures(results).values():
        for trace in figure.data:
            errors = {} if trace.error_y.array is None else trace.error_y.array
            if trace.name == "EASE":
                assert all(np.isnan(error) for error in errors), trace
            elif trace.type == "bar":
                drawn = dict(zip(trace.x, errors, strict=True))
                assert np.isnan(drawn["EASE"]) and drawn["IRLLRec"] > 0
    summary = tables.flat(results).set_index("model")
    assert summary.loc["EASE"].filter(like=" std").isna().all() and summary.loc["EASE", "seeds"] == 1
    run("benchmark", "report", folder)
    text = (folder / "report.md").read_text()
    assert "EASE (" not in text
    assert "Others have: NGCF 1. One run, which is the same for each seed: EASE." in text
    assert not re.search(r"^EASE &.*pm", (folder / "tables.tex").read_text(), re.MULTILINE)


def test_the_report_names_what_recbole_computes_otherwise(folder):
    plan = read_plan(folder)
    write_plan(folder, {**plan, "metrics": ["NDCG", "ShannonEntropy"]})
    run("benchmark", "report", folder)
    for file in ("report.md", "report.html"):
        text = html.unescape((folder / file).read_text()).partition("RecBole's deviations")[2]
        assert "NGCF: As in its authors' code" in text and "EASE: Repeated interactions" in text, file
        assert (
            "ShannonEntropy: The entropy" in text
            and "MultiVAE" not in text
            and "SGL" not in text.partition("NGCF: As")[0]
        )


def test_deviations_are_of_models_and_metrics_that_there_are():
    known = {*compat.model_names(), *(metric.__name__ for metric in metrics_dict.values())}
    for deviation in report.deviations():
        assert set(deviation) == {"of", "note"} and set(deviation["of"]) <= known and deviation["note"].endswith(".")


def test_three_forms_of_a_table():
    cells = [tables.Cell("a_b|<i>"), tables.Cell("0.5", 1, " ± 0.1"), tables.Cell("5 %", 2), tables.Cell("0", 3)]
    table = tables.Table("T", ["model", "x", "y", "z"], [cells])
    assert tables.markdown(table).splitlines() == [
        "| model | x | y | z |",
        "| --- | ---: | ---: | ---: |",
        "| a_b\\|&lt;i> | **0.5** ± 0.1 | <u>5 %</u> | 0 |",
    ]
    assert r"a\_b|$<$i$>$ & \textbf{0.5} $\pm$ 0.1 & \underline{5 \%} & 0 \\" in tables.latex(table)
    assert tables.latex(table).index(r"\toprule") < tables.latex(table).index(r"\midrule")
    page = tables.as_html(table)
    assert '<tr><th scope="col" class="left">model</th><th scope="col">x</th>' in page
    assert '<th scope="row" class="left">a_b|&lt;i&gt;</th><td><b>0.5</b> ± 0.1</td><td><u>5 %</u></td>' in page


def test_names_that_latex_would_not_take():
    rows = [[tables.Cell(name)] for name in ("L3AE, λ_X", "Δω", "[x]", "*", "a [x] *")]
    lines = tables.latex(tables.Table("T", ["[m]"], rows)).splitlines()
    assert lines[3] == r"{}[m] \\"
    assert lines[5:-2] == [
        rf"{name} \\" for name in (r"L3AE, $\lambda$\_X", r"$\Delta$$\omega$", "{}[x]", "{}*", "a [x] *")
    ]


def test_files_that_pandas_opens(folder):
    run("benchmark", "report", folder)
    results = read_results(folder)
    summary = pd.read_csv(folder / "summary.csv", index_col="model")
    assert list(summary.index) == list(results.models) and summary.loc["NGCF", "seeds"] == 1
    users = pd.read_parquet(folder / "per_user.parquet")
    assert len(users) == 8 * N_USERS and users["model"].nunique() == 4
    means = users.groupby(["model", "seed"], observed=True)["ndcg@10"].mean()
    assert summary.loc["IRLLRec", "ndcg@10"] == pytest.approx(means["IRLLRec"].mean())
    assert summary.loc["IRLLRec", "ndcg@10 std"] == pytest.approx(means["IRLLRec"].std())
    tests = pd.read_csv(folder / "tests.csv")
    assert set(tests["model"]) == {"IRLLRec:published", "EASE", "NGCF"} and len(tests) == 3 * len(METRICS)
    assert (tests.loc[tests["model"] == "NGCF", "difference"] > 0).all()
    assert len(pd.read_csv(folder / "runs.csv")) == 8 and len(pd.read_csv(folder / "failures.csv")) == 4


def test_the_report_tells_what_a_reader_must_know(folder):
    run("benchmark", "report", folder)
    for file in ("report.md", "report.html"):
        text = re.sub(r"<[^>]*>", "", (folder / file).read_text().partition("How it was measured")[2])
        for words in (
            "without the training items alone",
            "NGCF 1.",
            "IRLLRec:published: Not tuned",
            "IRLLRec: the shipped one without what the settings of all runs give (epochs).",
            "EASE: spaces/EASE.yaml; it says: “the best of 15”.",
            "NGCF: epochs: 50",
            "Failed: NCL, seed 1, 2, 3",
            "irllrec benchmark --dataset tiny",
            "a machine; threads of a run: 1",
        ):
            assert words in text, (file, words)
    assert "<script>alert" not in (folder / "report.html").read_text()


def test_a_folder_that_does_not_tell_its_spaces(folder):
    plan = read_plan(folder)
    for row in plan["models"].values():
        del row["space"]
    write_plan(folder, plan)
    run("benchmark", "report", folder)
    report = (folder / "report.md").read_text()
    assert "Nothing to choose from." in report and "space" not in report.partition("How it was measured")[2]


def test_models_with_a_linear_part_are_named(folder):
    """Once, below the first table; older records do not tell it."""
    run("benchmark", "report", folder)
    assert "linear part" not in (folder / "report.md").read_text()
    for seed in (1, 2, 3):
        key = Key("IRLLRec", "abc", seed)
        users = pd.read_parquet(key.file(folder).with_suffix(".parquet"))
        write_record(folder, key, read_record(folder, key) | {"linear_weight": 1.5}, users)
    run("benchmark", "report", folder)
    for file in ("report.md", "report.html"):
        told = (folder / file).read_text()
        assert told.count("With a linear part beside the encoder, of this linear_weight: IRLLRec (1.5).") == 1


def test_models_below_popularity(folder):
    """In a folder that tells what popularity reaches, as older ones do not."""
    run("benchmark", "report", folder)
    assert "opularity" not in (folder / "report.md").read_text() + (folder / "report.html").read_text()
    plan = read_plan(folder)
    write_plan(folder, plan | {"popularity": dict.fromkeys(METRICS, 0.4)})
    run("benchmark", "report", folder)
    runs = read_results(folder).runs.set_index("model")["ndcg@10"]
    for file in ("report.md", "report.html"):
        text = (folder / file).read_text()
        assert "the same protocol: Recall@5 0.4000, Recall@10 0.4000, NDCG@5 0.4000, NDCG@10 0.4000." in text
        assert f"NGCF is less than popularity (NDCG@10 {runs['NGCF']:.4f}). What usually helps: more patience" in text
        assert text.count("less than popularity") == 1


def test_what_helps_goes_by_the_settings_that_the_runs_had(folder):
    """Of seven epochs with eval_step 5 the fifth is the last that is validated: nothing has lost patience."""
    plan = read_plan(folder) | {"popularity": dict.fromkeys(METRICS, 0.4)}
    plan["models"]["NGCF"] |= {
        "common": {"epochs": 7, "eval_step": 5, "learning_rate": 0.001},
        "fixed": {"learning_rate": 0.25},
    }
    write_plan(folder, plan)
    *_, line = report.notes(read_results(folder))
    assert "What usually helps: more epochs (it was best after 5 of 5); a larger learning_rate (here 0.25)" in line


@given(st.integers(0, 80))
def test_no_two_models_share_a_colour(n):
    names = [f"model {k}" for k in range(n)]
    found = plots.colours(names)
    assert list(found) == names and len(set(found.values())) == n
    assert all(re.fullmatch("#[0-9A-Fa-f]{6}", colour) for colour in found.values())


# no metric is so small that a twentieth of it is nothing
VALUES = st.lists(
    st.tuples(st.floats(-1, 1, allow_subnormal=False), st.none() | st.floats(0, 0.2, allow_subnormal=False)),
    min_size=1,
    max_size=9,
)


@given(VALUES)
def test_bars_begin_where_their_differences_show(bars):
    values = [value for value, _ in bars]
    deviations = [np.nan if deviation is None else deviation for _, deviation in bars]
    low, high = plots.axis(values, deviations)
    reach = np.nan_to_num(deviations)
    lowest, highest = min(values - reach), max(values + reach)
    assert low < high and low <= lowest and highest <= high
    if lowest >= 0:
        assert low >= 0
    if highest > lowest:
        assert highest - lowest >= 0.8 * (high - low) or low == 0


def test_models_have_one_colour_in_all_pictures(folder):
    results = read_results(folder)
    bars, *others = plots.figures(results).values()
    of = dict(zip(bars.data[0].x, bars.data[0].marker.color, strict=True))
    assert list(of) == results.models and len(set(of.values())) == 4
    for figure in others:
        for trace in figure.data:
            assert of[trace.name] in (trace.line.color, trace.marker.color)


def test_the_numbers_under_every_picture(folder):
    """As pandas opens them from the page."""
    run("benchmark", "report", folder)
    page = (folder / "report.html").read_text()
    links = re.findall(r'<a download="([^"]*)" href="data:text/csv;base64,([^"]*)">', page)
    found = {name: pd.read_csv(io.BytesIO(base64.b64decode(content))) for name, content in links}
    results = read_results(folder)
    assert len(found) == len(plots.figures(results)) == 4
    means = results.runs.groupby("model")[list(METRICS)].mean()
    for row in found["Test-metrics.csv"].itertuples():
        assert row.y == pytest.approx(means.loc[row.x, row.series.lower()])
    curves = found["Learning-curves.csv"]
    assert curves.groupby("series").size().to_dict() == {"IRLLRec": 15, "IRLLRec:published": 15, "EASE": 1, "NGCF": 5}
    assert "Bars are means, lines the standard deviation over the seeds, and axes begin where" in page


def test_groups_of_users_in_every_form(folder):
    run("benchmark", "report", folder)
    table = tables.by_group(read_results(folder))
    assert table.title.startswith("Recall@5 by the user's number of training interactions")
    assert table.head[1:] == [f"{n} to {n + 1} (8 users)" for n in (0, 2, 4, 6, 8)]
    by_name = {row[0].text: row[1:] for row in table.rows}
    assert {cell.rest for cell in by_name["EASE"]} == {""} and all(cell.rest for cell in by_name["IRLLRec"])
    assert {cell.rank for cell in by_name["EASE"]} == {1} and {cell.text for cell in by_name["NCL"]} == {"failed"}
    for file in ("tables.tex", "report.md", "report.html"):
        assert "number of training interactions, mean" in (folder / file).read_text(), file


@pytest.mark.parametrize(
    "p, written",
    [(6e-51, "< 0.001"), (0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (0.0123, "0.012"), (1.0, "1.000")],
)
def test_p_values_as_people_print_them(p, written):
    assert tables.p_value(p) == written


def test_p_values_in_the_texts_and_in_the_file(folder):
    run("benchmark", "report", folder)
    assert "| &lt; 0.001 |" in (folder / "report.md").read_text()
    assert pd.read_csv(folder / "tests.csv")["t"].min() < 1e-9
    assert r"$<$ 0.001" in (folder / "tables.tex").read_text()
    for file in ("tables.tex", "report.md"):
        assert not re.search(r"\de-\d", (folder / file).read_text()), file


@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_is_no_wider_than_the_screen(folder, width):
    run("benchmark", "report", folder)
    with tab() as page:
        page.is_wide(width)
        page.open((folder / "report.html").resolve().as_uri())
        wide = "Math.max(...[...document.querySelectorAll('{}')].map((one) => one.getBoundingClientRect().right))"
        assert page.value("document.documentElement.scrollWidth") <= width
        assert page.value(wide.format(".plotly-graph-div, table, h2, pre")) <= width and page.console == []


def test_curves_by_epoch(folder):
    assert set(read_results(folder).curves) == {"model", "seed", "epoch", "seconds", "losses", *METRICS}
    curves = plots.figures(read_results(folder))["Learning curves"].data
    assert [list(curve.x) for curve in curves if curve.name == "EASE"] == [[1]]
    assert [list(curve.x) for curve in curves if curve.name == "IRLLRec"] == [[1, 2, 3, 4, 5]] * 3
    assert [curve.showlegend for curve in curves if curve.name == "IRLLRec"] == [True, False, False]


def test_the_page_draws_its_plots_alone_and_without_complaint(folder, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/x.png"><script>nothing()</script>')
    seen = look_at(bad)
    assert "nothing is not defined" in "\n".join(seen.console) and seen.requests == ["http://127.0.0.1:9/x.png"]

    run("benchmark", "report", folder)
    shown, complaints, requests = look_at(folder / "report.html")
    assert complaints == [] and requests == []
    assert shown.count('class="plotly-graph-div') == 4
    assert shown.count('class="trace bars"') == len(METRICS)
    assert len(re.findall('class="trace scatter trace', shown)) == 4 + 8 + 4  # models, runs' curves, models by groups
    assert shown.count('class="errorbar"') > 4 and "IRLLRec:published" in shown


def test_another_reference(folder, capsys):
    assert "no row BPR to refer to: take one of IRLLRec, " in refusal(
        capsys, "benchmark", "report", folder, "--reference", "BPR"
    )
    run("benchmark", "report", folder, "--reference", "EASE")
    assert set(pd.read_csv(folder / "tests.csv")["model"]) == {"IRLLRec", "IRLLRec:published", "NGCF"}
    assert read_results(folder).reference == "EASE" and "## EASE against each" in (folder / "report.md").read_text()
    write_plan(folder, {**read_plan(folder), "reference": "NCL"})
    assert read_results(folder).reference == "IRLLRec"  # no run of NCL has ended well


def test_refused(folder, capsys):
    assert "no benchmark in elsewhere" in refusal(capsys, "benchmark", "report", "elsewhere")
    (folder / PLAN).write_text("[1]")
    assert "benchmark.json is damaged: restore it, or give another" in refusal(capsys, "benchmark", "report", folder)


def test_one_writer_at_a_time():
    taken = pytest.raises(IRLLRecError, match="Another process is writing into results")
    with alone(FOLDER), taken, alone(FOLDER):
        pass
