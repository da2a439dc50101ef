"""Models as folders, and on a hub: a real client that talks to a small server here."""

import base64
import hashlib
import json
import pickle
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
import yaml
from test_api import QUICK, Trap, fitted, tastes  # noqa: F401  (a fixture)

from recbole_irllrec import IRLLRecError, fit, load, load_from_hub
from recbole_irllrec.api import Model
from recbole_irllrec.api.hub import push


class Hub(BaseHTTPRequestHandler):
    """What of the hub's protocol it takes to push a folder into a repository and to pull it; one commit at a time."""

    repositories: dict[str, dict[str, bytes]] = {}  # noqa: RUF012  (of each server's own class)
    made: dict[str, dict] = {}  # noqa: RUF012

    def log_message(self, *_arguments):
        pass

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        address = f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.made.setdefault(name, asked)
            self.repositories.setdefault(name, {})
            return self._answer({"url": f"{address}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        name, action = re.fullmatch(r"/api/models/(\w+/\w+)/(preupload|commit)/main", self.path).groups()
        if action == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(content)["files"]
            ]
            return self._answer({"files": files})
        for line in map(json.loads, content.splitlines()):
            if line["key"] == "file":
                self.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self._answer(
            {"commitUrl": f"{address}/{name}/commit/{self._commit(name)}", "commitOid": self._commit(name)}
        )

    def do_GET(self):
        if told := re.fullmatch(r"/api/models/(\w+/\w+)(?:/revision/\w+|/tree/\w+)?(?:\?.*)?", self.path):
            name = told[1]
            if name not in self.repositories:
                return self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            files = [{"rfilename": file} for file in self.repositories[name]]
            if "/tree/" in self.path:
                files = [
                    {"type": "file", "path": file, "size": len(bits), "oid": hashlib.sha1(bits).hexdigest()}
                    for file, bits in self.repositories[name].items()
                ]
                return self._answer(files)
            return self._answer({"id": name, "sha": self._commit(name), "siblings": files, "private": True, "tags": []})
        name, file = re.fullmatch(r"/(\w+/\w+)/resolve/\w+/(.*)", self.path).groups()
        content = self.repositories[name][file]
        headers = {"X-Repo-Commit": self._commit(name), "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        return self._answer(content, 200, headers)

    do_HEAD = do_GET

    def _commit(self, name: str) -> str:
        return hashlib.sha1(repr(sorted(self.repositories[name].items())).encode()).hexdigest()

    def _answer(self, content, status=200, headers=None):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for header, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub():
    """A server of its own, and its address."""
    pytest.importorskip("huggingface_hub")
    kind = type("OwnHub", (Hub,), {"repositories": {}, "made": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        kind.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield kind
        finally:
            server.shutdown()
            thread.join()


def same(one: Model, other: Model) -> None:
    pd.testing.assert_frame_equal(one.recommend(k=5, explain=True), other.recommend(k=5, explain=True), rtol=1e-5)
    pd.testing.assert_frame_equal(one.evaluate(), other.evaluate())


def header_of(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_folder(fitted, tmp_path):  # noqa: F811
    fitted.save_folder(tmp_path / "shop")
    (tmp_path / "shop" / "notes.txt").write_text("mine")
    same(fitted, load(tmp_path / "shop"))
    card = (tmp_path / "shop" / "README.md").read_text()
    assert header_of(card) == {
        "library_name": "recbole-irllrec",
        "tags": ["recommendation", "recbole", "IRLLRec"],
        "metrics": ["recall", "mrr", "ndcg", "hit", "precision"],
    }
    tested = fitted.evaluate().loc["ndcg@10"]
    best = fitted.history[fitted.history["is_best"]].iloc[-1]["ndcg@10"]
    assert f"| ndcg@10 | {best:.4f} | {tested['IRLLRec']:.4f} | {tested['popularity']:.4f} |" in card
    assert "60 users, 80 items" in card and "learning_rate: 0.01" in card and "load_from_hub" in card

    small = fit(tastes(), model="EASE", test=0)  # in its place: without texts, and nothing held out
    small.save_folder(tmp_path / "shop")
    assert (tmp_path / "shop" / "notes.txt").read_text() == "mine" and "popularity" not in small._card()
    pd.testing.assert_frame_equal(load(tmp_path / "shop").recommend(k=3), small.recommend(k=3))


def test_a_card_names_no_place_and_no_secret(fitted, tmp_path):  # noqa: F811
    later = fit(tastes(), warm_start=fitted, **QUICK | {"epochs": 1})
    card = later._card()
    assert "warm_start" not in card and str(fitted.checkpoint) not in card and "/tmp" not in card


def test_folders_that_are_no_models(fitted, tmp_path):  # noqa: F811
    with pytest.raises(IRLLRecError, match="is not there, or not complete"):
        load(tmp_path)
    shop = tmp_path / "shop"
    fitted.save_folder(shop)
    about = json.loads((shop / "model.json").read_text())
    for members in (["../escaped"], ["/tmp/escaped"], ["frames/../x"], [1], "x", [*about["members"], "run/other.pth"]):
        (shop / "model.json").write_text(json.dumps(about | {"members": members}))
        with pytest.raises(IRLLRecError, match="is no model that save"):
            load(shop)
    (shop / "model.json").write_text(json.dumps(about))
    (shop / "run" / "best.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(IRLLRecError, match="was not loaded"):
        load(shop).recommend()
    (shop / "run" / "best.pth").unlink()
    with pytest.raises(IRLLRecError, match=r"best\.pth cannot be opened"):
        load(shop)


def test_pushed_and_pulled(fitted, hub, tmp_path):  # noqa: F811
    said = fitted.push_to_hub("somebody/shop", endpoint=hub.address, token="a-token")
    assert said.startswith(f"{hub.address}/somebody/shop/commit/")
    made = hub.made["somebody/shop"]  # clients differ in how they say it
    assert made.get("visibility") == "private" or made.get("private") is True
    assert {"README.md", "model.json", "run/best.pth", "frames/frames.inter"} <= hub.repositories[
        "somebody/shop"
    ].keys()
    pulled = load_from_hub("somebody/shop", endpoint=hub.address, cache_dir=tmp_path / "cache", token=False)
    same(fitted, pulled)


def test_what_the_hub_does_not_have(hub, tmp_path):
    for name in ("somebody/nothing", "not a name"):
        with pytest.raises(IRLLRecError, match=f"The hub does not give or take {name}"):
            load_from_hub(name, endpoint=hub.address, cache_dir=tmp_path, token=False)


def test_a_hub_that_is_not_there(tmp_path):
    pytest.importorskip("huggingface_hub")
    with pytest.raises(IRLLRecError, match=r"The hub does not give or take a/b \(.*Connection refused"):
        push(tmp_path, "a/b", endpoint="http://127.0.0.1:9", token=False)
