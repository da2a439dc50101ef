"""SIGTERM, as schedulers send it, stops what runs as Ctrl-C does, and a line says how to go on."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """While the block lasts, SIGTERM raises ``KeyboardInterrupt``; not in a thread beside the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextlib.contextmanager
def told_how_to_go_on(how: str) -> Iterator[None]:
    """Where the block is stopped, by Ctrl-C or SIGTERM, a line says how to go on, and the process ends with 130."""
    try:
        with terminated_as_interrupted():
            yield
    except KeyboardInterrupt:
        print(f"irllrec: stopped. {how}", file=sys.stderr)
        raise SystemExit(130) from None
