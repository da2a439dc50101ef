"""Whatever keeps a data set from loading ends in one sentence that names the place, in every command and in Python."""

import http.server
import os
import string
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from command import ended, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataset import Dataset
from recbole.quick_start import load_data_and_model, run_recbole

from recbole_irllrec import IRLLRecError, doctor
from recbole_irllrec.data.loading import load_config
from recbole_irllrec.tables.atomic_file import checked_columns

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ROWS = "".join(f"u{u}\ti{(u + i) % 12}\t{1 + i % 5}\t{1600000000 + 3600 * i}\n" for u in range(6) for i in range(8))
INTER = HEADER + ROWS
ITEM = "item_id:token\ttitle:token_seq\tprice:float\tvector:float_seq\n" + "".join(
    f"i{i}\tThing {i}\t{i}\t{i} 0.5\n" for i in range(12)
)
ITEM_COLUMNS = {"inter": ["user_id", "item_id"], "item": ["item_id", "title", "price", "vector"]}
SPLIT = {"benchmark_filename": ["train", "valid", "test"]}
PLACE = "dataset/d/d"


def write(files, given=None) -> Path:
    """Write the data set "d": files by their endings, in bytes or text, and settings."""
    own = Path("dataset/d")
    own.mkdir(parents=True, exist_ok=True)
    for ending, content in files.items():
        (own / f"d.{ending}").write_bytes(content.encode() if isinstance(content, str) else content)
    (own / "d.yaml").write_text(yaml.safe_dump({"data_path": "dataset", "epochs": 1, **(given or {})}))
    return own


def train(*arguments, model="LightGCN"):
    options = (f"--model={model}", "--dataset=d", "--config_files=dataset/d/d.yaml", "--show_progress=False")
    return ended(*options, *arguments, program="run_recbole")


def sentence(done, program="run_recbole") -> str:
    """The one sentence in which a command has ended."""
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(f"{program}: ")]
    assert line.endswith(".")
    return line.removeprefix(f"{program}: ")


def refused(*words) -> str:
    """Training any model, a command and the doctor say the same, with these words."""
    said = sentence(train())
    for part in words:
        assert part in said
    assert sentence(ended("data", "describe", "d"), "irllrec") == said
    checks = doctor.dataset(load_config("d", Path("dataset")))
    assert said in [check.found for check in checks if check.status == "fail"]
    return said


def changed(text, line, old, new):
    """A text with something else in one line."""
    lines = text.split("\n")
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    return "\n".join(lines)


