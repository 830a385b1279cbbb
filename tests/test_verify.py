"""One verb for truth: verdicts from checks, over texts, files and rows of data."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoif.base.errors import UsageError
from autoif.base.records import Case, Check, Instruction, Outcome, Status, Verdict, Verifier
from autoif.diagnosis import diagnose_file
from autoif.run.recipe import Recipe
from autoif.sandbox import CHECK_LIMITS, Limits, Sandbox
from autoif.synthesis.instructions import user_files
from autoif.train.dataset import load
from autoif.verifier.reward import verifier_reward
from autoif.verifier.verify import averify, verify, verify_files, verify_rows

SHORT = Check("def evaluate(response):\n    return len(response) < 5\n")
LOWER = Check("def evaluate(response):\n    return response == response.lower()\n")
BROKEN = Check("def evaluate(response):\n    return missing\n")
LOOP = Check("def evaluate(response):\n    while True: pass\n")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, limits=Limits(cpu_seconds=0.1, strikes=1)) as sandbox:
        yield sandbox


class Memory:
    """An outcome store in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    async def get_outcomes(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    async def put_outcomes(self, key: bytes, value: bytes) -> bytes:
        return self.rows.setdefault(key, value)


def test_one_verdict_per_text_over_all_checks(sandbox: Sandbox) -> None:
    texts = ["abc", "ABC", "ABCDEF"]
    said = verify([SHORT, LOWER, BROKEN], texts, sandbox=sandbox)
    assert [v.fraction for v in said] == [2 / 3, 1 / 3, 0.0]
    assert [v.outcomes[2].status for v in said] == [Status.ERROR] * 3
    verifier = Verifier(Instruction("short, in lower case"), (SHORT, LOWER))
    assert [v.fraction for v in verify(verifier, texts, sandbox=sandbox)] == [1.0, 0.5, 0.0]


SLOW = Check("""import time
def evaluate(response):
    start = time.process_time()
    while time.process_time() - start < 0.7: pass
    return response == "yes"
""")


def test_a_slow_check_is_judged_alike_by_the_run_the_row_and_the_reward(tmp_path: Path) -> None:
    with Sandbox(workers=1, limits=CHECK_LIMITS) as sandbox:  # as a run proves its rows
        (proved,) = verify([SLOW], ["yes"], sandbox=sandbox)
    assert proved.fraction == 1.0
    carried = [{"checks": [SLOW.source], "min_fraction": 1.0}]
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}]
    rows = lines(tmp_path / "rows.jsonl", {"messages": chat, "verifiers": carried})
    assert verify_rows(rows).agreed == 1
    assert asyncio.run(verifier_reward([""], ["yes"], [carried])) == [1.0]


def test_unscored_is_not_zero(sandbox: Sandbox) -> None:
    assert [v.fraction for v in verify([BROKEN], ["a"], sandbox=sandbox)] == [None]
    assert verify([], ["a", "b"], sandbox=sandbox) == [Verdict((), None)] * 2
    assert verify([SHORT], [], sandbox=sandbox) == []


def test_without_a_sandbox_of_ones_own() -> None:
    assert [v.fraction for v in verify([SHORT], ["abc", "abcdef"])] == [1.0, 0.0]


async def test_what_depends_on_the_machine_is_stored(sandbox: Sandbox) -> None:
    store = Memory()
    first = await averify([SHORT, LOOP], ["a", "b"], sandbox, store=store)
    assert [o.status for o in first[0].outcomes] == [Status.TRUE, Status.TIMEOUT]
    (key,) = store.rows  # of the loop alone; what always comes out the same needs no store
    store.rows[key] = orjson.dumps([{"status": "CRASH", "detail": "there"}] * 2)
    again = await averify([SHORT, LOOP], ["a", "b"], sandbox, store=store)
    assert again[0].outcomes[1] == Outcome(Status.CRASH, "there")
    other = await averify([LOOP], ["a", "c"], sandbox, store=store, check_order=True)
    assert other[0].outcomes[0].status is Status.TIMEOUT
    assert len(store.rows) == 2


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(st.text(st.characters(), max_size=50), max_size=20))
def test_any_text_comes_through_unchanged(sandbox: Sandbox, texts: list[str]) -> None:
    """Lone surrogates, nulls and planes included: the function sees exactly the text."""
    source = f"SEEN = {texts!a}\ndef evaluate(r):\n    return r in SEEN\n"
    assert all(o.status is Status.TRUE for o in sandbox.evaluate(source, texts))
    said = sandbox.transform("def comply(t):\n    return t", texts)
    assert [t.text for t in said] == texts


