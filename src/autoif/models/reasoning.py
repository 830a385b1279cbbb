"""What a model writes beside its answer: reasoning, and the control tokens of its chat template.

Reasoning is told by its structure. A block that opens the answer, in any of the pairs of tags that
models use, and whose name says that somebody thinks; channels; a block that the template opened. An
answer that names such a tag in its prose keeps its words. Every function takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from autoif.base.records import Reply

_NAME = r"[^\W\d][\w:.-]{0,40}"
# <think a="b">, [THINK], ◁think▷, <|begin_of_thought|>, |startthink|, and what closes each.
_TAG = re.compile(
    rf"[<＜][/／]?(?P<xml>{_NAME})(?:\s(?P<attributes>[^<>]{{0,200}}))?[>＞]"
    r"|\[/?(?P<square>[A-Z_]{3,40})\]"
    rf"|◁/?(?P<kimi>{_NAME})▷"
    rf"|</?\|/?(?P<bar>{_NAME})\|>"
    r"|\|(?P<word>(?:start|begin|end)\w{1,40})\|"
)
# The last word of a name says what the thing is: <thinking-cap> is a cap.
_THINKING = re.compile(
    r"(?:.*[\W_])?(?:inner|internal|hidden|deep|my|self)?"
    r"(?:think(?:ing)?|thoughts?|reason(?:s|ing)?|reflect(?:ions?|ing)?|analy(?:[sz]e|s[ei]s|[sz]ing)|"
    r"scratch[\W_]?pad|ponder(?:ing)?|deliberat(?:e|ions?|ing)|monolog(?:ue)?|rationale|"
    r"ruminat(?:e|ions?|ing)|introspect(?:ion)?|brainstorm(?:ing)?|思考|推理|思维|分析|反思)"
    r"(?:[\W_]?(?:process|steps?|block|trace))?"
)
_KIND = re.compile(r"\btype=[\"']?([\w-]+)")  # <details type="reasoning">
_BEGIN_OR_END = re.compile(r"(?:(start|begin)|(end))(?:_of)?_?")
_ANSWER = ("answer", "final_answer", "final", "response", "output", "solution", "result")
_QUOTES = "\"'`“”‘’«»(「『"
_SENTENCE_ENDS = ".!?:;…)。！？：；）"
_FENCE = re.compile(r"^[ \t]*(`{3,}+|~{3,}+)([^`\n]*)$", re.MULTILINE)
_TABLE = re.compile(r"^[ \t]*\|[^\n]*\n[ \t]*\|[ :]*-", re.MULTILINE)  # its head
_CALL = re.compile(r"^<(tool_calls?|function_calls?|tool_use)>", re.MULTILINE)
_TURNS = re.compile(r"\n\n(User|Human): ?[^\n]+\n\n(?:Assistant|AI|Model): ")
_NUMBERED = re.compile(r"\s*(\d{1,3})[.)]\s")
# Channels whose tokens were left out: "analysisWe need to".
_BARE_CHANNEL = re.compile(r"(?:assistant)?analysis(?P<thought>[A-Z][a-z]* [a-z])?")
_UNUSED = re.compile(r"<unused\d+>")  # around "thought", of models whose tokens got no names

_TOKEN = (
    r"<\|[^\s|<>]{1,40}\|?>|<[^\s|<>]{1,40}\|>|<｜[^\s<>]{1,40}｜>|\[/?INST\]|<</?SYS>>|"
    r"<(?:bos|eos|pad|unk|(?:start|end)_of_(?:turn|utterance)|end_of_text|endoftext)>|"
    r"\[\|[^\s|\[\]]{1,40}\|\]"
)
_ROLE = r"(?:assistant|model)"
_CONTROL = {True: re.compile(_TOKEN), False: re.compile(rf"{_TOKEN}|</?s>")}
_LAST = {  # at the very end only: in mid-answer these may be something else
    html: re.compile(rf"{token.pattern}|<(?:EOD|EOS|extra_id_\d+|unused\d+)>")
    for html, token in _CONTROL.items()
}
_HEADER = {
    html: re.compile(
        # What a sentence names goes on with a word: "<|im_start|> is the token".
        rf"(?:{token.pattern})(?![ \t]+[^\W\d_A-Z]|[,;:.)'’])"
        rf"(?:{_ROLE}(?=[ \t]*\n|{token.pattern}))?"
        r"|assistant\n\n(?![^\n]*\bassistant)"  # no title
    )
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
    """`answer_alone`, with "" where reasoning was never closed."""
    return answer_alone(text) or ""


def answer_alone(text: str) -> str | None:
    """The answer without reasoning and without control tokens at its edges; a text that has none of
    them is returned as it is. None where the reasoning was never closed: there is no answer yet."""
    behind, thought = _after_channels(text.strip()), False
    if behind is not None:
        behind, thought = _after_blocks(strip_control_tokens(behind))
    if behind is None:
        return None
    answer = _without_later_blocks(behind)
    if thought:
        answer = _unwrapped(answer)
    answer = strip_control_tokens(answer)
    return text if answer == text.strip() else answer


def opened_by(prompt: str) -> str:
    """The tag of reasoning with which a prompt ends, or "". Templates put it there, and what the
    model says goes on behind it."""
    end = prompt.rstrip()
    for tag in _TAG.finditer(end, max(0, len(end) - 300)):
        if tag.end() == len(end) and _thinks(tag) and not _read(tag)[0]:
            return tag[0]
    return ""


def strip_control_tokens(text: str) -> str:
    """Without the control tokens and role headers at either edge, and the space beside them."""
    html = _strikes(text)
    at, end = 0, len(text)
    while token := _HEADER[html].match(text, at):
        if (tag := _TAG.match(text, at)) and _thinks(tag):
            break
        at = _space(text, token.end())
    tail = [t.span() for t in _LAST[html].finditer(text, at)]
    while tail and not text[tail[-1][1] : end].strip():
        end = tail.pop()[0]
    before = text[at:end].rstrip()
    spaced = before and end > at + len(before) and text[end - 1] in " \t"
    if before.endswith(":") or (spaced and before[-1] not in _SENTENCE_ENDS):
        return text[at:].strip()  # "The token is <|endoftext|>"
    return before.strip()


def control_token(text: str) -> str:
    """The first control token that stands in an answer, or "": what follows it was written past the
    answer's end."""
    token = _CONTROL[_strikes(text)].search(text)
    return token[0] if token else ""