FILES = {
    "spaces": ({"inter": INTER.replace("\t", " ")}, {}, ("inter, line 1", "parted by spaces where a tab belongs")),
    "commas": ({"inter": INTER.replace("\t", ",")}, {}, ("inter, line 1", "parted by commas where a tab belongs")),
    "spaces in a row": (
        {"inter": changed(INTER, 3, "\t", "  ")},
        {},
        ("inter, line 3", "1 value (parted by spaces where a tab belongs)"),
    ),
    "tabs for commas": ({"inter": INTER}, {"field_separator": ","}, ("line 1", "parted by tabs where a comma")),
    "dash in a float": (
        {"inter": INTER, "item": changed(ITEM, 5, "\t3\t", "\t—\t")},
        {"load_col": ITEM_COLUMNS},
        ("item, line 5", "price:float", "'—'", "a number", "load_col"),
    ),
    "a line between, in Latin-1": (
        {
            "inter": changed(INTER, 4, "3\t1", "drei\t1")
            .replace("\n", "\n\n  \n", 1)
            .replace("u0", "ü0")
            .encode("latin-1")
        },
        {"encoding": "latin-1", "load_col": {"inter": ["user_id", "item_id", "rating"]}},
        ("inter, line 6", "rating:float has 'drei'"),
    ),
    "a part of a float_seq": (
        {"inter": INTER, "item": changed(ITEM, 3, "1 0.5", "1 0,5")},
        {"load_col": ITEM_COLUMNS},
        ("item, line 3", "vector:float_seq", "'0,5'", "numbers"),
    ),
    "too few values": ({"inter": changed(INTER, 9, "\t1", "")}, {}, ("inter, line 9", "3 values", "names 4")),
    "too many values": ({"inter": changed(INTER, 2, "u0", "u0\tu0")}, {}, ("inter, line 2", "5 values", "names 4")),
    "an open quote": ({"inter": changed(INTER, 4, "i2", '"i2')}, {}, ("line 4", "'\"i2", "does not close")),
    "a quote within": ({"inter": changed(INTER, 4, "i2", '"i"2')}, {}, ("line 4", '\'"i"2', "double")),
    "a NUL": ({"inter": changed(INTER, 4, "i2", "i\0002")}, {}, ("line 4", "NUL")),
    "a long value": ({"inter": changed(INTER, 4, "i2", "i" * 131_073)}, {}, ("line 4", "131073", "131072 at most")),
    "an empty file": ({"inter": ""}, {}, ("inter, line 1", "empty", "name:type")),
    "no row": ({"inter": HEADER}, {}, ("inter has no interactions",)),
    "no row in a feature file": (
        {"inter": INTER, "item": ITEM.split("\n")[0] + "\n"},
        {"load_col": ITEM_COLUMNS},
        ("item has no rows", "remove it"),
    ),
    "no types": ({"inter": INTER.replace(":token", "")}, {}, ("line 1", "'user_id'", "name:type")),
    "an unknown type": ({"inter": INTER.replace("rating:float", "rating:int")}, {}, ("rating", "'int'", "float_seq")),
    "a column twice": ({"inter": INTER.replace("timestamp", "rating")}, {}, ("line 1", "several columns rating")),
    "no column of users": ({"inter": INTER.replace("user_id", "user")}, {}, ("no column user_id", "USER_ID_FIELD")),
    "numbers for users": ({"inter": INTER.replace("user_id:token", "user_id:float")}, {}, ("write user_id:token",)),
    "users not loaded": ({"inter": INTER}, {"load_col": {"inter": ["item_id"]}}, ("user_id", "name it in `load_col`")),
    "no interactions loaded": ({"inter": INTER}, {"load_col": {"item": ["item_id"]}}, ("user_id", "`load_col`")),
    "what load_col names": (
        {"inter": INTER},
        {"load_col": {"inter": ["user_id", "item_id", "ratings"]}},
        ("no column ratings (there are user_id, item_id, rating, timestamp)", "load_col"),
    ),
    "no time to sort by": (
        {"inter": INTER},
        {"eval_args": {"order": "TO"}, "TIME_FIELD": "when"},
        ("no column when", "order TO", "TIME_FIELD"),
    ),
    "another encoding": (
        {"inter": changed(INTER, 7, "u0", "ü").encode("latin-1")},
        {},
        ("line 7", "not utf-8", "encoding"),
    ),
    "no encoding": ({"inter": INTER}, {"encoding": "utf-88"}, ("encoding is 'utf-88'",)),
    "a byte order mark": ({"inter": "\ufeff" + INTER}, {}, ("line 1", "byte order mark", "utf-8-sig")),
    "a missing part": (
        {"train.inter": INTER, "test.inter": INTER},
        SPLIT,
        ("d.valid.inter is not there", "d.test.inter, d.train.inter", "benchmark_filename"),
    ),
    "two parts": (
        {"train.inter": INTER, "test.inter": INTER},
        {"benchmark_filename": ["train", "test"]},
        ("2 parts", "training, validation and test", "benchmark_filename"),
    ),
    "one part that is no list": (
        {"train.inter": INTER},
        {"benchmark_filename": "train"},
        ("'train'", "[train, valid, test]"),
    ),
    "an empty id in a part": (
        {"train.inter": changed(INTER, 3, "u0", ""), "valid.inter": INTER, "test.inter": INTER},
        SPLIT,
        ("d.train.inter, line 3: user_id is empty",),
    ),
    "nothing to train on": (
        {"train.inter": HEADER, "valid.inter": INTER, "test.inter": INTER},
        SPLIT,
        ("no interactions",),
    ),
    "split files without the setting": (
        dict.fromkeys(("train.inter", "valid.inter", "test.inter"), INTER),
        {},
        ("d.inter is not there", "set `benchmark_filename: [train, valid, test]`"),
    ),
    "an additional file": ({"inter": INTER}, {"additional_feat_suffix": ["ent"]}, ("d.ent is not there",)),
    "filters that leave nothing": (
        {"inter": INTER},
        {
            "load_col": {"inter": ["user_id", "item_id", "rating"]},
            "val_interval": {"rating": "[3,inf)"},
            "user_inter_num_interval": "[6,inf)",
        },
        (
            "d.inter",
            "48 rows were read, 24 are left after val_interval",
            "0 are left after user_inter_num_interval [6,inf)",
        ),
    ),
    "a filter on what is not loaded": (
        {"inter": INTER},
        {"val_interval": {"rating": "[3,inf)"}},
        ("rating", "name the column in `load_col`"),
    ),
}


