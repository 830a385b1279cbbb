"""Twice the text, at most about three times the time: every pattern and parser of ours that reads
what a model or a server wrote. They run on the event loop, where everything waits for them."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import autoif
from autoif.base.code import code_defining, fenced_blocks
from autoif.constraints import types
from autoif.constraints.types import constraint_type
from autoif.diagnosis.chinese import expected
from autoif.diagnosis.plain import plain
from autoif.diagnosis.reading import read
from autoif.diagnosis.stated import stated
from autoif.evals.followbench_judge import parse_judge
from autoif.evals.followbench_rules import _format_30, matches_template
from autoif.evals.gsm8k import extract
from autoif.evals.humaneval import program
from autoif.models.reasoning import strip_thinking
from autoif.synthesis.prompts.parsing import (
    parse_code,
    parse_json,
    parse_lines,
    parse_relation,
    parse_score,
    parse_yes,
)
from autoif.synthesis.slots import filled
from autoif.synthesis.verifiers.grounding import ungrounded
from autoif.synthesis.verifiers.write import normalise

# Programs of their own: importing them would run them.
PROGRAMS = {
    "autoif.__main__",
    "autoif.sandbox.child",
    "autoif.sandbox.zygote",
    "autoif.models.openvino.generator",
}
OWN = {"autoif.cli.common"}  # reads the options of the person who runs it
FIRST, MOST = 400, 1600  # characters
FLOOR = 0.002  # seconds of CPU
USES = {"search", "match", "fullmatch", "findall", "finditer", "sub", "split"}
UNITS = [
    " ", "\n", "a", "1", "的", "一", "(", "[", "{", "<", "\"", "'", "`", "“", "*", "#", "\\", ".",
    ",", "a ", "1 ", " \n", " #", "[a", "```\n", "**1", "的一", "\"a", "(a", "a.", "two ", "A",
    "- ", "\n\n#",
]  # fmt: skip


def of_size(before: str, unit: str) -> Callable[[int], str]:
    """Texts of about n characters: a beginning, the unit over and over, and an end without it."""
    return lambda n: before + unit * (n // len(unit)) + "\0'"


def slow(run: Callable[[str], Any], make: Callable[[int], str]) -> str:
    """What is wrong with the time it takes over n; "" where it is linear, or nothing to measure."""

    def seconds(n: int, tries: int) -> float:
        text, best = make(n), float("inf")
        for _ in range(tries):
            before = time.thread_time()
            run(text)
            best = min(best, time.thread_time() - before)
        return best

    n, before, taken = FIRST, 0.0, seconds(FIRST, 1)
    while taken < FLOOR and n < MOST:
        n, before, taken = 2 * n, taken, seconds(2 * n, 1)
    if taken < FLOOR or taken < 3 * before:
        return ""
    times = [seconds(size, 3) for size in (n, 2 * n, 4 * n)]
    if all(later > 3 * earlier for earlier, later in pairwise(times)):
        return ", ".join(f"{t:.3f} s" for t in times) + f" for {n}, {2 * n}, {4 * n} characters"
    return ""


# ---- patterns ----------------------------------------------------------------------------------


@cache
def modules() -> list[ModuleType]:
    names = [m.name for m in pkgutil.walk_packages(autoif.__path__, "autoif.")]
    return [importlib.import_module(name) for name in names if name not in PROGRAMS]


def patterns() -> dict[str, tuple[re.Pattern[str], bool]]:
    """By place: each pattern in a module, its tables and its functions; and whether it is tried at
    the beginning of a text alone."""
    there: dict[str, tuple[re.Pattern[str], bool]] = {}
    for module in modules():
        if module.__name__ in OWN:
            continue
        tree = ast.parse(Path(module.__file__ or "").read_text("utf-8"))
        verbs: dict[str, set[str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                verbs.setdefault(ast.unparse(node.func.value), set()).add(node.func.attr)
                if ast.unparse(node.func.value) == "re" and node.func.attr in USES:
                    place = f"{module.__name__}:{node.lineno}"
                    if pattern := _evaluated(node, module):
                        there[place] = pattern, node.func.attr in ("match", "fullmatch")
        for name, value in vars(module).items():
            anchored = verbs.get(name, set()) <= {"match", "fullmatch"} and name in verbs
            for n, pattern in enumerate(_within(value)):
                there[f"{module.__name__}.{name}[{n}]"] = pattern, anchored
    rules = [(name, ways) for name, lines in types._rules() for line in lines for ways in line[:2]]
    for n, (name, ways) in enumerate(rules):
        there.update({f"{name}[{n}.{m}]": (pattern, False) for m, pattern in enumerate(ways)})
    return there


def _evaluated(call: ast.Call, module: ModuleType) -> re.Pattern[str] | None:
    """The pattern of `re.search(...)` and the like, where it is made of the module's names."""
    flags = [k.value for k in call.keywords if k.arg == "flags"]
    flags += [a for a in call.args[1:] if ast.unparse(a).startswith("re.")]
    try:
        values = [
            eval(compile(ast.Expression(arg), "", "eval"), vars(module))
            for arg in (call.args[0], *flags[:1])
        ]
        return re.compile(*values)
    except (NameError, TypeError):
        return None


