"""AutoIF: instruction-following training data, proved by running code.

The public API, loaded when it is first used: `import autoif` alone costs a millisecond.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoif.api import Result as Result
    from autoif.api import synth as synth
    from autoif.diagnose import Diagnosis as Diagnosis
    from autoif.diagnose import diagnose as diagnose
    from autoif.errors import AutoIFError as AutoIFError
    from autoif.evals.run import compare as compare
    from autoif.evals.run import evaluate as evaluate
    from autoif.recipe import Recipe as Recipe
    from autoif.records import Check as Check
    from autoif.sandbox import Limits as Limits
    from autoif.sandbox import Sandbox as Sandbox
    from autoif.verify import verify as verify

__version__ = "0.1.0"
__all__ = [
    "AutoIFError",
    "Check",
    "Diagnosis",
    "Limits",
    "Recipe",
    "Result",
    "Sandbox",
    "compare",
    "diagnose",
    "evaluate",
    "synth",
    "verify",
]

_HOME = {
    "AutoIFError": "autoif.errors",
    "Check": "autoif.records",
    "Diagnosis": "autoif.diagnose",
    "Limits": "autoif.sandbox",
    "Recipe": "autoif.recipe",
    "Result": "autoif.api",
    "Sandbox": "autoif.sandbox",
    "compare": "autoif.evals.run",
    "diagnose": "autoif.diagnose",
    "evaluate": "autoif.evals.run",
    "synth": "autoif.api",
    "verify": "autoif.verify",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'autoif' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Importing the module `autoif.verify` or the room `autoif.synth` would put it in the place of
    the function of that name. Here the function stays; `from autoif.verify import ...` works."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
