"""Python source as pieces of a few kinds, for a page to colour. Pygments tells them apart by lexing
alone; nothing is parsed or compiled."""

from __future__ import annotations

from functools import lru_cache

from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String, Token

LONGEST = 20_000  # characters; a longer source stays plain
# The first that a token is of decides.
_KINDS = (
    (Comment, "c"),
    (String, "s"),
    (Number, "n"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Builtin, "b"),
)
_LEXER = PythonLexer(stripnl=False, ensurenl=False)


@lru_cache(maxsize=4096)
def pieces(source: str) -> tuple[tuple[str, str], ...]:
    """(kind, text) in order, which together are the source. Kinds: c comment, s string, n number,
    k keyword, f the name of a function or class, b builtin, or nothing."""
    if len(source) > LONGEST:
        return (("", source),)
    found: list[tuple[str, str]] = []
    for token, text in _LEXER.get_tokens(source):
        kind = next((kind for of, kind in _KINDS if token in of and token is not Token), "")
        if found and found[-1][0] == kind:
            found[-1] = (kind, found[-1][1] + text)
        else:
            found.append((kind, text))
    return tuple(found)
