"""A real HTTP server that speaks OpenAI's protocol, keeps an account of all it did, and fails as real ones do.

It runs in a process of its own, so that its account outlives a client that is killed::

    with openai_server.serve(fault_rate=0.2) as server:
        ...  # talk to server.url
        server.account()  # one entry a request
        server.set(latency=0.05)

Chat answers follow from the prompt alone: tokens of items that stand in it as ``[token]`` are the evidence, its most
frequent words the profile and the intents. Embeddings follow from the words of a text.
"""

import asyncio
import atexit
import base64
import collections
import contextlib
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import time
import urllib.request
import uuid

import numpy as np

CHAT_FAULTS = (
    "429",
    "429_retry_after",
    "500",
    "timeout",
    "drop",
    "truncated_json",
    "truncated_answer",
    "invalid_json",
    "wrong_schema",
    "empty_choices",
    "refusal",
)
EMBEDDING_FAULTS = (
    "429",
    "429_retry_after",
    "500",
    "timeout",
    "drop",
    "truncated_json",
    "wrong_size",
    "wrong_count",
    "nan",
    "zeros",
)


@dataclasses.dataclass
class Behaviour:
    """How the server answers; all of it can be changed while it runs."""

    latency: float = 0.0
    """Seconds before each answer."""
    fault_rate: float = 0.0
    """The share of requests that go wrong. Whether one does follows from the seed, its content and its attempt."""
    fault_seed: int = 0
    faults: tuple[str, ...] = CHAT_FAULTS + EMBEDDING_FAULTS
    """Which faults occur, where the request is of their kind."""
    retry_after: float = 0.1
    hang: float = 30.0
    """Seconds that a time-out lasts."""
    json_schema: bool = True
    """Whether `response_format` with a JSON schema is understood; 400 otherwise."""
    refused_parameters: tuple[str, ...] = ()
    """Parameters of a chat request that are answered with 400."""
    refusals: tuple[tuple[str, int, object], ...] = ()
    """What is refused, with which status and body (a text is no JSON): the name of a parameter, "system" for such a
    message, "words:…" for a prompt that has them in it, "first:n" for the first n requests of this content since this
    was set, "more:n" for more than n texts, "all". The status may be 200."""
    api_key: str | None = None
    """The one valid key; None takes any."""
    models: tuple[str, ...] | None = None
    """The models that there are; None is all."""
    dim: int = 16
    """The width of an embedding, where the request does not say."""
    batch_polls: int = 2
    """How often a batch is asked for until it is completed."""
    message: dict | None = None
    """The message of an answer; in its texts stand $ANSWER, $DRAFT (another valid object), $RAW (with line breaks in
    its strings), $NULL and $NONE (whose dislikes are null, or not there)."""
    message_of_schema: dict | None = None
    """The same, where the request has a JSON schema."""
    finish: str | None = None
    """Why an answer ends; None is "stop"."""
    usage: object = "counted"
    """The usage that an answer names; "absent" is none."""
    order: str = "in order"
    """Of embeddings: "reversed", "unnumbered", or "all 0"."""
    base64: bool = False
    """Whether embeddings are sent so without being asked for."""
    refused_words: str = ""
    """A prompt that has this in it is answered with 400."""


class State:
    """What the server remembers."""

    def __init__(self, behaviour: Behaviour):
        self.behaviour = behaviour
        self.account: list[dict] = []
        self.attempts: collections.Counter[str] = collections.Counter()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}


