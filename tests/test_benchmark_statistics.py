"""The benchmark's statistics against SciPy and against values computed by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recbole_irllrec.benchmark.statistics import by_interactions, holm, over_seeds, paired_tests, ranks

N = 60


def frame(seed=0, n_seeds=3, models=("IRLLRec", "BPR", "Pop")):
    """A row a model, seed and user, in an order of its own for each model and seed."""
    draw = np.random.default_rng(seed)
    users = np.array([f"u{n}" for n in range(N)], dtype=object)
    level = draw.random(N)
    parts = []
    for place, model in enumerate(models):
        for one in range(1, n_seeds + 1):
            values = np.round(level + 0.2 * draw.random(N) - 0.03 * place, 2)
            part = pd.DataFrame({"model": model, "seed": one, "user": users, "recall@10": values, "ndcg@10": values**2})
            parts.append(part.sample(frac=1, random_state=place * 10 + one))
    return pd.concat(parts, ignore_index=True)


def test_spread_over_seeds_is_the_sample_deviation_in_the_order_of_the_runs():
    runs = pd.DataFrame({"model": ["b", "b", "a", "b"], "recall@10": [1.0, 2.0, 5.0, 6.0]})
    means, deviations = over_seeds(runs, ["recall@10"])
    assert list(means.index) == ["b", "a"] and list(means["recall@10"]) == [3.0, 5.0]
    assert deviations.loc["b", "recall@10"] == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert np.isnan(deviations.loc["a", "recall@10"])


def test_users_and_models_without_a_number_are_left_out_of_the_tests():
    users = frame(n_seeds=2)
    some = users["user"].isin([f"u{n}" for n in range(20)])
    here = {"cold_recall@10": users["recall@10"].where(some & (users["model"] != "Pop"))}
    found = paired_tests(users.assign(**here), "IRLLRec", ["recall@10", "cold_recall@10"])
    alone = paired_tests(users[some], "IRLLRec", ["recall@10"]).set_index("model").loc["BPR"]
    assert list(zip(found["metric"], found["model"], found["users"], strict=True)) == [
        ("recall@10", "BPR", N),
        ("recall@10", "Pop", N),
        ("cold_recall@10", "BPR", 20),
    ]
    last = found.iloc[-1]
    assert (last["difference"], last["t"]) == (alone["difference"], alone["t"]) and last["t_holm"] == last["t"]
    assert paired_tests(users.assign(**here), "Pop", ["cold_recall@10"]).empty


def test_a_column_that_no_run_has_is_no_number():
    means, deviations = over_seeds(pd.DataFrame({"model": ["a", "a"], "recall@10": [1.0, 2.0]}), ["cold_recall@10"])
    assert means["cold_recall@10"].isna().all() and deviations["cold_recall@10"].isna().all() and len(means) == 1


def test_ranks():
    means = pd.Series([0.2, 0.5, np.nan, 0.5, 0.1])
    assert ranks(means).fillna(0).tolist() == [2, 1, 0, 1, 3]
    assert ranks(means, smaller_is_better=True).fillna(0).tolist() == [2, 3, 0, 3, 1]


def test_paired_tests_are_scipys_on_means_over_the_seeds():
    users = frame()
    found = paired_tests(users, "IRLLRec", ["recall@10", "ndcg@10"])
    assert list(found["model"]) == ["BPR", "Pop"] * 2
    wide = users.pivot_table(index="user", columns=["model"], values=["recall@10", "ndcg@10"])
    for row in found.itertuples():
        ours, theirs = wide[row.metric]["IRLLRec"], wide[row.metric][row.model]
        assert row.t == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
        assert row.wilcoxon == pytest.approx(stats.wilcoxon((ours - theirs).round(9)).pvalue)
        assert row.difference == pytest.approx(ours.mean() - theirs.mean()) and row.users == N
        assert (row.better, row.worse) == ((ours > theirs).sum(), (ours < theirs).sum())
    for metric in ("recall@10", "ndcg@10"):
        for test in ("t", "wilcoxon"):
            rows = found[found["metric"] == metric]
            low, high = np.sort(rows[test])
            assert rows[f"{test}_holm"].min() == pytest.approx(min(2 * low, 1))
            assert rows[f"{test}_holm"].max() == pytest.approx(max(min(2 * low, 1), high))


def test_a_model_that_equals_the_reference_is_not_different():
    users = frame(models=("IRLLRec",))
    found = paired_tests(pd.concat([users, users.assign(model="twin")]), "IRLLRec", ["recall@10"])
    assert found.loc[0, ["t", "wilcoxon", "t_holm", "wilcoxon_holm"]].tolist() == [1.0] * 4
    assert found.loc[0, ["difference", "better", "worse"]].tolist() == [0, 0, 0]


def test_a_single_pair_is_no_finding():
    users = pd.DataFrame({"model": ["IRLLRec", "BPR"], "seed": 1, "user": "u0", "recall@10": [0.5, 0.25]})
    found = paired_tests(users, "IRLLRec", ["recall@10"])
    assert found.loc[0, ["t", "wilcoxon", "t_holm", "wilcoxon_holm"]].tolist() == [1.0] * 4
    assert found.loc[0, ["users", "difference"]].tolist() == [1, 0.25]


def test_equal_values_over_other_numbers_of_seeds_are_no_difference():
    values = np.random.default_rng(0).random(N)
    seeds = [("IRLLRec", seed) for seed in range(5)] + [("twin", seed) for seed in range(3)]
    users = pd.concat(pd.DataFrame({"model": m, "seed": s, "user": range(N), "mrr@10": values}) for m, s in seeds)
    means = users.groupby(["model", "user"])["mrr@10"].mean()
    assert (means["IRLLRec"] != means["twin"]).any()  # in the last digit
    found = paired_tests(users, "IRLLRec", ["mrr@10"])
    assert found.loc[0, ["better", "worse", "wilcoxon"]].tolist() == [0, 0, 1]


def test_a_reference_alone_has_nothing_to_be_compared_with():
    assert paired_tests(frame(models=("IRLLRec",)), "IRLLRec", ["recall@10"]).empty


def test_holm_on_the_textbooks_example():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_values_and_bonferronis_in_the_same_order(values):
    p = np.array(values)
    corrected = holm(p)
    assert (corrected >= p).all() and (corrected <= np.minimum(p * len(p), 1)).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()


def test_a_metric_by_the_users_number_of_interactions():
    users = frame(n_seeds=2)
    counts = pd.Series(np.arange(N) // 6, [f"u{n}" for n in range(N)])  # 0 to 9, six users each
    found = by_interactions(users, counts, "recall@10", n_groups=5)
    assert list(found["group"].unique()) == ["0 to 1", "2 to 3", "4 to 5", "6 to 7", "8 to 9"]
    assert (found["users"] == 12).all() and len(found) == 15
    row = found[(found["group"] == "2 to 3") & (found["model"] == "BPR")].iloc[0]
    chosen = users[users["user"].map(counts).isin([2, 3]) & (users["model"] == "BPR")]
    by_seed = chosen.groupby("seed")["recall@10"].mean()
    assert row["mean"] == pytest.approx(by_seed.mean()) and row["std"] == pytest.approx(by_seed.std())


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=N, max_size=N), st.integers(1, 7))
def test_every_user_is_in_one_group(numbers, n_groups):
    counts = pd.Series(numbers, [f"u{n}" for n in range(N)])
    found = by_interactions(frame(n_seeds=1, models=("BPR",)), counts, "recall@10", n_groups)
    assert found["users"].sum() == N and len(found) <= n_groups
    spans = [[int(n) for n in name.split(" to ")] for name in found["group"]]
    flat = [n for span in spans for n in span]
    assert flat == sorted(flat) and len({tuple(span) for span in spans}) == len(spans)


def test_users_without_training_interactions_count_as_having_none():
    found = by_interactions(frame(n_seeds=1, models=("BPR",)), pd.Series(dtype=int), "recall@10")
    assert found["group"].tolist() == ["0"] and found["users"].tolist() == [N]
