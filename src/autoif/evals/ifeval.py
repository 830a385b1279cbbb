"""IFEval and IFBench: a prompt with verifiable instructions, each followed or not.

Strict looks at the response as it is. Loose passes where any of eight readings passes: the response
without its first line, its last line or both, each also without asterisks. A null response counts
as empty, and an empty one follows nothing; the denominator stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoif.errors import UsageError
from autoif.evals.checkers import Check, bind


@dataclass(frozen=True, slots=True)
class Prompt:
    """One row of the benchmark: `instructions` and `checks` stand in the same order."""

    key: str
    prompt: str
    instructions: tuple[str, ...]
    checks: tuple[Check, ...]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Prompt:
        """From the benchmark's own JSON. Raises UsageError for what no checker can decide."""
        try:
            ids, kwargs = row["instruction_id_list"], row["kwargs"]
            key, prompt = str(row["key"]), row["prompt"]
        except KeyError as missing:
            raise UsageError(
                f"no field {missing} in the benchmark's data; a row needs key, prompt, "
                "instruction_id_list and kwargs"
            ) from None
        if len(ids) != len(kwargs):
            raise UsageError(f"key {key}: {len(ids)} instructions, but {len(kwargs)} kwargs")
        try:
            checks = tuple(bind(i, k or {}) for i, k in zip(ids, kwargs, strict=True))
        except UsageError as wrong:
            raise UsageError(f"key {key}: {wrong}") from None
        return cls(key, prompt, tuple(ids), checks)


@dataclass(frozen=True, slots=True)
class Followed:
    """Which instructions of a prompt a response followed, in the prompt's order."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


def judge(checks: Sequence[Check], response: str | None) -> Followed:
    """Strict and loose verdicts of one response. Never raises, whatever the text."""
    response = response or ""
    if not response.strip():
        nothing = (False,) * len(checks)
        return Followed(nothing, nothing)
    strict = tuple(check(response) for check in checks)
    if all(strict):
        return Followed(strict, strict)
    others = readings(response)
    loose = tuple(
        passed or any(check(reading) for reading in others)
        for check, passed in zip(checks, strict, strict=True)
    )
    return Followed(strict, loose)


def readings(response: str) -> list[str]:
    """The loose readings other than the response itself, blank and equal ones left out."""
    lines = response.split("\n")
    cut = [
        "\n".join(lines[1:]).strip(),
        "\n".join(lines[:-1]).strip(),
        "\n".join(lines[1:-1]).strip(),
    ]
    texts = [response.replace("*", ""), *cut, *(text.replace("*", "") for text in cut)]
    return [text for text in dict.fromkeys(texts) if text != response and text.strip()]


def prompts(rows: Iterable[Mapping[str, Any]]) -> list[Prompt]:
    """The benchmark, ready to judge. Raises UsageError, also where a key stands twice."""
    ready = [Prompt.from_row(row) for row in rows]
    if len({p.key for p in ready}) != len(ready):
        raise UsageError("a key stands twice in the benchmark's data")
    return ready
