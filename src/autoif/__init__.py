"""AutoIF: instruction-following training data, verified by running code.

The public API, loaded when it is first used: `import autoif` alone costs a millisecond.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from autoif.base.version import __version__

if TYPE_CHECKING:
    from autoif.api import synth as synth
    from autoif.base.errors import AutoIFError as AutoIFError
    from autoif.base.records import Check as Check
    from autoif.diagnosis import Diagnosis as Diagnosis
    from autoif.diagnosis import diagnose as diagnose
    from autoif.evals.evaluation import compare as compare
    from autoif.evals.evaluation import evaluate as evaluate
    from autoif.report.pages import write_report as write_report
    from autoif.run.reader import Result as Result
    from autoif.run.recipe import Recipe as Recipe
    from autoif.sandbox import Limits as Limits
    from autoif.sandbox import Sandbox as Sandbox
    from autoif.verifier.verify import verify as verify

__all__ = [
    "AutoIFError",
    "Check",
    "Diagnosis",
    "Limits",
    "Recipe",
    "Result",
    "Sandbox",
    "__version__",
    "compare",
    "diagnose",
    "evaluate",
    "synth",
    "verify",
    "write_report",
]

_HOME = {
    "AutoIFError": "autoif.base.errors",
    "Check": "autoif.base.records",
    "Diagnosis": "autoif.diagnosis",
    "Limits": "autoif.sandbox",
    "Recipe": "autoif.run.recipe",
    "Result": "autoif.run.reader",
    "Sandbox": "autoif.sandbox",
    "compare": "autoif.evals.evaluation",
    "diagnose": "autoif.diagnosis",
    "evaluate": "autoif.evals.evaluation",
    "synth": "autoif.api",
    "verify": "autoif.verifier.verify",
    "write_report": "autoif.report.pages",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'autoif' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
