"""Models compared, in a folder of results that `PLAN` makes one."""

from pathlib import Path

from ..errors import IRLLRecError

PLAN = "benchmark.json"


def refuse_another(folder: Path) -> None:
    """Refuse a folder that holds no benchmark.

    Raises:
        IRLLRecError: it does not.
    """
    if not (folder / PLAN).exists():
        raise IRLLRecError(f"There is no benchmark in {folder}: give the folder of one, which holds {PLAN}.")
