"""Code in what a model wrote: between fences, or bare among prose.

A block ends at a fence that stands outside of the code's strings and comments, so a function that
looks for fences is not cut at its own. Strings, comments, brackets, margins and keywords tell code
from what is around it; nothing is parsed or compiled.
"""

from __future__ import annotations

import keyword
import re

MOST = 32  # blocks of one text: each can cost a pass over the rest of it, so they are counted

# At the head of a line with any name, or after words with one word as its name at most.
_OPENING = re.compile(
    r"^[ \t]*+(?P<head>`{3,}+(?=[^`\n]*\n)|~{3,}+)[^\n]*+\n"
    r"|(?<!`)(?P<inline>`{3,}+)[ \t]*+\w*+[ \t]*+\n",
    re.MULTILINE,
)
# Strings and comments of Python, to be skipped; one that is left open ends with the text, or line.
SKIPPED = (
    r'"""(?:[^"\\]++|\\.|"(?!""))*+(?:"""|(?P<open1>\Z))'
    r"|'''(?:[^'\\]++|\\.|'(?!''))*+(?:'''|(?P<open2>\Z))"
    r'|"(?:[^"\\\n]++|\\.)*+"?'
    r"|'(?:[^'\\\n]++|\\.)*+'?"
    r"|\#[^\n]*+"
)
_TOKEN = re.compile(
    rf"{SKIPPED}|(?P<head>^[ \t]*+)?(?P<fence>`{{3,}}+|~{{3,}}+)(?P<tail>[ \t]*+$)?",
    re.DOTALL | re.MULTILINE,
)
_FENCE_LINE = re.compile(r"^[ \t]*+(`{3,}+|~{3,}+)[ \t]*+$", re.MULTILINE)


def fenced_blocks(text: str) -> list[str]:
    """What stands between fences of three and more backticks or tildes, in its order; where the
    last fence is missing, up to the end. The first 32 blocks of a text."""
    text = _lines_ended(text)
    bodies: list[str] = []
    opening = _OPENING.search(text)
    while opening and len(bodies) < MOST:
        end, after = _closing(text, opening.end(), opening["head"] or opening["inline"])
        bodies.append(text[opening.end() : end])
        opening = _OPENING.search(text, after)
    return bodies


def _closing(text: str, start: int, fence: str) -> tuple[int, int]:
    """Where the block that starts there ends, and where to go on."""
    for token in _TOKEN.finditer(text, start):
        if token["open1"] is not None or token["open2"] is not None:
            break
        if not token["fence"] or not token["fence"].startswith(fence):
            continue
        at_head, at_tail = token["head"] is not None, token["tail"] is not None
        if at_head and not at_tail:
            return token.start(), token.start()  # another block opens: this one was not closed
        if fence[0] == "`" or (at_head and at_tail):
            return token.start(), token.end()
    else:
        return len(text), len(text)
    # A quotation mark is missing: then the first line that is a fence has to do.
    for line in _FENCE_LINE.finditer(text, start):
        if line[1].startswith(fence):
            return line.start(), line.end()
    return len(text), len(text)


def code_defining(text: str, function: str) -> str | None:
    """The source that defines `function`: a fenced block, else a run of lines; None without one.

    Where several define it, the last one corrects the others. Imports, constants and helpers that
    stand in blocks of their own above it come with it, and those below that it names.
    """
    text = _lines_ended(text)
    name = re.escape(function)
    defines = re.compile(rf"^[ \t]*+(?:async[ \t]+)?def[ \t]+{name}[ \t]*[(\[]", re.M)
    uses = re.compile(rf"\b{name}\b")
    unquoted = re.sub(r"^[ \t]*+>[ ]?", "", text, flags=re.MULTILINE)
    for sources in (_blocks(text), _bare(text), _blocks(unquoted), _bare(unquoted)):
        last = max((n for n, source in enumerate(sources) if defines.search(source)), default=None)
        if last is None:
            continue
        if defines.search(text, text.rfind(sources[last]) + len(sources[last])):
            continue  # one without fences stands below
        source = _outdented(sources[last])
        if text.rstrip().endswith(sources[last].rstrip()):  # no fence tells it from prose below
            runs = _bare(source)
            source = "\n\n".join(runs) if any(map(defines.search, runs)) else source
        others = [(n, _outdented(s)) for n, s in enumerate(sources) if not uses.search(s)]
        others = [(n, s) for n, s in others if _is_code(s)]
        words = set(re.findall(r"\w+", source))
        first = [s for n, s in others if n < last or words & set(_NAMES.findall(s))]
        return "\n\n".join([*first, source])
    return None


