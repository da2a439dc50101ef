"""irllrec data convert amazon, yelp and csv: what arrives in RecBole, what is left out, and bad input."""

import csv
import gzip
import json
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from command import full_disk, in_a_process, irllrec, refusal
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recbole_irllrec.dataset_tools.convert import Keep, convert
from recbole_irllrec.dataset_tools.delimited import Dialect, csv_reviews
from recbole_irllrec.dataset_tools.json_reviews import amazon_reviews

from recbole_irllrec.data.loading import load_config, split_datasets
from recbole_irllrec.data.tokens import ESCAPED, escape_tokens, unescape_tokens
from recbole_irllrec.tables.features import read_atomic_file, read_features

IN_ONE_FOLDER = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
NASTY = [
    "007",
    "NA",
    "nan",
    "None",
    '"',
    '"a"',
    'a"b',
    "a\tb",
    "a\nb",
    "\r",
    "a\x00",
    "a\x00b",
    " ",
    "#",
    "%41",
    "[PAD]",
]
NASTY += [
    "1e5",
    "-0",
    "é",
    "日本",
    "🦊",
    "escaped:NA",
    "\u2028",
    "\x1f",
    "x" * 5000,
    "null",
    "<NA>",
    "True",
    "'",
    "\\",
    ":",
]
ANY_ID = st.one_of(st.text(min_size=1), st.sampled_from(NASTY))


def write_csv(path, header, rows, **how):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n", **how).writerows([header, *rows])


def write_json(path, records):
    Path(path).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def in_recbole(name, **more):
    """The user and item of each interaction, as RecBole's tokens."""
    parts = split_datasets(load_config(name, settings={"data_path": "dataset", **more}))
    feats = [part.inter_feat for part in parts]
    return {
        (parts[0].field2id_token["user_id"][u], parts[0].field2id_token["item_id"][i])
        for feat in feats
        for u, i in zip(feat["user_id"].tolist(), feat["item_id"].tolist(), strict=True)
    }


def ids_of(tokens):
    return unescape_tokens(pa.array(tokens, pa.string())).to_pylist()


# --- Ids and texts arrive unchanged. --------------------------------------------------------------------------------


@given(st.lists(ANY_ID, min_size=1))
@example(NASTY)
@settings(deadline=None)
def test_escaping_is_reversible_and_rare(names):
    ids = pa.array(names, pa.string())
    tokens = escape_tokens(ids)
    assert unescape_tokens(tokens).equals(ids)
    for name, token in zip(names, tokens.to_pylist(), strict=True):
        assert token == name or token.startswith(ESCAPED)
        assert not set(token) & set("\t\n\r\x00")
        if name.isalnum() and name not in ("NA", "nan", "None", "null", "NULL", "NaN"):
            assert token == name


@given(rows=st.lists(st.tuples(ANY_ID, ANY_ID, st.text()), min_size=1, unique_by=lambda row: row[:2]))
@example(rows=[(name, name[::-1], f"{name}\r\n") for name in NASTY])
@IN_ONE_FOLDER
def test_any_ids_and_texts_arrive_unchanged(rows):
    write_csv("reviews.csv", ["who", "what", "said"], rows, quoting=csv.QUOTE_ALL)
    write_json(
        "reviews.jsonl",
        [
            {"user_id": u, "parent_asin": i, "rating": 5.0, "timestamp": 1000 * n, "text": t}
            for n, (u, i, t) in enumerate(rows)
        ],
    )
    columns = {"user": "who", "item": "what", "text": "said"}
    sources = {
        "from-csv": csv_reviews(Path("reviews.csv"), columns, Dialect()),
        "from-json": amazon_reviews([Path("reviews.jsonl")]),
    }
    for name, reviews in sources.items():
        convert(Path("dataset"), name, reviews, {}, Keep(), force=True)
        pairs = in_recbole(name)
        users, items = zip(*pairs, strict=True)
        assert set(zip(ids_of(users), ids_of(items), strict=True)) == {row[:2] for row in rows}
        stored = pd.read_parquet(f"dataset/{name}/{name}.reviews.parquet")
        assert list(zip(ids_of(stored["user"]), ids_of(stored["item"]), stored["text"], strict=True)) == rows
        assert set(zip(stored["user"], stored["item"], strict=True)) == pairs


