"""A language model writes texts: over a real server, with all that goes wrong with one."""

import asyncio
import contextlib
import json
import os
import re
import sqlite3
from types import SimpleNamespace

import command
import numpy as np
import openai
import openai_server
import pandas as pd
import pytest
import yaml
from generation_files import arguments, write_dataset
from recbole_irllrec.dataset_tools.generate import evidence_outside, texts
from recbole_irllrec.dataset_tools.generation.batch import BatchRun
from recbole_irllrec.dataset_tools.generation.budget import Budget
from recbole_irllrec.dataset_tools.generation.store import open_store, open_to_write

from recbole_irllrec.data.features import train_fingerprint
from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.data.loading import load_config
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.files import atomic_write
from recbole_irllrec.text.endpoint import Endpoint, Said


@pytest.fixture(scope="module")
def one_server():
    with openai_server.serve() as server:
        yield server


@pytest.fixture
def server(one_server):
    """A server that answers well; what it was asked in this test is in `server.asked()`."""
    default = vars(openai_server.Behaviour())
    one_server.set(**default)
    before = len(one_server.account())
    one_server.asked = lambda: one_server.account()[before:]
    return one_server


@pytest.fixture
def run(tmp_path, server, monkeypatch):
    """Runs ``irllrec intents generate`` on the data set in `tmp_path`."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def run(*more, **changes):
        return command.ended(*arguments(tmp_path, server.url, "--timeout", "3", *more, **changes))

    return run


@pytest.fixture
def answers(tmp_path):
    """Reads the store: one row for each user and item, by (side, token)."""

    def read(name="shop"):
        with sqlite3.connect(tmp_path / name / f"{name}.answers.sqlite") as db:
            frame = pd.read_sql_query(
                "SELECT current.*, answer, failure, asked FROM current JOIN answer USING (key)", db
            )
        return frame.set_index(["side", "token"])

    return read


def prompts(asked):
    """The prompts in the server's account, without what is added when one is sent again."""
    return [entry["prompt"].split("\n\nYour last answer")[0] for entry in asked]


def sentence(result):
    """The one sentence on standard error of a command that failed."""
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("irllrec: ")]
    assert result.returncode == 1 and "Traceback" not in result.stderr
    return said


# --- What is asked. -------------------------------------------------------------------------------------------------


def test_items_come_first_then_users_with_what_was_written_about_them(tmp_path, run, server, answers):
    write_dataset(tmp_path)
    done = run()
    assert done.returncode == 0 and "11 requests" in done.stdout
    asked = prompts(server.asked())
    assert ["Reviews that" in one for one in asked] == [True] * 5 + [False] * 6
    stored = answers()
    assert len(stored) == 11 and stored["answer"].notna().all()
    profile_of_i0 = json.loads(stored.loc[("item", "i0"), "answer"])["profile"]
    (of_u0,) = [one for one in asked[5:] if "u0 said" in one]
    liked, disliked = of_u0.split("and did not like:")
    # u0 rated i0 with 1 and i1 with 3; i2, with 5, is held out
    assert (
        "[i0]" in disliked
        and "[i1]" in disliked
        and profile_of_i0 in disliked
        and "u0 said trainreview of i0" in disliked
    )
    assert "(nothing)" in liked and "[i2]" not in of_u0


@pytest.mark.parametrize("columns", ["[user_id, item_id]", "[user_id, item_id, rating]"])
def test_ratings_count_as_they_stand_whatever_is_loaded(tmp_path, run, server, columns):
    own = write_dataset(tmp_path) and tmp_path / "shop"
    for file in own.glob("*.inter"):
        file.write_text(file.read_text().replace("u3\ti4\t4", "u3\ti4\t"))
    more = "normalize_all: True\nunused_col: {inter: [rating]}\n"
    (tmp_path / "config.yaml").write_text(
        f"benchmark_filename: [train, valid, test]\n{more}load_col: {{inter: {columns}}}\n"
    )
    said = run().stderr
    train = pd.read_csv(own / "shop.train.inter", sep="\t")
    ratings = train["rating:float"]
    assert ratings.isna().sum() == 1
    assert f"{(ratings >= 4).sum()} of 12 training interactions have a rating of 4 or more" in said
    assert "1 training interactions have no rating and count as liked" in said
    disliked = train[ratings < 4].groupby("user_id:token")["item_id:token"].agg(set)
    asked = [one for one in prompts(server.asked()) if "did not like:" in one]
    assert len(asked) == 6
    for user, items in train.groupby("user_id:token")["item_id:token"]:
        (one,) = [one for one in asked if f"age {20 + int(user[1:])}" in one]
        part = one.split("did not like:")[1]
        assert {item for item in items if f"[{item}]" in part} == disliked.get(user, set())