def unasked_tag(text: str, prompt: str) -> str:
    """The markup in an answer that nobody can tell from the answer, or "", where the prompt does
    not know it: the tag of a block that opens it and is no HTML, a tag of reasoning whose other
    half is missing, a tool call at the end, a turn of the user's."""
    text, prompt = text.strip(), prompt.lower()
    tag = _TAG.match(text)
    if tag and _read(tag)[1] == "xml" and not _read(tag)[0]:
        name = _read(tag)[2]
        end = None if _HTML.fullmatch(name) or name in prompt else _end_of_block(text, tag)
        if end is not None and text[end:].strip():
            return tag[0]
    begun: list[re.Match[str]] = []
    for tag in _tags(text):
        closes, style, name = _read(tag)
        if style != "square" and _thinks(tag) and name not in prompt and not _named(text, tag):
            if closes and not begun:
                return tag[0]
            if closes:
                begun.pop()
            else:
                begun.append(tag)
    alone = (tag[0] for tag in begun if text[tag.start() - 1] == "\n")
    if stray := next(alone, ""):
        return stray
    call = _CALL.search(text)
    if call and call[1] not in prompt and text.endswith(f"</{call[1]}>"):
        return call[0]
    turn = _TURNS.search(text)
    if turn and "assistant" not in prompt and text[turn.start() - 1] != ":":
        return f"{turn[1]}:"
    return ""


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


_STYLES = ("xml", "square", "kimi", "bar", "word")


def _read(tag: re.Match[str]) -> tuple[bool, str, str]:
    """Whether it closes, its style, its name without what says that it begins or ends."""
    style = next(style for style in _STYLES if tag[style] is not None)
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", tag[style]).lower()
    slash = "/" in tag[0][:3] or "／" in tag[0][:3]
    edge = _BEGIN_OR_END.match(name) if style in ("bar", "word") else None
    return (slash or bool(edge and edge[2]), style, name[edge.end() :] if edge else name)


def _thinks(tag: re.Match[str]) -> bool:
    kind = _KIND.search(tag["attributes"] or "")
    return any(map(_THINKING.fullmatch, (_read(tag)[2], kind[1].lower() if kind else "")))


def _tags(text: str) -> Iterator[re.Match[str]]:
    """The tags in their order, without those that a block of code or the head of a table shows."""
    shown = [match.span() for match in _TABLE.finditer(text)]
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif not fence[2].strip() and fence[1].startswith(opening[1]):
            shown.append((opening.start(), fence.end()))
            opening = None
    shown = sorted(shown, reverse=True)
    for tag in _TAG.finditer(text):
        while shown and shown[-1][1] <= tag.start():
            shown.pop()
        if not shown or tag.start() < shown[-1][0]:
            yield tag


def _named(text: str, tag: re.Match[str]) -> bool:
    """Whether a sentence names the tag: it is quoted, or stands apart from the words before and the
    sentence goes on behind it."""
    before = text[max(0, tag.start() - 9) : tag.start()]
    if not before or not before[-1].isspace():
        return before[-1:] in _QUOTES and before != ""
    after = text[tag.end() : tag.end() + 9]
    gap = after[: len(after) - len(after.lstrip())]
    goes_on = after.lstrip()[:1].isalpha() and not after.lstrip()[:1].isupper()
    in_sentence = before.strip() != "" and before.rstrip()[-1] not in _SENTENCE_ENDS
    if not after:
        return in_sentence
    if "\n" in gap:  # "The tag is\n</think>\nand so on"
        return in_sentence and goes_on and gap.count("\n") == 1
    return after[0] in ",;:.!?)" or after[0] in _QUOTES or (gap != "" and goes_on)


