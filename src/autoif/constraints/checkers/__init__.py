"""The checkers of IFEval (25 types) and IFBench (58 types): pure functions from text to bool.

    from autoif.constraints.checkers import check
    check("length_constraints:number_words", text, num_words=300, relation="at least")

By id through `check` or `bind` (arguments held to the contract, `UsageError` otherwise), or as
plain functions from the modules of this package, where each states its arguments and its quirks.
"""

from autoif.constraints.checkers import (
    ifbench_count,
    ifbench_custom,
    ifbench_format,
    ifbench_sentence,
    ifbench_words,
    ifeval_shape,
    ifeval_words,
)
from autoif.constraints.checkers.registry import CHECKERS, Checker, bind, check

IFEVAL = tuple(k for k, f in CHECKERS.items() if ".ifeval_" in f.__module__)
IFBENCH = tuple(k for k, f in CHECKERS.items() if ".ifbench_" in f.__module__)

__all__ = [
    "CHECKERS",
    "IFBENCH",
    "IFEVAL",
    "Checker",
    "bind",
    "check",
    "ifbench_count",
    "ifbench_custom",
    "ifbench_format",
    "ifbench_sentence",
    "ifbench_words",
    "ifeval_shape",
    "ifeval_words",
]
