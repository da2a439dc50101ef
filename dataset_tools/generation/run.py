"""Many prompts at once, until all are answered or something ends it."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator

from tqdm import tqdm

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.text.endpoint import Endpoint, Stopped

from .budget import Budget, LimitReached
from .chat import Chat
from .prompts import Prompt
from .store import Store

_FAILURES_IN_A_ROW = 20  # that many, and something is wrong with more than single prompts


class Run:
    """Asks a model about prompts and stores the answers, `concurrency` at a time.

    Prompts are written when their turn comes: the memory it takes does not depend on how many there are.
    """

    def __init__(self, chat: Chat, endpoint: Endpoint, budget: Budget, store: Store, concurrency: int, again: bool):
        """
        Args:
            chat: asks.
            endpoint: is stopped when something ends the run.
            budget: for the progress bar.
            store: takes the answers.
            concurrency: how many prompts are under way at the same time.
            again: whether prompts that have failed before are asked again.
        """
        self._chat, self._endpoint, self._budget, self._store = chat, endpoint, budget, store
        self._concurrency, self._again = concurrency, again
        self.ending: BaseException | None = None
        """What ends the run."""
        self._failures_in_a_row = 0
        self._failed = 0

    def is_open(self, prompt: Prompt) -> bool:
        """Whether a prompt is to be asked; if not, what is stored becomes current."""
        state = self._store.state(prompt.key)
        if state is None or (state == "failed" and self._again):
            return True
        self._store.use(prompt)
        return False

    async def answer(self, prompts: Iterator[Prompt], total: int, name: str) -> None:
        """Ask about prompts.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed; what was under way has been stored.
            LimitReached: the budget's; so has it.
            IRLLRecError: no prompt has a chance; so has it.
        """
        with tqdm(total=total, desc=name, unit="", disable=None) as bar, self._ended_by_ctrl_c():
            if not self._chat.settled:
                await self._work(prompts, bar, until_settled=True)  # finds out what the server can do
            try:
                await asyncio.gather(*(self._work(prompts, bar) for _ in range(self._concurrency)))
            except asyncio.CancelledError:
                if self.ending is None:
                    raise
        if self.ending is not None:
            raise self.ending

    async def _work(self, prompts: Iterator[Prompt], bar: tqdm, until_settled: bool = False) -> None:
        try:
            for prompt in prompts:  # shared by all workers
                is_open = self.is_open(prompt)
                if is_open:
                    await self.answer_one(prompt)
                    self._show(bar)
                else:
                    await asyncio.sleep(0)  # let the answers of others in
                bar.update()
                if self.ending is not None or (until_settled and self._chat.settled):
                    return
        except (IRLLRecError, LimitReached) as error:
            self._end(error)

    async def answer_one(self, prompt: Prompt) -> None:
        """Ask about one prompt and store how it ends."""
        try:
            result = await self._chat.ask(prompt)
            self._store.record(prompt, result)
        except Stopped:
            return
        self._failures_in_a_row = self._failures_in_a_row + 1 if result.failure else 0
        self._failed += result.failure is not None
        if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
            self._end(
                IRLLRecError(
                    f"{_FAILURES_IN_A_ROW} prompts in a row have failed, the last with: {result.failure} "
                    f"(mend that and go on with --retry-failed)"
                )
            )

    def _end(self, why: BaseException) -> None:
        if self.ending is None:
            self.ending = why
            self._endpoint.stop()

    @contextlib.contextmanager
    def _ended_by_ctrl_c(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def pressed() -> None:
            if isinstance(self.ending, KeyboardInterrupt):
                task.cancel()
                return
            logging.getLogger(__name__).info("Waiting for the answers under way; Ctrl-C again drops them.")
            self._end(KeyboardInterrupt())

        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
            loop.add_signal_handler(signal.SIGINT, pressed)
        try:
            yield
        finally:
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
                loop.remove_signal_handler(signal.SIGINT)

    def _show(self, bar: tqdm) -> None:
        cost, price = self._budget.cost, self._budget.price
        tokens = self._budget.prompt_tokens + self._budget.answer_tokens
        spent = f"{tokens} tokens" if cost is None or price is None else price.told(cost)
        bar.set_postfix_str(f"{spent}, {self._failed} failed", refresh=False)
