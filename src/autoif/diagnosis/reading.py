"""What an instruction asks for, as far as its words say so: by rule, in English and Chinese.

A verifier of "use no commas" rightly accepts the empty reply, one of "begin with Hello" rightly
minds a preamble. So a diagnosis has to know whether the words demand that something be there, or
only forbid; and whether they speak about the reply as a whole, its beginning, its end, or every
part of it. Where they are not understood, nothing is claimed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from autoif.base.language import (
    AT_LEAST_EN,
    AT_LEAST_ZH,
    AT_MOST_EN,
    AT_MOST_ZH,
    CJK,
    EXACTLY_EN,
    EXACTLY_ZH,
    NUMBERS_EN,
    NUMBERS_ZH,
    QUOTATION_MARKS,
    number_value,
    quoted_pattern,
)

_NUMBER = re.compile(
    rf"(?<![\w.#])(\d{{1,3}},\d{{3}}|\d{{1,4}}|{NUMBERS_EN})\b|(\d{{1,4}}|{NUMBERS_ZH})"
    r"(?=个|字|词|句|行|段|条|次|处|种|项|点|位|名|本|对|遍|组|部|首|张|列|步|则|汉字)",
    re.IGNORECASE,
)
_UPPER = re.compile(
    rf"(?:{AT_MOST_EN}|under|below|within|"
    r"max(?:imum)?(?: of)?|exceed\w{0,3}|longer than|limit\w{0,5}(?: \w{1,30}){0,5} to|"
    r"no \w{1,30}(?: \w{1,30}){0,9} than|"
    r"(?:not|n't|never)(?: \w+){1,3} than|between \w+ and|"
    r"(?:不|别|勿)[要得能可应许宜]?以?(?:超过|多于|大于|长于)|"
    rf"{AT_MOST_ZH}|少于|不到|不可超过|控制在|限制在|最长|短于|不大于)"
    r"\s*(?:of |the |a |any )?$",
    re.IGNORECASE,
)
_UPPER_AFTER = re.compile(
    r"\s{0,9}\w{0,30}\s{0,9}(?:or (?:fewer|less)|at (?:the )?most|maximum|max\b|limit)"
    r"|[^，。]{0,4}(?:以内|以下|之内)"
)
_LOWER = re.compile(
    rf"(?:{AT_LEAST_EN}|not less than|minimum(?: of)?|more than|over|{EXACTLY_EN}|between|"
    rf"{AT_LEAST_ZH}|多于|超过|{EXACTLY_ZH}|只有|共|分|列出|写出)"
    r"\s*(?:of |the |a )?$",
    re.IGNORECASE,
)

_FORBIDS = re.compile(
    r"\b(?:no|not|never|without|avoid\w*|only|neither|nor|none|don'?t|omit\w*|exclud\w*|"
    r"refrain|forbidden|free of|leave out|lowercase|lower case|uppercase|upper case|capitals?|"
    r"capital letters|all caps|title case|at most|fewer|less than|up to|under|below|within|max\w*|"
    r"limit\w*|shorter|keep\w*|stick to|nothing|must not|cannot|can't|any|if|unless|"
    r"when(?:ever)?|between any)\b"
    r"|不|勿|禁止|避免|只|仅|没有|无(?!序)|未|最多|至多|以内|以下|少于|控制|限制|任何|任意|如果|凡|一律|之间|大写|小写",
    re.IGNORECASE,
)
_IF = re.compile(r"\b(?:if|unless|when(?:ever)?)\b|如果|若|凡", re.IGNORECASE)
_CONDITION = re.compile(
    r"\b(?:any|(?<!-)separat\w+|between (?!\d))\b|任意|任何|之间|隔开|分隔", re.IGNORECASE
)
_MARKER = re.compile(  # what each part is to have
    r"\b(?:begin\w*|start(?:s|ing|ed)?|open(?:s|ing|ed)?|end(?:s|ing|ed)?|finish\w*|"
    r"close\w*|contain\w*|include\w*|have|has|prefix\w*|preced\w*|follow\w*|number\w*|form|like|into|both)\b|开头|结尾|收尾|包含|含|有|标|形式|以",
    re.IGNORECASE,
)
_AND_NO_MORE = re.compile(  # an end to what was demanded, no demand of its own
    r"\b(?:and |with )?(?:write )?"
    r"(?:nothing(?: else)?|no (?:other |further )?(?:text|words?|character|punctuation mark))"
    r"\s*(?:\w+ )?(?:after|before|outside|around|else|beyond|follow\w*|$|[.;])"
    r"|(?:外|后面?)(?:没有|不加|无)别的\S*",
    re.IGNORECASE,
)
_RELATION = re.compile(
    r"\b(?:odd|even|divisible|multiples?|prime|remainder|same (?:number|length)|as many|equal|"
    r"than (?:the|all|any|each)|longest|shortest|most words|fewest|palindrom\w*|modulo|"
    r"add up|sum of|longer than|shorter than)\b"
    r"|奇数|偶数|倍数|质数|素数|整除|相等|相同|一样|回文|比.{1,8}[多少长短]|成对",
    re.IGNORECASE,
)
_WHOLE = re.compile(
    r"\b(?:entire\w*|whole|only|nothing|no|not|never|without|avoid\w*|solely|consists?|at most|"
    r"fewer|less|up to|under|below|within|max\w*|limit\w*|wrap\w*|enclos\w*|surround\w*|"
    r"lowercase|uppercase|capital\w*|case|number of|count(?:s|ed|ing)?|total|average|"
    r"ratio|odd|even|divisible|multiple of|prime|length|longer|shorter|alternat\w*|take turns|"
    r"respectively|acrostic|palindrome|haiku|poem|rhym\w*|couplet|limerick|stanza\w*|dialogue|(?<!-)separat\w*|"
    r"neither|nor|same|equal|english|italian|japanese|dutch|latin|single|"
    r"one (?:word|sentence|line|paragraph|number|question)|french|german|"
    r"spanish|russian|chinese|language|translat\w*|spell|indent\w*|than|between \d+|"
    r"(?:every|each|all)(?: of)?(?: the| your)? (?:\w+ )?(?:lines?|sentences?|paragraphs?|words?|"
    r"letters?|rows?|sections?|parts?|characters?|stanzas?|text))\b"
    r"|全文|整个|通篇|只|仅|每一?(?:行(?!一)|句|段|个)|各[行段句]|所有|不|勿|禁|避免|没有|无(?!序)|最多|至多|以内|以下|"
    r"少于|控制|限制|一律|全部|之间|隔开|分隔|字数|行数|段数|句数|总|奇数|偶数|倍|诗|对话|轮流|英文|英语|中文|"
    r"包裹|比|交替|相同|分别",
    re.IGNORECASE,
)
_ONE_EACH = re.compile(r"\b(?:one (?:on|in|to|for) (?:each|every|a)|each on|one per) \w*", re.I)
_EXACT_EXTENT = re.compile(
    r"\b(?:words?|sentences?|lines?|paragraphs?|characters?|letters?|parts?|sections?|"
    r"numbers?|verses?|digits?)\b|字|词|句|行|段|部分",
    re.IGNORECASE,
)
# Field of `Reading` -> the words that set it.
_WORDS = {
    "ordered": (
        r"\b(?:alphabetical\w*|ascending|descending|chronological\w*|sorted|sort|increasing|"
        r"decreasing|in (?:reverse )?order)\b|排列|排序|升序|降序|从早到晚|从小到大|从大到小|顺序"
    ),
    "structural": (
        r"\b(?:tables?|json|yaml|xml|html|csv|lists?|bullet\w*|numbered|paragraphs?|sections?|headings?|"
        r"headers?|dialogue|poem|haiku|stanzas?|verses?|rows?|columns?|code block|fenced|sentences|"
        r"lines|items|points|steps|essay|letter to|story)\b"
        r"|表格|列表|清单|段|标题|对话|诗|代码块|小节|步骤|条目|要点"
    ),
    "times": r"\btimes\b|\btwice\b|\bthrice\b|次|遍",
    "at_start": (
        r"\b(?:begin\w*|start(?:s|ing|ed)?|open(?:s|ing|ed)?|first|prefix\w*|preced\w*|initial|top|title|headings?|lead|"
        r"prepend\w*|fourth|fifth|middle|penultimate|\d+(?:st|nd|rd|th)|front|header|salutation|greeting|second|third)\b"
        r"|开头|开始|首|第一|第二|第三|标题|前|起"
    ),
    "at_end": (
        r"\b(?:end(?:s|ing|ed)?|finish\w*|close[sd]?|closing|conclud\w*|conclusion|last|final\w*|"
        r"sign(?:s|ed|ature)?|p\.?s\.?|postscript|append\w*|fourth|fifth|middle|penultimate|\d+(?:st|nd|rd|th)|bottom|suffix|after)\b"
        r"|结尾|结束|末|最后|收尾|后|署名|落款|尾"
    ),
    "marked_up": (
        r"\b(?:markdown|bold\w*|italic\w*|asterisks?|backticks?|fenced?|code|highlight\w*|stars?|"
        r"emphasi\w*|format\w*|quotation|quotes|brackets?|parenthes\w+|symbols?|characters?|"
        r"punctuation|json|yaml|xml|html|csv|tables?|tags?|block|hyphens?|underscor\w*|headings?|"
        r"bullets?|lists?|numbered)\b|加粗|星号|反引号|代码|标点|引号|括号|符号|斜体|表格|列表|标题|JSON"
    ),
    "fenced": (
        r"\b(?:backticks?|fenced?|fences|code block|block quote|symbols?|punctuation|"
        r"quotation marks?)\b|反引号|代码块|标点|符号|引用"
    ),
    "each": r"\b(?:every|each)\b|每|各",
    "common": (
        r"\b(?:capital\w*|uppercase|sentences?|full stops?|periods?|commas?|english|letters?|"
        r"vowels?|punctuation|colons?)\b|句|标点|逗号|中文|汉字"
    ),
    "in_sentences": r"\bsentences?\b|句",
    "in_lines": r"\b(?:lines?|paragraphs?|words?|characters?)\b|行|段|字",
    "narrow": (
        r"\b(?:one of|nothing|only|once|repeat\w*|twice|same|different|unique|duplicat\w*|"
        r"consecutive|single|longer|shorter|than|first|last|begin the|end the|at most|most|"
        r"limit\w*|length|number of|count(?:s|ed|ing)?)\b"
        r"|之一|只|重复|相同|不同|一次|首|末|最|不超过|字数|控制|限制|之间|以内"
    ),
}
_PATTERNS = {field: re.compile(words, re.IGNORECASE) for field, words in _WORDS.items()}
QUOTED = re.compile(
    quoted_pattern((*QUOTATION_MARKS, "『』"))
    + r"|(?<![A-Za-z0-9])'([^\n]{1,60}?)'(?![A-Za-z0-9])|(</?[A-Za-z]\w*>)"
    r"|‘([^’\n]{1,60})’|《([^》\n]{1,40})》|【([^】\n]{1,40})】"
)
_EXTENT_UNIT = re.compile(
    r"^\W{0,9}\w{0,30}\W{0,9}(?:words?|characters?|letters?|tokens?|syllables?)\b|^个?(?:字|词|字符)",
    re.I,
)


NEAR = 120  # characters around a number that say what it binds
LONGEST = 4000  # characters; a longer text is not read
GAP = {False: " ", True: ""}  # between words or sentences; the key: whether they are Chinese
STOP = {False: ".", True: "。"}


@dataclass(frozen=True, slots=True)
class Reading:
    """One instruction, read. Every field is False, 0 or empty where its words do not say."""

    text: str
    zh: bool  # it, or what it is about, is Chinese
    quoted: tuple[str, ...]  # what stands in quotation marks
    numbers: tuple[int, ...]
    demands: bool  # something has to be there
    least: int  # of which there have to be so many: 2 and more, and one word cannot do
    forbids: bool  # it bounds or forbids, in part at least
    structural: bool  # several lines, paragraphs, items, or a format
    times: bool  # the quoted thing, several times
    extent: bool  # what is counted are words or characters
    at_start: bool
    at_end: bool
    whole: bool  # about the whole reply, each of its parts, its length or its layout
    marked_up: bool  # about marks that Markdown uses
    fenced: bool  # about code blocks, or marks of which a fence is made
    each: bool  # about every part of the reply
    common: bool  # plain replies may well have what it demands
    in_sentences: bool  # about sentences
    ordered: bool  # about an order among its parts
    in_lines: bool  # about lines, paragraphs, words or characters
    narrow: bool  # two replies that follow it need not do so together

    @property
    def free(self) -> bool:
        """Where else in the reply something stands does not matter to it."""
        return self.demands and not self.whole and bool(self.text)


def read(text: str, lang: str = "", texts: tuple[str, ...] = ()) -> Reading:
    """`texts`: examples of replies, which show the language where nothing else does."""
    if len(text) > LONGEST:
        text = ""
    zh = lang == "zh" if lang else bool(CJK.search(text))
    if not lang and not zh:
        zh = sum(bool(CJK.search(t)) for t in texts) * 2 > len(texts)
    quoted = tuple(dict.fromkeys(next(filter(None, m)) for m in QUOTED.findall(text)))
    bare = QUOTED.sub(" ", text)  # what is quoted is no word of the instruction
    least, extent, numbers = _least(bare)
    shown = {field: bool(pattern.search(bare)) for field, pattern in _PATTERNS.items()}
    shown["common"] |= extent
    ordered = shown["ordered"]
    relation = bool(_RELATION.search(bare))
    forbids = bool(_FORBIDS.search(_AND_NO_MORE.sub(" ", bare)))
    demands = bool(text.strip())
    if ordered and not forbids:
        least = max(least, 2)
    explicit = _explicit(bare)
    if _IF.search(bare) or ((relation or forbids or _CONDITION.search(bare)) and not explicit):
        demands, least = False, 0
    elif explicit:
        demands = True
    elif shown["each"] and not _MARKER.search(bare) and not ordered:
        demands = False
    exact = re.search(f"{EXACTLY_EN}|{EXACTLY_ZH}", bare, re.IGNORECASE)
    exact_extent = bool(exact and _EXACT_EXTENT.search(bare))
    return Reading(
        text=text,
        zh=zh,
        quoted=quoted,
        numbers=numbers,
        demands=demands,
        least=least,
        forbids=forbids,
        extent=extent,
        whole=bool(_WHOLE.search(_ONE_EACH.sub(" ", bare))) or exact_extent or relation or ordered,
        **shown,
    )


def _explicit(text: str) -> bool:
    """It names a lower bound in so many words, whatever else it forbids."""
    return any(
        _LOWER.search(text[max(0, m.start() - NEAR) : m.start()]) and not upper(text, m)
        for m in _numbers(text)
    )


def upper(text: str, number: re.Match[str]) -> bool:
    """Whether a number is the most that is allowed, by the words around it."""
    before = text[max(0, number.start() - NEAR) : number.start()]
    after = text[number.end() : number.end() + NEAR]
    return bool(_UPPER.search(before) or _UPPER_AFTER.match(after))


def _numbers(text: str) -> list[re.Match[str]]:
    return [m for m in _NUMBER.finditer(text) if number_value(m[0]) is not None]


def in_order(text: str) -> list[int]:
    """The numbers that a text names, in its order, repeated ones too."""
    return [n for m in _numbers(QUOTED.sub(" ", text)) if (n := number_value(m[0]))]


def _least(text: str) -> tuple[int, bool, tuple[int, ...]]:
    """The largest number that is a lower bound, whether it counts words or characters, and all
    numbers that the text names."""
    least, extent, numbers = 0, False, []
    for match in _numbers(text):
        n = number_value(match[0]) or 0
        numbers.append(n)
        if upper(text, match):
            continue
        if _EXTENT_UNIT.match(text[match.end() : match.end() + NEAR]) and n > least:
            extent = True
        least = max(least, n)
    return least, extent, tuple(dict.fromkeys(numbers))
