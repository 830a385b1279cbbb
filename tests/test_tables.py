"""Files that users bring, row by row."""

from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.base.errors import UsageError
from autoif.base.inputs import language, read_rows, read_texts
from autoif.base.records import dump_line

COLUMNS = ("text", "prompt")


def texts(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return [row["text"] for row in read_texts(str(path), COLUMNS)]


def test_other_columns_come_along_and_the_text_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text(
        '{"prompt": "a  b\\t1 ", "licence": "MIT"}\n\n{"text": "c"}\n'
    )
    assert read_texts(str(tmp_path / "f.jsonl"), COLUMNS) == [
        {"prompt": "a  b\t1 ", "licence": "MIT", "text": "a  b\t1"},
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
        ("f.csv", b"text\rone\rtwo"),
        ("f.csv", "n,text\n1,one\n2,two\n".encode("utf-16")),
        ("f.csv", b"\xef\xbb\xbftext\r\none\r\n\r\ntwo\r\n"),
        ("f.tsv.gz", gzip.compress(b"n\ttext\n1\tone\n2\ttwo\n", mtime=0)),
        ("f.jsonl", gzip.compress(b'{"text": "one"}\n{"text": "two"}\n', mtime=0)),
        ("f.jsonl.gz", b'{"text": "one"}\n{"text": "two"}\n'),
        ("f.jsonl", '{"text": "one"}\r\n{"text": "two"}'.encode("utf-16")),
        ("f.jsonl", b'{"text": "one"}\r{"text": "two"}\r'),
        ("f.txt", b'\n{"text": "one"}\n{"text": "two"}'),
        ("f", b'{"text": "one"}\n{"text": "two"}'),
        ("f.md", b'{"text": "one"}\n{"text": "two"}'),
        ("f.json", b'\n\n[\n {"text": "one"},\n {"text": "two"}\n]'),
        ("f.json", b'["one", "two"]'),
        ("f.json", b'{\n "version": 1,\n "data": [{"text": "one"}, {"text": "two"}]\n}'),
        ("f.json", b'{"rows": [{"text": "one"}, {"text": "two"}]}'),
        ("f.json", b'{\n "text": "one"\n}\n{\n "text": "two"\n}\n'),
        ("f.md", b"# My texts\n\n- one\n* [x] two\n---\n"),
        ("f.md", b"1. one\n2) two\n"),
    ],
)
def test_formats(name: str, content: bytes, tmp_path: Path) -> None:
    assert texts(tmp_path / name, content) == ["one", "two"]


def test_a_row_without_a_text_is_there_to_be_counted(tmp_path: Path) -> None:
    content = b'{"text": null}\n{"text": "How do tides work?"}\n{"image": 3}\n'
    assert texts(tmp_path / "q.jsonl", content) == ["", "How do tides work?", ""]


def test_a_quoted_line_break_stays(tmp_path: Path) -> None:
    assert texts(tmp_path / "f.csv", b'text\n"one\n  two"\n') == ["one\n  two"]


def test_a_lone_surrogate_is_no_text(tmp_path: Path) -> None:
    assert texts(tmp_path / "f.jsonl", b'{"text": "a \\ud800"}') == ["a ?"]


@pytest.mark.parametrize(
    ("row", "text", "lang"),
    [
        ({"lang": "zh"}, "x", "zh"), ({}, "x", "en"), ({}, "你好", "zh"),
        ({"lang": None}, "x", "en"), ({"lang": ["en"]}, "x", "en"), ({"lang": ""}, "你", "zh"),
        ({"lang": "EN"}, "x", "en"), ({"lang": "english"}, "x", "en"),
        ({"lang": "en-US"}, "x", "en"), ({"lang": "zh_CN"}, "x", "zh"),
        ({"lang": "Chinese"}, "x", "zh"), ({"lang": "De"}, "x", "de"),
    ],
)  # fmt: skip
def test_languages(row: dict[str, Any], text: str, lang: str) -> None:
    assert language(row, text) == lang


ASKED = "How do tides work?"
OTHER = [{"role": "assistant", "content": "They are pulled."}]


@pytest.mark.parametrize(
    "row",
    [
        {"text": None, "prompt": ASKED},
        {"text": " ", "prompt": ASKED},
        {"prompt": [{"role": "user", "content": ASKED}]},
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "User", "content": ASKED},
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}, *OTHER]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:x"}},
                        {"type": "text", "text": ASKED},
                    ],
                }
            ]
        },
        {"messages": [{"role": "user", "content": ""}, {"role": "user", "content": ASKED}]},
        {"messages": {"role": ["system", "user"], "content": ["Be kind.", ASKED]}},
        {"messages": json.dumps([{"role": "user", "content": ASKED}])},
        {"prompt": json.dumps([{"role": "user", "content": ASKED}])},
        {"messages": [{"role": "customer", "content": ASKED}, *OTHER]},
        {"messages": [{"author": {"role": "user"}, "content": {"parts": [ASKED]}}]},
        {"conversation": [[{"role": "user", "content": ASKED}, *OTHER]]},
        {"conversation": [{"user": ASKED, "assistant": "They are pulled."}]},
        {"conversations": [{"from": "gpt", "value": "Hello"}, {"from": "HUMAN", "value": ASKED}]},
        {"conversations": [{"from": "prompter", "value": ASKED, "content": None}]},
        {"conversations": [{"role": "<|user|>", "text": ASKED}]},
        {"turns": [ASKED, "And why?"]},
        {"dialog": [[ASKED, "They are pulled."]]},
        {"dialog": [["system", "Be kind."], ["user", ASKED], ["assistant", "They are pulled."]]},
    ],
    ids=lambda row: json.dumps(row)[:50],
)
def test_a_text_is_found_in_every_shape(row: dict[str, Any], tmp_path: Path) -> None:
    lines = json.dumps({"text": "plain"}) + "\n" + json.dumps(row)
    assert texts(tmp_path / "f.jsonl", lines.encode()) == ["plain", ASKED]


