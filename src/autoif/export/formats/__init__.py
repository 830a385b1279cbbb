"""The formats, named in one place. A format is a file here and a folder in `templates/`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from autoif.base.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from autoif.export.layout import Format

FORMATS = (
    *("trl", "verl", "openrlhf", "verifiers", "nemo-gym", "open-instruct"),
    *("llama-factory", "ms-swift", "slime", "skyrl", "axolotl"),
)


def load_format(name: str) -> Format:
    """Raises UsageError for an unknown name."""
    if name not in FORMATS:
        raise UsageError(
            f"--to {name}: no such format; those are {', '.join(FORMATS)}"
            f"{did_you_mean(name, FORMATS)}"
        )
    form: Format = import_module(f"{__name__}.{name.replace('-', '_')}").FORMAT
    return form
