"""The main job, end to end: real parsers, sandbox, judge rules and store; only the model is
scripted. What a run must always be: balanced, complete, repeatable."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from autoif.run.funnel import FILES
from autoif.store import open_store
from autoif.verifier.verify import verify_rows
from runs import (
    SMOKE,
    Done,
    Row,
    artefacts,
    autoif,
    balanced,
    marker,
    report,
    rows,
    stages,
    write_rows,
)
from server import Server

Here = Callable[..., Done]


def drops(out: Path) -> Counter[tuple[str, str]]:
    found = Counter[tuple[str, str]]()
    for name, names in FILES.items():
        for row in rows(out / f"{name}.dropped.jsonl"):
            assert row["stage"] in names
            assert row["record_id"]
            found[row["stage"], row["reason"]] += 1
    return found


def test_every_stage_keeps_some_and_drops_some(smoke: Path) -> None:
    found = report(smoke)
    assert balanced(found)
    for name, stage in stages(found).items():
        if name == "controls":  # a script judges nothing
            continue
        assert stage["kept"] > 0 or name == "benchmarks", name
        assert stage["dropped"] or name in ("queries", "benchmarks", "samples", "data"), name


def test_every_drop_has_its_line(smoke: Path) -> None:
    counted = Counter(
        {
            (stage["name"], reason): n
            for stage in report(smoke)["stages"]
            for reason, n in stage["dropped"].items()
        }
    )
    assert drops(smoke) == counted


def test_what_is_kept_is_what_is_written(smoke: Path) -> None:
    found = stages(report(smoke))
    assert len(rows(smoke / "01-instructions.jsonl")) == found["instructions"]["kept"]
    assert len(rows(smoke / "02-verifiers.jsonl")) == found["verifiers"]["kept"]
    samples = rows(smoke / "03-samples.jsonl")
    assert sum(s["kept"] for s in samples) == found["samples"]["kept"]
    dropped = {d["record_id"] for d in rows(smoke / "05-data.dropped.jsonl")}
    assert [s["id"] for s in samples if s["kept"] and s["id"] not in dropped] == [
        r["id"] for r in rows(smoke / "data/sft.jsonl")
    ]
    names = ("sft", "dpo", "rlvr")
    written = sum(len(rows(smoke / f"data/{name}.jsonl")) for name in names)
    assert written == found["data"]["kept"]


def test_the_rows_prove_themselves(smoke: Path) -> None:
    """Each data row carries all that its verdict needs."""
    for name in ("sft", "dpo", "rlvr"):
        counts = verify_rows(smoke / f"data/{name}.jsonl")
        assert counts.rows > 0
        assert counts.disagreed == 0, name


def test_ids_are_not_repeated(smoke: Path) -> None:
    for name in ("01-instructions", "02-verifiers", "03-samples", "data/sft", "data/dpo",
                 "data/rlvr"):  # fmt: skip
        ids = [row["id"] for row in rows(smoke / f"{name}.jsonl")]
        assert len(set(ids)) == len(ids), name


def test_a_second_start_asks_nothing_and_makes_the_same(
    smoke: Path, smoke_copy: Path, here: Here
) -> None:
    done = here("synth", "--preset", "smoke", "--out", smoke_copy, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["calls"]["asked"] == 0
    assert artefacts(smoke_copy) == artefacts(smoke)


def test_another_directory_and_process_gets_the_same(smoke: Path, tmp_path: Path) -> None:
    assert autoif("synth", "--preset", "smoke", "--out", tmp_path / "b", "--quiet").code == 0
    assert artefacts(tmp_path / "b") == artefacts(smoke)


def test_artefacts_hold_no_times(smoke: Path) -> None:
    stamp = re.compile(rb"\b20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d|seconds|\bUSD\b")
    for name, content in artefacts(smoke).items():
        assert not stamp.search(content), name


def test_shards_and_flight_change_nothing(smoke: Path, tmp_path: Path, here: Here) -> None:
    done = here(
        "synth", "--preset", "smoke", "--out", tmp_path / "run", "--quiet",
        "--set", "engine.shard_size=2", "--set", "engine.in_flight=1",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert artefacts(tmp_path / "run") == artefacts(smoke)


def test_a_server_and_the_script_in_process_make_the_same(
    smoke: Path, tmp_path: Path, here: Here
) -> None:
    out = tmp_path / "run"
    with Server(SMOKE) as server:
        model = ("--model", "openai:scripted", "--base-url", server.url)
        done = here("synth", "--preset", "smoke", *model, "--out", out, "--quiet")
        assert done.code == 0, done.err
        stats = server.stats()
    assert artefacts(out, card=False) == artefacts(smoke, card=False)
    mine, theirs = ((d / "data/README.md").read_text().splitlines() for d in (out, smoke))
    assert {a for a, b in zip(mine, theirs, strict=True) if a != b} == {
        f"| {role} | `openai:scripted` |" for role in ("propose", "code", "respond", "judge")
    }
    assert stats["answered"] == report(out)["calls"]["asked"]


# ---- the published rules -----------------------------------------------------------------------

SEEDS = ["End with the word AMEN.", "Use no commas.", "Write at least three lines."]
FUNCTIONS = [
    ["def evaluate(response):\n    return response.strip().endswith('AMEN')",
     "import re\ndef evaluate(response):\n    return bool(re.search(r'AMEN\\s*$', response))",
     "def evaluate(response):\n    return 'AMEN' in response",
     "def evaluate(response):\n    return undefined_name"],
    ["def evaluate(response):\n    return ',' not in response",
     "def evaluate(response):\n    return response.count(',') == 0",
     "def evaluate(response):\n    return not set(response) & {','}",
     "def evaluate(response):\n    return len(response) > 10**6"],
    ["def evaluate(response):\n    return len(response.splitlines()) >= 3",
     "def evaluate(response):\n    return response.count('\\n') >= 2",
     "def evaluate(response):\n    return len(response.split('\\n')) > 2",
     "def evaluate(response):\n    return True"],
]  # fmt: skip
GOOD = ["Yes. AMEN", "Fine and short", "One\ntwo\nthree"]
BAD = ["AMEN to that.", "Well, no", "One line"]


def published() -> list[Row]:
    """Answers to the prompts of `paper` and `reference`: function and cases in one JSON object."""
    script: list[Row] = []
    for i, seed in enumerate(SEEDS):
        good = [GOOD[i].replace("Yes", w).replace("Fine", w).replace("One", w) for w in "abcdefgh"]
        bad = [f"{BAD[i]} {w}" for w in "abcdefgh"]
        answers = []
        for n, function in enumerate(FUNCTIONS[i]):
            cases: list[Row] = [{"input": t, "output": True} for t in good[2 * n : 2 * n + 2]]
            cases += [{"input": t, "output": False} for t in bad[2 * n : 2 * n + 2]]
            answers.append(json.dumps({"func": function, "cases": cases}))
        answers += ["no JSON", f"```json\n{answers[0]}\n```"]
        script.append({"contains": [marker("together"), seed], "replies": answers})
        for function in FUNCTIONS[i]:
            told = {"contains": [marker("backtranslate"), function], "replies": [seed]}
            script.append(told)
        reply = [GOOD[i], BAD[i], f"{GOOD[i]}", f"Better. {GOOD[i]}"]
        script.append({"contains": [marker("respond"), seed], "replies": reply})
    proposals = "- Use no commas!\n- Put the reply in round brackets from end to end."
    script += [
        {"contains": [marker("augment")], "replies": [proposals]},
        {"contains": [marker("nli")], "replies": ["entailment"]},
        {"contains": [marker("judge")], "replies": ["It answers.\nScore: 9", "Score: 3"]},
    ]
    return script


@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_the_published_rules_run(preset: str, tmp_path: Path, here: Here) -> None:
    script = write_rows(tmp_path / "script.jsonl", published())
    (tmp_path / "seeds.txt").write_text("\n".join(SEEDS))
    (tmp_path / "queries.txt").write_text("Why is the sky blue at noon?\nHow do I boil an egg?\n")
    args = (
        "synth", "--preset", preset, "--model", f"scripted:{script}", "--out", tmp_path / "run",
        "--seeds", tmp_path / "seeds.txt", "--queries", tmp_path / "queries.txt", "--quiet",
    )  # fmt: skip
    done = here(*args)
    assert done.code == 0, done.err
    found = report(tmp_path / "run")
    assert balanced(found)
    assert {v["instruction"]["text"] for v in rows(tmp_path / "run/02-verifiers.jsonl")} == set(
        SEEDS
    )
    for name in ("instructions", "functions", "crossval", "verifiers", "responses", "judge"):
        assert stages(found)[name]["kept"] > 0, name
    assert stages(found)["functions"]["dropped"]["unparseable"] >= 3
    assert "NameError" in (tmp_path / "run/02-verifiers.dropped.jsonl").read_text()
    before = artefacts(tmp_path / "run")
    done = here(*args, "--json")
    assert json.loads(done.out)["calls"]["asked"] == 0
    assert artefacts(tmp_path / "run") == before


async def test_every_call_lies_in_the_store_with_what_it_was_made_for(smoke: Path) -> None:
    async with open_store(smoke / "calls.sqlite", read_only=True) as store:
        for instruction in rows(smoke / "01-instructions.jsonl"):
            made = Counter(call.stage for call in await store.calls_for(instruction["id"]))
            assert made["functions"] >= 1
            assert made["programs"] >= 1
