"""Words, letters, lines and patterns: most of what instructions ask for."""

from __future__ import annotations

from .split import split

FUNCTIONS = split(r"""
#: lowercase
def evaluate(response):
    return response == response.lower()

#: no-commas
def evaluate(response: str) -> bool:
    return "," not in response

#: ends-with-phrase
def evaluate(response):
    return response.rstrip().rstrip('"').lower().endswith(("goodbye", "any other questions?", "."))

#: word-range
def evaluate(response):
    return 100 <= len(response.split()) <= 300

#: sentences-at-most
import re
def evaluate(response):
    sentences = [s for s in re.split(r"(?<=[.!?])\s+", response.strip()) if s]
    return len(sentences) <= 12

#: paragraphs-by-blank-line
import re
def evaluate(response):
    paragraphs = re.split(r"\n\s*\n", response.strip())
    return len(paragraphs) >= 3 and all(p.strip() for p in paragraphs)

#: bullets
import re
def evaluate(response):
    return len(re.findall(r"^\s*[\*\-]\s+\S", response, re.MULTILINE)) >= 2

#: numbered-lines
import re
def evaluate(response):
    numbers = [int(n) for n in re.findall(r"^(\d+)\.", response, flags=re.M)]
    return numbers == list(range(1, len(numbers) + 1)) and bool(numbers)

#: highlighted-sections
import re
def evaluate(response):
    found = re.findall(r"\*[^\n\*]+\*", response)
    return sum(1 for h in found if h.strip("*").strip()) >= 3

#: placeholders
import re
def evaluate(response):
    return len(re.findall(r"\[.*?\]", response)) >= 1

#: title-in-angle-brackets
import re
PATTERN = re.compile(r"<<[^\n]+>>")
def evaluate(response):
    return any(title.lstrip("<").rstrip(">").strip() for title in PATTERN.findall(response))

#: keyword-frequency
import re
def evaluate(response):
    return len(re.findall(r"\bthe\b", response, re.IGNORECASE)) >= 5

#: letter-frequency
from collections import Counter
def evaluate(response):
    return Counter(response.lower())["e"] > Counter(response.lower()).get("z", 0) * 10

#: capital-words
def evaluate(response):
    return sum(word.isupper() for word in response.split()) < 5

#: title-case
def evaluate(response):
    lines = response.splitlines()
    return bool(lines) and lines[0] == lines[0].title()

#: starts-each-line
def evaluate(response):
    return all(line.startswith(("- ", "* ", "#", "")) for line in response.split("\n"))

#: double-quoted
def evaluate(response):
    text = response.strip()
    return len(text) > 1 and text[0] == '"' and text[-1] == '"'

#: postscript
import re
def evaluate(response):
    return re.search(r"\s*p\.\s?s\..*$", response.lower(), re.MULTILINE) is not None

#: two-responses
def evaluate(response):
    parts = response.split("******")
    return len(parts) == 2 and parts[0].strip() != parts[1].strip()

#: sections
import re
def evaluate(response):
    return len(re.split(r"\s?SECTION\s?\d+\s?", response)) - 1 >= 1

#: no-repeated-words
def evaluate(response):
    words = response.lower().split()
    return all(a != b for a, b in zip(words, words[1:]))

#: alliteration
def evaluate(response):
    words = [w for w in response.split() if w[:1].isalpha()]
    pairs = sum(a[0].lower() == b[0].lower() for a, b in zip(words, words[1:]))
    return pairs / max(len(words) - 1, 1) > 0.05

#: palindrome-somewhere
import re
def evaluate(response):
    return any(len(w) > 2 and w == w[::-1] for w in re.findall(r"[a-z]+", response.lower()))

#: acrostic
def evaluate(response):
    initials = "".join(line.strip()[0] for line in response.splitlines() if line.strip())
    return initials.lower() == "hello" or initials.isupper()

#: vowels-versus-consonants
def evaluate(response):
    vowels = sum(c in "aeiou" for c in response.casefold())
    consonants = sum(c.isalpha() and c not in "aeiou" for c in response.casefold())
    return vowels * 3 > consonants * 2

#: average-word-length
def evaluate(response):
    words = response.split()
    return sum(map(len, words)) / len(words) < 5.0

#: strip-punctuation
import string
def evaluate(response):
    table = str.maketrans("", "", string.punctuation)
    words = response.translate(table).split()
    return len(set(map(str.lower, words))) > len(words) / 2

#: balanced-brackets
def evaluate(response):
    pairs, stack = {")": "(", "]": "[", "}": "{"}, []
    for c in response:
        if c in pairs.values():
            stack.append(c)
        elif c in pairs and (not stack or stack.pop() != pairs[c]):
            return False
    return not stack

#: dates
import re
def evaluate(response):
    return bool(re.search(r"\b(?P<y>\d{4})-(?P<m>0[1-9]|1[0-2])-(?P<d>[0-2]\d|3[01])\b", response))

#: years-in-order
import re
def evaluate(response):
    years = [int(m.group()) for m in re.finditer(r"\b1[0-9]{3}\b|\b20[0-9]{2}\b", response)]
    return years == sorted(years)

#: emails-and-urls
import re
def evaluate(response):
    return not re.search(r"[\w.+-]+@[\w-]+\.[\w.]+|https?://\S+", response)

#: emoji-range
import re
def evaluate(response):
    return bool(re.search("[\U0001F300-\U0001FAFF\u2600-\u27BF]", response))

#: cjk
def evaluate(response):
    return any("\u4e00" <= c <= "\u9fff" for c in response)

#: markdown-table
import re
def evaluate(response):
    rows = [l for l in response.splitlines() if l.strip().startswith("|")]
    return len(rows) > 2 and bool(re.match(r"^\|?\s*:?-+", rows[1]))

#: code-fence
def evaluate(response):
    return response.count("```") >= 2 and response.count("```") % 2 == 0

#: rhyme
import re
def evaluate(response):
    ends = [re.sub(r"\W", "", l.split()[-1])[-2:] for l in response.splitlines() if l.split()]
    return any(a == b for a, b in zip(ends[::2], ends[1::2]))

#: syllables
def evaluate(response):
    return all(count_syllables(word) <= 5 for word in response.split())

def count_syllables(word):
    word = word.lower().strip(".:;?!,")
    count = 0
    for i, letter in enumerate(word):
        count += letter in "aeiouy" and (i == 0 or word[i - 1] not in "aeiouy")
    return max(count - word.endswith("e"), 1)

#: raises-on-empty
def evaluate(response):
    return response.split()[0][0].isupper()

#: raises-sometimes
def evaluate(response):
    return int(response.split()[3]) > 0

#: string-result
def evaluate(response):
    return "true" if response else "false"

#: none-result
def evaluate(response):
    if len(response) > 900:
        return True

#: int-result
def evaluate(response):
    return int(len(response) % 2 == 0)

#: prints
def evaluate(response):
    print("checking", len(response), "characters", flush=True)
    return response.count("\n") > 3
""")
