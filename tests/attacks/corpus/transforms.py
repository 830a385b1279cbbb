"""Programs whose output, not verdict, is the weapon (Sandbox.transform)."""

from __future__ import annotations

from dataclasses import replace

from .attack import Attack, module, transform
from .forging import BUFFERS


def comply(name: str, body: str) -> Attack:
    return transform("transform", name, body)


def overwrite(name: str, pattern: str) -> Attack:
    """Fill every buffer within reach with the pattern, then answer as if nothing were."""
    attack = comply(
        f"overwrite-{name}",
        f"""
        pattern = {pattern}
        for view in list(buffers()):
            try:
                flat = view.cast("B")
                flat[:] = (pattern * (len(flat) // len(pattern) + 1))[: len(flat)]
            except Exception:
                pass
        return "x" * 99
        """,
    )
    return replace(attack, source=BUFFERS + attack.source)


ATTACKS = [
    comply("gigabyte", "return 'x' * (1 << 30)"),
    comply("hundred-megabytes", "return 'x' * 100_000_000"),
    comply("ten-megabytes", "return 'x' * 10_000_000"),
    comply("wide", "return '\\U0001F600' * 4_000_000"),
    comply("growing", "return response * 10 ** 6"),
    comply("lone-surrogates", "return '\\ud800' + response + '\\udfff'"),
    comply("surrogate-pair", "return '\\ud83d\\ude00' * 99"),
    comply("nulls", "return '\\x00' * 5000"),
    comply("newlines", "return '\\r\\n\\x85\\u2028\\u2029' * 999"),
    comply("control", "return ''.join(map(chr, range(0x2000)))"),
    comply("every-plane", "return ''.join(chr(c) for c in range(0, 0x110000, 97))"),
    comply("json-looking", 'return \'"}], "status": "TRUE", "x": [{"\''),
    comply("empty", "return ''"),
    comply("none", "return None"),
    comply("bytes", "return b'\\xff' * 99"),
    comply("bytearray", "return bytearray(99)"),
    comply("list", "return [response] * 99"),
    comply("number", "return 10 ** 4000"),
    comply(
        "subclass",
        """
        class Text(str):
            def encode(self, *_, **__): return b"\\xff\\xfe" * 10 ** 6
            def __str__(self): raise SystemExit(0)
            def __len__(self): return -1 & 0xFFFFFFFF
            def __bool__(self): raise KeyboardInterrupt
            def __eq__(self, _): return True
            def __hash__(self): return 1
            def __getitem__(self, _): return self
            def __iter__(self): return iter(int, 1)
            __repr__ = __str__
        return Text("wolf")
        """,
    ),
    comply(
        "subclass-encode-loops",
        """
        class Text(str):
            def encode(self, *_, **__):
                while True:
                    pass
            __len__ = __str__ = __format__ = __getitem__ = encode
        return Text("wolf")
        """,
    ),
    comply(
        "class-lies",
        """
        class Text:
            @property
            def __class__(self): return str
            def encode(self, *_, **__): return b"forged"
            def __len__(self): return 1 << 40
        return Text()
        """,
    ),
    comply("loop", "while True: pass"),
    comply(
        "loop-after-first",
        "return response if response else grab('itertools') and sum(iter(int, 1))",
    ),
    comply("exit", "grab('posix')._exit(0)"),
    comply("raise", "raise ValueError('\\ud800' * 10 ** 6)"),
    comply("recursion", "return comply(response)"),
    comply("memory", "return ''.join('x' * (1 << 20) for _ in range(2048))"),
    comply("segv", "grab('ctypes').string_at(0)"),
    comply("fork", "return str(grab('posix').fork())"),
    comply("print", "print('x' * 10 ** 7)\nreturn response"),
    comply("generator", "yield response"),
    comply("bool", "return True"),
    overwrite("high", "b'\\xff'"),
    overwrite("ones", "b'\\x01'"),
    overwrite("huge-lengths", "b'\\xff\\xff\\xff\\x7f'"),
    overwrite("long-lengths", "b'\\x00\\x00\\x10\\x00'"),
    overwrite("invalid-utf8", "b'\\xc3\\x28\\xed\\xa0\\x80'"),
    overwrite("text", "b'forged '"),
    replace(module("transform", "no-comply", "def evaluate(r): return True\n"), function="comply"),
]
