"""The heart: (checks, texts) -> verdicts. Filter, reward, evaluation and report all come here.

A check is untrusted and runs in the sandbox only. A verdict counts the checks that said TRUE out of
all checks; where none concluded its fraction is None.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

import orjson

from autoif.base.conversations import opened
from autoif.base.errors import UsageError, one_line
from autoif.base.inputs import read_rows, row_id
from autoif.base.jsonl import Row
from autoif.base.language import is_blank
from autoif.base.records import (
    Check,
    Outcome,
    Status,
    Verdict,
    Verifier,
    dump_line,
    outcome_from_json,
    to_json,
)
from autoif.sandbox import Sandbox
from autoif.store.base import OutcomeStore
from autoif.verifier.completion import answer, text_of
from autoif.verifier.schema import MIN_FRACTION, parse_label, parse_verifier, parse_verifiers

Write = Callable[[bytes], object]
Job = tuple[str, list[tuple[Check, ...]], list[str]]  # name, per verifier its checks, texts

# Columns that hold a response, and what the text is called in verdicts.
RESPONSES = {
    "messages": "response", "completion": "completion", "chosen": "chosen", "rejected": "rejected"
}  # fmt: skip
# Columns by which others name a response. Beside those that are read they would go unread.
UNREAD_RESPONSES = {
    "response", "responses", "output", "outputs", "answer", "answers", "completions", "generation",
    "generations", "generated_text", "reply",
}  # fmt: skip
# Those of a row that is a prompt alone; in any other there might be a response.
PROMPT_COLUMNS = {
    "id", "prompt", "query_text", "instruction_text", "query", "instruction", "verifiers", "soft",
    "composition", "verifier_ids", "instruction_ids", "lang", "family", "origin", "benchmark_type",
    "source",
}  # fmt: skip
REASONS = 1000  # different ones that are counted: an exception may hold the text it was raised on

# What a function reads there is another tomorrow, or in the next process.
_MOMENTARY = re.compile(r"\b(?:time|datetime|calendar|date|uuid|secrets|urandom|id)\b")
_UNCLOSED = Outcome(Status.ERROR, "reasoning that was never closed")
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]+")


def verify(
    verifier: Verifier | Sequence[Check],
    texts: Sequence[str],
    *,
    sandbox: Sandbox | None = None,
) -> list[Verdict]:
    """One verdict per text. Without `sandbox`, one that this process shares and keeps.

    Raises SandboxUnavailable where this machine cannot contain hostile code.
    """
    checks = verifier.checks if isinstance(verifier, Verifier) else verifier
    sandbox = sandbox or shared_sandbox()
    return _verdicts(sandbox.evaluate_all([c.source for c in checks], texts), len(texts))


async def averify(
    checks: Sequence[Check],
    texts: Sequence[str],
    sandbox: Sandbox,
    *,
    store: OutcomeStore | None = None,
    check_order: bool = False,
) -> list[Verdict]:
    """`verify` without blocking the loop. Outcomes that another machine, a busier one or another
    day might see otherwise are stored and looked up before anything runs."""

    async def one(check: Check) -> list[Outcome]:
        key = _key(check, texts, sandbox, check_order) if store else b""
        stored = await store.get_outcomes(key) if store else None
        if stored is not None:
            return [outcome_from_json(row) for row in orjson.loads(stored)]
        outcomes = [
            Outcome(o.status, steady(o.detail))
            for o in await sandbox.aevaluate(check.source, texts, check_order=check_order)
        ]
        if store and (momentary(check.source) or any(o.status.machine_dependent for o in outcomes)):
            stored = await store.put_outcomes(key, orjson.dumps(to_json(outcomes)))
            return [outcome_from_json(row) for row in orjson.loads(stored)]
        return outcomes

    return _verdicts(await asyncio.gather(*map(one, checks)), len(texts))


def accepts(verdicts: Sequence[Verdict], least: Sequence[float]) -> bool:
    """Whether each verifier of a row accepts its text: by a fraction of at least its
    `min_fraction`. One that concluded nothing does not."""
    return all(
        v.fraction is not None and v.fraction >= minimum
        for v, minimum in zip(verdicts, least, strict=True)
    )


def reason(outcome: Outcome) -> str:
    """Why a function concluded nothing, fit to be shown: "ERROR: NameError: name 're' is not
    defined". Empty where it did conclude."""
    if outcome.status.concluded:
        return ""
    detail = outcome.detail
    if detail.startswith(("SyntaxError", "IndentationError", "TabError")):
        detail += f"; this is Python {platform.python_version()}"
    return one_line(f"{outcome.status.value}: {detail}" if detail else outcome.status.value)


