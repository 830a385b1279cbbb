"""Reasoning models think before they answer. The thinking is cut from the text and counted."""

from __future__ import annotations

import re
from dataclasses import replace

from autoif.base.records import Usage

_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_UNCLOSED = re.compile(r"<think(?:ing)?>.*\Z", re.DOTALL)
_UNOPENED = re.compile(r"\A(?:(?!<think).)*?</think(?:ing)?>", re.DOTALL)


def strip_thinking(text: str) -> str:
    """The answer alone. Templates that open the block themselves leave only its end, and a model
    that ran out of tokens leaves only its beginning; both are thinking."""
    if "<think" not in text and "</think" not in text:
        return text
    text = _UNOPENED.sub("", text, count=1)
    return _UNCLOSED.sub("", _THINKING.sub("", text)).strip()


def count_thinking(usage: Usage, answer: str, thinking_chars: int) -> Usage:
    """`usage` with the reasoning share of its completion, by length, where nobody counted it."""
    if usage.reasoning or thinking_chars <= 0:
        return usage
    share = thinking_chars / (thinking_chars + len(answer))
    return replace(usage, reasoning=round(usage.completion * share))
