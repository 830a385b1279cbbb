"""Responses or models to scores: benchmarks, intervals, comparisons."""

from autoif.evals.evaluation import BENCHMARKS, aevaluate, compare, evaluate
from autoif.evals.scores import Change, Comparison, Scores

__all__ = ["BENCHMARKS", "Change", "Comparison", "Scores", "aevaluate", "compare", "evaluate"]