def momentary(source: str) -> bool:
    """Whether it may say something else another time: it seems to read the clock, or chance."""
    return bool(_MOMENTARY.search(source))


def steady(text: str) -> str:
    """Without the addresses of a forgotten `repr`, which differ from process to process."""
    return _ADDRESS.sub("at 0x0", text)


def _verdicts(columns: Sequence[Sequence[Outcome]], texts: int) -> list[Verdict]:
    if not columns:
        return [Verdict.of(())] * texts
    return [Verdict.of(row) for row in zip(*columns, strict=True)]


def _key(check: Check, texts: Sequence[str], sandbox: Sandbox, check_order: bool) -> bytes:
    parts = [check.source, list(texts), asdict(sandbox.limits), check_order]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).digest()


_shared: Sandbox | None = None
_shared_lock = threading.Lock()


def shared_sandbox() -> Sandbox:
    """This process's own sandbox: made when first needed, ended with the process."""
    global _shared
    with _shared_lock:
        if _shared is None or _shared.closed:
            _shared = Sandbox()
        return _shared


def _after_fork() -> None:
    """The lock may have been held, and the sandbox is the parent's."""
    global _shared, _shared_lock
    _shared, _shared_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):  # importable everywhere, if only to be refused
    os.register_at_fork(after_in_child=_after_fork)


# ---- files -------------------------------------------------------------------------------------


@dataclass(slots=True)
class VerifyCounts:
    """What a file of verdicts came to. `outcomes` counts checks x texts by status, `reasons` those
    without a conclusion by what kept them from one."""

    rows: int = 0
    texts: int = 0
    unscored: int = 0  # texts on which no check concluded
    agreed: int = 0  # verify_rows: texts that are what their row claims
    disagreed: int = 0
    unclaimed: int = 0  # verify_rows: rows without a response, whose checks can be run
    lenient: int = 0  # rows that ask for less than half of a verifier's checks
    levels: Counter[int] = field(default_factory=Counter)  # verify_rows: rows that agree, by level
    outcomes: dict[str, int] = field(default_factory=lambda: {s.value: 0 for s in Status})
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            self.texts += 1
            self.unscored += verdict.fraction is None
            for outcome in verdict.outcomes:
                self.outcomes[outcome.status.value] += 1
                if why := reason(outcome):
                    kept = why in self.reasons or len(self.reasons) < REASONS
                    self.reasons[why if kept else "another reason"] += 1


def verify_files(
    verifiers: Path, responses: Path, out: Write | IO[bytes], *, sandbox: Sandbox | None = None
) -> VerifyCounts:
    """Rows `{"id", "checks"}` and `{"id", "responses"}`, joined by id, to rows `{"id", "verdicts"}`
    in the order of the responses. A response is judged without reasoning, as a reward is; one whose
    reasoning was never closed has no verdict. Memory does not grow with the responses' file.

    Raises UsageError naming file and line for a bad row and for an id without verifier.
    """
    write = out if callable(out) else out.write
    sandbox = sandbox or shared_sandbox()
    checks = _checks(verifiers)
    counts = VerifyCounts()
    answers: deque[list[str | None]] = deque()

    def jobs() -> Iterator[Job]:
        for place, row in read_rows(responses):
            name, texts = _id(row, place), row.get("responses")
            if name not in checks:
                raise UsageError(f"{place}: {verifiers} has no verifier {name!r}")
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise UsageError(f'{place}: column "responses" must be there and hold texts')
            answers.append([answer(text) for text in texts])
            yield name, [checks[name]], [text or "" for text in answers[-1]]

    for name, (verdicts,) in _in_order(sandbox, jobs()):
        unclosed = Verdict.of([_UNCLOSED] * len(checks[name]))
        verdicts = [
            unclosed if text is None else verdict
            for text, verdict in zip(answers.popleft(), verdicts, strict=True)
        ]
        counts.rows += 1
        counts.add(verdicts)
        write(dump_line({"id": name, "verdicts": [_plain(v) for v in verdicts]}))
    if not counts.rows:
        raise UsageError(f"{responses} is empty: it should hold responses")
    return counts