@given(titles=st.lists(st.one_of(st.text(), st.sampled_from(NASTY)), min_size=1))
@example(titles=NASTY)
@IN_ONE_FOLDER
def test_any_feature_arrives_but_for_its_white_space(titles):
    ids = [f"i{n}" for n in range(len(titles))]
    write_csv("reviews.csv", ["user_id", "item_id"], [("u", i) for i in ids])
    rows = [(i, t, "x") for i, t in zip(ids, titles, strict=True)]
    write_csv("items.csv", ["item_id", "title", "shape"], rows, quoting=csv.QUOTE_ALL)
    assert irllrec("data", "convert", "csv", "reviews.csv", "--name=shop", "--items=items.csv", "--force") == 0
    path = "dataset/shop/shop.item"
    kinds = read_atomic_file(path)[1]
    if kinds["title"] == "token_seq":
        read = read_features(path, "item_id", "\t", "utf-8")
        squeezed = [" ".join(filter(None, _split_at_controls(title))).strip(" ") for title in titles]
        assert [" ".join(filter(None, said.split(" "))) for said in read["title"]] == [
            " ".join(filter(None, said.split(" "))) for said in squeezed
        ]
    in_recbole("shop", load_col=None)  # RecBole reads the file as well


def _split_at_controls(text):
    return "".join(" " if c < " " or c == "\x7f" else c for c in text).split(" ")


# --- The formats. ---------------------------------------------------------------------------------------------------


def lines(name, suffix="inter"):
    return Path(f"dataset/{name}/{name}.{suffix}").read_text(encoding="utf-8").splitlines()


def test_amazon_of_2018_gzipped_under_any_name():
    reviews = [
        {"reviewerID": "A1", "asin": "0001", "overall": 5.0, "unixReviewTime": 100, "reviewText": "good\nbook"},
        {"reviewerID": "A2", "asin": "0001", "overall": 2.0, "unixReviewTime": 100},
    ]
    with gzip.open("reviews", "wt") as file:
        file.writelines(json.dumps(review) + "\n" for review in reviews)
    write_json(
        "meta.json",
        [
            {"asin": "9", "title": "unread"},
            {
                "asin": "0001",
                "title": '"Dune"',
                "category": ["Books", "SF"],
                "price": "$1,299.50",
                "description": ["a", "b"],
            },
            {"asin": "0001", "title": "again"},
        ],
    )
    assert irllrec("data", "convert", "amazon", "reviews", "--items=meta.json", "--name=b") == 0
    assert lines("b")[1:] == ["A1\t0001\t5\t100", "A2\t0001\t2\t100"]
    assert len(lines("b", "item")) == 2
    features, _ = read_atomic_file("dataset/b/b.item")
    assert features.iloc[0].to_dict() == {
        "item_id": "0001",
        "title": '"Dune"',
        "brand": "",
        "categories": "Books, SF",
        "features": "",
        "description": "a b",
        "price": "1299.5",
    }
    assert pd.read_parquet("dataset/b/b.reviews.parquet")["text"].tolist() == ["good\nbook", ""]


def test_amazon_of_2014_whose_metadata_is_python():
    write_json("r.json", [{"reviewerID": "A", "asin": "B", "overall": 4, "unixReviewTime": 7, "reviewText": "x"}])
    Path("m.json").write_text("{'asin': 'B', 'title': \"Dune's\", 'categories': [['Books', 'SF'], ['Books']]}\n")
    assert irllrec("data", "convert", "amazon", "r.json", "--items=m.json", "--name=b") == 0
    features, _ = read_atomic_file("dataset/b/b.item")
    assert features.loc[0, ["title", "categories"]].tolist() == ["Dune's", "Books, SF"]


def test_amazon_of_2023_and_its_latest_reviews():
    review = {"user_id": "A", "asin": "variant", "parent_asin": "B", "rating": 1.0, "timestamp": 2500, "text": "late"}
    write_json("one.jsonl", [review, {**review, "timestamp": 1000, "rating": 5.0, "text": "early"}])
    write_json("two.jsonl", [{**review, "user_id": "C", "rating": 3.0}])
    assert irllrec("data", "convert", "amazon", "one.jsonl", "two.jsonl", "--name=b") == 0
    assert lines("b")[1:] == ["A\tB\t1\t2.5", "C\tB\t3\t2.5"]
    assert irllrec("data", "convert", "amazon", "one.jsonl", "two.jsonl", "--name=c", "--min-rating=3") == 0
    assert lines("c")[1:] == ["C\tB\t3\t2.5"]  # the latest rating counts