# ---- files ---------------------------------------------------------------------------------------


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_files_joined_by_id_in_the_order_of_the_responses(tmp_path: Path, sandbox: Sandbox) -> None:
    verifiers = lines(
        tmp_path / "v.jsonl",
        {"id": "b", "checks": [LOWER.source]},
        {"id": "a", "checks": [SHORT.source, BROKEN.source]},
    )
    rows = [{"id": "ab"[i % 2], "responses": [f"X{i}", "long enough"]} for i in range(40)]
    responses = lines(tmp_path / "r.jsonl", *rows)
    out: list[bytes] = []
    counts = verify_files(verifiers, responses, out.append, sandbox=sandbox)
    said = [json.loads(line) for line in out]
    assert [row["id"] for row in said] == [row["id"] for row in rows]
    missing = "ERROR: NameError: name 'missing' is not defined"
    assert said[0] == {
        "id": "a",
        "verdicts": [
            {"fraction": 0.5, "outcomes": ["TRUE", "ERROR"], "reasons": ["", missing]},
            {"fraction": 0.0, "outcomes": ["FALSE", "ERROR"], "reasons": ["", missing]},
        ],
    }
    assert said[1]["verdicts"][1] == {"fraction": 1.0, "outcomes": ["TRUE"], "reasons": [""]}
    assert (counts.rows, counts.texts, counts.unscored) == (40, 80, 0)
    assert sum(counts.outcomes.values()) == 20 * 2 * 2 + 20 * 2
    assert counts.reasons == {missing: 40}


@pytest.mark.parametrize(
    ("verifiers", "responses", "says"),
    [
        ("", '{"id": "a", "responses": []}\n', "v.jsonl is empty"),
        ('{"id": "a", "checks": []}\n', "\n\n", "r.jsonl is empty"),
        ('{"id": "a", "checks": []}\n\n{oops\n', "{}", "v.jsonl:3: not JSON"),
        ('{"id": "a", "checks": []}\n', "[1]\n", "r.jsonl: row 1: a JSON object is wanted"),
        ('{"id": "a"}\n', "{}", 'v.jsonl:1: "checks" has to be'),
        ('{"id": [3], "checks": []}\n', "{}", 'v.jsonl:1: column "id"'),
        ('{"id": "a", "checks": []}\n' * 2, "{}", "v.jsonl:2: the id 'a' has stood"),
        ('{"id": "a", "checks": []}\n', '{"id": "a"}\n', 'r.jsonl:1: column "responses"'),
        (
            '{"id": "a", "checks": []}\n',
            '{"id": "a", "responses": []}\n{"id": "z", "responses": []}\n',
            "r.jsonl:2: ",
        ),
    ],
)
def test_a_bad_file_is_one_line_that_says_where(
    tmp_path: Path, sandbox: Sandbox, verifiers: str, responses: str, says: str
) -> None:
    (tmp_path / "v.jsonl").write_text(verifiers)
    (tmp_path / "r.jsonl").write_text(responses)
    with pytest.raises(UsageError) as error:
        verify_files(tmp_path / "v.jsonl", tmp_path / "r.jsonl", lambda _: None, sandbox=sandbox)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["jsonl", "json", "gz", "parquet", "txt"])
