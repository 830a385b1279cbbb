"""The nouns. Frozen, slotted, JSON in and out; every id is a hash of the content it names.

    Instruction ──< Verifier (Checks + Cases) ──< Sample (query, response, verdicts) ──> Pair
    a stage: what it is given ──> Filtered (what it kept, and a Drop for each of the rest)

`to_json` gives plain dictionaries (enums as their names); `from_json` is its inverse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Generic, Literal, TypeVar

import orjson

from autoif.base.language import clean_text

T = TypeVar("T")

DETAIL = 400  # characters of a drop's detail


def content_id(*parts: object) -> str:
    """16 hex digits that name this content: blake2b-64 of its canonical JSON (ASCII, so that lone
    surrogates, which a model can emit, have an id too)."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()


def seed_from(*parts: object) -> int:
    """A 63-bit seed drawn from content, so that every random choice is free of order."""
    return int(content_id(*parts), 16) >> 1


class Status(Enum):
    """What one function said of one text. Only TRUE and FALSE are conclusions."""

    TRUE = "TRUE"
    FALSE = "FALSE"
    ERROR = "ERROR"  # raised, returned no bool, does not compile, forbidden import
    TIMEOUT = "TIMEOUT"
    MEMORY = "MEMORY"
    CRASH = "CRASH"  # the process died

    @property
    def concluded(self) -> bool:
        return self is Status.TRUE or self is Status.FALSE

    @property
    def machine_dependent(self) -> bool:
        """Another machine, or a busier one, might say otherwise; so it is stored with the calls."""
        return self in (Status.TIMEOUT, Status.MEMORY, Status.CRASH)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call of one function on one text. `detail` is untrusted text (an error message)."""

    status: Status
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all checks of a verifier said of one text.

    `fraction` = checks that said TRUE / ALL checks; None where none concluded (unscored, not zero).
    """

    outcomes: tuple[Outcome, ...]
    fraction: float | None

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Verdict:
        outcomes = tuple(outcomes)
        if not any(o.status.concluded for o in outcomes):
            return cls(outcomes, None)
        return cls(outcomes, sum(o.status is Status.TRUE for o in outcomes) / len(outcomes))

    @property
    def all_false(self) -> bool:
        """Every check concluded FALSE: the only verdict that makes a rejected response."""
        return bool(self.outcomes) and all(o.status is Status.FALSE for o in self.outcomes)


@dataclass(frozen=True, slots=True)
class Instruction:
    """A constraint on a reply that a program can decide.

    origin: seed, augmented (a model proposed it from `parents`) or user (brought to the run).
    benchmark_type: a constraint type of IFEval, IFBench or FollowBench that it states, or "".
    marked_by_hand: a person wrote that; else a rule of words, and then what its verifier does.
    template: the text with {n} where the number n stands, if it was made from one; bound: how n
    binds, at_least, at_most or exactly.
    """

    text: str
    lang: str = "en"
    origin: Literal["seed", "augmented", "user"] = "seed"
    family: str = ""
    benchmark_type: str = ""
    parents: tuple[str, ...] = ()
    template: str = ""
    n: int | None = None
    bound: str = ""
    marked_by_hand: bool = False

    @property
    def id(self) -> str:
        return content_id("instruction", self.lang, self.text)


@dataclass(frozen=True, slots=True)
class Check:
    """One function `evaluate(response: str) -> bool`, as source text. Untrusted."""

    source: str

    @property
    def id(self) -> str:
        return content_id("check", self.source)


@dataclass(frozen=True, slots=True)
class Case:
    """A text and what a right function must say of it.

    origin: model (it wrote the text for this), agreed (and several asks agreed on its label), plain
    (a reply to a query alone), comply:N (what the Nth program made of such a reply), instructed (a
    first response) or boundary (one small change away from an accepted text). `query`: what the
    text answers, where it answers one.
    """

    text: str
    expected: bool
    origin: str = "model"
    query: str = ""

    @property
    def id(self) -> str:
        return content_id("case", self.text, self.expected)

    @property
    def by_program(self) -> bool:
        """Whether a comply program made the text."""
        return self.origin.startswith("comply:")


