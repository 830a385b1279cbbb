"""Why an answer ended. Servers have their own words for it; only a clean end makes an answer."""

from __future__ import annotations

from typing import Any

STOP, LENGTH, FILTER = "stop", "length", "content_filter"
ENDS = (STOP, LENGTH, FILTER)

_CLEAN = {
    "", "none", "null", "stop", "stopped", "eos", "eos_token", "eos_token_id", "end_turn",
    "end_of_turn", "end_of_text", "stop_sequence", "stop_token", "stop_word", "stop_str",
    "complete", "completed", "finish", "finished", "end", "done", "success", "normal",
}  # fmt: skip
_CUT = ("length", "max_", "maxtoken", "limit", "window", "truncat", "token_budget")
_WITHHELD = (
    "filter", "safety", "refus", "recitation", "block", "prohibited", "sensitive", "spii",
    "policy", "moderation", "guardrail", "toxic", "violation",
)  # fmt: skip


def finish_reason(word: Any) -> str:
    """`stop`, `length` or `content_filter`, whatever a server calls it; or its own word, where the
    answer came to no known end (an error, a cancelled call, a call of a tool)."""
    while isinstance(word, (dict, list)):
        inner = word.get("type", word.get("reason")) if isinstance(word, dict) else None
        word = inner if inner is not None else "".join(map(str, word))
    said = "" if word is None else str(word).strip()
    plain = said.lower().rpartition(".")[2].removeprefix("finish_reason_").replace("-", "_")
    plain = plain.replace(" ", "_")
    if plain in _CLEAN:
        return STOP
    if any(sign in plain for sign in _WITHHELD):
        return FILTER
    if "rate" not in plain and any(sign in plain for sign in _CUT):
        return LENGTH
    return said[:80]
