"""A Ray on this machine or somebody's cluster, ready for tasks that need so many CPUs and GPUs each."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator

import grpc
import ray
from ray._private.services import canonicalize_bootstrap_address_or_die

from .errors import IRLLRecError

_PATIENCE = 5  # seconds to wait for an answer


@contextlib.contextmanager
def connected(address: str | None = None, *, cpus: float = 1, gpus: float = 0) -> Iterator[None]:
    """Have a Ray while the block lasts.

    Args:
        address: None starts one on this machine, which ends with the block; ``auto``, ``host:port`` or
            ``ray://host:port`` joins one.
        cpus: what a task needs of one node; gpus: the same, fractions included.

    Raises:
        IRLLRecError: nothing answers at the address, or no node has what a task needs.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init("local", include_dashboard=False, **options)
        else:
            _join(address, options)
        _refuse_too_much(cpus, gpus)
        yield
    finally:
        ray.shutdown()


def _join(address: str, options: dict) -> None:
    wanted = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    reason = "no Ray is known to run on this machine"
    with contextlib.suppress(ConnectionError):  # of `auto`, where there is none
        found = wanted if "://" in wanted else canonicalize_bootstrap_address_or_die(wanted)
        reason = _silence(found)
        if not reason:
            try:
                ray.init(found, **options)
                return
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = str(error).splitlines()[0].rstrip(".")
    raise IRLLRecError(
        f"The Ray address {address} cannot be joined ({reason}): start a cluster there (ray start --head), or leave "
        f"the address out for a Ray on this machine."
    )


def _silence(address: str) -> str:
    """Why no Ray answers at an address; empty where one seems to."""
    scheme, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if scheme not in ("", "ray") or not host or not port.isdecimal():
        return f"{address} is no host:port or ray://host:port"
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        return f"{place} does not answer: {error}"
    is_ray = _speaks_grpc(place) if scheme else _is_healthy(place)
    return "" if is_ray else f"what answers at {place} is no Ray"


def _is_healthy(place: str) -> bool:
    return ray._raylet.check_health(place, _PATIENCE, skip_version_check=True)  # type: ignore[attr-defined]


def _speaks_grpc(place: str) -> bool:
    """Ray's client would try for half a minute."""
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return True  # it knows the certificates
    with grpc.insecure_channel(place) as channel:
        try:
            grpc.channel_ready_future(channel).result(_PATIENCE)
        except grpc.FutureTimeoutError:
            return False
    return True


def _refuse_too_much(cpus: float, gpus: float) -> None:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most_cpus, most_gpus = (max(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    if gpus > most_gpus:
        having = "Ray finds no GPU" if not most_gpus else f"no node has more than {most_gpus:g}"
        raise IRLLRecError(f"A trial is to have {gpus:g} GPUs, but {having}: give fewer GPUs per trial, 0 for none.")
    if cpus > most_cpus:
        raise IRLLRecError(
            f"A trial is to have {cpus:g} CPUs, but no node has more than {most_cpus:g}: give fewer CPUs per trial."
        )