@dataclass(frozen=True, slots=True)
class Verifier:
    """What survived cross-validation for one instruction. `accuracy`: one number per check."""

    instruction: Instruction
    checks: tuple[Check, ...]
    cases: tuple[Case, ...] = ()
    accuracy: tuple[float, ...] = ()
    back_translations: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return content_id("verifier", self.instruction.id, [c.id for c in self.checks])


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Query:
    """What a user asked, with where it comes from and under which licence."""

    text: str
    lang: str = "en"
    source: str = ""

    @property
    def id(self) -> str:
        return content_id("query", self.lang, self.text)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn of the user demands beside what is in force already, as ids of verifiers;
    `change`: in place of the last that is."""

    verifiers: tuple[str, ...]
    change: bool = False


@dataclass(frozen=True, slots=True)
class Composition:
    """Several verified constraints in one prompt, at once or turn by turn.

    `opening`: the first turn with a reply that passed it, where there are several turns.
    `soft`: constraints that no program decides, asked for beside the others.
    `known`: a reply to the query, kept for one of the constraints, that follows all of them.
    """

    query: Query
    turns: tuple[Turn, ...]
    opening: tuple[Message, ...] = ()
    soft: tuple[str, ...] = ()
    known: str = ""

    @property
    def id(self) -> str:
        turns = [(t.verifiers, t.change) for t in self.turns]
        opening = [m.content for m in self.opening]
        known = (self.known,) if self.known else ()
        return content_id("composition", self.query.id, turns, opening, self.soft, *known)

    @property
    def in_force(self) -> tuple[tuple[str, ...], ...]:
        """Ids of the verifiers that hold after each turn."""
        held: list[tuple[str, ...]] = []
        for turn in self.turns:
            before = held[-1] if held else ()
            held.append((before[:-1] if turn.change else before) + turn.verifiers)
        return tuple(held)


@dataclass(frozen=True, slots=True)
class Soft:
    """A constraint that no program decides (tone, audience), and a model's 0-10 for one response;
    None where there is no response to score, or no score was understood."""

    instruction: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One concluded response: the prompt it answers, what its verifiers said, what the judge said.

    `verifiers` are ids and `verdicts` stand in the same order (several where constraints are
    composed). `quality` is the judge's 0-10, None where the judge was not asked or not understood.
    """

    verifiers: tuple[str, ...]
    query: str
    messages: tuple[Message, ...]
    response: str
    verdicts: tuple[Verdict, ...]
    quality: float | None = None
    kept: bool = False
    reason: str = ""
    source: str = ""  # where the query comes from, with its licence
    index: int = 0  # which of the K responses it was
    composition: str = ""  # id, where constraints are put together
    soft: tuple[Soft, ...] = ()

    @property
    def id(self) -> str:
        where = (self.composition, len(self.messages)) if self.composition else ()
        return content_id("sample", self.verifiers, self.query, self.response, self.index, *where)


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference. `kind`: query (two responses to one query) or instruction (two case texts)."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    kind: Literal["query", "instruction"]
    verifiers: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return content_id("pair", [m.content for m in self.prompt], self.chosen, self.rejected)


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a record went no further: `reason` a short stable word, `detail` what a reader needs."""

    stage: str
    record_id: str
    reason: str
    detail: str = ""
    parent: str = ""  # id of the instruction it belonged to, where there is one

    @classmethod
    def of(
        cls,
        stage: str,
        record: str | tuple[object, ...],
        reason: str,
        detail: str = "",
        parent: str = "",
    ) -> Drop:
        """record: its id, or, of what came to no record, the content that names it. `detail` is cut
        to what a reader looks at."""
        record_id = record if isinstance(record, str) else content_id(*record)
        return cls(stage, record_id, reason, detail[:DETAIL], parent)


@dataclass(frozen=True)
class Filtered(Generic[T]):
    """What one stage made of what it was given: what it kept, in order, and a Drop for each of the
    rest. What was given is what was kept and dropped, so nothing leaves without a reason."""

    stage: str
    kept: list[T]
    dropped: list[Drop] = field(default_factory=list)

    @property
    def entered(self) -> int:
        return len(self.kept) + len(self.dropped)

    def __rshift__(self, later: Filtered[T]) -> Filtered[T]:
        """One after the other: a later step of the stage was given what this one kept.
        Raises AssertionError where it was given something else."""
        if later.stage != self.stage or later.entered != len(self.kept):
            raise AssertionError(
                f"{self.stage}: {len(self.kept)} kept, then {later.entered} in {later.stage}"
            )
        return Filtered(self.stage, later.kept, self.dropped + later.dropped)

    def __add__(self, other: Filtered[T]) -> Filtered[T]:
        """Side by side: two steps of one stage, each with its own candidates."""
        if other.stage != self.stage:
            raise AssertionError(f"{self.stage} and {other.stage} are two stages")
        return Filtered(self.stage, self.kept + other.kept, self.dropped + other.dropped)


@dataclass(frozen=True, slots=True)
class Score:
    """One figure of a benchmark, in percent, with its 95% interval and the number it rests on."""

    benchmark: str
    metric: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    by_group: Mapping[str, float] = field(default_factory=dict)


# ---- model calls -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """One answer wanted from a model (n is always 1; K answers are K requests with an `index`).

    schema: JSON schema (OpenAI's strict subset) of the answer, or None for free text.
    index: which of several answers to the same body; part of the store's key, not of the body.
    stage, record: who asks and on behalf of which record (an id), for accounting and lineage;
    neither in the body nor in the key.
    first_token: the likeliest first tokens are wanted with their probabilities, as a JSON object;
    a model that cannot give them answers as always.
    """

    messages: tuple[Message, ...]
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    first_token: bool = False
    schema: Mapping[str, Any] | None = None
    stop: tuple[str, ...] = ()
    index: int = 0
    stage: str = ""
    record: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, or of many added up.

    `cached` is part of `prompt`, `reasoning` of `completion`.
    """

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
            self.reasoning + other.reasoning,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer, thinking stripped. `finish_reason`: stop, length, or the server's word."""

    text: str
    finish_reason: str = "stop"
    usage: Usage = Usage()


# ---- JSON --------------------------------------------------------------------------------------


def to_json(record: Any) -> Any:
    """Records, enums and tuples as plain JSON values. Records with an id carry it first."""
    if isinstance(record, Enum):
        return record.value
    if isinstance(record, (list, tuple)):
        return [to_json(v) for v in record]
    if isinstance(record, Mapping):
        return {k: to_json(v) for k, v in record.items()}
    if not hasattr(record, "__dataclass_fields__"):
        return record
    row = {"id": record.id} if hasattr(record, "id") else {}
    return row | {f.name: to_json(getattr(record, f.name)) for f in fields(record)}


def outcome_from_json(row: Mapping[str, Any]) -> Outcome:
    return Outcome(Status(row["status"]), row.get("detail", ""))


def verdict_from_json(row: Mapping[str, Any]) -> Verdict:
    return Verdict(tuple(outcome_from_json(o) for o in row["outcomes"]), row["fraction"])


def instruction_from_json(row: Mapping[str, Any]) -> Instruction:
    return Instruction(**{**_known(Instruction, row), "parents": tuple(row.get("parents", ()))})


def verifier_from_json(row: Mapping[str, Any]) -> Verifier:
    return Verifier(
        instruction_from_json(row["instruction"]),
        tuple(Check(c["source"]) for c in row["checks"]),
        tuple(Case(**_known(Case, c)) for c in row.get("cases", ())),
        tuple(row.get("accuracy", ())),
        tuple(row.get("back_translations", ())),
    )


def sample_from_json(row: Mapping[str, Any]) -> Sample:
    return Sample(
        **{
            **_known(Sample, row),
            "verifiers": tuple(row["verifiers"]),
            "messages": tuple(Message(**m) for m in row["messages"]),
            "verdicts": tuple(verdict_from_json(v) for v in row["verdicts"]),
            "soft": tuple(Soft(**s) for s in row.get("soft", ())),
        }
    )


def composition_from_json(row: Mapping[str, Any]) -> Composition:
    return Composition(
        Query(**_known(Query, row["query"])),
        tuple(Turn(tuple(t["verifiers"]), t["change"]) for t in row["turns"]),
        tuple(Message(**m) for m in row["opening"]),
        tuple(row["soft"]),
        row.get("known", ""),
    )


def drop_from_json(row: Mapping[str, Any]) -> Drop:
    return Drop(**_known(Drop, row))


def _known(cls: type, row: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    return {k: v for k, v in row.items() if k in names}


def dump_line(record: Any) -> bytes:
    """One JSON line. Lone surrogates (a model can emit them) are replaced, as JSON is UTF-8."""
    row = to_json(record)
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except (orjson.JSONEncodeError, TypeError):
        row = _clean(row)
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except (orjson.JSONEncodeError, TypeError):  # an integer of more than 64 bits
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Sequence):
        return [_clean(v) for v in value]
    if isinstance(value, Mapping):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return value
