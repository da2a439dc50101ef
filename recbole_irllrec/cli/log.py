"""What commands tell while they work: the package's own log, on standard error."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Show what `recbole_irllrec` logs, without breaking progress bars; RecBole's own log stays silent."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    log = logging.getLogger("recbole_irllrec")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        with logging_redirect_tqdm([log]):
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]