def _within(value: Any) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
        yield value
    elif isinstance(value, (dict, list, tuple, set, frozenset)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _within(inner)


def hostile(pattern: str, flags: int) -> Iterator[tuple[str, str]]:
    """Beginnings and units: what comes before a repetition in a pattern, and what it repeats."""
    yield from (("", unit) for unit in UNITS[:16])
    for before, body in _repetitions(re._parser.parse(pattern, flags), ""):  # type: ignore[attr-defined]
        yield from {(before, body), ("", before + body), (before, body + before)}


def _repetitions(tree: Any, before: str) -> Iterator[tuple[str, str]]:
    for op, arg in tree:
        name = str(op)
        if name.endswith("REPEAT") and arg[1] > 50 and (body := _sample(arg[2])):
            yield before[-200:], body
        for inner in _inner(name, arg):
            yield from _repetitions(inner, before)
        before += _sample([(op, arg)])


def _inner(name: str, arg: Any) -> list[Any]:
    if name.endswith("REPEAT"):
        return [arg[2]]
    if name == "BRANCH":
        return list(arg[1])
    if name in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
        return [arg[-1]]
    return [arg] if name == "ATOMIC_GROUP" else []


def _sample(tree: Any) -> str:
    """A text that the pattern takes, more or less."""
    text = ""
    for op, arg in tree:
        name = str(op)
        if name == "LITERAL":
            text += chr(arg)
        elif name == "ANY":
            text += "x"
        elif name == "NOT_LITERAL":
            text += "x" if arg != ord("x") else "y"
        elif name == "IN":
            text += _char(arg)
        elif name.endswith("REPEAT"):
            text += _sample(arg[2]) * max(arg[0], 0 if arg[0] or arg[1] < 50 else 1)
        elif name == "BRANCH":
            text += next(filter(None, map(_sample, arg[1])), "")
        elif name in ("SUBPATTERN", "ATOMIC_GROUP"):
            text += "".join(map(_sample, _inner(name, arg)))
    return text


def _char(items: Any) -> str:
    ranges = [
        (arg, arg) if str(op) == "LITERAL" else arg
        for op, arg in items
        if str(op) in ("LITERAL", "RANGE")
    ]
    classes = {str(arg) for op, arg in items if str(op) == "CATEGORY"}
    samples = {
        "CATEGORY_DIGIT": "1",
        "CATEGORY_WORD": "a",
        "CATEGORY_SPACE": " ",
        "CATEGORY_NOT_SPACE": "x",
        "CATEGORY_NOT_WORD": ".",
        "CATEGORY_NOT_DIGIT": "x",
    }
    if str(items[0][0]) != "NEGATE":
        return chr(ranges[0][0]) if ranges else samples[classes.pop()]
    for char in "xX1 .,\n":
        if any(low <= ord(char) <= high for low, high in ranges):
            continue
        if not any(
            re.match(
                {"DIGIT": r"\d", "WORD": r"\w", "SPACE": r"\s"}.get(c.split("_")[-1], r"\A\Z")
                if "NOT" not in c
                else r"\A\Z",
                char,
            )
            for c in classes
        ):
            return char
    return "x"


PATTERNS = patterns()


def test_no_pattern_takes_the_square_of_the_time() -> None:
    tried: set[tuple[str, int, bool]] = set()
    wrong = []
    for place, (pattern, anchored) in PATTERNS.items():
        if (key := (pattern.pattern, pattern.flags, anchored)) in tried:
            continue
        tried.add(key)
        run = pattern.match if anchored else pattern.findall
        for before, unit in hostile(pattern.pattern, pattern.flags):
            if late := slow(run, of_size(before, unit)):
                wrong.append(f"{place}: {before[-40:]!r}, {unit[:40]!r}: {late}")
                break
    assert len(tried) > 300
    assert wrong == []


# ---- parsers -----------------------------------------------------------------------------------

PARSERS: dict[str, Callable[[str], Any]] = {
    "fenced_blocks": fenced_blocks,
    "code_defining": lambda text: code_defining(text, "evaluate"),
    "parse_code": lambda text: parse_code(text, "evaluate"),
    "parse_json": parse_json,
    "parse_score": parse_score,
    "parse_lines": parse_lines,
    "parse_relation": parse_relation,
    "parse_yes": parse_yes,
    "normalise": normalise,
    "filled": lambda text: filled(text, 3),
    "ungrounded": lambda text: ungrounded(text, text),
    "constraint_type": constraint_type,
    "plain": lambda text: plain(read(text)).label(text),
    "stated": lambda text: list(stated(read(text))),
    "expected": lambda text: list(expected(read(text))),
    "strip_thinking": strip_thinking,
    "program": lambda text: program("def f():\n", text, "def check(f): ...", "f"),
    "extract": extract,
    "parse_judge": lambda text: (parse_judge(text, 1), parse_judge(text, 3)),
    "matches_template": lambda text: matches_template(text, "{answer}a{answer} {answer}1"),
    "format_30": lambda text: _format_30(text, "", 5),
}  # fmt: skip
HEADS = [
    "",
    "{",
    '{"',
    "```\n",
    "- a",
    "def evaluate(",
    "```python\ndef evaluate(r):\n",
    "Score: ",
    "<think>",
    "\\boxed{",
    '"""',
]
PARSED = [
    *UNITS,
    "```",
    "\n```\n'''\n",
    "<think>",
    "async",
    "def evaluate(",
    "score 1 ",
    "**",
    '\\"',
    ",",
    '{"a":',
    "as in ",
]

AFTER_A_HEAD = [" ", "\n", "a", "1", "```\n", '"', "[", "**1"]


@pytest.mark.parametrize("name", PARSERS)
def test_no_parser_takes_the_square_of_the_time(name: str) -> None:
    many = name not in ("constraint_type", "plain", "stated", "expected")  # of many patterns each
    for head in HEADS if many else [""]:
        for unit in (PARSED if many else UNITS[:6]) if not head else AFTER_A_HEAD:
            late = slow(PARSERS[name], of_size(head, unit))
            assert late == "", (head, unit)
