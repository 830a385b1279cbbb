"""Text of models, servers and strangers' files, made fit to be shown: in a terminal, as JSON, in
Markdown. What it holds is seen and does nothing."""

from __future__ import annotations

import json
import logging
import re

# What a terminal obeys, and what hides or turns text around: the categories Cc (without newline and
# tab), Cf, Zl, Zp and Cs of Unicode, fillers that show nothing, and variation selectors but the two
# that choose between text and emoji. Compared with `unicodedata` by a test.
_HIDDEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_MARKDOWN = re.compile(r"[\\`*\[\]<>|&!~#$]")


def printable(text: str) -> str:
    r"""The text with each character that a terminal would obey, or that would hide, as its escape:
    `\u001b`, `\U000e0041`. Newlines and tabs stay."""
    return _HIDDEN.sub(lambda match: _escape(ord(match[0])), text)


def printable_json(text: str) -> str:
    """JSON that means the same, with such characters as JSON's own escapes."""
    return _HIDDEN.sub(lambda match: json.dumps(match[0])[1:-1], text)


def log(line: str) -> None:
    """A notice, for whoever listens to the logger "autoif"."""
    logging.getLogger("autoif").info(printable(line))


def markdown(value: object) -> str:
    """Plain text within one line of Markdown, a cell of a table included: no code, no link, no
    image, no HTML."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(" ".join(str(value).split())))


def markdown_code(value: object) -> str:
    """The same as a span of code, which nothing in the text can close."""
    text = printable(" ".join(str(value).split())).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if len(fence) > 1 else ""
    return f"{fence}{space}{text}{space}{fence}"


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def duration(seconds: float) -> str:
    """Minutes below an hour and a half, else hours."""
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} hours"
