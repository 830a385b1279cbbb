"""What of a completion is judged: one reader for rewards, the reward server and `verify --rows`.

    text_of       a text, a message or messages     -> the text that the assistant said last
    answer        the same                          -> without reasoning and tokens of templates
    after_prompt  a prompt and what was said to it  -> what was said
    asked_of      a prompt, a text or messages      -> what the user asked

None: there is nothing to judge; no text, as in a call of a tool, or reasoning that was never
closed. "": something was said, and nothing of it can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.language import is_blank, strip_blank
from autoif.models.reasoning import (
    answer_alone,
    control_token,
    opened_by,
    strip_control_tokens,
)

COMPLETION = (
    'a completion is a text, a message {"role": "assistant", "content": text or parts}, or a list '
    "of messages"
)
_HEAD = 32  # characters, white space left out, by which a text is laid beside its prompt


def text_of(completion: Any, where: object = "completion") -> str | None:
    """The text of a completion in either of TRL's formats, a text or messages.

    Of one message its content; of several the last of the assistant's; of content in parts those
    that are text, without what the model thought. None where there is no text, as in a call of a
    tool. Raises UsageError for anything else.
    """
    if completion is None or isinstance(completion, str):
        return completion
    messages = [completion] if isinstance(completion, Mapping) else completion
    if not isinstance(messages, (list, tuple)) or not all(map(_is_message, messages)):
        raise UsageError(f"{where}: {_kind(completion)} is no completion; {COMPLETION}")
    answers = [m for m in messages if m.get("role", "assistant") == "assistant"]
    content = answers[-1].get("content") if answers else None
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise UsageError(f"{where}: {_kind(content)} is no content of a message; {COMPLETION}")
    return "".join(_text_of_part(part, where) for part in content)


def answer(
    completion: Any,
    prompt: Any = None,
    *,
    keep_reasoning: bool = False,
    where: object = "completion",
) -> str | None:
    """What is judged. Raises UsageError as `text_of` does.

    prompt: a text or messages. Where a tag of reasoning ends it, as templates have it, the
    completion begins in mid-thought.
    """
    text = text_of(completion, where)
    if text is None:
        return None
    cut = strip_control_tokens if keep_reasoning else answer_alone
    if not keep_reasoning:
        text = _opened(prompt) + text
    seen = strip_blank(text)
    if seen != text.strip():  # characters that are not seen stand around what might be cut
        alone = cut(seen)
        if alone is None or is_blank(alone):
            return alone and ""
        behind = text[text.index(seen) :]
        if (cut(behind) or "").strip() != behind.strip():
            text = behind
    alone = cut(text)
    return alone if alone is None or not is_blank(alone) else ""


def after_prompt(text: str, prompt: str, where: object = "completion") -> str:
    """What stands behind the prompt in a text that begins with it, as some trainers decode both.

    A tokenizer may have put tokens before the prompt, changed its white space, or cut its beginning
    off. Raises UsageError where the prompt is not there.
    """
    at = text.find(prompt)
    if at >= 0 and not strip_control_tokens(text[:at]):
        return text[at + len(prompt) :]
    token = control_token(text)
    before, _, _ = text.partition(token) if token else (text, "", "")
    for begin in (0,) if before.strip() else (0, len(before) + len(token)):
        squeezed, wanted = _squeezed(text[begin:]), _squeezed(prompt)
        at = wanted.find(squeezed[:_HEAD]) if squeezed else -1
        while at >= 0:
            if squeezed.startswith(wanted[at:]):
                rest = text[begin + _end_of(text[begin:], len(wanted) - at) :]
                return rest.removeprefix(prompt[len(prompt.rstrip()) :])
            at = wanted.find(squeezed[:_HEAD], at + 1)
    raise UsageError(f"{where}: the text does not begin with its prompt")


def asked_of(prompt: Any) -> list[str]:
    """The user's texts in a prompt; of a text, which may be in a chat template, the whole."""
    if isinstance(prompt, str):
        return [prompt]
    messages = prompt if isinstance(prompt, (list, tuple)) else []
    turns = [m.get("content") for m in messages if _is_message(m) and m.get("role") == "user"]
    return [text for text in turns if isinstance(text, str)]


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _end_of(text: str, characters: int) -> int:
    """Where so many characters that are no white space have gone by."""
    return [n for n, c in enumerate(text) if not c.isspace()][characters - 1] + 1


def _opened(prompt: Any) -> str:
    """The tag of reasoning that stands at the end of a prompt."""
    if isinstance(prompt, (list, tuple)) and prompt and _is_message(prompt[-1]):
        prompt = prompt[-1].get("content")
    return opened_by(prompt) if isinstance(prompt, str) else ""


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and ("role" in value or "content" in value)


def _text_of_part(part: Any, where: object) -> str:
    part = {"text": part} if isinstance(part, str) else part
    text = part.get("text") if isinstance(part, Mapping) else part
    if not isinstance(part, Mapping) or not isinstance(text, (str, type(None))):
        raise UsageError(f"{where}: {_kind(text)} is no text of a part; {COMPLETION}")
    answers = (part.get("type") or "text") in ("text", "output_text") and not part.get("thought")
    return (answers and text) or ""


def _kind(value: Any) -> str:
    """What a value is, for an error: "list of str", "int"."""
    name = type(value).__name__
    return f"{name} of {type(value[0]).__name__}" if isinstance(value, (list, tuple)) else name
