"""Embeddings that people already have: what arrives, and what is refused."""

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import full_disk, run
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from recbole_irllrec.dataset_tools.import_embeddings import read_embeddings, read_texts
from test_text_bad_input import refused
from text_files import TRAIN, fingerprint, load, node_texts, write_dataset

from recbole_irllrec.data.intents import IntentTable

bounded = settings(max_examples=40, deadline=None)
ids = st.lists(
    st.text(min_size=1, max_size=40) | st.from_regex(r"0{1,3}[0-9]", fullmatch=True), min_size=1, unique=True
)
line_ids = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1, max_size=12)
texts_of = st.text(max_size=20)


@st.composite
def given_arrays(draw, tokens=ids, dtype=np.float32):
    names = draw(tokens)
    width, most = (16, 2.0**15) if dtype == np.float16 else (32, 2.0**127)
    bits = st.floats(-most, most, width=width)
    return names, draw(arrays(dtype, (len(names), draw(st.integers(1, 4))), elements=bits))


def assert_arrives(found, names, embeddings):
    assert found.tokens.tolist() == names
    np.testing.assert_array_equal(found.embeddings, embeddings)
    table = IntentTable.from_arrays(*found, encoder="e", source="features")
    assert table.embeddings.dtype == embeddings.dtype


@bounded
@given(given_arrays(st.lists(line_ids, min_size=1, unique=True)))
def test_npy_with_a_line_for_each_id(data):
    names, embeddings = data
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "e.npy"), embeddings)
        Path(folder, "ids.txt").write_bytes("\n".join(names).encode() + b"\n")
        assert_arrives(read_embeddings(Path(folder, "e.npy"), f"{folder}/ids.txt"), names, embeddings)


@bounded
@given(given_arrays(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, unique=True), np.float16))
def test_npz_with_ids_of_integers(data):
    names, embeddings = data
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "e.npz"), ids=np.array(names, np.int64), embeddings=embeddings)
        np.save(Path(folder, "ids.npy"), np.array(names, np.int64))
        expected = [str(name) for name in names]
        assert_arrives(read_embeddings(Path(folder, "e.npz")), expected, embeddings)
        assert_arrives(read_embeddings(Path(folder, "e.npz"), f"{folder}/ids.npy"), expected, embeddings)


@bounded
@given(given_arrays(), st.sampled_from(["lists", "fixed", "columns"]), st.data())
def test_parquet(data, form, draw):
    names, embeddings = data
    said = draw.draw(st.lists(texts_of, min_size=len(names), max_size=len(names)))
    dim = embeddings.shape[1]
    flat = pa.array(embeddings.ravel())
    if form == "columns":
        vectors = {f"dim_{i}": embeddings[:, i] for i in range(dim)}
    else:
        fixed = pa.FixedSizeListArray.from_arrays(flat, dim)
        vectors = {"v": fixed if form == "fixed" else fixed.cast(pa.list_(pa.float32()))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "e.parquet")
        pq.write_table(pa.table({"year": np.arange(len(names)), "asin": names, "said": said, **vectors}), path)
        found = read_embeddings(path, "asin", "dim_*" if form == "columns" else "v", "said")
    assert_arrives(found, names, embeddings)
    assert found.texts.tolist() == said


@bounded
@given(given_arrays(), st.booleans(), st.data())
def test_csv(data, one_column, draw):
    names, embeddings = data
    said = draw.draw(st.lists(texts_of, min_size=len(names), max_size=len(names)))
    numbers = [[str(number) for number in row] for row in embeddings]
    cells = [["[" + ", ".join(row) + "]"] for row in numbers] if one_column else numbers
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "e.csv")
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(["token", "text", *(["embedding"] if one_column else map(str, range(embeddings.shape[1])))])
            writer.writerows([name, text, *cell] for name, text, cell in zip(names, said, cells, strict=True))
        found = read_embeddings(path, texts="text")
    assert_arrives(found, names, embeddings)
    assert found.texts.tolist() == said


