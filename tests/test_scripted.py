"""The scripted model, and what every backend does to a model's words before a stage sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.base.errors import UsageError
from autoif.base.records import Message, Reply, Request, Usage
from autoif.models.open import open_backend
from autoif.models.openai.protocol import checked_url, parse_reply, retry_after
from autoif.models.reasoning import strip_thinking
from autoif.models.scripted import ScriptedBackend


def ask(text: str, index: int = 0) -> Request:
    return Request((Message("system", "be brief"), Message("user", text)), index=index)


async def test_the_first_row_that_matches_answers_and_the_index_picks_the_reply(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.jsonl"
    cut = {"text": "cut", "finish_reason": "length"}
    rows = [
        {"latency_ms": 1},
        {"contains": ["red", "brief"], "replies": ["one two", cut]},
        {"contains": ["red"], "replies": ["never"]},
        {"contains": ["blue"], "replies": ["<think>a b c</think>sky"], "latency_ms": 0},
    ]  # fmt: skip
    script.write_text("\n\n".join(json.dumps(row) for row in rows))
    backend = open_backend(f"scripted:{script}")
    first = Reply("one two", "stop", Usage(prompt=3, completion=2))
    assert await backend(ask("red")) == first
    assert await backend(ask("red", 1)) == Reply("cut", "length", Usage(prompt=3, completion=1))
    assert await backend(ask("red", 2)) == first
    assert (await backend(ask("blue"))).text == "sky"
    assert (await backend(ask("blue"))).usage.reasoning > 0
    assert (await backend(ask("green"))).text == ""
    other = tmp_path / "other.jsonl"
    other.write_text('{"contains": [], "replies": ["x"]}')
    assert open_backend(f"scripted:{other}").namespace != backend.namespace


@pytest.mark.parametrize(
    "content",
    ["", "not JSON", '{"contains": ["x"]}', '{"contains": "x", "replies": ["y"]}',
     '{"contains": [], "replies": []}', "[]", '{"contains": [], "replies": [1]}'],
)  # fmt: skip
def test_a_script_that_cannot_be_read_is_one_line(tmp_path: Path, content: str) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text(content)
    with pytest.raises(UsageError) as e:
        ScriptedBackend.from_file(script)
    assert str(script) in str(e.value)
    assert "\n" not in str(e.value)


async def test_a_function_may_answer_plain_or_async_with_text_or_a_reply() -> None:
    async def later(request: Request) -> Reply:
        return Reply("later", "length", Usage(7, 0, 8))

    assert (await ScriptedBackend(lambda r: "now")(ask("x"))).text == "now"
    assert await ScriptedBackend(later)(ask("x")) == Reply("later", "length", Usage(7, 0, 8))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("plain", "plain"),
        ("  kept as it is \n", "  kept as it is \n"),
        ("<think>hm\nhm</think>\n\nanswer", "answer"),
        ("<thinking>hm</thinking>answer", "answer"),
        ("<think>a</think>one <think>b</think>two", "one two"),
        ("hm, the template opened it</think>answer", "answer"),
        ("<think>ran out of tok", ""),
        ("answer<think>and again", "answer"),
    ],
)
def test_thinking_is_cut_from_the_answer(said: str, answer: str) -> None:
    assert strip_thinking(said) == answer


@given(st.text(st.sampled_from("<>/think \n"), max_size=40) | st.text())
def test_no_thinking_is_left_whatever_is_said(text: str) -> None:
    stripped = strip_thinking(text)
    assert "<think>" not in stripped
    if "think" not in text:
        assert stripped == text


def completion(message: dict[str, object], **more: object) -> dict[str, object]:
    return {"choices": [{"message": message, "finish_reason": "stop"}], **more}


def test_replies_are_read_as_servers_really_write_them() -> None:
    usage = {
        "prompt_tokens": 10, "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 9},
    }  # fmt: skip
    full = parse_reply(completion({"content": "yes"}, usage=usage))
    assert full == Reply("yes", "stop", Usage(10, 4, 20, 9))
    nulls = {"prompt_tokens": 10, "completion_tokens": 20, "prompt_tokens_details": None}
    aside = parse_reply(completion({"content": "1234", "reasoning_content": "x" * 12}, usage=nulls))
    assert aside.usage == Usage(10, 0, 20, 15)
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parse_reply(completion({"content": parts})).text == "ab"
    assert parse_reply(completion({"content": None})).text == ""
    refusal = parse_reply(completion({"content": None, "refusal": "I cannot"}))
    assert refusal.finish_reason == "content_filter"
    wrongs: list[object] = [None, [], {}, {"choices": []}, {"choices": [{}]}]
    for wrong in [*wrongs, completion({"content": 3})]:
        with pytest.raises((TypeError, KeyError, IndexError, AttributeError, ValueError)):
            parse_reply(wrong)


def test_retry_after_is_seconds_or_a_date_by_the_servers_own_clock() -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert retry_after({}) is None
    assert retry_after({"Retry-After": "1.5"}) == 1.5
    assert retry_after({"Retry-After": "-3"}) == 0
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({"Retry-After": date, "Date": "Wed, 21 Oct 2015 07:27:50 GMT"}) == 10
    assert retry_after({"Retry-After": date}) is None  # our own clock may be wrong by anything
    assert retry_after({"Retry-After": date, "Date": "Wed, 21 Oct 2015 07:27:50 -0000"}) is None


def test_base_urls_are_taken_as_people_write_them() -> None:
    for url in ("http://x:8000/v1", "http://x:8000/v1/", "http://x:8000/v1/chat/completions"):
        assert checked_url(url) == "http://x:8000/v1"
    for url in ("", "x:8000", "ftp://x", "http://"):
        with pytest.raises(UsageError, match="base URL"):
            checked_url(url)
