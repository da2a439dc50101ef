"""irllrec data convert: times, missing numbers, quotes and Python's notation as other people write them."""

import gzip
import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from command import ended, refusal, run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recbole_irllrec.dataset_tools import delimited
from recbole_irllrec.dataset_tools.atomic import numbers
from recbole_irllrec.dataset_tools.sources import json_objects
from recbole_irllrec.dataset_tools.times import Times
from recbole_irllrec.dataset_tools.values import MISSING

from recbole_irllrec.tables.features import read_atomic_file

IN_ONE_FOLDER = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def lines(suffix="inter"):
    return Path(f"dataset/d/d.{suffix}").read_text(encoding="utf-8").splitlines()[1:]


def convert_numbers(option, values, *more):
    """Convert reviews with these values in a column "n"; returns what the command printed."""
    rows = [f'u{row},i,"{value}"\n' for row, value in enumerate(values)]
    Path("r.csv").write_text("user_id,item_id,n\n" + "".join(rows), encoding="utf-8")
    return ended("data", "convert", "csv", "r.csv", "--name=d", "--force", f"{option}=n", *more)


def written():
    return [line.split("\t")[2] for line in lines()]


# --- Times. ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected", "taken_for"),
    [
        (["1608426246", "5.25", "0"], ["1608426246", "5.25", "0"], "seconds since 1970"),
        (["1608426246283", "1.608426246711e12"], ["1608426246.283", "1608426246.711"], "milliseconds since 1970"),
        (["0", "NA", "1608426246283.0"], ["0", "", "1608426246.283"], "milliseconds since 1970"),
        (["1608426246283001"], ["1608426246.283001"], "microseconds since 1970"),
        (["1608426246283000000", "1608426246283001999"], ["1608426246.283", "1608426246.283002"], "nanoseconds"),
        (["20240301", "20231231.0", "19000101"], ["1709251200", "1703980800", "-2208988800"], "dates of 8 digits"),
        (["202403010001", ""], ["1709251260", ""], "times of 12 digits"),
        (["20240301000001", "21001231000000"], ["1709251201", "4133894400"], "times of 14 digits"),
        (["19000100", "21001232", "99"], ["19000100", "21001232", "99"], "seconds since 1970"),
        (["2024-03-01", "NaT", "2024-03-01T01:00:00.5+01:00"], ["1709251200", "", "1709251200.5"], "dates"),
        (["2024-03-01", "20240302"], ["1709251200", "1709337600"], "dates"),
    ],
)
def test_times(values, expected, taken_for):
    done = convert_numbers("--timestamp", values)
    assert written() == expected, done.stderr
    known = sum(value not in ("", "NA", "NaT") for value in values)
    assert f"{known}  times in n, taken for {taken_for}" in done.stdout


@pytest.mark.parametrize(
    ("values", "row"),
    [
        (["1608426246", "1608426246283"], 2),
        (["1608426246283", "1608426246"], 2),
        (["1608426246283", "1608426246283000"], 2),
        (["20240301", "20240302", "20240231"], 3),
        (["20240301", "20240302", "0"], 3),
        (["20240301", "20240302", "1608426246"], 3),
        (["1608426246", "2024-03-01"], 2),
        (["2024-03-01", "1608426246"], 2),
        (["2024-03-01", "01.03.2024"], 2),
        (["1608426246", "inf"], 2),
        (["1e21"], 1),
    ],
)
def test_a_column_of_several_kinds_of_times_is_refused(values, row, monkeypatch):
    for block in (1 << 24, 40):  # what comes in another piece of the file is held against the first
        monkeypatch.setattr(delimited, "_BLOCK", block)
        done = convert_numbers("--timestamp", values)
        assert done.returncode == 1
        assert f"r.csv, row {row}, column n, holds {values[row - 1]!r}, which is" in done.stderr


