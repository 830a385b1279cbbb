"""A run of `autoif synth` as pages: its funnel, its tables, each record with what decided it.

Everything is read from the directory, in mid-run too: what is missing or damaged is named, and what
can be shown is. `refresh` reads what has come since.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from autoif.base.errors import AutoIFError, SandboxUnavailable, UsageError
from autoif.base.files import read_small
from autoif.base.records import Check
from autoif.report import calls_behind, columns, reviewing
from autoif.report.highlight import pieces
from autoif.report.tables import FileTable, RowTable, Table
from autoif.run.directory import DROPS, RECORDS, RunDir
from autoif.run.reader import Result
from autoif.sandbox import Sandbox
from autoif.store.base import StoredCall

Row = dict[str, Any]
TEXTS = 300  # characters of a text in a list
CALLS = 40  # of a stage that are shown beside a drop
REMEMBERED = 32  # records whose calls are at hand
ROLES = ("propose", "code", "respond", "judge")
# Fates of responses that the functions accepted.
REFUSED = ("failed_check", "unconcluded")


class SynthesisPages:
    kind = "synthesis"

    def __init__(self, path: Path, calls: Path | None = None) -> None:
        self.path = path
        self.result = Result(path)
        self.store = calls or path / "calls.sqlite"
        self._instructions: dict[str, Row] = {}
        self._owners: dict[str, Row] = {}  # the instruction of each verifier
        self._checks: dict[str, tuple[int, int, float | None]] = {}  # of each instruction
        self._lost: dict[str, str] = {}  # instructions without a verifier, and why
        values = partial(columns.sample_values, owners=self._owners)
        self.samples = FileTable(columns.SAMPLES, values, columns.sample_text)
        self.verifiers = FileTable(columns.VERIFIERS, self._verifier, columns.verifier_text)
        self.drops = FileTable(columns.DROPS, self._drop, columns.drop_text)
        self.pairs = FileTable(columns.PAIRS, columns.pair_values, columns.pair_text)
        self.instructions = RowTable(columns.INSTRUCTIONS)
        self.tables: dict[str, Table] = {
            "samples": self.samples,
            "instructions": self.instructions,
            "pairs": self.pairs,
            "drops": self.drops,
        }
        self._read_instructions = 0
        self._tokens: tuple[float, list[Row]] = (0.0, [])
        self._calls: dict[str, tuple[list[StoredCall], dict[str, str]]] = {}
        self._sandbox: Sandbox | str | None = None
        self._drawn: tuple[tuple[int, int, int], list[str]] = ((0, 0, 0), [])

    # ---- reading -------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Reads what is new. Whether anything was."""
        files = self.result.files
        changed = self._read_named()
        if self.verifiers.read(files("02-verifiers")):
            changed = True
            if self.samples.counts("instruction").get("", 0):
                self.samples.forget()  # they were written before their verifiers could be read
        changed |= self.samples.read(files("03-samples"))
        changed |= self.drops.read([file for name in DROPS for file in files(name)])
        changed |= self.pairs.read(files("data/dpo"))
        if changed:
            self._calls = {}
            self.instructions.fill(self._instruction_rows())
        return changed

    def _read_named(self) -> bool:
        """The instructions, which are few and all named in lists."""
        before = len(self._instructions)
        for file in self.result.files("01-instructions"):
            if file.stat().st_size == self._read_instructions:
                continue
            self._read_instructions = file.stat().st_size
            for row in _rows(file):
                try:
                    self._instructions[columns.word(row["id"])] = _instruction(row)
                except (KeyError, TypeError):
                    continue
        return len(self._instructions) != before

    def _verifier(self, row: Row) -> tuple[Any, ...]:
        values = columns.verifier_values(row)
        instruction = _instruction(row["instruction"])
        self._instructions.setdefault(instruction["id"], instruction)
        self._owners[values[0]] = instruction
        accuracies = [columns.figure(a) for a in row["accuracy"]]
        least = min((a for a in accuracies if a is not None), default=None)
        self._checks[values[1]] = (len(row["checks"]), len(row["cases"]), least)
        return values

    def _drop(self, row: Row) -> tuple[Any, ...]:
        values = columns.drop_values(row)
        record, stage, reason, instruction = values
        if stage in ("verifiers", "crossval"):
            self._lost[record] = reason
        return record, stage, reason, instruction

    def _instruction_rows(self) -> Iterable[Row]:
        counted = self._counted()
        for name, row in self._instructions.items():
            functions, cases, accuracy = self._checks.get(name, (0, 0, None))
            responses, accepted, kept, score = counted.get(name, (0, 0, 0, None))
            waits = "not yet" if self._running() else "no verifier"
            yield row | {
                "instruction": name,
                "fate": "verified" if name in self._checks else self._lost.get(name, waits),
                "functions": functions,
                "cases": cases,
                "accuracy": accuracy,
                "responses": responses,
                "accepted": accepted,
                "kept": kept,
                "pass_rate": accepted / responses if responses else None,
                "score": score,
            }

    def _counted(self) -> dict[str, tuple[int, int, int, float | None]]:
        """Of each instruction: responses that functions were run on, accepted, kept, the judge's
        mean. Responses to compositions count for none."""
        refused = [n for n, word in enumerate(self.samples.words) if word in REFUSED]
        kept = self.samples.number(columns.KEPT)
        table = self.samples.frame.group_by("instruction").agg(
            pl.len().alias("n"),
            (~pl.col("fate").is_in(refused)).sum().alias("accepted"),
            (pl.col("fate") == kept).sum().alias("kept"),
            pl.col("quality").mean().alias("score"),
        )
        return {self.samples.words[word]: rest for word, *rest in table.rows()}  # type: ignore[misc]

    def _running(self) -> bool:
        return self._report().get("state") == "running"

    def _report(self) -> Row:
        try:
            return self.result.report
        except AutoIFError as error:
            return {"state": "unknown", "error": str(error)}

    # ---- what is shown -------------------------------------------------------------------------

    def summary(self) -> Row:
        report = self._report()
        return {
            "kind": self.kind,
            "name": self.path.resolve().name,
            "path": str(self.path),
            "report": report,
            "recipe": self._recipe(),
            "missing": self._missing(),
            "totals": {name: len(table) for name, table in self.tables.items()},
            "facets": self._facets(),
            "plots": self._plots(),
            "tokens": self._stage_tokens(report),
            "review": self._reviewed(),
            "instructions": {i: row["text"][:TEXTS] for i, row in self._named()},
        }

    def _named(self) -> list[tuple[str, Row]]:
        """Instructions that lists name: those with a verifier first."""
        rows = sorted(self._instructions.items(), key=lambda item: item[0] not in self._checks)
        return rows[:2000]

    def _recipe(self) -> Row:
        try:
            recipe = RunDir(self.path).recipe()
            text = read_small(self.path / "recipe.toml").decode("utf-8", "replace")
        except (AutoIFError, OSError):
            return {}
        if recipe is None:
            return {}
        models = {role: recipe.models.role(role) for role in ROLES}
        return {"preset": recipe.profile, "seed": recipe.seed, "models": models, "text": text}

    def _missing(self) -> list[str]:
        """What is not there, or not as a run writes it."""
        at_work = self._report().get("state") in ("running", "interrupted")
        names = [] if at_work else [*RECORDS, *DROPS, "data/dpo"]
        missing = [f"{n}.jsonl: not there" for n in names if not self.result.files(n)]
        tables = {"samples": self.samples, "verifiers": self.verifiers}
        tables |= {"drops": self.drops, "pairs": self.pairs}
        for name, table in tables.items():
            if table.unreadable:
                missing.append(f"{name}: {table.unreadable:,} lines are not what a run wrote")
                missing += table.damaged[:3]
        if not self.store.is_file():
            missing.append(f"{self.store.name}: not there, so no call is shown")
        return missing

    def _facets(self) -> Row:
        """The values of the columns that are filtered by, with their numbers."""
        of = {
            "samples": ("fate", "instruction", "family", "origin", "lang", "level", "turns"),
            "instructions": ("fate", "family", "origin", "lang", "benchmark_type"),
            "pairs": ("kind", "instruction", "family", "lang", "level"),
            "drops": ("stage", "reason", "instruction"),
        }
        return {
            name: {column: self.tables[name].counts(column) for column in wanted}
            for name, wanted in of.items()
        }

    def _plots(self) -> Row:
        frame = self.samples.frame
        kept = frame["fate"] == self.samples.number(columns.KEPT)
        return {
            "score": _histogram(frame["quality"], kept, 11, (0.0, 11.0)),
            "words": _histogram(frame["words"], kept, 20),
            "pass_rate": _histogram(
                self.instructions.frame["pass_rate"],
                self.instructions.frame["kept"] > 0,
                10,
                (0.0, 1.0),
            ),
        }

    def _reviewed(self) -> Row | None:
        try:
            return self.review()
        except UsageError:
            return None

    def _stage_tokens(self, report: Row) -> list[Row]:
        """Counted again when that is cheap beside the time since the last count."""
        at, counted = self._tokens
        if time.monotonic() >= at:
            started = time.monotonic()
            counted = calls_behind.tokens(self.store)
            took = time.monotonic() - started
            again = 2 + 20 * took if report["state"] == "running" else 1e9
            self._tokens = (time.monotonic() + again, counted)
        return counted

    def listed(self, table: str, number: int) -> Row:
        """The columns of a row, and the beginning of its texts."""
        shown = self.tables[table].row(number)
        if table == "instructions":
            return shown | {"text": self._instructions[shown["id"]]["text"][:TEXTS]}
        whole = self._whole(table, number)
        if table == "samples":
            return shown | {
                "query": str(whole.get("query", ""))[:TEXTS],
                "response": str(whole.get("response", ""))[:TEXTS],
            }
        if table == "pairs":
            return shown | {"query": str(whole.get("query_text", ""))[:TEXTS]}
        return shown | {"id": str(number), "detail": str(whole.get("detail", ""))[:TEXTS]}

    def _whole(self, table: str, number: int) -> Row:
        source = self.tables[table]
        assert isinstance(source, FileTable)
        try:
            return source.whole(number)
        except UsageError:
            return {}

    def record(self, table: str, name: str) -> Row:
        """All that is known of one record. Raises UsageError where it is not there."""
        make = {
            "samples": self._sample,
            "instructions": self._instruction,
            "verifiers": self._verifier_record,
            "pairs": self._pair,
            "drops": self._drop_record,
        }
        if table not in make:
            raise UsageError(f"{table}: no such table")
        return make[table](name)

    def _found(self, table: FileTable, name: str) -> tuple[int, Row]:
        numbers = table.find("id", name)
        if not numbers:
            raise UsageError(f"{self.path.name}: no record with the id {name}")
        return numbers[0], table.whole(numbers[0])

    def _sample(self, name: str) -> Row:
        number, row = self._found(self.samples, name)
        owner = row.get("composition") or self._owners.get(row["verifiers"][0], {}).get("id", "")
        calls = self._calls_of(str(owner))[0]
        shown = self.listed("samples", number)
        return shown | {
            "row": row,
            "verifiers": [str(v) for v in row["verifiers"]],
            "calls": calls_behind.of_sample(calls, row),
        }

    def _pair(self, name: str) -> Row:
        number, row = self._found(self.pairs, name)
        verifiers = [str(v) for v in row.get("verifier_ids") or ()]
        return self.listed("pairs", number) | {"row": row, "verifiers": verifiers, "calls": []}

    def _verifier_record(self, name: str) -> Row:
        _, row = self._found(self.verifiers, name)
        checks = [
            check | {"pieces": pieces(check["source"]), "id": Check(check["source"]).id}
            for check in row["checks"]
        ]
        return {"row": row | {"checks": checks}, "matrix": self._matrix(row), "calls": []}

    def _matrix(self, row: Row) -> Row:
        """What each function says of each case: run again, in the sandbox."""
        if self._sandbox is None:
            try:
                self._sandbox = Sandbox()
            except SandboxUnavailable as error:
                self._sandbox = str(error)
        if isinstance(self._sandbox, str):
            return {"error": self._sandbox}
        texts = [str(case["text"]) for case in row["cases"]]
        sources = [str(check["source"]) for check in row["checks"]]
        outcomes = self._sandbox.evaluate_all(sources, texts)
        return {"outcomes": [[[o.status.value, o.detail] for o in of_one] for of_one in outcomes]}

    def _instruction(self, name: str) -> Row:
        if name not in self._instructions:
            raise UsageError(f"{self.path.name}: no instruction with the id {name}")
        number = self.instructions.find("id", name)[0]
        row = self._instructions[name]
        calls, written = self._calls_of(name)
        stages = [call for call in calls if call.stage not in ("responses", "judge")]
        return self.listed("instructions", number) | {
            "row": row,
            "verifiers": [v for v, owner in self._owners.items() if owner["id"] == name],
            "parents": [
                {"id": p, "text": self._instructions.get(p, {}).get("text", "")}
                for p in row["parents"]
            ],
            "drops": [
                self._dropped(number, written)
                for number in self._drops_of(name)
                if self.drops.row(number)["stage"] not in ("prompts", "responses", "judge")
            ],
            "queries": self._queries(name),
            "calls": [calls_behind.shown(call) for call in stages],
        }

    def _calls_of(self, record: str) -> tuple[list[StoredCall], dict[str, str]]:
        """Of an instruction or a composition, with the functions that they wrote; those of the last
        few records are kept until the run has gone on."""
        if record not in self._calls:
            while len(self._calls) >= REMEMBERED:
                self._calls.pop(next(iter(self._calls)), None)
            calls = calls_behind.calls_of(self.store, record)
            self._calls[record] = (calls, calls_behind.sources(calls))
        return self._calls[record]

    def _drops_of(self, instruction: str) -> list[int]:
        word = self.drops.number(instruction)
        frame = self.drops.frame
        mask = (frame["instruction"] == word) | (frame["record"] == instruction)
        return [int(n) for n in mask.arg_true().to_list()]

    def _dropped(self, number: int, written: dict[str, str]) -> Row:
        """A drop, with the function that was dropped where the calls hold it."""
        row = self.drops.row(number) | {"id": str(number)}
        row["detail"] = str(self._whole("drops", number).get("detail", ""))
        source = written.get(row["record"])
        return row | ({"pieces": pieces(source)} if source else {})

    def _queries(self, instruction: str) -> list[Row]:
        """How many responses to each query the functions accepted."""
        word = self.samples.number(instruction)
        numbers = (self.samples.frame["instruction"] == word).arg_true().to_list()
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for number in numbers[:1000]:
            fate = self.samples.row(number)["fate"]
            count = counts[str(self._whole("samples", number).get("query", ""))]
            count[0] += 1
            count[1] += fate not in REFUSED
            count[2] += fate == columns.KEPT
        return [
            {"query": query[:TEXTS], "responses": n, "accepted": passed, "kept": kept}
            for query, (n, passed, kept) in counts.items()
        ]

    def _drop_record(self, name: str) -> Row:
        if not (name.isascii() and name.isdigit() and int(name) < len(self.drops)):
            raise UsageError(f"{self.path.name}: no drop {name}")
        number = int(name)
        row = self.drops.row(number)
        calls, written = self._calls_of(row["instruction"])
        dropped = self._dropped(number, written)
        samples = self.samples.find("id", row["record"])
        stages = [call for call in calls if call.stage == row["stage"]]
        if row["reason"] == "truncated":
            stages = [call for call in stages if call.reply.finish_reason == "length"]
        if samples:
            sample = self._sample(row["record"])
            return dropped | {
                "sample": sample["row"],
                "verifiers": sample["verifiers"],
                "calls": sample["calls"],
            }
        if "pieces" in dropped:
            stages = [call for call in stages if row["record"] in calls_behind.sources([call])]
        return dropped | {"calls": [calls_behind.shown(call) for call in stages[:CALLS]]}

    def review(self) -> Row:
        """What people who marked samples say of those that are kept. Raises UsageError for a
        review.jsonl that is none."""
        return reviewing.result(reviewing.read(self.path), self._is_kept)

    def _is_kept(self, name: str) -> bool:
        return any(
            self.samples.row(number)["fate"] == columns.KEPT
            for number in self.samples.find("id", name)
        )

    def drawn(self, n: int, seed: int) -> list[str]:
        """Ids of the kept samples that are drawn for review; hashing a million takes seconds, so
        the last draw is kept."""
        asked = (n, seed, len(self.samples))
        if self._drawn[0] != asked:
            frame = self.samples.frame
            kept = frame.filter(pl.col("fate") == self.samples.number(columns.KEPT))
            self._drawn = (asked, reviewing.draw(kept["id"].to_list(), n, seed))
        return self._drawn[1]

    def close(self) -> None:
        for table in self.tables.values():
            if isinstance(table, FileTable):
                table.close()
        self.verifiers.close()
        if isinstance(self._sandbox, Sandbox):
            self._sandbox.close()


