"""Whether a text holds a key: one that this process knows, or one in the form of a well-known kind.

Forms are those that their issuers document as fixed; a word that only looks secret is none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

_FORMS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-(?=[\w-]{0,200}\d)(?=[\w-]{0,200}[A-Z])[\w-]{20,200}"  # OpenAI, Anthropic, and those alike
    r"|hf_[A-Za-z0-9]{30,50}"
    r"|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40,100}|glpat-[\w-]{20}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|xox[abprs]-[\w-]{10,100}"
    r")(?![A-Za-z0-9])|-----BEGIN (?:[A-Z]{2,10} ){0,3}PRIVATE KEY-----"
)
_NAMES = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$")
SHORTEST = 12  # characters; a shorter value, such as "none" or "test", stands in texts by chance


class KeySearch:
    """Searches texts for the values of this process's secret environment variables, for `more`
    values, and for the forms of well-known keys."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        named = (value for name, value in os.environ.items() if _NAMES.search(name.upper()))
        self._values = sorted({v for v in (*named, *more) if len(v) >= SHORTEST})

    def find(self, text: str) -> str:
        """The beginning of a key in the text, fit to be shown, or ""."""
        for value in self._values:
            if value in text:
                return f"{value[:4]}..."
        match = _FORMS.search(text)
        return f"{match[0][:8]}..." if match else ""
