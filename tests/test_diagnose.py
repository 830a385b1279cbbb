"""Diagnoses: what a flag is raised for, what not, and how often that goes wrong."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

import autoif
from autoif.base.errors import UsageError
from autoif.base.records import Case, Check, Instruction, Verifier
from autoif.diagnosis import FLAGS, Diagnosis, diagnose, diagnose_file
from autoif.diagnosis.core import PROGRAMS, facts_of, program
from autoif.diagnosis.flags import clusters
from autoif.diagnosis.probes import pool
from autoif.diagnosis.reading import read
from autoif.sandbox import CHECK_LIMITS, Limits, Sandbox
from runs import autoif as command
from runs import rows, write_rows

PLANTED = Path(__file__).parent / "planted" / "verifiers.jsonl"
RIVER = 'Include the word "river" at least twice.'
TWICE = r"len(re.findall(r'\briver\b', response.lower())) > 1"  # what a sound function says
CASES = [Case("river by river", True), Case("The river, a River.", True),
         Case("one river", False), Case("none at all", False)]  # fmt: skip


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(limits=CHECK_LIMITS) as sandbox:
        yield sandbox


def function(body: str) -> str:
    """`evaluate` of an expression, or of lines."""
    if "return" not in body:
        body = f"return {body}"
    lines = "\n    ".join(body.split("\n"))
    return f"import re, json, random, time\ndef evaluate(response):\n    {lines}\n"


def flags(
    sandbox: Sandbox, instruction: str, *bodies: str, cases: list[Case] | None = None
) -> tuple[str, ...]:
    found = diagnose([function(b) for b in bodies], instruction, cases=cases or [], sandbox=sandbox)
    return found.flags


# ---- each flag, and its honest twin -------------------------------------------------------------

BAD = [
    ("accept_all", RIVER, "len(response) >= 0"),
    ("accept_all", "Do not use the word \"zebra\".", "'ZEBRA' not in response.lower()"),
    ("accept_all", "Name at least three rivers.", "bool(re.search('[A-Za-z]', response))"),
    ("reject_all", RIVER, "'RIVER' in response.lower()"),
    ("reject_all", "Keep your answer under 60 words.", "len(response) < 60"),
    ("reject_all", "Do not use any digits.", "response.isalpha()"),
    ("nondeterministic", RIVER, "response.count('river') > 1 and random.random() < 0.95"),
    ("nondeterministic", RIVER, "response.count('river') > 1 and time.time() > 0"),
    ("nondeterministic", RIVER, "response.count('river') > 1 and hash(response) != 7"),
    ("slow", "Use no comma at the end.", "not re.match(r'(([a-z ])+.)+,$', response)"),
    ("slow", "Use no word twice.", "seen = []\nfor word in response.split():\n"
     "    if any(word == other for other in seen * 300):\n        return False\n"
     "    seen.append(word)\nreturn bool(seen)"),
    ("hackable", "Begin every line with a hyphen.",
     "all(line.startswith('-') for line in response.splitlines())"),
    ("hackable", "Write at least three paragraphs.", "'\\n' in response or len(response) > 3"),
    ("hackable", "Use the word \"ocean\" at least three times.", "'ocean' in response"),
    ("format_sensitive", RIVER, "response.split().count('river') >= 2"),
    ("format_sensitive", "Include a JSON object with the key \"name\".",
     "try:\n    return 'name' in json.loads(response)\nexcept ValueError:\n    return False"),
    ("language_trap", "全文不超过五十个字。", "len(response.split()) <= 50"),
    ("language_trap", "至少写一百个字。", "len(response.encode()) >= 100"),
    ("language_trap", "至少写三句话。", "len(re.findall(r'[.!?]', response)) >= 3"),
    ("fails", RIVER, "response.undefined"),
    ("contradicts_instruction", "Use the word \"river\" exactly five times.",
     "response.count('river') == 4"),
    ("contradicts_instruction", "Write at least 12 sentences.", "response.count('.') > 12"),
    ("contradicts_instruction", "Mention \"salt\", \"iron\" and \"wool\".",
     "any(w in response for w in ('salt', 'iron', 'wool'))"),
    ("contradicts_instruction", "Do not use the words \"salt\" or \"iron\".",
     "'salt' not in response or 'iron' not in response"),
    ("contradicts_instruction", "End every line with a question mark.",
     "any(line.endswith('?') for line in response.splitlines())"),
    ("contradicts_instruction", "Begin with \"Dear all\" and end with \"Yours ever\".",
     "response.strip().startswith('Dear all')"),
    ("contradicts_instruction", "请恰好使用三个问号。", "len(re.findall('[?？]', response)) == 2"),
    ("contradicts_instruction", "Include at least nine hashtags.",
     "len(re.findall('#', response)) >= 3"),
    ("contradicts_instruction", "Write an even number of lines.",
     "len(response.splitlines()) % 2 == 1"),
    ("contradicts_instruction", "Begin every line with \"Dear\".",
     "response.startswith('Dear')"),
    ("nondeterministic", RIVER, "sorted(('river', 'lake'), key=hash)[0] in response"),
    # A word that stands inside another one is not there.
    ("contradicts_instruction", RIVER, "response.lower().count('river') > 1"),
    ("contradicts_instruction", "Do not use the word \"art\".", "'art' not in response.lower()"),
    ("contradicts_instruction", "Mention the words \"sun\" and \"oak\".",
     "all(re.search(w, response, re.I) for w in ('sun', 'oak'))"),
]  # fmt: skip


@pytest.mark.parametrize(("flag", "instruction", "body"), BAD, ids=lambda v: str(v)[:40])
def test_a_flag_is_raised(sandbox: Sandbox, flag: str, instruction: str, body: str) -> None:
    cases = CASES if instruction == RIVER else None
    assert flag in flags(sandbox, instruction, body, cases=cases)


def test_a_function_that_sleeps_is_slow() -> None:
    with Sandbox(1, Limits(total_seconds=1.0)) as sandbox:
        assert "slow" in flags(sandbox, RIVER, "time.sleep(0.1)\nreturn True", cases=CASES)


GOOD = [
    (RIVER, TWICE),
    ("Include \"river\" at least twice, within a longer word or not.",
     "response.lower().count('river') > 1"),
    ("Use the suffix \"ing\" in two words.", "response.count('ing') > 1"),
    ("Do not use any commas.", "',' not in response"),
    ("Use lowercase letters only.", "response == response.lower()"),
    ("Write at most 50 words.", "len(response.split()) <= 50"),
    ("Do not use the word \"zebra\".", "not re.search(r'\\bzebra\\b', response.lower())"),
    ("End with the phrase \"That is all.\"", "response.rstrip().endswith('That is all.')"),
    ("Begin with a quotation mark.", "response.startswith('\"')"),
    ("The whole reply must be valid JSON, and nothing else.",
     "try:\n    json.loads(response)\n    return True\nexcept ValueError:\n    return False"),
    ("Write exactly three lines.", "len(response.strip().splitlines()) == 3"),
    ("Begin every line with a hyphen.",
     "bool(response.strip()) and all(x.startswith('-') for x in response.strip().splitlines())"),
    ("Make the number of words divisible by three.", "len(response.split()) % 3 == 0"),
    ("Include a hashtag.", "bool(re.search(r'#\\w+', response))"),
    ("全文不超过五十个字。", "len(re.findall(r'[\\u4e00-\\u9fff]', response)) <= 50"),
    ("通篇不用逗号。", "'，' not in response and ',' not in response"),
    ("不要使用英文字母。", "not re.search('[A-Za-z]', response)"),
    ("Use the word \"river\" exactly five times.",
     "len(re.findall(r'\\briver\\b', response.lower())) == 5"),
    ("Mention \"salt\", \"iron\" or \"wool\".",
     "any(w in response for w in ('salt', 'iron', 'wool'))"),
    ("Do not write more than two sentences per paragraph.",
     "all(len(re.findall(r'[.!?](?:\\s|$)', p)) <= 2 for p in response.split('\\n\\n'))"),
    ("Write at most thirty-five words.", "len(response.split()) <= 35"),
    ("Write at least two hundred and fifty words.", "len(response.split()) >= 250"),
    ("Write at most 500 words.", "len(response.split()) <= 500"),
    ("Write more than 400 words.", "len(response.split()) > 400"),
    ("全文不少于一千二百字。", "len(re.findall(r'[\\u4e00-\\u9fff]', response)) >= 1200"),
    ("全文控制在一千二百字以内。",
     "len(re.findall(r'[\\u4e00-\\u9fff]', response.lower())) <= 1200"),
    ("Say \"please\" exactly twice and \"thanks\" at least once.",
     "response.count('please') == 2 and 'thanks' in response"),
    ("Give an address at example.net.", "bool(re.search(r'[\\w.]+@example\\.net', response))"),
    ("Use at least two book titles in 《》.", "len(re.findall('《[^》]+》', response)) >= 2"),
    ("全文不得超过一百个汉字。", "0 < len(re.findall(r'[\\u4e00-\\u9fff]', response)) <= 100"),
    # Forms that no ordinary reply has by chance.
    ("Write three lines of 5, 7 and 5 words.",
     "[len(x.split()) for x in response.strip().splitlines()] == [5, 7, 5]"),
    ("The first letters of your lines spell the name OTTER.",
     "''.join(x[0] for x in response.split('\\n') if x).upper() == 'OTTER'"),
    ("Include a JSON object with the keys \"depth\" and \"width\" and no others.",
     "found = re.search(r'\\{.*\\}', response, re.S)\n"
     "return bool(found) and set(json.loads(found[0])) == {'depth', 'width'}"),
    ("Write a dialogue in which Mira and Jonas speak three times each.",
     "[len(re.findall(n + ':', response)) for n in ('Mira', 'Jonas')] == [3, 3]"),
]  # fmt: skip


@pytest.mark.parametrize(("instruction", "body"), GOOD, ids=lambda v: str(v)[:40])
def test_a_sound_function_has_no_flag(sandbox: Sandbox, instruction: str, body: str) -> None:
    assert flags(sandbox, instruction, body) == ()


def test_one_function_of_several(sandbox: Sandbox) -> None:
    bad = "response.split().count('river') > 1"
    found = diagnose([function(TWICE), function(bad)], RIVER, cases=CASES, sandbox=sandbox)
    assert [c.flags for c in found.checks] == [(), ("format_sensitive", "contradicts_cases")]
    assert found.flags == ("format_sensitive", "contradicts_cases")
    assert set(found.flags) <= set(FLAGS)


def test_functions_that_differ_are_shown_where(sandbox: Sandbox) -> None:
    """Nothing is held against either: the text that divides them is what a person needs."""
    sources = [function(TWICE), function("response.lower().count('river') > 1")]
    found = diagnose(sources, "Mention rivers twice.", cases=CASES, sandbox=sandbox)
    shown = {one.change: one for one in found.disputed}
    inside = shown["'river' inside another word"]
    assert inside.verdicts == (False, True)
    assert "midriver" in inside.text
    assert inside.expected is None


def test_cases_of_one_label(sandbox: Sandbox) -> None:
    good = TWICE
    positive = [case for case in CASES if case.expected]
    assert flags(sandbox, RIVER, good, cases=positive) == ("unbalanced_cases",)
    only_empty = [*positive, Case("", False)]
    assert flags(sandbox, RIVER, good, cases=only_empty) == ("unbalanced_cases",)
    assert flags(sandbox, RIVER, good, cases=CASES) == ()


@pytest.mark.parametrize(
    ("instruction", "body", "least", "most"),
    [
        ("Use no commas.", "',' not in response", 0.8, 1.0),
        ("Begin every line with a hyphen.", "all(x.startswith('-') for x in response.split('\\n'))",
         0.9, 1.0),
        ("全文至少三句。", "response.count('。') >= 3", 0.9, 1.0),
        ("Use at least forty different words.",
         "len(set(re.findall('[a-z]{4,}', response.lower()))) >= 40", 0.0, 0.0),
    ],
)  # fmt: skip
def test_hack_rate(
    sandbox: Sandbox, instruction: str, body: str, least: float, most: float
) -> None:
    """Filler keeps the form of what is accepted; only a demand on content is out of its reach."""
    rate = diagnose([function(body)], instruction, sandbox=sandbox).scores["hack_rate"]
    assert rate is not None
    assert least <= rate <= most


# ---- near-copies --------------------------------------------------------------------------------

ONE = """
def evaluate(response):
    lines = response.split("\\n")
    words = response.split()
    if len(lines) < 3:
        return False
    if len(words) < 10:
        return False
    return True