@pytest.mark.parametrize(
    ("head", "words"),
    {
        "user_id:token\titem_id:token\tstars:float": "has the columns user_id, item_id, stars; name that of ratings",
        "user_id:token\titem_id:token\trating:token": "has rating:token, and ratings are read from rating:float",
    }.items(),
)
def test_ratings_that_are_not_found_are_missed_before_anything_is_asked(tmp_path, head, words, monkeypatch):
    own = write_dataset(tmp_path) and tmp_path / "shop"
    for file in own.glob("*.inter"):
        file.write_text("\n".join([head, *file.read_text().splitlines()[1:], ""]))
    (tmp_path / "config.yaml").write_text("benchmark_filename: [train, valid, test]\n")
    monkeypatch.setenv("OPENAI_API_KEY", "")
    said = command.ended(*arguments(tmp_path, None)).stderr  # ends for want of a key, when all is read
    assert words in said and "So of no user a prompt says what was not liked" in said
    assert said.index(words) < said.index("OPENAI_API_KEY")


def test_features_and_reviews_that_are_not_there_are_missed(tmp_path, run):
    own = write_dataset(tmp_path, n_items=30) and tmp_path / "shop"
    for side in ("item", "user"):
        (own / f"shop.{side}").unlink()
    said = run("--dry-run").stderr
    for words in ("No item prompt holds features", "with --items", "--users (yelp, csv)"):
        assert words in said
    assert "items nothing is known" in said
    write_dataset(tmp_path, reviews=False)
    (own / "shop.reviews.parquet").unlink()
    said = run("--dry-run").stderr
    assert "No prompt holds a review" in said and "5 of 5 items have words" in said and "nothing is known" not in said
    (own / "shop.item").write_text("item_id:token\tmean:float\ni0\t3\n")
    assert "--items" in sentence(run("--dry-run"))


def test_nothing_held_out_reaches_a_prompt(tmp_path, run, server):
    parts = write_dataset(tmp_path, n_users=20, n_items=7)
    run()
    asked = prompts(server.asked())
    assert len(asked) == 27 and not any("heldout" in one or "3.5" in one for one in asked)
    train = parts["train"]
    for one in asked:
        for user, read in train.groupby("user"):
            if f"{user} said" in one and "did not like" in one:
                shown = {token for token in train["item"].unique() if f"[{token}]" in one}
                assert shown == set(read["item"])


def test_a_review_of_a_pair_that_is_held_out_too_is_left_out(tmp_path, run, server):
    write_dataset(tmp_path)
    test = tmp_path / "shop" / "shop.test.inter"
    test.write_text(test.read_text() + "u0\ti0\t5\n")
    run()
    assert not any("u0 said trainreview of i0" in one for one in prompts(server.asked()))


def test_the_rating_threshold_is_of_the_file_not_of_recboles_scaled_ratings(tmp_path, run, server):
    write_dataset(tmp_path, reviews=False)
    run("--liked-from", "1")
    users = prompts(server.asked())[5:]
    assert all(one.endswith("did not like:\n(nothing)") for one in map(str.strip, users))


def test_nothing_is_asked_twice_and_a_change_asks_again_only_what_it_touches(tmp_path, run, server, answers):
    write_dataset(tmp_path, n_users=9, n_items=9)
    run()
    n = len(server.asked())
    assert run().returncode == 0 and len(server.asked()) == n == 18
    # one item's title: the item, and the users who have read it
    write_dataset(tmp_path, n_users=9, n_items=9, titles={"i1": "a new name"})
    run()
    again = prompts(server.asked()[n:])
    assert sum("a new name" in one and "Reviews that" in one for one in again) == 1
    assert all("a new name" in one for one in again) and 1 < len(again) < 9
    # and back: nothing
    n = len(server.asked())
    write_dataset(tmp_path, n_users=9, n_items=9)
    run()
    assert len(server.asked()) == n and len(answers()) == 18


def test_a_changed_prompt_is_asked_again_only_if_one_says_so(tmp_path, run, server, answers):
    write_dataset(tmp_path)
    run()
    n = len(server.asked())
    from importlib.resources import files

    own = yaml.safe_load(files("recbole_irllrec.properties").joinpath("prompts", "general.yaml").read_text())
    own["user"]["system"] += "Be brief.\n"
    own["version"] = "mine-1"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    mine = ("--prompts", tmp_path / "mine.yaml")
    said = sentence(run(*mine))
    assert "general-1" in said and "mine-1" in said and "--replace" in said and len(server.asked()) == n
    assert run(*mine, "--replace").returncode == 0
    again = server.asked()[n:]
    assert len(again) == 6 and len(answers()) == 11  # the users


