"""TRL: a dataset directory that `load_dataset(DIR, name)` reads, with the types of its columns.

Without types `datasets` guesses them from the first rows, and two exports might not be joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autoif.export.layout import DataFile, Format, WrittenFile
from autoif.export.selection import Example, Row
from autoif.export.shapes import pair, reply

_MESSAGES = "list: [{name: role, dtype: string}, {name: content, dtype: string}]"
_VERIFIERS = (
    "list: [{name: instruction, dtype: string}, {name: checks, list: string}, "
    "{name: min_fraction, dtype: float64}]"
)
_TYPES = {
    **dict.fromkeys(("messages", "prompt", "completion", "chosen", "rejected"), _MESSAGES),
    "verifiers": _VERIFIERS,
    "label": "dtype: bool",
    "level": "dtype: int64",
    "pass_rate": "dtype: float64",
    **dict.fromkeys(("id", "source", "lang"), "dtype: string"),
}


def _sft(example: Example, n: int) -> Iterator[Row]:
    yield {**_head(example), "messages": example.messages}


def _dpo(example: Example, n: int) -> Iterator[Row]:
    for row in pair(example, n):
        yield {**_head(example), **row, "verifiers": example.verifiers}


def _kto(example: Example, n: int) -> Iterator[Row]:
    for text, label in ((example.answer, True), (example.rejected, False)):
        yield {
            **_head(example),
            "prompt": example.prompt,
            "completion": [reply(text)],
            "label": label,
        }


def _rlvr(example: Example, n: int) -> Iterator[Row]:
    yield {
        **_head(example),
        "prompt": example.prompt,
        "verifiers": example.verifiers,
        "pass_rate": example.pass_rate,
    }


def _head(example: Example) -> Row:
    return {**example.about, "lang": example.lang}


_HEAD = ("id", "level", "source", "lang")
_COLUMNS = {
    "sft": (*_HEAD, "messages"),
    "dpo": (*_HEAD, "prompt", "chosen", "rejected", "verifiers"),
    "kto": (*_HEAD, "prompt", "completion", "label"),
    "rlvr": (*_HEAD, "prompt", "verifiers", "pass_rate"),
}


def _card(written: Sequence[WrittenFile]) -> dict[str, str]:
    """The card's YAML: the files of each data set, and the types of its columns."""
    lines = ["configs:"]
    names = list(dict.fromkeys(one.file.name for one in written))
    for name in names:
        lines += [f"- config_name: {name}", "  data_files:"]
        for one in written:
            if one.file.name == name:
                lines += [f"  - split: {one.split}", f"    path: {one.path}"]
    lines.append("dataset_info:")
    for name in names:
        lines += [f"- config_name: {name}", "  features:"]
        for column in _COLUMNS[name]:
            lines += [f"  - name: {column}", f"    {_TYPES[column]}"]
    return {"card": "\n".join(lines)}


FORMAT = Format(
    "trl",
    "TRL 1.16.0",
    (
        DataFile("sft", "sft", "sft{split}.jsonl", _sft, "`messages`"),
        DataFile("dpo", "dpo", "dpo{split}.jsonl", _dpo, "`prompt`, `chosen`, `rejected`"),
        DataFile("kto", "dpo", "kto{split}.jsonl", _kto, "`prompt`, `completion`, `label`"),
        DataFile("rlvr", "rlvr", "rlvr{split}.jsonl", _rlvr, "`prompt`, `verifiers`"),
    ),
    fill=_card,
)
