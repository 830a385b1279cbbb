"""The tables of a call store in PostgreSQL, what is said to them, and how values get there.

`spend` has a row for each run, process and namespace: what was paid, in total. The other tables
mean what those of sqlite.py do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from autoif.base.records import Usage
from autoif.store.base import StoredCall, stored_call

SCHEMA_VERSION = 1
# bytea, not text: PostgreSQL's text refuses NUL, which models do write. Rows below 8 kB are kept
# as they are: packing them costs the server more than it saves.
SCHEMA = f"""
CREATE SCHEMA IF NOT EXISTS autoif;
CREATE TABLE autoif.store(version integer NOT NULL);
INSERT INTO autoif.store VALUES({SCHEMA_VERSION});
CREATE TABLE autoif.calls(
  id bigint GENERATED ALWAYS AS IDENTITY UNIQUE, key bytea PRIMARY KEY, namespace bytea NOT NULL,
  sample bigint NOT NULL, stage bytea NOT NULL, record bytea NOT NULL, body bytea NOT NULL,
  text bytea NOT NULL, finish_reason bytea NOT NULL, prompt bigint NOT NULL,
  cached bigint NOT NULL, completion bigint NOT NULL, reasoning bigint NOT NULL,
  crc bigint NOT NULL) WITH (toast_tuple_target = 8160);
ALTER TABLE autoif.calls ALTER body SET STORAGE MAIN, ALTER text SET STORAGE MAIN;
CREATE INDEX calls_by_record ON autoif.calls(record);
CREATE TABLE autoif.uses(record bytea, call bigint, PRIMARY KEY(record, call));
CREATE TABLE autoif.outcomes(key bytea PRIMARY KEY, value bytea NOT NULL, crc bigint NOT NULL);
CREATE TABLE autoif.runs(id integer GENERATED ALWAYS AS IDENTITY UNIQUE, name bytea PRIMARY KEY);
CREATE TABLE autoif.marks(run integer, call bigint, PRIMARY KEY(run, call));
CREATE TABLE autoif.spend(
  run bytea, worker bytea, namespace bytea, calls bigint NOT NULL, prompt bigint NOT NULL,
  cached bigint NOT NULL, completion bigint NOT NULL, reasoning bigint NOT NULL,
  PRIMARY KEY(run, worker, namespace)) WITH (fillfactor = 50);
"""


class Insert(NamedTuple):
    """A statement that takes an array for each column and leaves alone what is there; and the one
    that says what that is. Processes that insert the same rows do it in one order, that of the
    first `order` columns, or they would wait for one another."""

    statement: str
    look: str = ""
    order: int = 1


COLUMNS = (
    "key, namespace, sample, stage, record, body, text, finish_reason, prompt, cached, completion, "
    "reasoning, crc"
)
GET_CALLS = (
    "SELECT key, id, record, text, finish_reason, prompt, cached, completion, reasoning, crc "
    "FROM calls WHERE key = ANY($1::bytea[])"
)
GET_OUTCOMES = "SELECT key, value, crc FROM outcomes WHERE key = ANY($1::bytea[])"
# `calls` grows with each group, so a total that is said again, or late, changes nothing.
PUT_CALLS = Insert(
    f"""
WITH paid AS (
  INSERT INTO spend SELECT $14::bytea, $15::bytea, * FROM unnest(
    $16::bytea[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[])
  ON CONFLICT (run, worker, namespace) DO UPDATE SET calls = excluded.calls,
    prompt = excluded.prompt, cached = excluded.cached, completion = excluded.completion,
    reasoning = excluded.reasoning WHERE spend.calls < excluded.calls)
INSERT INTO calls({COLUMNS}) SELECT * FROM unnest(
  $1::bytea[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[],
  $8::bytea[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])
ON CONFLICT (key) DO NOTHING RETURNING key, id
""",
    GET_CALLS,
)
PUT_OUTCOMES = Insert(
    "INSERT INTO outcomes SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[]) "
    "ON CONFLICT (key) DO NOTHING RETURNING key",
    GET_OUTCOMES,
)
PUT_USES = Insert(
    "INSERT INTO uses SELECT * FROM unnest($1::bytea[], $2::bigint[]) ON CONFLICT DO NOTHING",
    order=2,
)
PUT_RUNS = Insert("INSERT INTO runs(name) SELECT * FROM unnest($1::bytea[]) ON CONFLICT DO NOTHING")
PUT_MARKS = Insert(
    "INSERT INTO marks SELECT id, call FROM runs JOIN unnest($1::bytea[], $2::bigint[]) "
    "AS m(name, call) USING (name) ON CONFLICT DO NOTHING",
    order=2,
)
OF_RECORD = (
    f"SELECT {COLUMNS} FROM calls WHERE record = $1 "
    "OR id IN (SELECT call FROM uses WHERE record = $1) ORDER BY id"
)
ALL_CALLS = f"SELECT {COLUMNS} FROM calls ORDER BY id"
ALL_OUTCOMES = "SELECT key, value, crc FROM outcomes ORDER BY key"
USED = (
    "SELECT namespace, sum(prompt)::bigint, sum(cached)::bigint, sum(completion)::bigint, "
    "sum(reasoning)::bigint FROM calls JOIN marks ON call = calls.id JOIN runs ON run = runs.id "
    "WHERE name = $1 GROUP BY namespace"
)
SPENT = (
    "SELECT namespace, sum(prompt)::bigint, sum(cached)::bigint, sum(completion)::bigint, "
    "sum(reasoning)::bigint FROM spend WHERE run = $1 GROUP BY namespace"
)
STAGES = (
    "SELECT namespace, stage, count(*), sum(prompt)::bigint, sum(cached)::bigint, "
    "sum(completion)::bigint, sum(reasoning)::bigint FROM calls GROUP BY 1, 2 ORDER BY min(id)"
)
COUNTS = (
    "SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM outcomes), "
    "(SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class "
    "WHERE relnamespace = 'autoif'::regnamespace AND relkind = 'r')"
)
FORGET = (
    "WITH gone AS (DELETE FROM runs WHERE name = $1 RETURNING id), "
    "unmarked AS (DELETE FROM marks WHERE run IN (SELECT id FROM gone)) SELECT count(*) FROM gone"
)
COLLECT = (
    "WITH gone AS (DELETE FROM calls WHERE NOT EXISTS (SELECT FROM marks WHERE call = calls.id) "
    "RETURNING id, pg_column_size(body) + pg_column_size(text) AS bytes), unused AS "
    "(DELETE FROM uses WHERE NOT EXISTS (SELECT FROM marks WHERE marks.call = uses.call)) "
    "SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM gone"
)


def to_bytes(text: str) -> bytes:
    """Lone surrogates too, which a path or a word of a server may hold."""
    return text.encode("utf-8", "surrogatepass")


def to_text(value: bytes) -> str:
    """Damaged bytes come out as others than were written, which the checksum tells."""
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return value.decode("utf-8", "replace")


def to_call(row: Any) -> StoredCall | None:
    key, namespace, sample, *words = row
    *texts, prompt, cached, completion, reasoning, crc = words
    return stored_call(
        (
            key,
            to_text(namespace),
            sample,
            *map(to_text, texts),
            prompt,
            cached,
            completion,
            reasoning,
            crc,
        )
    )


def by_namespace(rows: Iterable[Any]) -> dict[str, Usage]:
    return {to_text(namespace): Usage(*tokens) for namespace, *tokens in rows}
