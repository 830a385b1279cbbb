"""Sources that hurt whoever parses or compiles them, and recursion."""

from __future__ import annotations

from .attack import NEVER_TRUE, Attack, module, vandal

GOOD = "\ndef evaluate(response):\n    return True\n"


def source(name: str, text: str) -> Attack:
    return module("compile", name, text + GOOD)


def recursion(name: str, body: str) -> Attack:
    return vandal("recursion", name, body)


ATTACKS = [
    source("parentheses", "x = " + "(" * 20_000 + "1" + ")" * 20_000),
    source("brackets-open", "x = " + "[" * 60_000),
    source("minus", "x = " + "-" * 60_000 + "1"),
    source("not", "x = " + "not " * 15_000 + "1"),
    source("lambda", "x = " + "lambda:" * 9_000 + "1"),
    source("attributes", "x = y" + ".a" * 30_000),
    source("calls", "x = y" + "()" * 30_000),
    source("subscripts", "x = y" + "[0]" * 20_000),
    source("ternary", "x = " + "1 if y else " * 5_000 + "1"),
    source("binary-chain", "x = " + "+".join("y" * 30_000)),
    source("dict-nest", "x = " + "{1:" * 9_000 + "1" + "}" * 9_000),
    source("comprehension-nest", "x = " + "[" * 90 + "y" + " for y in z]" * 90),
    source("indentation", "".join(" " * i + "if 1:\n" for i in range(99)) + " " * 99 + "pass"),
    source("function-nest", "".join(" " * i + "def f():\n" for i in range(95)) + " " * 95 + "pass"),
    source("try-nest", "".join(" " * i + "try:\n" for i in range(95)) + " " * 95 + "pass"),
    source("constant-folding", "x = ((((((2 ** 127) ** 127) ** 127) ** 127) ** 127) ** 127)"),
    source("constant-repeat", "x = ((('a' * 4096) * 4096) * 4096) * 4096"),
    source("constant-tuple", "x = ((((0,) * 255) * 255) * 255) * 255"),
    source("constant-format", "x = '%999999999s' % 'a'"),
    source("integer-literal", "x = " + "9" * 60_000),
    source("hex-literal", "x = 0x" + "f" * 60_000),
    source("float-literal", "x = 1e" + "9" * 60_000),
    source("f-string-nest", "x = " + "f'{" * 140 + "1" + "}'" * 140),
    source("f-string-width", "x = f'{1:{10 ** 9}}'"),
    source("names", "\n".join(f"a{i}=0" for i in range(6_500))),
    source("star-import", "from re import *\nfrom collections import *\nfrom string import *"),
    source("globals-many", "def f():\n global " + ",".join(f"a{i}" for i in range(8_000))),
    source("match-nest", "match x:\n case " + "[" * 90 + "y" + "]" * 90 + ": pass"),
    source("or-pattern", "match 1:\n case " + "|".join(str(i) for i in range(9_000)) + ": pass"),
    source("type-comment", "# coding: utf-7\n# type: ignore" + "\\\n" * 9_000),
    source("null-byte", "x = 1\x00"),
    source("unicode-name", "x = \\N{" + "A" * 60_000 + "}"),
    source(
        "escape-bomb",
        "x = '" + r"\N{ARABIC LIGATURE UIGHUR KIRGHIZ YEH WITH HAMZA ABOVE}" * 900 + "'",
    ),
    module("compile", "too-long", "#" * 70_000 + GOOD, NEVER_TRUE),
    module("compile", "ten-megabytes", "x = [" + "[]," * 3_000_000 + "]" + GOOD, NEVER_TRUE),
    vandal("compile", "at-run-time", "return bool(compile('(' * 9**5 + ')' * 9**5, '', 'eval'))"),
    vandal("compile", "eval-minus", "return bool(eval('-' * 2_000_000 + '1'))"),
    vandal("compile", "literal-eval", "import ast\nreturn bool(ast.literal_eval('[' * 9**6))"),
    vandal(
        "compile",
        "ast-compile-deep",
        """
        import ast
        node = ast.Constant(1)
        for _ in range(200_000):
            node = ast.UnaryOp(ast.USub(), node)
        return bool(compile(ast.fix_missing_locations(ast.Expression(node)), "", "eval"))
        """,
    ),
    recursion("plain", "return evaluate(response)"),
    recursion("no-limit", "grab('sys').setrecursionlimit(2 ** 31 - 1)\nreturn evaluate(response)"),
    recursion(
        "catching",
        """
        while True:
            try:
                evaluate(response)
            except BaseException:
                pass
        """,
    ),
    recursion(
        "exponential",
        """
        def spread():
            try:
                spread()
            finally:
                spread()
        spread()
        """,
    ),
    recursion(
        "c-stack-repr",
        """
        grab("sys").setrecursionlimit(2 ** 31 - 1)
        nest = []
        for _ in range(10 ** 6):
            nest = [nest]
        return bool(repr(nest))
        """,
    ),
    recursion(
        "c-stack-free",
        """
        nest = None
        for _ in range(10 ** 6):
            nest = functools.partial(print, nest)
        del nest
        return True
        """,
    ),
    recursion(
        "json-nest",
        """
        import json
        grab("sys").setrecursionlimit(2 ** 31 - 1)
        return bool(json.loads("[" * 10 ** 6))
        """,
    ),
    recursion(
        "getattr",
        """
        class Mirror:
            def __getattr__(self, name):
                return getattr(self, name + "x")
        return Mirror().face
        """,
    ),
    recursion(
        "eq",
        """
        left, right = [], []
        left.append(right)
        right.append(left)
        return left == right
        """,
    ),
    recursion("isinstance", "t = int\nfor _ in range(10 ** 6): t = (t,)\nreturn isinstance(1, t)"),
]
