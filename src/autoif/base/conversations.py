"""What a row says: the texts that a user wrote, in whatever shape a data set keeps conversations.

A column may hold a text, content parts, messages (OpenAI's, ShareGPT's and their like), pairs of
turns, lists of these, or a table of roles and contents. Messages may be a JSON string where a
column is meant for them; any other string is the text it is, also one of JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import UsageError

CHAT_COLUMNS = (
    "messages", "conversations", "conversation", "turns", "dialog", "dialogue", "chat",
)  # fmt: skip
_MESSAGES = (*CHAT_COLUMNS, "prompt")  # may hold a conversation as a JSON string
_ROLES = ("role", "from", "speaker", "author", "sender")
_CONTENTS = ("content", "value", "text", "message", "parts")
_USERS = {"user", "human", "prompter", "questioner", "customer", "usr"}
# A role that is neither of these is the user's where nobody is called a user.
_OTHERS = {
    "system", "developer", "tool", "function", "context", "observation", "environment", "ipython",
    "assistant", "gpt", "bot", "chatbot", "chatgpt", "model", "ai", "agent", "answer", "response",
}  # fmt: skip


def user_text(row: Mapping[str, Any], columns: Sequence[str], where: object) -> str:
    """The first text of the first of `columns`, or of a chat column, that holds one; else "".
    Raises UsageError naming `where` for several texts in a column that are no conversation."""
    for name in (*columns, *CHAT_COLUMNS):
        texts = user_texts(row.get(name), name)
        if len(texts) > 1 and name not in CHAT_COLUMNS and not _has_roles(row[name]):
            raise UsageError(
                f"{where}: {len(texts)} texts in the column {name!r}, which are no conversation; "
                "give each a row of its own"
            )
        if texts:
            return texts[0]
    return ""


def user_texts(value: Any, column: str) -> list[str]:
    """The texts of a column that are not blank; of a conversation those of the user's turns."""
    turns = list(_turns(opened(value) if column in _MESSAGES else value))
    mine = [text for role, text in turns if role in _USERS]
    if not any(role in _USERS for role, _ in turns):
        mine = [text for role, text in turns if role not in _OTHERS]
    return [text for text in mine if text.strip()]


def _has_roles(value: Any) -> bool:
    return any(role for role, _ in _turns(opened(value)))


def all_texts(value: Any) -> Iterator[str]:
    """Every text within a value, whoever wrote it."""
    if isinstance(value, str):
        inner = _parsed(value)
        if inner is None:
            yield value
        else:
            yield from all_texts(inner)
    elif isinstance(value, (Mapping, list)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from all_texts(item)


def _turns(value: Any) -> Iterator[tuple[str, str]]:
    """Role, "" where there is none, and text."""
    if isinstance(value, str):
        yield "", value
    elif isinstance(value, list):
        if value and all(isinstance(v, Mapping) and "type" in v and not _role(v) for v in value):
            yield "", _content(value)
        elif (
            value
            and all(isinstance(v, list) and len(v) == 2 for v in value)
            and all(isinstance(v[0], str) and _name(v[0]) in _USERS | _OTHERS for v in value)
        ):  # [["user", text], ...]
            for role, content in value:
                yield _name(role), _content(content)
        else:
            for item in value:
                yield from _turns(item)
    elif isinstance(value, Mapping):
        yield from _message(value)


def _message(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    roles = next((value[name] for name in _ROLES if value.get(name)), None)
    contents = next((value[name] for name in _CONTENTS if value.get(name)), None)
    if isinstance(roles, list) and isinstance(contents, list):  # a table, as Parquet keeps it
        for role, content in zip(roles, contents, strict=False):
            yield _name(role), _content(content)
    elif roles or contents:
        yield _role(value), _content(value)
    else:
        for name, inner in value.items():
            if name in CHAT_COLUMNS:
                yield from _turns(opened(inner))
            elif _name(name) in _USERS | _OTHERS:  # {"user": ..., "assistant": ...}
                yield _name(name), _content(inner)


def _role(message: Mapping[str, Any]) -> str:
    role = next((message[name] for name in _ROLES if message.get(name)), "")
    return _name(role.get("role") if isinstance(role, Mapping) else role)


def _name(role: Any) -> str:
    return str(role).strip("<|>: \n").casefold()


def _content(value: Any) -> str:
    """Parts that are texts are joined; images and the like say nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(_content, value)))
    if isinstance(value, Mapping):
        texts = (_content(value.get(name)) for name in _CONTENTS)
        return next((text for text in texts if text.strip()), "")
    return ""


def opened(value: Any) -> Any:
    """The messages that a JSON string holds, or several in a list; else the value itself."""
    if isinstance(value, list):
        return [opened(v) if isinstance(v, str) else v for v in value]
    inner = _parsed(value) if isinstance(value, str) else None
    return value if inner is None else inner


def _parsed(text: str) -> Any:
    """The messages that stand in a JSON string, or None."""
    if not text.lstrip().startswith(("[{", "{", "[\n", "[ ", "[[")):
        return None
    try:
        value = jsonl.loads(text.encode("utf-8", "replace"))
    except ValueError:
        return None
    return value if _is_conversation(value) else None


def _is_conversation(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_conversation, value))
    if not isinstance(value, Mapping):
        return False
    if "messages" in value:
        return _is_conversation(value["messages"])
    return _role(value) in _USERS | _OTHERS and any(name in value for name in _CONTENTS)