@pytest.mark.parametrize(
    "text",
    [
        '[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]',
        '{"role": "nurse", "text": "Is this valid JSON?"}',
        '{"messages": [{"role": "user", "content": "x"}]}',
    ],
)
def test_a_text_of_json_stays_the_text_it_is(text: str, tmp_path: Path) -> None:
    assert texts(tmp_path / "f.jsonl", json.dumps({"text": text}).encode()) == [text]


def test_a_column_of_messages_may_hold_a_text_of_json(tmp_path: Path) -> None:
    rows = [{"prompt": '{"role": "nurse", "text": "Tidy."}'}, {"turns": '[{"from": "x", "n": 1}]'}]
    content = "\n".join(map(json.dumps, rows)).encode()
    assert texts(tmp_path / "f.jsonl", content) == [next(iter(row.values())) for row in rows]


SECOND = "Why is the sky blue?"


@pytest.mark.parametrize(
    "value",
    [
        [ASKED, SECOND],
        [ASKED, SECOND, "And why?"],
        ["AI", SECOND],
        ["user", SECOND],
        [[ASKED, SECOND]],
        [{"content": ASKED}, {"content": SECOND}],
    ],
    ids=json.dumps,
)
def test_several_texts_in_a_column_are_never_the_first_alone(value: object, tmp_path: Path) -> None:
    row = json.dumps({"text": value})
    with pytest.raises(UsageError, match=r"f\.jsonl:1: [23] texts in the column 'text'"):
        texts(tmp_path / "f.jsonl", row.encode())


def test_one_text_in_a_list_is_that_text(tmp_path: Path) -> None:
    row = {"text": [ASKED, "", None]}
    assert texts(tmp_path / "f.jsonl", json.dumps(row).encode()) == [ASKED]


ROWS_BESIDE: list[dict[str, object]] = [
    {"data": [{"text": ASKED}], "more": {"data": [{"text": SECOND}]}},
    {"more": {"a": {"b": [SECOND]}}, "data": [{"text": ASKED}]},
    {"data": [{"text": ASKED}], "more": {"text": SECOND}},
    {"data": [{"text": ASKED}], "more": [{"text": SECOND}]},
    {"data": [{"text": ASKED}], "more": [SECOND]},
]


@pytest.mark.parametrize("document", ROWS_BESIDE, ids=json.dumps)
@pytest.mark.parametrize("indent", [None, 1])
def test_rows_beside_the_list_that_is_read_are_not_passed_over(
    document: dict[str, object], indent: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps(document, indent=indent))
    with pytest.raises(UsageError, match=r"f\.json: rows in 2 places"):
        list(read_rows(path))


def test_an_object_beside_the_list_may_say_what_it_is(tmp_path: Path) -> None:
    document = {"info": {"by": {"name": "x"}, "n": 1, "tags": []}, "data": [{"text": ASKED}]}
    assert texts(tmp_path / "f.json", json.dumps(document).encode()) == [ASKED]


def test_marks_of_a_list_are_taken_off_at_the_start_of_a_line_alone(tmp_path: Path) -> None:
    content = (
        b"Explain what happened in 1969. Use simple words.\nLondon - Paris - Rome\n"
        b"- one * two\n2) Add 3 + 4.\n"
    )
    assert texts(tmp_path / "f.md", content) == [
        "Explain what happened in 1969. Use simple words.", "London - Paris - Rome",
        "one * two", "Add 3 + 4.",
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["f.txt", "f.csv", "f.md", "f.jsonl", "f.json"])
def test_another_encoding_is_no_text_full_of_nuls(encoding: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"f\.\w+(:\d+)?: (a NUL character|not )"):
        texts(tmp_path / name, "text\nWhat are tides?\n".encode(encoding))


def test_a_row_of_millions_of_lists_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    row = b'{"text": "a", "x": [' + b"[]," * 2_100_000 + b"[]]}"
    with pytest.raises(UsageError, match=r"more than 2,000,000 lists"):
        texts(tmp_path / "f.jsonl", b'{"text": "b"}\n' + row)
    with pytest.raises(UsageError, match=r"more than 2,000,000 lists"):
        texts(tmp_path / "f.json", b"[" + row + b"]")


