"""A Ray on this machine or somebody's cluster, ready for tasks that need so many CPUs and GPUs each."""

import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc
import ray
import ray.util.client
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from . import own_models
from .errors import IRLLRecError
from .failures import reason_of_loss
from .stopping import terminated_as_interrupted

T = TypeVar("T")
R = TypeVar("R")
_PATIENCE = 5  # seconds to wait for an answer
# Ray gives up on its own processes where they do not start within half a minute or a whole one.
_ON_A_BUSY_MACHINE = {"RAY_agent_register_timeout_ms": "300000", "RAY_worker_register_timeout_seconds": "300"}
# A task sees the GPUs that it was given and no others, also where it was given none.
_GPUS_AS_GIVEN = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}


@contextlib.contextmanager
def connected(address: str | None = None, *, cpus: float = 1, gpus: float = 0) -> Iterator[None]:
    """Have a Ray while the block lasts.

    Args:
        address: None takes the Ray that this process has joined, and else starts one on this machine, which ends with
            the block; ``auto``, ``host:port`` or ``ray://host:port`` joins one.
        cpus: what a task needs of one node; gpus: the same, fractions included.

    Raises:
        IRLLRecError: nothing answers at the address, no node has what a task needs, or the Ray that was joined before
            does not know the models of one's own.
    """
    was_joined = address is None and ray.is_initialized()
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # it tells of lost trials, and so do we
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "runtime_env": {"env_vars": _GPUS_AS_GIVEN | own_models.environment()},
    }
    try:
        if was_joined:
            _refuse_without_own_models()
        elif address is None:
            for name, patience in _ON_A_BUSY_MACHINE.items():
                os.environ.setdefault(name, patience)
            ray.init("local", include_dashboard=False, **options)
        else:
            _join(address, options)
        refuse_too_much(cpus, gpus)
        with terminated_as_interrupted():  # Ray's own handler prints a trace and leaves its processes
            yield
    finally:
        if not was_joined:
            ray.shutdown()


def _refuse_without_own_models() -> None:
    """Refuse a Ray that was joined without them: they would be missing in its processes alone."""
    known = ray.get_runtime_context().runtime_env.get("env_vars", {})
    for name, models in own_models.environment().items():
        if known.get(name) != models:
            raise IRLLRecError(
                f"The Ray that this process has joined does not know the models of {name}: call ray.shutdown() first, "
                f"or ray.init with runtime_env={{'env_vars': {{'{name}': '{models}'}}}}."
            )


def _join(address: str, options: dict) -> None:
    wanted = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    reason = "no Ray is known to run on this machine"
    with contextlib.suppress(ConnectionError):  # of `auto`, where there is none
        found = wanted if "://" in wanted else canonicalize_bootstrap_address_or_die(wanted)
        reason = _silence(found)
        if not reason:
            try:
                _init(found, options)
                return
            except (ConnectionError, RuntimeError, ValueError) as error:
                first, *more = (line.strip() for line in str(error).splitlines() if line.strip())
                # of a server's traceback the last line is the reason
                reason = (f"{first} {more[-1]}" if more and first.endswith(":") else first).rstrip(".")
    raise IRLLRecError(
        f"The Ray address {address} cannot be joined ({reason}): start a cluster there (ray start --head), or leave "
        f"the address out for a Ray on this machine."
    )


# A client server now and then loses the process that it starts for a client (Ray's issue 63202).
@retry(retry=retry_if_exception_type(ConnectionAbortedError), stop=stop_after_attempt(3), reraise=True)
def _init(address: str, options: dict) -> None:
    ray.init(address, **options)


def is_remote() -> bool:
    """Whether this process joined by ``ray://``: it is on no node of the cluster, and shares no file with one."""
    return ray.util.client.ray.is_connected()


def here() -> dict[str, Any]:
    """Options of a task or an actor that runs on this node, beside all others: it waits for nobody's CPU."""
    node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return {"num_cpus": 0, "scheduling_strategy": node}


def on_a_node(function: Callable[..., Any], say: Callable[[str], None]) -> Any:
    """Call a function on a node of the cluster: here, or where the address ``ray://…`` leads.

    Args:
        function: takes a function that it says its progress to, line by line.
        say: gets these lines.

    Returns:
        What the function returns. What it raises is raised here.
    """
    if not is_remote():
        return function(say)
    lines = Queue(actor_options={"num_cpus": 0})
    task = ray.remote(max_retries=0, **here())(_call).remote(function, lines.put)
    waiting = [task]
    while waiting:
        _, waiting = ray.wait(waiting, timeout=0.5)
        for line in lines.get_nowait_batch(lines.qsize()):
            say(line)
    return _got(task)


def _call(function: Callable[..., Any], say: Callable[[str], None]) -> Any:
    return function(say)


def in_order(function: Callable[[T], R], parts: Iterable[T]) -> Iterator[R]:
    """Call a function for each of many parts on the Ray that is joined, a CPU each; ``map``, beside that.

    Args:
        function: reaches every node once, and every process that works for it. It must be picklable.
        parts: what it is called with.

    Yields:
        What it returns, in the order of the parts; nodes are not more than two results each CPU ahead. What it raises
        is raised here. A part whose node is lost is done again elsewhere.
    """
    shared = [ray.put(function)]  # in a list it stays a reference
    work = ray.remote(num_cpus=1)(_apply)
    ahead: deque[Any] = deque()
    for part in parts:
        while len(ahead) >= 2 * max(1, ray.cluster_resources().get("CPU", 1)):
            yield _got(ahead.popleft())
        ahead.append(work.remote(shared, part))
    while ahead:
        yield _got(ahead.popleft())


def _got(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        reason = reason_of_loss(str(error), 1).rstrip(".")
        raise IRLLRecError(
            f"The cluster has lost a part of the work ({reason}): give its nodes more memory or fewer CPUs, and the "
            f"command again."
        ) from None


_held: dict[Any, Callable[[Any], Any]] = {}  # the function that this process works for, by its reference


def _apply(shared: list, part: Any) -> Any:
    (reference,) = shared
    if reference not in _held:
        _held.clear()
        _held[reference] = ray.get(reference)
    return _held[reference](part)


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
    return "" if _speaks_grpc(place) else f"what answers at {place} is no Ray"


def _speaks_grpc(place: str) -> bool:
    """Ray would try for half a minute or longer."""
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return True  # it knows the certificates
    with grpc.insecure_channel(place) as channel:
        try:
            grpc.channel_ready_future(channel).result(_PATIENCE)
        except grpc.FutureTimeoutError:
            return False
    return True


def refuse_too_much(cpus: float, gpus: float) -> None:
    """Refuse a task for which no node has enough: it would wait for ever.

    Raises:
        IRLLRecError: says what there is.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most_cpus, most_gpus = (max(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    if gpus > most_gpus:
        having = "Ray finds no GPU" if not most_gpus else f"no node has more than {most_gpus:g}"
        raise IRLLRecError(f"A trial is to have {gpus:g} GPUs, but {having}: give fewer GPUs per trial, 0 for none.")
    if cpus > most_cpus:
        raise IRLLRecError(
            f"A trial is to have {cpus:g} CPUs, but no node has more than {most_cpus:g}: give fewer CPUs per trial."
        )
