"""What a model wrote is found in what a server sent, whatever stands around it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole_irllrec.dataset_tools.generation.completion import completion_in
from recbole_irllrec.dataset_tools.generation.schema import Answer, InvalidAnswer, read_answer

from recbole_irllrec.text.endpoint import Failed, said_in

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
INTENTS = st.lists(
    st.fixed_dictionaries({"intent": WORDS, "evidence": st.lists(WORDS, min_size=1, max_size=2)}), max_size=2
)
ANSWERS = st.fixed_dictionaries({"reasoning": WORDS, "profile": WORDS, "likes": INTENTS, "dislikes": INTENTS}).filter(
    lambda answer: answer["likes"] or answer["dislikes"]
)
TAGS = st.sampled_from(
    [
        ("<think>", "</think>"),
        ("<thinking>", "</thinking>"),
        ("<Thought>", "</Thought>"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "◁/think▷"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ]
)
# Braces, quotes, fences and pieces of JSON, but no tag of thinking.
PIECES = st.sampled_from(
    ["{", "}", '"', "\\", ":", ",", "[", "]", "\n", "```json\n", "```", "{x}", '{"a": 1}', '{"reasoning": "', "{}", "a"]
)
PROSE = st.lists(PIECES, max_size=12).map("".join) | st.text("ab {}\"\\:,'", max_size=12)
# What follows an object must not put it into a larger one of the form; what precedes it may do so even less.
DRAFT = {"reasoning": "r", "profile": "a draft", "likes": [{"intent": "i", "evidence": ["e"]}], "dislikes": []}


def equal(answer: dict) -> Answer:
    return Answer.model_validate(answer)


@settings(max_examples=60)
@given(ANSWERS, PROSE, PROSE, st.sampled_from([None, 2]))
def test_an_object_with_any_prose_around_it_comes_out_equal(answer, before, after, indent):
    text = before + json.dumps(answer, indent=indent, ensure_ascii=indent is None) + after
    assert read_answer(text) == equal(answer)


@settings(max_examples=60)
@given(ANSWERS, TAGS, PROSE, PROSE, PROSE, st.booleans(), st.booleans())
def test_a_draft_in_the_thinking_never_wins(answer, tags, before, between, after, is_opened, has_answer):
    begin, end = tags
    thinking = (begin if is_opened else "") + before + json.dumps(DRAFT) + between + end
    if has_answer:
        assert read_answer(thinking + json.dumps(answer) + after) == equal(answer)
    else:
        with pytest.raises(InvalidAnswer):
            read_answer(thinking + after)


@settings(max_examples=60)
@given(PROSE, TAGS)
def test_thinking_that_does_not_end_holds_no_answer(prose, tags):
    with pytest.raises(InvalidAnswer):
        read_answer(tags[0] + prose + json.dumps(DRAFT))


@settings(max_examples=60)
@given(ANSWERS, PROSE)
def test_of_two_objects_the_last_counts(answer, prose):
    assert read_answer(f"{json.dumps(DRAFT)} better: {json.dumps(answer)}{prose}") == equal(answer)


@settings(max_examples=50)
@given(st.text(max_size=30) | st.lists(PIECES | st.just("<think>") | st.just("</think>"), max_size=20).map("".join))
def test_anything_else_is_an_invalid_answer(text):
    with pytest.raises(InvalidAnswer):
        read_answer(text)


def test_what_is_lenient_and_what_is_not():
    answer = DRAFT | {"reasoning": "see </think> and {braces}"}
    assert read_answer(json.dumps(answer)) == equal(answer)
    assert read_answer(f'{{"result": {json.dumps(answer)}}}') == equal(answer)
    raw = json.dumps(answer).replace("see ", "see\n\t")
    assert read_answer(raw).reasoning.startswith("see\n\t")
    for none in ({"dislikes": None}, {}):
        rest = {name: value for name, value in answer.items() if name != "dislikes"}
        assert read_answer(json.dumps(rest | none)).dislikes == []
    with pytest.raises(InvalidAnswer, match="likes: Field required"):
        read_answer(json.dumps({name: value for name, value in answer.items() if name != "likes"}))
    with pytest.raises(InvalidAnswer, match="likes: Input should be a valid list") as wrong:
        read_answer(json.dumps(answer | {"likes": "films"}))
    assert wrong.value.breaks_schema
    with pytest.raises(InvalidAnswer, match="name at least one intent") as wrong:
        read_answer(json.dumps(answer | {"likes": []}))
    assert not wrong.value.breaks_schema  # a server that keeps to the schema may have sent it
    with pytest.raises(InvalidAnswer, match="cannot be read"):
        read_answer(json.dumps(answer)[:-3])
    for hostile in ("{" * 10_000, '{"a":' * 1_500, '{"a": ' + "1" * 5_000 + "}"):
        with pytest.raises(InvalidAnswer):
            read_answer(hostile)


def test_an_answer_that_was_cut_off_counts_if_it_is_whole():
    assert read_answer(f"```json\n{json.dumps(DRAFT)}\n \n", is_cut_off=True) == equal(DRAFT)
    with pytest.raises(InvalidAnswer):
        read_answer(f'{json.dumps(DRAFT)} or better {{"reasoning": "', is_cut_off=True)


def sent(message, **more):
    return completion_in({"choices": [{"message": message, "finish_reason": "stop"}], **more})


def test_a_message_in_parts_with_the_thinking_apart():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm {"}]},
        {"type": "reasoning", "text": "hm"},
        {"type": "text", "text": '{"a"'},
        ": 1}",
    ]
    assert sent({"content": parts}).content == '{"a": 1}'
    assert sent({"content": None, "reasoning": "why", "reasoning_content": None})[:2] == ("", "why")


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({}, (None, None)),
        ({"usage": None}, (None, None)),
        ({"usage": "much"}, (None, None)),
        ({"usage": {"prompt_tokens": 12.2, "completion_tokens": None}}, (13, None)),
        ({"usage": {"prompt_tokens": float("nan"), "completion_tokens": -1}}, (None, None)),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": None}}, (3, 4)),
    ],
)
def test_usage_is_read_as_far_as_it_is_there(usage, read):
    completion = sent({"content": "a"}, **usage)
    assert (completion.prompt_tokens, completion.answer_tokens) == read


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "busy"}}}, 429, "busy"),
        ({"error": {"message": "no"}}, 200, "no"),
        ({"error": "no model is loaded"}, 200, "no model is loaded"),
        ([{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}], 503, "overloaded"),
        ({"object": "error", "message": "no", "code": 400}, 400, "no"),
        ({"detail": [{"loc": ["body", "top_k"], "msg": "not permitted"}]}, 200, "body.top_k: not permitted"),
        ({"status": "449", "msg": "too fast"}, 449, "too fast"),
        ({"choices": []}, 200, "an answer without choices"),
        ({"choices": None, "error": {"message": "no"}}, 200, "no"),
        ({"choices": [{"error": {"code": 502, "message": "no"}, "message": {"content": ""}}]}, 502, "no"),
        (None, 200, "without choices"),
    ],
)
def test_what_is_no_answer_says_what_the_server_said(body, status, message):
    with pytest.raises(Failed) as failed:
        completion_in(body)
    assert failed.value.said.status == status and message in failed.value.said.message


@pytest.mark.parametrize(
    ("status", "body", "is_of_one_prompt"),
    [
        (400, {"message": "The response was filtered due to the prompt", "code": "content_filter"}, True),
        (400, {"message": "This model's maximum context length is 512 tokens.", "code": 400}, True),
        (400, {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"}, True),
        (403, {"message": "requires moderation, and your input was flagged"}, True),
        (400, {"message": "max_tokens is too large: 9. This model supports at most 8 completion tokens"}, False),
        (400, {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}, False),
        (429, {"message": "content filter: too many requests"}, False),
        (503, {"message": "the content filter is not available"}, False),
        (404, {"message": "The model `m` does not exist"}, False),
    ],
)
def test_which_refusals_are_of_one_prompt(status, body, is_of_one_prompt):
    assert said_in(body, status).is_of_one_prompt == is_of_one_prompt
