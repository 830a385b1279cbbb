"""A run of `autoif synth` as tables: its samples, instructions, pairs and drops.

Everything is read from the directory, in mid-run too. `refresh` reads what has come since.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from autoif.base import jsonl
from autoif.base.errors import AutoIFError, UsageError
from autoif.base.language import clean_text
from autoif.report import columns, reviewing
from autoif.report.tables import FileTable, RowTable, Table
from autoif.run.directory import DROPS
from autoif.run.reader import Result

Row = dict[str, Any]
TEXTS = 300  # characters of a text in a list
REFUSED = ("failed_check", "unconcluded")  # fates of responses that the functions did not accept


class SynthesisTables:
    """`instructions_by_id`, and `owners`: the instruction of each verifier."""

    def __init__(self, path: Path) -> None:
        self.result = Result(path)
        self.instructions_by_id: dict[str, Row] = {}
        self.owners: dict[str, Row] = {}
        self.verified: dict[str, tuple[int, int, float | None]] = {}  # functions, cases, accuracy
        self._lost: dict[str, str] = {}  # instructions without a verifier, and why
        self._words: dict[tuple[str, ...], tuple[str, ...]] = {}
        values = partial(columns.sample_values, words_of=self._words_of)
        self.samples = FileTable(columns.SAMPLES, values, columns.sample_text)
        self.verifiers = FileTable(columns.VERIFIERS, self._verifier, columns.verifier_text)
        self.drops = FileTable(columns.DROPS, self._drop, columns.drop_text)
        self.pairs = FileTable(columns.PAIRS, columns.pair_values, columns.pair_text)
        self.instructions = RowTable(columns.INSTRUCTIONS)
        self.by_name: dict[str, Table] = {
            "samples": self.samples,
            "instructions": self.instructions,
            "pairs": self.pairs,
            "drops": self.drops,
        }
        self._read_instructions = 0
        self._drawn: tuple[tuple[int, int, int], list[str]] = ((0, 0, 0), [])

    def refresh(self) -> bool:
        """Reads what is new, a part at a time. Whether anything was."""
        try:
            return self._refresh()
        except FileNotFoundError:  # a shard got its name just now; the next look sees it
            return False

    def _refresh(self) -> bool:
        files = self.result.files
        changed = self._read_named()
        while self.verifiers.read(files("02-verifiers")):  # before what names them
            changed = True
            self._words = {}
            if self.samples.counts("instruction").get("", 0):
                self.samples.forget()  # they were written before their verifiers could be read
        changed |= self.samples.read(files("03-samples"))
        changed |= self.drops.read([file for name in DROPS for file in files(name)])
        changed |= self.pairs.read(files("data/dpo"))
        if changed:
            self.instructions.fill(self._instruction_rows())
        return changed

    def _read_named(self) -> bool:
        """The instructions, which are few and all named in lists."""
        before = len(self.instructions_by_id)
        for file in self.result.files("01-instructions"):
            if file.stat().st_size == self._read_instructions:
                continue
            self._read_instructions = file.stat().st_size
            for row in _rows(file):
                try:
                    self.instructions_by_id[columns.word(row["id"])] = _instruction(row)
                except (KeyError, TypeError):
                    continue
        return len(self.instructions_by_id) != before

    def _verifier(self, row: Row) -> tuple[Any, ...]:
        values = columns.verifier_values(row)
        instruction = _instruction(row["instruction"])
        self.instructions_by_id.setdefault(instruction["id"], instruction)
        self.owners[values[0]] = instruction
        accuracies = [columns.figure(a) for a in row["accuracy"]]
        least = min((a for a in accuracies if a is not None), default=None)
        self.verified[values[1]] = (len(row["checks"]), len(row["cases"]), least)
        return values

    def _words_of(self, verifiers: tuple[str, ...]) -> tuple[str, ...]:
        """For `columns.sample_values`; there are few sets of verifiers and many samples."""
        if verifiers not in self._words:
            instructions = [self.owners.get(columns.word(v), {}) for v in verifiers]
            self._words[verifiers] = tuple(
                columns.joined(i.get(name) or "" for i in instructions)
                for name in ("id", "family", "origin", "lang")
            )
        return self._words[verifiers]

    def _drop(self, row: Row) -> tuple[Any, ...]:
        values = columns.drop_values(row)
        record, stage, reason, instruction = values
        if stage in ("verifiers", "crossval"):
            self._lost[record] = reason
        return record, stage, reason, instruction

    def _instruction_rows(self) -> Iterable[Row]:
        counted = self._counted()
        waits = "not yet" if self.report()["state"] == "running" else "no verifier"
        for name, row in self.instructions_by_id.items():
            functions, cases, accuracy = self.verified.get(name, (0, 0, None))
            responses, accepted, kept, score = counted.get(name, (0, 0, 0, None))
            yield row | {
                "instruction": name,
                "text": f"{name}\n{row['text']}",
                "fate": "verified" if name in self.verified else self._lost.get(name, waits),
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

    def report(self) -> Row:
        try:
            return self.result.report
        except AutoIFError as error:
            return {"state": "unknown", "error": str(error)}

    def listed(self, table: str, number: int) -> Row:
        """The columns of a row, and the beginning of its texts."""
        shown = self.by_name[table].row(number)
        if table == "instructions":
            return shown | {"text": self.instructions_by_id[shown["id"]]["text"][:TEXTS]}
        whole = self.whole(table, number)
        if table == "samples":
            return shown | {
                "query": str(whole.get("query", ""))[:TEXTS],
                "response": str(whole.get("response", ""))[:TEXTS],
            }
        if table == "pairs":
            return shown | {"query": str(whole.get("query_text", ""))[:TEXTS]}
        return shown | {"id": str(number), "detail": str(whole.get("detail", ""))[:TEXTS]}

    def whole(self, table: str, number: int) -> Row:
        source = self.by_name[table]
        assert isinstance(source, FileTable)
        try:
            return source.whole(number)
        except UsageError:
            return {}

    def is_kept(self, name: str) -> bool:
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
        for table in (self.samples, self.verifiers, self.drops, self.pairs):
            table.close()


def _instruction(row: Row) -> Row:
    """An instruction's own fields. Raises KeyError or TypeError for what is none."""
    parents = row.get("parents") or []
    return {
        "id": columns.word(row["id"]),
        "text": clean_text(str(row["text"])),
        **{name: columns.word(row.get(name) or "") for name in ("family", "origin", "lang")},
        "benchmark_type": columns.word(row.get("benchmark_type") or ""),
        "parents": [columns.word(p) for p in parents],
        "template": str(row.get("template") or ""),
        "n": row.get("n"),
        "bound": str(row.get("bound") or ""),
    }


def _rows(file: Path) -> Iterable[Row]:
    """The rows that can be read of a file that may be anybody's."""
    with file.open("rb") as opened:
        for number, line in enumerate(opened, 1):
            try:
                yield jsonl.parse(line, f"{file}:{number}")
            except UsageError:
                continue
