"""The language itself: helpers, classes, constants, comprehensions, matching, generators."""

from __future__ import annotations

from .split import split

FUNCTIONS = split(r"""
#: helper-below
def evaluate(response):
    return helper(response) and CONSTANT > 0
CONSTANT = 3
def helper(text):
    return len(text) % CONSTANT != 1

#: class-helper
class Checker:
    limit = 40
    def __init__(self, text):
        self.text = text
    @property
    def longest(self):
        return max(map(len, self.text.splitlines()), default=0)
    @staticmethod
    def odd(n):
        return n % 2 == 1
    @classmethod
    def bound(cls):
        return cls.limit * 10
def evaluate(response):
    c = Checker(response)
    return c.longest < Checker.bound() and Checker.odd(len(response))

#: inheritance
from abc import ABC, abstractmethod
class Rule(ABC):
    @abstractmethod
    def holds(self, text): ...
    def __and__(self, other):
        return Both(self, other)
class Both(Rule):
    def __init__(self, *rules):
        self.rules = rules
    def holds(self, text):
        return all(rule.holds(text) for rule in self.rules)
class Long(Rule):
    def holds(self, text):
        return len(text) > 500
class Calm(Rule):
    def holds(self, text):
        return "!" not in text
def evaluate(response):
    return (Long() & Calm()).holds(response)

#: dataclass
from dataclasses import dataclass, field
@dataclass(order=True)
class Word:
    size: int
    text: str = field(compare=False)
def evaluate(response):
    return max(Word(len(w), w) for w in response.split()).text.isalpha()

#: enum-class
from enum import Enum, auto
class Mood(Enum):
    ASKING = auto()
    SHOUTING = auto()
    PLAIN = auto()
def mood(text):
    if text.endswith("?"):
        return Mood.ASKING
    return Mood.SHOUTING if text.endswith("!") else Mood.PLAIN
def evaluate(response):
    return mood(response.strip()) is Mood.PLAIN

#: typing
from __future__ import annotations
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple
class Span(NamedTuple):
    start: int
    end: int
def spans(text: str, test: Callable[[str], bool]) -> Iterable[Span]:
    start: Optional[int] = None
    for i, c in enumerate(text + " "):
        if test(c) and start is None:
            start = i
        elif not test(c) and start is not None:
            yield Span(start, i)
            start = None
def evaluate(response: str) -> bool:
    return max((s.end - s.start for s in spans(response, str.isdigit)), default=0) == 4

#: generator-expression
def evaluate(response):
    return not any(len(line) > 500 for line in (l.strip() for l in response.split("\n")))

#: generator-function
def chunks(words, size):
    for i in range(0, len(words), size):
        yield words[i : i + size]
def evaluate(response):
    return all(len(set(chunk)) > 2 for chunk in chunks(response.split(), 5))

#: walrus
import re
def evaluate(response):
    if (m := re.search(r"(\d+) (?:people|years|days)", response)) and (n := int(m[1])) > 1:
        return n % 2 == 0
    return False

#: match-statement
def evaluate(response):
    match response.split():
        case []:
            return False
        case [only]:
            return only.isalpha()
        case [first, *_, last] if first.lower() == last.lower():
            return True
        case ["Dear" | "Hello" | "Hi", *_]:
            return True
        case _:
            return len(response) % 3 == 0

#: try-finally
def evaluate(response):
    state = []
    try:
        state.append(float(response.split()[0]))
    except (ValueError, IndexError) as error:
        state.append(type(error).__name__)
    else:
        state.append("number")
    finally:
        state.append("done")
    return state == ["ValueError", "done"]

#: nested-functions
def evaluate(response):
    count = 0
    def visit(line):
        nonlocal count
        if line.strip():
            count += 1
        return visit
    for line in response.splitlines():
        visit(line)
    return count > 8

#: closure-table
def make(n):
    return lambda text: text.count("\n\n") >= n
RULES = {n: make(n) for n in range(4)}
def evaluate(response):
    return RULES[2](response)

#: f-strings
def evaluate(response):
    n = len(response)
    return f"{n:>8,}|{n!r:^9}|{n / 7:.2f}".count("1") > 1

#: sorted-with-key
def evaluate(response):
    words = response.split()
    ranked = sorted(set(words), key=lambda w: (-len(w), w))
    return ranked[0] > ranked[-1]

#: enumerate-zip
def evaluate(response):
    lines = response.split("\n")
    pairs = zip(lines, enumerate(lines[1:], start=1))
    return all(len(a) != len(b) or i == j for i, (a, (j, b)) in enumerate(pairs))

#: slices-and-unpacking
def evaluate(response):
    first, *middle, last = response.split(" ") + ["", ""]
    return [*middle[::-1]][:2] != middle[:2] and first != last

#: dict-merge
def evaluate(response):
    a = {w: len(w) for w in response.split()[:50]}
    b = {w.lower(): 0 for w in response.split()[50:]}
    return sum((a | b).values()) > 150

#: set-algebra
import string
def evaluate(response):
    letters = set(response.lower()) & set(string.ascii_lowercase)
    return not set("aeiou") - letters and letters ^ set(string.ascii_lowercase) != set()

#: while-else
def evaluate(response):
    i = 0
    while i < len(response):
        if response[i : i + 2] == "  ":
            break
        i += 1
    else:
        return True
    return False

#: recursion
def depth(text):
    inner = text[text.find("(") + 1 : text.rfind(")")]
    return 0 if "(" not in text or ")" not in text or inner == text else 1 + depth(inner)
def evaluate(response):
    return depth(response) > 0

#: global-state
SEEN = []
def evaluate(response):
    SEEN.append(response)
    return len(SEEN) % 2 == 1

#: with-statement
from contextlib import contextmanager, suppress
@contextmanager
def lowered(text):
    yield text.lower()
def evaluate(response):
    with lowered(response) as text, suppress(IndexError):
        return text[0] == response[0]
    return False

#: decorators
from functools import wraps
def non_empty(check):
    @wraps(check)
    def wrapper(response):
        return bool(response.strip()) and check(response)
    return wrapper
@non_empty
def evaluate(response):
    return response.strip()[-1] in ".!?"

#: main-guard
def evaluate(response):
    return "\t" not in response
if __name__ == "__main__":
    print(evaluate("x"))

#: bytes-and-encodings
def evaluate(response):
    raw = response.encode("utf-8", "surrogatepass")
    return len(raw) == len(response) and raw.decode("latin-1").isprintable() is not None

#: exceptions-of-ones-own
class Broken(Exception):
    pass
def require(condition, why):
    if not condition:
        raise Broken(why)
def evaluate(response):
    try:
        require("\n" in response, "one line")
        require(response.isascii(), "not ascii")
    except Broken:
        return False
    return True

#: assert-statement
def evaluate(response):
    assert len(response) > 300, "too short"
    return True

#: star-args
def tally(*words, least=3, **options):
    return sum(len(w) >= least for w in words) - len(options)
def evaluate(response):
    return tally(*response.split(), least=6, extra=True) > 30

#: int-parsing
import re
def evaluate(response):
    return sum(int(n) for n in re.findall(r"\d+", response)[:20]) > 2000

#: lambda-evaluate
evaluate = lambda response: response.count(" ") > 100

#: callable-object
class Judge:
    def __call__(self, response):
        return len(response) < 1500
evaluate = Judge()
""")
