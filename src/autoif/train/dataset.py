"""Rows for training: read, checked, and only those that can be used; the rest is counted.

`sft`: `{"messages"}`; `dpo`: `{"prompt", "chosen", "rejected"}`; `selfplay` and `grpo`:
`{"prompt", "verifiers"}`, as `autoif synth` writes them under `data/`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.inputs import read_rows
from autoif.base.language import is_blank
from autoif.base.records import content_id, dump_line
from autoif.sandbox import Sandbox
from autoif.train.config import Calibrated, Method
from autoif.verifier.schema import MIN_FRACTION, is_number, parse_verifiers
from autoif.verifier.verify import shared_sandbox

Row = dict[str, Any]
FILES: dict[Method, str] = {"sft": "sft", "dpo": "dpo", "selfplay": "rlvr", "grpo": "rlvr"}
COLUMNS: dict[Method, tuple[str, ...]] = {
    "sft": ("messages",),
    "dpo": ("prompt", "chosen", "rejected"),
    "selfplay": ("prompt", "verifiers"),
    "grpo": ("prompt", "verifiers"),
}
# How the sandbox says that a source gives no function at all.
_NO_FUNCTION = ("SyntaxError", "IndentationError", "TabError", "NameError: no function")


@dataclass(slots=True)
class Rows:
    """What was kept, and why the rest was not: in = len(rows) + sum(dropped.values())."""

    rows: list[Row] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    sources: list[str] = field(default_factory=list)

    @property
    def lenient(self) -> int:
        """Rows that ask for less than half of a verifier's checks."""
        return sum(
            any(v["min_fraction"] < MIN_FRACTION for v in row.get("verifiers", ()))
            for row in self.rows
        )

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(b"".join(map(dump_line, self.rows))).hexdigest()[:16]

    def keep(self, good: Callable[[Row], bool], otherwise: str) -> None:
        """Drops the rows that are not good, for the reason `otherwise`."""
        kept = [row for row in self.rows if good(row)]
        if dropped := len(self.rows) - len(kept):
            self.dropped[otherwise] += dropped
        self.rows = kept

    def account(self) -> str:
        dropped = [f"{n:,} left out ({why})" for why, n in sorted(self.dropped.items())]
        if lenient := self.lenient:
            dropped.append(f"{lenient:,} that ask for less than half of a verifier's checks")
        return ", ".join([f"{len(self.rows):,} rows", *dropped])


def load(
    method: Method,
    data: Sequence[str],
    *,
    band: Calibrated | None = None,
    sandbox: Sandbox | None = None,
) -> Rows:
    """All rows of `data` (files, or run directories of `autoif synth`) in the shape that TRL
    takes. Raises UsageError for files and columns that are wrong; rows that are empty, calibrated
    ones outside the band, and those whose verifiers give no function any more, are dropped and
    counted."""
    rows = Rows()
    for path in files(method, data):
        rows.sources.append(str(path))
        for where, row in read_rows(path):
            shaped = shape(method, row, where)
            if band and not isinstance(shaped, str) and not _in_band(row, band, where):
                shaped = "pass rate outside calibrated.pass_rate"
            if isinstance(shaped, str):
                rows.dropped[shaped] += 1
            else:
                rows.rows.append(shaped)
    if any("median_words" in row for row in rows.rows):  # a column of some is a column of all
        rows.rows = [{"median_words": None, **row} for row in rows.rows]
    if FILES[method] == "rlvr":
        _drop_broken(rows, sandbox or shared_sandbox())
    if not rows.rows:
        raise UsageError(f"{', '.join(rows.sources)}: nothing to train on: {rows.account()}")
    return rows


def files(method: Method, data: Sequence[str]) -> list[Path]:
    """Of rows. Raises UsageError for one that is not there."""
    paths = [Path(name) for name in data]
    paths = [p / "data" / f"{FILES[method]}.jsonl" if p.is_dir() else p for p in paths]
    if missing := [path for path in paths if not path.is_file()]:
        raise UsageError(
            f"{missing[0]}: no such file; `data` names files of rows or run directories"
        )
    return paths


def _in_band(row: Mapping[str, Any], band: Calibrated, where: object) -> bool:
    """Of a row that `autoif calibrate` wrote: `pass_rate` alone is the data's, not the policy's."""
    rate = row.get("pass_rate")
    if row.get("n_answers") is None:
        return True
    if not is_number(rate):
        raise UsageError(f'{where}: a calibrated row has a number in "pass_rate"')
    low, high = band.pass_rate
    return low < float(rate or 0) <= high


