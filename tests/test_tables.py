"""Files that users bring, row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.base.errors import UsageError
from autoif.base.inputs import language, read_rows, read_texts

COLUMNS = ("text", "prompt")


def texts(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return [row["text"] for row in read_texts(str(path), COLUMNS)]


def test_other_columns_come_along(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text('{"prompt": "a  b ", "licence": "MIT"}\n\n{"text": "c"}\n')
    assert read_texts(str(tmp_path / "f.jsonl"), COLUMNS) == [
        {"prompt": "a  b ", "licence": "MIT", "text": "a b"},
        {"text": "c"},
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.txt", b"one\ntwo\n"),
        ("f.txt", b"\xef\xbb\xbfone\r\n\r\n  two  "),
        ("f.md", b"one\ntwo"),
        ("f.jsonl", b'{"text": "one"}\n{"prompt": "two"}'),
        ("f.json", b'[{"text": "one"}, {"text": "two"}]'),
        ("f.json", b'[\n{"text": "one"},\n{"text": "two"}\n]\n'),
        ("f.csv", b'text,n\none,1\n"two",2\n'),
        ("f.tsv", b"n\tprompt\n1\tone\n2\ttwo\n"),
    ],
)
def test_formats(name: str, content: bytes, tmp_path: Path) -> None:
    assert texts(tmp_path / name, content) == ["one", "two"]


def test_a_row_without_a_text_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"query": null}\n{"query": "How do tides work?"}\n')
    assert [row["text"] for row in read_texts(str(path), ("query",))] == ["How do tides work?"]


def test_a_quoted_line_break_stays(tmp_path: Path) -> None:
    assert texts(tmp_path / "f.csv", b'text\n"one\n  two"\n') == ["one\n  two"]


def test_a_lone_surrogate_is_no_text(tmp_path: Path) -> None:
    assert texts(tmp_path / "f.jsonl", b'{"text": "a \\ud800"}') == ["a ?"]


@pytest.mark.parametrize(
    ("row", "text", "lang"),
    [
        ({"lang": "zh"}, "x", "zh"), ({}, "x", "en"), ({}, "你好", "zh"),
        ({"lang": None}, "x", "en"), ({"lang": ["en"]}, "x", "en"), ({"lang": ""}, "你", "zh"),
    ],
)  # fmt: skip
def test_languages(row: dict[str, Any], text: str, lang: str) -> None:
    assert language(row, text) == lang


@given(st.binary(max_size=200), st.sampled_from(["f.txt", "f.jsonl", "f.json", "f.csv", "f.tsv"]))
def test_any_bytes_are_rows_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(content)
    refused = name
    try:
        for row in read_texts(str(path), COLUMNS):
            json.dumps(row).encode()
            assert row["text"].encode()
    except UsageError as error:
        refused = str(error)
    assert name in refused


def test_rows_come_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text('{"text": "a"}\nbroken\n')
    found = read_rows(str(tmp_path / "f.jsonl"))
    assert next(found) == (f"{tmp_path}/f.jsonl:1", {"text": "a"})
    with pytest.raises(UsageError, match=r"f\.jsonl:2: "):
        next(found)