def _end_of_block(text: str, opener: re.Match[str]) -> int | None:
    """Where the block ends that this tag opens: at the tag that balances it; in a text that never
    does, at the last that could; where sentences alone name one, at the first of those; None where
    nothing closes it."""
    _, style, name = _read(opener)
    thinks = _thinks(opener)
    depth, last, named, similar = 1, None, None, None
    for tag in _TAG.finditer(text, opener.end()):
        closes, its_style, its_name = _read(tag)
        if its_style != style:
            continue
        if its_name == name:
            if _named(text, tag):
                named = named or (tag.end() if closes else None)
                continue
            depth += -1 if closes else 1
            if depth == 0:
                return tag.end()
            last = tag.end() if closes else last
        elif thinks and closes and _thinks(tag):
            similar = tag.end()
    return last or named or similar


# ---- the steps, in their order -----------------------------------------------------------------


def _after_channels(text: str) -> str | None:
    """What stands in the final channel, where the text is written in channels. None: it has none
    yet."""
    if text.startswith("<|channel>"):  # <|channel>thought ... <channel|>
        _, end, answer = text.partition("<channel|>")
        return answer if end else None
    if (unused := _UNUSED.match(text)) and text.startswith("thought", unused.end()):
        closing = _UNUSED.search(text, unused.end())
        return text[closing.end() :] if closing else None
    if (bare := _BARE_CHANNEL.match(text)) and "assistantfinal" in text:
        return text.partition("assistantfinal")[2]
    if bare and bare["thought"]:
        return None
    if text.startswith(("<|channel|>", "<|start|>")) or "<|start|>assistant<|channel|>" in text:
        final = text.rfind("<|channel|>final")
        _, begun, answer = text[max(0, final) :].partition("<|message|>")
        return answer if final >= 0 and begun else None
    return text


def _after_blocks(text: str) -> tuple[str | None, bool]:
    """The text behind the blocks of reasoning that open it, and whether there are any. None: one
    was never closed."""
    at, thought = _end_of_fence(text), False
    while (tag := _TAG.match(text, at)) and _thinks(tag) and (thought or not _read(tag)[0]):
        closes, style, name = _read(tag)
        end = tag.end() if closes else _end_of_block(text, tag)  # one that closes twice
        if end is None and ((style == "square" and name != "think") or _TABLE.match(text, at)):
            break  # a heading
        if end is None:
            return None, True
        at, thought = _space(text, end), True
    if not at and (end := _end_of_unopened(text)):
        return text[_space(text, end) :], True
    return text[at:], at > 0


def _end_of_fence(text: str) -> int:
    """Where the text goes on behind a block of code that is named after reasoning, or 0."""
    fence = _FENCE.match(text)
    if not fence or not _THINKING.fullmatch(fence[2].strip().lower()):
        return 0
    for end in _FENCE.finditer(text, fence.end()):
        if end[1] == fence[1] and not end[2].strip():
            at = _space(text, end.end())
            return at if at < len(text) else 0
    return 0


def _end_of_unopened(text: str) -> int:
    """Where a block ends whose beginning stands in the prompt, as some templates have it; or 0.
    Where nothing stands behind it, nobody can say whether the answer stands before."""
    for tag in _tags(text):
        if _thinks(tag):
            if not _read(tag)[0]:
                return 0
            if not _named(text, tag):
                return tag.end() if text[tag.end() :].strip() else 0
    return 0


def _without_later_blocks(text: str) -> str:
    """Some models think again in mid-answer, or at its end. Only a block that stands apart from the
    prose is taken for that, none that a sentence, a quotation or a block of code names."""
    tags = [tag for tag in _tags(text) if _thinks(tag)]
    ends: dict[int, int] = {}  # of the blocks, by their beginnings
    begun: list[int] = []
    for tag in tags:
        if not _read(tag)[0]:
            begun.append(tag.start())
        elif begun:
            ends[begun.pop()] = tag.end()
    kept: list[str] = []
    at = 0
    for tag in tags:
        again = re.search("think(?:ing)?$", _read(tag)[2])
        if tag.start() < at or _read(tag)[0] or not _goes_on(text, tag.end()):
            continue
        before, end = text[tag.start() - 1 : tag.start()], ends.get(tag.start())
        if end is None and again and not (before.isspace() or before in _QUOTES):
            return "".join([*kept, text[at : tag.start()]]).rstrip()
        if end is None or not (again or end == len(text)) or _in_list(text, tag.end()):
            continue
        if before in ("", "\n") or text[end : end + 1].isalnum():
            kept.append(text[at : tag.start()])
            at = end
    return "".join([*kept, text[at:]])


def _in_list(text: str, at: int) -> bool:
    """Whether the text goes on there with an item that is not a list's first."""
    item = _NUMBERED.match(text, at)
    return bool(item and int(item[1]) > 1)


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
