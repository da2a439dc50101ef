"""How every command ends when something is wrong: one sentence on standard error, and a traceback for who asks."""

import linecache
import sys
import traceback
from collections.abc import Callable

from ..errors import IRLLRecError
from ..guest import ignore_warnings_of_others


def debug_wanted() -> bool:
    """Whether ``--debug`` stands anywhere on the command line; it is taken off, for the parsers behind us."""
    wanted = "--debug" in sys.argv[1:]
    sys.argv = [sys.argv[0], *(a for a in sys.argv[1:] if a != "--debug")]
    return wanted


def in_one_sentence(program: str, command: Callable[[], int | None], debug: bool) -> int:
    """Run a command; what the user can put right is said without a traceback.

    Args:
        program: its name, which begins the sentence.
        command: what to run; it returns an exit status, or None for 0.
        debug: let exceptions through.

    Returns:
        The exit status: 1 after an error, 130 after Ctrl-C.
    """
    if not debug:
        ignore_warnings_of_others()
    try:
        return command() or 0
    except (IRLLRecError, OSError, ValueError) as error:
        if debug or not _is_an_answer(error):
            raise
        print(f"{program}: {_sentence(error)}", file=sys.stderr)
        return 1
    except ImportError as error:
        if debug:
            raise
        from ..requirements import complaint

        print(f"{program}: {complaint() or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if debug:
            raise
        print(f"{program}: stopped.", file=sys.stderr)
        return 130


def _is_an_answer(error: Exception) -> bool:
    """Whether it is told to the user, and not a fault of the program; RecBole refuses settings with a ValueError."""
    if isinstance(error, IRLLRecError | OSError):
        return True
    frame, line_number = list(traceback.walk_tb(error.__traceback__))[-1]
    line = linecache.getline(frame.f_code.co_filename, line_number).strip()
    return frame.f_globals.get("__name__", "").startswith("recbole.") and line.startswith("raise ")


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror[0].lower()}{error.strerror[1:]}."
    return str(error)
