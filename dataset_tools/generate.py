"""From a data set to profiles and intents of its items and users, written by a language model.

Items come first, from their features and training reviews; then users, from their training items and what the model
wrote about these. The answers are in a store (`generation.store`); `texts` hands them on to be embedded.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.text.counting import TokenCounter
from recbole_irllrec.text.endpoint import Endpoint

from .generation.batch import BatchRun
from .generation.budget import Budget, LimitReached, Price, find_price
from .generation.chat import Chat
from .generation.dialect import Kept, kept_dialect
from .generation.inputs import Known, read_known
from .generation.prompts import Prompt, Prompts
from .generation.run import Run
from .generation.schema import intent_text, profile_text
from .generation.store import Store, open_store, open_to_write

if TYPE_CHECKING:
    from recbole.config import Config

TYPICAL_ANSWER_TOKENS = 350  # until a store shows what they are
_TYPICAL_PROFILE = "(what the model will have written about it, in some sentences) " * 3


@dataclass(frozen=True)
class Options:
    """How to generate; the command line's options of the same names say more."""

    model: str
    prompts: str = "general"
    store: Path | None = None
    """The file of answers; None is `<dataset>.answers.sqlite` in the data set's folder."""
    prices: Path | None = None
    context_length: int | None = None
    answer_tokens: int = 1000
    temperature: float | None = 0.0
    tries: int = 3
    seed: int = 0
    liked_from: float = 4.0
    history: int = 20
    reviews: int = 5
    retry_failed: bool = False
    replace: bool = False
    batch: bool = False


@dataclass(frozen=True)
class Limits:
    """How fast, and how far."""

    concurrency: int = 16
    max_cost: float | None = None
    max_requests: int | None = None
    batch_size: int = 20_000
    poll_seconds: float = 60.0


class Estimate(NamedTuple):
    """What one side would take."""

    requests: int
    prompt_tokens: int
    answer_tokens: int
    """As answers usually are."""
    cost: float | None
    """None where no price is known."""
    most_cost: float | None
    """If every answer is as long as --answer-tokens allows; answers that have to be asked for again come on top."""
    price: Price | None
    example: Prompt | None


@dataclass
class Summary:
    """What a run has done."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    """Users and items in the store, by (side, "answered" or "failed")."""
    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cost: float | None = None
    price: Price | None = None
    retries: dict[str, int] = field(default_factory=dict)
    """How often a request was sent again, by reason."""


class Written(NamedTuple):
    """One kind of text of one side, ready to be embedded."""

    tokens: np.ndarray  # [n] str
    texts: np.ndarray  # [n] str
    source: Literal["features", "interactions"]
    train_fingerprint: str | None
    prompt_version: str


def store_path(config: "Config", store: Path | None) -> Path:
    """The store that is meant: the given one, or the data set's own."""
    return store or Path(config["data_path"]) / f"{config['dataset']}.answers.sqlite"


def generate(
    config: "Config", options: Options, endpoint_of: Callable[[], Endpoint], limits: Limits, summary: Summary
) -> None:
    """Ask a language model about every item, then every user, of whom nothing is stored yet.

    Args:
        config: RecBole's settings; they draw the split.
        options: what to ask.
        endpoint_of: makes the endpoint; called once nothing else can be refused.
        limits: how fast and how far.
        summary: is filled in, however the run ends.

    Raises:
        IRLLRecError: something is refused, or a limit is reached; what was answered is stored.
        KeyboardInterrupt: Ctrl-C; likewise.
    """
    price = _price(options)
    if limits.max_cost is not None and price is None:
        raise IRLLRecError(
            f"There is no price of {options.model}, so --max-cost cannot be kept: name a file of prices (--prices)."
        )
    plan = _Plan(config, options, price)
    budget = Budget(price, limits.max_cost, limits.max_requests)
    endpoint = endpoint_of()
    path = store_path(config, options.store)
    made_with = {"model": options.model, "prompts": plan.prompts.version, "train_fingerprint": plan.known.fingerprint}
    with open_to_write(path, dataset=config["dataset"], replace=options.replace, **made_with) as store:
        if not plan.known.item_reviews.empty:
            store.note("items_know", "interactions")
        collected = gc.get_threshold()
        gc.freeze()  # RecBole's data is here to stay; looking it through again and again takes longer than a request
        gc.set_threshold(50_000, *collected[1:])
        try:
            asyncio.run(_run(plan, options, endpoint, limits, budget, store))
        except LimitReached as error:
            raise IRLLRecError(
                f"{error} is reached: what was answered is in {path}; raise the limit to go on."
            ) from None
        finally:
            gc.unfreeze()
            gc.set_threshold(*collected)
            summary.counts = store.counts()
            summary.requests, summary.cost, summary.price = budget.requests, budget.cost, price
            summary.prompt_tokens, summary.answer_tokens = budget.prompt_tokens, budget.answer_tokens
            summary.retries = dict(endpoint.retries)


def estimate(config: "Config", options: Options) -> dict[str, Estimate]:
    """What is still to be asked about items and users, and what it would cost; nothing is sent or changed."""
    price = _price(options)
    plan = _Plan(config, options, price)
    path = store_path(config, options.store)
    if not path.is_file():
        return {side: _estimate(plan, options, price, None, side) for side in ("item", "user")}
    with open_store(path) as store:
        return {side: _estimate(plan, options, price, store, side) for side in ("item", "user")}


