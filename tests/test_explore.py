"""`irllrec explore`: what the page tells of a trained model, and what it does in a browser."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import command
import numpy as np
import pandas as pd
import pytest
import torch
from browser import look_at, tab
from recbole_irllrec.dataset_tools.generation.schema import Answer
from recbole_irllrec.dataset_tools.generation.store import Result, open_to_write
from text_files import ITEMS, TRAIN, VALID, fingerprint, write_dataset
from trained import NO_TEXT, SETTINGS, train

from recbole_irllrec.data.intents import IntentTable
from recbole_irllrec.explore import explore, write_page
from recbole_irllrec.likeness import Likeness
from recbole_irllrec.phrases import meeting, told
from recbole_irllrec.serving import serve

HOSTILE = [
    '<img src=x onerror="document.title=1">',
    "</script><script>document.title=2</script>",
    "<!--<script>",
    "&lt;b&gt;",
]


def records_of(page: Path) -> dict:
    """The data that stand in a page."""
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(text)


def made_up(n_users: int, n_items: int, n_history: int, k: int = 20, titles=()) -> dict:
    """Records of a page as `explore` returns them, with texts as long as they may be."""
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz    ")

    def text(n: int) -> str:
        return "".join(rng.choice(letters, n)).strip()

    phrases = [text(35) for _ in range(5 * n_items)]

    def some(n: int) -> list[int]:
        return rng.integers(len(phrases), size=n).tolist()

    def items(n: int) -> list[int]:
        return rng.choice(n_items, n, replace=False).tolist()

    def wishes(n: int) -> list:
        return [(phrase, items(3)) for phrase in some(n)]

    return {
        "model": "M",
        "dataset": "d",
        "k": k,
        "by_vectors": True,
        "n_users": n_users,
        "n_items": n_items,
        "phrases": phrases,
        "users": [
            {
                "id": f"u{n}",
                "about": text(60),
                "profile": text(400),
                "likes": wishes(12),
                "dislikes": wishes(6),
                "best": [(item, 0.1234, *some(2), items(1)[0], 0.56) for item in items(k)],
                "popular": items(k),
                "n_history": n_history,
                "history": items(n_history),
            }
            for n in range(n_users)
        ],
        "items": [
            {
                "id": f"i{n}",
                "title": titles[n] if n < len(titles) else text(40),
                "about": text(200),
                "profile": text(250),
                "likes": some(5),
                "dislikes": some(3),
                "n": n,
                "near": [(item, 0.5) for item in items(10)],
            }
            for n in range(n_items)
        ],
    }


# ---- what is told ----------------------------------------------------------------------------------------------------


@pytest.fixture
def bpr(tmp_path):
    """A model on "tiny"; a folder that its tables can be written to."""
    own = write_dataset(tmp_path / "dataset", train=[*TRAIN, ("u4", "i5")])
    parts = {"benchmark_filename": ["train", "valid", "test"], "topk": 2, "valid_metric": "MRR@2"}
    return serve(train(tmp_path, "BPR", "tiny", **parts)), own


def test_a_model_without_texts_or_vectors(trained, small):
    served = trained.served("BPR")
    users = np.arange(1, 11)
    found = explore(served, users, k=7)
    assert found["by_vectors"] is False and found["phrases"] == [] and len(found["users"]) == 10
    has = served.train_items.toarray() > 0
    taken = served.known_items.toarray() > 0
    place = {item["id"]: n for n, item in enumerate(found["items"])}
    where = np.array([place.get(token, -1) for token in served.item_tokens])  # of ids among the page's items
    scores = served.score(torch.as_tensor(users)).numpy()
    ids = np.array([list(served.item_tokens).index(item["id"]) for item in found["items"]])
    shared = has.T.astype(float) @ has
    cosines = shared / np.sqrt(np.maximum(np.outer(shared.diagonal(), shared.diagonal()), 1))
    by_count = sorted(range(1, len(has.T)), key=lambda item: (-has[:, item].sum(), served.item_tokens[item]))
    for user, record in zip(users, found["users"], strict=True):
        order = [item for item in np.argsort(-scores[user - 1]) if item and not taken[user, item]][:7]
        assert [row[0] for row in record["best"]] == where[order].tolist()
        assert record["popular"] == where[[item for item in by_count if not taken[user, item]][:7]].tolist()
        read = [place if place >= 0 else ~place for place in record["history"]]
        assert sorted(ids[read]) == np.flatnonzero(has[user]).tolist() and record["n_history"] == len(read)
        for item, _score, wish, offer, like, cosine in record["best"]:
            assert (wish, offer) == (-1, -1)
            its = cosines[ids[item], has[user]]
            assert cosine == round(its.max(), 2) and (like < 0 or cosines[ids[item], ids[like]] == its.max())
    for item, own in zip(found["items"], ids, strict=True):
        others = np.sort(np.delete(cosines[own, ids], item["id"] == np.array([o["id"] for o in found["items"]])))[::-1]
        assert [cosine for _, cosine in item["near"]] == [round(c, 2) for c in others[:10] if round(c, 2) > 0]
        assert item["n"] == has[:, own].sum()
    titles = dict(row.split("\t")[:2] for row in Path(small["data_path"], "small/small.item").read_text().splitlines())
    assert all(item["title"] == titles[item["id"]] for item in found["items"])
    assert all(item["about"].startswith("class: kind ") for item in found["items"])


def test_the_latest_comes_first_and_what_was_rated_low_is_marked(tmp_path, small):
    columns = ["user_id", "item_id", "rating", "timestamp"]
    served = serve(train(tmp_path, "BPR", "small", **SETTINGS, **small, load_col={"inter": columns}))
    found = explore(served, np.arange(1, 9), k=1)
    rows = pd.DataFrame({name: served.train.inter_feat[name].numpy() for name in columns})
    liked = rows["rating"] >= rows["rating"].mean()
    rows = rows.assign(liked=liked).sort_values("timestamp", ascending=False)
    for user, record in enumerate(found["users"], start=1):
        own = rows[rows["user_id"] == user]
        read = [(found["items"][n if n >= 0 else ~n]["id"], n >= 0) for n in record["history"]]
        assert read == list(zip(served.item_tokens[own["item_id"]], own["liked"], strict=True))
    assert {n >= 0 for user in found["users"] for n in user["history"]} == {True, False}


def test_a_users_share_of_vectors_is_compared_and_popularity_is_not(trained):
    served = trained.served("IRLLRec", item_bias=True)
    users, items = served.vectors
    assert items[1:, -1].abs().max() > 0 and (users[1:, -1] == 1).all()
    items = torch.nn.functional.normalize(items[1:, :-1], dim=1).numpy()
    likeness = Likeness(served)
    ids = np.arange(1, len(items) + 1)
    np.testing.assert_allclose(likeness.between(ids, ids), items @ items.T, atol=1e-5)
    places, cosines = likeness.nearest(ids, 3)
    expected = np.sort(items @ items.T - 9 * np.eye(len(items)), axis=1)[:, :-4:-1]
    np.testing.assert_allclose(cosines, expected, atol=1e-5)
    assert likeness.by_vectors and not (places == np.arange(len(ids))[:, None]).any()


def test_phrases_meet_by_their_words():
    wishes = [
        ("u1", True, "quiet films about trains"),
        ("u1", True, "loud battles"),
        ("u1", False, "songs in the night"),
    ]
    offers = [("i1", True, "trains in the night"), ("i1", True, "a love story"), ("i2", True, "songs in the night")]
    offers += [("i3", True, "loud battles"), ("i3", False, "quiet films about trains"), ("i4", True, "of the")]
    told_of = [pd.DataFrame(rows, columns=["token", "likes", "phrase"]) for rows in (wishes, offers)]
    pairs = pd.DataFrame({"user": ["u1"] * 4 + ["u2"], "item": ["i1", "i2", "i3", "i4", "i1"]}, index=[5, 6, 7, 8, 9])
    found = meeting(*told_of, pairs)
    assert found.to_dict("index") == {
        5: {"wish": "quiet films about trains", "offer": "trains in the night"},
        7: {"wish": "loud battles", "offer": "loud battles"},
    }


def test_a_language_models_answers_come_first(bpr):
    served, own = bpr
    answers = {
        ("item", "i4"): Answer(
            reasoning="r", profile="A moon.", likes=[{"intent": "yellow light", "evidence": ["title"]}], dislikes=[]
        ),
        ("user", "u1"): Answer(
            reasoning="r",
            profile="Looks at the sky.",
            likes=[{"intent": "warm yellow light", "evidence": ["[i1]", "so bright!"]}],
            dislikes=[{"intent": "rain", "evidence": ["i2"]}],
        ),
    }
    about = {"dataset": "tiny", "model": "m", "prompts": "p", "replace": True}
    store = own / "tiny.answers.sqlite"
    for trained_on in ([*TRAIN, *VALID], [*TRAIN, ("u4", "i5")]):
        with open_to_write(store, **about, train_fingerprint=fingerprint(trained_on)) as opened:
            for (side, token), answer in answers.items():
                opened.record(Prompted(f"{side}{token}{len(trained_on)}", side, token), Result(answer, None, 1, 1, 1))
        users = np.array([list(served.user_tokens).index(token) for token in ("u1", "u3")])
        found = explore(served, users, k=9)
        if trained_on != [*TRAIN, ("u4", "i5")]:
            assert found["phrases"] == []  # what knows other interactions is left out
    user, other = found["users"]
    assert other["likes"] == other["dislikes"] == []
    items, phrases = found["items"], found["phrases"]
    assert user["profile"] == "Looks at the sky."
    ((liked, (first, quote)),) = user["likes"]
    ((disliked, (second,)),) = user["dislikes"]
    assert (phrases[liked], items[first]["id"], quote) == ("warm yellow light", "i1", "so bright!")
    assert (phrases[disliked], items[second]["id"]) == ("rain", "i2")
    (moon,) = [item for item in items if item["id"] == "i4"]
    assert moon["profile"] == "A moon." and [phrases[n] for n in moon["likes"]] == ["yellow light"]


class Prompted:
    """What a store asks of a prompt."""

    def __init__(self, key, side, token):
        self.key, self.side, self.token = key, side, token


def test_tables_say_what_a_language_model_wrote(bpr):
    served, own = bpr
    said = [
        "likes: red; old barns; dislikes: rain",
        "Likes: old barns; hills. Dislikes: mud.",
        "Dislikes: mud.",
        "no form",
    ]
    table = {"encoder": "e", "source": "features"}
    IntentTable.from_arrays(list(ITEMS), np.eye(4, 2) + 1, said, **table).write(own / "tiny.item_intent.parquet")
    about = [f"about {item}" for item in ITEMS]
    IntentTable.from_arrays(list(ITEMS), np.eye(4, 2) + 1, about, **table).write(own / "tiny.item_profile.parquet")
    likes = ["Likes: old barns; silence. Dislikes: mud."]
    IntentTable.from_arrays(["u2"], np.ones((1, 2)), likes, **table).write(own / "tiny.user_intent.parquet")
    found = told(served, np.array(["u2", "u1"], object))
    rows = list(found.item.itertuples(index=False, name=None))
    assert sorted(rows) == [
        ("i1", False, "rain"),
        ("i1", True, "old barns"),
        ("i1", True, "red"),
        ("i2", False, "mud"),
        ("i2", True, "hills"),
        ("i2", True, "old barns"),
        ("i3", False, "mud"),
    ]
    evidence = found.user.set_index("phrase")["evidence"].to_dict()  # u2 has i2 and i3, without ratings: liked
    assert evidence == {"old barns": [("i2", True)], "silence": [], "mud": []}
    assert found.profiles["item"].to_dict() == dict(zip(ITEMS, about, strict=True))


def test_what_comes_with_the_package(tmp_path):
    """Of ml-100k's films: Toy Story, GoldenEye and others."""
    films = ["1", "2", "50", "181", "172"]
    pairs = [("a", "1"), ("a", "50"), ("b", "50"), ("b", "181"), ("c", "2"), ("c", "172"), ("d", "1")]
    write_dataset(tmp_path / "dataset", train=pairs, valid=[("b", "1")], test=[("c", "1")], item=None, user=None)
    for file in (tmp_path / "dataset/tiny").iterdir():
        folder = tmp_path / "dataset/ml-100k-five"
        folder.mkdir(exist_ok=True)
        shutil.copy(file, folder / file.name.replace("tiny", "ml-100k-five"))
    parts = {"benchmark_filename": ["train", "valid", "test"], "topk": 2, "valid_metric": "MRR@2"}
    served = serve(train(tmp_path, "BPR", "ml-100k-five", **parts))
    found = explore(served, np.arange(1, 5), k=5)
    assert {item["id"] for item in found["items"]} == set(films)
    star_wars = next(item for item in found["items"] if item["id"] == "50")
    assert star_wars["title"] == "50" and "mythic space opera adventure" in [
        found["phrases"][n] for n in star_wars["likes"]
    ]
    of = {user["id"]: user for user in found["users"]}
    for phrase, evidence in of["b"]["likes"]:
        its = [found["items"][n] for n in evidence]
        assert its and all(phrase in item["likes"] and item["id"] in ("50", "181") for item in its)
    reasons = [
        (
            found["phrases"][wish],
            found["phrases"][offer],
            wish in dict(user["likes"]),
            offer in found["items"][item]["likes"],
        )
        for user in found["users"]
        for item, _score, wish, offer, *_ in user["best"]
        if wish >= 0
    ]
    assert reasons and all(of_user and of_item for *_, of_user, of_item in reasons)


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explored(tmp_path_factory, trained) -> Path:
    """The folder in which the example of the help has run, and `recommend` for the same users."""
    folder = tmp_path_factory.mktemp("explored")
    (folder / "saved").mkdir()
    shutil.copy(trained.checkpoint("IRLLRec"), folder / "saved" / "IRLLRec.pth")
    said = " ".join(command.run("explore", "--help").stdout.split())
    (example,) = re.findall(r"Example: irllrec (explore .*?)\s*$", said)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert "50 users, " in command.run(*example.split()).stdout
        (folder / "users.txt").write_text("\n".join(user["id"] for user in records_of(folder / "page.html")["users"]))
        command.run("recommend", "saved/IRLLRec.pth", "--users", "users.txt", "--out", "best.csv")
    return folder


