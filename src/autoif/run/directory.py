"""The run directory: one recipe, its call store, the parts of finished shards, the artefacts.

    recipe.toml                     what the directory was made by; another recipe is refused
    calls.sqlite                    the call store
    parts/00000-HASH/               a finished shard, under its final names
    parts/compositions/00000-HASH/  the same
    00-inputs.dropped.jsonl         rows of queries and benchmarks that are left out
    01-instructions.jsonl  02-verifiers.jsonl  03-samples.jsonl  04-compositions.jsonl
    NN-*.dropped.jsonl              what fell out, beside each
    data/sft.jsonl  data/dpo.jsonl  data/rlvr.jsonl  data/README.md  05-data.dropped.jsonl
    progress.json                   while at work; manifest.json: written last

Everything that is replaced is written beside its place and renamed, so that a reader, and whoever
comes after a kill, finds a whole file or none.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import orjson

from autoif.base import jsonl
from autoif.base.errors import SetupError, UsageError
from autoif.base.files import (
    alone,
    make_folder,
    new_file,
    read_small,
    refuse_links,
    remove,
    remove_temporaries,
    replacing,
)
from autoif.base.files import write_whole as write_whole
from autoif.base.printable import printable_json
from autoif.base.records import dump_line
from autoif.base.toml import read_toml
from autoif.run.funnel import FILES, STAGES, Funnel
from autoif.run.recipe import Recipe

RECORDS = tuple(name for name in FILES if name not in ("00-inputs", "05-data"))
DATA = ("data/sft", "data/dpo", "data/rlvr")
DROPS = tuple(f"{name}.dropped" for name in FILES)
ARTEFACTS = (*RECORDS, *DROPS, *DATA)
DRAWN = "parts/compositions/drawn"  # every composition, as the shards work through them
# What is made of the whole run; shards have a part of everything else.
WHOLE = ("00-inputs.dropped", "01-instructions", "01-instructions.dropped", "05-data.dropped")
IN_SHARDS = tuple(name for name in ARTEFACTS if name not in WHOLE)
REPORTS = ("recipe.toml", "progress.json", "manifest.json", "data/README.md")
OURS = (*REPORTS[:3], "parts", "data", "run.lock", "calls.sqlite*", "*.jsonl")  # at the top
SHARD = re.compile(r"\d{5,}-[0-9a-f]{16}(\.open)?")
STALE = 30.0  # seconds; a run at work writes progress.json every second


class RunDir:
    """Paths and whole-file writes of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls = path / "calls.sqlite"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One run at a time. Raises SetupError where another is at work, or nothing can be made."""
        with alone(self.path, "choose another --out"):
            yield

    def claim(self, recipe: Recipe, *, update: bool = False) -> None:
        """Takes the directory for this recipe, or refuses, naming what differs. A directory in
        which nothing was made yet can be had by any recipe; one in which a name of ours is a link
        by none, as somebody else may have made it to lead elsewhere. `locked` holds meanwhile."""
        refuse_links(self.path, OURS, "choose another --out", hard_links=True)
        theirs = self.recipe() if self.artefact("01-instructions").exists() else None
        if theirs is not None and not update:
            differing = recipe.differs(theirs)
            if differing:
                raise UsageError(
                    f"{self.path} was made by another recipe ({'; '.join(differing[:4])}"
                    f"{'; ...' if len(differing) > 4 else ''}). Use --update to continue with the "
                    "changed recipe (stored answers are reused), or another --out"
                )
        try:
            make_folder(self.path)
            reports = (self.path / name for name in REPORTS)
            for path in (*reports, *map(self.artefact, (*ARTEFACTS, DRAWN))):
                remove_temporaries(path)
            write_whole(self.path / "recipe.toml", recipe.toml().encode())
        except OSError as error:
            raise SetupError(f"{self.path}: cannot be written: {error.strerror}") from None

    def recipe(self) -> Recipe | None:
        file = self.path / "recipe.toml"
        return Recipe.of(read_toml(file), where=str(file)) if file.exists() else None

    def shard(self, under: str, number: int, stamp: str) -> ShardFiles:
        return ShardFiles(self.path / "parts" / under / f"{number:05d}-{stamp}")

    def artefact(self, name: str) -> Path:
        return self.path / f"{name}.jsonl"

    def write_lines(self, name: str, records: Iterable[Any]) -> None:
        with self.replacing(name) as file:
            file.writelines(map(dump_line, records))

    @contextmanager
    def replacing(self, name: str) -> Iterator[IO[bytes]]:
        """The artefact, written anew; it gets its name when it is whole."""
        target = self.artefact(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            yield file

    def merge(self, shards: Iterable[Path], heads: Mapping[str, Iterable[Any]]) -> None:
        """Artefacts from parts, which come in order. `heads`: what stands before them, by artefact:
        drops of what all shards share. The data files are not merged: clean/final.py writes what
        is to stay in them."""
        shards = list(shards)
        for name in IN_SHARDS:
            if name in DATA:
                continue
            with self.replacing(name) as out:
                out.writelines(map(dump_line, heads.get(name, ())))
                for shard in shards:
                    with (shard / f"{name}.jsonl").open("rb") as lines:
                        shutil.copyfileobj(lines, out)

    def drop_shards(self, under: str, stamp: str) -> None:
        """Parts that another recipe left: they would never be read again."""
        for shard in (self.path / "parts" / under).glob("*-*"):
            if SHARD.fullmatch(shard.name) and not shard.name.endswith(f"-{stamp}"):
                remove(shard)

    def report(self) -> dict[str, Any]:
        """The manifest of the finished run, or the progress of one at work or stopped."""
        for name in ("progress.json", "manifest.json"):
            file = self.path / name
            if not file.is_file():
                continue
            try:
                report = jsonl.loads(read_small(file))
            except (OSError, ValueError):
                report = None
            if not _is_report(report):
                raise UsageError(f"{file}: not what a run wrote; start the run again")
            assert isinstance(report, dict)
            if report["state"] == "running" and time.time() - file.stat().st_mtime > STALE:
                report["state"] = "interrupted"
            return report
        raise UsageError(f"{self.path}: not a run directory (no progress.json, no manifest.json)")


def _is_report(report: Any) -> bool:
    """Whether all that is shown of a report is there, each of its type."""
    try:
        stages, calls, tokens = report["stages"], report["calls"], report["tokens"]
        counts = [calls["asked"], calls["replayed"]]
        counts += [tokens[kind] for kind in ("prompt", "cached", "completion")]
        for stage in stages:
            counts += [stage["in"], stage["kept"], *stage["dropped"].values()]
        figures = [*counts, report["seconds"], report.get("cost") or 0]
        return (
            isinstance(report["state"], str)
            and all(stage["name"] in STAGES for stage in stages)
            and all(isinstance(figure, (int, float)) for figure in figures)
        )
    except (KeyError, TypeError, AttributeError):
        return False


class ShardFiles:
    """A shard's own files: written open, named when whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open = path.with_name(f"{path.name}.open")
        self._files: dict[str, IO[bytes]] = {}
        self.funnel = Funnel()

    def finished(self) -> bool:
        """Whole and as it was left; what was damaged since is made again from the call store."""
        if not self.path.is_dir():
            return False
        try:
            left = jsonl.loads(read_small(self.path / "funnel.json"))
            if left["bytes"] == self._sizes(self.path):
                self.funnel = Funnel.from_json(left["stages"])
                return True
        except (OSError, ValueError, KeyError, TypeError):
            pass
        remove(self.path)
        return False

    @staticmethod
    def _sizes(path: Path) -> dict[str, int]:
        return {name: (path / f"{name}.jsonl").stat().st_size for name in IN_SHARDS}

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Open for `write`; an error on the way matters more than what closing may then say."""
        remove(self._open)
        (self._open / "data").mkdir(parents=True)
        try:
            for name in IN_SHARDS:
                self._files[name] = new_file(self._open / f"{name}.jsonl")
            yield
        except BaseException:
            for file in self._files.values():
                with suppress(OSError):
                    file.close()
            raise

    def write(self, name: str, records: Iterable[Any]) -> None:
        self._files[name].writelines(map(dump_line, records))

    def fill(self, lines: Mapping[str, bytes], funnel: Funnel) -> None:
        """What was worked through elsewhere, whole."""
        for name, content in lines.items():
            self._files[name].write(content)
        self.funnel = funnel

    def end(self) -> Path:
        """Closed but not yet the finished shard: good for a merge."""
        for file in self._files.values():
            file.close()
        self._files = {}
        left = {"stages": self.funnel.to_json(), "bytes": self._sizes(self._open)}
        write_whole(self._open / "funnel.json", orjson.dumps(left))
        return self._open

    def finish(self) -> Path:
        self.end().rename(self.path)
        return self.path


def write_json(path: Path, value: Any) -> None:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    write_whole(path, printable_json(text).encode())
