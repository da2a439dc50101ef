"""Prompts through OpenAI's Batch API: slower, at a share of the price.

Each step is in the store before the next begins: a file is written, uploaded, submitted, waited for, taken in. A
process that ends at any point goes on where it stopped; a batch is never submitted twice.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import openai.types
from tqdm import tqdm

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.files import atomic_write
from recbole_irllrec.text.endpoint import Endpoint, Failed, said_in

from .budget import Budget, LimitReached
from .chat import Chat, no_valid_answer
from .completion import completion_in
from .prompts import Prompt
from .run import Run
from .schema import Answer, Filtered, InvalidAnswer
from .store import Result, Store

MOST_REQUESTS = 50_000  # in a file; OpenAI's limits
MOST_BYTES = 190_000_000
_ENDED = ("completed", "expired", "cancelled")


class _Waiting(NamedTuple):
    """A prompt in a batch; columns of the store's table `batched`."""

    side: str
    token: str
    asked: int
    prompt_tokens: int
    answer_tokens: int


class _Outcome(NamedTuple):
    """What came back about a prompt."""

    answer: Answer | None
    failure: str | None
    told: str | None  # what to tell the model when it is asked again
    is_final: bool  # it would be of no use to ask again
    used: tuple[int, int]  # tokens of prompt and answer


