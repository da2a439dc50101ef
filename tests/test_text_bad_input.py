"""What is refused before training, and the sentence that says so."""

import json
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_text import both_preloaded, preload_settings
from text_files import ITEMS, TRAIN, USERS, fingerprint, node_texts, table, write_dataset, write_tables

from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.errors import IRLLRecError

METADATA = {"encoder": "e", "dim": 2, "source": "features"}


def refused(*said):
    """The block is refused in one sentence, which says all of this."""
    return _Refused(said)


class _Refused:
    def __init__(self, said):
        self.said = said
        self.raises = pytest.raises(IRLLRecError)

    def __enter__(self):
        self.info = self.raises.__enter__()

    def __exit__(self, *error):
        swallowed = self.raises.__exit__(*error)
        message = str(self.info.value)
        for part in self.said:
            assert part in message
        assert "\n" not in message
        assert message.endswith(".")
        return swallowed


def write_columns(path, metadata=METADATA, **columns):
    """Write a Parquet file with a table's columns, some of them replaced or dropped (None)."""
    plain = {
        "token": ["a", "b"],
        "text": ["x", "y"],
        "embedding": pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2)),
    }
    kept = {name: column for name, column in {**plain, **columns}.items() if column is not None}
    stored = (
        {} if metadata is None else {"recbole_irllrec": metadata if isinstance(metadata, str) else json.dumps(metadata)}
    )
    pq.write_table(pa.table(kept).replace_schema_metadata(stored), path)


# The file


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"token": None}, ("no column token", "add it")),
        ({"embedding": None}, ("no column embedding", "add it")),
        ({"text": None}, ("no column text", "add it")),
        ({"token": [1, 2]}, ("column token", "int64", "strings are expected", "convert")),
        ({"token": ["a", None]}, ("column token", "empty in 1 row", "fill it")),
        ({"token": ["a", "a"]}, ("column token", "repeats 1 row", "'a'", "keep one row")),
        ({"embedding": [1.0, 2.0]}, ("column embedding", "double", "lists of float32 or float16", "convert")),
        ({"embedding": [[1, 2], [3, 4]]}, ("column embedding", "int64", "lists of float32 or float16")),
        ({"embedding": [[1.0, 2.0], [3.0]]}, ("column embedding", "different widths, from 1 to 2", "one encoder")),
        ({"embedding": [[1.0], [3.0]]}, ("column embedding", "1 wide", "dim 2", "write it again")),
        ({"embedding": [[1.0, np.nan], [3.0, 4.0]]}, ("column embedding", "NaN or infinity in 1 row", "'a'", "again")),
        ({"embedding": [[1.0, 2.0], [-np.inf, np.inf]]}, ("column embedding", "NaN or infinity", "'b'")),
        ({"embedding": [[1.0, None], [3.0, 4.0]]}, ("column embedding", "NaN or infinity", "'a'")),
        ({"embedding": [[1.0, 1e300], [3.0, 4.0]]}, ("column embedding", "NaN or infinity", "'a'")),
        ({"metadata": None}, ("no metadata", "recbole_irllrec", "IntentTable.from_arrays")),
        ({"metadata": "{"}, ("metadata", "damaged", "IntentTable.from_arrays")),
        ({"metadata": {**METADATA, "dim": "two"}}, ("metadata", "damaged at dim", "IntentTable.from_arrays")),
        ({"metadata": {"dim": 2, "source": "features"}}, ("metadata", "damaged at encoder")),
        ({"metadata": {**METADATA, "source": "reviews"}}, ("metadata", "damaged at source")),
        ({"metadata": {**METADATA, "dim": 0}}, ("metadata", "damaged at dim")),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_file_that_is_no_table(tmp_path, columns, said):
    path = tmp_path / "t.parquet"
    write_columns(path, **columns)
    with refused(str(path), *said):
        IntentTable.read(path)


def test_an_empty_table(tmp_path):
    path = tmp_path / "t.parquet"
    empty = pa.table({"token": ["a"], "text": ["x"], "embedding": [[1.0, 2.0]]}).slice(0, 0)
    pq.write_table(empty.replace_schema_metadata({"recbole_irllrec": json.dumps(METADATA)}), path)
    with refused(str(path), "has no rows", "write one for each token"):
        IntentTable.read(path)
    (tmp_path / "d.emb").write_text("iid:token\temb:float_seq\n")
    with refused("d.emb", "has no rows"):
        IntentTable.read(tmp_path / "d.emb")


@pytest.mark.parametrize("content", [b"", b"token,text,embedding\n", b"PAR1", b"PAR1 nonsense \xff\xff\xff\x7fPAR1"])
def test_not_parquet(tmp_path, content):
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with refused(str(path), "Parquet", "write it again"):
        IntentTable.read(path)


