"""The shipped seeds and queries: enough, varied, unique, honestly marked, and nobody else's."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from rapidfuzz import fuzz, process

FAMILIES = {
    "length", "case", "punctuation", "structure", "inclusion", "exclusion",
    "position", "counting", "format", "ordering", "typography", "language",
}  # fmt: skip
KINDS = {
    "explain", "write", "plan", "compare", "debug", "summarise", "role", "opinion", "everyday",
}  # fmt: skip
LANGS = ("en", "zh")
HAN = re.compile(r"[\u4e00-\u9fff]")

Row = dict[str, Any]


def shipped(name: str) -> list[Row]:
    text = (files("autoif") / "data" / name).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def jsonl(path: Path) -> list[Row]:
    # Not splitlines(): reference texts hold U+2028 and the like inside strings.
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def seeds(lang: str) -> list[Row]:
    return shipped(f"seeds.{lang}.jsonl")


def queries(lang: str) -> list[Row]:
    return shipped(f"queries.{lang}.jsonl")


def grams(text: str, lang: str, n: int = 13) -> set[tuple[str, ...]]:
    """n-grams over words, for Chinese over characters; punctuation and case do not count."""
    tokens = re.findall(r"\w" if lang == "zh" else r"\w+", text.lower())
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def followbench(data_dir: Path) -> list[Row]:
    paths = sorted((data_dir / "followbench").glob("data*/*.json"))
    return [row for path in paths for row in json.loads(path.read_text("utf-8"))]


def benchmark_prompts(data_dir: Path) -> list[str]:
    ours = [data_dir / "ifeval/input_data.jsonl", data_dir / "ifbench/IFBench_test.jsonl"]
    prompts = [row["prompt"] for path in ours for row in jsonl(path)]
    prompts += [row["instruction"] for row in followbench(data_dir)]
    assert len(prompts) > 1_800
    return prompts


def sample_instructions(data_dir: Path) -> list[str]:
    folder = data_dir / "autoif_reference"
    found = set((folder / "seed_instruction.txt").read_text("utf-8").splitlines())
    for path in folder.glob("*.jsonl"):
        found |= {row["instruction"] for row in jsonl(path) if "instruction" in row}
    return sorted(found)


def near(texts: list[str], pool: list[str], limit: float) -> list[tuple[str, str, float]]:
    """(text, its like in the pool, similarity): all that reach `limit` of 100, word order aside."""
    found = []
    for text in texts:
        hit = process.extractOne(text, pool, scorer=fuzz.token_sort_ratio, score_cutoff=limit)
        if hit:
            found.append((text, hit[0], hit[1]))
    return found


# ---- in the package alone ----------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "least"), [("en", 80), ("zh", 40)])
def test_seeds_are_many_and_spread_over_the_families(lang: str, least: int) -> None:
    rows = seeds(lang)
    assert len(rows) >= least
    fields = {"text", "lang", "family", "benchmark_type"}
    assert all(set(r) - {"params", "bound"} == fields for r in rows)
    assert {r["lang"] for r in rows} == {lang}
    counts = Counter(r["family"] for r in rows)
    # Chinese has no letter case.
    assert set(counts) == (FAMILIES if lang == "en" else FAMILIES - {"case"})
    assert min(counts.values()) >= (5 if lang == "en" else 3)
    assert max(counts.values()) <= len(rows) / 5


@pytest.mark.parametrize("lang", LANGS)
def test_most_seeds_state_no_benchmark_type(lang: str) -> None:
    rows = seeds(lang)
    unmarked = [r for r in rows if not r["benchmark_type"]]
    assert len(unmarked) >= 0.6 * len(rows)
    # Unmarked alone, the families are still there: a clean run is as varied.
    assert {r["family"] for r in unmarked} == {r["family"] for r in rows}


def test_the_head_of_the_english_seeds_is_varied_and_mostly_unmarked() -> None:
    head = seeds("en")[:25]
    assert {r["family"] for r in head} == FAMILIES
    assert sum(not r["benchmark_type"] for r in head) >= 20


@pytest.mark.parametrize("lang", LANGS)
def test_seeds_are_one_line_in_their_language(lang: str) -> None:
    for row in seeds(lang):
        text = row["text"]
        assert text == text.strip()
        assert "\n" not in text
        assert 5 <= len(text) <= 200
        # English seeds may show a Chinese character or two, Chinese ones a piece of code.
        share = len(HAN.findall(text)) / len(text)
        assert share > 0.3 if lang == "zh" else share < 0.1, text


@pytest.mark.parametrize(("lang", "least"), [("en", 260), ("zh", 90)])
def test_queries_are_many_and_the_kinds_balanced(lang: str, least: int) -> None:
    rows = queries(lang)
    assert len(rows) >= least
    assert all(set(r) == {"query", "lang", "kind", "source", "licence"} for r in rows)
    assert {(r["lang"], r["source"], r["licence"]) for r in rows} == {
        (lang, "autoif", "Apache-2.0")
    }
    for some in (rows, rows[: len(rows) // 4]):
        counts = Counter(r["kind"] for r in some)
        assert set(counts) == KINDS
        assert max(counts.values()) <= 1.5 * min(counts.values())


@pytest.mark.parametrize("lang", LANGS)
def test_queries_have_the_length_of_questions(lang: str) -> None:
    for row in queries(lang):
        length = len(row["query"])
        assert (20 < length < 300) if lang == "en" else (8 <= length <= 120), row["query"]
        assert bool(HAN.search(row["query"])) == (lang == "zh")


@pytest.mark.parametrize(
    ("name", "field", "limit"),
    [
        ("seeds.en.jsonl", "text", 85),
        ("seeds.zh.jsonl", "text", 75),
        ("queries.en.jsonl", "query", 75),
        ("queries.zh.jsonl", "query", 60),
    ],
)
def test_no_two_are_nearly_the_same(name: str, field: str, limit: float) -> None:
    texts = [row[field] for row in shipped(name)]
    assert len({re.sub(r"\W", "", t.lower()) for t in texts}) == len(texts)
    for scorer in (fuzz.ratio, fuzz.token_sort_ratio):
        alike = process.cdist(texts, texts, scorer=scorer)
        pairs = [(alike[i][j], texts[i], texts[j]) for i in range(len(texts)) for j in range(i)]
        assert max(pairs)[0] < limit, max(pairs)


# ---- against the reference data ----------------------------------------------------------------


def test_benchmark_types_exist(data_dir: Path) -> None:
    ids = json.loads((data_dir / "ifbench/instruction_ids.json").read_text("utf-8"))
    ifeval = {
        i for r in jsonl(data_dir / "ifeval/input_data.jsonl") for i in r["instruction_id_list"]
    }
    ifbench = set(ids["ifbench_test_58"])
    assert (len(ifeval), len(ifbench)) == (25, 58)
    categories = {path.stem for path in (data_dir / "followbench/data").glob("*.json")}
    types = {f"followbench:{stem.removesuffix('_constraints')}" for stem in categories}
    for lang in LANGS:
        marks = {r["benchmark_type"] for r in seeds(lang)} - {""}
        assert marks <= ifeval | ifbench | types


@pytest.mark.parametrize("lang", LANGS)
def test_no_13_gram_is_shared_with_a_benchmark_prompt(data_dir: Path, lang: str) -> None:
    theirs: set[tuple[str, ...]] = set()
    for prompt in benchmark_prompts(data_dir):
        theirs |= grams(prompt, lang)
    for row in queries(lang) + seeds(lang):
        text = row.get("query") or row["text"]
        assert not grams(text, lang) & theirs, text


@pytest.mark.parametrize("lang", LANGS)
def test_no_seed_is_nearly_one_of_theirs(data_dir: Path, lang: str) -> None:
    texts = [row["text"] for row in seeds(lang)]
    sample = sample_instructions(data_dir)
    assert len(sample) >= 36
    assert near(texts, sample, 75) == []
    prompts = benchmark_prompts(data_dir)
    pool = {s.strip() for p in prompts for s in re.split(r"(?<=[.!?。！？])\s*|\n", p)}
    assert near(texts, sorted(s for s in pool if s), 80) == []


@pytest.mark.parametrize("lang", LANGS)
def test_no_query_is_nearly_a_benchmark_prompt(data_dir: Path, lang: str) -> None:
    texts = [row["query"] for row in queries(lang)]
    # A prompt of more than 600 characters cannot be 80% alike to a query of less than 300.
    prompts = sorted({p for p in benchmark_prompts(data_dir) if len(p) <= 600})
    assert near(texts, prompts, 80) == []
