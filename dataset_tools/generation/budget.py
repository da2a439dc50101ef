"""What it costs, and where to stop."""

import asyncio
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recbole_irllrec.errors import IRLLRecError

_MILLION = 1_000_000


class Price(BaseModel):
    """What a model costs, and how much it reads."""

    model_config = ConfigDict(extra="forbid")

    input: float = Field(ge=0)
    """A million tokens of prompts."""
    output: float = Field(ge=0)
    """A million tokens of answers."""
    context_length: int | None = Field(default=None, ge=1)
    """How many tokens a prompt and its answer may have together."""
    currency: str = "USD"
    """The file's."""

    def of(self, prompt_tokens: float, answer_tokens: float) -> float:
        """The cost of so many tokens."""
        return (prompt_tokens * self.input + answer_tokens * self.output) / _MILLION

    def told(self, amount: float) -> str:
        """An amount in its currency."""
        number = f"{amount:,.4f}" if amount < 1 else f"{amount:,.2f}"
        return f"${number}" if self.currency == "USD" else f"{number} {self.currency}"


class _Prices(BaseModel):
    model_config = ConfigDict(extra="forbid")

    currency: str
    batch: float = Field(ge=0, le=1)
    """What a batch costs, as a share of the price."""
    models: dict[str, Price]


def find_price(model: str, path: Path | None, batch: bool = False) -> Price | None:
    """A model's price; that of the longest name which begins the model's, for a dated version.

    Args:
        model: the model's name.
        path: a file of prices, in place of ours.
        batch: whether it is asked through the Batch API.

    Raises:
        IRLLRecError: the file is not one of prices.
    """
    source = path or files("recbole_irllrec.properties").joinpath("prices.yaml")
    try:
        prices = _Prices.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise IRLLRecError(
            f"{source} is no file of prices ({str(error).splitlines()[0]}): write it as properties/prices.yaml."
        ) from None
    names = [name for name in prices.models if model == name or model.startswith(f"{name}-")]
    if not names:
        return None
    price = prices.models[max(names, key=len)]
    share = prices.batch if batch else 1
    costs = {"input": price.input * share, "output": price.output * share}
    return price.model_copy(update={**costs, "currency": prices.currency})


class LimitReached(Exception):
    """The next request would go beyond a limit; the message says beyond which."""


class Budget:
    """What this run has used, and what it may use."""

    def __init__(self, price: Price | None, max_cost: float | None, max_requests: int | None):
        self.requests = 0
        self.prompt_tokens = 0
        self.answer_tokens = 0
        self.price = price
        self._max_cost = max_cost
        self._max_requests = max_requests
        self._open = [0, 0]  # the most tokens, of prompts and of answers, that requests under way can use
        self._changed = asyncio.Event()

    @property
    def limits_cost(self) -> bool:
        """Whether there is a limit on the cost."""
        return self._max_cost is not None

    @property
    def cost(self) -> float | None:
        """What the answers cost; None where no price is known."""
        return None if self.price is None else self.price.of(self.prompt_tokens, self.answer_tokens)

    def count_request(self) -> None:
        """A request is about to be sent.

        Raises:
            LimitReached: it would be one too many.
        """
        if self._max_requests is not None and self.requests >= self._max_requests:
            raise LimitReached(f"--max-requests {self._max_requests}")
        self.requests += 1

    def try_to_reserve(self, prompt_tokens: int, most_answer_tokens: int) -> bool:
        """Reserve a request if it fits beside those under way, even if all have the longest answers; then `settle`."""
        if self.price is not None and self._max_cost is not None:
            prompts = self.prompt_tokens + self._open[0] + prompt_tokens
            answers = self.answer_tokens + self._open[1] + most_answer_tokens
            if self.price.of(prompts, answers) > self._max_cost:
                return False
        self._open[0] += prompt_tokens
        self._open[1] += most_answer_tokens
        return True

    async def reserve(self, prompt_tokens: int, most_answer_tokens: int) -> None:
        """The same, after those under way have ended if need be.

        Raises:
            LimitReached: it does not fit.
        """
        while not self.try_to_reserve(prompt_tokens, most_answer_tokens):
            if self._open == [0, 0]:
                raise self.cost_limit
            self._changed.clear()
            await self._changed.wait()

    @property
    def cost_limit(self) -> LimitReached:
        """What a request that does not fit ends with."""
        return LimitReached(f"--max-cost {self._max_cost:g}")

    def settle(self, prompt_tokens: int, most_answer_tokens: int, used: tuple[int, int]) -> None:
        """A request that was reserved has ended, and ``used`` so many tokens of prompt and answer."""
        self._open[0] -= prompt_tokens
        self._open[1] -= most_answer_tokens
        self.prompt_tokens += used[0]
        self.answer_tokens += used[1]
        self._changed.set()
