"""What one unit of work comes to: records, rows and the books."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoif.base.records import Composition, Instruction, Sample, Soft, Verifier
from autoif.run.funnel import Funnel
from autoif.synthesis.context import Context
from autoif.synthesis.responses import rows
from autoif.synthesis.responses.sample import Prompt, Task
from autoif.verifier.pairs import query_pairs


@dataclass(eq=False)
class Product:
    """What one instruction, or one composition of verifiers, came to."""

    unit: Instruction | Composition
    verifier: Verifier | None = None
    composition: Composition | None = None  # where something came of it
    samples: list[Sample] = field(default_factory=list)
    sft: list[rows.Row] = field(default_factory=list)
    dpo: list[rows.Row] = field(default_factory=list)
    rlvr: list[rows.Row] = field(default_factory=list)
    funnel: Funnel = field(default_factory=Funnel)

    def take(self, context: Context, task: Task, prompts: list[Prompt]) -> None:
        """The samples of these prompts, and the rows of those that were kept."""
        part = context.recipe
        for prompt in prompts:
            self.samples += prompt.samples
            kept = [s for s in prompt.samples if s.kept]
            if not kept:
                continue
            self.funnel.enter("samples", len(kept))
            self.funnel.keep("samples", len(kept))
            self.sft += [rows.sft_row(s, task, part.responses) for s in kept]
            unscored = [Soft(s) for s in task.soft]
            self.rlvr.append(rows.rlvr_row(prompt, task, part.responses, unscored))
            soft = {s.response: s.soft for s in kept}
            for pair in query_pairs(prompt.samples, part.pairs.per_prompt, part.seed):
                self.dpo.append(
                    rows.dpo_row(pair, prompt.query, task, part.responses, soft[pair.chosen])
                )

    def forget(self) -> None:
        """Lets go of what has been written, so that memory stays flat."""
        self.verifier = self.composition = None
        self.samples, self.sft, self.dpo, self.rlvr = [], [], [], []
        self.funnel = Funnel()
