"""Is there more in a reply than the letter of its instruction? A floor, by counting alone.

A reply may satisfy a verifier and say nothing: "x x x x", one word again and again, lorem ipsum,
the prompt repeated, `[Name]` where a name should stand. `floor` names what such a reply is made of.
It is cheap enough for every reward and cautious: it judges no answer, and a short one is no
filler. Whoever wants to know whether a reply is any good needs a judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from autoif.base.language import is_blank, words

REASONS = ("empty", "filler", "repetition", "placeholder", "copied_prompt", "short")
FEW = 3  # words; of fewer nothing can be told
WINDOW = 50  # words among which different ones are counted: long texts repeat words anyway
VARIED = 0.34  # share of different words in a window; prose has 0.7 to 0.9, a table 0.4
MOSTLY = 0.6  # share of the words from which a text consists of something
RUN = 5  # words in a row that are no coincidence
OWN = 0.05  # share of words of its own, up to which a reply is a copy
SHARE_OF_MEDIAN = 0.1  # of the words of an ordinary reply
# What stands for text that is still to come.
_PLACEHOLDER = re.compile(
    r"\[(?![xX ]?\])[^\W\d](?:[^\W]|[ '’/.-]){0,60}\](?!\()"  # [Your Name]; not [x], not a link
    r"|\{\{[^{}\n]{1,60}\}\}"
    r"|(?<!<)<[^\W\d]\w*(?: [\w'’]+)+>(?!>)"  # <insert text>; not a tag
    r"|_{3,}|(?<!\.)\.{3}(?!\.)|…"
)
_LOREM = frozenset(
    words(
        "lorem ipsum dolor sit amet consectetur adipiscing adipisicing elit sed do eiusmod tempor "
        "incididunt ut labore et dolore magna aliqua enim ad minim veniam quis nostrud "
        "exercitation ullamco laboris nisi aliquip ex ea commodo consequat duis aute irure in "
        "reprehenderit voluptate velit esse cillum eu fugiat nulla pariatur excepteur sint "
        "occaecat cupidatat non proident sunt culpa qui officia deserunt mollit anim id est laborum"
    )
)


def floor(
    prompt: str | Sequence[str],
    text: str,
    *,
    median: float | None = None,
    share: float = SHARE_OF_MEDIAN,
) -> str | None:
    """Why the reply is free of content, one of `REASONS`; None where counting cannot tell.

    prompt: what was asked, or its parts (query, instruction), of which none may be repeated in
    place of an answer.
    median: words of an ordinary reply of the same policy, at best to the same prompt; without it
    nothing is too short. share: of the median, below which a reply is.
    """
    if is_blank(text):
        return "empty"
    said = words(text)
    if len(said) >= FEW:
        if sum(word in _LOREM for word in said) > MOSTLY * len(said) and "lorem" in said:
            return "filler"
        if varied(said) < VARIED:
            return "repetition"
    left = words(_PLACEHOLDER.sub(" ", text))
    if _PLACEHOLDER.search(text) and len(left) <= (1 - MOSTLY) * len(said):
        return "placeholder"
    parts = [prompt] if isinstance(prompt, str) else prompt
    if is_copy(said, [words(part) for part in parts]):
        return "copied_prompt"
    if median is not None and len(said) < share * median:
        return "short"
    return None


def varied(said: Sequence[str]) -> float:
    """Share of different words, the mean over windows of `WINDOW` words (the moving-average
    type-token ratio of Covington and McFall, 2010); 1 for no words. Between 0 and 1."""
    step = WINDOW // 2
    windows = [said[at : at + WINDOW] for at in range(0, max(1, len(said) - step), step)]
    shares = [len(set(window)) / len(window) for window in windows if window]
    return sum(shares) / len(shares) if shares else 1.0


def is_copy(said: Sequence[str], parts: Sequence[Sequence[str]]) -> bool:
    """Whether all that is said but a few words stands in these parts of a prompt, in runs, and it
    begins as one of them does. A passage that a prompt brings along may come back as it was."""
    parts = [part for part in parts if len(part) >= FEW]
    covered = [False] * len(said)
    for part in parts:
        size = min(RUN, len(part))
        again = [*part, *part[: size - 1]]  # it may be repeated several times
        runs = {tuple(again[at : at + size]) for at in range(len(part))}
        for at in range(len(said) - size + 1):
            if tuple(said[at : at + size]) in runs:
                covered[at : at + size] = [True] * size
    begun = any(list(said[: len(part[:RUN])]) == list(part[:RUN]) for part in parts)
    return begun and covered.count(False) < max(FEW, OWN * len(said))
