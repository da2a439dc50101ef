"""A pre-split data set with ratings and reviews, and the command line that generates texts for it."""

import numpy as np
import pandas as pd

CONFIG = """\
benchmark_filename: [train, valid, test]
load_col:
  inter: [user_id, item_id, rating]
"""
WORDS = (
    "amber",
    "bronze",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "harbour",
    "island",
    "jungle",
    "knight",
    "lagoon",
)


def write_dataset(folder, n_users=6, n_items=5, per_user=3, reviews=True, name="shop", titles=None):
    """Write a data set below ``folder``: item j of user i is i·3 + j·j, modulo the items; the last is held out.

    Ratings go 1 to 5. A training review has the word "trainreview", a held-out one "heldout".
    """
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    users = np.repeat(np.arange(n_users), per_user)
    places = np.tile(np.arange(per_user), n_users)
    frame = pd.DataFrame({"user": users, "item": (users * 3 + places) % n_items, "place": places})
    frame["rating"] = 1 + (frame["user"] + frame["place"] * 2) % 5
    frame["user"], frame["item"] = "u" + frame["user"].astype(str), "i" + frame["item"].astype(str)
    held_out = frame["place"] == per_user - 1
    parts = {"train": frame[~held_out], "valid": frame[held_out][::2], "test": frame[held_out][1::2]}
    for part, rows in parts.items():
        lines = rows["user"] + "\t" + rows["item"] + "\t" + rows["rating"].astype(str)
        header = "user_id:token\titem_id:token\trating:float"
        (own / f"{name}.{part}.inter").write_text("\n".join([header, *lines]) + "\n")
    titles = titles or {}
    said = [titles.get(f"i{i}", f"{WORDS[i % 12]} {WORDS[i * 7 % 11]} number {i}") for i in range(n_items)]
    lines = [f"i{i}\t{title}\t3.5" for i, title in enumerate(said)]
    (own / f"{name}.item").write_text("\n".join(["item_id:token\ttitle:token_seq\tmean:float", *lines]) + "\n")
    lines = [f"u{i}\tage {20 + i}" for i in range(n_users)]  # no two prompts are the same
    (own / f"{name}.user").write_text("\n".join(["user_id:token\tgroup:token", *lines]) + "\n")
    if reviews:
        text = frame["user"] + " said " + np.where(held_out, "heldout", "trainreview") + " of " + frame["item"]
        frame.assign(timestamp=0, text=text)[["user", "item", "rating", "timestamp", "text"]].to_parquet(
            own / f"{name}.reviews.parquet", index=False
        )
    (folder / "config.yaml").write_text(CONFIG)
    return parts


def arguments(folder, url, *more, name="shop", model="gpt-4o-mini"):
    """The command line of ``irllrec intents generate`` on it."""
    place = ["--data-path", str(folder), "--config-files", str(folder / "config.yaml")]
    server = [] if url is None else ["--base-url", url]
    return ["intents", "generate", name, "--model", model, *place, *server, *map(str, more)]