@pytest.mark.parametrize("fault", FILES)
def test_one_sentence(fault):
    files, given, words = FILES[fault]
    write(files, given)
    assert "dataset/d" in refused(*words) or "encoding" in fault or "no list" in fault


def test_a_folder_for_a_file_and_files_for_folders():
    (write({}) / "d.inter").mkdir()
    refused("d.inter is no file")
    (Path("dataset/d/d.inter")).rmdir()
    (write({"inter": INTER}) / "d.item").mkdir()
    assert "d.item is a folder" in sentence(train())
    Path("dataset/e").write_text("")
    assert "dataset/e is no folder" in sentence(ended("--model=BPR", "--dataset=e", program="run_recbole"))


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="no file here that cannot be read")
def test_a_file_that_cannot_be_read():
    (write({}) / "d.inter").symlink_to("/proc/self/mem")
    refused("d.inter cannot be read (Input/output error)")


def test_every_model_kind_and_python():
    write(
        {"inter": changed(INTER, 5, "\t4\t", "\tfour\t")},
        {"load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}},
    )
    for model, *options in (("IRLLRec",), ("SASRec", "--loss_type=BPR"), ("FM",), ("CFKG",), ("EASE",)):
        assert "d.inter, line 5: the column rating:float has 'four'" in sentence(train(*options, model=model))
    with pytest.raises(IRLLRecError, match=r"d\.inter, line 5"):
        run_recbole(model="BPR", dataset="d", config_file_list=["dataset/d/d.yaml"])


def test_every_command():
    write({"inter": changed(INTER, 5, "i3", '"i3')})
    Path("space.yaml").write_text("learning_rate: {choice: [0.1]}\n")
    for command in (
        ("data", "split", "d"),
        ("intents", "check", "d"),
        ("intents", "generate", "d", "--model=m", "--context-length=4096", "--dry-run"),
        ("tune", "d", "--model=BPR", "--space=space.yaml"),
        ("benchmark", "d", "--models=BPR", "--samples=0"),
    ):
        assert "dataset/d/d.inter, line 5: '\"i3" in sentence(ended(*command), "irllrec"), command


def test_ids_that_pandas_takes_for_nothing_are_ids():
    """Also in a split, in features and in lists; nothing is lost."""
    rows = INTER.replace("u1", "NA").replace("i1\t", "null\t").replace("u2", "None")
    write({"inter": rows, "item": ITEM.replace("i1\tThing 1", "null\tNA")}, {"load_col": ITEM_COLUMNS})
    found = ended("data", "describe", "d", "--json")
    assert found.returncode == 0
    dataset = create_dataset(load_config("d", Path("dataset")))
    assert set(dataset.field2id_token["user_id"]) == {"[PAD]", "u0", "NA", "None", "u3", "u4", "u5"}
    assert set(dataset.field2id_token["item_id"]) == {"[PAD]", "i0", "null", *(f"i{i}" for i in range(2, 12))}
    assert len(dataset.inter_feat) == 48 and "NA" in dataset.field2id_token["title"]
    assert train().returncode == 0
    run("data", "split", "d")
    written = "".join(
        Path(f"{PLACE}.{part}.inter").read_text().removeprefix(HEADER) for part in SPLIT["benchmark_filename"]
    )
    assert sorted(written.splitlines()) == sorted(rows.removeprefix(HEADER).splitlines())
    parts = create_dataset(load_config("d", Path("dataset"))).build()
    assert sum(map(len, parts)) == 48 and all((part.inter_feat["user_id"] > 0).all() for part in parts)


def test_missing_numbers_stay_missing():
    write({"inter": changed(INTER, 3, "\t2\t", "\tNA\t")}, {"load_col": {"inter": ["user_id", "item_id", "rating"]}})
    ratings = create_dataset(load_config("d", Path("dataset"))).inter_feat["rating"]
    np.testing.assert_allclose(ratings[1], (ratings.sum() - ratings[1]) / 47)  # RecBole's mean


def test_a_checkpoint_of_another_data_set():
    write({"inter": INTER})
    assert train("--checkpoint_dir=saved", model="BPR").returncode == 0
    (path,) = Path("saved").glob("BPR*.pth")
    load_data_and_model(str(path))
    write({"inter": INTER + "u9\ti9\t1\t1\n"})
    with pytest.raises(IRLLRecError, match=r"^saved/BPR.*size mismatch for .*: train again"):
        load_data_and_model(str(path))
    Path("users").write_text("u1\n")
    command = ("recommend", path, "--users=users")
    assert "does not fit the data set" in sentence(ended(*command), "irllrec")
    write({"inter": INTER + "u9\n"})
    assert "d.inter, line 50: it has 1 value, where the first line names 4" in sentence(ended(*command), "irllrec")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_download(monkeypatch):
    """RecBole's own, which waits for other processes where there are none, and leaves an empty folder behind."""
    with zipfile.ZipFile("known.zip", "w") as archive:
        archive.writestr("known.inter", INTER)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for name in ("absent", "known"):
            url = f"http://127.0.0.1:{server.server_port}/{name}.zip"
            monkeypatch.setattr(Dataset, "_get_download_url", lambda *_, url=url: url)
            done = ended("--model=Pop", f"--dataset={name}", "--show_progress=False", program="run_recbole")
            if name == "known":
                assert done.returncode == 0
            else:
                assert f"could not be downloaded from {url} (HTTPError: HTTP Error 404" in sentence(done)
                assert not Path("dataset/absent").exists()
    finally:
        server.shutdown()
        server.server_close()


def test_a_data_set_that_nobody_knows():
    said = sentence(ended("--model=BPR", "--dataset=nowhere", program="run_recbole"))
    assert said.startswith("dataset/nowhere is not there: correct the data set's name")
    assert sentence(ended("data", "describe", "nowhere"), "irllrec") == said


# ---- at random -------------------------------------------------------------------------------------------------------

COLUMNS = HEADER + "".join(f"u{n % 4}\ti{n % 5}\t{n}.5\t{n}\n" for n in range(9))
CHARACTERS = st.sampled_from([*'\t\n\r" \0,:—é.-', "NA", "\t\t", '"\t"', '""', *string.ascii_letters[:4], *"0123"])


@st.composite
def corrupted(draw) -> bytes:
    """A file in which characters, fields and lines were put in, taken out or exchanged."""
    text = COLUMNS
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["insert", "delete", "field", "line", "swap"]))
        separator = {"field": "\t", "line": "\n"}.get(kind)
        if separator:
            parts = text.split(separator)
            place = draw(st.integers(0, len(parts) - 1))
            parts[place : place + draw(st.integers(0, 1))] = draw(st.lists(CHARACTERS, max_size=2))
            text = separator.join(parts)
        else:
            place = draw(st.integers(0, len(text)))
            text = text[:place] + (draw(CHARACTERS) if kind != "delete" else "") + text[place + (kind != "insert") :]
    content = text.encode()
    return content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 9)) == 0 else content


@pytest.fixture(scope="module")
def loose(tmp_path_factory):
    """Settings of a data set that lies in a folder of its own, which loads all its columns."""
    own = tmp_path_factory.mktemp("loose")
    (own / "d").mkdir()
    given = {"data_path": str(own), "load_col": None, "show_progress": False}
    return Config(model="BPR", dataset="d", config_dict=given)


@given(content=corrupted())
@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_corrupted_file_loads_or_is_refused_in_one_sentence(loose, content):
    path = Path(loose["data_path"], "d.inter")
    path.write_bytes(content)
    try:
        parts = create_dataset(loose).build()
    except IRLLRecError as error:
        said = str(error)
        assert str(path) in said and "\n" not in said and said.endswith(".")
        assert "cannot be read (" not in said and "cannot be loaded (" not in said, said
    else:
        # Each line is an interaction, but for those without an id, of which RecBole tells.
        checked_columns(path)
        lines = [line.split("\t") for line in path.read_text().split("\n")[1:] if line.strip() or "\t" in line]
        assert sum(map(len, parts)) == sum(all(value.strip('"') for value in line[:2]) for line in lines)
