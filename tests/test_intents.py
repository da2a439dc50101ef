"""The text-intent table, the fingerprint and atomic writing."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recbole_irllrec.data.features import train_fingerprint
from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.files import atomic_write

words = st.text(max_size=8)
pairs = st.lists(st.tuples(words, words), max_size=12)
bounded = settings(max_examples=40, deadline=None)


@st.composite
def tables(draw):
    tokens = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=12, unique=True))
    kind = draw(st.sampled_from([np.float16, np.float32]))
    numbers = st.floats(-60_000, 60_000, width=16)
    embeddings = draw(arrays(kind, (len(tokens), draw(st.integers(1, 5))), elements=numbers))
    missing = draw(arrays(bool, len(tokens)))
    embeddings[missing] = 0
    texts = draw(st.lists(words, min_size=len(tokens), max_size=len(tokens)))
    source = draw(st.sampled_from(["features", "interactions"]))
    fingerprint = draw(st.none() | words)
    return IntentTable.from_arrays(
        tokens, embeddings, texts, encoder=draw(words), source=source, train_fingerprint=fingerprint
    )


def assert_equal(first, second):
    np.testing.assert_array_equal(first.tokens, second.tokens)
    np.testing.assert_array_equal(first.texts, second.texts)
    np.testing.assert_array_equal(first.present, second.present)
    np.testing.assert_array_equal(first.embeddings, second.embeddings)
    assert first.embeddings.dtype == second.embeddings.dtype
    assert first.metadata == second.metadata


@bounded
@given(tables())
def test_what_is_written_is_read(table):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        table.write(path)
        assert_equal(IntentTable.read(path), table)
        assert os.listdir(folder) == ["t.parquet"]


@bounded
@given(tables(), st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=8), st.randoms())
def test_rows_are_those_of_a_naive_look_up(table, others, random):
    asked = list(dict.fromkeys([*table.tokens[: random.randint(1, len(table.tokens))], *others]))
    random.shuffle(asked)
    rows = table.rows_for(np.array(asked, dtype=object))
    position = {token: i for i, token in enumerate(table.tokens)}
    for token, embedding, present in zip(asked, rows.embeddings, rows.present, strict=True):
        i = position.get(token)
        assert present == (i is not None and table.present[i])
        np.testing.assert_array_equal(embedding, 0 if i is None else table.embeddings[i])
    assert rows.unknown == len(set(table.tokens) - set(asked))
    assert rows.embeddings.dtype == table.embeddings.dtype


def test_the_file_is_the_documented_one(tmp_path):
    IntentTable.from_arrays(["a", "b"], np.ones((2, 4)), ["x", ""], encoder="e", source="features").write(
        tmp_path / "t.parquet"
    )
    read = pq.read_table(tmp_path / "t.parquet")
    assert read.schema.names == ["token", "text", "embedding"]
    assert read.schema.field("embedding").type == pa.list_(pa.field("element", pa.float32(), nullable=False), 4)
    stored = json.loads(read.schema.metadata[b"recbole_irllrec"])
    assert stored.pop("created_with").startswith("recbole-irllrec ")
    assert stored == {
        "encoder": "e",
        "dim": 4,
        "prompt_version": None,
        "normalized": False,
        "source": "features",
        "train_fingerprint": None,
        "encoding": None,
    }


def test_a_table_with_a_missing_embedding_is_readable_by_pyarrow_itself(tmp_path):
    IntentTable.from_arrays(["a", "b"], np.eye(2, 3)[[0, 1]] * [[1], [0]], encoder="e", source="features").write(
        tmp_path / "t.parquet"
    )
    assert pq.read_table(tmp_path / "t.parquet")["embedding"].to_pylist() == [[1, 0, 0], None]


@pytest.mark.parametrize("number", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string()])
def test_a_fixed_size_list_with_null_of_somebody_else_is_read(tmp_path, number, text):
    values = np.arange(6, dtype=number).reshape(3, 2)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 2, mask=pa.array([False, True, False]))
    metadata = {"recbole_irllrec": json.dumps({"encoder": "e", "dim": 2, "source": "features", "theirs": 1})}
    tokens, texts = pa.array(["a", "b", "c"], text), pa.array(["x", None, "z"], text)
    pq.write_table(
        pa.table({"embedding": column, "text": texts, "token": tokens, "more": [1, 2, 3]}).replace_schema_metadata(
            metadata
        ),
        tmp_path / "t.parquet",
    )
    table = IntentTable.read(tmp_path / "t.parquet")
    assert list(table.tokens) == ["a", "b", "c"]
    assert list(table.texts) == ["x", "", "z"]
    assert list(table.present) == [True, False, True]
    np.testing.assert_array_equal(table.embeddings, [[0, 1], [0, 0], [4, 5]])
    assert table.embeddings.dtype == (np.float16 if number == np.float16 else np.float32)


def test_a_table_of_several_row_groups_is_read(tmp_path):
    n = 40_000
    embeddings = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    embeddings[::7] = 0
    table = IntentTable.from_arrays(np.arange(n).astype(str), embeddings, encoder="e", source="features")
    table.write(tmp_path / "t.parquet")
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups > 1
    assert_equal(IntentTable.read(tmp_path / "t.parquet"), table)


@bounded
@given(st.data())
def test_recboles_atomic_file_keeps_tokens_and_embeddings(data):
    tokens = data.draw(st.lists(st.from_regex(r"[a-z0-9é]{1,6}", fullmatch=True), min_size=1, max_size=8, unique=True))
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    embeddings = data.draw(arrays(np.float32, (len(tokens), data.draw(st.integers(1, 4))), elements=numbers))
    embeddings[0] = 1
    table = IntentTable.from_arrays(tokens, embeddings, encoder="e", source="features")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "d.emb"
        table.write_atomic_file(path, "iid", "emb")
        assert path.read_text(encoding="utf-8").startswith("iid:token\temb:float_seq\n")
        read = IntentTable.read(path)
    np.testing.assert_array_equal(read.tokens, table.tokens)
    np.testing.assert_array_equal(read.embeddings, table.embeddings)
    np.testing.assert_array_equal(read.present, table.present)
    assert (read.metadata.encoder, read.metadata.source) == (None, None)


def test_an_atomic_file_with_other_separators(tmp_path):
    (tmp_path / "d.emb").write_text("iid:token|emb:float_seq|year:float\na|1,2|1999\nb||\nc|,3,,4,|\n", "latin-1")
    table = IntentTable.read(tmp_path / "d.emb", "|", ",", "latin-1")
    np.testing.assert_array_equal(table.embeddings, [[1, 2], [0, 0], [3, 4]])


@bounded
@given(pairs, st.randoms())
@example([("", "a"), ("", "\0"), ("", "")], Random(1))
def test_the_fingerprint_is_one_of_a_set(interactions, random):
    shuffled = interactions + interactions[: len(interactions) // 2]
    random.shuffle(shuffled)
    assert fingerprint_of(shuffled) == fingerprint_of(interactions)


@bounded
@given(pairs, st.tuples(words, words))
def test_another_interaction_is_another_fingerprint(interactions, pair):
    # tokens with the separators of atomic files do not exist
    if pair not in interactions and not any("\t" in t or "\n" in t for p in [pair, *interactions] for t in p):
        assert fingerprint_of([*interactions, pair]) != fingerprint_of(interactions)


def fingerprint_of(interactions):
    return train_fingerprint([user for user, _ in interactions], [item for _, item in interactions])


def test_the_fingerprint_is_that_of_the_documented_command(tmp_path):
    lines = ["user_id:token\titem_id:token\trating:float", "b\t10\t1", "b\t9\t5", "é\t9\t2", "a b\t1\t1", "a\t1\t1"]
    (tmp_path / "d.train.inter").write_text("\n".join([*lines, lines[1]]) + "\n", encoding="utf-8")
    command = "tail -n +2 d.train.inter | cut -f1,2 | LC_ALL=C sort -u | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    frame = pd.DataFrame([line.split("\t") for line in lines[1:]])
    assert train_fingerprint(frame[0].to_numpy(), frame[1].to_numpy()) == printed.split()[0]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "folder" / "file"
    with atomic_write(path) as file:
        file.write(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"half of the n")
        file.flush()
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]