def test_every_command_reads_the_same_files(kind: str, tmp_path: Path, sandbox: Sandbox) -> None:
    """Ids that are numbers, cases by either name, labels in words; each file in every format."""
    case = {"input": "abc", "output": "true"}
    verifier = {"id": 7, "instruction": "x", "checks": [LOWER.source], "cases": [case]}
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "abc"}]
    row = {"messages": chat, "verifiers": [{"instruction": "x", "checks": [LOWER.source]}]}

    def file(name: str, content: Mapping[str, object]) -> Path:
        path = tmp_path / f"{name}.{kind}"
        if kind == "parquet":
            pl.DataFrame([content]).write_parquet(path)
        elif kind == "json":
            path.write_text(json.dumps([content], indent=1))
        else:
            line = json.dumps(content).encode()
            path.write_bytes(gzip.compress(line) if kind == "gz" else line)
        return path

    verifiers = file("v", verifier)
    out: list[bytes] = []
    responses = file("r", {"id": "7", "responses": ["abc", "ABC"]})
    verify_files(verifiers, responses, out.append, sandbox=sandbox)
    assert [v["fraction"] for v in json.loads(out[0])["verdicts"]] == [1.0, 0.0]
    assert verify_rows(file("rows", row), sandbox=sandbox).agreed == 1
    diagnosed: list[bytes] = []
    diagnose_file(verifiers, diagnosed.append, sandbox=sandbox)
    assert json.loads(diagnosed[0])["id"] == "7"
    assert len(load("sft", [str(file("train", row))]).rows) == 1
    recipe = Recipe.load("smoke", None, {"verifiers.own": str(verifiers)})
    (own,) = user_files.verifiers(recipe).kept
    assert own.cases == (Case("abc", True, "user"),)


def test_a_missing_file(tmp_path: Path, sandbox: Sandbox) -> None:
    with pytest.raises(UsageError, match="no such file"):
        verify_files(tmp_path / "no", tmp_path / "no", lambda _: None, sandbox=sandbox)


def test_rows_are_derived_again_from_the_code_they_carry(tmp_path: Path, sandbox: Sandbox) -> None:
    carried = [
        {"instruction": "short", "checks": [SHORT.source], "min_fraction": 1.0},
        {"instruction": "lower", "checks": [LOWER.source, BROKEN.source], "min_fraction": 0.5},
    ]

    def chat(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]

    rows = lines(
        tmp_path / "rows.jsonl",
        {"messages": chat("abc"), "verifiers": carried},
        {"messages": chat("ABC"), "verifiers": carried},
        {"prompt": chat("q"), "chosen": "abc", "rejected": chat("ABC"), "verifiers": carried},
        {"prompt": chat("q"), "chosen": "abc", "rejected": "ab", "verifiers": carried},
        {"prompt": chat("q")[:1], "verifiers": carried},
    )
    out: list[bytes] = []
    counts = verify_rows(rows, out.append, sandbox=sandbox)
    assert [json.loads(line)["agrees"] for line in out] == [True, False, True, False, None]
    assert (counts.rows, counts.agreed, counts.disagreed, counts.unclaimed) == (5, 4, 2, 1)
    first = {"fraction": 1.0, "outcomes": ["TRUE"], "reasons": [""]}
    assert json.loads(out[0])["texts"]["response"][0] == first
    with pytest.raises(UsageError, match=r"bad\.jsonl:1: "):
        verify_rows(lines(tmp_path / "bad.jsonl", {"messages": []}), sandbox=sandbox)


def agreement(tmp_path: Path, sandbox: Sandbox, row: dict[str, Any], *checks: Check) -> bool | None:
    carried = [{"checks": [c.source], "min_fraction": 1.0} for c in checks or (SHORT,)]
    out: list[bytes] = []
    verify_rows(
        lines(tmp_path / "f.jsonl", row | {"verifiers": carried}), out.append, sandbox=sandbox
    )
    agrees: bool | None = json.loads(out[0])["agrees"]
    return agrees


LONG = [{"role": "assistant", "content": "much too long"}]


