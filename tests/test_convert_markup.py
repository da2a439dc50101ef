"""irllrec data convert: texts with HTML, and page source where a text belongs."""

import json
from html import escape
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from command import run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recbole_irllrec.dataset_tools.markup import are_source, plain_texts
from recbole_irllrec.dataset_tools.new_rows import words_of_convert

from recbole_irllrec.api.frames import read_texts
from recbole_irllrec.tables.features import read_atomic_file

SCRIPT = "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();"
SHEET = ".a-box-inner{background-color:#fff}#alohaBuyBoxWidget"


def plain(text):
    return plain_texts(pa.array([text]))[0].as_py()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Tom &amp; Jerry&#39;s <span class="a">Cup</span>', "Tom & Jerry's Cup"),
        ("AT&amp;amp;T &lt;br /&gt;and&nbsp;more<br>lines<BR/><BR/>here", "AT&T\nand more\nlines\nhere"),
        ("</span></span></span>", ""),
        ("one <script>if (a < b) {}</script> two<style>a{b:c}</style>", "one two"),
        ('<a href="x > y" class=z>link</a> &#x27;q&#X27; <!-- a\nb -->.', "link 'q' ."),
        ('<a href="x"" class="y">link</a> "a" > "b"', 'link "a" > "b"'),
        ("[[VIDEOID:abc12]] Like [[ASIN:B001 the cup]], but red", "Like the cup, but red"),
    ],
)
def test_markup_is_resolved(text, expected):
    assert plain(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a < b, <3, R&D, AT&T; and <a, b>",
        "if a <b and c> d",
        "&notit; &foo; &;",
        "  two  spaces\r\nand a line ",
        "the <title> of List<String>",
        "",
    ],
)
def test_a_text_without_markup_stays(text):
    assert plain(text) == text


PIECES = st.sampled_from(
    ["<b>", "</p>", "<br />", "<script>", "</script>", "&amp;", "&", "amp;", "#38;", "lt;", "<", " "]
)


@given(st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=8).map("".join))
@example("&amp;nbsp;<b\xa0/>")
@settings(deadline=None, max_examples=50)
def test_escaping_adds_nothing_and_resolving_ends(text):
    assert plain(plain(text)) == plain(text)
    assert plain(escape(text, quote=True)).split() == plain(text).split()
    assert plain(escape(escape(text))).split() == plain(text).split()


@given(st.text(st.characters(exclude_characters="<&[", exclude_categories=["Cs", "Cc", "Z"])))
@settings(deadline=None, max_examples=50)
def test_what_html_escapes_comes_back(text):
    everything = f"'{text}' \"R&D\" 1 < 2 > 0"
    assert plain(escape(everything, quote=True)) == everything
    assert plain("".join(f"&#{ord(c)};" for c in text)) == plain("".join(f"&#x{ord(c):x};" for c in text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SCRIPT, True),
        (SHEET, True),
        ("<!doctype html><html><body>A shop", True),
        ("<script>f()</script>", True),
        ("@media screen{.a{color:red}}", True),
        ("/* a */ body { margin: 0 }", True),
        ("P.when('A').execute(function(A){})", True),
        ("(function(f) {f()})", True),
        ("<span>if(window.ue) ue()</span>", True),
        ("P.S. I Love You", False),
        ("#1 in cups {large}", False),
        (".38 caliber: a history", False),
        ("a mug {size: big}", False),
        ("var: a town; function: cup", False),
        ("Let x = 5", False),
        ("", False),
        (None, False),
    ],
)
def test_page_source_is_told_from_texts(text, expected):
    texts = pa.array([text], pa.string())
    assert are_source(texts, plain_texts(texts)).to_pylist() == [expected]


def write_amazon(metadata):
    review = {"reviewerID": "A1", "overall": 5.0, "unixReviewTime": 1, "reviewText": "ok"}
    reviews = [{**review, "asin": item["asin"]} for item in metadata]
    reviews[0]["reviewText"] = "[[VIDEOID:a1]] Good,<br />and &#34;soft&#34;\n"
    Path("r.json").write_text("".join(json.dumps(line) + "\n" for line in reviews))
    Path("m.json").write_text("".join(json.dumps(line) + "\n" for line in metadata))
    return run("data", "convert", "amazon", "r.json", "--items=m.json", "--name=d").stdout


def test_amazon_metadata_of_2018():
    said = write_amazon(
        [
            {
                "asin": "B1",
                "title": 'Tom &amp; Jerry&#39;s <span class="a">Cup</span>',
                "description": ["<p>Soft &quot;cup&quot;</p>", "", "Soft", SHEET],
                "category": [["Toys &amp; Games", "Cups"], ["Toys & Games", "</span></span></span>"]],
                "price": "$12.00",
                "feature": [],
            },
            {"asin": "B2", "title": SCRIPT, "description": "one string", "category": [], "price": SHEET},
        ]
    )
    features, _ = read_atomic_file("dataset/d/d.item")
    assert features.drop(columns=["brand", "features"]).to_numpy().tolist() == [
        ["B1", "Tom & Jerry's Cup", "Toys & Games, Cups", 'Soft "cup" Soft', "12.0"],
        ["B2", "", "", "one string", ""],
    ]
    assert "1  items whose title is page source, script or style, and counts as missing" in said
    assert "1  items whose description is page source, script or style, and counts as missing" in said
    assert "1  items whose price is missing or no number" in said
    assert "1  items with HTML in their title, which is resolved" in said
    assert "1  review texts with HTML, which is resolved" in said
    assert pd.read_parquet("dataset/d/d.reviews.parquet")["text"].tolist() == ['Good,\nand "soft"', "ok"]


def test_half_a_surrogate_pair_in_a_list():
    write_amazon([{"asin": "B1", "title": "cup \ud83e", "category": [["a\ud83e", None, 3]]}])
    features, _ = read_atomic_file("dataset/d/d.item")
    assert features.loc[0, ["title", "categories"]].tolist() == ["cup \ufffd", "a\ufffd"]


def test_nothing_in_a_list():
    frame = pd.DataFrame({"item": ["a", "b"], "tags": [["x", None, "y"], [None]]})
    assert words_of_convert(frame, "item_id")["tags"].tolist() == ["x, y", ""]
    assert read_texts(frame, "item", None, set()).texts.tolist() == ["tags: x, y", ""]


def test_csv_files_as_well():
    Path("r.csv").write_text("user_id,item_id,said\nu,i,a &lt; b\nu,j,a &amp c<\n")
    Path("i.csv").write_text("item_id,title,body\ni,R&D,<p>one</p><p>two</p>\nj,A&amp;B,plain\n")
    said = run("data", "convert", "csv", "r.csv", "--name=d", "--text=said", "--items=i.csv").stdout
    features, _ = read_atomic_file("dataset/d/d.item")
    assert features.to_numpy().tolist() == [["i", "R&D", "one two"], ["j", "A&B", "plain"]]
    assert pd.read_parquet("dataset/d/d.reviews.parquet")["text"].tolist() == ["a < b", "a &amp c<"]
    assert "1  items with HTML in their body, which is resolved" in said
