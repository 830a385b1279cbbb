"""The unit of distribution: a shard, a range of a run's instructions in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from autoif.records import Instruction, Verifier, content_id, instruction_from_json
from autoif.rundir import Part, RunDir
from autoif.synth.product import Product
from autoif.synth.tools import Tools

MOST_SHARDS = 1000  # files and directories cost time too


@dataclass(frozen=True)
class Todo:
    """The instructions of a run, shard by shard, read from their file."""

    out: RunDir
    total: int
    size: int  # of a shard
    stamp: str
    own: Mapping[str, Verifier]  # verifiers that were brought, by instruction

    @classmethod
    def of(
        cls, out: RunDir, tools: Tools, found: Sequence[Instruction], own: Mapping[str, Verifier]
    ) -> Todo:
        size = max(tools.recipe.engine.shard_size, -(-len(found) // MOST_SHARDS))
        ids = [own[i.id].id if own else i.id for i in found]
        # Names all that decides what a shard holds: recipe, prompts, instructions, queries.
        pools = {lang: [q.id for q in pool] for lang, pool in tools.queries.items()}
        stamp = content_id(tools.recipe.hash, size, tools.wording.id, ids, pools)
        return cls(out, len(found), size, stamp, own)

    @property
    def shards(self) -> int:
        return -(-self.total // self.size)

    def length(self, shard: int) -> int:
        return min(self.size, self.total - shard * self.size)

    def part(self, shard: int) -> Part:
        return self.out.part(shard, self.stamp)

    def products(self) -> Iterator[Product]:
        """A product to fill for every instruction of the shards that are not finished."""
        with self.out.artefact("01-instructions").open("rb") as lines:
            for shard in range(self.shards):
                rows = [next(lines) for _ in range(self.length(shard))]
                if not self.part(shard).finished():
                    for row in rows:
                        instruction = instruction_from_json(orjson.loads(row))
                        yield Product(instruction, self.own.get(instruction.id))


def trim(product: Product, room: int) -> None:
    """Keeps the first `room` samples: a target is met to the sample."""
    over = {row["id"] for row in product.sft[room:]}
    product.sft = product.sft[:room]
    count = product.ledger.counts["samples"]
    for n, sample in enumerate(product.samples):
        if sample.id in over:
            product.samples[n] = replace(sample, kept=False, reason="over_target")
            count.kept -= 1
            product.ledger.drop(
                "samples", sample.id, "over_target", sample.response, product.unit.id
            )
