"""EASE's regularisation on validation, for data sets with more items than users.

    python benchmarks/ease_weights.py --dataset citeulike-a --data-path dataset --metric NDCG@20 --weights 20 25 30

EASE inverts G = XᵀX + λI, n_items². With K = (XXᵀ + λI)⁻¹, n_users², (Steck, *Embarrassingly Shallow Autoencoders for
Sparse Data*, 2019, eq. 8, and the push-through identity) its scores are X - KX / diag(G⁻¹), where KX = XG⁻¹ and
diag(G⁻¹) = (1 - diag(XᵀKX)) / λ. One eigendecomposition of XXᵀ serves all weights.
"""

import argparse
from pathlib import Path

import numpy as np
from recbole.evaluator.metrics import NDCG

from recbole_irllrec.runs import load_splits


def ndcg(scores: np.ndarray, relevant, k: int) -> float:
    """RecBole's NDCG@k of the users with relevant items.

    Args:
        scores: float [n_users, n_items].
        relevant: sparse of 0 and 1 [n_users, n_items], CSR.
    """
    users = np.flatnonzero(relevant.getnnz(axis=1))
    scores, relevant = scores[users], relevant[users]
    top = np.argpartition(-scores, k, axis=1)[:, :k]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1), axis=1)
    hits = np.asarray(relevant[np.arange(len(users))[:, None], top].todense()) > 0
    metric = NDCG({"topk": [k], "metric_decimal_place": 4})
    return float(metric.metric_info(hits, relevant.getnnz(axis=1))[:, -1].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-path", type=Path)
    parser.add_argument("--metric", default="NDCG@10", help="NDCG at a cutoff (default: NDCG@10)")
    parser.add_argument("--weights", type=float, nargs="+", default=[1, 3, 10, 30, 100, 300, 1000])
    options = parser.parse_args()

    parts = {"benchmark_filename": ["train", "valid", "test"]}
    splits = load_splits(options.dataset, options.data_path, "", parts).without_test()
    interactions = splits.train.inter_matrix("csr").astype(np.float32)
    relevant = splits.valid.inter_matrix("csr")
    values, vectors = np.linalg.eigh((interactions @ interactions.T).toarray())
    dense = interactions.toarray()
    projected = vectors.T @ dense
    k = int(options.metric.partition("@")[2])
    for weight in options.weights:
        solved = vectors @ (projected / (values + weight)[:, None])  # KX
        diagonal = (1 - np.einsum("ui,ui->i", dense, solved)) / weight
        scores = -solved / diagonal  # of items that a user has not seen, where X is 0
        scores[dense > 0] = -np.inf
        scores[:, 0] = -np.inf  # RecBole's padding
        print(f"{weight:g}: {options.metric} {ndcg(scores, relevant, k):.4f}", flush=True)


if __name__ == "__main__":
    main()