def test_yelp():
    write_json(
        "review.json",
        [{"user_id": "u", "business_id": "b", "stars": 4.0, "date": "1970-01-02 00:00:01", "text": "nice"}],
    )
    write_json(
        "business.json", [{"business_id": "b", "name": "Bar", "categories": "Bars, Food", "city": "Y", "state": "AZ"}]
    )
    write_json("user.json", [{"user_id": "u", "name": "Jo", "yelping_since": "2010-01-01", "average_stars": 3.9}])
    files = ["review.json", "--items=business.json", "--users=user.json"]
    assert irllrec("data", "convert", "yelp", *files, "--name=y") == 0
    assert lines("y")[1:] == ["u\tb\t4\t86401"]
    assert lines("y", "item")[1:] == ["b\tBar\tBars, Food\tY\tAZ"]
    assert lines("y", "user")[1:] == ["u\tJo\t2010"]


def test_csv_columns_dates_and_types():
    write_csv(
        "r.csv", ["kunde", "ware", "sterne", "wann"], [["1", "a", "", "1970-01-02"], ["2", "a", "3", ""]], delimiter=";"
    )
    write_csv(
        "i.csv", ["ware", "title", "rating", "year"], [["a", "1984", "4.5", "x"], ["z", "y", "", ""]], delimiter=";"
    )
    columns = ["--user=kunde", "--item=ware", "--rating=sterne", "--timestamp=wann", "--delimiter=;"]
    assert irllrec("data", "convert", "csv", "r.csv", "--name=s", "--items=i.csv", *columns) == 0
    assert lines("s") == ["user_id:token\titem_id:token\trating:float\ttimestamp:float", "1\ta\t\t86400", "2\ta\t3\t"]
    assert lines("s", "item") == [
        "item_id:token\ttitle:token_seq\titem_rating:float\tyear:token_seq",
        "a\t1984\t4.5\tx",
    ]
    assert not Path("dataset/s/s.reviews.parquet").exists()


def test_what_is_written_is_loaded_and_features_are_not():
    write_csv("r.csv", ["user_id", "item_id", "stars", "day"], [("u", "i", 3, 5), ("v", "i", 4, 6)])
    write_csv("i.csv", ["item_id", "title"], [("i", "one"), ("j", "two")])
    columns = ["--rating=stars", "--timestamp=day", "--items=i.csv"]
    assert irllrec("data", "convert", "csv", "r.csv", "--name=s", *columns) == 0
    train = split_datasets(load_config("s"))[0]
    assert set(train.inter_feat.columns) == {"user_id", "item_id", "rating", "timestamp"}
    assert train.item_num == 2 and train.item_feat is None  # the padding and i; j is no item of an interaction
    assert irllrec("data", "convert", "csv", "r.csv", "--name=t") == 0
    assert set(split_datasets(load_config("t"))[0].inter_feat.columns) == {"user_id", "item_id"}