def test_the_same_recommendations_as_the_other_command(explored):
    found = records_of(explored / "page.html")
    best = pd.read_csv(explored / "best.csv", dtype={"user": str, "item": str})
    mine = [(user["id"], found["items"][row[0]]["id"]) for user in found["users"] for row in user["best"]]
    assert mine == list(zip(best["user"], best["item"], strict=True)) and len(mine) == 50 * 20


def test_only_these_users(explored, small):
    Path("users.txt").write_text("u19\nu3\n")
    page = ("explore", explored / "saved/IRLLRec.pth", "--users", "users.txt", "--out", "two.html", "-k", 3)
    assert "2 users, " in command.run(*page, "--title-field", "class").stdout
    found = records_of(Path("two.html"))
    assert [user["id"] for user in found["users"]] == ["u19", "u3"] and found["k"] == 3
    assert all(item["title"].startswith("kind ") for item in found["items"])


def test_what_is_refused(explored, capsys):
    checkpoint = explored / "saved/IRLLRec.pth"
    for options, words in (
        ([checkpoint, "--out", "page.txt"], "page.txt: name a file that ends in .html"),
        ([checkpoint, "--users", "0"], "--users is 0"),
        ([checkpoint, "--users", "nobody.txt"], "nobody.txt"),
        (["nothing.pth"], "nothing.pth cannot be opened"),
        ([checkpoint, "--title-field", "movie"], "columns of words, title, class, where --title-field names movie"),
    ):
        assert words in command.refusal(capsys, "explore", *options)
    Path("users.txt").write_text("u19\nnobody\n")
    assert "first 'nobody'" in command.refusal(capsys, "explore", checkpoint, "--users", "users.txt")
    assert not Path("page.html").exists()


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def window():
    with tab() as opened:
        yield opened


