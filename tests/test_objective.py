"""Which value wins, whatever asks: epochs, trials, settings."""

import pytest

from recbole_irllrec.objective import Objective


@pytest.mark.parametrize(("title", "best"), [("NDCG@10", "b"), ("GiniIndex@10", "a"), ("GAUC", "b")])
def test_the_first_of_the_best_wins(title, best):
    objective = Objective(title)
    values = {"a": 0.1, "b": 0.3, "c": 0.3, "d": 0.1}
    assert objective.best(({title.lower(): value}, name) for name, value in values.items()) == best
    assert objective.best([]) is None
