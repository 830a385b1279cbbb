"""LLaMA-Factory: `dataset_info.json` and files in its sharegpt format, with OpenAI's role names.

Both sides of a pair are single objects there: a list is no error, and loses the row.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from autoif.export.layout import DataFile, Format, WrittenFile
from autoif.export.selection import Row
from autoif.export.shapes import conversation, labelled, pair_of_messages

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
        DataFile("sft", "sft", "sft{split}.jsonl", conversation, "`messages`"),
        DataFile(
            *("dpo", "dpo", "dpo{split}.jsonl", pair_of_messages),
            "`messages`, `chosen`, `rejected`",
        ),
        DataFile("kto", "dpo", "kto{split}.jsonl", labelled("kto_tag"), "`messages`, `kto_tag`"),
    ),
    generate=_dataset_info,
)