def test_what_looks_like_a_missing_value_is_an_id(tmp_path):
    (tmp_path / "e.tsv").write_text("token\ta\tb\n007\t1\t2\nNA\t3\t4\nnull\t\t\n1e3\t5\t6\n")
    found = read_embeddings(tmp_path / "e.tsv")
    assert found.tokens.tolist() == ["007", "NA", "null", "1e3"]
    np.testing.assert_array_equal(found.embeddings, [[1, 2], [3, 4], [0, 0], [5, 6]])


def test_the_index_of_a_frame_is_no_dimension(tmp_path):
    frame = pd.DataFrame({"token": ["a", "b", "c"], "0": [0.1, 0.3, 0.5], "1": [0.2, 0.4, 0.6]})
    frame.to_csv(tmp_path / "e.csv")
    pd.read_csv(tmp_path / "e.csv").to_csv(tmp_path / "again.csv", index=False)
    frame[frame["0"] > 0.2].to_parquet(tmp_path / "e.parquet")
    for name, column in {"e.csv": "''", "again.csv": "'Unnamed: 0'", "e.parquet": "'__index_level_0__'"}.items():
        with refused(f"{name} has a column {column}, as a data frame's index", "--vectors"):
            read_embeddings(tmp_path / name)
        assert read_embeddings(tmp_path / name, vectors="[01]").embeddings.shape[1] == 2


def test_tabs_part_the_columns_of_a_tsv_file(tmp_path):
    (tmp_path / "t.TSV").write_text("token\ttext\na\tb, c\n")
    assert read_texts(tmp_path / "t.TSV")[1].tolist() == ["b, c"]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path, name):
    with pa.output_stream(tmp_path / name) as file:
        file.write(b'token,text\na,"unclosed\nb,fine\nc,fine\n')
    with refused(f"{name} has an odd number of double quotes", "mend it."):
        read_texts(tmp_path / name)


def test_texts_of_another_file(tmp_path):
    np.save(tmp_path / "e.npy", np.eye(3))
    (tmp_path / "ids.txt").write_text("a\r\nb\r\nc\r\n")
    (tmp_path / "texts.csv").write_text('token,text\nc,"two\nlines"\na,x\nz,unknown\n')
    found = read_embeddings(tmp_path / "e.npy", str(tmp_path / "ids.txt"), texts=str(tmp_path / "texts.csv"))
    assert found.texts.tolist() == ["x", "", "two\nlines"]


# Bad input


class Trap:
    """Unpickled, it leaves a mark."""

    def __reduce__(self):
        return (open, ("mark", "w"))


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def parquet(**columns):
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("e.npy", npy(np.array([Trap(), Trap()], object)), ("e.npy", "numbers and strings", "no objects")),
        ("e.npy", b"", ("e.npy", "damaged")),
        ("e.npy", npy(np.eye(2))[:-8], ("e.npy", "damaged")),
        ("e.npy", npy(np.eye(3)), ("3 embeddings", "ids.txt 2 ids", "one id for each")),
        ("e.npy", npy(np.ones(2)), ("e.npy", "shape [2]", "one row of numbers")),
        ("e.npy", npy(np.array([["1"], ["2"]])), ("e.npy", "<U1", "numbers")),
        ("e.npy", None, ("e.npy", "no file", "correct the path")),
        ("e.npz", b"PK\x03\x04 no more", ("e.npz", "damaged")),
        ("e.npz", npy(np.eye(2)), ("e.npz", ".npy file", "name it so")),
        ("e.txt", b"1 2\n", ("e.txt", "neither Parquet nor CSV", ".parquet")),
        ("e.csv", b"", ("e.csv", "cannot be read", "mend it")),
        ("e.csv", b"a,b\n", ("0 embeddings", "2 ids")),
        ("e.csv", b"a,b\n1,2\n3\n", ("e.csv", "cannot be read", "Expected 2 columns")),
        ("e.csv", b"a,b\n1,2\n3,two\n", ("e.csv", "two")),
        ("e.csv", b"a,a\n1,2\n", ("e.csv", "several columns a", "rename")),
        ("e.csv", b"embedding\n1 2\n3 4 5\n", ("column embedding", "different widths, from 2 to 3")),
        ("e.csv", b"embedding\n1 2\n3 four\n", ("column embedding", "no number", "four")),
        ("e.parquet", b"PAR1", ("e.parquet", "cannot be read")),
        ("e.parquet", parquet(embedding=[[1.0], [2.0]])[:-30], ("e.parquet", "cannot be read")),
        ("e.parquet", parquet(embedding=[[1.0], [2.0, 3.0]]), ("column embedding", "different widths")),
        ("e.parquet", parquet(embedding=[["a"], ["b"]]), ("column embedding", "list", "numbers are expected")),
        ("e.parquet", parquet(a=["x", "y"]), ("column a", "string", "numbers are expected", "leave others out")),
    ],
)
def test_files_of_embeddings_that_are_none(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "ids.txt").write_text("x\ny\n")
    with refused(*said):
        read_embeddings(tmp_path / name, str(tmp_path / "ids.txt"))
    assert not Path("mark").exists()


