"""irllrec data describe."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import irllrec, refusal
from recbole_irllrec.dataset_tools.describe import describe, histogram
from text_files import ITEMS, TEST, TRAIN, USERS, VALID, fingerprint, table, write_dataset

SETTINGS = "benchmark_filename: [train, valid, test]\n"


@pytest.fixture
def tiny():
    own = write_dataset(Path("dataset"))
    (own / "tiny.yaml").write_text(SETTINGS)
    return own


def test_figures(tiny):
    found = describe("tiny")
    assert (found["users"], found["items"], found["interactions"], found["density"]) == (3, 4, 12, 1.0)
    assert found["per_user"]["counts"] == {4: 3} and found["per_item"]["median"] == 3
    assert found["per_item"] == {
        **{"mean": 3.0, "min": 3.0, "25 %": 3.0, "median": 3.0, "75 %": 3.0, "95 %": 3.0, "max": 3.0},
        "counts": {3: 4},
    }
    split = found["split"]
    assert [split[part] for part in ("train", "valid", "test")] == [len(TRAIN), len(VALID), len(TEST)] and split[
        "fixed"
    ]
    assert found["cold"]["items in the .item file alone"] == 1  # i5
    title = next(text for text in found["texts"] if text["what"] == ".item, title")
    assert (title["with text"], title["of"], title["words, max"]) == (4, 4, 4)
    assert not any("rating" in text["what"] for text in found["texts"])


def test_histogram():
    assert histogram({1: 5, 2: 1, 3: 1, 9: 7}) == {"1": 5, "2-3": 2, "4-7": 0, "8-15": 7}


def warnings(dataset="tiny"):
    return " ".join(describe(dataset)["warnings"])


def test_warnings():
    own = write_dataset(Path("dataset"), train=[*TRAIN, TRAIN[0], TEST[0]], valid=[*VALID, ("u9", "i9")])
    (own / "tiny.yaml").write_text(SETTINGS)
    said = warnings()
    assert "1 interactions repeat a user and item" in said
    assert "1 user-item pairs are both in training and held out" in said
    assert "1 users are held out" in said and "1 items are held out" in said
    assert "users have fewer than 5" in said and "drawn anew" not in said


def test_warnings_about_the_split():
    own = Path("dataset/loose")
    own.mkdir(parents=True)
    rows = "".join(f"u{u}\ti{i}\t{u + i}\n" for u in range(5) for i in range(10))
    (own / "loose.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + rows)
    said = warnings("loose")
    assert "drawn anew" in said and "order TO" in said
    assert irllrec("data", "split", "loose", "--order=TO") == 0
    said = warnings("loose")
    assert "drawn anew" not in said and "order TO" not in said


def test_tables_and_reviews(tiny):
    table(USERS, source="interactions", train_fingerprint=fingerprint()).write(tiny / "tiny.user_profile.parquet")
    table(ITEMS[:3], source="interactions", train_fingerprint="0" * 64).write(tiny / "tiny.item_profile.parquet")
    table(ITEMS, source="interactions").write(tiny / "tiny.item_intent.parquet")
    pd.DataFrame({"user": ["u1", "u2"], "text": ["two words", ""]}).to_parquet(tiny / "tiny.reviews.parquet")
    texts = {text["what"]: text for text in describe("tiny")["texts"]}
    assert texts["reviews"]["with text"] == 1 and texts["reviews"]["words, mean"] == 2
    assert texts["tiny.item_profile.parquet"]["with embedding"] == 3 and texts["tiny.item_profile.parquet"]["dim"] == 3
    said = warnings()
    assert "tiny.item_profile.parquet was made with other training interactions" in said
    assert "tiny.item_intent.parquet was made with interactions and does not say which" in said
    assert "user_profile" not in said


def test_printed_for_people_and_for_programs(tiny, capsys):
    assert irllrec("data", "describe", "tiny", "--plot=plots/tiny.html") == 0
    printed = capsys.readouterr().out
    assert "3 users, 4 items, 12 interactions" in printed and "█" in printed and "fewer than 5" in printed
    page = Path("plots/tiny.html").read_text()
    assert "Plotly.newPlot" in page and "<script src=" not in page
    assert irllrec("data", "describe", "tiny", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["per_user"]["counts"] == {"4": 3} and found["warnings"]


def test_names_are_no_markup(capsys):
    item = "item_id:token\t[red]:token_seq\ni1\tword\n"
    (write_dataset(Path("dataset"), item=item) / "tiny.yaml").write_text(SETTINGS)
    assert irllrec("data", "describe", "tiny") == 0
    assert ".item, [red]" in capsys.readouterr().out


def test_refusals(tiny, capsys):
    assert "nowhere is not there" in refusal(capsys, "data", "describe", "nowhere")
    (tiny / "tiny.reviews.parquet").write_bytes(b"PAR1 cut short")
    assert "cannot be read as reviews" in refusal(capsys, "data", "describe", "tiny")
    np.save(tiny / "x.npy", np.ones(1))
    (tiny / "x.npy").rename(tiny / "tiny.reviews.parquet")
    assert "cannot be read as reviews" in refusal(capsys, "data", "describe", "tiny")
