"""Honest functions as models write them: what a sandbox must run exactly as plain Python does.

Each item of `FUNCTIONS` is (name, source). `TEXT_PROFILE` needs third-party packages.
"""

from __future__ import annotations

from . import language, libraries, strings
from .libraries import TEXT_PROFILE as TEXT_PROFILE

FUNCTIONS: tuple[tuple[str, str], ...] = (
    *strings.FUNCTIONS,
    *libraries.FUNCTIONS,
    *language.FUNCTIONS,
)
