"""The heart: (checks, texts) -> verdicts. Filter, reward, evaluation and report all come here.

A check is untrusted and runs in the sandbox only. A verdict counts the checks that said TRUE out of
all checks; where none concluded its fraction is None.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from autoif.base.errors import UsageError
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

Write = Callable[[bytes], object]

# What a function reads there is another tomorrow, or in the next process.
_MOMENTARY = re.compile(r"\b(?:time|datetime|calendar|date|uuid|secrets|urandom|id)\b")
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


# ---- files -------------------------------------------------------------------------------------


@dataclass(slots=True)
class VerifyCounts:
    """What a file of verdicts came to. `outcomes` counts checks x texts by status."""

    rows: int = 0
    texts: int = 0
    unscored: int = 0  # texts on which no check concluded
    agreed: int = 0  # verify_rows: texts that are what their row claims
    disagreed: int = 0
    levels: Counter[int] = field(default_factory=Counter)  # verify_rows: rows that agree, by level
    outcomes: dict[str, int] = field(default_factory=lambda: {s.value: 0 for s in Status})

    def add(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            self.texts += 1
            self.unscored += verdict.fraction is None
            for outcome in verdict.outcomes:
                self.outcomes[outcome.status.value] += 1


def verify_files(
    verifiers: Path, responses: Path, out: Write | IO[bytes], *, sandbox: Sandbox | None = None
) -> VerifyCounts:
    """Rows `{"id", "checks"}` and `{"id", "responses"}`, joined by id, to rows `{"id", "verdicts"}`
    in the order of the responses. Memory does not grow with the responses' file.

    Raises UsageError naming file and line for a bad row and for an id without verifier.
    """
    write = out if callable(out) else out.write
    sandbox = sandbox or shared_sandbox()
    places = _places(verifiers)
    counts = VerifyCounts()

    with verifiers.open("rb") as source:

        def jobs() -> Iterator[tuple[str, list[list[str]], list[str]]]:
            for row in _rows(responses):
                name = row.string("id")
                if name not in places:
                    raise UsageError(f"{row.where}: {verifiers} has no verifier {name!r}")
                source.seek(places[name])
                verifier = _parse(source.readline(), str(verifiers))
                yield name, [verifier["checks"]], row.strings("responses")

        for name, (verdicts,) in _in_order(sandbox, jobs()):
            counts.rows += 1
            counts.add(verdicts)
            write(dump_line({"id": name, "verdicts": [_plain(v) for v in verdicts]}))
    return counts


def verify_rows(
    rows: Path, out: Write | IO[bytes] | None = None, *, sandbox: Sandbox | None = None
) -> VerifyCounts:
    """Derive again every verdict of an sft, dpo or rlvr file from the code its rows carry.

    A row agrees where each of its verifiers accepts the assistant's message (sft) or `chosen`, by a
    fraction of at least its `min_fraction`, and where of a dpo row not all of them accept
    `rejected`. An rlvr row has no response; its checks must only be runnable, so they are run on
    the empty text. A row that names a `level` has to carry as many verifiers. `out` gets rows
    `{"line", "agrees", "level", "texts": {name: [verdict, ...]}}`, a verdict for each verifier.

    Raises UsageError naming file and line for a row that is none of the three, whose last message
    is not the assistant's, or that has not as many `turns` as it says.
    """
    write = None if out is None else out if callable(out) else out.write
    counts = VerifyCounts()
    wanted: deque[tuple[int, object, list[str], list[float]]] = deque()

    def jobs() -> Iterator[tuple[str, list[list[str]], list[str]]]:
        for row in _rows(rows):
            checks, least = _carried(row)
            texts = _claims(row)
            wanted.append((row.line, row.data.get("level", len(least)), list(texts), least))
            if (turns := row.data.get("turns")) is not None and turns != _turns(row.data):
                raise UsageError(f"{row.where}: it says {turns} turns and has {_turns(row.data)}")
            yield row.where, checks, list(texts.values())

    for _, by_verifier in _in_order(sandbox or shared_sandbox(), jobs()):
        line, level, names, least = wanted.popleft()
        counts.rows += 1
        agrees = True
        for i, name in enumerate(names):
            column = [verdicts[i] for verdicts in by_verifier]
            counts.add(column)
            counts.texts += 1 - len(column)  # it is one text, however many verdicts
            accepted = accepts(column, least)
            if name == "prompt":
                right = all(v.fraction is not None for v in column)
            else:
                right = accepted if name != "rejected" else not accepted
            right = right and level == len(least)
            counts.agreed += right
            counts.disagreed += not right
            agrees = agrees and right
        counts.levels[len(least)] += agrees
        if write is not None:
            texts = {n: [_plain(v[i]) for v in by_verifier] for i, n in enumerate(names)}
            write(dump_line({"line": line, "agrees": agrees, "level": level, "texts": texts}))
    return counts


def _in_order(
    sandbox: Sandbox, jobs: Iterator[tuple[str, list[list[str]], list[str]]]
) -> Iterator[tuple[str, list[list[Verdict]]]]:
    """(name, per verifier its checks, texts) -> (name, per verifier its verdicts), in order, a few
    rows at once."""

    def run(verifiers: list[list[str]], texts: list[str]) -> list[list[Verdict]]:
        return [
            _verdicts([sandbox.evaluate(source, texts) for source in checks], len(texts))
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
    }


class _Row(NamedTuple):
    where: str  # file and line, for messages
    line: int
    at: int  # byte offset of the line
    data: Mapping[str, Any]

    def string(self, column: str) -> str:
        value = self.data.get(column)
        if not isinstance(value, str):
            raise UsageError(f'{self.where}: column "{column}" must be there and hold a string')
        return value

    def strings(self, column: str) -> list[str]:
        return _strings(self.data, column, self.where)


def _rows(path: Path) -> Iterator[_Row]:
    """Each line that is not blank. UsageError for a file that is missing, empty or broken."""
    at, empty = 0, True
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    empty = False
                    where = f"{path}, line {number}"
                    yield _Row(where, number, at, _parse(line, where))
                at += len(line)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if empty:
        raise UsageError(f"{path} is empty: it should hold one JSON object per line")


def _parse(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            row = json.loads(line)  # takes lone surrogates, which a model can emit
        except (ValueError, RecursionError):
            raise UsageError(f"{where}: not JSON; each line must hold one object") from None
    if not isinstance(row, dict):
        raise UsageError(f"{where}: a JSON object is wanted, not {type(row).__name__}")
    return row


def _strings(data: Mapping[str, Any], column: str, where: str) -> list[str]:
    value = data.get(column)
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise UsageError(f'{where}: column "{column}" must be there and hold a list of strings')
    return value


def _places(path: Path) -> dict[str, int]:
    """Where in the file each verifier's row begins. Every row is checked on the way."""
    places: dict[str, int] = {}
    for row in _rows(path):
        name = row.string("id")
        row.strings("checks")
        if name in places:
            raise UsageError(f"{row.where}: the id {name!r} has stood in this file before")
        places[name] = row.at
    return places


