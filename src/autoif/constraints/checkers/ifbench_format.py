"""IFBench: the shape of the text (`format:`).

Pyatkin et al. (2025); behaviour of allenai/IFBench at db69a6f, its slips included: they are named.
"""

from __future__ import annotations

import re
import string
from collections import defaultdict, deque
from itertools import pairwise

from autoif.constraints.checkers.ifbench_count import EDGE, NO_PUNCTUATION
from autoif.constraints.checkers.registry import checker
from autoif.constraints.text import past_nltk, sentences, tokens

_CLOSES = {")": "(", "]": "[", "}": "{"}
_LETTER_OPTIONS = re.compile(r"\W*[aA]\W*[bB]\W*[cC]\W*")
_LABELS = ("My Answer:", "My Conclusion:", "Future Outlook:")
_BUT_QUOTES = string.digits + string.punctuation.replace('"', "")


@checker("format:parentheses")
def parentheses(text: str) -> bool:
    """Brackets of any kind nested five deep and closed; a wrong closing one starts over."""
    opened: list[str] = []
    deepest = 0
    for char in text:
        if char in "([{":
            opened.append(char)
            deepest = max(deepest, len(opened))
        elif char in ")]}":
            if opened and opened[-1] == _CLOSES[char]:
                opened.pop()
                if deepest >= 5:
                    return True
            else:
                opened.clear()
                deepest = 0
    return False


@checker("format:quotes")
def quotes(text: str) -> bool:
    """Straight quotes nested three deep and closed, double and single taking turns. An apostrophe
    is a single quote."""
    opened: list[str] = []
    deepest = 0
    for char in text:
        if opened and char == opened[-1]:
            opened.pop()
            if deepest - len(opened) >= 3:
                return True
        elif char in "\"'":
            opened.append(char)
            deepest = max(deepest, len(opened))
    return False


@checker("format:options")
def options(text: str, *, options: str) -> bool:
    """Nothing but one of the options, parted by "/", else "or", else ",". Letters (a, b, c) must
    match as they are; words in any case and without outer punctuation."""
    separator = next((s for s in ("/", "or") if s in options), ",")
    choices = [choice.strip() for choice in options.split(separator)]
    if _LETTER_OPTIONS.match(options):
        return text in choices
    return text.strip(EDGE).lower() in {choice.strip(EDGE).lower() for choice in choices}


@checker("format:newline")
def newline(text: str) -> bool:
    """Each word on its own line, punctuation aside."""
    text = text.translate(NO_PUNCTUATION).strip()
    return sum(1 for line in text.split("\n") if line) == len(text.split())


@checker("format:emoji")
def emoji(text: str) -> bool:
    """Each sentence ends in an emoji, or the next one starts with it. One character is looked at,
    so flags and joined emoji count only by their parts."""
    with past_nltk():
        from emoji import is_emoji

    bare = [s.translate(NO_PUNCTUATION).strip() for s in sentences(text)]
    if not all(bare):
        return False
    for i, sentence in enumerate(bare):
        if any(map(is_emoji, sentence[-2:])):
            continue
        if i + 1 == len(bare) or not is_emoji(bare[i + 1][0]):
            return False
    return True


@checker("format:line_indent")
def line_indent(text: str) -> bool:
    """Each line is indented by more spaces than the one before, blank lines aside (but see
    `_without_blanks`)."""
    indents = [len(line) - len(line.lstrip(" ")) for line in _without_blanks(text.split("\n"))]
    return all(one < next_ for one, next_ in pairwise(indents))


@checker("format:quote_unquote")
def quote_unquote(text: str) -> bool:
    """No two straight double quotes side by side, spaces aside, and none at the end. The benchmark
    means to treat curly quotes alike, yet replaces each by itself."""
    text = "".join(text.replace("'\"'", "").split())
    return '""' not in text and not text.strip(_BUT_QUOTES).endswith('"')


@checker("format:list")
def list_(text: str, *, sep: str) -> bool:
    """The mark that stands for a bullet occurs at least twice, anywhere."""
    return text.count(sep) >= 2


@checker("format:thesis")
def thesis(text: str) -> bool:
    """Text in <i> or <em> and text after it. `<em>` is cut as if it were as short as `<i>`."""
    start = next((at for tag in ("<i>", "<em>") if (at := text.find(tag)) >= 0), -1)
    if start < 0:
        return False
    text = text[start:]
    end = next((at for tag in ("</i>", "</em>") if (at := text.find(tag)) >= 0), -1)
    return end >= 0 and bool(text[3:end].strip()) and bool(text[end + 4 :].strip())


@checker("format:sub-bullets")
def sub_bullets(text: str) -> bool:
    """A "-" follows each "*" before the next one. A text without "*" passes."""
    return all("-" in bullet for bullet in text.split("*")[1:])


@checker("format:no_bullets_bullets")
def no_bullets_bullets(text: str) -> bool:
    """At least two sentences, then at least two lines that start with "*", and nothing after. A
    blank line among the sentences is allowed only as the last of them."""
    before = bullets = 0
    closed = False
    for line in text.split("\n"):
        line = line.strip()
        if line.startswith("*"):
            closed = True
            bullets += 1
            if before < 2:
                return False
        elif closed:
            return False
        else:
            here = len(sentences(line))
            before += here
            closed = here == 0
    return bullets >= 2


@checker("format:title_case")
def title_case(text: str) -> bool:
    """No word starts small, unless its rest is in mixed case."""
    for token in tokens(text):
        first, rest = token[0], token[1:]
        small = first.isalpha() and first.islower()
        if small and (not rest or rest.islower() or rest.isupper()):
            return False
    return True


@checker("format:output_template")
def output_template(text: str) -> bool:
    """The three labels of the template occur."""
    return all(label in text for label in _LABELS)


@checker("format:no_whitespace")
def no_whitespace(text: str) -> bool:
    """No space, tab or line break."""
    return not any(char.isspace() for char in text)


def _without_blanks(lines: list[str]) -> list[str]:
    """The lines that are left when blank ones are removed from a list while it is walked: after
    each removal one line goes unseen, and the first line equal to the seen one is what goes."""
    places: defaultdict[str, deque[int]] = defaultdict(deque)
    removed = set()
    for i, line in enumerate(lines):
        if not line.strip():
            places[line].append(i)
    at = 0
    while at < len(lines):
        if lines[at].strip():
            at += 1
        else:
            removed.add(places[lines[at]].popleft())
            at += 2
    return [line for i, line in enumerate(lines) if i not in removed]
