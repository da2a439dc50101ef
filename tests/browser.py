"""What a page does in a real browser."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Seen(NamedTuple):
    """A page as a browser shows it."""

    dom: str  # after its scripts have run
    console: list[str]  # what was said there
    requests: list[str]  # addresses that the page asked for, other than its own file


def look_at(page: Path, notices: tuple[str, ...] = ()) -> Seen:
    """Open a page in headless Chromium; skips the test where there is none.

    What the browser says on its own account in the console, known by the words of ``notices``, is left out.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium here")
    log = Path("net.json").resolve()
    command = [chromium, "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"]
    command += [f"--user-data-dir={Path('browser').resolve()}", "--virtual-time-budget=20000"]
    command += ["--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom", page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    said = [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]
    asked = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    return Seen(
        done.stdout,
        [line for line in said if not any(words in line for words in notices)],
        # "not an origin": the browser's own
        sorted({a["url"] for a in asked if "url" in a and a.get("initiator") not in (None, "not an origin")}),
    )
