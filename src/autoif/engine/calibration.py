"""`autoif calibrate`: which prompts can teach this student something?

    rows -> k answers each, judged by the rows' verifiers -> a pass rate
      always passed: one constraint more, that some of its answers follow and some do not
      never passed:  what its best answer does follow, without the rest (hindsight)
    those that were changed are asked again, and every row is written with its own pass rate

A group of answers that are all right or all wrong teaches nothing. What is changed follows the
answers: that the constraints of a prompt go together is known from a reply that follows them all,
as in compositions (`synthesis/compositions/draw.py`).

    OUT/calls.sqlite      every answer; a run that was killed asks none of them again
    OUT/data/rlvr.jsonl   the rows, for `data = "OUT"` of a training
    OUT/calibration.json  what became of them
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.files import alone, make_folder, refuse_links, replacing, write_whole
from autoif.base.inputs import language, read_rows
from autoif.base.language import NUMBERS_EN, NUMBERS_ZH
from autoif.base.loop import blocking
from autoif.base.records import Sample, content_id, dump_line, seed_from
from autoif.engine.measuring import proved_measure
from autoif.models import Chat
from autoif.store import open_store
from autoif.store.base import Store
from autoif.synthesis.prompts.templates import sentence
from autoif.train.answers import ask, hack_rate, median_words
from autoif.train.config import TrainConfig
from autoif.train.dataset import files, shape
from autoif.train.policy import student
from autoif.verifier.schema import Measure, VerifierRow, parse_verifiers
from autoif.verifier.verify import accepts, averify, shared_sandbox

Row = dict[str, Any]
Notice = Callable[[str], None]
TRIED = 32  # constraints that are tried on the answers to a prompt
_NUMBER = re.compile(rf"\d+|\b{NUMBERS_EN}\b|{NUMBERS_ZH}", re.IGNORECASE)
BESIDE = ("verifier_ids", "instruction_ids")  # columns with one for each verifier
JOINED = ("family", "origin", "benchmark_type")  # columns of words, each once
OURS = ("calls.sqlite*", "calibration.json", "data", "run.lock")


@dataclass(slots=True)
class Calibration:
    """What became of the rows. rows: that were written. answers: that were judged. always, never:
    rows that every answer passed, or none, at first; appended, relabelled: those of them that were
    changed. in_band: rows that a training would take. unread: rows left out, by reason. measured:
    verifiers with a measure, of `verifiers` different ones. hack_rate: share of all answers."""

    rows: int = 0
    answers: int = 0
    always: int = 0
    never: int = 0
    appended: int = 0
    relabelled: int = 0
    in_band: int = 0
    unscored: int = 0
    verifiers: int = 0
    measured: int = 0
    hack_rate: float = 0.0
    unread: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """One line for a terminal."""
        return (
            f"{self.rows:,} rows, {self.in_band:,} in the band: {self.always:,} always passed "
            f"({self.appended:,} got a constraint more), {self.never:,} never passed "
            f"({self.relabelled:,} ask for what was followed), "
            f"{self.unscored:,} without a verdict; "
            f"{100 * self.hack_rate:.1f}% of the answers pass and say nothing"
        )


@dataclass(frozen=True, slots=True)
class CalibratedPrompt:
    """A row as it stands in its file, as it is asked, and the answers to it."""

    row: Row
    shaped: Row
    samples: list[Sample]

    @property
    def passed(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.kept]

    @property
    def pass_rate(self) -> float:
        return len(self.passed) / max(1, len(self.samples))


async def acalibrate(
    config: TrainConfig, notice: Notice = lambda line: None, **server: Any
) -> Calibration:
    """Writes the calibrated rows into `config.out`. Run again, no stored answer is paid again.

    server: `base_url`, `api_key_env` of a student that is served. Raises UsageError for wrong rows
    and where `out` holds rows of others, SetupError where it holds links or the student cannot be
    had.
    """
    out = Path(config.out)
    _claim(out)
    counts = Calibration()
    with alone(out, "choose another `out`"):
        rows = _read(config, counts)
        await asyncio.to_thread(_measure, rows, counts)
        async with (
            open_store(out / "calls.sqlite") as store,
            student(config.model, config.sampling, store, notice, **server) as chat,
        ):
            notice(f"{len(rows):,} prompts, {config.sampling.k} answers each")
            first = await _ask(config, chat, rows, store)
            changed = await _changed(config, first, store, counts)
            notice(f"changed and asked again: {len(changed):,}")
            again = await _ask(config, chat, list(changed.values()), store)
        final = dict(zip(changed, again, strict=True))
        answered = [final.get(n, one) for n, one in enumerate(first)]
        _count(config, counts, answered, [s for one in (*first, *again) for s in one.samples])
        write_whole(out / "calibration.json", f"{json.dumps(asdict(counts))}\n".encode())
        with replacing(out / "data" / "rlvr.jsonl") as file:
            file.writelines(dump_line(_written(one)) for one in answered)
    return counts


calibrate = blocking(acalibrate)


def _claim(out: Path) -> None:
    """Raises UsageError where there are rows that no calibration wrote."""
    refuse_links(out, OURS, "choose another `out`")
    rows = out / "data" / "rlvr.jsonl"
    if rows.exists() and not (out / "calibration.json").exists():
        raise UsageError(f"{rows} is not of a calibration: choose another `out`")
    make_folder(rows.parent)


def _read(config: TrainConfig, counts: Calibration) -> list[Row]:
    rows = []
    for path in files("grpo", config.data):
        if path.resolve() == (Path(config.out) / "data" / "rlvr.jsonl").resolve():
            raise UsageError(f"{path} is read, and would be written: choose another `out`")
        for where, row in read_rows(path):
            shaped = shape("grpo", row, where)
            if isinstance(shaped, str):
                counts.unread[shaped] += 1
            else:
                rows.append(row)
    if not rows:
        raise UsageError(f"{', '.join(config.data)}: no rows with a prompt and verifiers")
    return rows


async def _ask(
    config: TrainConfig, chat: Chat, rows: Sequence[Row], store: Store
) -> list[CalibratedPrompt]:
    shaped = [_shaped(row) for row in rows]
    k = config.sampling.k
    answers = await ask(
        chat, shaped, k, config.sampling, store, stage="calibrate", limits=config.floor
    )
    return [CalibratedPrompt(*columns) for columns in zip(rows, shaped, answers, strict=True)]


def _shaped(row: Row) -> Row:
    """As it is asked. What an earlier calibration found of the length is found anew."""
    shaped = shape("grpo", {k: v for k, v in row.items() if k != "median_words"}, "row")
    assert not isinstance(shaped, str)
    return shaped


def _written(one: CalibratedPrompt) -> Row:
    if not one.samples:
        return {**one.row, "pass_rate": 0.0, "n_answers": 0}
    return {
        **one.row,
        "pass_rate": round(one.pass_rate, 4),
        "n_answers": len(one.samples),
        "median_words": median_words(one.samples),
    }


def _count(
    config: TrainConfig,
    counts: Calibration,
    answered: Sequence[CalibratedPrompt],
    every: Sequence[Sample],
) -> None:
    low, high = config.calibrated.pass_rate
    counts.rows, counts.answers = len(answered), len(every)
    counts.in_band = sum(low < one.pass_rate <= high for one in answered)
    counts.unscored = sum(not one.samples for one in answered)
    counts.hack_rate = hack_rate(every)


# ---- measures ----------------------------------------------------------------------------------


def _measure(rows: Sequence[Row], counts: Calibration) -> None:
    """Gives each verifier of the rows its measure, if there is one."""
    measures: dict[VerifierRow, Measure | None] = {}
    for row in rows:
        row["verifiers"] = [dict(verifier) for verifier in row["verifiers"]]
        for verifier, parsed in zip(row["verifiers"], parse_verifiers(row, "row"), strict=True):
            if parsed not in measures:
                measures[parsed] = proved_measure(parsed, shared_sandbox())
            measure = measures[parsed]
            verifier.pop("measure", None)
            if measure:
                verifier["measure"] = asdict(measure)
    counts.verifiers, counts.measured = len(measures), sum(map(bool, measures.values()))


# ---- harder, easier ----------------------------------------------------------------------------


async def _changed(
    config: TrainConfig, answered: Sequence[CalibratedPrompt], store: Store, counts: Calibration
) -> dict[int, Row]:
    """By their numbers, the rows that ask for more now, or for less."""
    donors = _donors([one.row for one in answered])
    taken = {one.shaped["id"] for one in answered}
    changed = {}
    for n, one in enumerate(answered):
        row: Row | None = None
        if one.samples and len(one.passed) == len(one.samples):
            counts.always += 1
            row = await _harder(config, one, donors, store)
        elif one.samples and not one.passed:
            counts.never += 1
            row = _easier(one)
        if row is not None and row["id"] not in taken:
            taken.add(row["id"])
            changed[n] = row
            counts.appended += bool(one.passed)
            counts.relabelled += not one.passed
    return changed


def _donors(rows: Sequence[Row]) -> list[Row]:
    """A row for each of the different constraints that stand alone in one, in the order of their
    texts."""
    donors = {_instruction(row["verifiers"][0]): row for row in rows if len(row["verifiers"]) == 1}
    return [donors[text] for text in sorted(donors) if text]


async def _harder(
    config: TrainConfig, one: CalibratedPrompt, donors: Sequence[Row], store: Store
) -> Row | None:
    """With a constraint of another row that some of the answers follow, so that the two go
    together, and some do not, so that there is something to learn."""
    row, texts = one.row, [sample.response for sample in one.samples]
    lang = language(row, texts[0])
    held = {_kind(verifier) for verifier in row["verifiers"]}
    fitting = [
        donor
        for donor in donors
        if _kind(donor["verifiers"][0]) not in held
        and language(donor, _instruction(donor["verifiers"][0])) == lang
    ]
    rng = random.Random(seed_from(config.seed, "calibrate", one.shaped["id"]))
    for donor in rng.sample(fitting, min(len(fitting), TRIED)):
        (verifier,) = parse_verifiers(donor, "row")
        verdicts = await averify(verifier.checks, texts, shared_sandbox(), store=store)
        followed = sum(accepts([v], [verifier.min_fraction]) for v in verdicts)
        if 0 < followed < len(texts):
            return _with(row, one.shaped["prompt"], donor, lang)
    return None


def _with(row: Row, prompt: Sequence[Row], donor: Row, lang: str) -> Row:
    """The row with the donor's constraint behind its own."""
    zh = lang == "zh"
    text = sentence(_instruction(donor["verifiers"][0]), "。" if zh else ".")
    *before, last = prompt
    content = last["content"].rstrip()
    gap = "\n" if "\n" in content + text else "" if zh else " "
    return _renewed(
        {
            **row,
            **{c: [*_listed(row, c), *_listed(donor, c)] for c in BESIDE if c in row},
            **{c: _joined(row[c], donor.get(c)) for c in JOINED if c in row},
        },
        [*before, {**last, "content": f"{content}{gap}{text}"}],
        [*row["verifiers"], *donor["verifiers"]],
    )