def test_a_parquet_file_cut_short(tmp_path):
    path = tmp_path / "t.parquet"
    table(USERS).write(path)
    path.write_bytes(path.read_bytes()[:-20])
    with refused(str(path), "cannot be read as Parquet", "write it again"):
        IntentTable.read(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("i1\t1 2\n", ("first line", "name:type")),
        ("iid:token\ti1\n", ("first line", "name:type", "field_separator")),
        ("iid:token\temb:float\ni1\t1\n", ("1 token and 0 float_seq", "Parquet")),
        ("iid:token\tuid:token\temb:float_seq\n", ("2 token and 1 float_seq",)),
        ("iid:token\temb:float_seq\ni1\t1 two\n", ("column emb", "no number", "two", "seq_separator")),
        ("iid:token\temb:float_seq\ni1\t1 2\ni2\t1\n", ("column emb", "different widths")),
        ("iid:token\temb:float_seq\ni1\t1 nan\n", ("NaN or infinity", "'i1'")),
        ("iid:token\temb:float_seq\ni1\t1 2\ni1\t1 2\n", ("repeats 1 row", "'i1'")),
    ],
)
def test_an_atomic_file_that_is_no_table(tmp_path, content, said):
    (tmp_path / "d.emb").write_text(content)
    with refused("d.emb", *said):
        IntentTable.read(tmp_path / "d.emb")


def test_an_atomic_file_in_another_encoding(tmp_path):
    (tmp_path / "d.emb").write_bytes("iid:token\temb:float_seq\né\t1\n".encode("latin-1"))
    with refused("d.emb", "utf-8", "`encoding`"):
        IntentTable.read(tmp_path / "d.emb")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ((["a"], np.ones(3)), ("[3]", "1 tokens")),
        ((["a", "b"], np.ones((1, 3))), ("[1, 3]", "2 tokens")),
        ((["a"], np.ones((1, 0))), ("[1, 0]",)),
        ((["a"], np.ones((1, 3)), ["x", "y"]), ("2 texts",)),
        (([], np.ones((0, 3))), ("no rows",)),
        (([1], np.ones((1, 3))), ("column token", "integer", "convert them to str")),
        ((["a", None], np.ones((2, 3))), ("column token", "empty in 1 row", "fill it")),
        ((["a"], np.ones((1, 3)), [b"x"]), ("column text", "bytes", "convert them to str")),
        ((["a", "b", "a"], np.ones((3, 3))), ("repeats 1 row", "'a'")),
        ((["a"], np.full((1, 3), np.nan)), ("NaN or infinity",)),
    ],
)
def test_arrays_that_are_no_table(arrays, said):
    with refused("The table", *said):
        IntentTable.from_arrays(*arrays, encoder="e", source="features")


# The table and the data set


def test_a_named_table_that_is_absent(tmp_path):
    own = write_dataset(tmp_path)
    with refused("user_intent_table", "nowhere.parquet", str(own), "correct the path"):
        node_texts(tmp_path, user_intent_table="nowhere.parquet")


def test_no_token_of_the_data_set(tmp_path):
    own = write_dataset(tmp_path)
    write_tables(own)
    table(["i91", "i92"]).write(own / "tiny.item_profile.parquet")
    with refused("tiny.item_profile.parquet, column token", "shares no token", "'i91'", "the data set's own ids"):
        node_texts(tmp_path)


@pytest.mark.parametrize("other", [{"dim": 4}, {"encoder": "f"}])
def test_users_and_items_of_two_encoders(tmp_path, other):
    own = write_dataset(tmp_path)
    write_tables(own)
    table(USERS, **other).write(own / "tiny.user_profile.parquet")
    with refused("tiny.user_profile.parquet", "tiny.item_profile.parquet", "3 wide", "embed both with one encoder"):
        node_texts(tmp_path)


def test_a_table_made_with_other_training_interactions(tmp_path):
    own = write_dataset(tmp_path)
    write_tables(own, source="interactions", train_fingerprint=fingerprint([*TRAIN, ("u1", "i3")]))
    with refused("parquet, train_fingerprint", "other training interactions", "make it again from this split"):
        node_texts(tmp_path)


