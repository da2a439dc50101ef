"""irllrec data convert published: matrices and embeddings as IRLLRec and RLMRec publish them, and hostile pickles."""

import os
import pickle
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from command import irllrec, refusal

from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.data.loading import load_config, split_datasets
from recbole_irllrec.safe_loading import load_arrays

FILES = {"train": "trn_mat.pkl", "valid": "val_mat.pkl", "test": "tst_mat.pkl"}
PAIRS = {"train": [(2, 0), (0, 1), (2, 3), (4, 1)], "valid": [(0, 3)], "test": [(2, 1), (4, 0)]}
SHAPE = (6, 4)  # users 1, 3 and 5 and item 2 never occur


@pytest.fixture
def source():
    folder = Path("published")
    folder.mkdir()
    for part, file in FILES.items():
        write(folder / file, matrix(PAIRS[part]))
    return folder


def matrix(pairs, shape=SHAPE):
    rows, columns = np.array(pairs).T
    return sp.coo_matrix((np.ones(len(pairs)), (rows, columns)), shape)


def write(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))


def pairs_of(name, part):
    lines = Path(f"dataset/{name}/{name}.{part}.inter").read_text().splitlines()
    assert lines[0] == "user_id:token\titem_id:token"
    return [tuple(map(int, line.split("\t"))) for line in lines[1:]]


def test_ids_split_and_tables(source, capsys):
    rng = np.random.default_rng(0)
    arrays = {"usr_emb_np.pkl": rng.random((6, 3)), "itm_emb_np.pkl": rng.random((4, 3), np.float32)}
    arrays |= {"user_intent_emb_3.pkl": rng.random((6, 5)), "item_intent_emb_3.pkl": rng.random((4, 5)).astype("f2")}
    for file, array in arrays.items():
        write(source / file, array)
    assert irllrec("data", "convert", "published", source, "--name=book", "--intent-encoder=mine") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3 users without any interaction" in said and "1 items without any interaction" in said
    assert {part: pairs_of("book", part) for part in FILES} == PAIRS  # in their stored order

    config = load_config("book", config_files="dataset/book/book.yaml")
    train = split_datasets(config)[0]
    assert (train.user_num - 1, train.item_num - 1, len(train.inter_feat)) == (3, 3, 4)
    texts = train.node_texts(config, ("profile", "intent"))  # which refuses the fingerprint of other interactions
    users, items = (train.field2id_token[field][1:].astype(int) for field in ("user_id", "item_id"))
    for kind, (of_users, of_items) in {"profile": list(arrays)[:2], "intent": list(arrays)[2:]}.items():
        expected = np.concatenate([arrays[of_users][users], arrays[of_items][items]]).astype(np.float32)
        np.testing.assert_array_equal(texts[kind].embedding, expected)
    metadata = IntentTable.read("dataset/book/book.user_intent.parquet").metadata
    assert (metadata.encoder, metadata.source) == ("mine", "interactions")
    lines = "tail -n +2 dataset/book/book.train.inter | cut -f1,2 | LC_ALL=C sort -u | sha256sum"
    assert subprocess.check_output(lines, shell=True).decode().split()[0] == metadata.train_fingerprint
    assert IntentTable.read("dataset/book/book.item_profile.parquet").metadata.encoder == "text-embedding-ada-002"


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("make", [sp.coo_matrix, sp.csr_matrix, sp.csc_matrix, sp.lil_matrix, sp.coo_array])
def test_any_layout_and_protocol(make, protocol, source):
    if make is sp.coo_array:
        write(source / "trn_mat.pkl", sp.coo_array(matrix(PAIRS["train"])), protocol)
    else:
        write(source / "trn_mat.pkl", make(matrix(PAIRS["train"])), protocol)
    assert irllrec("data", "convert", "published", source, "--name=book") == 0
    assert set(pairs_of("book", "train")) == set(PAIRS["train"])