def texts(store: Store, side: str, kind: str) -> Written:
    """The stored texts of a side, "user" or "item", and a kind, "profile" or "intent"."""
    text_of = {"profile": profile_text, "intent": intent_text}[kind]
    rows = [(token, text_of(answer)) for token, answer in store.answers(side)]
    if not rows:
        raise IRLLRecError(f"The store {store.path} has no answers about {side}s: run `irllrec intents generate`.")
    interactions = side == "user" or store.about.get("items_know") == "interactions"
    tokens, words = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    return Written(
        tokens,
        words,
        "interactions" if interactions else "features",
        store.about["train_fingerprint"] if interactions else None,
        f"{store.about['prompts']}, {store.about['model']}",
    )


def evidence_outside(store: Store, train: pd.DataFrame, items: np.ndarray) -> pd.DataFrame:
    """Find evidence about users that is an item of the data set, but none of the user's training items.

    Args:
        store: answers.
        train: columns user, item: the training interactions, as tokens.
        items: all items of the data set.

    Returns:
        Columns user, intent, evidence.
    """
    said = [
        (token, one.intent, evidence)
        for token, answer in store.answers("user")
        for one in (*answer.likes, *answer.dislikes)
        for evidence in one.evidence
    ]
    found = pd.DataFrame(said, columns=["user", "intent", "evidence"], dtype=object)
    found["item"] = found["evidence"].str.strip().str.removeprefix("[").str.removesuffix("]")
    found = found[found["item"].isin(items)]
    pairs = train.drop_duplicates().assign(_read=True)
    found = found.merge(pairs, how="left", on=["user", "item"])
    return found.loc[found["_read"].isna(), ["user", "intent", "evidence"]].reset_index(drop=True)


class _Plan:
    """A data set's prompts."""

    def __init__(self, config: "Config", options: Options, price: Price | None):
        context = options.context_length or (price and price.context_length)
        if not context:
            raise IRLLRecError(
                f"How many tokens the model {options.model} reads is not known: give it with --context-length."
            )
        self.counter = TokenCounter(options.model)
        self.prompts = Prompts(options.prompts, options.model, self.counter, context, options.answer_tokens)
        self.known: Known = read_known(
            config,
            seed=options.seed,
            liked_from=options.liked_from,
            most_history=options.history,
            most_reviews=options.reviews,
        )

    def write(self, side: str, profiles_of: Callable) -> Iterator[Prompt]:
        """The prompts of a side, each written when its turn comes."""
        if side == "item":
            return map(self.prompts.for_item, self.known.items())
        return map(self.prompts.for_user, self.known.users(profiles_of))

    def tokens(self, side: str) -> pd.Index:
        """The users or items of the data set."""
        return (self.known.item_features if side == "item" else self.known.user_features).index


async def _run(plan: _Plan, options: Options, endpoint: Endpoint, limits: Limits, budget: Budget, store: Store) -> None:
    server = f"{options.model} at {endpoint.url}"
    chat = Chat(
        endpoint,
        options.model,
        budget,
        answer_tokens=options.answer_tokens,
        temperature=options.temperature,
        tries=options.tries,
        count=plan.counter.count,
        dialect=None if options.replace else kept_dialect(store.about.get("dialect"), server),
        keep=lambda dialect: store.note("dialect", Kept(server=server, dialect=dialect).model_dump_json()),
    )
    run = Run(chat, endpoint, budget, store, limits.concurrency, options.retry_failed)
    batches = BatchRun(run, chat, endpoint, budget, store, size=limits.batch_size, poll_seconds=limits.poll_seconds)
    try:
        for side in ("item", "user"):
            tokens = plan.tokens(side)
            store.keep_only(side, tokens.tolist())

            def prompts(side: str = side) -> Iterator[Prompt]:
                return plan.write(side, store.profiles)

            if options.batch:
                await batches.answer(prompts, len(tokens), f"{side}s")
            else:
                await run.answer(prompts(), len(tokens), f"{side}s")
    finally:
        await endpoint.close()


def _estimate(plan: _Plan, options: Options, price: Price | None, store: Store | None, side: str) -> Estimate:
    usual = (store and store.mean_answer_tokens()) or TYPICAL_ANSWER_TOKENS

    def profiles_of(tokens: list[str]) -> dict[str, str]:
        written = store.profiles(tokens) if store else {}
        return dict.fromkeys(tokens, _TYPICAL_PROFILE) | written

    requests, prompt_tokens, example = 0, 0, None
    prompts = plan.write(side, profiles_of)
    for prompt in tqdm(prompts, total=len(plan.tokens(side)), desc=f"{side}s", unit="", disable=None):
        state = store.state(prompt.key) if store else None
        if state == "answered" or (state == "failed" and not options.retry_failed):
            continue
        example = example or prompt
        requests += 1
        prompt_tokens += prompt.tokens
    usually, most = round(requests * usual), requests * options.answer_tokens
    cost, most_cost = (price.of(prompt_tokens, tokens) if price else None for tokens in (usually, most))
    return Estimate(requests, prompt_tokens, usually, cost, most_cost, price, example)


def _price(options: Options) -> Price | None:
    price = find_price(options.model, options.prices, options.batch)
    if price is None:
        logging.getLogger(__name__).info(f"There is no price of the model {options.model}; a file of yours: --prices.")
    return price
