"""Room 3: responses or weights to scores. See docs/evaluate.md."""

from autoif.evals.evaluation import TASKS, aevaluate, compare, evaluate
from autoif.evals.scores import Change, Comparison, Scores

__all__ = ["TASKS", "Change", "Comparison", "Scores", "aevaluate", "compare", "evaluate"]
