"""Write RecBole's wheel again, with the bound on Ray taken out of its metadata and nothing else changed.

    python tools/recbole_wheel.py DIR

makes ``DIR/recbole-1.2.1+anyray-py3-none-any.whl`` from the one that pip finds. ``recbole==1.2.1`` takes it, and ``pip
check`` has nothing against it; its licence is in it. RecBole 1.2.1 asks for ``ray<=2.6.3``, but its code for no bound.
"""

import base64
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "1.2.1"
LOCAL = f"{VERSION}+anyray"


def main(folder: Path) -> Path:
    """Fetch RecBole's wheel and write ours; returns its path."""
    made = folder / f"recbole-{LOCAL}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as fetched:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", fetched]
        subprocess.run([*command, f"recbole=={VERSION}"], check=True)
        (wheel,) = Path(fetched).glob("*.whl")
        rewrite(wheel, made)
    return made


def rewrite(wheel: Path, made: Path) -> None:
    """Copy a wheel, file by file, with another version and without a bound on Ray."""
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        record = []
        for name in old.namelist():
            if name.endswith((".dist-info/RECORD", "/")):
                continue
            content = old.read(name)
            if name.endswith(".dist-info/METADATA"):
                content = _without_bound(content.decode()).encode()
            name = name.replace(f"recbole-{VERSION}.dist-info/", f"recbole-{LOCAL}.dist-info/")
            new.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}\n")
        name = f"recbole-{LOCAL}.dist-info/RECORD"
        new.writestr(name, "".join([*record, f"{name},,\n"]))


def _without_bound(metadata: str) -> str:
    changed, n = re.subn(r"^Requires-Dist: ray\b.*$", "Requires-Dist: ray", metadata, flags=re.MULTILINE)
    changed, m = re.subn(rf"^Version: {re.escape(VERSION)}$", f"Version: {LOCAL}", changed, count=1, flags=re.MULTILINE)
    if (n, m) != (1, 1):
        raise SystemExit(f"This is not RecBole {VERSION} as it was published: see its METADATA.")
    return changed


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python {sys.argv[0]} DIR")
    print(main(Path(sys.argv[1])))
