"""What is told of runs under way: the time left from what was measured, on a terminal and without one."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_irllrec.runs.progress import Progress, Watched
from recbole_irllrec.runs.remaining import Ended, Left, Running, left, left_of
from recbole_irllrec.runs.training import Evaluation

KINDS = st.sampled_from(["IRLLRec", "LightGCN", "EASE", "Pop"])
SECONDS = st.floats(0, 1e5)
PLACES = st.integers(1, 8)
WAITING = st.dictionaries(KINDS, st.integers(0, 5))
ENDED = st.dictionaries(KINDS, st.lists(st.builds(Ended, SECONDS, st.integers(1, 300)), min_size=1, max_size=4))
RUNNING = st.builds(
    lambda kind, seconds, epoch, more, pace, since: Running(
        kind, seconds, epoch + more, epoch, pace if epoch else 0.0, min(since, seconds)
    ),
    *(KINDS, SECONDS, st.integers(0, 200), st.integers(0, 100), st.floats(0.01, 100), SECONDS),
)
UNDER_WAY = st.lists(RUNNING, max_size=4)


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-6)


def at_most(value, limit):
    return value <= limit or value == close(limit)


@given(UNDER_WAY, WAITING, ENDED, PLACES)
def test_the_time_left_in_all(running, waiting, ended, places):
    found = left(running, waiting, ended, places)
    alone = [one for run in running if (one := left_of(run, ended.get(run.kind, ()))) is not None]
    if found.measured is None:
        assert not alone and not any(ended.get(kind) for kind, n in waiting.items() if n)
        assert running or any(waiting.values())
        return
    assert found.measured >= 0 and at_most(found.measured, found.perhaps)
    assert all(at_most(each, found.measured) for each in [*alone, sum(alone) / places])
    more_places = left(running, waiting, ended, places + 1)
    assert at_most(more_places.measured, found.measured) and at_most(more_places.perhaps, found.perhaps)
    for kind, runs in ended.items():
        more = left(running, {**waiting, kind: waiting.get(kind, 0) + 1}, ended, places)
        mean = sum(run.seconds for run in runs) / len(runs)
        assert at_most(found.measured, more.measured) and at_most(more.measured, found.measured + mean)


@given(UNDER_WAY, WAITING, ENDED, PLACES, st.floats(0.1, 10))
def test_what_is_left_scales_with_what_was_measured(running, waiting, ended, places, factor):
    slower = [
        run._replace(seconds=run.seconds * factor, pace=run.pace * factor, since=run.since * factor) for run in running
    ]
    measured = {kind: [run._replace(seconds=run.seconds * factor) for run in runs] for kind, runs in ended.items()}
    before, after = left(running, waiting, ended, places), left(slower, waiting, measured, places)
    assert after == (Left(None, None) if before.measured is None else close(tuple(v * factor for v in before)))


@given(st.lists(SECONDS, min_size=1, max_size=5), st.integers(0, 9), st.floats(0, 10))
def test_a_quick_model_says_nothing_of_a_slow_one(seconds, n, quick):
    """Runs of one kind take the mean of those that have ended, whatever others take."""
    ended = {"IRLLRec": [Ended(one, 10) for one in seconds]}
    mean = sum(seconds) / len(seconds)
    for others in ({}, {"Pop": [Ended(quick, 1)]}):
        assert left([], {"IRLLRec": n}, {**ended, **others}, 1).measured == close(n * mean)
        assert left([], {"LightGCN": n + 1}, {**ended, **others}, 1) == (None, None)


@given(RUNNING, st.lists(st.builds(Ended, SECONDS, st.integers(1, 300)), max_size=3))
def test_the_time_left_of_a_run(run, ended):
    found = left_of(run, ended)
    if found is None:
        assert not run.epoch and not ended
    elif run.epoch:
        assert found >= 0 and at_most(found, run.pace * (run.epochs - run.epoch))
        assert left_of(run._replace(since=0.0)) == close(run.pace * (run.epochs - run.epoch))
    else:
        assert at_most(found, sum(one.seconds for one in ended) / len(ended))


@pytest.mark.parametrize(
    "found, text",
    [
        (Left(None, None), "?"),
        (Left(125.0, 125.0), "02:05"),
        (Left(125.0, 3700.0), "at least 02:05, perhaps 1:01:40"),
    ],
)
def test_the_time_left_in_words(found, text):
    assert str(found) == text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def validated(epoch, seconds, score):
    return Evaluation(epoch - 1, {"ndcg@10": score, "recall@10": 0.5}, {"loss": 1.0}, seconds, True)


def course(progress, clock):
    """A run of a quick model, then a slow one's, of which ten of a hundred epochs are seen for two minutes."""
    progress.began(Watched(1, "Pop, seed 1", "Pop", 1))
    clock[0] = 3.0
    progress.ended(1, {"error": None, "epochs": 1}, "Pop, seed 1: done")
    progress.began(Watched(2, "LightGCN, seed 1", "LightGCN", 100))
    for epoch in range(1, 11):
        progress.tick()
        clock[0] += 12.0
        progress.evaluated(2, validated(epoch, 12.0 * epoch, 0.01 * epoch))
        progress.tick()


def test_lines_now_and_then():
    clock, lines = [0.0], []
    with Progress({"Pop": 1, "LightGCN": 2, "EASE": 1}, "NDCG@10", lines.append, lambda: clock[0]) as progress:
        course(progress, clock)
        assert lines[0] == "[1/4, ? left] Pop, seed 1: done"
        assert len(lines) == 4 and "[1/4, at least 38:48, perhaps 48:49 left]" in lines[2]
        assert lines[2].endswith("under way: LightGCN, seed 1: epoch 6 of 100, NDCG@10 0.0600, 18:48 left")
        progress.ended(2, {"error": "out of memory", "traceback": ""}, "LightGCN, seed 1: failed")
        assert lines[-1] == "[2/4, ? left] LightGCN, seed 1: failed"
        progress.less("LightGCN", 1)
        progress.made_before("EASE", {"error": None, "seconds": 5.0, "epochs": 1})
        progress.began(Watched(3, "another", "Pop", 1))
        progress.ended(3, None, "cut short")
        assert lines[-1] == "[3/3, 00:00 left] cut short"


def test_one_line_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    monkeypatch.setenv("COLUMNS", "150")
    clock = [0.0]
    with Progress({"Pop": 1, "LightGCN": 2}, "NDCG@10", clock=lambda: clock[0]) as progress:
        course(progress, clock)
        progress.began(Watched(3, "LightGCN, seed 2", "LightGCN", 100))
        progress.tick()
        shown = screen.getvalue().rpartition("\r")[2].rstrip()
        assert "\n" not in screen.getvalue().replace("Pop, seed 1: done\n", "")
    assert (
        shown.startswith("1/3 |###") and "left: LightGCN, seed 1: epoch 10 of 100, NDCG@10 0.1000, 18:00 left" in shown
    )
    assert "; LightGCN, seed 2: no epoch yet after 00:00" in shown and len(shown) <= 150