"""
SAME = '''
from typing import Any
def evaluate(text: str) -> bool:
    """Ten words, three lines."""
    w = text.split()
    rows = text.split("\\n")
    ok = 10 <= len(w) and len(rows) > 2
    return ok
'''
OTHER = """
import re
def evaluate(response):
    return response.count("\\n") > 1 and bool(re.search(r"(\\S+\\s+){9}\\S", response))
"""


def shapes(sandbox: Sandbox, *sources: str) -> list[int]:
    return clusters(facts_of(*(sandbox.transform(program(p), sources) for p in PROGRAMS)))


def test_copies_are_one_cluster(sandbox: Sandbox) -> None:
    assert shapes(sandbox, ONE, SAME, OTHER) == [0, 0, 1]
    assert "near_copies" in flags_of(sandbox, ONE, SAME).flags
    assert "near_copies" not in flags_of(sandbox, ONE, OTHER).flags
    assert flags_of(sandbox, ONE, SAME, OTHER).clusters == 2


def flags_of(sandbox: Sandbox, *sources: str) -> Diagnosis:
    return diagnose(sources, "Write at least three lines and ten words.", sandbox=sandbox)


def test_a_constant_makes_a_difference(sandbox: Sandbox) -> None:
    fewer = function("response.count('a') > 2")
    assert shapes(sandbox, fewer, function("response.count('b') > 2")) == [0, 1]


def test_what_cannot_be_read_is_no_copy(sandbox: Sandbox) -> None:
    """Hostile source is parsed in the sandbox alone; what it breaks is that reading."""
    deep = f"def evaluate(response):\n    return {'(' * 5000}1{')' * 5000}\n"
    huge = "def evaluate(response):\n    return " + "+".join(["1"] * 20_000) + "\n"
    assert shapes(sandbox, "no python (", deep, huge, ONE, ONE) == [0, 1, 2, 3, 3]


# ---- the words of an instruction ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "demands", "least", "whole"),
    [
        ("Use no commas.", False, 0, True),
        ("Write at most three sentences.", False, 0, True),
        ("Write at least three paragraphs.", True, 3, False),
        ("Include a hashtag.", True, 0, False),
        ("Write exactly four lines.", True, 4, True),
        ("If you name a city, name the country.", False, 0, False),
        ("全文不超过五十个字。", False, 0, True),
        ("至少写三段。", True, 3, False),
        ("文中必须出现“灯塔”这个词。", True, 0, False),
    ],
)
def test_reading(text: str, demands: bool, least: int, whole: bool) -> None:
    found = read(text)
    assert (found.demands, found.least, found.whole) == (demands, least, whole)


def test_the_pool_is_varied() -> None:
    for lang, at_least in (("en", 60), ("zh", 30)):
        texts = pool(lang)
        assert len(set(texts)) == len(texts) >= at_least
        assert sum("\n" in t for t in texts) > at_least / 3
        assert sum(len(t) < 30 for t in texts) > 5
        assert sum(len(t) > 180 for t in texts) >= 2


# ---- the doors ----------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    source = function("True")
    given = [
        {"id": "a", "checks": [source], "instruction": RIVER},
        {"id": "b", "checks": [{"source": source}], "instruction": {"text": RIVER, "lang": "en"},
         "cases": [{"input": "river", "output": False}]},
    ]  # fmt: skip
    path = write_rows(tmp_path / "v.jsonl", given)
    done = command("diagnose", "--verifiers", path, "--out", tmp_path / "out.jsonl")
    assert done.code == 0, done.err
    found = rows(tmp_path / "out.jsonl")
    assert [r["id"] for r in found] == ["a", "b"]
    keys = {"id", "flags", "checks", "scores", "clusters", "disputed"}
    assert all(set(r) == keys for r in found)
    assert found[0]["scores"]["hack_rate"] == 1.0
    assert all("accept_all" in r["flags"] for r in found)
    assert found[0]["checks"][0]["accepts"] == 1.0
    assert "accept_all 2" in done.err


def test_a_function_that_fails_says_why() -> None:
    checks = [
        "def evaluate(r):\n    return re.search('a', r)",
        "def evaluate(r:\n",
        function("True"),
    ]
    found = diagnose(checks)
    name, syntax, none = (check.reason for check in found.checks)
    assert name == "ERROR: NameError: name 're' is not defined"
    assert syntax.startswith("ERROR: SyntaxError: ")
    assert syntax.endswith(f"; this is Python {platform.python_version()}")
    assert none == ""
    assert "fails" in found.checks[0].flags


@pytest.mark.parametrize(
    "line",
    ["not json", "[1]", '{"id": ["x"], "checks": ["x"]}', '{"id": "a"}',
     '{"id": "a", "checks": []}',
     '{"id": "a", "checks": ["x"], "instruction": 3}',
     '{"id": "a", "checks": ["x"], "cases": [{"text": "t"}]}'],
)  # fmt: skip
def test_a_bad_row_is_one_line(line: str, tmp_path: Path, sandbox: Sandbox) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(json.dumps({"id": "z", "checks": [function("True")]}) + "\n\n" + line + "\n")
    with pytest.raises(UsageError, match=r"v\.jsonl:3: ") as caught:
        diagnose_file(path, lambda _: None, sandbox=sandbox)
    assert "\n" not in str(caught.value)


def test_the_python_api(sandbox: Sandbox) -> None:
    verifier = Verifier(Instruction(RIVER), (Check(function("True")),), tuple(CASES))
    found = autoif.diagnose(verifier, sandbox=sandbox)
    assert isinstance(found, autoif.Diagnosis)
    assert "accept_all" in found.flags
    assert found.scores["cases"] == 4.0


def test_it_says_the_same_again(sandbox: Sandbox) -> None:
    sources = [function("response.count('river') > 1"), function("len(response) > 3")]
    one, two = (diagnose(sources, RIVER, cases=CASES, sandbox=sandbox) for _ in range(2))
    assert [c.flags for c in one.checks] == [c.flags for c in two.checks]
    assert one.scores == two.scores


# ---- how often it is right ----------------------------------------------------------------------


@pytest.mark.timeout(900)
def test_planted_verifiers(tmp_path: Path) -> None:
    """At least 95% of the planted bad ones are caught, at most 3% of the good ones flagged."""
    given = rows(PLANTED)
    found: list[bytes] = []
    # One of them sleeps for as long as it is let.
    with Sandbox(limits=Limits(total_seconds=10.0)) as sandbox:
        diagnose_file(PLANTED, found.append, sandbox=sandbox)
    flagged = {row["id"]: bool(row["flags"]) for row in map(json.loads, found)}
    bad = [flagged[r["id"]] for r in given if r["label"] == "bad"]
    good = [flagged[r["id"]] for r in given if r["label"] == "good"]
    assert len(bad) == len(good) == 60
    assert sum(bad) >= 0.95 * len(bad)
    assert sum(good) <= 0.03 * len(good)


# ---- what cannot be read ------------------------------------------------------------------------

BOMBS = {
    "exhausts the parser": "x = " + "-" * 30_000 + "1\n",
    "is long": "x = 1\n" * 10_000 + function(TWICE),
    "is nested": "x = " + "[" * 90 + "]" * 90 + "\n" + function("response.count('river') > 1"),
    "is no Python": "def evaluate(response:\n",
    "is over 64 kB": "#" * 70_000 + "\n" + function("response.count('river') > 1"),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=list(BOMBS))
def test_a_bad_sibling_blinds_nobody(sandbox: Sandbox, bomb: str) -> None:
    """The clock is seen by reading alone, behind whatever stands before it."""
    clock = function("response.count('river') > 1 and time.time() > 0")
    honest = function(TWICE)
    alone = diagnose([clock, honest], RIVER, sandbox=sandbox)
    beside = diagnose([bomb, bomb, bomb, clock, honest], RIVER, sandbox=sandbox)
    assert "nondeterministic" in alone.checks[0].flags
    assert [c.flags for c in beside.checks[-2:]] == [c.flags for c in alone.checks]


def test_what_cannot_be_read_is_not_taken_for_sound() -> None:
    """It runs well, and nobody knows what it is made of."""
    clock = function("response.lower().count('river') > 1 and time.time() > 0")
    with Sandbox(workers=1, limits=Limits(cpu_seconds=0.3)) as strict:
        (check,) = diagnose([clock + "x = 1\n" * 10_500], RIVER, sandbox=strict).checks
    assert check.flags