def test_a_prompt_depends_on_its_own_interactions_alone(tmp_path, run, server):
    write_dataset(tmp_path, n_users=9, n_items=30, per_user=20, reviews=False)
    run("--history", "4")
    n = len(server.asked())
    train = tmp_path / "shop" / "shop.train.inter"
    train.write_text(train.read_text() + "u3\ti29\t5\n")
    run("--history", "4", "--replace")  # the training interactions are others
    assert len(server.asked()) - n <= 1
    assert run("--history", "4", "--seed", "5").returncode == 0 and len(server.asked()) - n > 5


# --- What goes wrong. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", openai_server.CHAT_FAULTS)
def test_every_fault_is_got_over(tmp_path, run, server, answers, fault):
    write_dataset(tmp_path, reviews=False)
    server.set(fault_rate=0.3, faults=[fault], hang=2, retry_after=0.05)
    done = run("--timeout", "0.7", "--tries", "12")
    assert done.returncode == 0 and answers()["answer"].notna().all() and len(answers()) == 11
    assert any(entry["fault"] == fault for entry in server.asked())
    assert sum(entry["valid"] for entry in server.asked()) == 11


def test_retry_after_is_waited_for(tmp_path, run, server):
    write_dataset(tmp_path, n_users=2, n_items=2, per_user=2, reviews=False)
    server.set(fault_rate=0.5, faults=["429_retry_after"], retry_after=0.7)
    assert run().returncode == 0
    asked = pd.DataFrame(server.asked())
    waits = asked.groupby("content")["begun"].diff().dropna()
    assert len(waits) and (waits >= 0.7).all()


def test_an_invalid_answer_is_asked_for_again_with_the_error_and_then_has_failed(tmp_path, run, server, answers):
    write_dataset(tmp_path, reviews=False)
    server.set(fault_rate=1.0, faults=["wrong_schema"])
    done = run("--tries", "2")
    assert done.returncode == 0 and "--retry-failed" in done.stdout
    asked = server.asked()
    assert len(asked) == 22
    told = [entry["prompt"] for entry in asked if "Your last answer was not valid" in entry["prompt"]]
    assert len(told) == 11 and all("not valid: reasoning: Field required" in prompt for prompt in told)
    stored = answers()
    assert (
        stored["answer"].isna().all() and stored["failure"].str.contains("no valid answer in 2 tries: reasoning").all()
    )
    server.set(fault_rate=0)
    assert run().returncode == 0 and len(server.asked()) == 22
    assert run("--retry-failed").returncode == 0 and answers()["answer"].notna().all()


def test_many_failures_in_a_row_end_the_run(tmp_path, run, server):
    write_dataset(tmp_path, n_users=60, n_items=60, reviews=False)
    server.set(fault_rate=1.0, faults=["invalid_json"])
    assert "20 prompts in a row have failed" in sentence(run("--tries", "1", "--concurrency", "4"))
    assert len(server.asked()) <= 24


def test_a_server_without_json_schemas_gets_one_in_the_prompt(tmp_path, run, server, answers):
    write_dataset(tmp_path)
    server.set(json_schema=False)
    done = run()
    assert done.returncode == 0 and "takes no JSON schema" in done.stderr
    assert [entry["status"] for entry in server.asked()] == [400] + [200] * 11
    assert answers()["answer"].notna().all()


def test_a_model_without_temperature_gets_none(tmp_path, run, server):
    write_dataset(tmp_path)
    server.set(refused_parameters=["temperature"])
    done = run()
    assert done.returncode == 0 and "takes no temperature" in done.stderr and "JSON schema" not in done.stderr
    assert [entry["status"] for entry in server.asked()] == [400] + [200] * 11


def test_one_refused_prompt_does_not_end_the_run(tmp_path, run, server, answers):
    write_dataset(tmp_path)
    server.set(refused_words="number 3")
    assert run().returncode == 0
    stored = answers()
    assert "The prompt was filtered" in stored.loc[("item", "i3"), "failure"]
    assert stored.loc[("item", "i2"), "answer"]


# --- What servers are like that call themselves compatible. ----------------------------------------------------------

OPENAI = {"type": "invalid_request_error"}
NO_LENGTH = OPENAI | {
    "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'.",
    "param": "max_tokens",
    "code": "unsupported_parameter",
}
NO_TEMPERATURE = OPENAI | {
    "message": "Unsupported value: 'temperature' does not support 0 with this model. Only the default is.",
    "param": "temperature",
    "code": "unsupported_value",
}
FILTERED = {
    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "status": 400,
    "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}},
}
TOO_LONG = {
    "object": "error",
    "message": "This model's maximum context length is 512 tokens. However, you requested 1700 tokens (700 in the "
    "messages, 1000 in the completion). Please reduce the length of the messages or completion.",
    "type": "BadRequestError",
    "param": None,
    "code": 400,
}
NO_SYSTEM = {"object": "error", "message": "System role not supported", "type": "BadRequestError", "code": 400}
PARTS = {"response_format", "system", "temperature"}


