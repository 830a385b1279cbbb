"""A program of ours that reads what a function's source is made of; run as `shape.py` is.

`comply(source)` returns JSON:

- `strings`, `numbers`: its constants, from which texts are made that it might accept;
- `compared`: the numbers that it compares with;
- `chars`: the punctuation in its strings;
- `samples`: for each of its patterns some texts that match it;
- `marks`: what cannot be seen by running it here, or shows a habit of one language.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

CLOCK = {"now", "today", "utcnow", "time", "time_ns", "monotonic", "perf_counter", "process_time",
         "gmtime", "localtime", "ctime"}  # fmt: skip
CHANCE = {"random", "secrets", "uuid"}
CHANCE_CALLS = ("os.urandom", "os.getpid", "os.getrandom", "numpy.random")


# ---- marks -------------------------------------------------------------------------------------


def marks(tree: ast.Module) -> set[str]:
    """clock, chance, hash, set_order: it may say something else elsewhere. words, bytes, ascii,
    runs: how it cuts a text up."""
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {a.asname or a.name.partition(".")[0]: a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            full |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    found: set[str] = set()
    joined = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "join"
        for part in node.args
    }
    stored = [(n.targets[0].id, n.value) for n in ast.walk(tree)
              if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]  # fmt: skip
    sets = {name for name, value in stored if _is_set(value, set())}
    listed = {name for name, value in stored if _listed_set(value, sets)}
    seeded = any(_dotted(n.func, full) in ("random.seed", "random.Random") and n.args
                 for n in ast.walk(tree) if isinstance(n, ast.Call))  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _dotted(node.func, full)
            head, _, last = name.rpartition(".")
            if last in CLOCK and head.partition(".")[0] in ("time", "datetime", "date"):
                found.add("clock")
            if (name.partition(".")[0] in CHANCE and not seeded) or name.startswith(CHANCE_CALLS):
                found.add("chance")
            if name in ("__import__", "importlib.import_module") and node.args:
                module = getattr(node.args[0], "value", "")
                if module in CHANCE | {"time"}:
                    found.add("chance")
            if name in ("hash", "id"):
                found.add("hash")
            if _takes_any(node, name, sets):
                found.add("set_order")
            if last == "split" and id(node) not in joined and _on_space(node, head):
                found.add("words")
            if last == "encode" or name in ("bytes", "bytearray"):
                found.add("bytes")
            if last in ("islower", "isupper", "istitle", "isalpha"):
                found.add("casing")
            if name == "unicodedata.normalize":
                found.add("wide")
            if last == "isascii":
                found.add("ascii")
        elif isinstance(node, ast.Subscript) and (
            _listed_set(node.value, sets) or getattr(node.value, "id", "") in listed
        ):
            found.add("set_order")
        elif isinstance(node, ast.keyword) and getattr(node.value, "id", "") in ("hash", "id"):
            found.add("hash")
        elif isinstance(node, ast.Attribute):
            if node.attr.startswith("ascii_") or _dotted(node, full) in ("re.ASCII", "re.A"):
                found.add("ascii")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.search(r"\[[^\]]*[aA]-[zZ][^\]]*\]", node.value):
                wide = re.search(r"\[[^\]]*(?:[^\x00-\x7f]|\\u|\\w)[^\]]*\]", node.value)
                found.add("wide" if wide else "ascii")
            if re.search(r"\\w\+|\\b|\\S\+", node.value):
                found.add("runs")
    return found


def _dotted(node: ast.expr, full: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return full.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, full)}.{node.attr}"
    return ""


def _on_space(node: ast.Call, head: str) -> bool:
    if head == "re":
        return bool(node.args) and getattr(node.args[0], "value", "") in (r"\s+", r"\s", " ", " +")
    return not node.args or getattr(node.args[0], "value", "") in (None, " ")


def _is_set(node: ast.expr | None, sets: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in sets
    named = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("set", "frozenset")
    return named or isinstance(node, (ast.Set, ast.SetComp))


def _listed_set(node: ast.expr, sets: set[str]) -> bool:
    called = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("list", "tuple")
    return called and bool(node.args) and _is_set(node.args[0], sets)  # type: ignore[attr-defined]


def _takes_any(node: ast.Call, name: str, sets: set[str]) -> bool:
    """Takes one element of a set, or all in the set's order."""
    given = node.args[0] if node.args else None
    if name == "next" and isinstance(given, ast.Call) and getattr(given.func, "id", "") == "iter":
        return bool(given.args) and _is_set(given.args[0], sets)
    if isinstance(node.func, ast.Attribute):
        if node.func.attr == "join":
            return _is_set(given, sets)
        return node.func.attr == "pop" and _is_set(node.func.value, sets) and not node.args
    return False


