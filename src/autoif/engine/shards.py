"""The unit of distribution: a shard, a range of a run's instructions in the order of their ids, or
of its compositions in the order in which they are drawn.

A shard is a pure function of its spec, the recipe and the answers of models: `run_shard` works one
through in memory. A run in one process interleaves its shards instead, and commits their products
in order to files with the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import orjson

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
from autoif.run.directory import DRAWN, IN_SHARDS, RunDir, ShardFiles
from autoif.run.funnel import Funnel
from autoif.synthesis import flow
from autoif.synthesis.compositions import compose
from autoif.synthesis.compositions.draw import STAGE as COMPOSITIONS
from autoif.synthesis.compositions.draw import Pool
from autoif.synthesis.context import Context, together
from autoif.synthesis.product import Product
from autoif.synthesis.verifiers.build import VERIFIERS

MOST_SHARDS = 1000  # files and directories cost time too
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
    """What a shard came to: the lines of each artefact that has a part in it, and its funnel."""

    lines: dict[str, bytearray] = field(
        default_factory=lambda: {name: bytearray() for name in IN_SHARDS}
    )
    funnel: Funnel = field(default_factory=Funnel)

    def write(self, name: str, records: Iterable[Any]) -> None:
        for record in records:
            self.lines[name] += dump_line(record)


class Sink(Protocol):
    """Where the products of a shard are committed."""

    funnel: Funnel

    def write(self, name: str, records: Iterable[Any]) -> None: ...


async def run_shard(context: Context, spec: ShardSpec) -> ShardResult:
    """Every unit of the shard, `in_flight` at a time."""
    slots = asyncio.Semaphore(context.recipe.engine.in_flight)

    async def one(product: Product) -> Product:
        async with slots:
            await process(context, product)
        return product

    result = ShardResult()
    for product in await together(*map(one, spec.products())):
        commit(product, result)
    return result


async def process(context: Context, product: Product) -> None:
    """Fills the product of an instruction or of a composition."""
    if isinstance(product.unit, Composition):
        await compose.process(context, product)
    else:
        await flow.process(context, product)


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
    lines that a unit needs. target: samples to stop at, or 0.
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

        return cls(
            out,
            out.artefact("01-instructions"),
            len(instructions),
            _size(context, len(instructions)),
            _stamp(context, ids),
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

        stamp = _stamp(context, [ids, [e.id for e in pool.entries]])
        size = _size(context, len(ids))
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
    def shards(self) -> int:
        return -(-self.total // self.size)

    def length(self, shard: int) -> int:
        return min(self.size, self.total - shard * self.size)

    def files(self, shard: int) -> ShardFiles:
        return self.out.shard(self.under, shard, self.stamp)

    def unfinished(self) -> Iterator[ShardSpec]:
        """The shards that are still to be worked through, in order."""
        with self.lines.open("rb") as lines:
            for shard in range(self.shards):
                units = [next(lines) for _ in range(self.length(shard))]
                if not self.files(shard).finished():
                    needed = dict(
                        pair for line in units for pair in self.verifiers(orjson.loads(line))
                    )
                    yield ShardSpec(self.stage, shard, tuple(units), tuple(needed.values()))


def _size(context: Context, units: int) -> int:
    return max(context.recipe.engine.shard_size, -(-units // MOST_SHARDS))


def _stamp(context: Context, units: object) -> str:
    """Names all that decides what a shard holds: recipe, prompts, units, queries."""
    pools = {lang: [q.id for q in pool] for lang, pool in context.queries.items()}
    size = context.recipe.engine.shard_size
    return content_id(context.recipe.hash, size, context.prompts.id, units, pools)
