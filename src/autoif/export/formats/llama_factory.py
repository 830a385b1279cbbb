"""LLaMA-Factory: `dataset_info.json` and files in its sharegpt format, with OpenAI's role names.

Both sides of a pair are single objects there: a list is no error, and loses the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from autoif.export.layout import DataFile, Format, WrittenFile
from autoif.export.selection import Example, Message, Row


def _sft(example: Example, n: int) -> Iterator[Row]:
    yield {"messages": example.messages}


def _dpo(example: Example, n: int) -> Iterator[Row]:
    yield {
        "messages": example.prompt,
        "chosen": _reply(example.answer),
        "rejected": _reply(example.rejected),
    }


def _kto(example: Example, n: int) -> Iterator[Row]:
    for reply, label in ((example.answer, True), (example.rejected, False)):
        yield {"messages": [*example.prompt, _reply(reply)], "kto_tag": label}


def _reply(text: str) -> Message:
    return {"role": "assistant", "content": text}


_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    **{f"{role}_tag": role for role in ("user", "assistant", "system")},
}
_COLUMNS: dict[str, dict[str, str]] = {
    "sft": {},
    "dpo": {"chosen": "chosen", "rejected": "rejected"},
    "kto": {"kto_tag": "kto_tag"},
}


def _dataset_info(written: Sequence[WrittenFile]) -> dict[str, str]:
    info: Row = {}
    for one in written:
        name = one.file.name
        entry: Row = {"file_name": one.path, "formatting": "sharegpt"}
        if name == "dpo":
            entry |= {"ranking": True}
        entry |= {"columns": {"messages": "messages", **_COLUMNS[name]}, "tags": _TAGS}
        info[f"autoif_{name}" + ("" if one.split == "train" else f"_{one.split}")] = entry
    return {"dataset_info.json": orjson.dumps(info, option=orjson.OPT_INDENT_2).decode() + "\n"}


FORMAT = Format(
    "llama-factory",
    "LLaMA-Factory 0.9.5",
    (
        DataFile("sft", "sft", "sft{split}.jsonl", _sft, "`messages`"),
        DataFile("dpo", "dpo", "dpo{split}.jsonl", _dpo, "`messages`, `chosen`, `rejected`"),
        DataFile("kto", "dpo", "kto{split}.jsonl", _kto, "`messages`, `kto_tag`"),
    ),
    generate=_dataset_info,
)
