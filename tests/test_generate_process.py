"""Generation in a process of its own: killed, interrupted, locked out, without room, in batches."""

import contextlib
import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import command
import openai_server
import pandas as pd
import pytest
from generation_files import arguments, write_dataset
from recbole_irllrec.dataset_tools.generate import evidence_outside, texts
from recbole_irllrec.dataset_tools.generation.store import open_store

from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.data.loading import load_config, split_datasets


@contextlib.contextmanager
def started(folder, url, *more):
    """The command in a process of its own, which writes to the file "said"."""
    process = command.start("said", *arguments(folder, url, *more))
    try:
        yield process
    finally:
        process.kill()
        process.join()


def again(url, folder, *more):
    """The exit status of the command in this process, and what it said on standard error."""
    done = command.ended(*arguments(folder, url, *more))
    return done.returncode, done.stderr


def stored(folder, condition="1"):
    """The current rows of the store."""
    with contextlib.closing(sqlite3.connect(folder / "shop" / "shop.answers.sqlite", timeout=30)) as db:
        rows = f"SELECT current.*, answer, failure, asked FROM current JOIN answer USING (key) WHERE {condition}"
        return pd.read_sql_query(rows, db)


def wait_until(reached, process, seconds=240):
    """Wait for something that a process does."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(sqlite3.OperationalError, pd.errors.DatabaseError):
            if reached():
                return
        assert process.is_alive(), Path("said").read_text()
        assert time.monotonic() < end
        time.sleep(0.02)


def account_of_prompts(server):
    """The server's account, with the prompt each request is about."""
    frame = pd.DataFrame(server.account())
    frame = frame[frame["path"] == "chat/completions"].copy()
    frame["prompt"] = frame["prompt"].str.split("\n\nYour last answer", regex=False).str[0]
    return frame


def test_five_hundred_users_a_fifth_of_the_requests_failing_and_a_kill_in_the_middle(tmp_path):
    n_users, n_items, concurrency = 500, 40, 32
    parts = write_dataset(tmp_path, n_users=n_users, n_items=n_items, reviews=False)
    pace = ("--concurrency", concurrency, "--timeout", "2", "--tries", "8")
    with openai_server.serve(fault_rate=0.2, hang=60, latency=0.002, retry_after=0.05) as server:
        with started(tmp_path, server.url, *pace) as process:
            wait_until(lambda: len(stored(tmp_path)) >= 200, process)
            process.kill()
            process.join()
        killed = time.time()
        kept = stored(tmp_path)
        status, output = again(server.url, tmp_path, *pace)
        assert status == 0, output
        asked = account_of_prompts(server)
    final = stored(tmp_path)
    assert final["answer"].notna().all()
    assert sorted(final.loc[final["side"] == "user", "token"]) == sorted(f"u{i}" for i in range(n_users))
    assert (final["side"] == "item").sum() == n_items
    assert set(kept["key"]) <= set(final["key"])
    # Each prompt was answered once. What was answered and asked again was under way when the process died.
    good = asked[asked["valid"]]
    twice = good[good.duplicated("prompt", keep=False)]
    assert good["prompt"].nunique() == n_users + n_items and len(good) - good["prompt"].nunique() <= concurrency
    assert twice.groupby("prompt")["begun"].agg(["min", "max"]).eval("min < @killed and max > @killed").all()
    # An answer that is stored is never asked for again.
    after = set(asked.loc[asked["begun"] > killed, "prompt"])
    assert len(after) <= n_users + n_items - len(kept)
    assert {"429", "429_retry_after", "500", "timeout", "drop", "refusal"} <= set(asked["fault"].dropna())
    # The table passes its checks against the training interactions.
    config = load_config("shop", tmp_path, str(tmp_path / "config.yaml"))
    with open_store(tmp_path / "shop" / "shop.answers.sqlite") as store:
        assert evidence_outside(store, parts["train"], parts["train"]["item"].unique()).empty
        for side in ("user", "item"):
            made = texts(store, side, "profile")
            vectors = [openai_server.embedding(text, 8) for text in made.texts]
            more = {"source": made.source, "train_fingerprint": made.train_fingerprint}
            table = IntentTable.from_arrays(made.tokens, vectors, made.texts, encoder="server", **more)
            table.write(tmp_path / "shop" / f"shop.{side}_profile.parquet")
    (train, *_) = split_datasets(config)
    assert train.node_texts(config, ["profile"])["profile"].present.all()


