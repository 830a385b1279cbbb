"""The unit of distribution: a shard, a range of a run's instructions in the order of their ids, or
of its compositions in the order in which they are drawn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from autoif.base.records import (
    Composition,
    Instruction,
    Verifier,
    composition_from_json,
    content_id,
    instruction_from_json,
)
from autoif.run.directory import DRAWN, RunDir, ShardFiles
from autoif.synthesis import flow
from autoif.synthesis.compositions import compose
from autoif.synthesis.compositions.draw import STAGE as COMPOSITIONS
from autoif.synthesis.compositions.draw import Pool
from autoif.synthesis.context import Context
from autoif.synthesis.product import Product

MOST_SHARDS = 1000  # files and directories cost time too


@dataclass(frozen=True)
class WorkPlan:
    """The units of a run, shard by shard, read from a file that has a line for each.

    stage: where a unit is counted. unit: makes the product to fill from its line; process fills it.
    under: where among the parts. target: samples to stop at, or 0.
    """

    out: RunDir
    lines: Path
    total: int
    size: int  # of a shard
    stamp: str
    stage: str
    unit: Callable[[Mapping[str, Any]], Product]
    process: Callable[[Context, Product], Awaitable[None]]
    under: str = ""
    target: int = 0

    @classmethod
    def of(
        cls,
        out: RunDir,
        context: Context,
        found: Sequence[Instruction],
        own: Mapping[str, Verifier],
    ) -> WorkPlan:
        """Instructions. `own`: verifiers that were brought, by instruction."""
        ids = [own[i.id].id if own else i.id for i in found]

        def unit(row: Mapping[str, Any]) -> Product:
            instruction = instruction_from_json(row)
            return Product(instruction, own.get(instruction.id))

        lines = out.artefact("01-instructions")
        size, stamp = _size(context, len(found)), _stamp(context, ids)
        target = context.recipe.target
        return cls(
            out, lines, len(found), size, stamp, "verifiers", unit, flow.process, target=target
        )

    @classmethod
    def composed(
        cls, out: RunDir, context: Context, pool: Pool, drawn: Iterable[Composition]
    ) -> WorkPlan:
        """Compositions, which are written down as they are drawn."""
        ids: list[str] = []

        def noted() -> Iterator[Composition]:
            for composition in drawn:
                ids.append(composition.id)
                yield composition

        async def process(context: Context, product: Product) -> None:
            await compose.process(context, pool, product)

        def unit(row: Mapping[str, Any]) -> Product:
            return Product(composition_from_json(row))

        lines, under = out.artefact(DRAWN), "compositions"
        out.write_lines(DRAWN, noted())
        size, stamp = _size(context, len(ids)), _stamp(context, [ids, [e.id for e in pool.entries]])
        return cls(out, lines, len(ids), size, stamp, COMPOSITIONS, unit, process, under)

    @property
    def shards(self) -> int:
        return -(-self.total // self.size)

    def length(self, shard: int) -> int:
        return min(self.size, self.total - shard * self.size)

    def part(self, shard: int) -> ShardFiles:
        return self.out.part(self.under, shard, self.stamp)

    def products(self) -> Iterator[Product]:
        """A product to fill for every unit of the shards that are not finished."""
        with self.lines.open("rb") as lines:
            for shard in range(self.shards):
                rows = [next(lines) for _ in range(self.length(shard))]
                if not self.part(shard).finished():
                    for row in rows:
                        yield self.unit(orjson.loads(row))


def _size(context: Context, units: int) -> int:
    return max(context.recipe.engine.shard_size, -(-units // MOST_SHARDS))


def _stamp(context: Context, units: object) -> str:
    """Names all that decides what a shard holds: recipe, prompts, units, queries."""
    pools = {lang: [q.id for q in pool] for lang, pool in context.queries.items()}
    size = context.recipe.engine.shard_size
    return content_id(context.recipe.hash, size, context.prompts.id, units, pools)


def trim(product: Product, room: int) -> None:
    """Keeps the first `room` samples: a target is met to the sample."""
    over = {row["id"] for row in product.sft[room:]}
    product.sft = product.sft[:room]
    count = product.funnel.counts["samples"]
    for n, sample in enumerate(product.samples):
        if sample.id in over:
            product.samples[n] = replace(sample, kept=False, reason="over_target")
            count.kept -= 1
            product.funnel.drop(
                "samples", sample.id, "over_target", sample.response, product.unit.id
            )