def test_names_of_old_scipy_and_new_numpy(source):
    raw = pickle.dumps(matrix(PAIRS["train"]), 2)
    old, new = (
        re.sub(rb"scipy\.sparse\._?coo\b", scipy_name, re.sub(rb"numpy\._?core\.", numpy_name, raw))
        for scipy_name, numpy_name in ((b"scipy.sparse.coo", b"numpy.core."), (b"scipy.sparse._coo", b"numpy._core."))
    )
    assert old != new
    for content in (old, new):
        (source / "trn_mat.pkl").write_bytes(content)
        assert irllrec("data", "convert", "published", source, "--name=book", "--force") == 0
        assert pairs_of("book", "train") == PAIRS["train"]


def test_stored_zeros_and_repetitions_are_no_interactions(source):
    rows, columns = np.array([(2, 0), (0, 1), (2, 0), (1, 1)]).T
    write(source / "trn_mat.pkl", sp.coo_matrix(([1.0, 1, 1, 0], (rows, columns)), SHAPE))
    assert irllrec("data", "convert", "published", source, "--name=book") == 0
    assert pairs_of("book", "train") == [(2, 0), (0, 1)]


class Command:
    def __reduce__(self):
        return os.system, ("touch ran",)


class Evaluation:
    def __reduce__(self):
        return eval, ("open('ran', 'w')",)


def hostile():
    import torch

    objects = np.empty(1, object)
    objects[0] = Command()
    inside = matrix(PAIRS["train"])
    inside.maxprint = Command()
    return {
        "a command": Command(),
        "an evaluation": Evaluation(),
        "a command in an array": objects,
        "a command in a matrix": inside,
        "a command in a list": [matrix(PAIRS["train"]), Command()],
        "a tensor": torch.ones(2),
        "a device": torch.device("cpu"),
        "a path": Path("x"),
        "a function of numpy": np.load,
        "a class": Command,
    }


@pytest.mark.parametrize("what", hostile())
@pytest.mark.parametrize("file", ["trn_mat.pkl", "usr_emb_np.pkl"])
def test_hostile_pickles_run_nothing(what, file, source, capsys):
    write(source / file, hostile()[what])
    sentence = refusal(capsys, "data", "convert", "published", source, "--name=book")
    assert file in sentence and "was not loaded: it holds" in sentence
    assert not Path("ran").exists() and not Path("dataset/book").exists()


def test_names_of_numpy_are_not_called(source, capsys):
    call = b"\x80\x02cnumpy\nload\nX\x03\x00\x00\x00ran\x85R."
    (source / "trn_mat.pkl").write_bytes(call)
    assert "a call of numpy.load" in refusal(capsys, "data", "convert", "published", source, "--name=book")


def test_bad_files(source, capsys):
    good = {file: (source / file).read_bytes() for file in FILES.values()}
    cases = {
        "damaged": ("trn_mat.pkl", good["trn_mat.pkl"][:-30]),
        "is no array": ("val_mat.pkl", b""),
        "makes no sense": ("val_mat.pkl", b"not a pickle"),
        "holds a list": ("tst_mat.pkl", pickle.dumps([1, 2])),
        "holds an array of shape (2,)": ("trn_mat.pkl", pickle.dumps(np.ones(2))),
        "holds no interaction": ("trn_mat.pkl", pickle.dumps(sp.coo_matrix(SHAPE))),
        "is (9, 4) and": ("tst_mat.pkl", pickle.dumps(matrix([(8, 0)], (9, 4)))),
        "has 5 rows, and the matrices have 6": ("usr_emb_np.pkl", pickle.dumps(np.ones((5, 2)))),
        "NaN or infinity": ("usr_emb_np.pkl", pickle.dumps(np.full((6, 2), np.nan))),
        "where an array of numbers": ("itm_emb_np.pkl", pickle.dumps(np.array([["a"]]))),
    }
    for words, (file, content) in cases.items():
        (source / file).write_bytes(content)
        sentence = refusal(capsys, "data", "convert", "published", source, "--name=book")
        assert words in sentence and file in sentence
        assert not Path("dataset").exists() or not list(Path("dataset").iterdir())
        (source / file).unlink()
        if file in good:
            (source / file).write_bytes(good[file])
    (source / "val_mat.pkl").unlink()
    assert "val_mat.pkl" in refusal(capsys, "data", "convert", "published", source, "--name=book")


def test_load_arrays_reads_arrays():
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((3, 2), "f2")), np.array([True])):
        write(Path("a.pkl"), array)
        np.testing.assert_array_equal(load_arrays("a.pkl"), array)
