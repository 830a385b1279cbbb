"""Sources written one under another, each below a line `#: name`."""

from __future__ import annotations


def split(text: str) -> tuple[tuple[str, str], ...]:
    parts = text.split("#: ")[1:]
    return tuple((name.strip(), source) for name, _, source in (p.partition("\n") for p in parts))