def shown(window, selector: str) -> list[str]:
    return window.value(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)")


def test_it_asks_nobody_for_anything(explored):
    seen = look_at(explored / "page.html")
    assert seen.requests == [] and seen.console == [] and "Who is recommended what" in seen.dom


def test_a_user_is_found_with_the_keyboard(window, explored):
    address = (explored / "page.html").as_uri()
    best = pd.read_csv(explored / "best.csv", dtype={"user": str, "item": str})
    user = max(best["user"], key=len)  # which is in no other's id
    window.requests.clear()
    window.open(address)
    window.press("Tab", "Tab", "Tab", user)
    assert window.value("document.activeElement.id") == "search" and "match" in shown(window, "#found")[0]
    window.press("Enter")
    assert shown(window, "h2") == [f"User {user}"] and window.value("document.activeElement.id") == "main"
    links = window.value("[...document.querySelectorAll('.best .head a')].map((e) => e.getAttribute('href'))")
    assert [unquote(link.removeprefix("#item/")) for link in links] == best.loc[best["user"] == user, "item"].tolist()
    assert len(shown(window, ".best > li")) == 20 and all("Resembles" in row for row in shown(window, ".best > li"))
    # an item, by the arrows, and back
    (item,) = [item for item in records_of(explored / "page.html")["items"] if item["id"] == "i7"]
    window.value("document.getElementById('search').focus()")
    window.press("i7", "ArrowDown", "ArrowDown", "ArrowUp", "Enter")
    assert window.value("location.hash") == "#item/i7" and shown(window, "h2") == [item["title"]]
    assert len(shown(window, "section:first-child ol li")) == len(item["near"])
    window.value("document.getElementById('search').focus()")
    window.press("u", "Escape")
    assert window.value("document.getElementById('search').value") == "" and shown(window, "#results a") == []
    window.value("history.back()")
    window.press()
    assert shown(window, "h2") == [f"User {user}"] and window.value("document.title").startswith(f"User {user}")
    assert set(window.requests) == {address} and window.console == []


