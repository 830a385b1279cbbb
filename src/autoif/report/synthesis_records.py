"""All that decided one record of a run: its texts, functions, verdicts and calls."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from autoif.base.errors import SandboxUnavailable, UsageError
from autoif.base.records import Check
from autoif.report import calls_behind, columns
from autoif.report.highlight import pieces
from autoif.report.synthesis_tables import REFUSED, TEXTS, SynthesisTables
from autoif.report.tables import FileTable
from autoif.sandbox import Sandbox
from autoif.store.base import StoredCall

Row = dict[str, Any]
CALLS = 40  # of a stage that are shown beside a drop
REMEMBERED = 64  # records whose calls are at hand


class SynthesisRecords:
    """Records by table and id. store: the call store."""

    def __init__(self, tables: SynthesisTables, store: Path) -> None:
        self.tables = tables
        self.store = store
        self._calls: dict[str, tuple[list[StoredCall], dict[str, str]]] = {}
        self._sandbox: Sandbox | str | None = None

    def forget(self) -> None:
        """The calls are read again: the run has gone on."""
        self._calls = {}

    def record(self, table: str, name: str) -> Row:
        """All that is known of one record. Raises UsageError where it is not there, or is not what
        a run wrote."""
        make = {
            "samples": self._sample,
            "instructions": self._instruction,
            "verifiers": self._verifier_record,
            "pairs": self._pair,
            "drops": self._drop_record,
        }
        if table not in make:
            raise UsageError(f"{table}: no such table")
        try:
            return make[table](name)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise UsageError(f"{table} {name}: its row is not what a run wrote") from None

    def _found(self, table: FileTable, name: str) -> tuple[int, Row]:
        numbers = table.find("id", name)
        if not numbers:
            raise UsageError(f"{self.tables.result.path.name}: no record with the id {name}")
        return numbers[0], table.whole(numbers[0])

    def _sample(self, name: str) -> Row:
        number, row = self._found(self.tables.samples, name)
        instruction = self.tables.owners.get(row["verifiers"][0], {})
        owner = row.get("composition") or instruction.get("id", "")
        calls = self._calls_of(columns.word(owner))[0]
        shown = self.tables.listed("samples", number)
        return shown | {
            "row": row,
            "verifiers": [str(v) for v in row["verifiers"]],
            "calls": calls_behind.of_sample(calls, row),
        }

    def _pair(self, name: str) -> Row:
        number, row = self._found(self.tables.pairs, name)
        verifiers = [str(v) for v in row.get("verifier_ids") or ()]
        shown = self.tables.listed("pairs", number)
        return shown | {"row": row, "verifiers": verifiers, "calls": []}

    def _verifier_record(self, name: str) -> Row:
        _, row = self._found(self.tables.verifiers, name)
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
        if name not in self.tables.instructions_by_id:
            raise UsageError(f"{self.tables.result.path.name}: no instruction with the id {name}")
        number = self.tables.instructions.find("id", name)[0]
        row = self.tables.instructions_by_id[name]
        calls, written = self._calls_of(name)
        stages = [call for call in calls if call.stage not in ("responses", "judge")]
        return self.tables.listed("instructions", number) | {
            "row": row,
            "verifiers": [v for v, owner in self.tables.owners.items() if owner["id"] == name],
            "parents": [
                {"id": p, "text": self.tables.instructions_by_id.get(p, {}).get("text", "")}
                for p in row["parents"]
            ],
            "drops": [
                self._dropped(number, written)
                for number in self._drops_of(name)
                if self.tables.drops.row(number)["stage"] not in ("prompts", "responses", "judge")
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
        word = self.tables.drops.number(instruction)
        frame = self.tables.drops.frame
        mask = (frame["instruction"] == word) | (frame["record"] == instruction)
        return [int(n) for n in mask.arg_true().to_list()]

    def _dropped(self, number: int, written: dict[str, str]) -> Row:
        """A drop, with the function that was dropped where the calls hold it."""
        row = self.tables.drops.row(number) | {"id": str(number)}
        row["detail"] = str(self.tables.whole("drops", number).get("detail", ""))
        source = written.get(row["record"])
        return row | ({"pieces": pieces(source)} if source else {})

    def _queries(self, instruction: str) -> list[Row]:
        """How many responses to each query the functions accepted."""
        word = self.tables.samples.number(instruction)
        numbers = (self.tables.samples.frame["instruction"] == word).arg_true().to_list()
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for number in numbers[:1000]:
            fate = self.tables.samples.row(number)["fate"]
            count = counts[str(self.tables.whole("samples", number).get("query", ""))]
            count[0] += 1
            count[1] += fate not in REFUSED
            count[2] += fate == columns.KEPT
        return [
            {"query": query[:TEXTS], "responses": n, "accepted": passed, "kept": kept}
            for query, (n, passed, kept) in counts.items()
        ]

    def _drop_record(self, name: str) -> Row:
        if not (name.isascii() and name.isdigit() and int(name) < len(self.tables.drops)):
            raise UsageError(f"{self.tables.result.path.name}: no drop {name}")
        number = int(name)
        row = self.tables.drops.row(number)
        calls, written = self._calls_of(row["instruction"])
        dropped = self._dropped(number, written)
        samples = self.tables.samples.find("id", row["record"])
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

    def close(self) -> None:
        if isinstance(self._sandbox, Sandbox):
            self._sandbox.close()