def test_unseen_items_and_users_are_kept_and_loaded_without_interactions(capsys):
    write_csv("r.csv", ["user_id", "item_id", "stars"], [("u", "i", 5), ("v", "i", 5), ("u", "k", 5), ("v", "low", 1)])
    items = [("new", "nothing yet"), ("i", "one"), ("NA", "none"), ("low", "x")]
    write_csv("i.csv", ["item_id", "title"], items)
    write_csv("u.csv", ["user_id", "city"], [("w", "Rome"), ("v", "Bonn")])
    options = ["--rating=stars", "--min-rating=3", "--items=i.csv", "--users=u.csv", "--keep-unseen"]
    assert irllrec("data", "convert", "csv", "r.csv", "--name=s", *options) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 unseen items with features" in printed and "1 unseen users with features" in printed
    assert lines("s", "item")[1:] == ["new\tnothing yet", "i\tone", "escaped:NA\tnone", "low\tx"]
    train = split_datasets(load_config("s", settings={"eval_args": {"split": {"RS": [1, 0, 0]}}}))[0]
    assert set(train.field2id_token["item_id"]) == {"[PAD]", "i", "k", "new", "escaped:NA", "low"}  # k has no features
    assert set(train.field2id_token["user_id"]) == {"[PAD]", "u", "v", "w"}
    assert in_recbole("s", load_col={"inter": ["user_id", "item_id"]}) == {("u", "i"), ("v", "i"), ("u", "k")}
    assert sum(len(part) for part in split_datasets(load_config("s"))) == 3
    texts = train.node_texts(load_config("s"), ["profile"])["profile"]
    assert texts.present[3 + train.field2id_token["item_id"].tolist().index("new") - 1]  # after the three users
    assert irllrec("data", "split", "s", "--ratios=1,1,1") == 0
    assert split_datasets(load_config("s"))[0].item_num == 6


def test_repeated_purchases_are_counted(capsys):
    rows = [("u", "i", 5, 10, 3), ("v", "i", 4, 1, 1), ("u", "i", 1, 30, 2), ("u", "k", 2, 5, 1), ("u", "i", 4, 20, 9)]
    write_csv("r.csv", ["user_id", "item_id", "stars", "day", "n"], rows)
    write_csv("i.csv", ["item_id", "count"], [("i", "one"), ("k", "two")])
    options = ["--rating=stars", "--timestamp=day", "--items=i.csv", "--count-repeats"]
    assert irllrec("data", "convert", "csv", "r.csv", "--name=s", *options) == 0
    assert "1 interactions with a count above 1" in " ".join(capsys.readouterr().out.split())
    assert lines("s")[0].split("\t")[-1] == "count:float" and lines("s", "item")[0].endswith("item_count:token_seq")
    assert lines("s")[1:] == ["v\ti\t4\t1\t1", "u\ti\t1\t30\t3", "u\tk\t2\t5\t1"]
    train = split_datasets(load_config("s", settings={"eval_args": {"split": {"RS": [1, 0, 0]}}}))[0]
    assert sorted(train.inter_feat["count"].tolist()) == [1, 1, 3]
    assert irllrec("data", "convert", "csv", "r.csv", "--name=s", *options, "--min-rating=2", "--force") == 0
    assert lines("s")[1:] == ["v\ti\t4\t1\t1", "u\tk\t2\t5\t1"]


def test_unseen_items_are_refused_twice_and_without_features(capsys):
    write_csv("r.csv", ["user_id", "item_id"], [("u", "i")])
    write_csv("i.csv", ["item_id", "title"], [("i", "one"), ("j", "two"), ("j", "three")])
    command = ("data", "convert", "csv", "r.csv", "--name=s", "--keep-unseen")
    assert "two rows of the item 'j'" in refusal(capsys, *command, "--items=i.csv")
    assert "no features for --keep-unseen" in refusal(capsys, *command)
    write_csv("i.csv", ["item_id", "title"], [("i", "one"), ("x" * 200_000, "two")])
    assert "200000 characters" in refusal(capsys, *command, "--items=i.csv")
    assert not Path("dataset/s").exists()


# --- Which reviews are kept. ----------------------------------------------------------------------------------------


def core_by_hand(pairs, k):
    pairs = set(pairs)
    while True:
        users, items = ([p[axis] for p in pairs] for axis in (0, 1))
        left = {(u, i) for u, i in pairs if users.count(u) >= k and items.count(i) >= k}
        if left == pairs:
            return left
        pairs = left


@given(pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1), k=st.integers(1, 4))
@IN_ONE_FOLDER
def test_k_core(pairs, k):
    write_csv("r.csv", ["user_id", "item_id"], pairs)
    expected = core_by_hand([(f"{u}", f"{i}") for u, i in pairs], k)
    status = irllrec("data", "convert", "csv", "r.csv", "--name=s", f"--k-core={k}", "--force")
    assert status == (0 if expected else 1)
    if expected:
        assert {tuple(line.split("\t")) for line in lines("s")[1:]} == expected