@given(
    st.lists(st.datetimes(datetime(1974, 1, 1), datetime(2116, 1, 1)), min_size=1, max_size=5),
    st.sampled_from([10**3, 10**6, 10**9]),
)
@example([datetime(2020, 12, 20, 1, 4, 6, 283000)], 10**3)
@settings(deadline=None, max_examples=30)
def test_any_time_in_any_unit_is_exact_to_the_microsecond(times, per_second):
    microseconds = [(time - datetime(1970, 1, 1)) // timedelta(microseconds=1) for time in times]
    if per_second == 10**3:
        microseconds = [number - number % 1000 for number in microseconds]
    exact = [f"{number // 10**6}.{number % 10**6:06}".rstrip("0").rstrip(".") for number in microseconds]
    for values in (
        [str(number * per_second // 10**6) for number in microseconds],
        [(datetime(1970, 1, 1) + timedelta(microseconds=number)).isoformat() for number in microseconds],
    ):
        column = Times(Path("r.csv"), "n", Counter())
        parts = [column.seconds(row, pa.array([value])) for row, value in enumerate(values, start=1)]
        assert numbers(pa.concat_arrays(parts)).to_pylist() == exact


# --- Missing numbers. -----------------------------------------------------------------------------------------------


def test_words_for_nothing_are_missing_ratings():
    words = [*sorted(MISSING), "NULL", " N/a ", "—"]
    done = convert_numbers("--rating", [*words, " 4.50", "+3", "1e0"])
    assert written() == [*[""] * len(words), "4.5", "3", "1"]
    assert f"{len(words)}  reviews without a rating" in done.stdout


@pytest.mark.parametrize("value", ["4,5", "five", "inf", "0x10", "1_000", "1e999", "4.5.6", "€3"])
def test_what_is_no_number_is_refused(value):
    done = convert_numbers("--rating", ["1", "NA", value])
    assert f"r.csv, row 3, column n, holds {value!r}, which is no number" in done.stderr


def test_missing_numbers_of_features():
    Path("r.csv").write_text("user_id,item_id\nu,a\nu,b\nu,c\n")
    Path("i.csv").write_text("item_id,year,title\na,1999,NA\nb,NA,nan\nc,—,x\n")
    said = run("data", "convert", "csv", "r.csv", "--name=d", "--items=i.csv").stdout
    features, kinds = read_atomic_file("dataset/d/d.item")
    assert kinds["year"] == "float" and kinds["title"] == "token_seq"
    assert features["year"].tolist() == ["1999", "", ""]
    assert "2  items whose year is missing or no number" in said


def test_missing_numbers_in_json(capsys):
    review = {"reviewerID": "A", "overall": 5.0, "unixReviewTime": 1}
    ratings = [float("nan"), "NA", None, "4.0"]
    reviews = [{**review, "asin": f"{i}", "overall": rating} for i, rating in enumerate(ratings)]
    Path("r.json").write_text("".join(json.dumps(line) + "\n" for line in reviews))
    assert "3  reviews without a rating" in run("data", "convert", "amazon", "r.json", "--name=d").stdout
    assert [line.split("\t")[2] for line in lines()] == ["", "", "", "4"]
    Path("r.json").write_text(json.dumps({**review, "asin": "b", "overall": float("inf")}))
    assert "line 1, cannot be used (overall is infinite)" in refusal(
        capsys, "data", "convert", "amazon", "r.json", "--name=d", "--force"
    )


# --- Python's notation. ---------------------------------------------------------------------------------------------

LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), LITERALS, min_size=1))
@example({"price": float("nan"), "rank": [float("inf"), -float("inf"), None, True]})
@IN_ONE_FOLDER
def test_any_python_literal_is_read(record):
    Path("m.json").write_text(repr(record) + "\n", encoding="utf-8")
    ((_, read),) = json_objects(Path("m.json"))
    assert repr(read) == repr(record)  # nan is not equal to itself


@pytest.mark.parametrize("line", ["{'a': exit()}", "{'a': b}", "{'a': [].append}", "{[1]: 2}", "{[1]}", "{'a': 1"])
def test_other_python_is_refused(line, capsys):
    Path("r.json").write_text(line + "\n")
    assert "line 1, is no JSON object" in refusal(capsys, "data", "convert", "amazon", "r.json", "--name=d")