def test_hostile_texts_are_texts(window):
    made = made_up(3, 40, 10, titles=HOSTILE)
    made["users"][0] |= {
        "id": HOSTILE[1],
        "about": HOSTILE[0],
        "profile": HOSTILE[1],
        "likes": [(0, [0, 1, HOSTILE[0]])],
    }
    made["users"][0]["history"] = [0, 1, ~2, 3]
    made["users"][0]["best"][:2] = [[4, 0.5, 0, 0, 2, 0.5], [5, 0.5, -1, -1, 3, 0.5]]
    made["phrases"][0] = HOSTILE[1]
    made["dataset"] = HOSTILE[0]
    write_page("hostile.html", made)
    window.open(Path("hostile.html").absolute().as_uri())
    window.value("document.getElementById('search').focus()")
    window.press(HOSTILE[1][:20], "Enter")
    assert shown(window, "h2") == [f"User {HOSTILE[1]}"]
    for text in (*HOSTILE[:2], HOSTILE[3]):
        assert text in window.value("document.body.innerText")
    low, plain = shown(window, ".best > li")[:2]
    assert low.endswith("(0.50), which was rated low.") and f"Likes {HOSTILE[1]}, which is said of it" in low
    assert plain.endswith("(0.50).") and "Likes" not in plain
    assert window.value("document.querySelectorAll('main img, main script, h1 img').length") == 0
    assert window.value("document.title") == f"User {HOSTILE[1]} - M on {HOSTILE[0]}" and window.console == []
    window.open(Path("hostile.html").absolute().as_uri() + "#user/nobody%")
    assert shown(window, "h2") == ["Who is recommended what, and why"] and window.console == []