def app():
    """The server as an ASGI application."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    state = State(Behaviour())

    async def control(request: Request) -> Response:
        for name, value in (await request.json()).items():
            setattr(state.behaviour, name, value)
        state.attempts.clear()
        return JSONResponse({})

    async def begin(request: Request) -> Response:
        nonlocal state
        state = State(Behaviour(**await request.json()))
        return JSONResponse({})

    async def account(request: Request) -> Response:
        return JSONResponse(state.account)

    async def ask(request: Request) -> Response:
        """A request for a chat completion or for embeddings."""
        kind = request.url.path.rpartition("/v1/")[2]
        raw = await request.body()
        body = json.loads(raw)
        content = hashlib.sha256(raw if kind == "embeddings" else json.dumps(body["messages"]).encode()).hexdigest()
        state.attempts[content] += 1
        entry = {
            "path": kind,
            "content": content,
            "prompt": body["messages"][-1]["content"] if kind == "chat/completions" else None,
            "parts": sorted(_parts(body)),
            "texts": body.get("input"),
            "begun": time.time(),
            "status": None,
            "fault": None,
            "valid": False,
            "finished": None,
        }
        state.account.append(entry)
        status, answer = _refusal(state.behaviour, request, body)
        if answer is None:
            status, answer = _refused(state.behaviour, body, state.attempts[content])
        if answer is None:
            entry["fault"] = fault = _fault(state.behaviour, kind, content, state.attempts[content])
            if state.behaviour.latency:
                await asyncio.sleep(state.behaviour.latency)
            status, answer = _answer(state.behaviour, kind, body, fault)
        entry["status"] = status
        return _Accounted(entry, status, answer, state.behaviour)

    class _Accounted(Response):
        """Sends an answer, or breaks off, and writes down when it was sent to the end."""

        def __init__(self, entry: dict, status: int, answer: object, behaviour: Behaviour):
            headers = {}
            if entry["fault"] == "429_retry_after":
                headers["retry-after"] = str(behaviour.retry_after)
            body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            if entry["fault"] == "truncated_json":
                body = body[: len(body) // 2]
            super().__init__(body, status, headers, "application/json")
            self._entry, self._behaviour, self._answer = entry, behaviour, answer

        async def __call__(self, scope, receive, send) -> None:
            if self._entry["fault"] == "timeout":
                await asyncio.sleep(self._behaviour.hang)
            if self._entry["fault"] == "drop":
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": self.body[:10], "more_body": True})
                raise ConnectionAbortedError("dropped on purpose")
            await super().__call__(scope, receive, send)
            self._entry["finished"] = time.time()
            refused = isinstance(self._answer, str | list) or not {"choices", "data"} & self._answer.keys()
            self._entry["valid"] = self._entry["status"] == 200 and self._entry["fault"] is None and not refused

    async def upload(request: Request) -> Response:
        name, content = _multipart_file(request.headers["content-type"], await request.body())
        return JSONResponse(_file(state, content, name))

    async def download(request: Request) -> Response:
        content = state.files.get(request.path_params["id"])
        return _not_found("No such file.") if content is None else Response(content)

    async def create_batch(request: Request) -> Response:
        status, answer = _refusal(state.behaviour, request, {})
        if answer is not None:
            return JSONResponse(answer, status)
        asked = await request.json()
        batch = {
            "id": f"batch_{uuid.uuid4().hex}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"],
            "metadata": asked.get("metadata"),
            "created_at": int(time.time()),
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
        }
        state.batches[batch["id"]] = {"polls": 0, "batch": batch}
        state.account.append({"path": "batches", "batch": batch["id"], "input": asked["input_file_id"]})
        return JSONResponse(batch)

    async def list_batches(request: Request) -> Response:
        batches = [known["batch"] for known in reversed(state.batches.values())]
        return JSONResponse({"object": "list", "data": batches, "has_more": False})

    async def retrieve_batch(request: Request) -> Response:
        known = state.batches.get(request.path_params["id"])
        if known is None:
            return _not_found("No such batch.")
        batch = known["batch"]
        known["polls"] += 1
        if batch["status"] != "completed":
            batch["status"] = "in_progress"
            if known["polls"] >= state.behaviour.batch_polls:
                _complete(state, batch)
        return JSONResponse(batch)

    def _not_found(message: str) -> Response:
        return JSONResponse({"error": {"message": message, "code": None}}, 404)

    return Starlette(
        routes=[
            Route("/begin", begin, methods=["POST"]),
            Route("/control", control, methods=["POST"]),
            Route("/account", account),
            Route("/v1/chat/completions", ask, methods=["POST"]),
            Route("/v1/embeddings", ask, methods=["POST"]),
            Route("/v1/files", upload, methods=["POST"]),
            Route("/v1/files/{id}/content", download),
            Route("/v1/batches", create_batch, methods=["POST"]),
            Route("/v1/batches", list_batches, methods=["GET"]),
            Route("/v1/batches/{id}", retrieve_batch),
        ]
    )


# --- What goes wrong. -----------------------------------------------------------------------------------------------


def _refusal(behaviour: Behaviour, request, body: dict) -> tuple[int, dict | None]:
    """A status above 400 and its error, if the request is one that a sound server refuses; else 200 and None."""
    if behaviour.api_key and request.headers.get("authorization") != f"Bearer {behaviour.api_key}":
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        return 401, _error(f"Incorrect API key provided: {key}.", "invalid_api_key")
    model = body.get("model")
    if model and behaviour.models is not None and model not in behaviour.models:
        return 404, _error(f"The model `{model}` does not exist or you do not have access to it.", "model_not_found")
    if not behaviour.json_schema and (body.get("response_format") or {}).get("type") == "json_schema":
        return 400, _error("Invalid parameter: 'response_format' of type 'json_schema' is not supported.", None)
    for name in behaviour.refused_parameters:
        if name in body:
            return 400, _error(f"Unsupported parameter: '{name}' is not supported with this model.", None)
    if behaviour.refused_words and behaviour.refused_words in json.dumps(body.get("messages", "")):
        return 400, _error("The prompt was filtered.", "content_filter")
    return 200, None


def _parts(body: dict) -> set[str]:
    """What a request has, by the names of `Behaviour.refusals`."""
    roles = {message["role"] for message in body.get("messages", ())}
    return (body.keys() | roles) - {"messages", "model", "input", "user"}


def _refused(behaviour: Behaviour, body: dict, attempt: int) -> tuple[int, object]:
    """The status and body with which this server refuses a request; 200 and None if it does not."""
    for what, status, answer in behaviour.refusals:
        kind, _, value = what.partition(":")
        if kind == "words":
            is_met = value in json.dumps(body.get("messages", body.get("input")))
        elif kind == "first":
            is_met = attempt <= int(value)
        elif kind == "more":
            is_met = len(body["input"]) > int(value)
        else:
            is_met = what == "all" or what in _parts(body)
        if is_met:
            return status, answer
    return 200, None


def _error(message: str, code: str | None) -> dict:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _fault(behaviour: Behaviour, kind: str, content: str, attempt: int) -> str | None:
    """What goes wrong with this attempt, if anything."""
    known = EMBEDDING_FAULTS if kind == "embeddings" else CHAT_FAULTS
    possible = [fault for fault in behaviour.faults if fault in known]
    drawn = np.random.default_rng([behaviour.fault_seed, attempt, int(content[:12], 16)])
    if not possible or drawn.random() >= behaviour.fault_rate:
        return None
    return str(drawn.choice(possible))


def _answer(behaviour: Behaviour, kind: str, body: dict, fault: str | None) -> tuple[int, dict]:
    if fault in ("429", "429_retry_after"):
        return 429, _error("Rate limit reached.", "rate_limit_exceeded")
    if fault == "500":
        return 500, _error("The server had an error.", None)
    return 200, _embeddings(behaviour, body, fault) if kind == "embeddings" else _chat(behaviour, body, fault)


# --- Answers. -------------------------------------------------------------------------------------------------------


def _chat(behaviour: Behaviour, body: dict, fault: str | None) -> dict:
    prompt = "\n".join(message["content"] for message in body["messages"])
    answer = written(body["messages"])
    message = {"role": "assistant", "content": json.dumps(answer), "refusal": None}
    finish = behaviour.finish or "stop"
    own = behaviour.message
    if behaviour.message_of_schema and "response_format" in body:
        own = behaviour.message_of_schema
    if own:
        message |= _filled_in(own, answer)
    if fault == "truncated_answer":
        message["content"], finish = message["content"][: len(message["content"]) // 2], "length"
    elif fault == "invalid_json":
        message["content"] = "Here is what I found: the user likes films."
    elif fault == "wrong_schema":
        message["content"] = json.dumps({"profile": 7, "likes": "films"})
    elif fault == "refusal":
        message |= {"content": None, "refusal": "I cannot help with that."}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    used = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(str(message["content"] or "")) // 4}
    used = used | {"total_tokens": sum(used.values())}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [] if fault == "empty_choices" else [choice],
    } | ({} if behaviour.usage == "absent" else {"usage": used if behaviour.usage == "counted" else behaviour.usage})


def _filled_in(message: object, answer: dict) -> object:
    """A message with the answer in the places that are meant for it."""
    if isinstance(message, dict):
        return {name: _filled_in(value, answer) for name, value in message.items()}
    if isinstance(message, list):
        return [_filled_in(value, answer) for value in message]
    if not isinstance(message, str):
        return message
    texts = {
        "$ANSWER": json.dumps(answer),
        "$DRAFT": json.dumps(answer | {"profile": "a draft"}),
        "$RAW": json.dumps(answer | {"reasoning": "one\ntwo\tthree"}).replace("\\n", "\n").replace("\\t", "\t"),
        "$NULL": json.dumps(answer | {"dislikes": None}),
        "$NONE": json.dumps({name: value for name, value in answer.items() if name != "dislikes"}),
    }
    return re.sub(r"\$[A-Z]+", lambda found: texts[found[0]], message)


def written(messages: list[dict]) -> dict:
    """A profile with its reasoning and intents, which follow from the first message that is not the system's."""
    prompt = next(message["content"] for message in messages if message["role"] == "user")
    tokens = re.findall(r"^- \[([^\]\n]+)\]", prompt, re.MULTILINE)
    lines = re.findall(r"^- (.+)$", prompt, re.MULTILINE) or re.findall(r"^.*: .*$", prompt, re.MULTILINE) or [prompt]
    values = " ".join(
        part.rpartition(":")[2] for part in re.split(r"[;|\]\n]", "\n".join(lines))
    )  # without field names
    counts = collections.Counter(re.findall(r"[a-z]{4,}", values.lower()))
    words = [word for word, _ in counts.most_common(12)] or ["nothing"]
    return {
        "reasoning": f"The prompt speaks of {', '.join(words[:6])}.",
        "profile": f"It is about {' and '.join(words)}.",
        "likes": [{"intent": f"wants {' '.join(words[:6])}", "evidence": tokens[:2] or lines[:1]}],
        "dislikes": [{"intent": f"avoids {words[-1]}", "evidence": tokens[-1:] or lines[-1:]}],
    }


