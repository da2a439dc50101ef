"""``irllrec intents generate``: a language model writes the texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands import command
from .log import log_to_stderr
from .options import ConfigFiles, DataPath, Dataset, Store

if TYPE_CHECKING:
    from recbole_irllrec.dataset_tools.generate import Options, Summary
    from recbole_irllrec.dataset_tools.generation.budget import Price

_THEN = """\
Without --dry-run, which says what it would cost, the model is asked; --max-requests 20 tries it on twenty.
The key is read from the environment variable OPENAI_API_KEY and nowhere kept.
A server of your own: --base-url http://localhost:8000/v1 --model qwen3 --context-length 32768.
docs/intents.md tells the whole story.
"""
_LLM, _WHAT, _PRICE, _PACE, _BATCH = "Language model", "What is asked", "Price", "Pace", "Batches"


def add_command(app: typer.Typer) -> None:
    """Add the command to ``irllrec intents``."""
    example = "irllrec intents generate ml-100k --model gpt-4o-mini --prompts films --dry-run"
    command(app, example, then=_THEN)(generate)


def _option(text: str, panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


def generate(
    dataset: Dataset,
    model: Annotated[str, _option("Its name, as its server knows it.", _LLM)],
    base_url: Annotated[
        str | None,
        _option("Address of an OpenAI-compatible server; without it, OpenAI.", _LLM, show_default=False),
    ] = None,
    prompts: Annotated[
        str, _option("Prompts: books, films, places, general, or a file of your own.", _WHAT)
    ] = "general",
    store: Store = None,
    dry_run: Annotated[bool, _option("Send nothing; say what it would ask and cost.", _PRICE, "--dry-run")] = False,
    max_cost: Annotated[
        float | None, _option("Stop before the answers of this run cost more.", _PRICE, min=0, show_default=False)
    ] = None,
    max_requests: Annotated[
        int | None, _option("Stop before this run sends more requests.", _PRICE, min=0, show_default=False)
    ] = None,
    prices: Annotated[
        Path | None,
        _option(
            "Your own file of prices, of the form of properties/prices.yaml.",
            _PRICE,
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    liked_from: Annotated[float, _option("The lowest rating of an item that the user liked.", _WHAT)] = 4.0,
    history: Annotated[int, _option("At most so many training items in a user's prompt.", _WHAT, min=1)] = 20,
    reviews: Annotated[int, _option("At most so many training reviews in an item's prompt.", _WHAT, min=0)] = 5,
    seed: Annotated[int, _option("Seed of both samples.", _WHAT, min=0)] = 0,
    context_length: Annotated[
        int | None,
        _option(
            "Tokens that the model reads and writes together; has to be given where no file of prices says it.",
            _WHAT,
            min=1,
            show_default=False,
        ),
    ] = None,
    answer_tokens: Annotated[int, _option("The longest answer in tokens, hidden reasoning too.", _WHAT, min=1)] = 1000,
    temperature: Annotated[float, _option("The model's temperature.", _WHAT, min=0)] = 0.0,
    tries: Annotated[
        int, _option("Ask so often until an answer is valid, then note that it failed.", _WHAT, min=1)
    ] = 3,
    retry_failed: Annotated[bool, _option("Ask again what has failed before.", _WHAT, "--retry-failed")] = False,
    replace: Annotated[
        bool,
        _option("Go on with a store of another model, prompts or training interactions.", _WHAT, "--replace"),
    ] = False,
    concurrency: Annotated[int, _option("Requests under way at the same time.", _PACE, min=1)] = 16,
    requests_per_minute: Annotated[
        float | None, _option("The most requests a minute.", _PACE, min=0.01, show_default=False)
    ] = None,
    tokens_per_minute: Annotated[
        float | None,
        _option("The most tokens a minute, of prompts and of the longest answers.", _PACE, min=1, show_default=False),
    ] = None,
    timeout: Annotated[float, _option("Seconds to wait for an answer.", _PACE, min=0.1)] = 300.0,
    batch: Annotated[bool, _option("Use OpenAI's Batch API: half the price, within a day.", _BATCH, "--batch")] = False,
    batch_size: Annotated[int, _option("Requests in a batch.", _BATCH, min=1, max=50_000)] = 20_000,
    poll: Annotated[float, _option("Seconds between two looks at a batch.", _BATCH, min=0.01)] = 60.0,
    data_path: DataPath = None,
    config_files: ConfigFiles = None,
) -> None:
    """Let a language model write profiles and intents: of items, then of users.

    Only training interactions and their reviews go into prompts. Answers are stored the moment they arrive; run again,
    the command goes on where it stopped.
    """
    from recbole_irllrec.dataset_tools.generate import Limits, Options, Summary, estimate, store_path
    from recbole_irllrec.dataset_tools.generate import generate as run

    from ..data.loading import load_config
    from ..text.endpoint import Endpoint

    options = Options(
        model=model,
        prompts=prompts,
        store=store,
        prices=prices,
        context_length=context_length,
        answer_tokens=answer_tokens,
        temperature=temperature,
        tries=tries,
        seed=seed,
        liked_from=liked_from,
        history=history,
        reviews=reviews,
        retry_failed=retry_failed,
        replace=replace,
        batch=batch,
    )
    with log_to_stderr():
        config = load_config(dataset, data_path, config_files)
        if dry_run:
            _print_estimate(estimate(config, options), options)
            return
        summary = Summary()
        limits = Limits(
            concurrency=concurrency,
            max_cost=max_cost,
            max_requests=max_requests,
            batch_size=batch_size,
            poll_seconds=poll,
        )

        def endpoint() -> Endpoint:
            return Endpoint(
                base_url,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                timeout=timeout,
            )

        try:
            run(config, options, endpoint, limits, summary)
        finally:
            if summary.counts or summary.requests:
                _print_summary(summary, store_path(config, store))


def _print_estimate(sides: dict, options: "Options") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for side, one in sides.items():
        if one.example:
            console.rule(Text(f"the first {side} prompt: {one.example.token}, {one.example.tokens} tokens"))
            console.print(one.example.system, one.example.user, sep="\n", markup=False, highlight=False)
    table = Table(
        title=f"To be asked of {options.model}",
        caption="An estimate; answers that have to be asked for "
        "again come on top. 'At most' is with answers as long as --answer-tokens allows.",
    )
    for name in ("", "requests", "prompt tokens", "answer tokens", "cost", "at most"):
        table.add_column(name, justify="right" if name else "left")
    for side, one in sides.items():
        table.add_row(
            f"{side}s",
            f"{one.requests:,}",
            f"{one.prompt_tokens:,}",
            f"{one.answer_tokens:,}",
            _money(one.cost, one.price),
            _money(one.most_cost, one.price),
        )
    all_of = list(sides.values())
    table.add_section()
    table.add_row(
        "all",
        *(f"{sum(getattr(one, name) for one in all_of):,}" for name in ("requests", "prompt_tokens", "answer_tokens")),
        *(
            _money(None if all_of[0].cost is None else sum(getattr(one, name) for one in all_of), all_of[0].price)
            for name in ("cost", "most_cost")
        ),
    )
    console.print(table)


def _print_summary(summary: "Summary", path: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"Answers in {path}"))
    for name in ("", "answered", "failed"):
        table.add_column(name, justify="right" if name else "left")
    for side in ("item", "user"):
        table.add_row(f"{side}s", *(f"{summary.counts.get((side, state), 0):,}" for state in ("answered", "failed")))
    console = Console()
    console.print(table)
    console.print(
        f"This run: {summary.requests:,} requests, {summary.prompt_tokens:,} prompt tokens, "
        f"{summary.answer_tokens:,} answer tokens, {_money(summary.cost, summary.price)}."
    )
    if summary.retries:
        console.print("Sent again: " + ", ".join(f"{n:,} after {why}" for why, n in sorted(summary.retries.items())))
    if any(state == "failed" for _, state in summary.counts):
        console.print("Ask again what failed with --retry-failed; `irllrec intents show` says why.")


def _money(amount: float | None, price: "Price | None") -> str:
    return "unknown" if amount is None or price is None else price.told(amount)
