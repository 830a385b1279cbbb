"""What of a completion is judged, as trainers and models leave it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import students
from autoif.base.errors import UsageError
from autoif.evals.evaluation import answers_alone
from autoif.evals.task import JoinedAnswers
from autoif.verifier.completion import after_prompt, answer
from autoif.verifier.reward import score
from autoif.verifier.verify import verify_files, verify_rows
from runs import write_rows

CHATML = "<|im_start|>user\nName a river.<|im_end|>\n<|im_start|>assistant\n"
QWEN3 = f"{CHATML}<think>\n"  # as its template ends where thinking is on
QWEN3_OFF = f"{CHATML}<think>\n\n</think>\n\n"
END = "<\uff5cend\u2581of\u2581sentence\uff5c>"
DEEPSEEK = "<\uff5cUser\uff5c>Name a river.<\uff5cAssistant\uff5c><think>\n"
GPT_OSS = "<|start|>user<|message|>Name a river.<|end|><|start|>assistant"


@pytest.mark.parametrize(
    ("prompt", "said", "judged"),
    [
        (CHATML, "<think>\nA river.\n</think>\n\nThe Rhine.<|im_end|>", "The Rhine."),
        (CHATML, "<think>\nA river, so", None),
        (QWEN3, "A river.\n</think>\n\nThe Rhine.<|im_end|>\n", "The Rhine."),
        (QWEN3, "A river, so", None),
        (QWEN3_OFF, "The Rhine.", "The Rhine."),
        (DEEPSEEK, "A river.\n</think>\nThe Rhine." + END, "The Rhine."),
        (DEEPSEEK, "A river, so", None),
        (GPT_OSS, "<|channel|>analysis<|message|>A river.<|end|><|start|>assistant<|channel|>final"
                  "<|message|>The Rhine.<|return|>", "The Rhine."),
        (GPT_OSS, "<|channel|>analysis<|message|>A river, so", None),
        (GPT_OSS, "<|channel|>final<|message|>The Rhine.", "The Rhine."),
        (GPT_OSS, "<|channel|>final", None),
        ("Name a river.", "analysisWe want a river.assistantfinalThe Rhine.", "The Rhine."),
        ("Name a river.", "analysisWe want a river, so", None),  # the tokens were left out
        ("Name a river.", "analysis of rivers", "analysis of rivers"),
        ("Name a river.", "analysisResult = 'Rhine'", "analysisResult = 'Rhine'"),
        ("Name a river.", "[THINK]A river, so", None),
        ("Name a river.", "\u25c1think\u25b7A river, so", None),
        ("Name a river.", "<think>A river.</think>", ""),
        ("Name a river.", "\u200b<think>A river, so", None),
        ("Is <think> a tag?", "It is.", "It is."),
        ([{"role": "user", "content": "?"}, {"role": "assistant", "content": "<think>\n"}],
         "A river, so", None),
    ],
)  # fmt: skip
def test_reasoning_is_cut_and_is_no_answer_where_it_was_never_closed(
    prompt: Any, said: str, judged: str | None
) -> None:
    assert answer(said, prompt) == judged
    assert answer([{"role": "assistant", "content": said}], prompt) == judged
    row = students.verifiers("def evaluate(response):\n    return response == 'The Rhine.'")
    reward = None if judged is None else float(judged == "The Rhine.")
    assert score(said, row, prompt=prompt) == reward


def test_reasoning_that_is_kept_is_judged_with_the_answer() -> None:
    assert answer("<think>a</think>b<|im_end|>", keep_reasoning=True) == "<think>a</think>b"
    assert answer("so", QWEN3, keep_reasoning=True) == "so"


@pytest.mark.parametrize(
    ("prompt", "decoded"),
    [
        (CHATML, f"{CHATML}{{}}"),
        (CHATML, f"<s>{CHATML}{{}}"),
        (CHATML, f"<|begin_of_text|> {CHATML}{{}}"),
        (CHATML, f"{CHATML.replace('>user', '> user')}{{}}"),
        (CHATML, f"{CHATML.replace('river.', 'river .')}{{}}"),
        (CHATML, f"<s> {CHATML.replace('river.', 'river .')}{{}}"),
        (f"{'Read this. ' * 90}{CHATML}", f"{'this. ' + 'Read this. ' * 40}{CHATML}{{}}"),
        (CHATML * 3, f"{CHATML * 3}{{}}"),
        ("", "{}"),
    ],
)
@pytest.mark.parametrize("said", ["The Rhine.", "", f"{CHATML}The Rhine.", "\n\n The Rhine."])
def test_the_prompt_that_a_trainer_leaves_in_the_text(prompt: str, decoded: str, said: str) -> None:
    """OpenRLHF decodes prompt and answer together, with all special tokens. A tokenizer may put one
    before, change white space, or have cut a long prompt off at its beginning."""
    assert after_prompt(decoded.format(said), prompt) == said


def test_a_text_without_its_prompt_is_refused() -> None:
    with pytest.raises(UsageError, match="does not begin with its prompt"):
        after_prompt("The Rhine.", CHATML)
    with pytest.raises(UsageError, match="does not begin with its prompt"):
        after_prompt(f"The Rhine. {CHATML}", CHATML)  # it was said after something else


TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@given(TEXTS, TEXTS)
def test_any_text_stands_behind_any_prompt(prompt: str, said: str) -> None:
    if said.startswith(prompt):
        return
    assert after_prompt(prompt + said, prompt) == said
    answer(said, prompt)  # lone surrogates and NUL included


def test_long_texts_take_no_longer_than_their_length() -> None:
    texts = ["word " * 10_000, "<think>" * 10_000, "[" * 50_000, "<|im_end|>" * 5_000]
    start = time.process_time()
    for text in texts:
        answer(text, CHATML)
        with pytest.raises(UsageError):
            after_prompt(text, CHATML * 20)
    assert time.process_time() - start < 5


def test_verify_reads_a_response_as_the_reward_does(tmp_path: Path) -> None:
    row = students.verifiers("def evaluate(response):\n    return ',' not in response")
    said = "<think>One, two.</think>\nThree.<|im_end|>"
    parts = [{"type": "reasoning", "text": "One, two."}, {"type": "text", "text": "Three."}]
    asked = students.user("?")
    rows = [
        {"messages": [*asked, *students.assistant(said)], "verifiers": row},
        {"messages": [*asked, {"role": "assistant", "content": parts}], "verifiers": row},
        {"prompt": "?", "chosen": said, "rejected": "<think>Thre", "verifiers": row},
    ]  # fmt: skip
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    counts = verify_rows(file)
    assert (counts.rows, counts.agreed, counts.disagreed) == (3, 4, 0)


SAID = {  # as models write it: is "The Rhine." what is judged?
    "Qwen3, DeepSeek": ("<think>\nA lake? No.\n</think>\n\nThe Rhine.", True),
    "their template has opened it": ("A lake? No.\n</think>\n\nThe Rhine.", True),
    "gpt-oss": ("<|channel|>analysis<|message|>A lake? No.<|end|><|start|>assistant<|channel|>final"
                "<|message|>The Rhine.<|return|>", True),
    "Magistral": ("[THINK]A lake? No.[/THINK]The Rhine.", True),
    "none": ("The Rhine.", True),
    "never closed": ("<think>\nA lake? The Rhine.", None),
    "a channel without end": ("<|channel|>analysis<|message|>A lake? The Rhine.", None),
}  # fmt: skip
RHINE = "def evaluate(response):\n    return response == 'The Rhine.'"


@pytest.mark.parametrize("model", SAID)
def test_verify_says_of_a_response_what_the_reward_says(model: str, tmp_path: Path) -> None:
    said, judged = SAID[model]
    write_rows(tmp_path / "v.jsonl", [{"id": "a", "checks": [RHINE]}])
    write_rows(tmp_path / "r.jsonl", [{"id": "a", "responses": ["No.", said]}])
    out: list[bytes] = []
    verify_files(tmp_path / "v.jsonl", tmp_path / "r.jsonl", out.append)
    no, verdict = json.loads(out[0])["verdicts"]
    assert no["fraction"] == 0.0
    assert verdict["fraction"] == (None if judged is None else 1.0)
    assert score(said, students.verifiers(RHINE)) == verdict["fraction"]
    if judged is None:
        assert verdict["reasons"] == ["ERROR: reasoning that was never closed"]


def test_benchmarks_score_the_answer_alone() -> None:
    given: dict[str, list[str | None]] = {model: [said] for model, (said, _) in SAID.items()}
    alone = answers_alone(JoinedAnswers(given, []))
    assert alone.answers == {m: ["The Rhine." if j else None] for m, (_, j) in SAID.items()}
    assert alone.notes == [
        "6 responses held reasoning or control tokens, which were cut before scoring",
        "2 of them end in mid-thought and count as null responses",
    ]