def _embeddings(behaviour: Behaviour, body: dict, fault: str | None) -> dict:
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    dim = body.get("dimensions") or behaviour.dim
    vectors = [embedding(text, dim + (fault == "wrong_size")) for text in texts]
    if fault == "wrong_count":
        vectors = vectors[1:]
    elif fault in ("nan", "zeros"):
        vectors[0] = [float("nan") if fault == "nan" else 0.0] * dim
    if behaviour.base64 or body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(np.asarray(vector, np.float32).tobytes()).decode() for vector in vectors]
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    if behaviour.order == "reversed":
        data.reverse()
    elif behaviour.order in ("unnumbered", "all 0"):
        data = [one | {"index": 0 if behaviour.order == "all 0" else None} for one in data]
    used = sum(len(text) // 4 + 1 for text in texts)
    return {
        "object": "list",
        "model": body["model"],
        "data": data,
    } | ({} if behaviour.usage == "absent" else {"usage": {"prompt_tokens": used, "total_tokens": used}})


def embedding(text: str, dim: int) -> list[float]:
    """The mean of one random direction a word, of length 1."""
    total = np.zeros(dim)
    for word in re.findall(r"\w+", text.lower()) or [""]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(dim)
    return (total / np.linalg.norm(total)).tolist()


# --- Files and batches. ---------------------------------------------------------------------------------------------


def _multipart_file(content_type: str, body: bytes) -> tuple[str, bytes]:
    boundary = re.search(r"boundary=([^;]+)", content_type)[1].strip('"').encode()
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'filename="([^"]*)"', head)
        if name:
            return name[1].decode(), content.removesuffix(b"\r\n")
    raise ValueError("the form has no file")


