"""No text knows a held-out interaction."""

import numpy as np
import pandas as pd
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
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


def trained(folder, train, valid, test):
    """The nodes' tokens and the parameters after four epochs on these splits."""
    pairs = [*train, *valid, *test]
    items = sorted({item for _, item in pairs})
    users = sorted({user for user, _ in pairs})
    words = ("barn", "river", "hills", "moon", "train", "ship")
    item_file = "item_id:token\ttitle:token_seq\n" + "".join(
        f"{item}\tthe {words[n % 6]} of {words[n % 5]}\n" for n, item in enumerate(items)
    )
    user_file = "user_id:token\tjob:token\n" + "".join(f"{user}\t{words[n % 4]}\n" for n, user in enumerate(users))
    write_dataset(folder, train, valid, test, item=item_file, user=user_file)
    config, dataset = load(
        folder,
        checkpoint_dir=str(folder / "saved"),
        epochs=4,
        stopping_step=10,
        train_batch_size=32,
        learning_rate=0.05,
        fusion="gate",
        **dict.fromkeys(("profile_weight", "pairwise_weight", "translation_weight", "matching_weight"), 0.1),
    )
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    model = get_model("IRLLRec")(config, train_data.dataset)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = get_trainer(config["MODEL_TYPE"], "IRLLRec")(config, model)
    trainer.fit(train_data, valid_data, saved=False)
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())
    return tokens_of(dataset), model.state_dict()


def test_held_out_interactions_change_nothing_of_the_trained_model(tmp_path):
    generator = np.random.default_rng(0)
    users, items = [f"u{n}" for n in range(12)], [f"i{n}" for n in range(20)]
    pairs = [(user, items[n]) for user in users for n in generator.permutation(20)[:11]]
    by_user = [pairs[n : n + 11] for n in range(0, len(pairs), 11)]
    train = [pair for own in by_user for pair in own[:7]] + [(users[n % 12], item) for n, item in enumerate(items)]
    train = list(dict.fromkeys(train))
    held_out = [[pair for pair in own[7:] if pair not in train] for own in by_user]
    valid, test = ([pair for own in held_out for pair in own[n::2]] for n in (0, 1))
    unseen = [(user, item) for user in users for item in items if (user, item) not in {*train, *valid, *test}]
    others = [unseen[n] for n in generator.permutation(len(unseen))[: len(valid) + len(test)]]
    tokens, model = trained(tmp_path / "one", train, valid, test)
    for name, swapped in (("two", (test, valid)), ("three", (others[: len(valid)], others[len(valid) :]))):
        other_tokens, other_model = trained(tmp_path / name, train, *swapped)
        assert other_tokens == tokens
        assert model.keys() == other_model.keys()
        assert all(torch.equal(model[key], other_model[key]) for key in model)
    changed = [(user, item) if n else unseen[-1] for n, (user, item) in enumerate(train)]
    assert not torch.equal(
        trained(tmp_path / "four", changed, valid, test)[1]["user_embedding.weight"], model["user_embedding.weight"]
    )