def verify_rows(
    rows: Path, out: Write | IO[bytes] | None = None, *, sandbox: Sandbox | None = None
) -> VerifyCounts:
    """Derive again every verdict of an sft, dpo, kto or rlvr file from the code its rows carry.

    A row agrees where each of its verifiers accepts the assistant's message (`messages`),
    `completion`, `response` or `chosen`, by a fraction of at least its `min_fraction`, and where
    not all of them accept `rejected`, or the response of a row whose `label` is false. An empty
    response is never accepted. A row that names a `level` has to carry as many verifiers.

    An rlvr row has a `prompt` and no response, so it claims nothing and cannot agree: its checks
    are run on the empty text, and it disagrees where one of its verifiers concludes nothing.

    `out` gets rows `{"line", "agrees", "level", "texts": {name: [verdict, ...]}}`, a verdict for
    each verifier; `agrees` is null for a row without a response.

    Raises UsageError naming file and line for a row of another shape, one whose last message is not
    the assistant's, or one that has not as many `turns` as it says.
    """
    write = None if out is None else out if callable(out) else out.write
    counts = VerifyCounts()
    wanted: deque[tuple[int, object, dict[str, _Claim], list[float]]] = deque()

    def jobs() -> Iterator[Job]:
        for place, row in read_rows(rows):
            verifiers = parse_verifiers(row, place)
            if not verifiers:
                raise UsageError(f'{place}: column "verifiers" is empty: there is no code to run')
            claims, least = _claims(row, place), [v.min_fraction for v in verifiers]
            wanted.append((place.number, row.get("level", len(least)), claims, least))
            if (turns := row.get("turns")) is not None and turns != _turns(row):
                raise UsageError(f"{place}: it says {turns} turns and has {_turns(row)}")
            texts = [claim.text for claim in claims.values()] or [""]
            yield str(place), [v.checks for v in verifiers], texts

    for _, by_verifier in _in_order(sandbox or shared_sandbox(), jobs()):
        line, level, claims, least = wanted.popleft()
        counts.rows += 1
        counts.lenient += min(least) < MIN_FRACTION
        columns = list(zip(*by_verifier, strict=True))  # for each text a verdict of each verifier
        for column in columns:
            counts.add(column)
            counts.texts += 1 - len(column)  # it is one text, however many verdicts
        right = [
            _confirms(claim, column, least)
            for claim, column in zip(claims.values(), columns, strict=False)
        ]
        agrees: bool | None = all(right) and level == len(least)
        if not claims and level == len(least) and all(v.fraction is not None for v in columns[0]):
            agrees = None
            counts.unclaimed += 1
        elif not claims:
            agrees = False
            counts.disagreed += 1
        else:
            correct = sum(right) if level == len(least) else 0
            counts.agreed += correct
            counts.disagreed += len(right) - correct
        counts.levels[len(least)] += bool(agrees)
        if write is not None:
            names = list(claims) or ["prompt"]
            texts = {n: list(map(_plain, column)) for n, column in zip(names, columns, strict=True)}
            write(dump_line({"line": line, "agrees": agrees, "level": level, "texts": texts}))
    if not counts.rows:
        raise UsageError(f"{rows} is empty: it should hold rows of data")
    return counts


def _in_order(sandbox: Sandbox, jobs: Iterator[Job]) -> Iterator[tuple[str, list[list[Verdict]]]]:
    """Jobs to (name, per verifier its verdicts), in order, a few rows at once."""

    def run(verifiers: list[tuple[Check, ...]], texts: list[str]) -> list[list[Verdict]]:
        return [
            _verdicts([sandbox.evaluate(check.source, texts) for check in checks], len(texts))
            for checks in verifiers
        ]

    waiting: deque[tuple[str, Future[list[list[Verdict]]]]] = deque()
    with ThreadPoolExecutor(sandbox.workers) as threads:
        for name, verifiers, texts in jobs:
            waiting.append((name, threads.submit(run, verifiers, texts)))
            if len(waiting) > 4 * sandbox.workers:
                name, future = waiting.popleft()
                yield name, future.result()
        for name, future in waiting:
            yield name, future.result()