def _file(state: State, content: bytes, name: str, purpose: str = "batch") -> dict:
    known = f"file-{uuid.uuid4().hex}"
    state.files[known] = content
    state.account.append({"path": "files", "file": known, "bytes": len(content), "purpose": purpose})
    return {
        "id": known,
        "object": "file",
        "bytes": len(content),
        "created_at": int(time.time()),
        "filename": name,
        "purpose": purpose,
        "status": "processed",
    }


def _complete(state: State, batch: dict) -> None:
    """Answer every line of a batch's file; faults end in the error file or are bad answers."""
    answered, failed = [], []
    for line in state.files[batch["input_file_id"]].decode().splitlines():
        asked = json.loads(line)
        kind = asked["url"].removeprefix("/v1/")
        content = hashlib.sha256(json.dumps(asked["body"].get("messages", asked["body"])).encode()).hexdigest()
        state.attempts[content] += 1
        fault = _fault(state.behaviour, kind, content, state.attempts[content])
        fault = "500" if fault in ("timeout", "drop", "truncated_json") else fault
        status, body = _refused(state.behaviour, asked["body"], state.attempts[content])
        if body is None:
            status, body = _answer(state.behaviour, kind, asked["body"], fault)
        entry = {"path": kind, "content": content, "batch": batch["id"], "status": status, "fault": fault}
        state.account.append(entry | {"valid": fault is None, "custom_id": asked["custom_id"]})
        done = {
            "id": f"batch_req_{uuid.uuid4().hex}",
            "custom_id": asked["custom_id"],
            "response": {"status_code": status, "request_id": uuid.uuid4().hex, "body": body},
            "error": None,
        }
        (answered if status == 200 else failed).append(json.dumps(done))
    for name, lines in (("output_file_id", answered), ("error_file_id", failed)):
        if lines:
            batch[name] = _file(state, ("\n".join(lines) + "\n").encode(), f"{name}.jsonl", "batch_output")["id"]
    batch["status"] = "completed"
    batch["request_counts"] = {
        "total": len(answered) + len(failed),
        "completed": len(answered),
        "failed": len(failed),
    }