def _lines_ended(text: str) -> str:
    """With one kind of line end, and without the mark that some files begin with."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _blocks(text: str) -> list[str]:
    """Fenced blocks; of a block of Markdown, those within it."""
    return [inner for block in fenced_blocks(text) for inner in fenced_blocks(block) or [block]]


def _outdented(source: str) -> str:
    """With its first line at the margin, and the others as far to the left as that was moved."""
    lines = source.strip("\n").split("\n")
    width = len(lines[0]) - len(lines[0].lstrip())
    moved = (line[width:] if line[:width].isspace() else line.lstrip() for line in lines)
    return "\n".join(moved if width else lines).rstrip()


# How a line begins that defines something, by Python's grammar, and one that belongs to it.
_TARGET = r"[^\W\d][\w.]*+(?:\[[^\]\n]*+\])?"
_DEFINES = re.compile(
    r"(?:async[ ]+def|def|class)[ ]+\w+[ ]*+[(:\[]|import[ ]+\w|from[ ]+[\w.]++[ ]+import\b|@\w"
    rf"|{_TARGET}(?:[ ]*+,[ ]*+{_TARGET})*+(?:[ ]*+:[ ]*+{_TARGET})?+[ ]*+[-+*/|&]?=(?!=)"
)
_CONTINUES = re.compile(
    r"(?:if|elif|for|while|with|try|except|else|finally)\b[^\n]*:[ \t]*+(?:\#[^\n]*+)?$"
    r"""|\#(?!\#)|[)\]}]|["']{3}""",
    re.MULTILINE,
)
# Two words in a row, neither of them a keyword: no Python outside of strings and comments.
_WORD = rf"\b(?!(?:{'|'.join(keyword.kwlist)})\b)\w++"
_PROSE = re.compile(rf"{_WORD}[ ]++{_WORD}")
_CALL = re.compile(
    rf"[ \t]*+(?:(?:assert|del)[ ][^\n]*+|{_TARGET}\(.*\)[ \t]*+(?:\#[^\n]*+)?)\n\Z", re.DOTALL
)
_FUNCTION = re.compile(r"(?:async[ ]+def|def|class)[ ]")
_LONGEST_CALL = 2000  # characters: how far its end is looked for
_NAMES = re.compile(rf"^(?:async[ ]+)?(?:def[ ]+|class[ ]+)?({_TARGET})", re.MULTILINE)
_SKIPPED = re.compile(SKIPPED, re.DOTALL)
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_MARK = re.compile(rf"{SKIPPED}|\\\n|(?P<mark>[(\[{{}}\])\n])", re.DOTALL)


def _bare(text: str) -> list[str]:
    """Runs of lines of Python among prose, each of which defines something."""
    text = _lines_ended(text) + "\n"
    runs: list[str] = []
    function = False  # whether the run has one
    misses = 0  # lines that might have been a call: each costs a look ahead
    start, margin, defines, at, last = 0, 0, False, 0, 0  # last: where its last definition ends
    while at < len(text):
        end = text.index("\n", at) + 1
        line = text[at:end].lstrip(" \t")
        indent = end - at - len(line)
        prose = _PROSE.search(_SKIPPED.sub("", line))
        definition = not prose and bool(_DEFINES.match(line))
        follows = start < at and (line == "\n" or indent > margin)
        heads = not prose and (start == at or indent == margin)
        if follows or (heads and (definition or _CONTINUES.match(line))):
            margin = indent if start == at else margin
            defines = defines or definition
            function = (start < at and function) or bool(_FUNCTION.match(line))
            end = _logical_end(text, at)
            last = last if line == "\n" else end
        elif heads and defines and misses < MOST and (call := _call(text[at : at + _LONGEST_CALL])):
            # TABLE.append(1) belongs to the table; what stands below a function shows its use,
            # but where the run goes on to define more.
            end = at + call.end()
            last = last if function else end
        else:
            if defines:
                runs.append(_outdented(text[start:last]))
            misses += heads and defines
            start, defines = end, False
        at = end
    return [*runs, _outdented(text[start:last])] if defines else runs


def _is_code(source: str) -> bool:
    whole = f"{source}\n\nx = 0"  # so that statements at its end count, too
    return _bare(whole) == [whole] and _bare(source) != [] and _lexes(source)


def _lexes(source: str) -> bool:
    """Whether the brackets and quotes of a source come in pairs."""
    closers: list[str] = []
    for token in _MARK.finditer(source):
        mark, quote = token["mark"], token[0][0]
        if mark in _BRACKETS:
            closers.append(_BRACKETS[mark])
        elif mark in (")", "]", "}"):
            if not closers or closers.pop() != mark:
                return False
        elif quote in ("'", '"') and (len(token[0]) == 1 or token[0][-1] != quote):
            return False
    return not closers


def _call(text: str) -> re.Match[str] | None:
    return _CALL.match(text, 0, _logical_end(text, 0))


def _logical_end(text: str, start: int) -> int:
    """The end of the line of Python that starts there, with what its brackets and strings span."""
    depth = 0
    for token in _MARK.finditer(text, start):
        mark = token["mark"]
        if mark == "\n" and depth <= 0:
            return token.end()
        depth += (mark in ("(", "[", "{")) - (mark in (")", "]", "}"))
    return len(text)