def _plain(verdict: Verdict) -> dict[str, object]:
    return {
        "fraction": verdict.fraction,
        "outcomes": [o.status.value for o in verdict.outcomes],
        "reasons": [reason(o) for o in verdict.outcomes],
    }


def _id(row: Row, place: object) -> str:
    name = row_id(row)
    if name is None:
        raise UsageError(f'{place}: column "id" must be there and hold a text or a whole number')
    return name


def _checks(verifiers: Path) -> dict[str, tuple[Check, ...]]:
    """The functions of each verifier, by its id."""
    checks: dict[str, tuple[Check, ...]] = {}
    for place, row in read_rows(verifiers):
        name = _id(row, place)
        if name in checks:
            raise UsageError(f"{place}: the id {name!r} has stood in this file before")
        checks[name] = parse_verifier(row, place).checks
    if not checks:
        raise UsageError(f"{verifiers} is empty: it should hold verifiers")
    return checks


class _Claim(NamedTuple):
    """A text of a row, and whether the row's verifiers are to accept it."""

    text: str
    accepted: bool


def _claims(row: Row, place: object) -> dict[str, _Claim]:
    """All that a row says of texts, by the name of the text. Empty for a prompt alone; a shape
    that is not understood is refused, as nothing may agree that was not looked at."""
    label = row.get("label", True)
    if "completion" in row and not isinstance(label, bool):
        raise UsageError(f'{place}: "label" has to be true or false')
    if "completion" not in row and parse_label(label) is False:
        raise UsageError(f'{place}: "label" is of a "completion", and there is none')
    no_claim = {"rejected"} | ({"completion"} if label is False else set())
    claims = {
        name: _Claim(_last(row[column], place), column not in no_claim)
        for column, name in RESPONSES.items()
        if column in row
    }
    if ("chosen" in row) != ("rejected" in row):
        raise UsageError(f'{place}: "chosen" and "rejected" need each other')
    columns = ", ".join(RESPONSES)
    if not claims and "prompt" not in row:
        raise UsageError(f"{place}: none of the columns {columns} is there, and no prompt")
    if not claims and not _is_prompt(row["prompt"]):
        raise UsageError(
            f'{place}: a prompt without a response is a text, or messages {{"role", "content"}} of '
            f"which the last is the user's; responses are read from {columns}"
        )
    unread = [c for c in row if (c in UNREAD_RESPONSES if claims else c not in PROMPT_COLUMNS)]
    if unread := [c for c in unread if _holds_text(row[c])]:
        raise UsageError(
            f"{place}: nothing would be checked of the column {unread[0]!r}; responses are "
            f"read from {columns}"
        )
    return claims


def _is_prompt(value: object) -> bool:
    """Whether nothing in it can be a response to it."""
    value = opened(value)  # a conversation may stand in a string
    if isinstance(value, list) and value and all(isinstance(m, dict) for m in value):
        return all("content" in m for m in value) and value[-1].get("role") == "user"
    return isinstance(value, str)


def _holds_text(value: object) -> bool:
    return isinstance(value, (str, list, dict)) and bool(value)


def _confirms(claim: _Claim, column: Sequence[Verdict], least: Sequence[float]) -> bool:
    """Whether the verdicts on a text, one of each verifier, are what its row says. What no
    check concluded on confirms nothing."""
    if is_blank(claim.text):
        return not claim.accepted
    if claim.accepted:
        return accepts(column, least)
    return any(
        v.fraction is not None and v.fraction < minimum
        for v, minimum in zip(column, least, strict=True)
    )


def _turns(row: Row) -> int:
    messages = row.get("messages", row.get("prompt"))
    if not isinstance(messages, list):
        return 1
    return sum(isinstance(m, dict) and m.get("role") == "user" for m in messages)


def _last(value: object, where: object) -> str:
    """What of a response is judged. The last of its messages has to be the model's; reasoning that
    was never closed is an empty response."""
    last = value[-1] if isinstance(value, list) and value else None
    if isinstance(last, dict) and last.get("role", "assistant") != "assistant":
        raise UsageError(f"{where}: the last message is not the assistant's")
    if text_of(value, where) is None:
        raise UsageError(f"{where}: a text or a list of messages is wanted for each response")
    return answer(value, where=where) or ""
