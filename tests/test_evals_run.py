"""`evaluate` and `compare` as a user meets them: files in, files and figures out."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from autoif.base.errors import CallFailed, SetupError, UsageError
from autoif.base.records import Request
from autoif.cli.evals import NAMES
from autoif.evals import BENCHMARKS, compare, evaluate
from autoif.evals.benchmark_files import load_rows
from autoif.evals.followbench import FollowBench
from autoif.evals.gsm8k import extract
from autoif.evals.harness import HARNESS, evaluate_in_harness, from_harness
from autoif.evals.humaneval import program
from autoif.models.scripted import ScriptedBackend
from autoif.sandbox import Limits, Sandbox
from autoif.sandbox.frames import HEADER, TRUE

PROMPTS: list[dict[str, Any]] = [
    {
        "key": 7,
        "prompt": "Write without commas.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    },
    {
        "key": 8,
        "prompt": "Two bullets and no commas.",
        "instruction_id_list": ["punctuation:no_comma", "detectable_format:number_bullet_lists"],
        "kwargs": [{}, {"num_bullets": 2, "num_words": None}],
    },
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data.jsonl", PROMPTS)


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def verdicts(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "verdicts.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


# ---- a file of responses -----------------------------------------------------------------------


def test_a_file_is_scored_and_the_files_say_so(data: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"key": 8, "prompt": "Another prompt.", "response": "Sure, here:\n* a\n* b"},
        {"prompt": "Write without commas.", "response": "As asked."},
        {"key": "99", "response": "whose?"},
    ]
    responses = write(tmp_path / "responses.jsonl", rows)
    scores = evaluate("ifeval", responses=responses, data=data, out=tmp_path / "out")
    assert scores["prompt_strict"].value == 50
    assert scores["prompt_loose"].value == 100
    assert scores["inst_strict"].value == pytest.approx(66.67, 0.01)
    assert scores["inst_strict"].by_group["punctuation:no_comma"] == 50
    assert [note.split()[0] for note in scores.notes] == ["1", "1"]

    written = json.loads((tmp_path / "out" / "scores.json").read_text("utf-8"))
    assert written["prompt_strict"] == 50
    assert written["n"]["inst_loose"] == 3
    assert written["low"]["prompt_strict"] <= 50 <= written["high"]["prompt_strict"]
    shapes = [(row["key"], row["strict"], row["loose"]) for row in verdicts(tmp_path / "out")]
    assert shapes == [(7, [True], [True]), (8, [False, True], [True, True])]
    assert "prompt_strict" in scores.table()


def test_null_and_missing_responses_fail_and_stay_in_the_denominator(data: Path) -> None:
    scores = evaluate("ifeval", responses=[{"key": 7, "response": None}], data=data)
    assert (scores["inst_loose"].value, scores["inst_loose"].n) == (0, 3)
    assert any("1 prompts have no response" in note for note in scores.notes)


@pytest.mark.parametrize(
    "rows",
    [
        [{"key": 7}],
        [{"response": "whose?"}],
        [{"key": 7, "response": ["a"]}],
        [{"key": "other", "response": "nothing fits"}],
        [],
    ],
)
def test_a_responses_file_that_does_not_fit_is_refused(
    data: Path, rows: list[dict[str, Any]]
) -> None:
    with pytest.raises(UsageError):
        evaluate("ifeval", responses=rows, data=data)


def test_data_that_no_checker_can_decide_is_refused(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"instruction_id_list": ["punctuation:no_commas"]},
        {"kwargs": [{"num_words": 3}]},
        {"kwargs": []},
    ]
    for change in changes:
        data = write(tmp_path / "data.jsonl", [PROMPTS[0] | change])
        with pytest.raises(UsageError, match="7"):
            evaluate("ifeval", responses=[{"key": 7, "response": "x"}], data=data)
    with pytest.raises(UsageError, match="twice"):
        evaluate(
            "ifeval",
            responses=[{"key": 7, "response": "x"}],
            data=write(tmp_path / "data.jsonl", [PROMPTS[0], PROMPTS[0]]),
        )


PLAIN = PROMPTS[0]
PROBLEM = {"question": "Two and two?", "answer": "#### 4"}
TASK = {"task_id": "H/0", "prompt": "def f(): ...", "entry_point": "f", "test": "def check(f): ..."}
STEP = {"example_id": 1, "level": 0, "instruction": "Go.", "target": "", "source": "x"}


@pytest.mark.parametrize("wrong", [None, 3, [3], {"a": 1}], ids=str)
@pytest.mark.parametrize(
    ("benchmark", "row", "column"),
    [
        *(("ifeval", PLAIN, column) for column in ("prompt", "instruction_id_list", "kwargs")),
        *(("gsm8k", PROBLEM, column) for column in PROBLEM),
        *(("humaneval", TASK, column) for column in TASK),
        *(("followbench", STEP, column) for column in ("instruction", "target", "source")),
    ],
)
def test_a_column_of_another_kind_is_named_with_file_and_row(
    benchmark: str, row: dict[str, Any], column: str, wrong: object, tmp_path: Path
) -> None:
    rows = [row, {**row, "key": 9, column: wrong}]
    file = write(tmp_path / "content_constraints.json", rows)
    with pytest.raises(UsageError, match=rf"content_constraints\.json: row 2: .*{column}"):
        evaluate(benchmark, data=file, responses=[{"key": "1", "response": ""}])


@pytest.mark.parametrize(("column", "wrong"), [("level", None), ("example_id", "one")])
def test_a_place_in_followbench_is_a_whole_number(
    column: str, wrong: object, tmp_path: Path
) -> None:
    file = write(tmp_path / "content_constraints.json", [{**STEP, column: wrong}])
    with pytest.raises(UsageError, match="row 1: 'example_id' and 'level'"):
        evaluate("followbench", data=file, responses=[])


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b'{"key": 7, "response": "x"}\n' * 99)[:-9],
        b"\x1f\x8b\x08\x00" + b"?" * 99,
        gzip.compress(b'{"a":' * 100_000),
        gzip.compress(b"[1,2]"),
        gzip.compress(b'"a"'),
    ],
    ids=["broken off", "damaged", "deep", "list", "text"],
)
def test_responses_that_cannot_be_read_are_one_line(
    content: bytes, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.jsonl.gz").write_bytes(content)
    with pytest.raises(UsageError, match=r"r\.jsonl\.gz: ?"):
        evaluate("ifeval", data=data, responses=tmp_path / "r.jsonl.gz")


@pytest.mark.parametrize(
    "keys",
    [(7, 8), ("7", "8"), (7.0, 8.0), ("7.0", "8.0"), ("row-0", "row-1"), (None, "")],
    ids=str,
)
def test_a_key_may_be_any_number_or_leave_it_to_the_prompt(
    keys: tuple[object, object], data: Path
) -> None:
    rows = [
        {"key": key, "prompt": [{"role": "user", "content": prompt["prompt"]}], "response": "Fine."}
        for key, prompt in zip(keys, PROMPTS, strict=True)
    ]
    scores = evaluate("ifeval", data=data, responses=rows)
    assert scores["prompt_strict"].value == 50
    decided = "2 responses have another key; their prompt decides"
    assert (decided in scores.notes) == (keys == ("row-0", "row-1"))


def test_what_fits_neither_by_key_nor_by_prompt_is_said(data: Path) -> None:
    with pytest.raises(UsageError, match=r"they look like .7..*none has one of its prompts"):
        evaluate("ifeval", data=data, responses=[{"key": "row-0", "prompt": "x", "response": "y"}])


def test_runs_that_were_damaged_are_not_compared(data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        evaluate("ifeval", data=data, responses=[{"key": 7, "response": "x"}], out=tmp_path / name)
    write(tmp_path / "b" / "verdicts.jsonl", [{"key": 7}])
    with pytest.raises(UsageError, match="not what `autoif eval` wrote"):
        compare(tmp_path / "a", tmp_path / "b")


def test_wrong_usage_is_one_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ifeval, ifbench.*mmlu, ceval; did you mean ifeval\?"):
        evaluate("ifevil", responses=[], data=data)
    with pytest.raises(UsageError, match="mmlu needs the likelihood"):
        evaluate("mmlu", responses=[], data=data)
    with pytest.raises(UsageError, match="either responses"):
        evaluate("ifeval", data=data)
    with pytest.raises(UsageError, match="no such file"):
        evaluate("ifeval", responses=tmp_path / "none.jsonl", data=data)


def test_the_help_of_eval_names_every_benchmark() -> None:
    assert (*BENCHMARKS, *HARNESS) == NAMES


def test_lone_surrogates_and_unusual_lines_survive(data: Path, tmp_path: Path) -> None:
    rows = [{"key": 7, "response": "a \ud800 b\u2028c"}, {"key": 8, "response": "\x00"}]
    responses = write(tmp_path / "responses.jsonl", rows)
    scores = evaluate("ifeval", responses=responses, data=data, out=tmp_path / "out")
    assert scores["inst_strict"].n == 3
    assert len(verdicts(tmp_path / "out")) == 2


# ---- a model -----------------------------------------------------------------------------------


def test_a_model_is_asked_greedily_and_its_answers_are_kept(data: Path, tmp_path: Path) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> str:
        asked.append(request)
        if "bullets" in request.messages[0].content:
            raise CallFailed("length")
        return "Short and plain."

    scores = evaluate("ifeval", model=ScriptedBackend(answer), data=data, out=tmp_path / "out")
    assert scores["prompt_strict"].value == 50
    assert {(r.temperature, r.index, r.stage) for r in asked} == {(0.0, 0, "eval")}
    assert any("1 calls had no usable answer" in note for note in scores.notes)
    again = evaluate("ifeval", responses=tmp_path / "out" / "responses.jsonl", data=data)
    assert again.verdicts == scores.verdicts


def test_a_model_that_cannot_be_had_stops_the_evaluation(data: Path) -> None:
    def answer(request: Request) -> str:
        raise SetupError("no such model")

    with pytest.raises(SetupError, match="no such model"):
        evaluate("ifeval", model=ScriptedBackend(answer), data=data)


# ---- compare -----------------------------------------------------------------------------------


def test_compare_is_paired_and_names_what_changed(data: Path, tmp_path: Path) -> None:
    for name, text in (("a", "One, two."), ("b", "One two.")):
        rows = [{"key": 7, "response": text}, {"key": 8, "response": "* a\n* b"}]
        evaluate("ifeval", responses=rows, data=data, out=tmp_path / name)
    found = compare(tmp_path / "a", tmp_path / "b")
    by_name = {c.metric: c for c in found.changes}
    assert by_name["prompt_strict"].difference == 50
    assert by_name["inst_strict"].difference == pytest.approx(33.33, 0.01)
    assert [key for key, _, _ in found.changed] == ["7"]
    assert "1 of 2 prompts changed" in found.table()
    same = compare(tmp_path / "a", tmp_path / "a")
    assert {c.difference for c in same.changes} == {0.0}
    assert not any(c.significant for c in same.changes)
    with pytest.raises(UsageError, match=re.escape("no scores.json")):
        compare(tmp_path, tmp_path / "a")


# ---- FollowBench -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("benchmark", "folder", "judged", "by_rule"),
    [
        ("followbench", "data", (65, 70, 150, 140, 45, 0), (60, 40, 0, 10, 40, 200)),
        ("followbench-zh", "data_zh", (65, 70, 150, 140, 30, 0), (50, 40, 0, 5, 35, 200)),
    ],
)
def test_followbench_has_its_counts(
    data_dir: Path,
    benchmark: str,
    folder: str,
    judged: tuple[int, ...],
    by_rule: tuple[int, ...],
) -> None:
    rows = load_rows(benchmark, data_dir / "followbench" / folder)
    items = FollowBench(benchmark, "zh" if folder.endswith("zh") else "en").items(rows)
    kinds = ("content", "situation", "style", "format", "mixed", "example")
    rules = Counter(i.data.kind for i in items if i.data.rule)
    judges = Counter(i.data.kind for i in items if not i.data.rule)
    assert tuple(judges[k] for k in kinds) == judged
    assert tuple(rules[k] for k in kinds) == by_rule


def _targets(folder: Path) -> list[dict[str, Any]]:
    """The reference answers as responses, where there are any; else a text."""
    rows = [r for r in load_rows("followbench", folder) if r["level"]]
    said = []
    for row in rows:
        target = row["target"]
        if row["kind"] == "example":
            target = row["answer"]
        elif row["source"] == "CONLL2003" and target:
            target = "no entity"
        said.append(
            {
                "key": f"{row['kind']}/{row['example_id']}/{row['level']}",
                "response": target or "Some answer.",
            }
        )
    return said


def test_followbench_counts_judge_failures_apart(data_dir: Path) -> None:
    folder = data_dir / "followbench" / "data"

    def judge(request: Request) -> str:
        text = request.messages[0].content
        level = int(re.findall(r"LIST with (\d)", text)[-1])
        return "mumble" if level == 3 else "Thinking.\n" + str(["YES"] * level)

    responses = _targets(folder)
    scores = evaluate("followbench", responses=responses, data=folder, judge=ScriptedBackend(judge))
    assert scores["hsr_1"].n == 25 + 22 + 30 + 30 + 17
    assert scores["hsr_3"].n == 12 + 8 + 0 + 2 + 8  # the groups that rules decide
    assert scores["hsr"].by_group["style/2"] == 100
    assert "style/3" not in scores["hsr"].by_group
    assert any("judge failures: 94" in note for note in scores.notes)
    assert scores["example_hsr"].value is not None
    assert scores["example_hsr"].value > 50


def test_followbench_without_a_judge_is_its_rule_part(data_dir: Path) -> None:
    folder = data_dir / "followbench" / "data"
    scores = evaluate("followbench", responses=_targets(folder), data=folder)
    assert any("no judge: 470" in note for note in scores.notes)
    assert (scores["hsr"].n, scores["example_hsr"].n) == (150, 200)
    assert (scores["csl"].n, scores["example_csl"].n) == (30, 40)
    groups = scores["hsr"].by_group
    assert groups["situation/1"] == 100  # the references themselves
    assert 0 <= (scores["csl"].value or 0) <= 5


def test_followbench_figures_are_the_published_formulas() -> None:
    """One group of one kind: 3 levels satisfied, then half, then none."""
    task = FollowBench()
    soft = [1, 1, 1, 0.5, 0]
    rows = [
        {"key": f"style/1/{i}", "by": "judge", "hard": s == 1, "soft": s}
        for i, s in enumerate(soft, 1)
    ]
    (unit,) = task.units(rows)
    figures = task.figures(unit.sums)
    assert figures["hsr"] == pytest.approx(100 * (1 + 2 + 3) / 15)
    assert figures["ssr"] == pytest.approx(100 * (1 + 2 + 3 + 4 * 0.5) / 15)
    assert (figures["csl"], figures["hsr_4"], figures["ssr_4"]) == (3, 0, 50)
    assert figures["example_hsr"] is None


# ---- GSM8K and HumanEval -----------------------------------------------------------------------


def test_gsm8k_reads_the_final_number(data_dir: Path) -> None:
    data = data_dir / "general" / "gsm8k" / "test.jsonl"
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    right = [{"key": i, "response": row["answer"]} for i, row in enumerate(rows)]
    assert evaluate("gsm8k", responses=right, data=data)["accuracy"].value == 100
    wrong = [{"key": i, "response": "I cannot say."} for i in range(len(rows))]
    assert evaluate("gsm8k", responses=wrong, data=data)["accuracy"].value == 0


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("2 + 2 = 4\n#### 4", "4"),
        ("#### 3\nNo, wait.\n#### 1,234.50", "1234.5"),
        ("so \\boxed{72} eggs, in 3 days", "72"),
        ("The answer is **$18** a day, for 7 days.", "18"),
        ("She pays $1,000.00 in all.", "1000"),
        ("It fell to -5 degrees.", "-5"),
        ("no number", None),
        ("", None),
    ],
)
def test_gsm8k_extraction(answer: str, number: str | None) -> None:
    said = extract(answer)
    assert (None if said is None else f"{said:f}") == number


def _humaneval(data_dir: Path) -> list[dict[str, Any]]:
    path = data_dir / "general" / "humaneval" / "HumanEval.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_humaneval_references_pass_and_others_do_not(data_dir: Path) -> None:
    data = data_dir / "general" / "humaneval" / "HumanEval.jsonl.gz"
    rows = []
    for n, task in enumerate(_humaneval(data_dir)):
        body, whole = task["canonical_solution"], task["prompt"] + task["canonical_solution"]
        good = f"Here it is:\n```python\n{whole}```\nDone." if n % 2 else body
        bad = ("    return None\n", "```python\nimport socket\n```", "while True: pass")[n % 3]
        rows += [{"key": task["task_id"], "response": r} for r in (good, bad)]
    with Sandbox(limits=Limits(cpu_seconds=0.3)) as sandbox:
        scores = evaluate("humaneval", responses=rows, data=data, limit=24, sandbox=sandbox)
    assert [v["passed"] for v in scores.verdicts] == [[True, False]] * 24
    assert scores["pass@1"].value == 50


@pytest.mark.slow
def test_all_humaneval_references_pass(data_dir: Path) -> None:
    data = data_dir / "general" / "humaneval" / "HumanEval.jsonl.gz"
    rows = [
        {"key": t["task_id"], "response": t["canonical_solution"]} for t in _humaneval(data_dir)
    ]
    scores = evaluate("humaneval", responses=rows, data=data)
    assert [v["key"] for v in scores.verdicts if v["passed"] != [True]] == []


def test_humaneval_body_ends_where_other_code_begins() -> None:
    source = program("def f(x):\n", "    return x\n\nprint(f(1))\n", "def check(c): ...", "f")
    assert "print" not in source


def test_humaneval_is_not_passed_by_what_looks_equal_or_leaves_early(tmp_path: Path) -> None:
    prompt = "def f(x):\n"
    task = {
        "task_id": "t", "prompt": prompt, "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(1) == [1, {'a': True}]\n"
        "    assert candidate(0) is None\n",
    }  # fmt: skip
    passing = (
        "    return [x, {'a': bool(x)}] if x else None",
        "    import collections, numpy\n"
        "    if not x: return None\n"
        "    return [numpy.int64(x), collections.defaultdict(int, a=numpy.bool_(True))]",
    )
    # The verdict of this very call, as what is hostile would write it, and away.
    byte = (
        "    import os, sys\n    frame = sys._getframe()\n"
        "    while frame:\n"
        "        results = getattr(frame.f_locals.get('self'), 'results', None)\n"
        "        if results is not None:\n"
        f"            results[{HEADER}] = {TRUE}\n"
        "            os._exit(0)\n"
        "        frame = frame.f_back"
    )
    equal = "        __eq__ = lambda self, other: True\n    return E()"
    failing = (
        f"    class E:\n{equal}",
        f"    class E(int):\n{equal}",
        f"    class E(list):\n{equal}",
        "    raise SystemExit(0)",
        "    __import__('os')._exit(0)",
        byte,
    )
    rows = [{"key": "t", "response": body} for body in passing + failing]
    data = tmp_path / "tasks.jsonl"
    data.write_text(json.dumps(task))
    scores = evaluate("humaneval", responses=rows, data=data)
    assert scores.verdicts[0]["passed"] == [True] * len(passing) + [False] * len(failing)
    assert scores.verdicts[0]["detail"][-1] == "ERROR: it ended before its tests"


# ---- elsewhere ---------------------------------------------------------------------------------


def test_a_virtual_environment_below_the_working_directory_is_as_good_as_any() -> None:
    code = "from autoif.constraints.text import sentences, tokens; print(sentences('One. Two.'))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=sys.prefix, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()


def test_the_harness_needs_a_model_with_likelihoods() -> None:
    with pytest.raises(UsageError, match="--model hf:"):
        evaluate_in_harness("mmlu", "openai:some-model")


def test_the_harnesss_results_become_scores() -> None:
    results = {
        "results": {
            "mmlu": {"acc,none": 0.5, "acc_stderr,none": 0.01},
            "mmlu_anatomy": {"acc,none": 0.25},
        },
        "n-samples": {"mmlu_anatomy": {"effective": 135}},
    }
    score = from_harness("mmlu", "mmlu", results)["accuracy"]
    assert (score.value, score.n, score.by_group) == (50, 135, {"mmlu_anatomy": 25})
    assert score.low == pytest.approx(48.04)


def test_the_page_on_evaluation_shows_what_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parent.parent / "docs" / "evaluate.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    write(tmp_path / "input_data.jsonl", PROMPTS[:1])
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["scores"]["prompt_strict"].value == 100