def _instruction(row: Row) -> Row:
    """An instruction's own fields. Raises KeyError or TypeError for what is none."""
    parents = row.get("parents") or []
    return {
        "id": columns.word(row["id"]),
        "text": str(row["text"]),
        **{name: columns.word(row.get(name) or "") for name in ("family", "origin", "lang")},
        "benchmark_type": columns.word(row.get("benchmark_type") or ""),
        "parents": [columns.word(p) for p in parents],
        "template": str(row.get("template") or ""),
        "n": row.get("n"),
        "bound": str(row.get("bound") or ""),
    }


def _rows(file: Path) -> Iterable[Row]:
    """The rows that can be read of a file that may be anybody's."""
    from autoif.base import jsonl

    with file.open("rb") as opened:
        for number, line in enumerate(opened, 1):
            try:
                yield jsonl.parse(line, f"{file}:{number}")
            except UsageError:
                continue


def _histogram(
    values: pl.Series, kept: pl.Series, bins: int, edges: tuple[float, float] | None = None
) -> list[list[float]]:
    """[from, to, kept, not kept] of each bin; the last one holds what is larger."""
    frame = pl.DataFrame({"value": values.cast(pl.Float64), "kept": kept}).drop_nulls("value")
    if not frame.height:
        return []
    low, high = edges or (0.0, max(1.0, float(frame["value"].quantile(0.98) or 1.0)))
    width = (high - low) / bins
    if edges is None:
        width = max(1.0, float(-(-width // 1)))
    index = ((pl.col("value") - low) / width).floor().clip(0, bins - 1).cast(pl.Int32)
    counted = frame.group_by(index.alias("bin"), "kept").len().rows()
    table = [[low + n * width, low + (n + 1) * width, 0.0, 0.0] for n in range(bins)]
    for number, was_kept, n in counted:
        table[number][2 if was_kept else 3] += n
    while len(table) > 1 and edges is None and table[-1][2] == table[-1][3] == 0:
        table.pop()
    return table
