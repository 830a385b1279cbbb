"""The unit of distribution: a shard, a range of a run's instructions in the order of their ids, or
of its compositions in the order in which they are drawn.

A shard is a pure function of its spec, the recipe and the answers of models: `run_shard` works one
through in memory. A run in one process interleaves its shards instead, and commits their products
in order to files with the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import compress, islice
from pathlib import Path
from typing import Any, Protocol

import orjson

from autoif.base.errors import CallPending
from autoif.base.records import (
    Composition,
    Drop,
    Instruction,
    Verifier,
    composition_from_json,
    content_id,
    dump_line,
    instruction_from_json,
    verifier_from_json,
)
from autoif.models.budget import BudgetGuard
from autoif.run.directory import DRAWN, IN_SHARDS, RunDir, ShardFiles
from autoif.run.funnel import Funnel
from autoif.run.progress import Progress
from autoif.synthesis import flow
from autoif.synthesis.compositions import compose
from autoif.synthesis.compositions.draw import STAGE as COMPOSITIONS
from autoif.synthesis.compositions.draw import Pool
from autoif.synthesis.context import Context, together
from autoif.synthesis.product import Product
from autoif.synthesis.verifiers.build import VERIFIERS

MOST_SHARDS = 1000  # files and directories cost time too
MOST_SHARDS_ELSEWHERE = 16_384  # what is left at the end keeps fewer workers waiting
SAMPLES = "samples"


@dataclass(frozen=True)
class ShardSpec:
    """A shard, whole, as bytes that can be sent: with the recipe and a model it is all one needs.

    stage: where its units are counted: `verifiers` (they are instructions) or `compositions`.
    units: a JSON line each. verifiers: JSON lines of those that the units name, or that a user
    brought for them.
    """

    stage: str
    number: int
    units: tuple[bytes, ...]
    verifiers: tuple[bytes, ...] = ()

    def ids(self) -> list[str]:
        """Of the units."""
        return [orjson.loads(line)["id"] for line in self.units]

    def products(self) -> Iterator[Product]:
        """A product to fill for every unit."""
        verifiers = [verifier_from_json(orjson.loads(line)) for line in self.verifiers]
        by_id = {verifier.id: verifier for verifier in verifiers}
        by_instruction = {verifier.instruction.id: verifier for verifier in verifiers}
        for line in self.units:
            if self.stage == COMPOSITIONS:
                composition = composition_from_json(orjson.loads(line))
                names = {name: None for turn in composition.turns for name in turn.verifiers}
                yield Product(composition, tuple(by_id[name] for name in names))
            else:
                instruction = instruction_from_json(orjson.loads(line))
                brought = by_instruction.get(instruction.id)
                yield Product(instruction, (brought,) if brought else ())


@dataclass
class ShardResult:
    """What a shard came to: the lines of each artefact that has a part in it, its funnel, and the
    ids of the units that were begun."""

    lines: dict[str, bytearray] = field(
        default_factory=lambda: {name: bytearray() for name in IN_SHARDS}
    )
    funnel: Funnel = field(default_factory=Funnel)
    units: list[str] = field(default_factory=list)

    def write(self, name: str, records: Iterable[Any]) -> None:
        for record in records:
            self.lines[name] += dump_line(record)


class Sink(Protocol):
    """Where the products of a shard are committed."""

    funnel: Funnel

    def write(self, name: str, records: Iterable[Any]) -> None: ...


class UnitRunner:
    """Fills the products of instructions and of compositions, `in_flight` of them at a time."""

    def __init__(
        self, context: Context, guard: BudgetGuard | None = None, progress: Progress | None = None
    ) -> None:
        self.context = context
        self.progress = progress or Progress(context.recipe)
        self._guard = guard or BudgetGuard(context.recipe.models.prices)
        self._slots = asyncio.Semaphore(context.recipe.engine.in_flight)

    async def __call__(self, product: Product) -> bool:
        """False where the guard is shut: then nothing more begins, and what had begun comes back
        with what it has."""
        async with self._slots:
            if self._guard.reason:
                self._guard.refused += 1
                return False
            self.progress.at_work.append(product.funnel)
            with suppress(CallPending):
                await self._fill(product)
            self.progress.through(stage_of(product))
            return True

    async def _fill(self, product: Product) -> None:
        if isinstance(product.unit, Composition):
            await compose.process(self.context, product)
        else:
            await flow.process(self.context, product)


def stage_of(product: Product) -> str:
    """Where the unit is counted."""
    return COMPOSITIONS if isinstance(product.unit, Composition) else VERIFIERS


async def run_shard(fill: UnitRunner, spec: ShardSpec) -> ShardResult:
    """Every unit of the shard that the runner begins."""
    result = ShardResult()
    products = list(spec.products())
    begun = await together(*map(fill, products))
    for product in compress(products, begun):
        result.units.append(product.unit.id)
        commit(product, result)
        fill.progress.settle(product.funnel)
    return result


def commit(product: Product, sink: Sink, room: int = 0) -> None:
    """The product's records go to its shard. `room`: samples that a target leaves; 0: no target."""
    if room:
        trim(product, room)
    sink.write("02-verifiers", [product.verifier] if product.verifier else [])
    sink.write("04-compositions", [product.composition] if product.composition else [])
    sink.write("03-samples", product.samples)
    for name in ("sft", "dpo", "rlvr"):
        sink.write(f"data/{name}", getattr(product, name))
    for name in ("02-verifiers", "03-samples", "04-compositions"):
        sink.write(f"{name}.dropped", product.funnel.drops_in(name))
    sink.funnel.add(product.funnel)


