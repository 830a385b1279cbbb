"""A model's second opinion on verifiers: who is caught by it, and when it is not heard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoif.base.records import Request
from autoif.engine.panel import diagnose_with_model
from autoif.models.budget import Budget
from autoif.models.scripted import ScriptedBackend
from runs import Done, rows, write_rows

EVERY = "Every sentence must contain at least one number written in digits."
ALL = """
import re
def evaluate(response):
    sentences = [s for s in re.split(r"(?<=[.!?])\\s+", response.strip()) if s]
    return bool(sentences) and all(re.search(r"\\d", s) for s in sentences)
"""
ALL_TOO = """
def evaluate(response):
    pieces = response.replace("!", ".").replace("?", ".").replace("\\n", ".").split(".")
    said = [p for p in pieces if p.strip()]
    return len(said) > 0 and not [p for p in said if not any(c.isdigit() for c in p)]
"""
ANY = """
import re
def evaluate(response):
    return bool(re.search(r"\\d", response))
"""
FOLLOW = ["We saw 3 boats. They had 12 sails.", "7!", "ROOM 4 IS OPEN. COME AT 9."]
BREAK = ["We saw 3 boats. They were red.", "Room four is open.", "Two of them. 5 of us."]


def follows(text: str) -> bool:
    """What a right reader says."""
    sentences = [s for s in text.replace("!", ".").replace("\n", ".").split(".") if s.strip()]
    return bool(sentences) and all(any(c.isdigit() for c in s) for s in sentences)


def model(reader: Callable[[str], bool] = follows) -> ScriptedBackend:
    """Writes two right functions and six texts, and reads as `reader` does."""

    def answer(request: Request) -> str:
        asked = request.messages[-1].content
        if "evaluate(response)" in asked:
            return f"```python{(ALL, ALL_TOO, ALL)[request.index]}```"
        if "JSON object" in asked:
            return json.dumps({"follow": FOLLOW, "break": BREAK})
        text = asked.partition("Reply:\n")[2].rpartition("\n\n(End of the reply.)")[0]
        return "yes" if reader(text) is not ("break the instruction" in asked) else "no"

    return ScriptedBackend(answer)


def opinion(
    path: Path, calls: Path, backend: ScriptedBackend, **options: Any
) -> tuple[Any, list[Any]]:
    written: list[bytes] = []
    counts = diagnose_with_model(
        path,
        written.append,
        "scripted:given",
        calls=calls / "calls.sqlite",
        backends={"scripted:given": backend},
        **options,
    )
    return counts, [json.loads(line) for line in written]


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = [
        {"id": "right", "instruction": EVERY, "checks": [ALL]},
        {"id": "wrong", "instruction": EVERY, "checks": [ALL_TOO, ANY]},
    ]
    return write_rows(tmp_path_factory.mktemp("panel") / "v.jsonl", given)


def test_a_misreading_is_shown_by_texts(brought: Path, tmp_path: Path) -> None:
    counts, (right, wrong) = opinion(brought, tmp_path, model())
    assert right["flags"] == []
    assert [check["flags"] for check in wrong["checks"]] == [[], ["contradicts_model"]]
    shown = [one for one in wrong["disputed"] if one["expected"] is not None]
    assert any(one["verdicts"] == [False, True] and one["expected"] is False for one in shown)
    assert {one["text"] for one in shown} & set(BREAK)
    assert (counts.flags["contradicts_model"], counts.refused, counts.unheard) == (1, 0, 0)


def test_a_model_that_fails_its_controls_is_not_heard(brought: Path, tmp_path: Path) -> None:
    """It takes every text for one that follows, even one that no function accepts."""
    counts, (_, wrong) = opinion(brought, tmp_path, model(lambda text: True))
    assert wrong["flags"] == []
    assert counts.unheard


def test_a_spent_budget_ends_in_what_there_is(brought: Path, tmp_path: Path) -> None:
    counts, found = opinion(brought, tmp_path, model(), budget=Budget(10, "tok"))
    assert counts.refused
    assert [row["flags"] for row in found] == [[], []]


def test_the_command(tmp_path: Path, here: Callable[..., Done]) -> None:
    """Answers are kept beside the diagnoses; a row without an instruction needs no model."""
    path = write_rows(tmp_path / "v.jsonl", [{"id": "a", "checks": [ANY]}])
    script = write_rows(tmp_path / "script.jsonl", [{"contains": [], "replies": ["no"]}])
    out = tmp_path / "out.jsonl"
    done = here("diagnose", "--verifiers", path, "--model", f"scripted:{script}", "--out", out)
    assert done.code == 0, done.err
    assert (tmp_path / "out.jsonl.calls.sqlite").exists()
    assert [row["id"] for row in rows(out)] == ["a"]
    placeless = here("diagnose", "--verifiers", path, "--model", f"scripted:{script}")
    assert (placeless.code, placeless.err.count("\n")) == (2, 1)
    assert "--calls F" in placeless.err
    lone = here("diagnose", "--verifiers", path, "--budget", "2Mtok")
    assert (lone.code, lone.err.count("\n")) == (2, 1)
