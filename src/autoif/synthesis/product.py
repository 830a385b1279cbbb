"""What one unit of work comes to: records, rows and the funnel."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoif.base.records import Composition, Filtered, Instruction, Sample, Soft, Verifier
from autoif.run.funnel import Funnel
from autoif.run.recipe import Recipe
from autoif.synthesis.responses import rows
from autoif.synthesis.responses.sample import Sampled, Task
from autoif.verifier.pairs import query_pairs


@dataclass(eq=False)
class Product:
    """What one instruction, or one composition of verifiers, came to."""

    unit: Instruction | Composition
    given: tuple[Verifier, ...] = ()  # that the unit names, or that came with it
    verifier: Verifier | None = None
    composition: Composition | None = None  # where something came of it
    samples: list[Sample] = field(default_factory=list)
    sft: list[rows.Row] = field(default_factory=list)
    dpo: list[rows.Row] = field(default_factory=list)
    rlvr: list[rows.Row] = field(default_factory=list)
    funnel: Funnel = field(default_factory=Funnel)

    def take(self, recipe: Recipe, task: Task, sampled: Sampled) -> None:
        """What was sampled for these prompts, and the rows of the samples that were kept."""
        self.funnel.book(*sampled.stages)
        for prompt in sampled.prompts:
            self.samples += prompt.samples
            kept = [s for s in prompt.samples if s.kept]
            if not kept:
                continue
            self.funnel.book(Filtered("samples", kept))
            self.sft += [rows.sft_row(s, task) for s in kept]
            unscored = [Soft(s) for s in task.soft]
            self.rlvr.append(rows.rlvr_row(prompt, task, unscored))
            soft = {s.response: s.soft for s in kept}
            for pair in query_pairs(prompt.samples, recipe.pairs.per_prompt, recipe.seed):
                self.dpo.append(rows.dpo_row(pair, prompt.query, task, soft[pair.chosen]))

    def forget(self) -> None:
        """Lets go of what has been written, so that memory stays flat."""
        self.given, self.verifier, self.composition = (), None, None
        self.samples, self.sft, self.dpo, self.rlvr = [], [], [], []
        self.funnel = Funnel()