def test_metadata_with_nan_null_and_true():
    Path("r.json").write_text('{"reviewerID": "A", "asin": "B", "overall": 5, "unixReviewTime": 1}\n')
    Path("m.json").write_text(
        "{\"asin\": 'B', 'price': nan, 'title': null, 'brand': NaN, \"x\": true, 'categories': [['Toys']]}\n"
    )
    said = run("data", "convert", "amazon", "r.json", "--items=m.json", "--name=d").stdout
    assert lines("item") == ["B\t\t\tToys\t\t\t"]
    assert "1  items whose price is missing or no number" in said


# --- Quotes. --------------------------------------------------------------------------------------------------------

BOOKS = r'''"ISBN";"Title";"Author"
"a1";"with the Real \"J. Peterman\" Through";"John"
"a2";"\"All\"";"A \\"
"a3";"Say ""so""";"Ann"
'''
BOOKS_OPTIONS = ("--user=u", "--item=ISBN", "--delimiter=;", "--items=items.csv", "--name=d", "--force")


def write_books(books, more=""):
    Path("r.csv").write_text("u;ISBN\n1;a1\n2;a2\n3;a3\n")
    Path("items.csv").write_bytes(gzip.compress((books + more).encode()))
    return ("data", "convert", "csv", "r.csv", *BOOKS_OPTIONS)


def test_quotes_after_a_backslash(capsys):
    command = write_books(BOOKS)
    assert "items.csv, line 2, has a quote after a backslash: give --backslash" in refusal(capsys, *command)
    run(*command, "--backslash")
    assert read_atomic_file("dataset/d/d.item")[0].to_numpy().tolist() == [
        ["a1", 'with the Real "J. Peterman" Through', "John"],
        ["a2", '"All"', "A \\"],
        ["a3", 'Say "so"', "Ann"],
    ]
    command = write_books(BOOKS, '"a4";"a";"open\\"\n')
    assert "odd number of double quotes" in refusal(capsys, *command, "--backslash")


def test_a_backslash_before_a_closing_quote_is_none(capsys):
    run(*write_books('"ISBN";"Title"\n"a1";"C:\\"\n"a2";"a\\""b"\r\n"a3";"\\"\n'))
    assert read_atomic_file("dataset/d/d.item")[0]["Title"].tolist() == ["C:\\", 'a\\"b', "\\"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_quotes_are_seen_whatever_is_read_at_once(size, tmp_path):
    path = tmp_path / "items.csv"
    path.write_text(BOOKS)
    escaped = delimited.Dialect(";", backslash=True)
    with open(path, "rb") as file:
        quotes = delimited._Quotes(path, file, escaped)
        while quotes.read(size):
            pass
    assert quotes.number == 6 * 4 + 4
    with open(path, "rb") as file, pytest.raises(Exception, match="line 2, has a quote after a backslash"):
        quotes = delimited._Quotes(path, file, delimited.Dialect(";"))
        while quotes.read(size):
            pass


# --- Filters that leave nothing. ------------------------------------------------------------------------------------


def test_a_filter_that_leaves_nothing_says_what_each_left(capsys):
    rows = ["u,i,5", "u,i,4", "u,j,NA", "v,i,3", "v,j,1"]
    Path("r.csv").write_text("\n".join(["user_id,item_id,n", *rows, ""]))
    command = ("data", "convert", "csv", "r.csv", "--name=d", "--rating=n")
    sentence = refusal(capsys, *command, "--min-rating=3", "--sample-users=0.5", "--k-core=2")
    assert "None of the 5 reviews" in sentence and "1 reviews without a rating" in sentence
    assert "4 after the latest of each user and item, 2 after --min-rating 3, 1 after --sample-users 0.5" in sentence
    assert "0 after --k-core 2" in sentence
    sentence = refusal(capsys, *command, "--min-rating=6")
    assert "4 after the latest of each user and item, 0 after --min-rating 6" in sentence
    assert "--k-core" not in sentence
