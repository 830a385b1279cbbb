"""`autoif judge`: the gates over rows that exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autoif.base.errors import UsageError
from autoif.base.records import Request
from autoif.cli import main
from autoif.engine.judging import JudgeCounts, judge_file
from autoif.models.scripted import ScriptedBackend
from autoif.synthesis.responses.substance import nothing_said, substance

TEA = "How long should green tea steep?"
STEEP = "Steep green tea for two minutes in water well below boiling."
UPPER = "Write everything in capital letters."
CHECK = "def evaluate(response):\n    return response.isupper()"


def row(reply: str, *, query: str = TEA, instruction: str = "", **more: Any) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": f"{query} {instruction}".strip()},
        {"role": "assistant", "content": reply},
    ]
    return {"messages": messages, "query": query, "instruction": instruction, **more}


def judged(
    folder: Path, rows: list[dict[str, Any]], says: str = "tea"
) -> tuple[JudgeCounts, list[dict[str, Any]]]:
    """By a model that says yes to what mentions the word."""

    def answer(request: Request) -> str:
        assert request.first_token
        reply = request.messages[-1].content.partition("Reply: ")[2].lower()
        return '{"yes": 0.97}' if says in reply else '{"yes": 0.2, "no": 0.8}'

    file, lines = folder / "rows.jsonl", list[bytes]()
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    counts = judge_file(
        str(file),
        lines.append,
        "m",
        calls=folder / "calls.sqlite",
        backends={"m": ScriptedBackend(answer)},
    )
    return counts, [json.loads(line) for line in lines]


def test_each_gate_says_why(tmp_path: Path) -> None:
    checked: dict[str, Any] = {
        "instruction": UPPER,
        "verifiers": [{"instruction": UPPER, "checks": [CHECK]}],
    }
    rows = [
        row(STEEP, id="good"),
        row(TEA, id="repeats"),
        row("#tea #green", id="form", instruction="Include a hashtag."),
        row("It depends on the weather in your garden.", id="beside"),
        row(STEEP, id="broken", **checked),
        row(STEEP.upper(), id="kept", **checked),
    ]
    counts, judgements = judged(tmp_path, rows)
    by_id = {j.pop("id"): j for j in judgements}
    assert list(by_id) == [r["id"] for r in rows]
    assert by_id["good"] == {
        "follows": None, "answers": 0.97, "sensible": None, "keep": True, "reasons": [],
    }  # fmt: skip
    assert by_id["repeats"]["reasons"] == ["copied_prompt"]
    assert by_id["form"]["reasons"] == ["no_substance"]
    assert by_id["beside"]["reasons"] == ["low_score"]
    assert by_id["beside"]["answers"] == 0.2
    assert by_id["broken"]["reasons"] == ["not_followed"]
    assert by_id["broken"]["follows"] is False
    assert by_id["kept"]["follows"] is True
    assert (counts.rows, counts.kept) == (6, 2)
    assert counts.reasons["low_score"] == 1


def test_an_instruction_under_which_nothing_is_answered_makes_no_sense(tmp_path: Path) -> None:
    lion = "Write a sentence about your favourite animal."
    rows = [row(f"The lion is the king of {n} beasts.", instruction=lion) for n in range(4)]
    rows += [row(f"{STEEP} A lion would like the tea.", instruction=lion)]
    rows += [row(f"{STEEP} Or {n} of them.", instruction="Name a number.") for n in range(3)]
    _, judgements = judged(tmp_path, rows)
    assert [j["sensible"] for j in judgements] == [False] * 5 + [True] * 3
    assert judgements[4]["answers"] == 0.97
    assert judgements[4]["reasons"] == ["not_sensible"]
    assert [j["keep"] for j in judgements] == [False] * 5 + [True] * 3


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"query": TEA}, "messages"),
        ({"messages": [{"role": "user", "content": TEA}]}, "messages"),
        (row(STEEP) | {"query": 3}, "query"),
        (row(STEEP) | {"verifiers": [{}]}, "checks"),
    ],
)
def test_what_is_no_row_is_named(tmp_path: Path, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=f"rows.jsonl:1: .*{problem}"):
        judged(tmp_path, [given])


def test_the_command_wants_a_place_for_what_is_paid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row(STEEP)))
    assert main(["judge", "--rows", str(tmp_path / "rows.jsonl")]) == 2
    assert "--calls F or --out F" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reply", "instruction", "own"),
    [
        ("Two minutes.", "", 2),
        ("Yes", "", 1),
        ("GREEN TEA", UPPER, 0),
        ("#tea #leaf", "Include a hashtag.", 0),
        ("Two minutes. That is all for now.", "End with: That is all for now.", 2),
        ("[here](https://example.com) a@b.org https://x.org <b></b>", "", 0),
        ("两分钟就够了", "", 6),
    ],
)
def test_what_a_reply_adds_is_counted(reply: str, instruction: str, own: int) -> None:
    assert substance(TEA, instruction, reply) == own
    assert (nothing_said(TEA, instruction, reply) is None) == (own >= 2)


def test_a_summary_may_have_the_words_of_its_text() -> None:
    text = "The old bridge will be repaired, not replaced. It costs more, but the stones are kept."
    query = f"Sum up: {text} The detour is shorter too, so the town voted for it."
    assert (
        nothing_said(query, UPPER, "The old bridge will be repaired; the stones are kept.") is None
    )
    assert nothing_said(query, UPPER, "The old bridge") == "no_substance"
