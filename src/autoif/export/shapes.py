"""Rows in shapes that several trainers take: each is what a `DataFile` has as its `rows`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from autoif.export.selection import Example, Message, Row


def reply(text: str) -> Message:
    return {"role": "assistant", "content": text}


def conversation(example: Example, n: int) -> Iterator[Row]:
    yield {"messages": example.messages}


def pair(example: Example, n: int) -> Iterator[Row]:
    """Both sides as lists of messages."""
    yield {
        "prompt": example.prompt,
        "chosen": [reply(example.answer)],
        "rejected": [reply(example.rejected)],
    }


def pair_of_messages(example: Example, n: int) -> Iterator[Row]:
    """Both sides as single messages, beside those of the prompt."""
    yield {
        "messages": example.prompt,
        "chosen": reply(example.answer),
        "rejected": reply(example.rejected),
    }


def labelled(column: str) -> Callable[[Example, int], Iterator[Row]]:
    """Of a pair two conversations, with a column that says which of them is wanted."""

    def rows(example: Example, n: int) -> Iterator[Row]:
        for text, wanted in ((example.answer, True), (example.rejected, False)):
            yield {"messages": [*example.prompt, reply(text)], column: wanted}

    return rows