@pytest.mark.parametrize(
    ("row", "agrees"),
    [
        ({"prompt": "q", "completion": "abc"}, True),
        ({"prompt": "q", "completion": LONG}, False),
        ({"prompt": "q", "completion": LONG, "label": True}, False),
        ({"prompt": "q", "completion": LONG, "label": False}, True),
        ({"prompt": "q", "completion": "abc", "label": False}, False),
        (
            {"prompt": "q", "chosen": {"role": "assistant", "content": "abc"}, "rejected": LONG},
            True,
        ),
        ({"prompt": "q", "chosen": LONG, "rejected": "abcdefg"}, False),
        ({"messages": [{"role": "user", "content": "q"}, *LONG]}, False),
        ({"messages": [{"role": "assistant", "content": "abc"}], "completion": LONG}, False),
        ({"prompt": "q", "completion": " "}, False),  # nothing was said, so nothing is followed
        ({"prompt": "q", "completion": "\u200b\ufeff"}, False),
        ({"prompt": "q", "pass_rate": 0.5, "level": 1, "id": "a"}, None),
    ],
)
def test_whatever_response_a_row_has_is_looked_at(
    tmp_path: Path, sandbox: Sandbox, row: dict[str, Any], agrees: bool | None
) -> None:
    assert agreement(tmp_path, sandbox, row) is agrees


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "abc"},
        {"prompt": "q", "completion": "abc", "label": False},
        {"prompt": "q", "chosen": "abc", "rejected": "abcdefg"},
        {"prompt": "q"},
    ],
)
def test_a_check_that_concludes_nothing_agrees_with_nothing(
    tmp_path: Path, sandbox: Sandbox, row: dict[str, Any]
) -> None:
    assert agreement(tmp_path, sandbox, row, BROKEN) is False


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "q", "answer": "Seven."}, "nothing would be checked of the column 'answer'"),
        ({"prompt": "q", "responses": ["Seven."]}, "of the column 'responses'; responses are read"),
        ({"prompt": [{"role": "user", "content": "q"}, *LONG]}, "the last is the user's"),
        ({"prompt": json.dumps([{"role": "user", "content": "q"}, *LONG])}, "a prompt without"),
        ({"prompt": {"user": "q", "assistant": "a"}}, "a prompt without a response is a text"),
        ({"prompt": [{"user": "q", "assistant": "a"}]}, "a prompt without a response is a text"),
        ({"prompt": [{"role": "user", "content": "q", "reply": "x"}, "a"]}, "a prompt without"),
        ({"messages": LONG, "label": False}, '"label" is of a "completion"'),
        ({"prompt": "q", "chosen": "a", "rejected": LONG, "label": "false"}, '"label" is of'),
        ({"messages": LONG, "response": "a"}, "nothing would be checked of the column 'response'"),
        ({"messages": LONG, "completions": ["a"]}, "checked of the column 'completions'"),
        ({"prompt": "q", "completion": "a", "output": "b"}, "checked of the column 'output'"),
        ({"question": "q"}, "none of the columns messages, completion, chosen, rejected is there"),
        ({"prompt": "q", "chosen": "a"}, '"chosen" and "rejected" need each other'),
        ({"prompt": "q", "completion": "a", "label": "yes"}, '"label" has to be true or false'),
        ({"prompt": "q", "completion": None}, "a text or a list of messages is wanted"),
        (
            {"messages": [{"role": "user", "content": "q"}]},
            "the last message is not the assistant's",
        ),
    ],
)
def test_a_shape_that_is_not_understood_is_refused(
    tmp_path: Path, sandbox: Sandbox, row: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=r"f\.jsonl:1: ") as error:
        agreement(tmp_path, sandbox, row)
    assert says in str(error.value)


def test_a_bar_below_half_is_counted_and_none_is_refused(tmp_path: Path, sandbox: Sandbox) -> None:
    def row(least: object) -> dict[str, Any]:
        checks = [SHORT.source, "def evaluate(response):\n    return False", BROKEN.source]
        return {
            "prompt": "q",
            "completion": "a",
            "verifiers": [{"checks": checks, "min_fraction": least}],
        }

    counts = verify_rows(lines(tmp_path / "f.jsonl", row(0.3), row(0.5)), sandbox=sandbox)
    assert (counts.agreed, counts.disagreed, counts.lenient) == (1, 1, 1)
    for least in (0, -1, True):
        with pytest.raises(UsageError, match=r"f\.jsonl:1: .*above 0 and up to 1"):
            verify_rows(lines(tmp_path / "f.jsonl", row(least)), sandbox=sandbox)