@pytest.mark.parametrize(
    ("columns", "ids", "said"),
    [
        ({"token": [1.5, 2.0]}, None, ("column token", "double", "strings or integers", "convert")),
        ({"token": ["a", None]}, None, ("column token", "empty in 1 row", "fill it")),
        ({"token": ["a", ""]}, None, ("empty id", "row 2")),
        ({"asin": ["a", "b"]}, None, ("no column token", "asin", "name the right one")),
        ({"token": ["a", "b"]}, "asin", ("no column asin", "token")),
    ],
)
def test_ids_that_are_none(tmp_path, columns, ids, said):
    pq.write_table(pa.table({**columns, "embedding": [[1.0], [2.0]]}), tmp_path / "e.parquet")
    with refused("e.parquet", *said):
        read_embeddings(tmp_path / "e.parquet", ids)


def test_files_of_ids_that_are_none(tmp_path):
    np.save(tmp_path / "e.npy", np.eye(2))
    for name, content, said in (
        ("ids.npy", npy(np.array([1.0, 2.0])), ("float64", "string or integer")),
        ("ids.npy", npy(np.array([Trap(), 1], object)), ("ids.npy", "no objects")),
        ("ids.txt", "é\nb\n".encode("latin-1"), ("ids.txt", "not UTF-8")),
    ):
        (tmp_path / name).write_bytes(content)
        with refused(*said):
            read_embeddings(tmp_path / "e.npy", str(tmp_path / name))
    assert not Path("mark").exists()
    with refused("e.npy", "nowhere.txt is no file", "--ids"):
        read_embeddings(tmp_path / "e.npy", "nowhere.txt")
    with refused("e.npy", "no file of ids is given", "--ids"):
        read_embeddings(tmp_path / "e.npy")


# The command


def benchmark_settings():
    Path("tiny.yaml").write_text("benchmark_filename: [train, valid, test]\n")
    return ("--data-path", ".", "--config-files", "tiny.yaml")


def test_imported_tables_are_those_that_training_uses(tmp_path):
    own = write_dataset(tmp_path)
    rows = "token,text,a,b\ni1,barn,1,2\ni2,river,3,4\ni3,hills,5,6\ni4,moon,7,8\n"
    (own / "items.csv").write_text(rows.replace(",", "\t"))
    np.savez(own / "users.npz", ids=["u1", "u2", "u3"], embeddings=np.eye(3, 2, dtype=np.float16))
    shared = ("--encoder-name", "mine", *benchmark_settings())
    items = run(
        "intents", "import", "tiny", "--side", "item", "--embeddings", "tiny/items.csv", "--texts", "text",
        "--source", "features", "--atomic", "--delimiter", r"\t", *shared,
    )  # fmt: skip
    assert items.stdout.count("4 tokens, 4 embedded, 2 wide, float32, encoder mine") == 4
    run(
        "intents", "import", "tiny", "--side", "user", "--embeddings", "tiny/users.npz", "--source", "interactions",
        *shared,
    )  # fmt: skip
    users = IntentTable.read(own / "tiny.user_intent.parquet")
    assert (users.metadata.encoder, users.metadata.source) == ("mine", "interactions")
    assert users.metadata.train_fingerprint == fingerprint(TRAIN)
    assert users.present.tolist() == [True, True, False]
    assert IntentTable.read(own / "tiny.item_profile.parquet").texts.tolist() == ["barn", "river", "hills", "moon"]
    config, dataset = load(tmp_path, min_text_coverage=0)
    text = dataset.node_texts(config, ["intent"])["intent"]
    rows = dict(zip(dataset.field2id_token["item_id"][1:], text.embedding[3:].tolist(), strict=True))
    assert rows == {"i1": [1, 2], "i2": [3, 4], "i3": [5, 6], "i4": [7, 8]}