def test_a_long_field_of_a_table_has_its_own_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"f\.csv:2: a field of more than 131,072 characters"):
        texts(tmp_path / "f.csv", b"text\n" + b"a" * 140_000 + b"\n")


def test_integers_of_any_length_can_be_read_from_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["a"], "n": pl.Series([2**100], dtype=pl.Int128)})
    frame.write_parquet(tmp_path / "f.parquet")
    (row,) = read_texts(str(tmp_path / "f.parquet"), ("text",))
    assert row == {"text": "a", "n": 2**100}
    assert json.loads(dump_line(row)) == row


def test_parts_of_a_text_are_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "image"}, {"type": "text", "text": "why?"}]
    row = {"messages": [{"role": "user", "content": parts}]}
    assert texts(tmp_path / "f.json", json.dumps(row).encode()) == ["Look:\nwhy?"]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("name", ["f.txt", "f.csv", "f.jsonl"])
def test_only_a_line_end_ends_a_line(mark: str, name: str, tmp_path: Path) -> None:
    wanted = [f"one{mark}two", "three"]
    lines = {
        "f.txt": wanted,
        "f.csv": ["text", *wanted],
        "f.jsonl": [json.dumps({"text": text}, ensure_ascii=mark < " ") for text in wanted],
    }
    assert texts(tmp_path / name, "\n".join(lines[name]).encode()) == wanted


def test_quotation_marks_within_a_field(tmp_path: Path) -> None:
    content = b'n,text\n1,She said "hi" to us.\n2,Say 5" pipe.\n3,"a ""b"", c"\n'
    wanted = ['She said "hi" to us.', 'Say 5" pipe.', 'a "b", c']
    assert texts(tmp_path / "f.csv", content) == wanted


def test_parquet_holds_what_json_does(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "one"}]
    frame = pl.DataFrame(
        {"text": [b"one"], "messages": [messages], "day": [date(2026, 1, 2)], "raw": [b"\xff"]}
    )
    frame.write_parquet(tmp_path / "f.parquet")
    (tmp_path / "f.bin").write_bytes((tmp_path / "f.parquet").read_bytes())
    packed = gzip.compress((tmp_path / "f.parquet").read_bytes())
    (tmp_path / "f.parquet.gz").write_bytes(packed)
    wanted = {"text": "one", "messages": messages, "day": "2026-01-02", "raw": "/w=="}
    for name in ("f.parquet", "f.bin", "f.parquet.gz"):
        assert [row for _, row in read_rows(str(tmp_path / name))] == [wanted]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("f.csv", b"text,n\na,1\nb, c,2\n", r"f\.csv:3: 3 fields, but the header has 2"),
        ("f.csv", b'text,n\n"a\nb",1\nc\n', r"f\.csv:4: 1 fields"),
        ("f.csv", b'text\n"a\nb\nc\n', r"f\.csv:4: its quotation marks"),
        ("f.csv", b"text,text\na,b\n", "two columns are called 'text'"),
        ("f.json", b'[{"text": "a"},\n{"text": "b"}', r"f\.json:2: not JSON"),
        ("f.json", b'[{"text": "a"},\n{"text" "b"}]', r"f\.json:2: not JSON"),
        ("f.json", b'[{"text": "a"}] {"text": "b"}', "something follows the list"),
        ("f.json", b'[{"text": "a"}, 3]', r"f\.json: row 2: a JSON object is wanted, not number"),
        ("f.jsonl", b'{"text": "a"}\n{"text": ' + b"9" * 5000 + b"}", "too many digits"),
        ("f.json", b'[{"text": ' + b"[" * 300 + b"]" * 300 + b"}]", "nested too deeply"),
        ("f.yaml", b"- one\n- two\n", "YAML is not read"),
        ("f.jsonl", b'{"prompt": [1], "n": 2}', r"f\.jsonl:1 has: prompt \(list\), n \(number\)"),
        ("f.jsonl", b'{"messages": [{"role": "assistant", "content": "x"}]}', "no text in"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        texts(tmp_path / name, content)


@pytest.mark.parametrize("name", ["f.jsonl", "f.json", "f.txt", "f.csv"])
def test_what_unpacks_to_more_than_a_row_is_refused(name: str, tmp_path: Path) -> None:
    head = {"f.jsonl": b'{"text": "', "f.json": b'[\n{"text": "', "f.txt": b"", "f.csv": b"text\n"}
    content = head[name] + b"a " * (33 << 20)
    with pytest.raises(UsageError, match=rf"f\.{name[2:]}:\d: longer than 64 MB"):
        texts(tmp_path / name, gzip.compress(content, 1))


def test_a_long_list_on_one_line_is_read_piece_by_piece(tmp_path: Path) -> None:
    row = {"text": "wörter " * 2000}
    content = json.dumps([row] * 300, ensure_ascii=False).encode()
    assert len(texts(tmp_path / "f.json", content)) == 300


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
    where, row = next(found)
    assert (str(where), row) == (f"{tmp_path}/f.jsonl:1", {"text": "a"})
    with pytest.raises(UsageError, match=r"f\.jsonl:2: "):
        next(found)
