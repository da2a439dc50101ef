"""Wide text embeddings made narrow: `text_dim`."""

import logging

import numpy as np
import pytest
from text_files import ITEMS, USERS, node_texts, table, write_dataset

from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.text import reduction
from recbole_irllrec.text.reduction import fit_projection


def low_rank(n=200, rank=5, width=40, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, rank)) @ rng.normal(size=(rank, width)) + 3).astype(np.float32)


def test_as_many_components_as_the_rank_keep_everything(tmp_path):
    wide = low_rank()
    present = np.arange(200) % 3 > 0
    wide[~present] = 0
    sides, there = [wide[:80], wide[80:]], [present[:80], present[80:]]
    projection = fit_projection(sides, there, 5, tmp_path / "text", "The text")
    assert projection.explained_variance_ratio.sum() == pytest.approx(1, abs=1e-5)
    narrow = projection.apply(wide, present)
    assert narrow.shape == (200, 5) and narrow.dtype == np.float32
    assert (narrow[~present] == 0).all() and np.abs(narrow[present]).min(axis=1).max() > 0
    # distances stay
    first, second = wide[present][:50], wide[present][50:100]
    distances = np.linalg.norm(first - second, axis=1)
    np.testing.assert_allclose(
        np.linalg.norm(narrow[present][:50] - narrow[present][50:100], axis=1), distances, rtol=1e-4
    )


def test_missing_rows_do_not_count(tmp_path):
    wide = low_rank()
    present = np.arange(200) < 150
    with_zeros = np.where(present[:, None], wide, 0).astype(np.float32)
    some = fit_projection([with_zeros], [present], 3, tmp_path / "a", "The text")
    same = fit_projection([wide[:150]], [np.ones(150, bool)], 3, tmp_path / "b", "The text")
    np.testing.assert_array_equal(some.components, same.components)


def test_it_is_kept_and_read_back(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    wide, present = low_rank(), np.ones(200, bool)
    made = fit_projection([wide], [present], 3, tmp_path / "folder" / "text", "The text")
    (file,) = (tmp_path / "folder").iterdir()
    assert (
        f"reduced from 40 to 3 dimensions (text_dim), which keep {made.explained_variance_ratio.sum():.1%}"
        in caplog.text
    )
    with np.load(file, allow_pickle=False) as kept:
        np.testing.assert_array_equal(kept["explained_variance_ratio"], made.explained_variance_ratio)
    monkeypatch.setattr(reduction, "_fit", None)  # it is not made again
    again = fit_projection([wide], [present], 3, tmp_path / "folder" / "text", "The text")
    np.testing.assert_array_equal(again.components, made.components)
    monkeypatch.undo()
    fit_projection([wide + 1], [present], 3, tmp_path / "folder" / "text", "The text")
    assert len(list((tmp_path / "folder").iterdir())) == 2  # of other texts, another one
    file.write_bytes(file.read_bytes()[:100])
    mended = fit_projection([wide], [present], 3, tmp_path / "folder" / "text", "The text")
    np.testing.assert_array_equal(mended.components, made.components)
    assert "is made again" in caplog.text


def test_fewer_embeddings_than_dimensions(tmp_path):
    assert len(fit_projection([low_rank(4)], [np.ones(4, bool)], 10, tmp_path / "text", "The text").components) == 4


def test_wide_tables_are_reduced_and_narrow_ones_are_not(tmp_path):
    own = write_dataset(tmp_path)
    rng = np.random.default_rng(0)
    for side, tokens in {"user": USERS, "item": ITEMS}.items():
        wide = rng.normal(size=(len(tokens), 8)).astype(np.float16)
        made = IntentTable.from_arrays(list(tokens), wide, encoder="e", source="features")
        made.write(own / f"tiny.{side}_profile.parquet")
        table(tokens).write(own / f"tiny.{side}_intent.parquet")
    settings = {"checkpoint_dir": str(tmp_path / "saved")}
    texts = node_texts(tmp_path, text_dim=4, **settings)
    assert texts["profile"].embedding.shape == (7, 4) and texts["profile"].embedding.dtype == np.float32
    assert texts["intent"].embedding.shape == (7, 3)
    assert [file.name[:17] for file in (tmp_path / "saved" / "text_cache").iterdir()] == ["tiny-profile-pca-"]
    full = node_texts(tmp_path, text_dim=None, **settings)
    assert full["profile"].embedding.shape == (7, 8) and full["profile"].embedding.dtype == np.float16
