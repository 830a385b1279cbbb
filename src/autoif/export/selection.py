"""Data rows, read and checked, in the terms that every format is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.records import content_id
from autoif.verifier.schema import VerifierRow, is_number, parse_verifiers

Row = dict[str, Any]
Message = dict[str, str]
Kind = Literal["sft", "dpo", "rlvr"]
QUERY = "query "  # how the key of a query begins
KINDS: tuple[Kind, ...] = ("sft", "dpo", "rlvr")


@dataclass(frozen=True, slots=True)
class Example:
    """A row of data/KIND.jsonl. prompt: the messages up to the user's last. answer: the response
    (sft), or the chosen one (dpo). source: where the query comes from, with its licence. keys:
    names of the constraints that the prompt states and of the query, by which splits are kept
    apart."""

    kind: Kind
    id: str
    prompt: list[Message]
    answer: str
    rejected: str
    verifiers: list[Row]
    level: int
    lang: str
    source: str
    pass_rate: float | None
    keys: frozenset[str]

    @property
    def messages(self) -> list[Message]:
        """The prompt and its answer."""
        return [*self.prompt, {"role": "assistant", "content": self.answer}]

    @property
    def about(self) -> Row:
        """What a format carries along that has a place for it."""
        return {"id": self.id, "level": self.level, "source": self.source}


def find_data(directory: Path) -> Path:
    """The directory of data files that a run directory holds, or that it is itself. Raises
    UsageError where there are none."""
    for path in (directory / "data", directory):
        if any((path / f"{kind}.jsonl").is_file() for kind in KINDS):
            return path
    raise UsageError(
        f"{directory}: no sft.jsonl, dpo.jsonl or rlvr.jsonl, neither there nor in data/; give a "
        "run directory of `autoif synth` that is finished"
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a data directory are wanted. levels: none for all of them."""

    data: Path
    levels: frozenset[int] = frozenset()
    min_pass: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_pass <= 1:
            raise UsageError(f"--min-pass {self.min_pass}: it has to be a number from 0 to 1")

    def examples(self, kind: Kind, left_out: Counter[str] | None = None) -> Iterator[Example]:
        """The rows of a file that are wanted; `left_out` counts the others by reason. A file that
        is not there has none. Raises UsageError naming the line of a row of another shape."""
        path = self.data / f"{kind}.jsonl"
        if not path.is_file():
            return
        for place, row in jsonl.read(path):
            example = parse_example(kind, row, place)
            why = self._why_not(example)
            if not why:
                yield example
            elif left_out is not None:
                left_out[why] += 1

    def _why_not(self, example: Example) -> str:
        if self.levels and example.level not in self.levels:
            return "another level"
        if example.pass_rate is not None and example.pass_rate < self.min_pass:
            return "pass rate too low"
        if not example.verifiers:
            return "no verifier"
        if not _is_text(example):
            return "lone surrogates, which no trainer loads"
        return ""


def parse_example(kind: Kind, row: Mapping[str, Any], where: object) -> Example:
    """Raises UsageError naming `where` for a row that is none of this kind."""
    if kind == "sft":
        *prompt, last = _messages(row, "messages", where)
        answer = _answer([last], "messages", where)
    else:
        prompt, answer = _messages(row, "prompt", where), ""
    if not prompt or prompt[-1]["role"] != "user":
        raise UsageError(f"{where}: the prompt has to end with a message of the user")
    rejected = ""
    if kind == "dpo":
        answer = _answer(_messages(row, "chosen", where), "chosen", where)
        rejected = _answer(_messages(row, "rejected", where), "rejected", where)
    rate = row.get("pass_rate")
    verifiers = [
        {
            "instruction": _instruction(given, parsed),
            "checks": [check.source for check in parsed.checks],
            "min_fraction": parsed.min_fraction,
        }
        for given, parsed in _verifiers(row, where)
        if parsed.checks
    ]
    level = row.get("level")
    return Example(
        kind,
        str(row.get("id") or content_id(kind, prompt, answer, rejected)),
        prompt,
        answer,
        rejected,
        verifiers,
        level if type(level) is int else len(verifiers),
        str(row.get("lang") or ""),
        str(row.get("source") or ""),
        float(rate) if is_number(rate) and rate is not None else None,
        _keys(row, prompt, verifiers),
    )


def _verifiers(row: Mapping[str, Any], where: object) -> Iterator[tuple[Row, VerifierRow]]:
    parsed = parse_verifiers(row, where)
    return zip(row["verifiers"], parsed, strict=True)


def _instruction(given: Row, parsed: VerifierRow) -> str:
    """As the row writes it, so that it stands in the prompt word for word."""
    text = given.get("instruction")
    return text if isinstance(text, str) else parsed.instruction.text if parsed.instruction else ""


def _messages(row: Mapping[str, Any], column: str, where: object) -> list[Message]:
    value = row.get(column)
    if not isinstance(value, list) or not value or not all(map(_is_message, value)):
        raise UsageError(
            f'{where}: "{column}" has to be a list of {{"role", "content"}} with texts'
        )
    return [{"role": m["role"], "content": m["content"]} for m in value]


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(value.get(key), str) for key in ("role", "content")
    )


def _answer(messages: list[Message], column: str, where: object) -> str:
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise UsageError(f'{where}: "{column}" has to end in one message of the assistant')
    return messages[0]["content"]


def _keys(row: Mapping[str, Any], prompt: list[Message], verifiers: list[Row]) -> frozenset[str]:
    """Constraints by their ids, which name all that the prompt states, or else by their texts. The
    query by its text; a prompt that answers none is its own."""
    ids = row.get("instruction_ids")
    stated = ids if isinstance(ids, list) and ids else [v["instruction"] for v in verifiers]
    query = row.get("query_text") or row.get("query") or prompt[0]["content"]
    return frozenset(
        [*(f"constraint {_plain(name)}" for name in stated), f"{QUERY}{_plain(query)}"]
    )


def _plain(text: object) -> str:
    return " ".join(str(text).split()).casefold()


def _is_text(example: Example) -> bool:
    texts = [example.id, example.lang, example.source, example.answer, example.rejected]
    texts += [m["content"] for m in example.prompt]
    texts += [m["role"] for m in example.prompt]
    for verifier in example.verifiers:
        texts += [verifier["instruction"], *verifier["checks"]]
    return not any(_has_surrogate(text) for text in texts)


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