def trim(product: Product, room: int) -> None:
    """Keeps the first `room` samples: a target is met to the sample."""
    over = {row["id"] for row in product.sft[room:]}
    product.sft = product.sft[:room]
    for n, sample in enumerate(product.samples):
        if sample.id in over:
            product.samples[n] = replace(sample, kept=False, reason="over_target")
            drop = Drop.of(SAMPLES, sample.id, "over_target", sample.response, product.unit.id)
            product.funnel.withdraw(drop)


# ---- the plan ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkPlan:
    """The units of a run, shard by shard, read from a file that has a line for each.

    stage: where a unit is counted. under: where among the shards' directories. verifiers: the JSON
    lines that a unit needs. target: samples to stop at, or 0. first: the shard to begin with.
    """

    out: RunDir
    lines: Path
    total: int
    size: int  # of a shard
    stamp: str
    stage: str
    verifiers: Callable[[Mapping[str, Any]], Iterable[tuple[str, bytes]]]
    under: str = ""
    target: int = 0
    first: int = 0

    @classmethod
    def of(
        cls,
        out: RunDir,
        context: Context,
        instructions: Sequence[Instruction],
        own: Mapping[str, Verifier],
    ) -> WorkPlan:
        """Instructions. `own`: verifiers that were brought, by instruction."""
        ids = [own[i.id].id if own else i.id for i in instructions]

        def verifiers(row: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
            if own:
                verifier = own[row["id"]]
                yield verifier.id, dump_line(verifier)

        size = _size(context, len(instructions))
        return cls(
            out,
            out.artefact("01-instructions"),
            len(instructions),
            size,
            _stamp(context, size, ids),
            VERIFIERS,
            verifiers,
            target=context.recipe.target,
        )

    @classmethod
    async def composed(
        cls, out: RunDir, context: Context, pool: Pool, drawn: AsyncIterator[Composition]
    ) -> WorkPlan:
        """Compositions, which are written down as they are drawn."""
        ids: list[str] = []
        with out.replacing(DRAWN) as file:
            async for composition in drawn:
                ids.append(composition.id)
                file.write(dump_line(composition))

        def verifiers(row: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
            for turn in row["turns"]:
                for name in turn["verifiers"]:
                    yield name, dump_line(pool.verifier(name))

        size = _size(context, len(ids))
        stamp = _stamp(context, size, [ids, [e.id for e in pool.entries]])
        return cls(
            out,
            out.artefact(DRAWN),
            len(ids),
            size,
            stamp,
            COMPOSITIONS,
            verifiers,
            under=COMPOSITIONS,
        )

    @property
    def shards(self) -> range:
        return range(self.first, -(-self.total // self.size))

    def only(self, shard: int, target: int) -> WorkPlan:
        """The plan of one shard, with the samples that it is to stop at."""
        end = min(self.total, (shard + 1) * self.size)
        return replace(self, first=shard, total=end, target=target)

    def length(self, shard: int) -> int:
        return min(self.size, self.total - shard * self.size)

    def files(self, shard: int) -> ShardFiles:
        return self.out.shard(self.under, shard, self.stamp)

    def unfinished(self) -> Iterator[ShardSpec]:
        """The shards that are still to be worked through, in order."""
        with self.lines.open("rb") as file:
            lines = islice(file, self.first * self.size, None)
            for shard in self.shards:
                units = [next(lines) for _ in range(self.length(shard))]
                if not self.files(shard).finished():
                    needed = dict(
                        pair for line in units for pair in self.verifiers(orjson.loads(line))
                    )
                    yield ShardSpec(self.stage, shard, tuple(units), tuple(needed.values()))


def _size(context: Context, units: int) -> int:
    settings = context.recipe.engine
    most = MOST_SHARDS_ELSEWHERE if settings.cluster else MOST_SHARDS
    return max(settings.shard_size, -(-units // most))


def _stamp(context: Context, size: int, units: object) -> str:
    """Names all that decides what a shard holds: recipe, prompts, units, queries."""
    pools = {lang: [q.id for q in pool] for lang, pool in context.queries.items()}
    return content_id(context.recipe.hash, size, context.prompts.id, units, pools)