# --- Running it. ----------------------------------------------------------------------------------------------------


class Server:
    """A server that runs."""

    def __init__(self, port: int):
        self._root = f"http://127.0.0.1:{port}"
        self.url = f"{self._root}/v1"

    def account(self) -> list[dict]:
        """Every request so far, in the order of arrival."""
        with urllib.request.urlopen(f"{self._root}/account", timeout=60) as answer:
            return json.load(answer)

    def set(self, **behaviour) -> None:
        """Behave otherwise from now on; see `Behaviour`."""
        self._post("control", behaviour)

    def begin(self, **behaviour) -> None:
        """Forget all, and behave as new; see `Behaviour`."""
        self._post("begin", behaviour)

    def _post(self, path: str, content: dict) -> None:
        request = urllib.request.Request(f"{self._root}/{path}", json.dumps(content).encode(), method="POST")
        urllib.request.urlopen(request, timeout=60).close()


@contextlib.contextmanager
def serve(**behaviour):
    """Have a server on a port of this machine; see `Behaviour`. Yields a `Server`.

    It is the same each time, since one takes half a second to start, but for those that are wanted at the same time.
    """
    server = _idle.pop() if _idle else _start()
    server.begin(**behaviour)
    try:
        yield server
    finally:
        _idle.append(server)


_idle: list[Server] = []


def _start() -> Server:
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    atexit.register(process.kill)
    return Server(int(process.stdout.readline()))


def main() -> None:
    import socket

    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = uvicorn.Server(uvicorn.Config(app(), log_level="critical"))
    print(listening.getsockname()[1], flush=True)  # connections wait in the backlog until the server runs
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