def statuses(asked):
    return [entry["status"] for entry in asked]


def without(*parts, length="max_tokens"):
    return sorted(PARTS - {*parts} | {length})


@pytest.mark.parametrize(
    ("refusals", "refused", "parts", "said"),
    [
        (
            [("max_tokens", 400, {"error": NO_LENGTH}), ("temperature", 400, {"error": NO_TEMPERATURE})],
            2,
            without("temperature", length="max_completion_tokens"),
            ["calls the longest answer max_completion_tokens", "takes no temperature"],
        ),
        ([("system", 400, NO_SYSTEM)], 1, without("system"), ["no message of the system"]),
        (
            [("system", 500, {"error": {"code": 500, "message": "Jinja Exception: System role not supported"}})],
            1,
            without("system"),
            ["no message of the system"],
        ),
        ([("system", 400, "")], 2, without("system"), ["no message of the system"]),  # one guess before
        # DeepSeek's text, LM Studio's error, FastAPI's detail, Gemini's list, a proxy's 404, llama.cpp's 500, no words.
        *(
            ([("response_format", status, body)], tries, without("response_format"), ["takes no JSON schema"])
            for status, body, tries in [
                (422, "Failed to deserialize the JSON body: response_format: `json_schema` is unavailable now", 1),
                (400, {"error": "'response_format.type' must be 'text'"}, 1),
                (422, {"detail": [{"loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}]}, 1),
                (400, [{"error": {"code": 400, "message": 'Unknown name "schema"', "status": "INVALID_ARGUMENT"}}], 1),
                (404, {"error": {"message": "No endpoint takes response_format", "code": 404}}, 1),
                (500, {"error": {"code": 500, "message": "failed to parse grammar", "type": "server_error"}}, 1),
                (200, {"error": {"message": "json_schema is not supported", "code": 400}}, 1),
                (501, "Not Implemented", 1),
                (400, {"message": "Bad request"}, 1),
                (500, "Internal Server Error", 3),
            ]
        ),
    ],
)
def test_what_a_server_does_not_take_is_learned_once_and_kept(
    tmp_path, run, server, answers, refusals, refused, parts, said
):
    write_dataset(tmp_path, n_items=3, reviews=False)
    server.set(refusals=refusals, latency=0.02)
    done = run("--concurrency", "8")
    assert done.returncode == 0 and answers()["answer"].notna().all() and len(answers()) == 9
    asked = server.asked()
    status = refusals[0][1]
    assert statuses(asked) == [status] * refused + [200] * 9 and sum(entry["valid"] for entry in asked) == 9
    assert {tuple(entry["parts"]) for entry in asked[refused:]} == {tuple(parts)}
    assert [done.stderr.count(words) for words in said] == [1] * len(said)
    assert done.stderr.count("The server ") == len(said)
    if "system" not in parts:
        assert all("catalogue" in entry["prompt"] for entry in asked[refused:])
    if "response_format" not in parts:
        with sqlite3.connect(tmp_path / "shop" / "shop.answers.sqlite") as db:
            db.execute("DELETE FROM answer WHERE key IN (SELECT key FROM current WHERE token IN ('i0', 'u1', 'u2'))")
        again = run()
        assert statuses(server.asked()[len(asked) :]) == [200] * 3 and "The server " not in again.stderr


@pytest.mark.parametrize(
    "message",
    [
        {"content": '<think>{hm} $DRAFT or {"a": </think>\n$ANSWER'},
        {"content": "It likes {films}. $DRAFT</think>\n\n$ANSWER"},
        {"content": "Here {is} it:\n```json\n$ANSWER\n```\nAsk {me} for more."},
        {"content": "First $DRAFT, better $ANSWER"},
        {"content": [{"type": "thinking", "thinking": "$DRAFT"}, {"type": "text", "text": "$ANSWER"}]},
        {"content": "$ANSWER", "reasoning_content": "$DRAFT"},
        {"content": None, "reasoning_content": "So $DRAFT. No: $ANSWER"},
        {"content": "", "reasoning": "<think>$DRAFT</think>$ANSWER"},
        {"content": "$RAW"},
        {"content": "$NULL"},
        {"content": "$NONE"},
    ],
)
def test_an_answer_is_found_at_the_first_try_wherever_it_stands(tmp_path, run, server, answers, message):
    write_dataset(tmp_path, n_users=2, n_items=2, per_user=2, reviews=False)
    server.set(message=message)
    assert run().returncode == 0 and statuses(server.asked()) == [200] * 4
    stored = answers()["answer"].map(json.loads)
    assert len(stored) == 4 and all(one["profile"].startswith("It is about") for one in stored)
    none_disliked = message["content"] in ("$NULL", "$NONE")
    assert all(bool(one["dislikes"]) != none_disliked for one in stored)


@pytest.mark.parametrize(
    "message",
    [{"content": None, "reasoning_content": "{}{}{}"}, {"content": ""}, {"content": "I think that it likes films."}],
)
def test_a_schema_that_is_taken_and_not_kept_to_costs_one_try(tmp_path, run, server, answers, message):
    write_dataset(tmp_path, n_items=3, reviews=False)
    server.set(message_of_schema=message, latency=0.02)
    done = run("--concurrency", "8")
    assert done.returncode == 0 and answers()["answer"].notna().all()
    assert len(server.asked()) == 10 and done.stderr.count("does not keep to a JSON schema") == 1
    again = run("--seed", "3", "--history", "1")  # other prompts: users have one item now
    asked = server.asked()[10:]
    assert asked and not any("response_format" in entry["parts"] for entry in asked)
    assert again.returncode == 0 and "The server " not in again.stderr


@pytest.mark.parametrize("usage", ["absent", {"prompt_tokens": None, "completion_tokens": 7.5}])
@pytest.mark.parametrize("batch", [(), ("--batch", "--poll", "0.05")])
def test_usage_that_is_not_told_is_estimated(tmp_path, run, server, answers, usage, batch):
    write_dataset(tmp_path, n_users=2, n_items=2, per_user=2, reviews=False)
    server.set(usage=usage)
    assert run(*batch).returncode == 0 and len(answers()) == 4
    with sqlite3.connect(tmp_path / "shop" / "shop.answers.sqlite") as db:
        used = db.execute("SELECT prompt_tokens, answer_tokens FROM answer WHERE answer IS NOT NULL").fetchall()
    assert len(used) == 4 and all(300 < prompt < 3000 for prompt, _ in used)
    told = isinstance(usage, dict) and "completion_tokens" in usage
    assert all(answered == 8 if told else 50 < answered < 500 for _, answered in used)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "worker died"}}}, "502"),
        ({"error": {"message": "slow down"}}, "200"),
        ({"status": "429", "msg": "slow down", "body": None}, "429"),
        ({"choices": None}, "200"),
        ([], "200"),
    ],
)
def test_an_error_in_the_place_of_an_answer_is_waited_out(tmp_path, run, server, answers, body, reason):
    write_dataset(tmp_path, n_users=2, n_items=2, per_user=2, reviews=False)
    server.set(refusals=[("first:1", 200, body)])
    done = run("--tries", "1")
    assert done.returncode == 0 and answers()["answer"].notna().all() and answers()["asked"].eq(1).all()
    assert len(server.asked()) == 8 and f"4 after {reason}" in done.stdout