# ---- constants ---------------------------------------------------------------------------------


def constants(tree: ast.Module) -> Iterator[Any]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docs:
            yield node.value


def distinct(values: Iterable[Any], most: int) -> list[Any]:
    return list(dict.fromkeys(values))[:most]


# ---- patterns ----------------------------------------------------------------------------------

SAMPLES = 8  # of a pattern
CLASSES = {"DIGIT": "7294", "WORD": "klmnorst", "SPACE": " ", "NOT_DIGIT": "k", "NOT_WORD": "-",
           "NOT_SPACE": "klmnorst"}  # fmt: skip


def samples(pattern: str) -> list[str]:
    """Distinct texts that most likely match; looks ahead and behind are taken for granted."""
    if len(pattern) > 200 or not re.search(r"[\\\[({|^$*+?]", pattern):
        return []
    try:
        tree = re._parser.parse(pattern)  # type: ignore[attr-defined]
        made = [matching(tree, turn, {}) for turn in range(SAMPLES)]
    except Exception:
        return []
    return [text for text in distinct(made, SAMPLES) if text.strip() and len(text) <= 200]


def matching(tree: Any, turn: int, groups: dict[int, str]) -> str:
    """`turn` varies what is free: letters and digits, and which way is taken."""
    text = ""
    for op, value in tree:
        match str(op):
            case "LITERAL":
                text += chr(value)
            case "NOT_LITERAL" | "ANY":
                text += "klmnorst"[(turn + len(text)) % 8]
            case "IN":
                text += one_of(value, turn + len(text))
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                low, high, inner = value
                times = min(max(low, 3 if len(inner) == 1 and low <= 1 < high else 1), high)
                for n in range(min(int(times), 40)):
                    text += matching(inner, turn + n, groups)
            case "SUBPATTERN":
                groups[value[0]] = matching(value[-1], turn, groups)
                text += groups[value[0]]
            case "GROUPREF":
                text += groups[value]
            case "BRANCH":
                text += matching(value[1][turn % len(value[1])], turn, groups)
    return text


def one_of(items: Any, turn: int) -> str:
    """A character of a class; of one that excludes, a letter or else whatever is not excluded."""
    if str(items[0][0]) == "NEGATE":
        barred = set("".join(one_of([item], n) for item in items[1:] for n in range(8)))
        return next(c for c in "klmnorst"[turn % 8 :] + "klmnorst7 -字!" if c not in barred)
    op, value = items[turn % len(items)]
    match str(op):
        case "RANGE":
            return chr(value[0] + turn % min(value[1] - value[0] + 1, 24))
        case "CATEGORY":
            choice = CLASSES[str(value).removeprefix("CATEGORY_")]
            return choice[turn % len(choice)]
    return chr(value)


def compared(tree: ast.Module) -> Iterator[int]:
    """Numbers above one with which something is compared."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for part in (node.left, *node.comparators):
                value = getattr(part, "value", None)
                if isinstance(part, ast.Constant) and type(value) is int and value > 1:
                    yield value


def comply(source: str) -> str:
    tree = ast.parse(source)
    values = list(constants(tree))
    strings = [v.encode("utf-8", "replace").decode() for v in values if isinstance(v, str)]
    decoded = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), "".join(strings))
    chars = {c for c in decoded if not c.isalnum() and not "\ud800" <= c <= "\udfff"}
    if any(isinstance(n, ast.Attribute) and n.attr == "punctuation" for n in ast.walk(tree)):
        chars |= set("!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~")
    numbers = [v for v in values if type(v) is int and 0 <= v <= 10**9]
    found = {
        "strings": distinct((s for s in strings if 0 < len(s) <= 80), 24),
        "numbers": distinct(numbers, 12),
        "compared": distinct(compared(tree), 12),
        "samples": [s for s in map(samples, distinct(strings, 24)) if s][:8],
        "chars": "".join(sorted(chars))[:400],
        "marks": sorted(marks(tree)),
    }
    return json.dumps(found)