def keep_short(rows: Rows, tokens: Callable[[Row], int], limit: int) -> None:
    """Drops rows of more than `limit` tokens. Raises UsageError where none is left."""
    rows.keep(lambda row: tokens(row) <= limit, "too long")
    if not rows.rows:
        raise UsageError(f"every row has more than {limit} tokens: raise train.max_length")


def shape(method: Method, row: Mapping[str, Any], where: object) -> Row | str:
    """The row as TRL wants it, or why it is left out."""
    if not row:
        return "empty"
    if missing := [c for c in COLUMNS[method] if c not in row]:
        has = ", ".join(map(str, row)) or "none"
        raise UsageError(f"{where}: {method} wants the column {missing[0]!r}; it has: {has}")
    if method == "sft":
        messages = _messages(row["messages"], "user", where)
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            return "no answer"
        prompt, answer = messages[:-1], messages[-1:]
        return {"prompt": prompt, "completion": answer} if _full(messages) else "empty"
    prompt = _messages(row["prompt"], "user", where)
    if method == "dpo":
        chosen, rejected = (_reply(row, name, prompt, where) for name in ("chosen", "rejected"))
        if not _full(prompt) or not _full(chosen) or not _full(rejected):
            return "empty"
        if chosen == rejected:
            return "chosen is rejected"
        if _doubled(row):
            return "both replies begin with the prompt"
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    verifiers = [
        {
            "checks": [c.source for c in v.checks],
            "min_fraction": v.min_fraction,
            **({"measure": asdict(v.measure)} if v.measure else {}),
        }
        for v in parse_verifiers(row, where)
        if v.checks
    ]
    if not _full(prompt) or not verifiers:
        return "empty"
    row_id = row.get("id") or content_id("prompt", prompt)
    shaped = {"id": str(row_id), "prompt": prompt, "verifiers": verifiers}
    usual = row.get("median_words")
    return shaped | ({"median_words": float(usual)} if is_number(usual) and usual else {})


def _reply(row: Mapping[str, Any], name: str, prompt: list[Row], where: object) -> list[Row]:
    """The messages that answer the prompt. A whole conversation loses the prompt's messages, which
    TRL would otherwise put before it once more."""
    messages = _messages(row[name], "assistant", where)
    for n in range(min(len(prompt), len(messages) - 1), 0, -1):
        if _same(messages[:n], prompt[-n:]):
            messages = messages[n:]
            break
    if any(message["role"] in ("system", "user") for message in messages):
        raise UsageError(
            f'{where}: "{name}" is a conversation that does not begin as "prompt" does; it has '
            "to be the answer alone, or the prompt and the answer"
        )
    return messages


def _same(one: Sequence[Row], other: Sequence[Row]) -> bool:
    return [(m["role"], m["content"].strip()) for m in one] == [
        (m["role"], m["content"].strip()) for m in other
    ]


def _doubled(row: Mapping[str, Any]) -> bool:
    """Whether both replies, as plain texts, begin with the prompt: it would be read twice."""
    texts = [row[name] for name in ("prompt", "chosen", "rejected")]
    if not all(isinstance(text, str) for text in texts) or len(texts[0].split()) < 3:
        return False  # two replies may well begin with the same word or two
    return all(text.lstrip().startswith(texts[0].strip()) for text in texts[1:])


def _messages(value: Any, role: str, where: object) -> list[Row]:
    """A list of messages; a text is one message of that role, and one message may stand alone."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list) or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in value
    ):
        raise UsageError(f'{where}: messages are a list of {{"role", "content"}} with texts')
    return [{"role": m["role"], "content": m["content"]} for m in value]


def _full(messages: Sequence[Row]) -> bool:
    return bool(messages) and not any(is_blank(m["content"]) for m in messages)


def _drop_broken(rows: Rows, sandbox: Sandbox) -> None:
    """Without the rows one of whose verifiers has no check that gives a function."""
    sources = sorted({c for row in rows.rows for v in row["verifiers"] for c in v["checks"]})
    outcomes = sandbox.evaluate_all(sources, ["A text."])
    broken = {
        source
        for source, (outcome,) in zip(sources, outcomes, strict=True)
        if outcome.detail.startswith(_NO_FUNCTION)
    }
    rows.keep(
        lambda row: not any(broken.issuperset(v["checks"]) for v in row["verifiers"]),
        "verifier does not compile",
    )
