r"""IFEval: how the text is built (length, format, placeholders, several responses).

Zhou et al. (2023). Where the benchmark's pattern takes quadratic time on a hostile text, another
one with the same matches stands here: a checker also serves as a reward on whatever a model emits.
"""

from __future__ import annotations

import json
import re

from autoif.base.errors import UsageError
from autoif.constraints.checkers.registry import Relation, checker, compare, pattern
from autoif.constraints.text import sentences, word_count

# Spaces before a bullet may not cross a line: the count is the same, and the time linear.
_STAR_BULLET = re.compile(r"^[^\S\n]*\*[^*].*$", re.MULTILINE)
_DASH_BULLET = re.compile(r"^[^\S\n]*-", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*[^\n*]*\*")
_DOUBLE_HIGHLIGHT = re.compile(r"\*\*[^\n*]*\*\*")
_DIVIDER = re.compile(r"\s?\*\*\*\s?")
_POSTSCRIPTS = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FENCES = ("```json", "```Json", "```JSON", "```")


@checker("length_constraints:number_words")
def number_words(text: str, *, num_words: int, relation: Relation) -> bool:
    """Less than / at least so many words; a word is a run of letters, digits and underscores."""
    return compare(word_count(text), relation, num_words)


@checker("length_constraints:number_sentences")
def number_sentences(text: str, *, num_sentences: int, relation: Relation) -> bool:
    """Less than / at least so many sentences, as Punkt splits English."""
    return compare(len(sentences(text)), relation, num_sentences)


@checker("length_constraints:number_paragraphs")
def number_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs between `***`; a blank one is forgiven at either end only."""
    first, *rest = _DIVIDER.split(text)
    if not rest:
        return num_paragraphs == (1 if first.strip() else 0)
    *middle, last = rest
    if not all(paragraph.strip() for paragraph in middle):
        return False
    return num_paragraphs == len(middle) + bool(first.strip()) + bool(last.strip())


@checker("length_constraints:nth_paragraph_first_word")
def nth_paragraph_first_word(
    text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """So many paragraphs between blank lines, the nth (from 1) starting with this word.

    Blank paragraphs are not counted, yet they do shift the nth: the benchmark's way. The word
    ends at the first of . , ? ! ' "
    """
    if not 1 <= nth_paragraph <= num_paragraphs:
        raise UsageError(
            f"length_constraints:nth_paragraph_first_word: nth_paragraph {nth_paragraph} "
            f"is not within 1..{num_paragraphs}"
        )
    paragraphs = text.split("\n\n")
    if sum(1 for p in paragraphs if p.strip()) != num_paragraphs:
        return False
    head = paragraphs[nth_paragraph - 1].split(maxsplit=1)
    if not head:
        return False
    word = re.split(r"""[.,?!'"]""", head[0].lstrip("'").lstrip('"'), maxsplit=1)[0]
    return "".join(letter.lower() for letter in word) == first_word.lower()


@checker("detectable_content:number_placeholders")
def number_placeholders(text: str, *, num_placeholders: int) -> bool:
    """At least so many [placeholders], none of which reaches over a line."""
    count = 0
    for line in text.split("\n"):
        at = line.find("[")
        while at >= 0 and (end := line.find("]", at)) >= 0:
            count += 1
            at = line.find("[", end)
    return count >= num_placeholders


@checker("detectable_content:postscript")
def postscript(text: str, *, postscript_marker: str) -> bool:
    """The marker occurs anywhere, in any case; "P.S." and "P.P.S" also with spaces inside."""
    marker = postscript_marker.strip()
    source = _POSTSCRIPTS.get(marker, marker.lower())
    return pattern(source, re.MULTILINE).search(text.lower()) is not None


@checker("detectable_format:number_bullet_lists")
def number_bullet_lists(text: str, *, num_bullets: int) -> bool:
    """Exactly so many lines that start with `*` (not `**`) or `-`."""
    stars = sum(1 for _ in _STAR_BULLET.finditer(text))
    return stars + sum(1 for _ in _DASH_BULLET.finditer(text)) == num_bullets


@checker("detectable_format:constrained_response")
def constrained_response(text: str) -> bool:
    """One of "My answer is yes." / "no." / "maybe." occurs."""
    return any(answer in text for answer in _ANSWERS)


@checker("detectable_format:number_highlighted_sections")
def number_highlighted_sections(text: str, *, num_highlights: int) -> bool:
    """At least so many *highlights* or **highlights**, each within one line and not blank."""
    single = sum(1 for m in _HIGHLIGHT.finditer(text) if m[0].strip("*").strip())
    double = sum(1 for m in _DOUBLE_HIGHLIGHT.finditer(text) if m[0][2:-2].strip())
    return single + double >= num_highlights


@checker("detectable_format:multiple_sections")
def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many headings: the word (a regular expression) and a number."""
    heading = pattern(rf"\s?{section_spliter.strip()}\s?\d+\s?")
    return len(heading.split(text)) - 1 >= num_sections


@checker("detectable_format:json_format")
def json_format(text: str) -> bool:
    """All of it is JSON, a Markdown fence aside."""
    text = text.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


@checker("detectable_format:title")
def title(text: str) -> bool:
    """A line has a <<title>> that is not blank."""
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if start >= 0 and end > start + 2 and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


@checker("combination:two_responses")
def two_responses(text: str) -> bool:
    """Two different responses with `******` between them, and perhaps around them."""
    sections = [section.strip() for section in text.split("******")]
    if not all(sections[1:-1]):
        return False
    responses = [section for section in sections if section]
    return len(responses) == 2 and responses[0] != responses[1]


@checker("combination:repeat_prompt")
def repeat_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    """The text starts with the prompt, in any case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())
