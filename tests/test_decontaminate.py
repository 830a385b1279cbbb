"""Which benchmark's constraint an instruction states: found in any words, and not where it is none.

`own_constraints.jsonl` holds phrasings of ours, the ones the rule was made with; those of
`planted/` were written by others, before it.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import autoif
from autoif.base.errors import UsageError
from autoif.clean.ngrams import Runs
from autoif.constraints.types import _rules, constraint_type
from runs import autoif as command
from runs import rows, write_rows

HERE = Path(__file__).parent
Row = dict[str, Any]


def seeds() -> list[Row]:
    data = files("autoif") / "data"
    texts = [(data / f"seeds.{lang}.jsonl").read_text("utf-8") for lang in ("en", "zh")]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def share(found: list[bool]) -> float:
    return sum(found) / len(found)


OWN = rows(HERE / "own_constraints.jsonl")


def test_our_own_phrasings_are_found() -> None:
    stated = [row for row in OWN if row["type"]]
    assert share([constraint_type(row["text"]) != "" for row in stated]) >= 0.97
    assert share([constraint_type(row["text"]) == row["type"] for row in stated]) >= 0.93


def test_our_own_harmless_ones_are_left_alone() -> None:
    assert share([constraint_type(row["text"]) != "" for row in OWN if not row["type"]]) <= 0.03


def test_what_others_planted_is_found_and_what_is_innocent_is_left_alone() -> None:
    """Written by others, before the rule, from the benchmarks alone. The first time the rule found
    90.5%, with 20% false alarms; then its general faults were mended, so that these figures are no
    longer blind. docs/decontaminate.md has both."""
    stated = rows(HERE / "planted/constraints.jsonl")
    innocent = rows(HERE / "planted/innocent.jsonl")
    assert share([constraint_type(row["text"]) != "" for row in stated]) >= 0.95
    assert share([constraint_type(row["text"]) == row["type"] for row in stated]) >= 0.85
    assert share([constraint_type(row["text"]) != "" for row in innocent]) <= 0.05


def test_the_seeds_are_read_as_they_were_marked_by_hand() -> None:
    marked = [row for row in seeds() if row["benchmark_type"]]
    assert share([constraint_type(row["text"]) != "" for row in marked]) >= 0.95
    unmarked = [row for row in seeds() if not row["benchmark_type"]]
    assert share([constraint_type(row["text"]) != "" for row in unmarked]) <= 0.05


def test_every_type_of_the_benchmarks_has_a_rule(data_dir: Path) -> None:
    ids = json.loads((data_dir / "ifbench/instruction_ids.json").read_text("utf-8"))
    kinds = ("content", "situation", "style", "format", "mixed", "example")
    wanted = {*ids["ifeval_25"], *ids["ifbench_test_58"], *(f"followbench:{k}" for k in kinds)}
    assert {name for name, _ in _rules()} == wanted


@given(st.text(max_size=300))
def test_any_text_has_an_answer(text: str) -> None:
    assert isinstance(constraint_type(text), str)


@pytest.mark.parametrize(
    "text",
    [
        "Do not use any commas.",
        "DO NOT USE ANY COMMAS!",
        "  do not\tuse any\ncommas",
        "Please, do not use any commas in your response, thank you.",
        "不要用逗号。",
    ],
)
def test_case_spaces_and_politeness_change_nothing(text: str) -> None:
    assert constraint_type(text) == "punctuation:no_comma"


def test_the_quoted_word_does_not_matter() -> None:
    for word in ("comma", "JSON", "paragraph", "emoji", "words", "never"):
        assert constraint_type(f'Include the word "{word}".') == "keywords:existence"


# ---- the command -------------------------------------------------------------------------------


def test_rows_come_out_in_order_with_their_ids(tmp_path: Path) -> None:
    texts = {"a": "No commas.", "b": "Include a hashtag.", "c": "Answer in JSON."}
    wanted = [{"id": name, "text": text} for name, text in texts.items()]
    source = write_rows(tmp_path / "i.jsonl", wanted)
    done = command("decontaminate", "--instructions", source, "--out", tmp_path / "types.jsonl")
    assert done.code == 0, done.err
    assert rows(tmp_path / "types.jsonl") == [
        {"id": "a", "type": "punctuation:no_comma"},
        {"id": "b", "type": None},
        {"id": "c", "type": "detectable_format:json_format"},
    ]


def test_lines_of_text_get_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "i.txt").write_text("No commas.\n\nInclude a hashtag.\n")
    done = command("decontaminate", "--instructions", tmp_path / "i.txt", "--quiet")
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"id": 1, "type": "punctuation:no_comma"},
        {"id": 2, "type": None},
    ]
    assert done.err == ""


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = command("decontaminate", "--instructions", tmp_path / "none.jsonl")
    assert (done.code, done.err.count("\n")) == (2, 1)


# ---- rows of a file ----------------------------------------------------------------------------

BENCHMARK = "Take a rain jacket, two layers of wool, water and food for both days, and go."
SHORT = "Name three primes."
CLEAN = "What is a good jacket for two days of rain in the hills of the north?"
ROWS: list[tuple[Row, str]] = [
    ({"id": "a", "messages": [{"role": "user", "content": CLEAN}]}, ""),
    (
        {
            "id": "b",
            "messages": [
                {"role": "user", "content": CLEAN},
                {"role": "assistant", "content": f"Well: {BENCHMARK.upper()} Good luck."},
            ],
        },
        "long.jsonl",
    ),
    ({"prompt": [{"role": "user", "content": SHORT}], "chosen": [], "rejected": []}, "short.txt"),
    ({"conversations": [{"from": "human", "value": BENCHMARK}]}, "long.jsonl"),
    ({"text": f"Please {SHORT}"}, ""),  # too short to count within a longer text
    ({"prompt": "Hi", "completion": f"x {BENCHMARK}"}, "long.jsonl"),
    ({"prompt": "Hi", "score": 0.5, "note": f"\u2028 \u00e9 {BENCHMARK}"}, ""),  # no text column
]


def test_rows_that_share_words_with_a_benchmark_are_removed(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [row for row, _ in ROWS])
    long = write_rows(tmp_path / "long.jsonl", [{"question": BENCHMARK}])
    (short := tmp_path / "short.txt").write_text(SHORT)
    out, dropped = tmp_path / "clean.jsonl", tmp_path / "dropped.jsonl"
    args = ("decontaminate", "--rows", source, "--against", long, "--against", short, "--out", out)
    done = command(*args, "--dropped", dropped)
    assert (done.code, done.out) == (0, ""), done.err
    assert done.err.startswith("7 rows, 4 dropped (3 ")
    assert rows(out) == [row for row, benchmark in ROWS if not benchmark]
    fates = [(r["row"], r["id"], Path(r["benchmark"]).name) for r in rows(dropped)]
    assert fates == [(n, r.get("id"), b) for n, (r, b) in enumerate(ROWS, 1) if b]
    assert all(len(r["run"].split()) in (13, 3) for r in rows(dropped))
    found = json.loads(command(*args, "--json").out)
    assert found == {
        "rows": 7,
        "dropped": 4,
        "by_benchmark": {str(long): 3, str(short): 1},
        "benchmark_rows_without_text": 0,
    }


def test_rows_that_stay_are_the_lines_that_were_read(tmp_path: Path) -> None:
    kept = [
        b'{"text": "a",  "n": 123456789012345678901234567890, "x": NaN, "f": 1.0e2}',
        b'{"text": "lone \\ud800", "y": "\\u00e9", "y": "again"}',
        b'{"text": "raw \xed\xa0\x80"}',
    ]
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"\r\n".join([*kept, json.dumps({"text": BENCHMARK}).encode(), kept[0]]))
    long = write_rows(tmp_path / "long.jsonl", [{"question": BENCHMARK}])
    args = ("decontaminate", "--rows", source, "--against", long)
    done = command(*args, "--out", tmp_path / "out.jsonl")
    assert done.code == 0, done.err
    assert (tmp_path / "out.jsonl").read_bytes().splitlines() == [*kept, kept[0]]
    shown = command(*args)
    assert (shown.code, len(shown.out.splitlines())) == (0, 4), shown.err


TURN = {"role": "user", "content": BENCHMARK}
SEEN: list[object] = [
    {
        "messages": [
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": ""},
            TURN,
        ]
    },
    {"messages": [{"role": "user", "content": [{"type": "text", "text": BENCHMARK}]}]},
    {"messages": json.dumps([TURN])},
    {"prompt": [TURN]},
    {"conversations": [{"from": "Human", "value": BENCHMARK}]},
    {"turns": ["Another question.", BENCHMARK]},
    {"instruction": "Pack.", "input": BENCHMARK},
    {"prompt": None, "question": BENCHMARK},
    {"prompt": "", "context": {"passage": [BENCHMARK]}},
    {"prompt": "Short.", "passage": BENCHMARK},
    {"prompt": BENCHMARK.replace("layers", "lay\u00aders").replace("food", "fo\u200bod")},
    BENCHMARK,
]


@pytest.mark.parametrize("shape", SEEN, ids=lambda shape: json.dumps(shape)[:60])
def test_a_benchmark_is_seen_in_every_shape(shape: object, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "b.jsonl", [shape])
    assert Runs.of_files([str(file)]).shared(f"Well: {BENCHMARK}")
    (tmp_path / "b.json").write_text(json.dumps([shape], indent=1))
    assert Runs.of_files([str(tmp_path / "b.json")]).shared(f"Well: {BENCHMARK}")


def test_a_short_prompt_counts_with_its_input_and_a_short_answer_does_not(tmp_path: Path) -> None:
    row = {"instruction": "Translate to French.", "input": "Good day.", "output": "Bonjour."}
    runs = Runs.of_files([str(write_rows(tmp_path / "b.jsonl", [row]))])
    assert runs.shared("translate to french:\n\ngood day")
    assert not runs.shared("Bonjour!")


def test_rows_of_a_benchmark_that_hold_no_text_are_counted(tmp_path: Path) -> None:
    benchmark = write_rows(tmp_path / "b.jsonl", [{"prompt": BENCHMARK}, {"image": 3}])
    runs = Runs.of_files([str(benchmark)])
    assert (len(runs.read.kept), [d.reason for d in runs.read.dropped]) == (1, ["no_text"])
    rows_file = write_rows(tmp_path / "rows.jsonl", [{"text": "Hi"}])
    done = command("decontaminate", "--rows", rows_file, "--against", benchmark)
    assert "1 rows of the benchmarks hold no text" in done.err
    with pytest.raises(UsageError, match="no text in it"):
        Runs.of_files([str(write_rows(tmp_path / "none.jsonl", [{"image": 3}]))])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--rows", "rows.jsonl"), "need each other"),
        (("--against", "rows.jsonl"), "give --rows F"),
        (("--rows", "rows.jsonl", "--against", "none.jsonl"), "none.jsonl: no such file"),
        (("--rows", "rows.jsonl", "--against", "rows.jsonl"), "rows.jsonl:1"),
    ],
)
def test_wrong_rows_are_one_line(args: tuple[str, ...], said: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"words": BENCHMARK}])
    done = command(
        "decontaminate", *(tmp_path / a if a.endswith("jsonl") else a for a in args), "--json",
        "--out", tmp_path / "out.jsonl",
    )  # fmt: skip
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err
    assert not (tmp_path / "out.jsonl").exists()


# ---- in a run ----------------------------------------------------------------------------------


def test_a_mark_by_hand_stands_and_the_rest_is_marked_by_rule(tmp_path: Path) -> None:
    mine = [
        {"text": "Do without commas altogether."},
        {"text": "Answer with a single JSON object.", "benchmark_type": ""},
        {"text": "Include a hashtag, such as #morning.", "benchmark_type": "format:emoji"},
    ]
    source = write_rows(tmp_path / "mine.jsonl", mine)
    made = autoif.synth(
        "smoke", out=tmp_path / "run", instructions={"seeds": str(source), "rounds": 0}
    )
    types = {i.text: i.benchmark_type for i in made.instructions()}
    assert list(map(types.get, (row["text"] for row in mine))) == [
        "punctuation:no_comma",
        "",
        "format:emoji",
    ]


def test_dropping_benchmark_types_drops_proposals_too(smoke: Path, tmp_path: Path) -> None:
    made = autoif.synth("smoke", out=tmp_path / "run", instructions={"benchmarks": "drop"})
    assert all(not i.benchmark_type for i in made.instructions())
    dropped = [d for d in made.drops() if d.reason == "benchmark_type"]
    assert dropped
    whole = autoif.Result(smoke)
    by_words = {i.id for i in whole.instructions() if i.benchmark_type}
    by_runs = {v.instruction.id for v in whole.verifiers() if v.instruction.benchmark_type}
    assert {d.record_id for d in dropped} == by_words | by_runs


def test_a_file_without_texts_is_refused(tmp_path: Path) -> None:
    from autoif.constraints.types import typed

    with pytest.raises(UsageError, match=r"x\.jsonl:1: no text"):
        list(typed(str(write_rows(tmp_path / "x.jsonl", [{"words": "no commas"}]))))
