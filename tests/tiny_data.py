"""A data set that is split on disk, of users with tastes, small enough to train on in a second."""

from pathlib import Path

import numpy as np

from recbole_irllrec.data.intents import IntentTable

N_USERS, N_ITEMS, N_GROUPS = 48, 60, 4
WORDS = ("warm", "sharp", "sturdy", "funny", "light", "old")
SETTINGS = {
    "benchmark_filename": ["train", "valid", "test"],
    "metrics": ["Recall", "NDCG"],
    "topk": [5, 10],
    "valid_metric": "NDCG@10",
    "epochs": 3,
    "train_batch_size": 256,
    "embedding_size": 8,
    "show_progress": False,
}


def write_tiny(folder: Path, name: str = "tiny", test_seed: int = 0) -> Path:
    """Write the data set below ``folder``; returns that. Another ``test_seed`` changes the test interactions alone."""
    own = folder / name
    own.mkdir(parents=True)
    rng = np.random.default_rng(0)
    parts: dict[str, list[tuple[int, int]]] = {"train": [], "valid": [], "test": []}
    # every user and item occurs in training, so that the ids do not depend on the other parts
    parts["train"] += [(item % N_USERS, item) for item in range(N_ITEMS)]
    for user in range(N_USERS):
        liked = [item for item in range(N_ITEMS) if item % N_GROUPS == user % N_GROUPS and item % N_USERS != user]
        drawn = [int(item) for item in rng.permutation(liked)[:10]]
        parts["train"] += [(user, item) for item in drawn[:7]]
        parts["valid"] += [(user, item) for item in drawn[7:]]
    used = {*parts["train"], *parts["valid"]}
    test_rng = np.random.default_rng(test_seed)
    for user in range(N_USERS):
        unseen = [item for item in range(N_ITEMS) if (user, item) not in used]
        parts["test"] += [(user, int(item)) for item in test_rng.permutation(unseen)[:3]]
    for part, pairs in parts.items():
        lines = ["user_id:token\titem_id:token", *(f"u{user}\ti{item}" for user, item in pairs)]
        (own / f"{name}.{part}.inter").write_text("\n".join(lines) + "\n")
    items = [f"i{n}\tthe {WORDS[n % N_GROUPS]} {WORDS[n % 6]} one" for n in range(N_ITEMS)]
    (own / f"{name}.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *items]) + "\n")
    users = [f"u{n}\t{WORDS[n % N_GROUPS]}" for n in range(N_USERS)]
    (own / f"{name}.user").write_text("\n".join(["user_id:token\tjob:token", *users]) + "\n")
    return folder


def write_tiny_tables(folder: Path, value: float) -> None:
    """Write text tables of the data set ``tiny`` below ``folder``, with this number everywhere."""
    for side, n in (("user", N_USERS), ("item", N_ITEMS)):
        tokens = [f"{side[0]}{place}" for place in range(n)]
        table = IntentTable.from_arrays(tokens, np.full((n, 3), value, np.float32), encoder="e", source="features")
        for kind in ("profile", "intent"):
            table.write(folder / f"tiny/tiny.{side}_{kind}.parquet")