def test_a_server_that_refuses_everything_ends_the_run_with_its_words(tmp_path, run, server, answers):
    write_dataset(tmp_path, n_items=9)
    server.set(refusals=[("all", 422, {"detail": "this endpoint is for translations"})])
    said = sentence(run("--concurrency", "8"))
    assert "422 (this endpoint is for translations)" in said and "--retry-failed" in said
    assert len(server.asked()) == 3 * 5 and len(answers()) == 2  # whole, without each part, without all
    server.set(refusals=[])
    done = run("--retry-failed")  # nothing was learned from refusals alone
    assert done.returncode == 0 and "The server " not in done.stderr and answers()["answer"].notna().all()
    assert "response_format" in server.asked()[-1]["parts"]


@pytest.mark.parametrize(
    ("body", "reason", "number"),
    [({"error": FILTERED}, "content management policy", 0), (TOO_LONG, "maximum context length is 512", 3)],
)
@pytest.mark.parametrize("batch", [(), ("--batch", "--poll", "0.05")])
def test_a_refused_prompt_fails_alone(tmp_path, run, server, answers, body, reason, batch, number):
    write_dataset(tmp_path, reviews=False)
    # the item, not the users who have read it: what is said of it comes first
    server.set(refusals=[(f"words:number {number}\\n\\nReviews", 400, body)])
    done = run(*batch)
    stored = answers()
    assert done.returncode == 0 and stored["answer"].notna().sum() == 10 and "The server " not in done.stderr
    failed = stored.loc[("item", f"i{number}")]
    assert reason in failed["failure"] and "refuses the request with 400" in failed["failure"] and failed["asked"] == 1
    asked = [entry for entry in server.asked() if entry["path"] == "chat/completions"]
    assert sorted(statuses(asked)) == [200] * 10 + [400]


