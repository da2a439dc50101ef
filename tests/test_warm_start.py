"""Training that begins with what an earlier model has learnt."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_data import SETTINGS, write_tiny

from recbole_irllrec import IRLLRecError, runs
from recbole_irllrec.safe_loading import load_data
from recbole_irllrec.trainer import IRLLRecTrainer
from recbole_irllrec.warm_start import begin

# enough of a model for its rows to differ
ONE_NEGATIVE = {"distribution": "uniform", "sample_num": 1}
MODEL = {"embedding_size": 8, "n_layers": 2, "epochs": 2}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A data set, and a model trained on it."""
    folder = tmp_path_factory.mktemp("earlier")
    data = write_tiny(folder / "data")
    splits = runs.load_splits("tiny", data, settings=SETTINGS)
    return data, splits, runs.train("IRLLRec", splits, {**MODEL, "seed": 1}, folder / "run")


def model_on(data, name="tiny", settings=None):
    """A new model on a data set, its training data, and the run's settings."""
    splits = runs.load_splits(name, data, settings=SETTINGS)
    run = runs.train("IRLLRec", splits, {**MODEL, "epochs": 1, "seed": 2, **(settings or {})}, data / "run")
    return run, splits


def rows_of(checkpoint, side):
    state = load_data(checkpoint, map_location="cpu")
    tokens = state["tokens"][side].split("\n")
    return dict(zip(tokens, state["state_dict"][f"{side}_embedding.weight"], strict=True))


def grown(data, folder):
    """The same data set with a new user, a new item, and its lines the other way round: other ids."""
    name, new = "tiny", folder / "tiny"
    new.mkdir(parents=True)
    for path in (data / name).glob("tiny.*"):
        if path.is_file():
            (new / path.name).write_bytes(path.read_bytes())
    frame = pd.read_csv(data / name / "tiny.train.inter", sep="\t", dtype=str)
    user, item = frame.columns[:2]
    more = frame.iloc[:6].copy()
    more[user] = "a new user"
    others = frame.iloc[:6].copy()
    others[item] = "a new item"
    pd.concat([frame, more, others]).iloc[::-1].to_csv(new / "tiny.train.inter", sep="\t", index=False)
    return folder


class Begun(Exception):
    """Raised when training would begin."""


def begun_parameters(monkeypatch, data, settings):
    """The embeddings by token when training begins."""

    def stop(self, train_data, *_arguments, **_options):
        raise Begun({name: value.clone() for name, value in self.model.state_dict().items()}, train_data.dataset)

    monkeypatch.setattr(IRLLRecTrainer, "_train_epoch", stop)
    with pytest.raises(Begun) as caught:
        model_on(data, settings=settings)
    return caught.value.args


def test_users_and_items_are_found_by_their_ids_and_new_ones_begin_with_what_is_known(earlier, tmp_path, monkeypatch):
    data, _, old = earlier
    state, dataset = begun_parameters(monkeypatch, grown(data, tmp_path / "grown"), {"warm_start": str(old.checkpoint)})
    for side, field in (("user", dataset.uid_field), ("item", dataset.iid_field)):
        before, tokens = rows_of(old.checkpoint, side), dataset.field2id_token[field]
        weight = state[f"{side}_embedding.weight"]
        shared = [n for n, token in enumerate(tokens) if token in before]
        assert len(shared) > 10
        torch.testing.assert_close(weight[shared], torch.stack([before[tokens[n]] for n in shared]), rtol=0, atol=0)
        (new,) = (n for n, token in enumerate(tokens) if token not in before)
        known = weight[[n for n in shared if n]]
        assert 0 < weight[new].norm() < 3 * known.norm(dim=1).max()
    known = load_data(old.checkpoint, map_location="cpu")["state_dict"]
    tokens, places = dataset.field2id_token[dataset.iid_field], {t: n for n, t in enumerate(before)}
    items = [n for n, token in enumerate(tokens) if token in before and n]
    of_them = known["item_bias"][[places[tokens[n]] - 1 for n in items]]  # there is none of the padding
    torch.testing.assert_close(state["item_bias"][[n - 1 for n in items]], of_them, rtol=0, atol=0)
    assert of_them.unique().numel() > 10
    for name, value in known.items():
        if not name.endswith("_embedding.weight") and not name.startswith("linear.") and name != "item_bias":
            torch.testing.assert_close(state[name], value, rtol=0, atol=0)


def test_a_run_begins_where_the_earlier_one_ended(earlier, tmp_path, monkeypatch):
    data, _, old = earlier
    state, _ = begun_parameters(monkeypatch, data, {"warm_start": str(old.checkpoint)})
    for name, value in load_data(old.checkpoint, map_location="cpu")["state_dict"].items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0)


def test_a_file_is_named_from_the_folder_of_the_command(earlier, monkeypatch):
    """A run has a current folder of its own."""
    data, _, old = earlier
    monkeypatch.chdir(old.checkpoint.parent)
    settings = {**SETTINGS, "warm_start": old.checkpoint.name}
    run = runs.train("IRLLRec", runs.load_splits("tiny", data, settings=settings), {**MODEL, "epochs": 1}, "../other")
    assert run.config["warm_start"] == str(old.checkpoint)


@pytest.mark.parametrize(
    ("model", "settings"), [("AlphaRec", {}), ("IRLLRecSimpleX", {"train_neg_sample_args": ONE_NEGATIVE})]
)
def test_models_whose_embeddings_have_other_names_or_that_have_none(model, settings, earlier, tmp_path):
    data, _, old = earlier
    splits = runs.load_splits("tiny", data, settings={**SETTINGS, **settings})
    of_it = runs.train(model, splits, {"embedding_size": 8, "epochs": 1, **settings}, tmp_path / "run")
    built = runs.training._build(of_it.config, splits.with_texts([of_it.config]), ("train", "valid"))[0].model
    begin(built, of_it.checkpoint, splits.train)
    for name, value in load_data(of_it.checkpoint, map_location="cpu")["state_dict"].items():
        if name in dict(built.named_parameters()):
            torch.testing.assert_close(built.state_dict()[name][1:], value[1:], rtol=0, atol=0)
    with pytest.raises(IRLLRecError, match=rf"that fit this model: begin from a checkpoint of {model} with"):
        begin(built, old.checkpoint, splits.train)


def test_what_cannot_be_begun_from_is_said_in_a_sentence(earlier, tmp_path):
    _, splits, old = earlier
    model = runs.training._build(old.config, splits.with_texts([old.config]), ("train", "valid"))[0].model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(IRLLRecError, match="no file"):
        begin(model, tmp_path / "none.pth", splits.train)
    state = load_data(old.checkpoint, map_location="cpu")
    torch.save({name: value for name, value in state.items() if name != "tokens"}, tmp_path / "old.pth")
    with pytest.raises(IRLLRecError, match="does not say which users and items"):
        begin(model, tmp_path / "old.pth", splits.train)
    others = "\n".join(["[PAD]", *(f"other {n}" for n in range(5))])
    torch.save({**state, "tokens": {"user": others, "item": others}}, tmp_path / "others.pth")
    with pytest.raises(IRLLRecError, match="shares no user"):
        begin(model, tmp_path / "others.pth", splits.train)
    narrow = {name: value[:, :3] if value.dim() == 2 else value for name, value in state["state_dict"].items()}
    torch.save({**state, "state_dict": narrow}, tmp_path / "narrow.pth")
    with pytest.raises(IRLLRecError, match="embedding_size"):
        begin(model, tmp_path / "narrow.pth", splits.train)
    for name, value in model.state_dict().items():
        assert np.array_equal(value.numpy(), before[name].numpy()), name
