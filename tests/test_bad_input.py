"""What goes wrong outside: one clear line on stderr, never a trace, the exit code that is promised,
and what was paid for stays in the store."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autoif.base.inputs import BUILTIN
from autoif.cli import main
from runs import FEW, SMOKE, Done, artefacts, balanced, report, rows, stages, write_rows
from server import Server

Capture = pytest.CaptureFixture[str]
Here = Callable[..., Done]


def line(capsys: Capture, *args: object, code: int = 2) -> str:
    """The one line of a command that fails."""
    capsys.readouterr()
    assert main([str(a) for a in args]) == code
    said = capsys.readouterr()
    (only,) = said.err.splitlines()
    assert only.startswith("autoif: ")
    assert "Traceback" not in said.err + said.out
    return only.removeprefix("autoif: ")


def synth(out: Path, *more: object) -> tuple[object, ...]:
    return ("synth", "--preset", "smoke", "--quiet", "--out", out, *more)


# ---- files -------------------------------------------------------------------------------------

FILES: dict[str, tuple[str, bytes, str]] = {
    "empty text": ("f.txt", b"", "empty"),
    "blank lines": ("f.txt", b"\n \n\n", "empty"),
    "empty JSONL": ("f.jsonl", b"", "empty"),
    "empty CSV": ("f.csv", b"", "empty"),
    "empty Parquet": ("f.parquet", b"", "not a readable parquet"),
    "Latin-1 text": ("f.txt", "Schöne Grüße".encode("latin-1"), "not UTF-8"),
    "Latin-1 JSONL": ("f.jsonl", '{"text": "Schön"}'.encode("latin-1"), "not UTF-8"),
    "Latin-1 CSV": ("f.csv", "text\nSchön\n".encode("latin-1"), "not UTF-8"),
    "half of UTF-16": ("f.txt", "text".encode("utf-16")[:-1], "not UTF-16"),
    "no such column in JSONL": ("f.jsonl", b'{"titel": "x"}\n', r"no text .*has: titel \(text\)"),
    "no such column in CSV": ("f.csv", b"titel\nx\n", r"no text .*has: titel \(text\)"),
    "no text in the column": ("f.jsonl", b'{"text": 3}\n', r"no text .*has: text \(number\)"),
    "broken JSON": ("f.jsonl", b'{"text": "a"}\n{"text": \n', "f.jsonl:2: not JSON"),
    "no objects": ("f.jsonl", b"3\n", "f.jsonl: row 1: a JSON object is wanted"),
    "rows of several lengths": ("f.csv", b"text,n\na,1\nb,c,2\n", "f.csv:3: 3 fields"),
    "YAML": ("f.yaml", b"- one\n", "YAML is not read"),
    "deep JSON": ("f.jsonl", b"[" * 100_000, "not JSON"),
    "deep JSON in a row": ("f.jsonl", b'{"a":' * 100_000, "f.jsonl:1: not JSON"),
    "no Parquet": ("f.parquet", b"PAR1 not really", "not a readable parquet"),
    "only Chinese": ("f.txt", "请用三句话回答这个关于天气的问题。".encode(), "no "),
    "another language": (
        "f.jsonl",
        b'{"text": "Sag etwas Langes dazu.", "lang": "de"}',
        "1 other_language .by the column `lang`",
    ),
    "chats without a user": ("f.jsonl", b'{"messages": [{"role": "system"}]}', "no text in"),
}


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("option", ["--seeds", "--queries", "--instructions"])
def test_a_file_that_is_none(what: str, option: str, tmp_path: Path, capsys: Capture) -> None:
    name, content, wanted = FILES[what]
    (tmp_path / name).write_bytes(content)
    said = line(capsys, *synth(tmp_path / "run", option, tmp_path / name, "--dry-run"))
    assert name in said
    assert re.search(wanted, said), said


VERIFIERS = {
    "no checks": b'{"instruction": "Be brief."}',
    "checks that are none": b'{"instruction": "Be brief.", "checks": [3]}',
    "no instruction": b'{"checks": ["def evaluate(r): return True"]}',
    "an instruction of numbers": b'{"instruction": {"text": "x", "lang": 3}, "checks": ["x"]}',
    "odd parents": b'{"instruction": {"text": "x", "parents": 3}, "checks": ["x"]}',
    "odd accuracy": b'{"instruction": "x", "checks": ["x"], "accuracy": 0.9}',
    "too few accuracies": b'{"instruction": "x", "checks": ["x"], "accuracy": [1, 2]}',
    "a case that is none": b'{"instruction": "x", "checks": ["x"], "cases": ["y"]}',
    "empty": b"",
}


@pytest.mark.parametrize("what", VERIFIERS)
def test_verifiers_that_are_none(what: str, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "v.jsonl"
    file.write_bytes(VERIFIERS[what])
    assert "v.jsonl" in line(capsys, *synth(tmp_path / "run", "--verifiers", file, "--dry-run"))


@pytest.mark.parametrize("source", ["absent.txt", "folder", "x" * 300, "hf:./absent-dataset"])
def test_a_source_that_is_not_there(source: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "folder").mkdir()
    wanted = source if source.startswith("hf:") else str(tmp_path / source)
    line(capsys, *synth(tmp_path / "run", "--seeds", wanted, "--dry-run"))


@pytest.mark.parametrize("key", ["compose.soft", "hygiene.against", "hygiene.fidelity"])
def test_a_file_that_is_read_late_is_missed_before_anything_is_paid(
    key: str, tmp_path: Path, capsys: Capture
) -> None:
    name = str(tmp_path / "absent.jsonl")
    value = json.dumps([name] if key == "hygiene.against" else name)
    for way in (["--dry-run"], ["--batch", tmp_path / "batch.jsonl"], []):
        said = line(capsys, *synth(tmp_path / "run", "--set", f"{key}={value}", *way))
        assert "absent.jsonl: no such file" in said.lower()
    assert not (tmp_path / "batch.jsonl").exists()


def test_queries_that_are_all_too_short(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "q.txt").write_text("Why?\nHow?\n")
    said = line(capsys, *synth(tmp_path / "run", "--queries", tmp_path / "q.txt"))
    assert "queries.min_chars" in said


def test_queries_that_are_left_out_are_in_the_books(tmp_path: Path, here: Here) -> None:
    asked = [row["query"] for row in rows(BUILTIN / "smoke" / "queries.en.jsonl")][:3]
    mine: list[object] = [
        {"query": asked[0]},
        {"query": None, "text": asked[1]},
        {"messages": [{"role": "User", "content": [{"type": "text", "text": asked[2]}]}]},
        {"query": asked[0], "lang": "en-GB"},
        {"query": "Why?"},
        {"query": "Why is it so? " * 50},
        {"query": "Warum ist der Himmel blau?", "lang": "de"},
        {"image": "none"},
    ]
    source, out = write_rows(tmp_path / "q.jsonl", mine), tmp_path / "run"
    against = write_rows(tmp_path / "b.jsonl", [{"turns": ["Name three primes."]}, {"image": 1}])
    more = ("--set", "instructions.rounds=0", "--set", "instructions.limit=1")
    done = here(*synth(out, "--queries", source, "--set", f'hygiene.against=["{against}"]', *more))
    assert (done.code, done.err) == (0, "")
    left_out = {"duplicate": 1, "too_short": 1, "too_long": 1, "other_language": 1, "no_text": 1}
    found = stages(report(out))
    assert found["queries"] == {"name": "queries", "in": 8, "kept": 3, "dropped": left_out}
    assert found["benchmarks"] == {
        "name": "benchmarks", "in": 2, "kept": 1, "dropped": {"no_text": 1},
    }  # fmt: skip
    drops = rows(out / "00-inputs.dropped.jsonl")
    assert [d["reason"] for d in drops if d["stage"] == "queries"] == [
        "duplicate", "too_short", "too_long", "other_language", "no_text",
    ]  # fmt: skip
    assert "Warum ist der Himmel blau?" in [d["detail"] for d in drops]
    assert balanced(report(out))


def test_instructions_of_ones_own_stay_as_they_are(tmp_path: Path, here: Here) -> None:
    mine = ["Lay it out so:\nTITLE\n-----\nBODY", "Use a tab\tbetween columns", "End with: ...",
            "Ask the reader: are you ready?", "Be brief"]  # fmt: skip
    source = write_rows(tmp_path / "i.jsonl", [*({"text": text} for text in mine), {"text": None}])
    script = write_rows(tmp_path / "s.jsonl", [{"contains": [], "replies": ["No."]}])
    out = tmp_path / "run"
    done = here(*synth(out, "--instructions", source, "--model", f"scripted:{script}"))
    assert done.code == 1
    assert {row["text"] for row in rows(out / "01-instructions.jsonl")} == set(mine)
    assert stages(report(out))["instructions"]["dropped"] == {"no_text": 1}


def test_odd_files_that_will_do(tmp_path: Path, here: Here) -> None:
    """Repeated, huge, or with a control character: each line has its fate in the books."""
    smoke = [row["text"] for row in rows(BUILTIN / "smoke" / "seeds.en.jsonl")]
    lines = [*smoke, smoke[0].upper(), "Use \x07 somewhere.", "Say " + "very " * 5_000 + "much."]
    (tmp_path / "s.txt").write_text("\n".join(lines))
    out = tmp_path / "run"
    done = here(*synth(out, "--seeds", tmp_path / "s.txt", "--set", "instructions.rounds=0"))
    assert (done.code, done.err) == (0, "")
    found = report(out)
    assert balanced(found)
    assert stages(found)["instructions"]["in"] == len(lines)
    assert stages(found)["instructions"]["dropped"] == {"duplicate": 2}


def test_one_instruction_is_enough(tmp_path: Path, capsys: Capture) -> None:
    text = rows(BUILTIN / "smoke" / "seeds.en.jsonl")[0]["text"]
    (tmp_path / "i.txt").write_text(text)
    assert main([str(a) for a in synth(tmp_path / "r", "--instructions", tmp_path / "i.txt")]) == 0
    assert stages(report(tmp_path / "r"))["instructions"] == {
        "name": "instructions", "in": 1, "kept": 1, "dropped": {},
    }  # fmt: skip


# ---- recipe ------------------------------------------------------------------------------------

WRONG = {
    ("--preset", "nonsense"): "unknown preset 'nonsense'; there are",
    ("--set", "nonsense=1"): "unknown key 'nonsense'",
    ("--set", "judge.nonsense=1"): "unknown key 'judge.nonsense'",
    ("--set", "judge.treshold=1"): "did you mean judge.threshold?",
    ("--set", "waves=[2]"): "did you mean responses.waves?",
    ("--preset", "strikt"): "did you mean strict?",
    ("--set", "judge.threshold=11"): "judge.threshold: ",
    ("--set", "judge.threshold=high"): "judge.threshold: ",
    ("--set", "judge=3"): "judge: input should be a valid table",
    ("--set", "hygiene.against=a.jsonl"): "hygiene.against: input should be a valid list",
    ("--set", "models.prices={m=[1]}"): "models.prices.m.1: field required",
    ("--set", "models.prices={m=[1,2,3]}"): "models.prices.m: list should have at most 2 items",
    ("--set", "judge"): "--set wants key=value",
    ("--set", "=3"): "--set wants key=value",
    ("--set", f"seed={'9' * 5000}"): "too many digits",
    ("--set", f"seed={'[' * 5000}"): "nested too deeply",
    ("--set", f"{'a.' * 5000}a=1"): "nested too deeply",
    ("--set", "responses.waves=[]"): "responses.waves",
    ("--target", "-1"): "target: ",
    ("--lang", "de"): "langs",
    ("--lang", ""): "langs",
    ("--model", "gpt-4o"): "did you mean openai:gpt-4o?",
    ("--model", "qwen2.5-coder-1.5b-instruct"): "did you mean local:qwen2.5-coder-1.5b-instruct?",
    ("--model", "opnai:x"): "did you mean openai:x?",
    ("--model", "nonsense:x"): "is none of these: local:NAME",
    ("--model", "scripted:absent.jsonl"): "absent.jsonl: no such file",
    ("--model", "openai:x", "--base-url", "localhost:8000"): "is no base URL",
    ("--budget", "much"): "--budget much has no unit or no number: use 5USD or 2Mtok",
    ("--set", 'prompts={nonsense="x"}'): "prompts.nonsense: no such prompt",
    ("--set", 'prompts={judge="absent.md"}'): "prompt file absent.md",
}


@pytest.mark.parametrize("args", WRONG, ids=lambda args: " ".join(args)[:60])
def test_a_wrong_setting_is_named(args: tuple[str, ...], tmp_path: Path, capsys: Capture) -> None:
    said = line(capsys, "synth", "--quiet", "--out", tmp_path / "run",
                *(() if args[0] == "--preset" else ("--preset", "smoke")), *args)  # fmt: skip
    assert WRONG[args] in said


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"[judge", "not a TOML file"),
        (b"\xff\xfe", "not a TOML file"),
        (b"x = " + b"[" * 5000, "nested too deeply"),
        (b"seed = " + b"9" * 5000, "too many digits"),
        (b".".join([b"x"] * 20_000) + b" = 1", "too many dots"),
        (b".".join([b"x"] * 1_000) + b" = 1", "nested too deeply"),
        (b"x = 1\n" * 50_000, "longer than 200,000 characters"),
        (b'preset = "nonsense"', "unknown preset"),
        (b"preset = 3", "unknown preset"),
        (b"[judge]\nthreshhold = 3", "unknown key 'judge.threshhold'"),
    ],
)
def test_a_broken_recipe(content: bytes, wanted: str, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "recipe.toml"
    file.write_bytes(content)
    said = line(capsys, "synth", file, "--out", tmp_path / "run")
    assert "recipe.toml" in said or "preset" in said
    assert wanted in said


def test_target_0_means_all(tmp_path: Path, capsys: Capture) -> None:
    assert main([str(a) for a in synth(tmp_path / "run", "--target", "0", *FEW)]) == 0


# ---- directories and disks ---------------------------------------------------------------------


def test_an_out_that_is_a_file(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "f").write_text("mine")
    assert "cannot be written" in line(capsys, *synth(tmp_path / "f"), code=1)
    assert "cannot be written" in line(capsys, *synth(tmp_path / "f" / "run"), code=1)
    assert (tmp_path / "f").read_text() == "mine"


def test_an_out_that_cannot_be_written(capsys: Capture) -> None:
    assert "cannot be written" in line(capsys, *synth(Path("/proc/autoif")), code=1)


def test_a_directory_with_a_broken_recipe_or_report(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "01-instructions.jsonl").touch()
    (tmp_path / "recipe.toml").write_text("[")
    assert "not a TOML file" in line(capsys, *synth(tmp_path))
    (tmp_path / "progress.json").write_text("{")
    assert "progress.json" in line(capsys, "status", tmp_path)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from autoif.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("size", [20_000, 90_000, 200_000])
def test_a_disk_that_is_full(size: int, smoke: Path, tmp_path: Path) -> None:
    """No file may grow beyond `size`; then the disk is larger, and nothing has been lost."""
    assert resource.RLIMIT_FSIZE
    out = tmp_path / "run"
    args = [str(a) for a in synth(out)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *args],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith("autoif: ")
    assert main(args) == 0
    assert artefacts(out) == artefacts(smoke)


# ---- servers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with Server(SMOKE) as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    shared.chaos()
    yield shared
    shared.chaos()


def remote(out: Path, url: str, *more: object) -> tuple[object, ...]:
    return synth(out, "--model", "openai:any", "--base-url", url, *more)


SERVERS: dict[str, tuple[dict[str, object], str]] = {
    "a wrong key": ({"key": "another"}, "401"),
    "another model": ({"model": "mine"}, "404.*it has mine"),
    "no credit": ({"status": 402, "says": "pay first"}, "402"),
    "a long wait": ({"busy": 1.0, "retry_after": "9999"}, "429"),
    "429 for ever": ({"busy": 1.0}, "429|has not answered"),
    "500 for ever": ({"error": 1.0}, "500|has not answered"),
    "truncated bodies": ({"truncate": 1.0}, "no chat completion|has not answered"),
    "web pages": ({"html": 1.0}, "no chat completion|has not answered"),
    "no answer": ({"hang": 1.0}, "has not answered"),
}


@pytest.mark.parametrize("what", SERVERS)
def test_a_server_that_will_not(what: str, server: Server, tmp_path: Path, here: Here) -> None:
    chaos, wanted = SERVERS[what]
    server.chaos(**chaos)
    small = ("--set", "instructions.limit=3", "--set", "instructions.rounds=0",
             "--set", "compose.levels=1", "--set", "compose.turns=1")  # fmt: skip
    quick = (*small, "--set", "models.patience=1.5", "--set", "models.timeout=1")
    done = here(*remote(tmp_path / "run", server.url, *quick), OPENAI_API_KEY="sk-no")
    assert done.code == 1, done.err
    assert "Traceback" not in done.err
    assert "never retrieved" not in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("autoif: ")
    assert re.search(wanted, last), last
    assert "sk-no" not in done.err
    # The way on is the way that was meant.
    server.chaos()
    done = here(*remote(tmp_path / "run", server.url, *small), OPENAI_API_KEY="sk-no")
    assert (done.code, done.err) == (0, "")


def test_no_server_there(tmp_path: Path, here: Here) -> None:
    done = here(*remote(tmp_path / "run", "http://127.0.0.1:9/v1"))
    assert done.code == 1
    (said,) = done.err.splitlines()
    assert "no server at http://127.0.0.1:9/v1" in said


def test_a_server_that_stops_answering_in_mid_run(
    smoke: Path, server: Server, tmp_path: Path, here: Here
) -> None:
    server.chaos(dead_after=server.stats()["answered"] + 60)
    quick = ("--set", "models.patience=2", "--set", "models.timeout=1")
    out = tmp_path / "run"
    done = here(*remote(out, server.url, *quick))
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "never retrieved" not in done.err
    assert report(out)["state"] == "failed"
    asked = report(out)["calls"]["asked"]
    assert asked == 60
    server.chaos()
    done = here(*remote(out, server.url))
    assert done.code == 0, done.err
    assert report(out)["calls"]["asked"] == report(smoke)["calls"]["asked"] - asked
    assert artefacts(out, card=False) == artefacts(smoke, card=False)


@pytest.mark.parametrize("reply", ["colourless green ideas", "", "{" * 500, "10"])
def test_a_model_that_talks_nonsense(reply: str, tmp_path: Path, capsys: Capture) -> None:
    script = write_rows(tmp_path / "s.jsonl", [{"contains": [], "replies": [reply]}])
    out = tmp_path / "run"
    args = ["synth", "--preset", "smoke", "--out", out, "--model", f"scripted:{script}"]
    assert main([str(a) for a in args]) == 1
    said = capsys.readouterr()
    assert "no sample survived" in said.err.splitlines()[-1]
    assert "functions" in said.out
    assert "unparseable" in said.out or "no_answer" in said.out
    assert balanced(report(out))
    assert all(not rows(out / f"data/{name}.jsonl") for name in ("sft", "dpo", "rlvr"))


@pytest.mark.parametrize("chaos", [{"status": 400, "says": "too long"}, {"status": 402}])
def test_a_server_that_is_mended(
    chaos: dict[str, Any], server: Server, tmp_path: Path, here: Here
) -> None:
    """Whatever failed without an answer is asked again; finished work is not."""
    own = tmp_path / "own.txt"
    own.write_text("End every line of your reply with a semicolon.\n")
    args = remote(tmp_path / "run", server.url, "--instructions", own)
    server.chaos(**chaos)
    done = here(*args, OPENAI_API_KEY="sk-no")
    assert done.code == 1, done.err
    assert "Traceback" not in done.err
    assert "never retrieved" not in done.err
    server.chaos()
    done = here(*args, OPENAI_API_KEY="sk-no")
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "run/data/sft.jsonl").read_text()


def test_an_output_that_is_the_input(smoke_copy: Path, capsys: Capture) -> None:
    rows = smoke_copy / "data" / "sft.jsonl"
    before = rows.read_bytes()
    assert "the file that is read" in line(capsys, "verify", "--rows", rows, "--out", rows)
    assert rows.read_bytes() == before


@pytest.mark.parametrize("url", ["", " , "])
def test_no_base_url(url: str, tmp_path: Path, capsys: Capture) -> None:
    assert "--base-url is empty" in line(capsys, *remote(tmp_path, url))
