"""Reasoning models think before they answer. The thinking is cut from the text and counted."""

from __future__ import annotations

import re
from dataclasses import replace

from autoif.base.records import Reply

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


def without_thinking(reply: Reply, aside: str = "") -> Reply:
    """The reply with the answer alone. Where nobody counted the reasoning tokens, they are the
    share of the completion that the thinking (in the text and `aside`) has by length."""
    text, usage = strip_thinking(reply.text), reply.usage
    thinking = len(reply.text) + len(aside) - len(text)
    if not usage.reasoning and thinking > 0:
        share = thinking / (thinking + len(text))
        usage = replace(usage, reasoning=round(usage.completion * share))
    return Reply(text, reply.finish_reason, usage)
