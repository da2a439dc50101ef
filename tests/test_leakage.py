"""No text knows a held-out interaction."""

import numpy as np
import pandas as pd
from text_files import TEST, TRAIN, VALID, load, tokens_of, write_dataset


def default_text(folder, **splits):
    """The default's embeddings by token, and the files in its cache."""
    write_dataset(folder, **splits)
    config, dataset = load(folder, checkpoint_dir=str(folder / "saved"))
    text = dataset.node_texts(config, ("profile", "intent"))["profile"]
    files = {path.name: path.read_bytes() for path in (folder / "saved" / "text_cache").iterdir()}
    return pd.DataFrame(text.embedding, index=tokens_of(dataset)).assign(present=text.present).sort_index(), files


def test_held_out_interactions_change_no_text_and_no_table(tmp_path):
    text, files = default_text(tmp_path / "one")
    # Others among the same users and items; the order in which RecBole meets the tokens changes, too.
    swapped, swapped_files = default_text(tmp_path / "two", valid=TEST[::-1], test=VALID[::-1])
    other, other_files = default_text(tmp_path / "three", valid=[("u3", "i2"), ("u2", "i1")], test=[("u1", "i4")])
    pd.testing.assert_frame_equal(text, swapped)
    pd.testing.assert_frame_equal(text, other)
    assert files == swapped_files == other_files


def test_a_training_interaction_changes_the_users_text_and_the_fingerprint_alone(tmp_path):
    text, files = default_text(tmp_path / "one")
    train = [("u1", "i3") if pair == ("u1", "i2") else pair for pair in TRAIN]
    other, other_files = default_text(tmp_path / "two", train=train, valid=[("u1", "i2"), ("u2", "i4")])
    assert set(files).isdisjoint(other_files)
    changed = ~np.isclose(text.to_numpy(float), other.to_numpy(float)).all(axis=1)
    assert list(text.index[changed]) == ["u1"]
    item_tables = [content for kept in (files, other_files) for name, content in kept.items() if ".item." in name]
    assert item_tables[0] == item_tables[1]