def test_an_answer_that_a_filter_has_stopped_is_not_asked_for_again(tmp_path, run, server, answers):
    write_dataset(tmp_path, n_users=2, n_items=2, per_user=2, reviews=False)
    server.set(finish="content_filter", message={"content": "It is"})
    assert run().returncode == 0 and len(server.asked()) == 4
    assert answers()["failure"].str.contains("filter has stopped the answer").all()
    shown = command.run("intents", "show", "shop", "i0", "--data-path", tmp_path, "--config-files", "config.yaml")
    assert "None that is valid: " in shown.stdout and "filter has stopped the answer" in shown.stdout


@pytest.mark.parametrize("batch", [(), ("--batch", "--poll", "0.05")])
def test_a_key_that_a_server_repeats_is_not_shown_or_stored(tmp_path, run, server, answers, monkeypatch, batch):
    write_dataset(tmp_path, n_users=2, n_items=2, per_user=2, reviews=False)
    secret = "sk-proj-abcdef0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    words = f"{'x' * 270} content filter for {secret}"
    server.set(refusals=[("words:number 1\\n\\nReviews", 400, {"error": {"message": words}})])
    said = run(*batch)
    failure = answers().loc[("item", "i1"), "failure"]
    assert "***" in failure and "sk-proj" not in failure + said.stdout + said.stderr
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("key", ["x", ""])
def test_a_key_that_is_a_part_of_words_is_not_looked_for(key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    said = Said(422, "max length, none of these")
    assert said.message in str(Endpoint("http://localhost/v1").refusal(said))


# --- Price and pace. ------------------------------------------------------------------------------------------------


def test_limits_stop_cleanly_and_the_run_goes_on_later(tmp_path, run, server, answers):
    write_dataset(tmp_path, n_users=20, n_items=20)
    assert "--max-requests 7" in sentence(run("--max-requests", "7"))
    assert len(server.asked()) == 7 == len(answers())
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "currency: EUR\nbatch: 0.5\nmodels: {gpt-4o-mini: {input: 100, output: 100, context_length: 9000}}"
    )
    done = run("--prices", prices, "--max-cost", "1.5")
    assert "--max-cost 1.5" in done.stderr and done.returncode == 1
    cost = float(re.search(r"answer tokens,\s+([\d.]+)\s+EUR\.", done.stdout)[1])
    assert "$" not in done.stdout + done.stderr
    assert 1.2 < cost <= 1.5  # the longest answer would cost 0.1
    assert run().returncode == 0 and len(server.asked()) == 40


def test_a_limit_on_cost_needs_a_price(tmp_path, run):
    write_dataset(tmp_path)
    assert "--prices" in sentence(run("--max-cost", "1", "--context-length", "9000", model="qwen3"))


def test_a_dry_run_sends_and_writes_nothing_and_needs_no_key(tmp_path, run, server, monkeypatch):
    write_dataset(tmp_path)
    done = command.ended(*arguments(tmp_path, None, "--dry-run"))
    assert done.returncode == 0 and "requests" in done.stdout and "$" in done.stdout and "number 0" in done.stdout
    assert not server.asked() and not (tmp_path / "shop" / "shop.answers.sqlite").exists()
    run("--max-requests", "3")
    done = run("--dry-run")
    assert next(line for line in done.stdout.splitlines() if line.startswith("│ items")).split("│")[2].strip() == "2"


def test_brackets_in_ids_are_no_markup(tmp_path, run):
    write_dataset(tmp_path, reviews=False)
    for file in (tmp_path / "shop").iterdir():
        file.write_text(re.sub(r"\bi(\d)\t", r"i[/\1]\t", file.read_text()))
    done = run("--dry-run")
    assert done.returncode == 0 and "the first item prompt: i[/" in done.stdout


def test_requests_keep_to_the_pace(tmp_path, run, server):
    write_dataset(tmp_path)
    run("--requests-per-minute", "300")
    begun = np.sort([entry["begun"] for entry in server.asked()])
    assert len(begun) == 11 and begun[-1] - begun[0] >= 10 * 0.2 - 0.1


# --- Batches. -------------------------------------------------------------------------------------------------------

BATCH = ("--batch", "--batch-size", "8", "--poll", "0.05", "--tries", "9")


def test_batches_end_as_single_requests_do(tmp_path, run, server, answers):
    write_dataset(tmp_path, n_users=12, n_items=10)
    server.set(fault_rate=0.3)
    assert run(*BATCH).returncode == 0
    assert answers()["answer"].notna().all() and len(answers()) == 22
    account = pd.DataFrame(server.asked())
    lines = account[account["custom_id"].notna()]
    assert lines.groupby("custom_id")["valid"].sum().eq(1).all()  # each answered once
    assert len(lines) > lines["custom_id"].nunique() == 21  # all but the first, which shows what is understood
    assert (account["path"] == "batches").sum() >= 4  # of 8 requests at most


