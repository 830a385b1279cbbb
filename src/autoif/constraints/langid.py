"""Which language a text is in: langdetect (Nakatani, 2010) with seed 0.

langdetect's own `detect` is unseeded unless every caller sets a global, reads its profiles in the
file system's order, and loads them without a lock. Here a factory of our own has the profiles in
sorted order, so a text has the same language in every thread and on every machine.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from autoif.constraints.text import past_nltk

if TYPE_CHECKING:
    from langdetect.detector_factory import DetectorFactory


@lru_cache(maxsize=2048)
def language(text: str) -> str | None:
    """The ISO 639-1 code that langdetect gives, "unknown" where none stands out, None where the
    text has nothing to go by (digits, symbols, nothing)."""
    detector = _factory().create()
    from langdetect import LangDetectException

    detector.append(text)
    try:
        return str(detector.detect())
    except LangDetectException:
        return None


@cache
def _factory() -> DetectorFactory:
    with past_nltk():
        from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.set_seed(0)
    files = sorted(p for p in Path(PROFILES_DIRECTORY).iterdir() if not p.name.startswith("."))
    factory.load_json_profile([file.read_text("utf-8") for file in files])
    return factory
