"""Our verdicts are the benchmarks' own: unit vectors, GPT-4's responses, FollowBench's judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autoif.constraints.checkers import IFBENCH, IFEVAL, check
from autoif.evals import evaluate
from autoif.evals.followbench_judge import judge_prompt, parse_judge


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


@pytest.fixture(autouse=True)
def _tagger_data(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOIF_DATA", str(data_dir))  # NLTK's tagger lies there


@pytest.mark.parametrize(("benchmark", "count"), [("ifeval", 81), ("ifbench", 174)])
def test_unit_vectors(data_dir: Path, benchmark: str, count: int) -> None:
    vectors = lines(data_dir / benchmark / "unit_vectors.jsonl")
    # without an id: types that IFEval's code carries and its data never uses
    vectors = [vector for vector in vectors if vector["instruction_id"]]
    assert len(vectors) == count
    wrong = []
    for vector in vectors:
        id_, kwargs, text = vector["instruction_id"], vector["given_kwargs"], vector["response"]
        said = check(id_, text, **kwargs)
        # None: the benchmark's code raises there; that must not become a pass
        if said is not bool(vector["follows"]):
            wrong.append((id_, kwargs, text))
    assert wrong == []


def test_every_type_has_a_checker(data_dir: Path) -> None:
    ids = json.loads((data_dir / "ifbench" / "instruction_ids.json").read_text("utf-8"))
    assert sorted(IFEVAL) == sorted(ids["ifeval_25"])
    assert sorted(IFBENCH) == sorted(ids["ifbench_test_58"])


def test_gpt4_gets_its_published_figures_and_each_verdict(data_dir: Path) -> None:
    folder = data_dir / "ifeval"
    scores = evaluate(
        "ifeval",
        responses=folder / "gpt4_responses.jsonl",
        data=folder / "input_data_for_gpt4.jsonl",
    )
    counts = {s.metric: round(s.value * s.n / 100) for s in scores.scores if s.value is not None}
    assert counts == {
        "prompt_strict": 417,
        "inst_strict": 698,
        "prompt_loose": 431,
        "inst_loose": 714,
    }
    assert [s.n for s in scores.scores] == [541, 834, 541, 834]
    for s in scores.scores:
        assert None not in (s.low, s.value, s.high)
        assert (s.low or 0) < (s.value or 0) < (s.high or 0)
    ours = {row["key"]: row for row in scores.verdicts}
    for theirs in lines(folder / "gpt4_verdicts.jsonl"):
        unstable = {u["index"] for u in theirs["unstable"]}
        for kind in ("strict", "loose"):
            for i, verdict in enumerate(theirs[kind]):
                if i not in unstable:
                    assert ours[theirs["key"]][kind][i] is verdict, (theirs["key"], kind, i)


def test_every_ifbench_prompt_can_be_judged(data_dir: Path) -> None:
    rows = lines(data_dir / "ifbench" / "IFBench_test.jsonl")
    answers = [{"key": row["key"], "response": "Hello there. And you?"} for row in rows]
    scores = evaluate(
        "ifbench", responses=answers, data=data_dir / "ifbench" / "IFBench_test.jsonl"
    )
    assert (scores["prompt_strict"].n, scores["inst_strict"].n) == (300, 344)


def test_judge_prompt_vectors(data_dir: Path) -> None:
    vectors = json.loads(
        (data_dir / "followbench" / "followbench_judge_prompt_vectors.json").read_text("utf-8")
    )
    path = (
        "Write a story.",
        "Write a story. Use 3 sentences.",
        "Write a story. Use 3 sentences. Mention a cat.",
    )
    for kind, levels in vectors.items():
        assert judge_prompt(kind, path[:2], "ANSWER") == levels["level1"]
        assert judge_prompt(kind, path, "ANSWER") == levels["level2"]


def test_judge_parse_vectors(data_dir: Path) -> None:
    for vector in lines(data_dir / "followbench" / "followbench_judge_parse_vectors.jsonl"):
        verdict = parse_judge(vector["judge_output"], vector["level"])
        hard, soft = vector["hard_soft"]
        if hard == -1:
            assert verdict is None, vector
        else:
            assert verdict is not None, vector
            assert int(verdict.hard) == hard, vector
            assert verdict.soft == pytest.approx(soft), vector


def test_punkt_tables_are_nltks(data_dir: Path) -> None:
    from punkt.data import english

    folder = data_dir / "nltk_data" / "tokenizers" / "punkt_tab" / "english"
    assert set((folder / "abbrev_types.txt").read_text("utf-8").split("\n")) - {""} == set(
        english.ABBREV_TYPES
    )
    assert set((folder / "sent_starters.txt").read_text("utf-8").split()) == set(
        english.SENT_STARTERS
    )
    ortho = _table(folder / "ortho_context.tab")
    assert {word: int(flags) for word, flags in ortho} == dict(english.ORTHO_CONTEXT)
    assert set(_table(folder / "collocations.tab")) == set(english.COLLOCATIONS)


def _table(path: Path) -> list[tuple[str, str]]:
    pairs = (line.split("\t") for line in path.read_text("utf-8").split("\n") if line)
    return [(one, two) for one, two in pairs]


def test_stop_words_are_nltks(data_dir: Path) -> None:
    from autoif.constraints.checkers.wordlists import STOPWORDS

    theirs = (data_dir / "nltk_data" / "corpora" / "stopwords" / "english").read_text("utf-8")
    assert set(theirs.split()) == STOPWORDS