def test_a_batch_stops_at_the_limit(tmp_path, run, server, answers):
    write_dataset(tmp_path, n_users=12, n_items=10)
    assert "--max-requests 6" in sentence(run(*BATCH, "--max-requests", "6"))
    assert len(answers()) == 6 == sum(entry["path"] == "chat/completions" for entry in server.asked())


def test_a_batch_whose_answer_is_lost_is_not_submitted_again(tmp_path, monkeypatch):
    submitted = []

    class Batches:
        async def list(self, limit):
            return SimpleNamespace(data=submitted)

        async def create(self, input_file_id, **_):
            submitted.append(SimpleNamespace(id=f"batch-{len(submitted)}", input_file_id=input_file_id))
            raise openai.APITimeoutError(None)

        async def retrieve(self, batch_id):
            return SimpleNamespace(status="completed", output_file_id=None, error_file_id=None)

    endpoint = Endpoint("http://localhost/v1")
    monkeypatch.setattr(endpoint, "client", SimpleNamespace(batches=Batches()))
    made_with = {"dataset": "shop", "model": "m", "prompts": "p", "train_fingerprint": "f", "replace": False}
    with open_to_write(tmp_path / "answers.sqlite", **made_with) as store:
        with store.writing():
            store.db.execute("INSERT INTO batch (name, file_id) VALUES ('item-1.jsonl', 'file-1')")
        run = BatchRun(None, None, endpoint, Budget(None, None, None), store, size=1, poll_seconds=0)
        asyncio.run(run.answer(lambda: iter(()), 0, "items"))
        assert store.db.execute("SELECT batch_id, done FROM batch").fetchall() == [("batch-0", 1)]
    assert len(submitted) == 1


# --- Into tables. ---------------------------------------------------------------------------------------------------


def test_texts_carry_the_fingerprint_of_what_they_know(tmp_path, run):
    parts = write_dataset(tmp_path, reviews=False)
    run()
    train = parts["train"]
    with open_store(tmp_path / "shop" / "shop.answers.sqlite") as store:
        items, users = texts(store, "item", "intent"), texts(store, "user", "profile")
        assert items.source == "features" and items.train_fingerprint is None
        assert users.train_fingerprint == train_fingerprint(train["user"].to_numpy(), train["item"].to_numpy())
        assert users.prompt_version.startswith("general-1") and list(users.tokens) == [f"u{i}" for i in range(6)]
        assert items.texts[0].startswith("Likes: wants ") and "Dislikes: avoids" in items.texts[0]
        assert evidence_outside(store, train, train["item"].unique()).empty
        fewer = train[train["user"] != "u0"]
        outside = evidence_outside(store, fewer, train["item"].unique())
        assert set(outside["user"]) == {"u0"}
    write_dataset(tmp_path)
    run()
    with open_store(tmp_path / "shop" / "shop.answers.sqlite") as store:
        assert texts(store, "item", "profile").source == "interactions"  # the reviews


def test_texts_of_other_training_interactions_do_not_get_into_a_table(tmp_path, run):
    write_dataset(tmp_path)
    run()
    train = tmp_path / "shop" / "shop.train.inter"
    train.write_text(train.read_text() + "u3\ti2\t5\n")
    assert "training interactions" in sentence(run())
    run("--replace", "--max-requests", "0")
    config = load_config("shop", tmp_path, str(tmp_path / "config.yaml"))
    with open_store(tmp_path / "shop" / "shop.answers.sqlite") as store:
        assert config["dataset"] == store.about["dataset"]
        assert "u3" not in texts(store, "user", "profile").tokens


def test_a_store_in_another_place_is_embedded_shown_and_checked(tmp_path, run):
    own = write_dataset(tmp_path) and tmp_path / "shop"
    store, place = ("--store", tmp_path / "elsewhere"), ("--data-path", tmp_path, "--config-files", "config.yaml")
    run(*store)

    def intents(name, *more, status=0):
        return command.run("intents", name, "shop", *more, *place, status=status)

    assert "There is no store" in intents("embed", "--texts", "generated", status=1).stderr
    assert "leave --store out" in intents("embed", *store, status=1).stderr
    intents("embed", "--texts", "generated", *store)
    assert IntentTable.read(own / "shop.user_intent.parquet").texts[0].startswith("Likes: wants ")
    assert "Reasoning: " in intents("show", "u0", *store).stdout and "Reasoning: " not in intents("show", "u0").stdout
    train = own / "shop.train.inter"
    train.write_text(train.read_text().replace("u0\ti0", "u0\ti3"))
    assert "elsewhere holds evidence" in intents("check", *store, status=1).stdout
    assert "holds evidence" not in intents("check", status=1).stdout
    for name in ("show", "check"):
        asked = ("u0",) if name == "show" else ()
        assert "There is no store nowhere" in intents(name, *asked, "--store", "nowhere", status=1).stderr


