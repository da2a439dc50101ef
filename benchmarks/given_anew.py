"""What users lose who are known by their histories alone: trained ones are given again as new users.

A checkpoint's users with held-out interactions are given to the model under other names, with their training
interactions as their histories::

    run_recbole --model=IRLLRec --dataset=ml-100k
    python benchmarks/given_anew.py saved/IRLLRec-….pth
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from torch.nn import functional as F

from recbole_irllrec.serving import serve


def main(
    checkpoint: Annotated[Path, typer.Argument(help="Of a model whose scores are products of vectors.")],
    k: Annotated[int, typer.Option(help="Items a user.")] = 20,
    most: Annotated[int, typer.Option(help="Users, drawn evenly.")] = 5_000,
) -> None:
    """Print how near the new vectors are to the trained ones, and what both find of the held-out items."""
    served = serve(checkpoint, vectors=True)
    held_out = served.known_items - served.train_items
    able = np.flatnonzero((held_out.getnnz(axis=1) > 0) & (served.train_items.getnnz(axis=1) > 0))
    users = np.sort(np.random.default_rng(0).choice(able, min(most, len(able)), replace=False))
    rows, items = served.train_items[users].nonzero()
    names = served.item_names.take(items).to_pylist()
    extended = served.extend(histories=pd.DataFrame({"user": [f"anew {row}" for row in rows], "item": names}))
    assert served.vectors is not None and extended.vectors is not None
    before = served.vectors[0][torch.as_tensor(users, device=served.vectors[0].device)]
    after = extended.vectors[0][len(served.user_tokens) :]
    seen = torch.as_tensor(served.train_items[users].toarray() > 0)
    seen[:, 0] = True
    wanted = held_out[users].toarray() > 0
    tops = []
    for name, vectors in (("trained", before), ("given anew", after)):
        scores = (vectors @ served.vectors[1].T).cpu().masked_fill(seen, -torch.inf)
        tops.append(scores.topk(k).indices.numpy())
        hits = np.take_along_axis(wanted, tops[-1], axis=1).sum(axis=1)
        print(f"{name}: recall@{k} {(hits / wanted.sum(axis=1)).mean():.4f} of validation and test")
    same = np.mean([len({*a} & {*b}) / k for a, b in zip(*tops, strict=True)])
    cosine = F.cosine_similarity(before, after).mean()
    print(f"{len(users)} users: cosine {cosine:.3f}, {same:.1%} of the top {k} the same")


if __name__ == "__main__":
    typer.run(main)
