"""What a model writes beside its answer: reasoning, and the control tokens of its chat template.

Reasoning is told by its structure. A block that opens the answer, in any of the pairs of tags that
models use, and whose name says that somebody thinks; channels; a block that the template opened. An
answer that names such a tag in its prose keeps its words. Every function takes linear time.
"""

from __future__ import annotations

import re
from dataclasses import replace

from autoif.base.records import Reply

_NAME = r"[A-Za-z][\w:.-]{0,40}"
# <think a="b">, [THINK], ◁think▷, <|begin_of_thought|>, |startthink|, and what closes each.
_TAG = re.compile(
    rf"</?(?P<xml>{_NAME})(?:\s[^<>]{{0,200}})?>"
    r"|\[/?(?P<square>[A-Z_]{3,40})\]"
    rf"|◁/?(?P<kimi>{_NAME})▷"
    rf"|</?\|/?(?P<bar>{_NAME})\|>"
    r"|\|(?P<word>(?:start|begin|end)\w{1,40})\|"
)
_THINKING = re.compile(
    "think|thought|reason|reflect|analy[sz]|scratch.?pad|ponder|deliberat|monolog|rationale|"
    "ruminat|introspect|brainstorm|chain.of"
)
_BEGIN_OR_END = re.compile(r"(?:(start|begin)|(end))(?:_of)?_?")
_ANSWER = ("answer", "final_answer", "final", "response", "output", "solution", "result")
_QUOTES = "\"'`“”‘’«»(「『"

_TOKEN = (
    r"<\|[^\s|<>]{1,40}\|?>|<[^\s|<>]{1,40}\|>|<｜[^\s<>]{1,40}｜>|\[/?INST\]|<</?SYS>>|"
    r"<(?:bos|eos|pad|unk|(?:start|end)_of_turn|end_of_text|endoftext)>"
)
_ROLE = r"(?:assistant|model)"
_CONTROL = {True: re.compile(_TOKEN), False: re.compile(rf"{_TOKEN}|</?s>")}
_HEADER = {
    html: re.compile(rf"(?:{token.pattern})(?:{_ROLE}(?=[ \t]*\n|{token.pattern}))?|{_ROLE}\n\n")
    for html, token in _CONTROL.items()
}
_HTML = re.compile(
    "a|abbr|address|article|aside|audio|b|bdi|bdo|blockquote|body|br|button|canvas|caption|"
    "center|cite|code|col|colgroup|data|dd|del|details|dfn|dialog|div|dl|dt|em|embed|fieldset|"
    "figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|"
    "label|legend|li|link|main|map|mark|math|menu|meta|meter|nav|noscript|object|ol|optgroup|"
    "option|p|path|picture|pre|progress|q|rp|rt|ruby|s|samp|script|search|section|select|slot|"
    "small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|template|"
    "textarea|tfoot|th|thead|time|title|tr|track|tt|u|ul|var|video|wbr"
)


def strip_thinking(text: str) -> str:
    """The answer alone, without reasoning and without control tokens at its edges; a text that has
    none of them is returned as it is. Reasoning that was never closed leaves nothing."""
    answer = _after_channels(text.strip())
    answer, thought = _after_blocks(strip_control_tokens(answer))
    answer = _without_later_blocks(answer)
    if thought:
        answer = _unwrapped(answer)
    answer = strip_control_tokens(answer)
    return text if answer == text.strip() else answer


def strip_control_tokens(text: str) -> str:
    """Without the control tokens and role headers at either edge, and the space beside them."""
    html = _strikes(text)
    at, end = 0, len(text)
    while (token := _HEADER[html].match(text, at)) and not _thinks(token[0].lower()):
        at = _space(text, token.end())
    tail = [t.span() for t in _CONTROL[html].finditer(text, at)]
    while tail and not text[tail[-1][1] : end].strip():
        end = tail.pop()[0]
    return text[at:end].strip()


def control_token(text: str) -> str:
    """The first control token that stands in an answer, or "": what follows it was written past the
    answer's end."""
    token = _CONTROL[_strikes(text)].search(text)
    return token[0] if token else ""


def unasked_tag(text: str, prompt: str) -> str:
    """The tag of a block that opens an answer and closes before its text, where neither HTML nor
    the prompt knows the tag, or "": nobody can say whether that block is a part of the answer."""
    tag = _TAG.match(text.lstrip())
    if not tag:
        return ""
    closes, style, name = _read(tag)
    if closes or style != "xml" or _HTML.fullmatch(name) or name in prompt.lower():
        return ""
    end = _end_of_block(text.lstrip(), tag)
    return tag[0] if end is not None and text.lstrip()[end:].strip() else ""


def without_thinking(reply: Reply, aside: str = "") -> Reply:
    """The reply with the answer alone. Where nobody counted the reasoning tokens, they are the
    share of the completion that the thinking (in the text and `aside`) has by length."""
    text, usage = strip_thinking(reply.text), reply.usage
    thinking = len(reply.text) + len(aside) - len(text)
    if not usage.reasoning and thinking > 0:
        share = thinking / (thinking + len(text))
        usage = replace(usage, reasoning=round(usage.completion * share))
    return Reply(text, reply.finish_reason, usage)


# ---- tags --------------------------------------------------------------------------------------