def test_reading_a_store_writes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "answers.sqlite"
    made_with = {"dataset": "shop", "model": "m", "prompts": "p", "train_fingerprint": "f", "replace": False}
    with open_to_write(path, **made_with):
        pass
    there = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "access", lambda *_: False)  # as a folder that cannot be written says
    with open_store(path) as store:
        assert store.about["model"] == "m" and sorted(tmp_path.iterdir()) == there
    with contextlib.closing(sqlite3.connect(tmp_path / "another.sqlite")) as db:
        db.execute("CREATE TABLE mine (a)")
    with pytest.raises(IRLLRecError, match=r"name another file \(--store\)"), open_store(tmp_path / "another.sqlite"):
        pass


# --- Bad input. -----------------------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment_and_stays_there(tmp_path, run, server, monkeypatch):
    write_dataset(tmp_path)
    assert "OPENAI_API_KEY" in sentence(command.ended(*arguments(tmp_path, None)))
    secret = "sk-proj-abcdef0123456789"
    server.set(api_key=secret)
    assert "(401)" in sentence(run())
    assert len(server.asked()) == 1
    monkeypatch.setenv("OPENAI_API_KEY", secret[::-1])
    said = run()
    assert "(401)" in sentence(said) and secret[::-1] not in str(said)
    monkeypatch.setenv("OPENAI_API_KEY", "two\nlines")
    assert "OPENAI_API_KEY" in sentence(run())
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    said = run("--concurrency", "2")
    assert said.returncode == 0 and secret not in str(said)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5 and not any(secret.encode() in path.read_bytes() for path in written)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8000/v1", "is no address"),
        ("http://127.0.0.1:9/v1", "There is no server at http://127.0.0.1:9/v1"),
        ("http://user:password@127.0.0.1:9/v1", "There is no server at http://127.0.0.1:9/v1"),
    ],
)
def test_a_wrong_address_is_named(tmp_path, url, words):
    write_dataset(tmp_path)
    said = sentence(command.ended(*arguments(tmp_path, url)))
    assert words in said and "password" not in said


def test_an_address_without_the_path_and_a_model_that_does_not_exist(tmp_path, run, server, monkeypatch):
    write_dataset(tmp_path)
    wrong = command.ended(*arguments(tmp_path, server.url.removesuffix("/v1")))
    assert "404" in sentence(wrong) and "/v1" in sentence(wrong)
    server.set(models=["others"])
    assert "does not exist" in sentence(run()) and len(server.asked()) == 1


def test_a_data_set_without_any_text(tmp_path, run, server):
    write_dataset(tmp_path, reviews=False)
    (tmp_path / "shop" / "shop.item").unlink()
    assert "nothing to write prompts from" in sentence(run()) and not server.asked()


def test_a_store_of_another_data_set_or_model(tmp_path, run, server):
    write_dataset(tmp_path)
    run()
    write_dataset(tmp_path, name="other")
    n = len(server.asked())
    store = ("--store", tmp_path / "shop" / "shop.answers.sqlite")
    said = sentence(run(*store, "--replace", name="other"))
    assert "data set shop" in said and "--replace" not in said
    assert "model gpt-4o-mini" in sentence(run(*store, model="gpt-4o")) and len(server.asked()) == n


def test_a_store_that_is_none(tmp_path, run):
    write_dataset(tmp_path)
    store = tmp_path / "shop" / "shop.answers.sqlite"
    store.write_text("this is a diary, " * 100)
    assert "not a database" in sentence(run()) and store.read_text().startswith("this is a diary")


def test_files_that_are_not_what_they_should_be(tmp_path, run, server):
    write_dataset(tmp_path)
    bad = tmp_path / "bad.yaml"
    for content in ("models: 7", "- a\n: b", "currency: USD\nbatch: 2\nmodels: {}"):
        bad.write_text(content)
        assert "no file of prices" in sentence(run("--prices", bad))
    for content in ("version: 1", "{", "\udcff"):
        bad.write_text(content, errors="surrogateescape")
        assert "no file of prompts" in sentence(run("--prompts", bad))
    bad.write_text("version: a\nitem: {system: a, user: $features}\nuser: {system: a, user: $features $liked}")
    assert "item.user" in sentence(run("--prompts", bad))
    assert "There are no prompts" in sentence(run("--prompts", "films2"))
    reviews = tmp_path / "shop" / "shop.reviews.parquet"
    with atomic_write(reviews) as file:
        pd.DataFrame({"user": ["u1"], "item": ["i1"]}).to_parquet(file)
    assert "no column text" in sentence(run())
    reviews.write_text("no parquet")
    assert "no file of reviews" in sentence(run()) and not server.asked()
    assert "--context-length" in sentence(run(model="qwen3"))
    assert "has no room" in sentence(run("--context-length", "1200"))
