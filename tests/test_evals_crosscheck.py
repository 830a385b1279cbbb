"""Against two other harnesses, on real and on generated texts. Every difference is one of these:

- if-verifiable has no verdicts for an empty response, and takes away a thinking block first;
- lm-eval drops arguments that are zero or empty;
- both replace a symbol by a random letter in `keywords:letter_frequency`.
"""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest

from autoif.constraints.checkers import IFEVAL, bind
from autoif.evals.ifeval import judge
from evals_samples import SAMPLES

pytestmark = [
    pytest.mark.crosscheck,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),  # theirs
]
TEXTS = 400


@pytest.fixture(scope="module", params=["if-verifiable", "lm-eval"])
def theirs(request: pytest.FixtureRequest, data_dir: Path) -> dict[str, Any]:
    """id -> checker class."""
    langdetect = pytest.importorskip("langdetect")
    nltk = pytest.importorskip("nltk")
    langdetect.DetectorFactory.seed = 0
    nltk.data.path.insert(0, str(data_dir / "nltk_data"))
    logging.disable(logging.ERROR)
    names = {"if-verifiable": "if_verifiable.ifeval", "lm-eval": "lm_eval.tasks.ifeval"}
    registry = pytest.importorskip(f"{names[request.param]}.instructions_registry")
    known: dict[str, Any] = registry.INSTRUCTION_DICT
    return known


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def _follows(theirs: dict[str, Any], id_: str, kwargs: dict[str, Any], text: str) -> bool:
    instruction = theirs[id_](id_)
    instruction.build_description(**kwargs)
    return bool(text.strip() and instruction.check_following(text))


def test_gpt4s_responses(theirs: dict[str, Any], data_dir: Path) -> None:
    folder = data_dir / "ifeval"
    said = {r["prompt"]: r["response"] for r in _lines(folder / "gpt4_responses.jsonl")}
    differing = []
    for row in _lines(folder / "input_data_for_gpt4.jsonl"):
        text = said[row["prompt"]]
        pairs = list(zip(row["instruction_id_list"], row["kwargs"], strict=True))
        ours = judge([bind(i, k) for i, k in pairs], text).strict
        for (id_, kwargs), verdict in zip(pairs, ours, strict=True):
            symbol = not kwargs.get("letter", "a").isalpha()
            if not symbol and _follows(theirs, id_, kwargs, text) is not verdict:
                differing.append((row["key"], id_))
    assert differing == []


def test_generated_texts(theirs: dict[str, Any], data_dir: Path) -> None:
    vectors = [v["response"] for v in _lines(data_dir / "ifeval" / "unit_vectors.jsonl")]
    pieces = [
        *"*-[]<>\"'.?!,#`\n\t",
        *("\n\n", "***", "******", "<<t>>", "P.S.", "p. p. s", "[a]", "** b **", "Section 1"),
        *("My answer is no.", '{"a": 1}', "HELLO", "don't", "e.g. this", "Dr. No", "3.14"),
        *("你好。", "नमस्ते दुनिया", "привет мир", "😀", "\u2028", "\x0b", "“x”", "I"),
    ]
    draw = random.Random(0)
    differing = []
    for _ in range(TEXTS):
        text = draw.choice(vectors) if draw.random() < 0.4 else ""
        for _ in range(draw.randint(1, 12)):
            at = draw.randint(0, len(text))
            text = text[:at] + draw.choice(pieces) + draw.choice(["", " "]) + text[at:]
        for id_ in IFEVAL:
            kwargs = {**SAMPLES.get(id_, {})}
            if "letter" in kwargs:
                kwargs["letter"] = "e"
            if _follows(theirs, id_, kwargs, text) is not (
                bool(text.strip()) and bind(id_, kwargs)(text)
            ):
                differing.append((id_, text))
    assert differing == []
