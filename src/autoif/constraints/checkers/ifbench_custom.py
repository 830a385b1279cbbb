"""IFBench: tasks made for one prompt each (`custom:`).

Pyatkin et al. (2025); behaviour of allenai/IFBench at db69a6f. Where the benchmark would stop with
an error (an empty CSV field, a stray carriage return), the answer here is no.
"""

from __future__ import annotations

import csv
import io
import re
import string
import unicodedata
from itertools import pairwise

from autoif.constraints.checkers.ifbench_count import EDGE, NO_PUNCTUATION
from autoif.constraints.checkers.registry import checker
from autoif.constraints.checkers.wordlists import CAPITALS
from autoif.constraints.text import sentences

_QUESTION = re.compile(r"Question \d+[.|):;]?\s*")
_OPTION = re.compile(r"[A-Ea-e][.|)]\s*\w")
_SPECIAL = re.compile(r"[^\w\s]")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_DAYS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_CITY_HEADER = ["ID", "Country", "City", "Year", "Count"]


@checker("custom:multiples")
def multiples(text: str) -> bool:
    """The numbers in the text are the multiples of 7 from 14 to 49, in order."""
    return re.findall(r"\d+", text) == [str(n) for n in range(14, 51, 7)]


@checker("custom:mcq_count_length")
def mcq_count_length(text: str) -> bool:
    """Four questions labelled "Question N", each of five options, each longer than the last."""
    if not text.startswith("Question"):
        return False
    questions = [q for section in _QUESTION.split(text) if (q := section.strip())]
    if len(questions) != 4:
        return False
    lengths = []
    for question in questions:
        lines = [line.strip() for line in question.split("\n")]
        options = [i for i, line in enumerate(lines) if _OPTION.match(line)]
        if len(options) != 5:
            return False
        lengths.append(len(" ".join(lines[: options[0]]).strip()))
    return all(one < next_ for one, next_ in pairwise(lengths))


@checker("custom:reverse_newline")
def reverse_newline(text: str) -> bool:
    """From the line with Zimbabwe on: at least 52 lines, in reverse alphabetical order."""
    lines = [line for raw in text.split("\n") if (line := raw.strip(EDGE))]
    start = next((i for i, line in enumerate(lines) if "Zimbabwe" in line), len(lines))
    countries = [_ascii(line) for line in lines[start:]]
    return len(countries) >= 52 and countries == sorted(countries, reverse=True)


@checker("custom:word_reverse")
def word_reverse(text: str) -> bool:
    """Read from its last word, it names the bald eagle and is one sentence."""
    forward = " ".join(reversed(text.lower().translate(NO_PUNCTUATION).split()))
    return "bald eagle" in forward and forward in sentences(forward)


@checker("custom:character_reverse")
def character_reverse(text: str) -> bool:
    """It names the bald eagle, letters reversed."""
    return "elgae dlab" in text.lower()


@checker("custom:sentence_alphabet")
def sentence_alphabet(text: str) -> bool:
    """26 sentences, their first letters a to z."""
    heads = [sentence.lstrip()[:1].lower()[:1] for sentence in sentences(text)]
    return heads == list(string.ascii_lowercase)


@checker("custom:european_capitals_sort")
def european_capitals_sort(text: str) -> bool:
    """The capitals north of 45 degrees, from north to south, with commas, accents aside."""
    return [c for entry in _ascii(text).split(",") if (c := entry.strip())] == CAPITALS


@checker("custom:csv_city")
def csv_city(text: str) -> bool:
    """CSV with the header ID,Country,City,Year,Count and seven rows of five fields."""
    rows = _csv(text)
    return len(rows) == 8 and rows[0] == _CITY_HEADER and all(len(row) == 5 for row in rows[1:])


@checker("custom:csv_special_character")
def csv_special_character(text: str) -> bool:
    """CSV with the header ProductID,Category,Brand,Price,Stock and 14 rows, one of whose fields is
    quoted and has a special character. Rows after that field are not looked at."""
    if not _is_header(text, ",[ \t]*", "ProductID Category Brand Price Stock"):
        return False
    rows = _csv(text.replace('"', '"""'))
    if len(rows) != 15:
        return False
    for row in rows[1:]:
        if len(row) != 5:
            return False
        if any(map(_is_quoted_special, row)):
            return True
    return False


@checker("custom:csv_quotes")
def csv_quotes(text: str) -> bool:
    """Tab-separated: the header StudentID Subject Grade Semester Score and three rows, each field
    in double quotes."""
    if not _is_header(text, "\t *", "StudentID Subject Grade Semester Score"):
        return False
    rows = _csv(text.replace('"', '"""'), "\t")
    fields = [field.strip() for row in rows for field in row]
    return (
        len(rows) == 4
        and all(len(row) == 5 for row in rows)
        and all(field[:1] == field[-1:] == '"' for field in fields)
    )


@checker("custom:date_format_list")
def date_format_list(text: str) -> bool:
    """Dates YYYY-MM-DD with commas between, of Napoleon's years. Month 00 and day 00 pass."""
    for entry in text.split(","):
        date = _DATE.fullmatch(entry.strip())
        if date is None:
            return False
        year, month, day = map(int, date.groups())
        if not 1769 <= year <= 1821 or month > 12:
            return False
        if month and day > _DAYS.get(month, 31):
            return False
    return True


def _ascii(text: str) -> str:
    """Accents taken off, all else outside ASCII left out."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def _csv(text: str, delimiter: str = ",") -> list[list[str]]:
    """The rows; none where it is no CSV."""
    try:
        return list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error:
        return []


def _is_header(text: str, separator: str, names: str) -> bool:
    """The first line has the names, each bare or quoted."""
    header = separator.join(f'(?:{name}|"{name}")' for name in names.split())
    return re.fullmatch(header, text.split("\n", 1)[0].strip()) is not None


def _is_quoted_special(field: str) -> bool:
    """It starts with a quote and, on the same line, a special character stands before another."""
    if not field.startswith('"'):
        return False
    line = field[1:].split("\n", 1)[0]
    return _SPECIAL.search(line, 0, max(line.rfind('"'), 0)) is not None
