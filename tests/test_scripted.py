"""The scripted model, and what every backend does to a model's words before a stage sees them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autoif.base.errors import UsageError
from autoif.base.records import Message, Reply, Request, Usage
from autoif.models.open import open_backend
from autoif.models.openai.protocol import checked_url, parse_reply, retry_after
from autoif.models.reasoning import control_token, strip_thinking, unasked_tag
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


TEXT = "Take a coat."
BESIDE = {
    "in lines": "<think>hm\nhm</think>\n\n{}",
    "another name": "<reasoning>\nplan this\n</reasoning>\n{}",
    "a capital": "<Think>plan this</Think>{}",
    "an attribute": '<think duration="3">plan this</think>{}',
    "a prefix": "<seed:think>plan this</seed:think>{}",
    "nested": "<think>a<think>b</think>c</think>{}",
    "names itself": "<think>I use <think> here</think>{}",
    "two blocks": "<think>a</think>\n<scratchpad>b</scratchpad>\n{}",
    "the template opened it": "hm</think>{}",
    "an answer's tag": "<think>plan this</think><answer>{}</answer>",
    "square brackets": "[THINK]plan this[/THINK]{}",
    "triangles": "◁think▷plan this◁/think▷{}",
    "bars": "|startthink|plan this|endthink|{}",
    "begin and end": "<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>{}"
    "<|end_of_solution|>",
    "channels": "<|channel|>analysis<|message|>plan<|end|><|start|>assistant<|channel|>final"
    "<|message|>{}<|return|>",
    "channels without tokens": "analysisplan this.assistantfinal{}",
    "half channels": "<|channel>thought\nplan this<channel|>{}",
    "the end of a turn": "{}<|im_end|>\n",
    "the end of a text": "<s>{}</s>",
    "a full-width end": "{}<｜end▁of▁sentence｜>",
    "a role": "assistant\n\n{}",
    "a header": "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
    "a turn": "<start_of_turn>model\n{}<end_of_turn>",
    "closed twice": "<think>plan</think>\n\n</think>\n\n{}",
    "names its own end": "<think>I must write </think> at the end. Ready. </think>{}",
    "the template opened it, spaced": "Okay, plan. </think> {}",
    "full-width brackets": "＜think＞plan this＜/think＞{}",
    "full-width slash": "＜think＞plan this＜／think＞{}",
    "a Chinese name": "<思考>计划</思考>{}",
    "a name in two words": "<thoughtProcess>plan this</thoughtProcess>{}",
    "channels without tokens, with a role": "assistantanalysisplan this.assistantfinal{}",
    "unused tokens": "<unused94>thought\nplan<unused95>{}",
    "an attribute says it": '<details type="reasoning" done="true">\nplan\n</details>\n{}',
    "a fence": "```thinking\nplan this\n```\n{}",
    "an end in bars": "{}[|endofturn|]",
    "the end of a document": "{}<EOD>",
    "the end of an utterance": "{}<end_of_utterance>",
    "a sentinel": "{}<extra_id_1>",
    "a block behind it": "{}\n\n<reflection>\nhm\n</reflection>",
}


@pytest.mark.parametrize("form", BESIDE)
def test_what_a_model_writes_beside_its_answer_is_cut(form: str) -> None:
    assert strip_thinking(BESIDE[form].format(TEXT)) == TEXT
    assert control_token(TEXT) == ""


@pytest.mark.parametrize(
    "start", ["<think>", "[THINK]", "◁think▷", "<|channel|>analysis<|message|>"]
)
def test_reasoning_that_ran_out_of_tokens_is_no_answer(start: str) -> None:
    assert strip_thinking(f"{start}plan this\n\n{TEXT}") == ""


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "  kept as it is \n",
        "Use the tag <think> for this. Take a coat.",
        "Wrap it in <think> and </think>.",
        "Close it with `</think>`, or with </think> alone.",
        "Put your thoughts into <think>...</think> tags.",
        "An example:\n```\n<think>\nhm\n</think>\n```\nThat is all.",
        "<html><body>Hello</body></html>",
        "<poem>\nroses\n</poem>",
        "<<title>>\n\nText",
        "<h1>Title</h1> text",
        "<s>old price</s> new price",
        "<answer>3</answer>",
        "[NAME] lives here. [THINK] so",
        "analysis shows x < y and y > z",
        "assistant editor\nwriter",
        "[REASONS]\n- cheap\n[CONCLUSION]\nBuy",
        "[ANALYSIS]\nIt is fine.",
        "<reasonable_offer>5</reasonable_offer>\nTake it.",
        "<thinking-cap>red</thinking-cap>\nTake it.",
        "|start_thinking|end_thinking|\n|---|---|\n|1|2|",
        "A table:\n\n|start_thinking|end_thinking|\n|---|---|\n|1|2|",
        "Write it so:\n```xml\nhm\n</reasoning>\n```\nDone.",
        "The tag is\n</think>\nand that is all.",
        "1. Open with\n<think>\n2. Plan.\n3. Close with\n</think>\n4. Answer.",
        "1. Open with\n<think>\n2. Plan.",
        "1. <think>\n2. Plan.\n3. </think>\n4. Answer.",
        "Use </think>, and stop.",
        "Answer one.</think>",
        "model\n\nA model walks on.",
        "assistant\n\nAn assistant helps.",
    ],
)
def test_an_answer_that_only_looks_so_keeps_its_words(text: str) -> None:
    assert strip_thinking(text) == text
    assert control_token(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|> is the token that begins a turn.",
        "</s> ends a sequence.",
        "[INST] is what opens it.",
        "The token is <|endoftext|>",
        "The token is:\n<|endoftext|>",
    ],
)
def test_a_control_token_that_a_sentence_names_is_not_cut(text: str) -> None:
    assert strip_thinking(text) == text
    assert control_token(text)  # so whoever must not learn it can drop the answer


def test_reasoning_in_mid_answer_is_cut_where_it_stands_apart() -> None:
    assert strip_thinking("<think>a</think>one <think>b</think>two") == "one two"
    assert strip_thinking("answer<think>and again") == "answer"
    assert strip_thinking("one\n<think>\nhm\n</think>\ntwo") == "one\n\ntwo"


def test_what_stands_in_mid_answer_and_is_not_the_answers_is_named() -> None:
    assert control_token("one<|im_end|>\n<|im_start|>user\ntwo") == "<|im_end|>"
    assert control_token("one</s>two") == "</s>"
    assert unasked_tag("<hmm>plan</hmm>one", "Tell me.") == "<hmm>"
    assert unasked_tag("<hmm>plan</hmm>one", "Hum in <hmm> tags.") == ""
    assert unasked_tag("<note>one</note>", "Write XML.") == ""
    assert unasked_tag("<h1>Title</h1>one", "Tell me.") == ""
    assert unasked_tag("<réflexion>plan</réflexion>one", "Tell me.") == "<réflexion>"
    assert unasked_tag("One.</think>", "Tell me.") == "</think>"
    assert unasked_tag("One.</think>", "End with </think>.") == ""
    assert unasked_tag("One.\n<think>\nand so", "Tell me.") == "<think>"
    assert unasked_tag("One.\n<tool_call>\n{}\n</tool_call>", "Tell me.") == "<tool_call>"
    assert unasked_tag("One.\n\nUser: And?\n\nAssistant: No.", "Tell me.") == "User:"
    assert unasked_tag("A talk:\n\nUser: And?\n\nAssistant: No.", "Tell me.") == ""
    assert unasked_tag("Wrap it in <think> and </think>.", "Tell me.") == ""


UNITS = [
    "<think>", "</think>", "<think>a</think>b", "<think>a ", "x<think>b ", "<s>", "<|im_end|>",
    "[THINK]", "<a", "<a ", "```<think>x", "\n", "<think>a\n</think> ", "<|channel|>final",
    "```x\n", "~", "~`", "|a\n", "|end_think|", "<think>\n1. ", "</think>, ", "\n\nUser: a",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_it_takes_linear_time(unit: str) -> None:
    for text in (unit * (200_000 // len(unit)), "x " + unit * (200_000 // len(unit))):
        begun = time.process_time()
        strip_thinking(text)
        control_token(text)
        unasked_tag(f"<hmm>{text}", "")
        assert time.process_time() - begun < 3  # quadratic: minutes


@given(st.text(st.sampled_from("<>/think \n|[]"), max_size=40), st.text("abc .", min_size=1))
def test_a_block_that_opens_an_answer_goes_whatever_is_in_it(inside: str, answer: str) -> None:
    assume("<" not in inside and answer.strip())
    assert strip_thinking(f"<think>{inside}</think>{answer}") == answer.strip()
    if "<" not in inside:
        assert strip_thinking(answer) == answer


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
    parts: list[dict[str, object]] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    parts.append({"text": "plan", "thought": True})
    assert parse_reply(completion({"content": parts})).text == "ab"
    assert parse_reply(completion({"content": None})).text == ""
    refusal = parse_reply(completion({"content": None, "refusal": "I cannot"}))
    assert refusal.finish_reason == "content_filter"
    wrongs: list[object] = [None, [], {}, {"choices": []}, {"choices": [{}]}]
    for wrong in [*wrongs, completion({"content": 3})]:
        with pytest.raises((TypeError, KeyError, IndexError, AttributeError, ValueError)):
            parse_reply(wrong)


def test_the_likeliest_first_tokens_are_the_answer_where_they_were_asked_for() -> None:
    pairs = [("Yes", -0.1), (" yes", -3.0), ("No", -2.9), ("\n", 5.0)]
    likeliest = [{"token": token, "logprob": logprob} for token, logprob in pairs]
    document = completion({"content": "Yes"})
    choice = document["choices"][0]  # type: ignore[index]
    choice["logprobs"] = {"content": [{"token": "Yes", "top_logprobs": likeliest}]}
    assert parse_reply(document).text == '{"yes": 0.9546, "no": 0.055, "": 1.0}'
    nothings: list[object] = [None, {}, {"content": []}, {"content": [{"top_logprobs": []}]}]
    for nothing in nothings:
        choice["logprobs"] = nothing
        assert parse_reply(document).text == "Yes"


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
