"""The greatest values of long rows, without sorting them: the k blocks of greatest maxima hold them all."""

from itertools import pairwise

import torch
from torch import Tensor

_BLOCK = 32  # columns whose maximum is taken
_TILE = 1 << 20  # products made at once: they stay in the processor's cache
_GATHERED = 1 << 20  # numbers of items' vectors, gathered at once


def blocks_are_quicker(n: int, k: int, device: torch.device) -> bool:
    """Whether maxima of blocks are quicker than ``torch.topk`` for the k greatest of n values: not on a GPU."""
    return device.type == "cpu" and 0 < 2 * k * _BLOCK <= n


def numbers_held(n: int, k: int) -> int:
    """How many numbers `top_products` holds for each user, beside constant ones."""
    return n // _BLOCK + k * _BLOCK


def top_k(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """What ``values.topk(k)`` finds; of equal values it may be others.

    Args:
        values: [B, n].
        k: at most n.

    Returns:
        [B, k] the greatest values of each row, from the greatest down, NaN above all, and [B, k] int64 their columns.
    """
    n = values.shape[1]
    if not blocks_are_quicker(n, k, values.device):
        found, columns = values.topk(k)
        return found, columns
    whole = n - n % _BLOCK
    best = _best_blocks(values[:, :whole].unflatten(1, (-1, _BLOCK)).amax(dim=2), k)
    columns = _columns(best, n)
    found, place = values.gather(1, columns).topk(k)
    return found, columns.gather(1, place)


def top_products(users: Tensor, items: Tensor, k: int, taken: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The k greatest inner products of each user with items, without holding all of them; on a CPU.

    A product is made twice, first for the maximum of its block, and the best blocks' again.

    Args:
        users: [B, d].
        items: [n, d].
        k: so small that `blocks_are_quicker`.
        taken: [m] rows of ``users`` and [m] of ``items`` int64, pairs whose product counts as -inf.

    Returns:
        [B, k] products, from the greatest down, NaN above all, and [B, k] int64 the rows of their items.
    """
    (n_users, dim), n = users.shape, len(items)
    whole = n - n % _BLOCK
    width = max(_TILE // max(n_users, 1) // _BLOCK, 1) * _BLOCK
    edges = [*range(0, whole, width), whole, n]  # of tiles; the last one is what fills no block
    by_column = taken[1].argsort()
    row, column = (ids[by_column] for ids in taken)
    cuts = torch.searchsorted(column, torch.tensor(edges)).tolist()

    memory, maxima = users.new_empty(n_users * width), users.new_empty(n_users, whole // _BLOCK)
    for (start, first), (end, last) in pairwise(zip(edges, cuts, strict=True)):
        tile = memory[: n_users * (end - start)].view(n_users, end - start)
        torch.mm(users, items[start:end].T, out=tile)
        tile[row[first:last], column[first:last] - start] = -torch.inf
        if start < whole:
            of_tile = maxima[:, start // _BLOCK : end // _BLOCK]
            torch.amax(tile.unflatten(1, (-1, _BLOCK)), dim=2, out=of_tile)

    best = _best_blocks(maxima, k)
    in_blocks = items[:whole].view(-1, _BLOCK * dim)
    products = users.new_empty(n_users, k * _BLOCK)
    for part in torch.arange(n_users).split(max(_GATHERED // (k * _BLOCK * dim), 1)):
        gathered = in_blocks[best[part].flatten()].view(len(part), k * _BLOCK, dim)
        products[part] = torch.bmm(gathered, users[part, :, None]).squeeze(2)
    _take(products, best, maxima.shape[1], row, column)

    found, place = torch.cat([products, tile], dim=1).topk(k)
    return found, _columns(best, n).gather(1, place)


def _best_blocks(maxima: Tensor, k: int) -> Tensor:
    """[B, n_blocks] -> [B, k] blocks in ascending order."""
    return maxima.topk(k, sorted=False).indices.sort(dim=1).values


def _columns(blocks: Tensor, n: int) -> Tensor:
    """The columns of blocks [B, k], and after them those of n that fill no block."""
    of_blocks = (blocks[:, :, None] * _BLOCK + torch.arange(_BLOCK)).flatten(1)
    return torch.cat([of_blocks, torch.arange(n - n % _BLOCK, n).expand(len(blocks), -1)], dim=1)


def _take(products: Tensor, best: Tensor, n_blocks: int, row: Tensor, column: Tensor) -> None:
    """Set the products [B, k * _BLOCK] of the blocks ``best`` [B, k] to -inf for pairs, [m], [m]."""
    held = (best + n_blocks * torch.arange(len(best))[:, None]).flatten()  # (user, block) as a number, ascending
    wanted = row * n_blocks + column // _BLOCK
    place = torch.searchsorted(held, wanted).clamp(max=len(held) - 1)
    hit = (held[place] == wanted) & (column < n_blocks * _BLOCK)
    products.view(-1)[place[hit] * _BLOCK + column[hit] % _BLOCK] = -torch.inf
