"""What profiles and intents of 10,000 users and 10,000 items cost, if prompts are as long as on ml-100k.

    python benchmarks/cost.py

Nothing is sent. Tokens are counted as `irllrec intents generate --dry-run` counts them: with the model's vocabulary, or
rather too many without it.
"""

from recbole_irllrec.dataset_tools.generate import Options, estimate
from rich.console import Console
from rich.table import Table

from recbole_irllrec.data.loading import load_config

MODELS = ("gpt-4o-mini", "gpt-4.1-mini", "gpt-5-mini")
N = 10_000


def main() -> None:
    table = Table(title="10,000 users and 10,000 items, in US dollars")
    for name in ("model", "tokens a user prompt", "an item prompt", "an answer", "users", "items", "all", "in batches"):
        table.add_column(name, justify="left" if name == "model" else "right")
    config = load_config("ml-100k")
    for model in MODELS:
        sides = estimate(config, Options(model=model, prompts="films"))
        users, items = (sides[side].cost / sides[side].requests * N for side in ("user", "item"))
        lengths = (sides[side].prompt_tokens / sides[side].requests for side in ("user", "item"))
        answer = sides["user"].answer_tokens / sides["user"].requests
        money = (users, items, users + items, (users + items) / 2)
        table.add_row(model, *(f"{n:,.0f}" for n in (*lengths, answer)), *(f"{one:.2f}" for one in money))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
