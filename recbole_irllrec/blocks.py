"""Work in blocks, here or on a cluster."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

from .errors import IRLLRecError


@contextlib.contextmanager
def each_block(address: str | None) -> Iterator[Callable[..., Iterable]]:
    """What calls a function for each of many blocks: `cluster.in_order` on the Ray at an address; without one, ``map``.

    Raises:
        IRLLRecError: see `cluster.connected`.
    """
    if address is None:
        yield map
        return
    from .cluster import connected, in_order  # which brings Ray

    with connected(address):
        yield in_order


def only_on_cpus(address: str | None, device: str | None) -> str | None:
    """The device to compute on: the nodes of a cluster have CPUs for certain, and only these alike.

    Raises:
        IRLLRecError: a cluster is to use another one.
    """
    if address is None:
        return device
    if device not in (None, "cpu"):
        raise IRLLRecError(f"A cluster computes on its CPUs, not on {device}: leave out the device, or the address.")
    return "cpu"