def test_a_table_made_with_these_training_interactions_is_welcome(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    write_tables(write_dataset(tmp_path), source="interactions", train_fingerprint=fingerprint())
    node_texts(tmp_path)
    assert "fingerprint" not in caplog.text


def test_a_table_made_with_interactions_without_a_fingerprint_gets_a_warning(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    write_tables(write_dataset(tmp_path), sides=["item"])
    write_tables(tmp_path / "tiny", sides=["user"], source="interactions")
    node_texts(tmp_path)
    warnings = [record.getMessage() for record in caplog.records if "no fingerprint" in record.getMessage()]
    assert len(warnings) == 2  # the users' profile and intent
    assert "tiny.user_profile.parquet was made with interactions" in warnings[0]


def test_too_little_coverage(tmp_path):
    own = write_dataset(tmp_path)
    write_tables(own)
    table(ITEMS[:3]).write(own / "tiny.item_intent.parquet")
    with refused("intent", "3 of 4 items (75.0%)", "min_text_coverage 0.8", "tiny.item_intent.parquet", "lower"):
        node_texts(tmp_path, min_text_coverage=0.8)
    assert node_texts(tmp_path, min_text_coverage=0.75)["intent"].present.sum() == 6


def test_too_little_coverage_by_the_mean_of_items(tmp_path):
    own = write_dataset(tmp_path)
    table(["i4"]).write(own / "items.parquet")  # only u3 has read it
    tables = {f"item_{kind}_table": "items.parquet" for kind in ("profile", "intent")}
    settings = {**tables, "user_text": "mean_of_items"}
    assert node_texts(tmp_path, **settings, min_text_coverage=0.2)["intent"].present.sum() == 2
    with refused("1 of 4 items", "min_text_coverage"):
        node_texts(tmp_path, **settings, min_text_coverage=0.3)


def test_no_embedding_at_all(tmp_path):
    own = write_dataset(tmp_path)
    write_tables(own)
    empty = IntentTable.from_arrays(ITEMS, np.zeros((4, 3)), encoder="e", source="features")
    empty.write(own / "tiny.item_intent.parquet")
    with refused("0 of 4 items", "tiny.item_intent.parquet", "add embeddings"):
        node_texts(tmp_path, min_text_coverage=0)


def test_items_without_users(tmp_path):
    write_tables(write_dataset(tmp_path), sides=["item"])
    with refused("tiny.item_profile.parquet", "user_profile_table", "`user_text: mean_of_items`"):
        node_texts(tmp_path)


def test_users_without_items(tmp_path):
    write_tables(write_dataset(tmp_path), sides=["user"])
    with refused("tiny.user_profile.parquet", "name a table in item_profile_table"):
        node_texts(tmp_path)


@pytest.mark.parametrize(
    ("there", "lacking", "weights"),
    [
        ("profile", "intent", "pairwise_weight, translation_weight and matching_weight"),
        ("intent", "profile", "profile_weight"),
    ],
)
def test_one_kind_without_the_other(tmp_path, there, lacking, weights):
    write_tables(write_dataset(tmp_path), kinds=[there])
    with refused(f"none of {lacking} texts", f"user_{lacking}_table", f"item_{lacking}_table", f"set {weights} to 0"):
        node_texts(tmp_path)
    assert set(node_texts(tmp_path, [there])) == {there}


def test_preload_weight_of_items_alone(tmp_path):
    own = write_dataset(tmp_path)
    table(ITEMS).write_atomic_file(own / "tiny.itememb", "iid", "item_emb")
    with refused("preload_weight's field iid", "`user_text: mean_of_items`"):
        node_texts(tmp_path, **preload_settings("item"))


def test_preload_weight_of_single_numbers(tmp_path):
    own = write_dataset(tmp_path)
    table(USERS).write_atomic_file(own / "tiny.useremb", "uid", "user_emb")
    (own / "tiny.itememb").write_text("iid:token\titem_emb:float\ni1\t1\n")
    with refused("preload_weight's field iid", "float_seq", "item_profile_table"):
        node_texts(tmp_path, **both_preloaded())


def test_preload_weight_of_two_fields(tmp_path):
    own = write_dataset(tmp_path)
    for suffix in ("one", "two"):
        table(ITEMS).write_atomic_file(own / f"tiny.{suffix}", f"iid_{suffix}", f"emb_{suffix}")
    settings = {
        "additional_feat_suffix": ["one", "two"],
        "load_col": {"inter": ["user_id", "item_id"], "one": ["iid_one", "emb_one"], "two": ["iid_two", "emb_two"]},
        "alias_of_item_id": ["iid_one", "iid_two"],
        "preload_weight": {"iid_one": "emb_one", "iid_two": "emb_two"},
    }
    with refused("preload_weight", "iid_one, iid_two", "keep one of them", "item_profile_table"):
        node_texts(tmp_path, **settings)


# The embedded default


@pytest.mark.parametrize(
    "item", [None, "item_id:token\trating:float\ni1\t5\n", "item_id:token\ttitle:token\ni9\tunknown\n"]
)
def test_no_features_of_items(tmp_path, item):
    write_dataset(tmp_path, item=item)
    with refused("tiny.item", "no token or token_seq fields", "give text tables", "profile_weight"):
        node_texts(tmp_path)


def test_an_item_file_without_the_column_of_ids(tmp_path):
    write_dataset(tmp_path, item="asin:token\ttitle:token\ni1\tx\n")
    with refused("tiny.item", "no column item_id", "asin, title", "name its column"):
        node_texts(tmp_path)


def test_too_few_words(tmp_path):
    write_dataset(tmp_path, item="item_id:token\ttitle:token\ni1\tword\n", user=None)
    with refused("too few words", "give text tables"):
        node_texts(tmp_path)
