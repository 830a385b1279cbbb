"""JSON lines as users bring them: every row with its place, every bad line with file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoif.base import jsonl
from autoif.base.errors import UsageError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
    | st.text(st.characters()),  # lone surrogates are among them
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
ROWS = st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=6)


@given(
    rows=ROWS,
    blank=st.sampled_from(["", "\n", " \t\r\n"]),
    bom=st.booleans(),
    packed=st.booleans(),
    ascii=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_rows_come_back_and_each_can_be_read_again_at_its_place(
    tmp_path: Path, rows: list[dict[str, Any]], blank: str, bom: bool, packed: bool, ascii: bool
) -> None:
    text = blank + "".join(json.dumps(row, ensure_ascii=ascii) + "\n" + blank for row in rows)
    content = jsonl.BOM * bom + text.encode("utf-8", "surrogatepass")
    path = tmp_path / ("f.jsonl.gz" if packed else "f.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    read = list(jsonl.read(path))
    assert [row for _, row in read] == rows
    for place, row in read:
        assert jsonl.read_at(path, place.at) == row
        line = content.split(b"\n")[place.line - 1].removeprefix(jsonl.BOM)
        assert json.loads(line.decode("utf-8", "surrogatepass")) == row


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{oops", "not JSON"),
        (b"[1]", "a JSON object is wanted, not list"),
        (b"3", "a JSON object is wanted, not int"),
        (b'{"a": ' * 100_000, "not JSON (nested too deeply)"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "not JSON (nested too deeply)"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON (a number with too many digits)"),
        ("{'ä'}".encode("latin-1"), "not UTF-8 text (byte 2 of the line)"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 text (byte 0 of the line)"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"good": 1}\n\n' + line + b"\n")
    rows = jsonl.read(path)
    assert next(rows)[1] == {"good": 1}
    with pytest.raises(UsageError) as error:
        next(rows)
    assert str(error.value).startswith(f"{path}:3: {says}")


def test_brackets_are_counted_where_they_are_lists_and_objects() -> None:
    """Each of these takes memory; one in a text, open or not, takes a byte."""
    brackets = b"[{" * (jsonl.MOST // 2 + 1)
    assert jsonl.loads(b'["\\"%s", "%s\\\\"]' % (brackets, brackets))
    for line in (b"[%s]" % b",".join([b"[]"] * jsonl.MOST), b'["", %s' % brackets):
        with pytest.raises(ValueError, match="more than 2,000,000 lists and objects"):
            jsonl.loads(line)
    with pytest.raises(ValueError, match="Unterminated string"):
        jsonl.loads(b'"' + b'\\"[' * jsonl.MOST)


def test_an_empty_file_is_an_error_where_rows_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text("\n \n")
    assert list(jsonl.read(path)) == []
    with pytest.raises(UsageError, match=r"f\.jsonl is empty"):
        list(jsonl.read(path, required=True))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        list(jsonl.read(tmp_path / "absent.jsonl"))
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        list(jsonl.read(tmp_path))
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(b'{"a": 1}\n' * 99)[:-9])
    with pytest.raises(UsageError, match="broken off"):
        list(jsonl.read(broken))
    broken.write_bytes(gzip.compress(b'{"a": 1}\n' * 99)[:-9] + b"!" * 9)
    with pytest.raises(UsageError, match=r"broken off or damaged|CRC"):
        list(jsonl.read(broken))


def test_what_is_packed_is_seen_from_its_content(tmp_path: Path) -> None:
    (tmp_path / "plain.jsonl.gz").write_bytes(b'{"a": 1}')
    (tmp_path / "packed.jsonl").write_bytes(gzip.compress(b'{"a": 1}'))
    for name in ("plain.jsonl.gz", "packed.jsonl"):
        assert [row for _, row in jsonl.read(tmp_path / name)] == [{"a": 1}]