def test_the_atomic_files_are_what_the_documentation_says(tmp_path):
    own = write_dataset(tmp_path)
    (own / "items.csv").write_text("token,a,b\ni1,1,2\ni2,3,4\ni3,5,6\ni4,7,8\n")
    run(
        "intents", "import", "tiny", "--side", "item", "--embeddings", "tiny/items.csv", "--source", "features",
        "--encoder-name", "mine", "--kind", "profile", "--atomic", "--data-path", ".",
    )  # fmt: skip
    (own / "tiny.item_profile.parquet").unlink()
    documented = {
        "additional_feat_suffix": ["item_profile"],
        "load_col": {
            "inter": ["user_id", "item_id"],
            "item_profile": ["item_profile_id", "item_profile_embedding"],
        },
        "alias_of_item_id": ["item_profile_id"],
        "preload_weight": {"item_profile_id": "item_profile_embedding"},
    }
    dataset = load(tmp_path, **documented)[1]
    weights = dataset.get_preload_weight("item_profile_id")
    tokens = dataset.field2id_token["item_id"]
    assert {token: row.tolist() for token, row in zip(tokens[1:], weights[1:], strict=True)} == {
        "i1": [1, 2], "i2": [3, 4], "i3": [5, 6], "i4": [7, 8],
    }  # fmt: skip
    texts = node_texts(tmp_path, ["profile"], **documented, user_text="mean_of_items")
    assert texts["profile"].present.all()


def test_a_refused_import_leaves_what_was_there(tmp_path):
    own = write_dataset(tmp_path)
    table = own / "tiny.item_profile.parquet"
    table.write_bytes(b"what was there")
    (own / "items.csv").write_text("token,a\ni1,1\ni1,2\n")
    shared = ("--source", "features", "--encoder-name", "e", "--data-path", ".")
    for extra, said in (
        ([], "repeats 1 row"),
        (["--vectors", "nothing"], "no column of embeddings nothing"),
        (["--ids", "a", "--vectors", "token"], "no number"),
    ):
        result = run(
            "intents", "import", "tiny", "--side", "item", "--embeddings", "tiny/items.csv", *shared, *extra, status=1
        )
        assert said in result.stderr and result.stderr.startswith("irllrec: ") and result.stderr.count("\n") == 1
    result = run("intents", "import", "nothing", "--side", "item", "--embeddings", "tiny/items.csv", *shared, status=1)
    assert "nothing is not there" in result.stderr
    (own / "tabs.csv").write_text('token,a\n"i\t1",1\n')
    result = run(
        "intents", "import", "tiny", "--side", "item", "--embeddings", "tiny/tabs.csv", *shared, "--atomic", status=1
    )
    assert "tab or line break" in result.stderr
    assert table.read_bytes() == b"what was there"
    assert {path.name for path in own.glob("tiny.item*")} == {"tiny.item", "tiny.item_profile.parquet"}


def test_a_full_disk_leaves_what_was_there(tmp_path):
    own = write_dataset(tmp_path)
    table = own / "tiny.item_intent.parquet"
    table.write_bytes(b"what was there")
    np.save(own / "e.npy", np.ones((5000, 40), np.float32))
    (own / "ids.txt").write_text("\n".join(map(str, range(5000))))
    with full_disk(100_000):
        done = run(
            "intents", "import", "tiny", "--side", "item", "--embeddings", "tiny/e.npy", "--ids", "tiny/ids.txt",
            "--source", "features", "--encoder-name", "e", "--data-path", ".", status=1,
        )  # fmt: skip
    assert done.stderr.startswith("irllrec: ") and "too large" in done.stderr.lower()
    assert table.read_bytes() == b"what was there"
    assert not [path for path in own.iterdir() if path.name.endswith(".tmp")]
