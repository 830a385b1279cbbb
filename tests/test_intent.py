"""The floor under replies: filler in every form falls, real replies to real prompts do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.diagnosis.content_free import QUERY, content_free
from autoif.diagnosis.probes import pool
from autoif.diagnosis.reading import read
from autoif.verifier.intent import REASONS, floor, varied

PROMPT = "What do bees do in winter? Write at least three sentences."
PARTS = ["What do bees do in winter?", "Write at least three sentences."]

HOLLOW = [
    ("empty", ""),
    ("empty", " \n\u200b"),
    ("repetition", "x x x x"),
    ("repetition", "word. word. word."),
    ("repetition", "I see. I see. I see. I see. I see. I see."),
    ("repetition", "- good\n- good\n- good\n- good"),
    ("repetition", "好好好好好好"),
    ("filler", "Lorem ipsum dolor sit amet, consectetur adipiscing elit."),
    ("placeholder", "[Your answer here]"),
    ("placeholder", "Dear [Name],\n\n[Body of the letter]\n\nYours,\n[Your Name]"),
    ("placeholder", "<insert text>. <insert more text>. {{closing}}."),
    ("placeholder", "___ ___ ___"),
    ("placeholder", "[姓名]：[内容]"),
    ("copied_prompt", PROMPT),
    ("copied_prompt", "what do bees do in winter?"),
    ("copied_prompt", "Write at least three sentences."),
    ("copied_prompt", " ".join([PARTS[0]] * 2)),
]
REAL = [
    "They cluster.",
    "42",
    "No.",
    "Yes, yes.",
    "[Note] Bees cluster around the queen and eat their honey until spring.",
    "See [the guide](https://example.org) for how they cluster and keep warm.",
    "- [x] feed them\n- [ ] close the hive",
    "[1, 2, 3]",
    '["cluster", "shiver", "eat"]',
    "<p>They cluster.</p>",
    "Use `<your name>` as the key of the table, and leave every other field as it was.",
    "They never sleep... they shiver, all winter long.",
    "Bees do in winter what they do at night: they cluster.",
    "a = b + c",
    "蜜蜂冬天抱团取暖。",
]


@pytest.mark.parametrize(("reason", "text"), HOLLOW)
def test_filler_falls(reason: str, text: str) -> None:
    assert floor(PARTS, text) == reason
    assert reason in REASONS


@pytest.mark.parametrize("text", REAL)
def test_a_short_or_odd_reply_stands(text: str) -> None:
    assert floor(PARTS, text) is None


def test_a_passage_may_come_back() -> None:
    """Corrected, shouted, chosen: what a prompt brings along is not the prompt."""
    passage = "The quick brown fox jumps over the lazy dog by the river."
    prompt = f"Write this in capitals: {passage}"
    assert floor(prompt, passage.upper()) is None
    assert floor(prompt, prompt) == "copied_prompt"
    assert floor(prompt, f"{prompt}\n\n{passage.upper()} Is that loud enough for you?") is None


def test_length_is_measured_by_the_policy_itself() -> None:
    short = "They cluster and shiver."
    assert floor(PARTS, short) is None
    assert floor(PARTS, short, median=30) is None
    assert floor(PARTS, short, median=120) == "short"


def test_shipped_replies_stand() -> None:
    for lang in ("en", "zh"):
        fallen = [t for t in pool(lang) if floor(QUERY[lang == "zh"], t)]
        assert not [t for t in fallen if len(set(t.split())) > 3 or len(t) > 40], fallen


def test_replies_of_a_real_model_stand(data_dir: Path) -> None:
    """541 replies of GPT-4 to IFEval, whose prompts ask for repetition, placeholders and copies."""
    rows = map(json.loads, (data_dir / "ifeval/gpt4_responses.jsonl").read_text().splitlines())
    fallen = [row["prompt"] for row in rows if floor(row["prompt"], row["response"])]
    assert len(fallen) <= 2, fallen


@pytest.mark.parametrize(
    "instruction",
    ["Write exactly three bullet points.", "Use only small letters.", "每句话以感叹号结尾。"],
)
def test_no_filler_that_verifiers_are_tried_with_passes(instruction: str) -> None:
    """In the form of texts that follow, too: what `hack_rate` counts, the floor stops."""
    zh = instruction[0] > "\u3000"
    texts = ["今天天气很好！我们坐车回家！"] if zh else ["- one way\n- another way\n- a third way"]
    tried = list(content_free(read(instruction), texts, ["!"]))
    assert {kind for kind, _ in tried} >= {"token", "word", "lorem", "placeholder", "instruction"}
    passing = [
        (kind, text)
        for kind, text in tried
        if len(text.split()) > 3 and not floor([QUERY[zh], instruction], text)
    ]
    assert not passing


@given(st.text(), st.text())
def test_any_text_has_an_answer(prompt: str, text: str) -> None:
    assert floor(prompt, text) in (*REASONS, None)


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=200))
def test_variety_is_a_share(said: list[str]) -> None:
    assert 0 < varied(said) <= 1
    assert varied(said[:1] * 60) < varied([str(n) for n in range(60)])
