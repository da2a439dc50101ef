"""Runs for people who watch: a line at the end of each, with the time left."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from .worker import Record


def to_stderr(line: str) -> None:
    """Print a line, above a bar if there is one."""
    tqdm.write(line, file=sys.stderr)


class Progress:
    """Says a line at the end of each run; the bar, on standard error, is for terminals alone.

    Args:
        total: how many runs there are.
        ended: how many of them have ended before.
        unit: what they are called.
        say: gets the lines.
    """

    def __init__(self, total: int, ended: int = 0, unit: str = "run", say: Callable[[str], None] = to_stderr):
        self._ended, self._before, self._total, self._say = ended, ended, total, say
        self._begun = time.monotonic()
        self._bar = tqdm(
            total=total, initial=ended, unit=unit, desc=f"{unit}s", smoothing=0, disable=not sys.stderr.isatty()
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def less(self, n: int) -> None:
        """So many runs need not be made."""
        self._total -= n
        self._bar.total = self._total
        self._bar.refresh()

    def note(self, text: str) -> None:
        """Say beside the bar how it stands."""
        self._bar.set_postfix_str(text)

    def ended(self, line: str, standing: str = "", counts: bool = True) -> None:
        """Tell of a run, and how all stand.

        Args:
            line: what has become of it.
            standing: the best so far, for instance.
            counts: whether it is over.
        """
        if counts:
            self._ended += 1
            self._bar.update()
        head = ", ".join(filter(None, [f"{self._ended}/{self._total}", standing, f"{self._left()} left"]))
        self._say(f"[{head}] {line}")

    def _left(self) -> str:
        done = self._ended - self._before
        if not done:
            return "?"
        return tqdm.format_interval((time.monotonic() - self._begun) / done * (self._total - self._ended))


def told(record: Record, title: str) -> str:
    """What a person reads of a run that has ended.

    Args:
        record: the run's.
        title: the validation metric, such as NDCG@10.
    """
    if record["error"]:
        return f"failed: {record['error']}"
    return (
        f"{title} {record['valid'][title.lower()]:.4f} on validation, epoch {record['best_epoch']} of "
        f"{record['epochs']}, {record['seconds']:.0f} s"
    )