def _easier(one: CalibratedPrompt) -> Row | None:
    """What the best answer follows, and no word of the rest; None where there is nothing that it
    follows, or the rest cannot be taken out of the prompt."""
    row, n = one.row, len(one.row["verifiers"])
    least = [verifier["min_fraction"] for verifier in one.shaped["verifiers"]]
    if len(least) < n:
        return None  # a verifier without checks
    followed = [
        [i for i in range(n) if accepts([sample.verdicts[i]], [least[i]])] for sample in one.samples
    ]
    held = max(followed, key=len)
    *before, last = one.shaped["prompt"]
    content: str | None = last["content"]
    for i in set(range(n)) - set(held):
        content = content and _without(content, _instruction(row["verifiers"][i]))
    kept = [row["verifiers"][i] for i in held]
    if not content or not 0 < len(held) < n or any(_instruction(v) not in content for v in kept):
        return None
    beside = {c: [row[c][i] for i in held] for c in BESIDE if len(_listed(row, c)) == n}
    return _renewed({**row, **beside}, [*before, {**last, "content": content}], kept)


def _renewed(row: Row, prompt: Sequence[Row], verifiers: Sequence[Row]) -> Row:
    """The row with this prompt and these verifiers, and what follows from them."""
    soft = [_instruction(one) for one in _listed(row, "soft") if isinstance(one, Mapping)]
    follows = {
        "instruction_text": "\n".join([*map(_instruction, verifiers), *soft]),
        "level": len(verifiers),
    }
    return {
        **row,
        **{column: value for column, value in follows.items() if column in row},
        "id": content_id("rlvr", verifiers, [m["content"] for m in prompt]),
        "prompt": list(prompt),
        "verifiers": list(verifiers),
        "calibrated_from": row.get("id"),
    }


def _without(content: str, instruction: str) -> str | None:
    """The text without the one place where it states the instruction."""
    forms = [sentence(instruction, "."), sentence(instruction, "。"), instruction]
    form = next((f for f in forms if f and content.count(f) == 1), None)
    if form is None:
        return None
    before, after = content.split(form)
    return (before + after.lstrip()).rstrip()


def _listed(row: Row, column: str) -> list[Any]:
    value = row.get(column)
    return value if isinstance(value, list) else []


def _instruction(verifier: Mapping[str, Any]) -> str:
    text = verifier.get("instruction")
    text = text.get("text") if isinstance(text, Mapping) else text
    return text.strip() if isinstance(text, str) else ""


def _kind(verifier: Row) -> str:
    """What it says but for numbers; one prompt states a kind once."""
    return _NUMBER.sub("#", _instruction(verifier).casefold())


def _joined(*marks: object) -> str:
    words = [word for mark in marks if isinstance(mark, str) for word in mark.split(", ")]
    return ", ".join(dict.fromkeys(filter(None, words)))