def test_nothing_of_the_page_may_run_but_its_own_script(window):
    write_page("page.html", made_up(1, 30, 3))
    page = Path("page.html").read_text().replace("</body>", "<script>document.title = 'other'</script></body>")
    Path("changed.html").write_text(page)
    window.open(Path("changed.html").absolute().as_uri())
    assert window.value("document.title") == "M on d" and "Content Security Policy" in window.console[0]
    window.console.clear()


LUMINANCE = """
((selectors) => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => numbers(color).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return numbers(color)[3] === 0 && element.parentElement ? behind(element.parentElement) : color;
  };
  return selectors.map((selector) => {
    const element = document.querySelector(selector);
    const two = [getComputedStyle(element).color, behind(element)].map(luminance).sort();
    return (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05);
  });
})
"""


@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_read_in_the_dark_and_on_a_telephone(window, dark):
    made = made_up(5, 60, 30, titles=["x" * 90])
    made["users"][0] |= {"history": [~0, 1, 2], "best": [(0, 0.5, 1, 2, 1, 0.5), *made["users"][0]["best"]]}
    made["users"][0]["popular"][0] = 0
    write_page("page.html", made)
    window.is_dark(dark)
    selectors = ["h2", "main p", ".best a", ".best .quiet", ".tag", ".wish", ".low", ".phrases > li", ".phrases a"]
    backs = []
    for width in (360, 1280):
        window.is_wide(width)
        for page in ("", "#user/u0", "#item/i0"):
            window.open(Path("page.html").absolute().as_uri() + page)
            assert window.value("document.documentElement.scrollWidth") <= width
            if "user" in page:
                contrast = window.value(f"{LUMINANCE}({json.dumps([*selectors, 'footer p', 'label', '#search'])})")
                assert min(contrast) >= 4.5, dict(zip(selectors, contrast, strict=False))
            backs.append(window.value("getComputedStyle(document.body).backgroundColor"))
    assert len(set(backs)) == 1 and (backs[0] == "rgb(20, 23, 28)") == dark and window.console == []


def test_a_thousand_users_are_less_than_ten_megabytes(window):
    write_page("large.html", made_up(1000, 4000, 200))
    assert Path("large.html").stat().st_size < 10e6
    window.open(Path("large.html").absolute().as_uri())
    window.value("document.getElementById('search').focus()")
    window.press("u999", "Enter")
    assert shown(window, "h2") == ["User u999"] and len(shown(window, ".best > li")) == 20


def test_checkpoints_without_texts_have_a_page(trained):
    checkpoint = trained.checkpoint("IRLLRec", **NO_TEXT)
    command.run("explore", checkpoint, "--users", "3", "--out", "page.html", "-k", 2)
    found = records_of(Path("page.html"))
    assert found["by_vectors"] and all(row[4] >= 0 for user in found["users"] for row in user["best"])