def _read(tag: re.Match[str]) -> tuple[bool, str, str]:
    """Whether it closes, its style, its name without what says that it begins or ends."""
    style = str(tag.lastgroup)
    name = tag[style].lower()
    slash = "/" in tag[0][:3]
    edge = _BEGIN_OR_END.match(name) if style in ("bar", "word") else None
    return (slash or bool(edge and edge[2]), style, name[edge.end() :] if edge else name)


def _thinks(name: str) -> bool:
    return bool(_THINKING.search(name))


def _end_of_block(text: str, opener: re.Match[str]) -> int | None:
    """Where the block ends that this tag opens: at the tag that balances it; in a text that never
    does, at the last that could; None where nothing closes it."""
    _, style, name = _read(opener)
    depth, last, similar = 1, None, None
    for tag in _TAG.finditer(text, opener.end()):
        closes, its_style, its_name = _read(tag)
        if its_style != style:
            continue
        if its_name == name:
            depth += -1 if closes else 1
            if depth == 0:
                return tag.end()
            last = tag.end() if closes else last
        elif closes and _thinks(its_name):
            similar = tag.end()
    return last or (similar if _thinks(name) else None)


# ---- the steps, in their order -----------------------------------------------------------------


def _after_channels(text: str) -> str:
    """What stands in the final channel, where the text is written in channels."""
    if text.startswith("<|channel>"):  # <|channel>thought ... <channel|>
        return text.partition("<channel|>")[2]
    if text.startswith("analysis") and "assistantfinal" in text:  # the tokens were left out
        return text.partition("assistantfinal")[2]
    if text.startswith(("<|channel|>", "<|start|>")) or "<|start|>assistant<|channel|>" in text:
        final = text.rfind("<|channel|>final")
        return text[final:].partition("<|message|>")[2] if final >= 0 else ""
    return text


def _after_blocks(text: str) -> tuple[str, bool]:
    """The text behind the blocks of reasoning that open it, and whether there are any."""
    at, thought = 0, False
    while (tag := _TAG.match(text, at)) and _thinks(_read(tag)[2]) and not _read(tag)[0]:
        end = _end_of_block(text, tag)
        if end is None:
            return "", True
        at, thought = _space(text, end), True
    if not thought and (end := _end_of_unopened(text)):
        return text[_space(text, end) :], True
    return text[at:], thought


def _end_of_unopened(text: str) -> int:
    """Where a block ends whose beginning stands in the prompt, as some templates have it; or 0. Its
    end stands on a line of its own or close to the text before: one in a sentence is named there.
    """
    for tag in _TAG.finditer(text):
        closes, _, name = _read(tag)
        if _thinks(name):
            before = text[: tag.start()].rstrip(" \t") if closes else ""
            own_line = before.endswith("\n") or not before
            close = before and tag.start() == len(before) and before[-1] not in _QUOTES
            return tag.end() if closes and (own_line or close) else 0
    return 0


def _without_later_blocks(text: str) -> str:
    """Some models think again in mid-answer. Only a block that stands apart from the prose is taken
    for that, none that a sentence, a quotation or a block of code names."""
    tags = [t for t in _TAG.finditer(text) if re.search("think(?:ing)?$", _read(t)[2])]
    ends: dict[int, int] = {}  # of the blocks, by their beginnings
    begun: list[int] = []
    for tag in tags:
        if not _read(tag)[0]:
            begun.append(tag.start())
        elif begun:
            ends[begun.pop()] = tag.end()
    kept: list[str] = []
    at = fences = seen = 0
    for tag in tags:
        if tag.start() < at or _read(tag)[0]:
            continue
        fences, seen = fences + text.count("```", seen, tag.start()), tag.start()
        if fences % 2 or not _goes_on(text, tag.end()):
            continue
        before, end = text[tag.start() - 1 : tag.start()], ends.get(tag.start())
        if end is None and (before == "\n" or not (before.isspace() or before in _QUOTES)):
            return "".join([*kept, text[at : tag.start()]]).rstrip()
        if end is not None and (before in ("", "\n") or _goes_on(text, end)):
            kept.append(text[at : tag.start()])
            at = end
    return "".join([*kept, text[at:]])


def _goes_on(text: str, at: int) -> bool:
    """Whether a word or a new line follows at once: a tag in a sentence has a space behind it, or
    a mark of punctuation."""
    return text[at : at + 1] == "\n" or text[at : at + 1].isalnum()


def _unwrapped(text: str) -> str:
    """The answer, where it stands in a tag of its own behind the reasoning."""
    tag = _TAG.match(text)
    if not tag or _read(tag)[0] or _read(tag)[2] not in _ANSWER:
        return text
    end = _end_of_block(text, tag)
    if end is None:
        return text[tag.end() :].strip()
    return text[tag.end() : text.rfind(tag[0][:1], 0, end)].strip() if end == len(text) else text


def _strikes(text: str) -> bool:
    """Whether <s> and </s> are HTML here, a line through words: in pairs, and not around all."""
    pairs = text.count("<s>")
    around = pairs == 1 and text.startswith("<s>") and text.rstrip().endswith("</s>")
    return pairs > 0 and pairs == text.count("</s>") and not around


def _space(text: str, at: int) -> int:
    """Where the text goes on behind white space."""
    while at < len(text) and text[at].isspace():
        at += 1
    return at