def _carried(row: _Row) -> tuple[list[list[str]], list[float]]:
    """The verifiers that a data row carries: the checks of each, and its least fraction."""
    verifiers = row.data.get("verifiers")
    if not isinstance(verifiers, list) or not verifiers:
        raise UsageError(f'{row.where}: column "verifiers" must be there and hold a list of them')
    checks, least = [], []
    for verifier in verifiers:
        if not isinstance(verifier, dict):
            raise UsageError(f"{row.where}: a verifier must be an object with checks")
        checks.append(_strings(verifier, "checks", row.where))
        minimum = verifier.get("min_fraction", 0.5)
        if not isinstance(minimum, (int, float)):
            raise UsageError(f'{row.where}: "min_fraction" must be a number')
        least.append(float(minimum))
    return checks, least


def _claims(row: _Row) -> dict[str, str]:
    """The texts whose verdicts a row claims: response, or chosen and rejected, or none."""
    data = row.data
    if "messages" in data:
        return {"response": _last(data["messages"], row.where)}
    if "chosen" in data:
        return {name: _last(data.get(name), row.where) for name in ("chosen", "rejected")}
    if "prompt" in data:
        return {"prompt": ""}
    raise UsageError(f'{row.where}: neither "messages" nor "chosen" nor "prompt" is there')


def _turns(data: Mapping[str, Any]) -> int:
    messages = data.get("messages", data.get("prompt"))
    if not isinstance(messages, list):
        return 1
    return sum(isinstance(m, dict) and m.get("role") == "user" for m in messages)


def _last(value: object, where: str) -> str:
    """The text of a string, or of the last of a list of messages, which has to be the model's."""
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        if value[-1].get("role", "assistant") != "assistant":
            raise UsageError(f"{where}: the last message is not the assistant's")
        value = value[-1].get("content")
    if not isinstance(value, str):
        raise UsageError(f"{where}: a text or a list of messages is wanted for each response")
    return value