def test_the_sample_of_users_follows_the_seed():
    write_csv("r.csv", ["user_id", "item_id"], [(f"u{u}", f"i{i}") for u in range(50) for i in range(3)])

    def users(seed):
        assert (
            irllrec("data", "convert", "csv", "r.csv", "--name=s", "--sample-users=0.2", f"--seed={seed}", "--force")
            == 0
        )
        return {line.split("\t")[0] for line in lines("s")[1:]}

    assert len(users(1)) == 10 and len(lines("s")) == 31
    assert users(1) == users(1) != users(2)


# --- Bad input: one sentence, and nothing changed. ------------------------------------------------------------------

REVIEW = b'{"reviewerID": "A", "asin": "B", "overall": 4, "unixReviewTime": 7, "reviewText": "x"}\n'
ZIPPED = gzip.compress(b"".join(REVIEW.replace(b"A", b"A%d" % n) for n in range(2000)))
BAD_JSON = {
    "is empty": b"",
    "no review": b"\n\n",
    "cut short": ZIPPED[:-20],
    "damaged": ZIPPED[:50] + b"\xff" * 20 + ZIPPED[70:],
    "line 2, is no JSON object": REVIEW + b'{"reviewerID": "A", \n',
    "line 1, is no JSON object": b'"text"\n',
    "line 2, is not UTF-8": REVIEW + REVIEW.replace(b"x", b"\xff"),
    "line 1, has no user_id": b'{"asin": "B"}\n',
    "line 1, has no reviewerID": REVIEW.replace(b'"A"', b'""'),
    "line 1, cannot be used (reviewText is no text)": REVIEW.replace(b'"x"', b'{"a": 1}'),
    "line 1, cannot be used (could not convert string": REVIEW.replace(b"4", b'"four"'),
}
BAD_CSV = {
    "is empty": b"",
    "header and no rows": b"user_id,item_id\n",
    "no column 'item_id', but user_id, b": b"user_id,b\n1,2\n",
    "two columns 'user_id'": b"user_id,item_id,user_id\n1,2,3\n",
    "Expected 2 columns, got 3": b"user_id,item_id\n1,2\n1,2,3\n",
    "line 1, is not UTF-8": b"user_id,item_id,Gr\xf6\xdfe\n1,2,3\n",
    "invalid UTF8": b"user_id,item_id\n1,\xff\n",
    "odd number of double quotes": b'user_id,item_id\n1,2\n1,"3\n4,5\n',
    "row 2, has no item_id": b"user_id,item_id\n1,2\n3,\n",
    "None of the": b"user_id,item_id\n1,2\n",
    "is 131072 characters long": b"user_id,item_id\n1," + b"x" * 131_072 + b"\n1,3\n2,3\n2," + b"x" * 131_072 + b"\n",
}


@pytest.fixture
def old_data_set():
    """A data set that is there before, and must be there after."""
    own = Path("dataset/s")
    own.mkdir(parents=True)
    (own / "s.inter").write_text("user_id:token\titem_id:token\nold\told\n")
    (own / "s.item_profile.parquet").write_text("paid for")
    return own


def assert_unchanged(own):
    assert sorted(path.name for path in own.iterdir()) == ["s.inter", "s.item_profile.parquet"]
    assert (own / "s.inter").read_text().endswith("old\told\n")


@pytest.mark.parametrize("words", BAD_JSON)
def test_bad_json(words, capsys, old_data_set):
    Path("bad.json").write_bytes(BAD_JSON[words])
    assert words in refusal(capsys, "data", "convert", "amazon", "bad.json", "--name=s", "--force")
    assert_unchanged(old_data_set)
    assert [path.name for path in Path("dataset").iterdir()] == ["s"]


@pytest.mark.parametrize("words", BAD_CSV)
def test_bad_csv(words, capsys, old_data_set):
    Path("bad.csv").write_bytes(BAD_CSV[words])
    assert words in refusal(capsys, "data", "convert", "csv", "bad.csv", "--name=s", "--k-core=2", "--force")
    assert_unchanged(old_data_set)


