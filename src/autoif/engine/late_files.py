"""Files of the user's that a run needs last, read first."""

from __future__ import annotations

from autoif.clean.ngrams import Runs
from autoif.report import dataset_card
from autoif.run.recipe import Recipe
from autoif.synthesis.compositions import draw


def late_files(recipe: Recipe) -> tuple[str, Runs]:
    """Fidelity as the card tells it, and the benchmarks' runs of words: what a run needs last. They
    are read first, the soft constraints too, so that a file that is no such file is heard of before
    anything is paid. Raises UsageError."""
    for lang in recipe.langs:
        draw.soft_constraints(recipe, lang)
    return dataset_card.fidelity(recipe), Runs.of_files(recipe.hygiene.against)
