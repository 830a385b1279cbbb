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

# ---- marks -------------------------------------------------------------------------------------

# Mark -> the full names of calls that earn it.
CALLS = (
    ("clock", r"(?:time|datetime|date)(?:\.\w+)*\.(?:now|today|utcnow|time|time_ns|monotonic|"
              r"perf_counter|process_time|gmtime|localtime|ctime)"),
    ("chance", r"(?:os\.(?:urandom|getpid|getrandom)|numpy\.random).*"),
    ("hash", r"hash|id"),
    ("bytes", r"(?:.*\.)?encode|bytes|bytearray"),
    ("casing", r"(?:.*\.)?(?:islower|isupper|istitle|isalpha)"),
    ("wide", r"unicodedata\.normalize"),
    ("ascii", r"(?:.*\.)?isascii"),
)  # fmt: skip
UNSEEDED = ("chance", r"(?:random|secrets|uuid)(?:\..*)?")
IMPORT = ("__import__", "importlib.import_module")
WIDE_CLASS = r"\[[^\]]{0,99}(?:[^\x00-\x7f]|\\u|\\w)[^\]]{0,99}\]"
SPACES = (r"\s+", r"\s", " ", " +")


def marks(tree: ast.Module) -> set[str]:
    """clock, chance, hash, set_order: it may say something else elsewhere. words, bytes, ascii,
    wide, casing, runs: how it cuts a text up."""
    nodes = list(ast.walk(tree))
    full = _imported(nodes)
    calls = [(node, _dotted(node.func, full)) for node in nodes if isinstance(node, ast.Call)]
    seeded = any(name in ("random.seed", "random.Random") and node.args for node, name in calls)
    patterns = CALLS if seeded else (*CALLS, UNSEEDED)
    seen = {mark for mark, pattern in patterns for _, name in calls if re.fullmatch(pattern, name)}
    sets = _Sets(nodes)
    joined = {id(a) for node, _ in calls if getattr(node.func, "attr", "") == "join"
              for a in node.args}  # fmt: skip
    for call, name in calls:
        first = getattr(call.args[0], "value", "") if call.args else None
        head, _, last = name.rpartition(".")
        if name in IMPORT and first in ("random", "secrets", "uuid", "time"):
            seen.add("chance")
        spaces = SPACES if head == "re" else (None, " ")
        if last == "split" and first in spaces and id(call) not in joined:
            seen.add("words")
    for node in nodes:
        if sets.shows_order(node):
            seen.add("set_order")
        match node:
            case ast.keyword(value=ast.Name(id="hash" | "id")):
                seen.add("hash")
            case ast.Attribute(attr=attr):
                if attr.startswith("ascii_") or _dotted(node, full) in ("re.ASCII", "re.A"):
                    seen.add("ascii")
            case ast.Constant(value=str() as text):
                if re.search(r"\[[^\]]{0,99}[aA]-[zZ][^\]]{0,99}\]", text):
                    seen.add("wide" if re.search(WIDE_CLASS, text) else "ascii")
                if re.search(r"\\w\+|\\b|\\S\+", text):
                    seen.add("runs")
    return seen


def _imported(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """The full names of what is imported, by the names that the source gives it."""
    full: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            full |= {a.asname or a.name.partition(".")[0]: a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            full |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return full


def _dotted(node: ast.expr, full: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return full.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, full)}.{node.attr}"
    return ""


class _Sets:
    """Which expressions are sets, or lists of a set's elements."""

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        stored = [(n.targets[0].id, n.value) for n in nodes
                  if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]  # fmt: skip
        self.names: set[str] = set()
        self.names = {name for name, value in stored if self.holds(value)}
        self.listed = {name for name, value in stored if self.lists(value)}

    def holds(self, node: ast.expr | None) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self.names
        return isinstance(node, (ast.Set, ast.SetComp)) or _calls(node, "set", "frozenset")

    def lists(self, node: ast.expr) -> bool:
        return _calls(node, "list", "tuple") and self.holds(_argument(node))

    def shows_order(self, node: ast.AST) -> bool:
        """Whether one element of a set is taken, or all in the set's order."""
        match node:
            case ast.Subscript(value=value):
                return self.lists(value) or getattr(value, "id", "") in self.listed
            case ast.Call(func=ast.Attribute(attr="join")):
                return self.holds(_argument(node))
            case ast.Call(func=ast.Attribute(attr="pop", value=value), args=[]):
                return self.holds(value)
            case ast.Call(func=ast.Name(id="next"), args=[first, *_]):
                return _calls(first, "iter") and self.holds(_argument(first))
        return False


def _calls(node: ast.AST | None, *names: str) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") in names


def _argument(node: Any) -> ast.expr | None:
    return node.args[0] if node.args else None


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
            for side in (node.left, *node.comparators):
                if isinstance(side, ast.Constant) and type(side.value) is int and side.value > 1:
                    yield side.value


def comply(source: str) -> str:
    tree = ast.parse(source)
    values = list(constants(tree))
    strings = [v.encode("utf-8", "replace").decode() for v in values if isinstance(v, str)]
    decoded = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), "".join(strings))
    chars = {c for c in decoded if not c.isalnum() and not "\ud800" <= c <= "\udfff"}
    if any(isinstance(n, ast.Attribute) and n.attr == "punctuation" for n in ast.walk(tree)):
        chars |= set("!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~")
    numbers = [v for v in values if type(v) is int and 0 <= v <= 10**9]
    facts = {
        "strings": distinct((s for s in strings if 0 < len(s) <= 80), 24),
        "numbers": distinct(numbers, 12),
        "compared": distinct(compared(tree), 12),
        "samples": [s for s in map(samples, distinct(strings, 24)) if s][:8],
        "chars": "".join(sorted(chars))[:400],
        "marks": sorted(marks(tree)),
    }
    return json.dumps(facts)