def test_bad_columns_features_and_names(capsys, old_data_set):
    write_csv("r.csv", ["user_id", "item_id", "stars", "when"], [("u", "i", "many", "soon")])
    write_csv("twice.csv", ["item_id", "a"], [("i", "x"), ("i", "y")])
    write_csv("other.csv", ["item_id", "a"], [("j", "x")])
    write_csv("ids.csv", ["item_id"], [("i",)])
    write_csv("colon.csv", ["item_id", "a:b"], [("i", "x")])
    for option, words in {
        "--rating=stars": "row 1, column stars, holds 'many', which is no number",
        "--timestamp=when": "row 1, column when, holds 'soon', which is neither a number nor a date",
        "--text=review": "no column 'review'",
        "--items=nowhere.csv": "nowhere.csv: no such file",
        "--items=twice.csv": "two rows of the item 'i'",
        "--items=other.csv": "shares no item id",
        "--items=ids.csv": "no column beside item_id",
        "--items=colon.csv": "cannot be a field's name",
        "--min-rating=3": "no ratings",
        "--name=a/b": "cannot be a data set's",
        "--name=ml-100k": "its own package only",
    }.items():
        assert words in refusal(capsys, "data", "convert", "csv", "r.csv", "--name=s", "--force", option)
        assert_unchanged(old_data_set)
    assert "--force" in refusal(capsys, "data", "convert", "csv", "r.csv", "--name=s")
    assert "nowhere.csv" in refusal(capsys, "data", "convert", "csv", "nowhere.csv", "--name=t")


def test_other_files_are_refused_before_the_reviews_are_read(capsys):
    Path("r.json").write_bytes(REVIEW + b"broken")
    for metadata, words in {"nowhere.json": "no such file", "yelp.json": "line 1, has no asin"}.items():
        Path("yelp.json").write_text('{"business_id": "b"}\n')
        arguments = ["r.json", "--name=s", f"--items={metadata}"]
        sentence = refusal(capsys, "data", "convert", "amazon", *arguments)
        assert metadata in sentence and words in sentence
    assert "yelp.json" in refusal(capsys, "data", "convert", "amazon", "r.json", "yelp.json", "--name=s")


def test_force_keeps_what_it_does_not_write(old_data_set):
    write_csv("r.csv", ["user_id", "item_id"], [("u", "i")])
    assert irllrec("data", "convert", "csv", "r.csv", "--name=s", "--force") == 0
    assert (old_data_set / "s.item_profile.parquet").read_text() == "paid for"
    assert lines("s")[1:] == ["u\ti"]
    assert [path.name for path in Path("dataset").iterdir()] == ["s"]


CONVERT = ("data", "convert", "csv", "r.csv", "--name=s", "--force")


def test_full_disk(capsys, old_data_set):
    write_csv("r.csv", ["user_id", "item_id"], [(f"u{n}", "i" * 100) for n in range(2000)])
    with full_disk(100_000):
        assert refusal(capsys, *CONVERT) == "irllrec: dataset/s: file too large."
    assert_unchanged(old_data_set)
    assert [path.name for path in Path("dataset").iterdir()] == ["s"]


def killed_at_a_rename(at):
    """Convert, and die before the first or second rename."""
    rename, calls = os.rename, []

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*arguments)

    os.rename = counted
    irllrec(*CONVERT)


@pytest.mark.parametrize("at", [1, 2])
def test_killed_at_a_rename(at, capsys, old_data_set):
    write_csv("r.csv", ["user_id", "item_id"], [("u", "i")])
    process = in_a_process("said", killed_at_a_rename, at)
    process.join()
    assert process.exitcode == -9
    replaced = Path("dataset/s.replaced")
    if at == 1:
        assert_unchanged(old_data_set)
    else:
        assert "put aside" in refusal(capsys, *CONVERT)
        assert_unchanged(replaced)
        replaced.rename(old_data_set)
    assert irllrec(*CONVERT) == 0
    assert lines("s")[1:] == ["u\ti"]


def test_numbers_are_written_exactly():
    values = [0.1, 1e22, 1_588_687_728.923, 5.0, np.pi, 1_588_687_728.0]
    write_csv("r.csv", ["user_id", "item_id", "n"], [("u", i, repr(v)) for i, v in enumerate(values)])
    assert irllrec("data", "convert", "csv", "r.csv", "--name=s", "--rating=n") == 0
    assert [float(line.split("\t")[2]) for line in lines("s")[1:]] == values
    assert lines("s")[-1].endswith("\t1588687728")