def test_ctrl_c_keeps_what_is_under_way(tmp_path):
    write_dataset(tmp_path, n_users=300, n_items=20)
    with openai_server.serve(latency=0.3) as server:
        with started(tmp_path, server.url, "--concurrency", "8") as process:
            wait_until(lambda: len(stored(tmp_path)) >= 40, process)  # in the midst of the users
            os.kill(process.pid, signal.SIGINT)
            process.join(60)
        output = Path("said").read_text()
        assert process.exitcode == 130 and "Traceback" not in output
        assert "Waiting for the answers under way" in output and "Answers in" in output
        answered = [entry for entry in server.account() if entry["valid"]]
    assert len(answered) == len(stored(tmp_path)) < 320


def test_a_store_in_use_is_refused_and_its_owner_goes_on(tmp_path):
    write_dataset(tmp_path, n_users=40, n_items=5)
    with openai_server.serve(latency=1) as server, started(tmp_path, server.url, "--concurrency", "1") as first:
        wait_until(lambda: len(stored(tmp_path)) >= 1, first)
        status, output = again(server.url, tmp_path)
        assert status == 1 and "is in use by a running process" in output and "Traceback" not in output
        assert first.is_alive()
        with open_store(tmp_path / "shop" / "shop.answers.sqlite") as store:  # reading is allowed
            assert store.counts()
        server.set(latency=0)
        first.join(120)
        assert first.exitcode == 0


def test_a_full_disk_loses_nothing(tmp_path):
    write_dataset(tmp_path, n_users=120, n_items=20, reviews=False)

    with openai_server.serve() as server:
        with command.full_disk(200_000):
            status, output = again(server.url, tmp_path)
        assert status == 1 and "make room on the disk" in output and "Traceback" not in output
        kept = stored(tmp_path)
        assert 0 < len(kept) < 140
        status, output = again(server.url, tmp_path)
        assert status == 0, output
        assert set(kept["key"]) <= set(stored(tmp_path)["key"]) and len(stored(tmp_path)) == 140
        good = account_of_prompts(server)
        assert good["valid"].sum() <= 140 + 16  # those under way when the disk was full


# --- Batches. -------------------------------------------------------------------------------------------------------

BATCH = ("--batch", "--batch-size", "8", "--poll", "0.05", "--tries", "9")


@pytest.fixture
def batches(tmp_path):
    """The rows of the store's table of batches."""

    def read():
        with contextlib.closing(sqlite3.connect(tmp_path / "shop" / "shop.answers.sqlite", timeout=30)) as db:
            return pd.read_sql_query("SELECT * FROM batch", db)

    return read


def test_a_batch_is_not_submitted_twice_whenever_the_process_dies(tmp_path, batches):
    write_dataset(tmp_path, n_users=6, n_items=5)
    with openai_server.serve(batch_polls=10**9) as server:
        with started(tmp_path, server.url, *BATCH) as process:  # killed while it waits
            wait_until(lambda: batches()["batch_id"].notna().any(), process)
            process.kill()
            process.join()
        # As if it had died after the batch was submitted, and before that was noted.
        with contextlib.closing(sqlite3.connect(tmp_path / "shop" / "shop.answers.sqlite")) as db, db:
            db.execute("UPDATE batch SET batch_id = NULL")
        server.set(batch_polls=2)
        status, output = again(server.url, tmp_path, *BATCH)
        assert status == 0, output
        account = server.account()
    inputs = [entry["input"] for entry in account if entry["path"] == "batches"]
    assert len(inputs) == len(set(inputs)) == 2  # items, users
    asked = [entry["custom_id"] for entry in account if entry.get("custom_id")]
    assert len(asked) == len(set(asked)) and len(stored(tmp_path)) == 11
    first = json.loads((tmp_path / "shop" / "shop.answers.sqlite.batches" / "item-1.jsonl").read_text().splitlines()[0])
    assert first["custom_id"] in set(stored(tmp_path)["key"]) and first["body"]["response_format"]
