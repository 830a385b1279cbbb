"""The last step: what shares words with a benchmark, what is there twice, and what is too much."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autoif
from autoif.base.errors import UsageError
from autoif.base.records import content_id
from autoif.clean.final import most_of_each, refine
from autoif.clean.ngrams import Runs, alike, bands
from autoif.run.directory import DATA, RunDir
from autoif.run.recipe import Recipe
from runs import balanced, report, rows, stages, write_rows

Row = dict[str, Any]
SHIPPED = Path(autoif.__file__).parent / "data"
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def row(query: str, response: str, family: str = "length", instruction: str = "Be brief.") -> Row:
    return {
        "id": content_id(query, response, family, instruction),
        "messages": [
            {"role": "user", "content": f"{query} {instruction}"},
            {"role": "assistant", "content": response},
        ],
        "query_text": query,
        "instruction_text": instruction,
        "family": family,
        "benchmark_type": "",
        "instruction_ids": [content_id(instruction)],
    }


def refined(
    parts: Sequence[Sequence[Row]], against: Sequence[str] = (), **hygiene: Any
) -> tuple[list[Row], list[Row], Row]:
    """What stays in sft.jsonl, what falls out, and the books, for SFT rows in these parts."""
    recipe = Recipe.load("strict", None, {f"hygiene.{k}": v for k, v in hygiene.items()})
    with TemporaryDirectory() as name:
        folders = []
        for n, content in enumerate(parts):
            folder = Path(name) / "parts" / str(n)
            (folder / "data").mkdir(parents=True)
            for data in DATA:
                write_rows(folder / f"{data}.jsonl", content if data == "data/sft" else [])
            folders.append(folder)
        out = RunDir(Path(name))
        books = refine(folders, out, recipe, Runs(against))
        kept, dropped = rows(out.artefact("data/sft")), rows(out.artefact("05-data.dropped"))
        return kept, dropped, {s["name"]: s for s in books.to_json()}["data"]


# ---- benchmarks --------------------------------------------------------------------------------


def test_a_run_of_thirteen_words_is_found_wherever_it_stands() -> None:
    rest = " ".join(LONG.split()[:13]).upper().replace(" ", ", ")
    clean, in_query, in_answer = (
        row("What is this?", "Nothing."),
        row(f"Say {rest}!", "No."),
        row("And that?", f"So: {rest} indeed."),
    )
    kept, dropped, _ = refined([[clean, in_query, in_answer]], [f"{LONG} and on it goes"])
    assert [r["id"] for r in kept] == [clean["id"]]
    assert {d["record_id"] for d in dropped} == {in_query["id"], in_answer["id"]}
    assert all(d["reason"] == "contaminated" for d in dropped)
    assert dropped[0]["detail"].startswith("sft: one two three")


def test_twelve_words_are_not_enough() -> None:
    twelve = row(" ".join(LONG.split()[:12]), "Yes.")
    assert refined([[twelve]], [LONG])[0] == [twelve]


def test_a_short_benchmark_text_counts_where_it_is_the_whole_query() -> None:
    runs = Runs(["Is the sky blue?"])
    assert runs.shared("is the sky blue")
    assert not runs.shared("Tell me, is the sky blue today?")


def test_every_benchmark_is_read_as_it_is_published(data_dir: Path) -> None:
    files = [
        "ifeval/input_data.jsonl",
        "ifbench/IFBench_test.jsonl",
        "followbench/data/format_constraints.json",
        "followbench/data_zh/mixed_constraints.json",
        "general/gsm8k/test.jsonl",
        "general/humaneval/HumanEval.jsonl.gz",
    ]
    runs = Runs.of_files([str(data_dir / name) for name in files])
    first = json.loads((data_dir / files[4]).read_text("utf-8").splitlines()[7])["question"]
    assert runs.shared(f"Here you are: {first}")
    zh = json.loads((data_dir / files[3]).read_text("utf-8"))
    assert all(runs.shared(item["instruction"]) for item in zh[:20])


def test_the_shipped_queries_share_no_run_with_a_benchmark(data_dir: Path) -> None:
    runs = Runs.of_files([str(data_dir / "ifeval/input_data.jsonl")])
    assert not any(runs.shared(r["query"]) for r in rows(SHIPPED / "queries.en.jsonl"))


# ---- doubles -----------------------------------------------------------------------------------


def test_nearly_the_same_row_goes_and_says_whose_double_it_is() -> None:
    text = " ".join(f"word{n}" for n in range(60))
    twins = [row("How so?", text), row("How so?", f"{text} indeed")]
    kept, dropped, _ = refined([[twins[0]], [twins[1]]])
    least, other = sorted(twins, key=lambda r: str(r["id"]))
    assert kept == [least]
    assert dropped[0]["record_id"] == other["id"]
    assert dropped[0]["detail"] == f"sft: {least['id']}"


def test_rows_are_one_from_the_threshold_on() -> None:
    words = [f"word{n}" for n in range(60)]
    other = [*words[:40], "changed", *words[41:]]
    twins = [row("How so?", " ".join(text)) for text in (words, other)]
    likeness = alike(" ".join(words), " ".join(other))
    assert 0.8 < likeness < 1
    for threshold, left in ((likeness, 1), (likeness + 1e-9, 2), (1.0, 2)):
        assert len(refined([twins], near_duplicate=threshold)[0]) == left


def test_a_long_instruction_does_not_make_two_queries_one() -> None:
    instruction = " ".join(f"rule{n}" for n in range(300))
    two = [row(q, "Yes.", instruction=instruction) for q in ("Is it wet?", "Who goes there?")]
    assert len(refined([two])[0]) == 2


def test_the_same_answer_under_other_instructions_is_no_double() -> None:
    two = [row("Why?", "Because.", instruction=i) for i in ("Be brief.", "Use no commas at all.")]
    assert len(refined([two])[0]) == 2


def test_near_texts_meet_in_a_band() -> None:
    rng = random.Random(0)
    met = 0
    for _ in range(200):
        words = [f"w{rng.randrange(3000)}" for _ in range(90)]
        other = [*words]
        for place in rng.sample(range(90), 3):
            other[place] = "changed"
        a, b = " ".join(words), " ".join(other)
        assert alike(a, b) > 0.8
        met += any(x == y for x, y in zip(bands(a), bands(b), strict=True))
    assert met >= 198


@given(st.text(), st.text())
def test_likeness_is_a_share_and_symmetric(a: str, b: str) -> None:
    assert 0 <= alike(a, b) == alike(b, a) <= 1
    assert alike(a, a) == 1
    assert len(bands(a)) == 16


# ---- families ----------------------------------------------------------------------------------


def test_no_family_has_more_than_its_share() -> None:
    many = [row(f"q{n} {n * n}", f"a{n} {n**3}", f) for n, f in enumerate("xxxxxxxxxxxxyyyzz")]
    kept, dropped, _ = refined([many], family_share=0.5)
    counts = Counter(r["family"] for r in kept)
    assert counts == {"x": 5, "y": 3, "z": 2}
    assert {d["reason"] for d in dropped} == {"family_share"}


def test_what_has_no_family_is_not_bound() -> None:
    many = [row(f"q{n} {n * n}", f"a{n} {n**3}", f) for n, f in enumerate(["", *"xx"] * 6)]
    kept, _, _ = refined([many], family_share=0.5)
    assert Counter(r["family"] for r in kept) == {"": 6, "x": 6}


@given(st.lists(st.integers(1, 60), min_size=1), st.floats(0, 1), st.integers(0, 50))
def test_a_share_is_kept_and_no_more_than_needed_goes(
    counts: list[int], share: float, free: int
) -> None:
    most = most_of_each(counts, share, free)
    bound = max(share, 1 / (len(counts) + bool(free)))

    def fits(n: int) -> bool:
        return n <= bound * (free + sum(min(c, n) for c in counts)) + 1e-9

    assert fits(most)
    assert most == max(counts) or not fits(most + 1)


# ---- always ------------------------------------------------------------------------------------

WORDS = ["sun", "moon", "star", "rain", "wind", "leaf", "road", "door"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=24).map(" ".join)
made = st.builds(row, texts, texts, st.sampled_from(["length", "case", "format", ""]))


@settings(max_examples=60, deadline=None)
@given(st.lists(made, max_size=25, unique_by=lambda r: r["id"]), st.randoms(), st.floats(0.2, 1))
def test_neither_order_nor_shards_matter_and_the_books_balance(
    content: list[Row], rng: random.Random, share: float
) -> None:
    against = ["sun moon star rain wind leaf road door sun moon star rain wind leaf", "sun moon"]
    kept, dropped, books = refined([content], against, family_share=share)
    assert books["in"] == len(content) == books["kept"] + sum(books["dropped"].values())
    assert (len(kept), len(dropped)) == (books["kept"], sum(books["dropped"].values()))
    assert {r["id"] for r in kept} | {d["record_id"] for d in dropped} == {r["id"] for r in content}
    shuffled = [*content]
    rng.shuffle(shuffled)
    cut = rng.randint(0, len(shuffled))
    again = refined([shuffled[:cut], [], shuffled[cut:]], against, family_share=share)
    assert {r["id"] for r in again[0]} == {r["id"] for r in kept}
    assert {(d["record_id"], d["reason"]) for d in again[1]} == {
        (d["record_id"], d["reason"]) for d in dropped
    }


# ---- in a run ----------------------------------------------------------------------------------


def test_a_run_counts_what_its_last_step_took(tmp_path: Path) -> None:
    bench = write_rows(
        tmp_path / "bench.jsonl",
        [{"prompt": "take a rain jacket two layers of wool water and food for both days"}],
    )
    keys = {"against": (str(bench),), "family_share": 0.05}
    made = autoif.synth("smoke", out=tmp_path / "run", hygiene=keys)
    found = stages(report(made.path))["data"]
    assert balanced(report(made.path))
    assert found["dropped"]["contaminated"] > 0
    assert found["dropped"]["family_share"] > 0
    assert found["kept"] == sum(len(rows(made.path / f"{name}.jsonl")) for name in DATA)
    drops = [d for d in made.drops() if d.stage == "data"]
    assert Counter(d.reason for d in drops) == found["dropped"]
    assert not any("rain jacket" in str(r["messages"]) for r in made.sft_rows())
    card = (made.path / "data/README.md").read_text("utf-8")
    assert "No row shares a run of 13 words with a prompt of bench.jsonl" in card


def test_queries_keep_their_source_in_every_file(smoke: Path) -> None:
    made = autoif.Result(smoke)
    for found in (made.sft_rows(), made.dpo_rows(), made.rlvr_rows()):
        assert all(r["source"] == ("autoif, Apache-2.0" if r["query_text"] else "") for r in found)
    assert any(r["query_text"] for r in made.dpo_rows())


def test_a_wrong_file_is_heard_of_before_anything_is_asked(tmp_path: Path) -> None:
    for keys in ({"against": (str(tmp_path / "none.jsonl"),)}, {"fidelity": str(tmp_path)}):
        with pytest.raises(UsageError):
            autoif.synth("smoke", out=tmp_path / "run", hygiene=keys)
    assert not (tmp_path / "run/01-instructions.jsonl").exists()


def test_the_card_shows_measured_fidelity(tmp_path: Path) -> None:
    figures = {"n_survivors": 31, "balanced_accuracy": 0.962, "false_accept": None, "coverage": 0.4}
    told = {
        "command": "python benchmarks/fidelity.py",
        "model": "m",
        "profiles": {"strict": figures},
    }
    (tmp_path / "f.json").write_text(json.dumps(told))
    made = autoif.synth(
        "smoke",
        out=tmp_path / "run",
        hygiene={"fidelity": str(tmp_path / "f.json")},
        instructions={"limit": 2, "rounds": 0},
    )
    card = (made.path / "data/README.md").read_text("utf-8")
    assert "| strict | 31 | 0.962 | - | 0.4 |" in card
    for heading in ("## The funnel", "## Known limits", "## Ten samples"):
        assert heading in card
