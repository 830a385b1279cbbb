"""What a reply says beyond what it was given: the words that neither the query nor the instruction
put there.

A reply that only repeats the question, or is only the form that was demanded (a hashtag, the
prescribed last line, a lone percentage), has none. Counted, not judged.
"""

from __future__ import annotations

import re

from autoif.base.language import words
from autoif.verifier.intent import floor

LEAST = 2  # words; one is a "yes", a "70%", or a name that may be a guess
SENTENCE, SHORTER = 8, 0.8  # words of a summary at least; at most, of the query's
_FORM = re.compile(
    r"</?\w+>"  # a tag
    r"|\[[^\[\]\n]*+\]\([^()\n]*+\)"  # a link with its text
    r"|(?<!\w)\w++://\S++|(?<!\S)[^\s@]++@\S++"
    r"|#\w+"
)


def nothing_said(query: str, instruction: str, reply: str) -> str | None:
    """Why a reply says nothing of its own: one of `intent.REASONS`, or `no_substance`."""
    if reason := floor((query, instruction), reply):
        return reason
    if substance(query, instruction, reply) >= LEAST:
        return None
    asked, said = len(words(query)), len(_said(reply))
    summary = SENTENCE <= said <= SHORTER * asked  # it has the words of its text
    return None if summary else "no_substance"


def substance(query: str, instruction: str, reply: str) -> int:
    """How many words of the reply are its own. Runs of two words and more that the instruction has
    too are the instruction's; single words that it shares with it are not."""
    demanded = f" {' '.join(words(instruction))} "
    asked = set(words(query))
    said = _said(reply)
    own, at = 0, 0
    while at < len(said):
        run = next(
            (n for n in (8, 7, 6, 5, 4, 3, 2) if f" {' '.join(said[at : at + n])} " in demanded), 0
        )
        if run:
            at += run
            continue
        own += said[at] not in asked
        at += 1
    return own


def _said(reply: str) -> list[str]:
    """Its words, without what is only form."""
    return words(_FORM.sub(" ", reply))
