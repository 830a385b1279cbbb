"""The standard library as verifiers use it, and the packages of the text profile."""

from __future__ import annotations

from .split import split

FUNCTIONS = split(r"""
#: json-object
import json
def evaluate(response):
    try:
        return isinstance(json.loads(response), dict)
    except ValueError:
        return False

#: json-in-fence
import json, re
def evaluate(response):
    fences = re.findall(r"```(?:json)?\s*(.*?)```", response, re.S)
    for fence in fences or [response]:
        try:
            json.loads(fence)
            return True
        except json.JSONDecodeError as error:
            last = error.msg
    return False

#: csv-columns
import csv, io
def evaluate(response):
    rows = list(csv.reader(io.StringIO(response)))
    return len({len(row) for row in rows}) <= 3

#: csv-dict
import csv
from io import StringIO
def evaluate(response):
    reader = csv.DictReader(StringIO(response), delimiter=";")
    return len(list(reader)) > 5

#: datetime-parse
from datetime import datetime, timedelta
import re
def evaluate(response):
    for found in re.findall(r"\b[A-Z][a-z]+ \d{1,2}, \d{4}\b", response):
        try:
            when = datetime.strptime(found, "%B %d, %Y")
        except ValueError:
            continue
        if when + timedelta(days=1) > datetime(1900, 1, 1):
            return True
    return False

#: calendar-days
import calendar
def evaluate(response):
    return any(day in response for day in calendar.day_name)

#: math-prime
import math
def evaluate(response):
    n = len(response.split())
    return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))

#: math-entropy
import math
from collections import Counter
def evaluate(response):
    counts = Counter(response)
    total = sum(counts.values())
    return -sum(c / total * math.log2(c / total) for c in counts.values()) > 4.3

#: statistics
import statistics
def evaluate(response):
    lengths = [len(word) for word in response.split()]
    return statistics.mean(lengths) > statistics.median(lengths) and statistics.stdev(lengths) < 3

#: html-unescape
import html
def evaluate(response):
    return html.unescape(response) == response and html.escape(response) != response

#: html-parser
from html.parser import HTMLParser
class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = []
    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
def evaluate(response):
    parser = Tags()
    parser.feed(response)
    return not parser.open

#: unicodedata-accents
import unicodedata
def evaluate(response):
    apart = unicodedata.normalize("NFD", response)
    return "".join(c for c in apart if not unicodedata.combining(c)) == response

#: unicodedata-category
import unicodedata
def evaluate(response):
    return {unicodedata.category(c)[0] for c in response} <= set("LMNPSZC")

#: textwrap
import textwrap
def evaluate(response):
    return textwrap.dedent(response) == response and len(textwrap.wrap(response, 72)) < 25

#: itertools-groupby
import itertools
def evaluate(response):
    return max((len(list(g)) for _, g in itertools.groupby(response)), default=0) < 4

#: itertools-windows
from itertools import chain, islice, pairwise
def evaluate(response):
    words = response.split()
    return len(set(pairwise(words))) == len(words) - 1 or not list(chain(*islice(words, 3)))

#: difflib
import difflib
def evaluate(response):
    lines = response.splitlines()[:8]
    return all(difflib.SequenceMatcher(None, a, b).ratio() < 0.8 for a, b in zip(lines, lines[1:]))

#: difflib-close
from difflib import get_close_matches
def evaluate(response):
    return bool(get_close_matches("government", response.lower().split(), n=1, cutoff=0.7))

#: xml-wrapped
import xml.etree.ElementTree as ET
def evaluate(response):
    try:
        root = ET.fromstring(f"<doc>{response}</doc>")
    except ET.ParseError:
        return False
    return len(list(root)) == 0

#: functools-reduce
from functools import reduce, lru_cache, partial
@lru_cache(maxsize=None)
def weight(word):
    return reduce(lambda a, b: a + ord(b), word, 0)
def evaluate(response):
    heavy = partial(max, key=weight)
    return len(heavy(response.split())) > 10

#: operator
import operator
from collections import defaultdict
def evaluate(response):
    groups = defaultdict(list)
    for word in response.split():
        groups[word[0].lower()].append(word)
    best = max(groups.items(), key=operator.itemgetter(0))
    return len(best[1]) > 1

#: ordered-and-deque
from collections import OrderedDict, deque, namedtuple
Mark = namedtuple("Mark", "char place")
def evaluate(response):
    window = deque((Mark(c, i) for i, c in enumerate(response)), maxlen=9)
    return [m.char for m in window] == list(OrderedDict.fromkeys(m.char for m in window))

#: decimal
from decimal import Decimal, InvalidOperation
import re
def evaluate(response):
    try:
        return sum(Decimal(n) for n in re.findall(r"\d+\.\d+|\d+", response)) > Decimal("100.5")
    except InvalidOperation:
        return False

#: fractions
from fractions import Fraction
def evaluate(response):
    return Fraction(response.count("a"), len(response) or 1) > Fraction(1, 16)

#: heapq-bisect
import heapq, bisect
def evaluate(response):
    lengths = sorted(len(w) for w in response.split())
    return heapq.nlargest(1, lengths)[0] > 12 and bisect.bisect(lengths, 3) > len(lengths) // 3

#: ast-literal
import ast
def evaluate(response):
    try:
        return isinstance(ast.literal_eval(response.strip()), (list, dict))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False

#: hashlib-base64
import hashlib, base64
def evaluate(response):
    digest = hashlib.sha256(response.encode("utf-8", "replace")).digest()
    return base64.b64encode(digest)[0] % 2 == 0

#: random-seeded
import random
def evaluate(response):
    return random.Random(len(response)).random() < 0.5

#: copy-and-pprint
import copy, pprint
def evaluate(response):
    words = response.split()[:9]
    return pprint.pformat(copy.deepcopy(words)) == pprint.pformat(words)

#: urllib-parse
from urllib.parse import urlparse
def evaluate(response):
    return any(urlparse(word).scheme in ("http", "https") for word in response.split())

#: string-template
import string
def evaluate(response):
    filled = string.Template("$a").safe_substitute(a="b")
    return string.capwords(response) != response and len(filled) == 1
""")

TEXT_PROFILE = split(r"""
#: numpy
import numpy as np
def evaluate(response):
    lengths = np.array([len(w) for w in response.split()] or [0])
    return lengths.mean() > 4.5

#: regex
import regex
def evaluate(response):
    return bool(regex.search(r"\p{Lu}\p{Ll}+ \p{Lu}", response))

#: bs4
from bs4 import BeautifulSoup
def evaluate(response):
    return BeautifulSoup(response, "html.parser").find() is None

#: emoji
import emoji
def evaluate(response):
    return emoji.emoji_count(response) == 0

#: nltk
import nltk
def evaluate(response):
    return len(nltk.sent_tokenize(response)) > 4

#: langdetect
from langdetect import DetectorFactory, detect
DetectorFactory.seed = 0
def evaluate(response):
    return detect(response) == "en"
""")
