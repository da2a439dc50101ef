"""How fast `irllrec intents generate` asks, and what memory it takes.

    python benchmarks/generate.py speed     # requests a second, beside a bare HTTP loop of the same concurrency
    python benchmarks/generate.py memory    # of 1,000 and of 50,000 users

The server of the tests answers, in a process of its own. `speed` takes turns, so that whatever else the machine does
meets both alike.
"""

import asyncio
import gc
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx  # the HTTP library that the openai client uses itself
from recbole_irllrec.dataset_tools.generation.budget import Budget
from recbole_irllrec.dataset_tools.generation.chat import Chat
from recbole_irllrec.dataset_tools.generation.inputs import Read, UserInput
from recbole_irllrec.dataset_tools.generation.prompts import Prompt, Prompts
from recbole_irllrec.dataset_tools.generation.run import Run
from recbole_irllrec.dataset_tools.generation.store import open_to_write

from recbole_irllrec.text.counting import TokenCounter
from recbole_irllrec.text.endpoint import Endpoint

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import openai_server

MODEL, CONCURRENCY, LATENCY, ROUNDS, REQUESTS = "a-model", 64, 0.05, 6, 1500
WRITE = Prompts("films", MODEL, TokenCounter(MODEL), 128_000, 1000)


def users(begin: int, end: int) -> Iterator[UserInput]:
    """Users with a history as in ml-100k: 20 items with a profile each."""
    for user in range(begin, end):
        read = [
            Read(f"{user}{i}", f"movie title: Film {i} of {user}; release year: 1995; class: Drama", "x " * 60, "")
            for i in range(20)
        ]
        yield UserInput(f"u{user}", "age: 24; gender: M", read[:14], read[14:])


def prompts(begin: int, end: int) -> Iterator[Prompt]:
    """Their prompts, each written when its turn comes."""
    return map(WRITE.for_user, users(begin, end))


async def generate(url: str, store, asked: Iterator[Prompt], n: int) -> None:
    """What the command does with a side's prompts."""
    endpoint, budget = Endpoint(url), Budget(None, None, None)
    chat = Chat(endpoint, MODEL, budget, answer_tokens=1000, temperature=0.0, tries=3)
    await Run(chat, endpoint, budget, store, CONCURRENCY, False).answer(asked, n, "users")
    await endpoint.close()


async def bare(url: str, bodies: list[dict]) -> None:
    """The same requests with nothing done about the answers but reading their JSON."""
    left = iter(bodies)

    async def work(client: httpx.AsyncClient) -> None:
        for body in left:
            (await client.post(f"{url}/chat/completions", json=body)).raise_for_status().json()

    limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
    async with httpx.AsyncClient(limits=limits, timeout=300) as client:
        await asyncio.gather(*(work(client) for _ in range(CONCURRENCY)))


def timed(coroutine) -> float:
    begun = time.perf_counter()
    asyncio.run(coroutine)
    return time.perf_counter() - begun


def speed(store, url: str) -> None:
    chat = Chat(Endpoint(url), MODEL, Budget(None, None, None), answer_tokens=1000, temperature=0.0, tries=3)
    seconds: dict[str, list[float]] = {"generate": [], "bare": []}
    gc.freeze()  # both as `generate` does
    gc.set_threshold(50_000)
    for turn in range(ROUNDS):
        begin, end = turn * REQUESTS, (turn + 1) * REQUESTS
        bodies = [chat.body(prompt) for prompt in prompts(begin, end)]
        seconds["bare"].append(timed(bare(url, bodies)))
        seconds["generate"].append(timed(generate(url, store, prompts(begin, end), REQUESTS)))
        rates = {name: REQUESTS / last[-1] for name, last in seconds.items()}
        print(", ".join(f"{name} {rate:.0f}/s" for name, rate in rates.items()), flush=True)
    totals = {name: REQUESTS * ROUNDS / sum(each) for name, each in seconds.items()}
    print(
        f"{CONCURRENCY} at a time, {LATENCY * 1000:.0f} ms: generate {totals['generate']:.0f} requests/s, bare loop "
        f"{totals['bare']:.0f}, share {totals['generate'] / totals['bare']:.0%}"
    )


def one_memory(store, url: str, n: int) -> None:
    asyncio.run(generate(url, store, prompts(0, n), n))
    print(f"{n} users: peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB", flush=True)


def main() -> None:
    job = sys.argv[1]
    if job == "memory":  # each in a process of its own: a peak does not come down
        for n in (1000, 50_000):
            subprocess.run([sys.executable, __file__, "users", str(n)], check=True)
        return
    with tempfile.TemporaryDirectory() as folder, openai_server.serve(latency=LATENCY * (job == "speed")) as server:
        about = {"dataset": "d", "model": MODEL, "prompts": "films", "train_fingerprint": "f"}
        with open_to_write(Path(folder) / "store.sqlite", **about, replace=False) as store:
            if job == "speed":
                speed(store, server.url)
            else:
                one_memory(store, server.url, int(sys.argv[2]))


if __name__ == "__main__":
    main()
