"""What a page does in a real browser."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_QUIET = ["--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"]
_PATIENCE = 60  # seconds
_KEYS = {"Enter": (13, "\r"), "ArrowDown": (40, ""), "ArrowUp": (38, ""), "Escape": (27, ""), "Tab": (9, "")}


class Seen(NamedTuple):
    """A page as a browser shows it."""

    dom: str  # after its scripts have run
    console: list[str]  # what was said there
    requests: list[str]  # addresses that the page asked for, other than its own file


def look_at(page: Path, notices: tuple[str, ...] = ()) -> Seen:
    """Open a page in headless Chromium; skips the test where there is none.

    What the browser says on its own account in the console, known by the words of ``notices``, is left out.
    """
    log = Path("net.json").resolve()
    command = [_chromium(), *_QUIET]
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


class Tab:
    """A page that is open in a browser, to be used as a person does, through Chromium's DevTools protocol."""

    def __init__(self, to: int, back: int):
        self._to, self._back, self._number, self._session = to, back, 0, None
        self._rest, self._loaded = b"", True
        self.console: list[str] = []  # what the page or the browser about it said, exceptions among it
        self.requests: list[str] = []  # addresses of what the page asked for, its own file among them
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Have the browser do something; returns its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._number:
                assert "error" not in found, found["error"]
                return found["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            there, _, _ = select.select([self._back], [], [], _PATIENCE)
            piece = os.read(self._back, 1 << 20) if there else b""
            assert piece, "the browser has ended, or says nothing"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        found = json.loads(line)
        params = found.get("params", {})
        if found.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append(json.dumps(params))
        elif found.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif found.get("method") == "Page.loadEventFired":
            self._loaded = True
        return found

    def open(self, address: str) -> None:
        """Go to an address, and wait until it is loaded."""
        for target in ("about:blank", address):  # where only what follows "#" is another, nothing would be loaded
            self._loaded = False
            self.ask("Page.navigate", url=target)
            while not self._loaded:
                self._read()

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys, by their names, or type a text."""
        for key in keys:
            if key not in _KEYS:
                self.ask("Input.insertText", text=key)
                continue
            code, text = _KEYS[key]
            about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **about)
        self.value("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")  # what follows has happened

    def is_dark(self, dark: bool) -> None:
        """Whether the person wants dark colours."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def is_wide(self, width: int, height: int = 800) -> None:
        """How large the window is, in CSS pixels."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)


@contextlib.contextmanager
def tab() -> Iterator[Tab]:
    """A tab of a browser of its own; skips the test where there is none."""
    ours, theirs = os.pipe(), os.pipe()  # what the browser reads, and what it writes
    command = [_chromium(), *_QUIET, "--disable-gpu", "--remote-debugging-pipe"]
    with tempfile.TemporaryDirectory() as profile:

        def connected() -> None:  # to the numbers that it reads and writes
            reads, writes = os.dup(ours[0]), os.dup(theirs[1])
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        browser = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=connected,
            close_fds=False,
        )
        os.close(ours[0])
        os.close(theirs[1])
        try:
            yield Tab(ours[1], theirs[0])
        finally:
            os.close(ours[1])  # and it ends
            browser.wait(30)
            os.close(theirs[0])


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("there is no Chromium here")
    return found