class BatchRun:
    """Answers prompts in batches; its `answer` is used as that of `Run`."""

    def __init__(
        self, run: Run, chat: Chat, endpoint: Endpoint, budget: Budget, store: Store, *, size: int, poll_seconds: float
    ):
        """
        Args:
            run: answers the first prompt, to see what the server can do.
            chat: writes requests and reads answers.
            endpoint: the server.
            budget: limits what is submitted.
            store: takes the steps and the answers; the files go into a folder beside it.
            size: the most requests in a file.
            poll_seconds: how long to wait between two looks at a batch.
        """
        self._run, self._chat, self._endpoint, self._budget, self._store = run, chat, endpoint, budget, store
        self._size, self._poll_seconds = size, poll_seconds
        self._folder = Path(f"{store.path}.batches")
        self._reserved: dict[str, tuple[int, int]] = {}  # tokens of a batch that this process has submitted
        self._counted: dict[str, dict[str, int]] = {}
        self._limit: LimitReached | None = None
        self._given_up: set[str] = set()  # prompts that this process has asked often enough
        self._log = logging.getLogger(__name__)

    async def answer(self, prompts: Callable[[], Iterator[Prompt]], total: int, name: str) -> None:
        """Ask about prompts; return when none is open.

        Args:
            prompts: begins them anew each time it is called.
            total: how many there are.
            name: what the progress bar calls them.

        Raises:
            LimitReached: the budget's; what had been submitted has been taken in.
            IRLLRecError: no prompt has a chance.
        """
        with tqdm(total=total, desc=f"{name}, in batches", unit="", disable=None) as bar:
            while True:
                for batch in self._unfinished():
                    await self._finish(*batch)
                if not await self._write(prompts(), bar):
                    break
        if self._limit:
            raise self._limit

    # --- The steps.

    async def _write(self, prompts: Iterator[Prompt], bar: tqdm) -> bool:
        """Write the open prompts to files; whether there was one."""
        self._limit = None
        lines: list[tuple[Prompt, str]] = []
        reserved, size, written, closed = [0, 0], 0, False, 0
        for prompt in prompts:
            if prompt.key in self._given_up or not self._run.is_open(prompt):
                closed += 1
                continue
            if not self._chat.settled:
                await self._run.answer_one(prompt)
                if self._run.ending is not None:
                    raise self._run.ending
                continue
            body = self._chat.body(prompt, self._reason(prompt.key))
            line = json.dumps({"custom_id": prompt.key, "method": "POST", "url": "/v1/chat/completions", "body": body})
            try:
                if not self._budget.try_to_reserve(prompt.tokens, self._chat.answer_tokens):
                    raise self._budget.cost_limit
                self._budget.count_request()
            except LimitReached as error:
                self._limit = error
                break
            if len(lines) == self._size or size + len(line) > MOST_BYTES:
                self._write_file(lines, reserved)
                lines, reserved, size, written = [], [0, 0], 0, True
            lines.append((prompt, line))
            size += len(line) + 1
            reserved = [reserved[0] + prompt.tokens, reserved[1] + self._chat.answer_tokens]
        bar.update(closed - bar.n)
        if lines:
            self._write_file(lines, reserved)
        return written or bool(lines)

    def _write_file(self, lines: list[tuple[Prompt, str]], reserved: list[int]) -> None:
        (n,) = self._store.db.execute("SELECT COUNT(*) FROM batch").fetchone()
        name = f"{lines[0][0].side}-{n + 1}.jsonl"
        with atomic_write(self._folder / name) as file:
            file.writelines(f"{line}\n".encode() for _, line in lines)
        with self._store.writing():
            self._store.db.execute("INSERT INTO batch (name) VALUES (?)", (name,))
            self._store.db.executemany(
                "INSERT INTO batched VALUES (?, ?, ?, ?, 0, 0, 0, NULL) "
                "ON CONFLICT DO UPDATE SET batch = excluded.batch",
                ((prompt.key, name, prompt.side, prompt.token) for prompt, _ in lines),
            )
        self._reserved[name] = (reserved[0], reserved[1])
        self._log.info(f"{len(lines)} requests are in {self._folder / name}.")

    async def _finish(self, name: str, file_id: str | None, batch_id: str | None) -> None:
        """Take a batch from whatever step it stopped at to its end."""
        client = self._endpoint.client
        if file_id is None:
            path = self._folder / name
            if not path.is_file():
                raise IRLLRecError(f"The batch file {path} is gone: put it back, or name another store (--store).")
            uploaded = await self._endpoint.call(lambda: client.files.create(file=path, purpose="batch"))
            file_id = uploaded.id
            self._note(name, "file_id", file_id)
        if batch_id is None:
            batch_id = await self._submit(file_id)
            self._note(name, "batch_id", batch_id)
            self._log.info(f"{name} is submitted as {batch_id}. This command may be stopped; run again, it goes on.")
        batch = await self._wait(batch_id)
        if batch.status not in _ENDED:
            self._take_in(name, [])
            said = batch.errors.data[0].message if batch.errors and batch.errors.data else "no reason given"
            raise IRLLRecError(f"The batch {batch_id} of {self._folder / name} is {batch.status} ({said}).")
        lines = []
        for file in (batch.output_file_id, batch.error_file_id):
            if file:
                content = await self._endpoint.call(lambda file=file: client.files.content(file))  # type: ignore[misc]
                lines += content.text.split("\n")
        self._take_in(name, [json.loads(line) for line in lines if line])

    async def _submitted(self, file_id: str) -> openai.types.Batch | None:
        """The batch of a file, if a process submitted it that died, or an attempt whose answer was lost."""
        listed = await self._endpoint.call(lambda: self._endpoint.client.batches.list(limit=100))
        return next((batch for batch in listed.data if batch.input_file_id == file_id), None)

    async def _submit(self, file_id: str) -> str:
        """Submit a file, if it is not; each attempt looks anew."""
        create = self._endpoint.client.batches.create

        async def send() -> openai.types.Batch:
            return await self._submitted(file_id) or await create(
                input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
            )

        return (await self._endpoint.call(send)).id

    async def _wait(self, batch_id: str) -> openai.types.Batch:
        while True:
            batch = await self._endpoint.call(lambda: self._endpoint.client.batches.retrieve(batch_id))
            if batch.status in (*_ENDED, "failed"):
                return batch
            done = f", {batch.request_counts.completed} of {batch.request_counts.total}" if batch.request_counts else ""
            self._log.info(f"{batch_id} is {batch.status}{done}.")
            await asyncio.sleep(self._poll_seconds)

    def _take_in(self, name: str, answers: list[dict]) -> None:
        """Store what came back, all at once. What did not come back is open again."""
        db = self._store.db
        waiting = {
            key: _Waiting(*row)
            for key, *row in db.execute(
                "SELECT key, side, token, asked, prompt_tokens, answer_tokens FROM batched WHERE batch = ?", (name,)
            )
        }
        used = [0, 0]
        with self._store.writing():
            for line in answers:
                key = line["custom_id"]
                before = waiting[key]
                answer, failure, told, is_final, now = self._read(line, name)
                asked = before.asked + 1
                total = (before.prompt_tokens + now[0], before.answer_tokens + now[1])
                used = [used[0] + now[0], used[1] + now[1]]
                if answer is None and not is_final and asked < self._chat.tries:
                    db.execute(
                        "UPDATE batched SET asked = ?, prompt_tokens = ?, answer_tokens = ?, reason = ? WHERE key = ?",
                        (asked, *total, told, key),
                    )
                    continue
                if answer is None:
                    self._given_up.add(key)
                    failure = failure if is_final else no_valid_answer(asked, failure)
                self._store.put(key, before.side, before.token, Result(answer, failure, asked, *total))
                db.execute("DELETE FROM batched WHERE key = ?", (key,))
            db.execute("UPDATE batched SET batch = NULL WHERE batch = ?", (name,))
            db.execute("UPDATE batch SET done = 1 WHERE name = ?", (name,))
        self._budget.settle(*self._reserved.pop(name, (0, 0)), (used[0], used[1]))

    def _read(self, line: dict, name: str) -> "_Outcome":
        """One line of a batch's output."""
        response = line.get("response") or {}
        body, status = response.get("body"), response.get("status_code")
        try:
            if status != 200:
                raise Failed(said_in(line.get("error") or body, status or 200))
            completion = completion_in(body)
        except Failed as failed:
            refusal = self._endpoint.refusal(failed.said)
            passes = failed.said.status in (200, 401, 402, 403, 404, 408, 409, 429) or failed.said.status >= 500
            return _Outcome(None, str(refusal), None, failed.said.is_of_one_prompt or not passes, (0, 0))
        counted = self._prompt_tokens(name).get(line["custom_id"], 0) if completion.prompt_tokens is None else 0
        now = self._chat.used(completion, counted)
        try:
            return _Outcome(self._chat.read(completion), None, None, False, now)
        except InvalidAnswer as error:
            return _Outcome(None, str(error), str(error), isinstance(error, Filtered), now)

    def _prompt_tokens(self, name: str) -> dict[str, int]:
        """The tokens of a batch's prompts, as counted here, by key; none if its file is gone."""
        if name not in self._counted:
            path = self._folder / name
            lines = map(json.loads, path.read_text().splitlines()) if path.is_file() else ()
            self._counted[name] = {
                line["custom_id"]: sum(self._chat.count(message["content"]) for message in line["body"]["messages"])
                for line in lines
            }
        return self._counted[name]

    # --- What the store knows of them.

    def _unfinished(self) -> list[tuple[str, str | None, str | None]]:
        return self._store.db.execute(
            "SELECT name, file_id, batch_id FROM batch WHERE NOT done ORDER BY rowid"
        ).fetchall()

    def _reason(self, key: str) -> str | None:
        row = self._store.db.execute("SELECT reason FROM batched WHERE key = ?", (key,)).fetchone()
        return row and row[0]

    def _note(self, name: str, column: str, value: str) -> None:
        with self._store.writing():
            self._store.db.execute(f"UPDATE batch SET {column} = ? WHERE name = ?", (value, name))
