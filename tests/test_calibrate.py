"""Calibration: a student answers, its verdicts become pass rates, and rows are made fit for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import students
from autoif.base.errors import UsageError
from autoif.engine.calibration import Calibration, calibrate
from autoif.train import dataset
from autoif.train.config import Calibrated, TrainConfig
from runs import Row, autoif, rows
from server import Server

K = 4
CAPITALS = "def evaluate(response):\n    return response.isupper()"
BLUE = "def evaluate(response):\n    return 'blue' in response.lower()"
MARK = "def evaluate(response):\n    return response.endswith('!')"
THREE = "def evaluate(response):\n    return len(response.split()) >= 3"
NEVER = "def evaluate(response):\n    return False"
RAISES = "def evaluate(response):\n    return 1 / 0"


def row(query: str, *constraints: tuple[str, str]) -> Row:
    """As `autoif synth` writes one."""
    texts = [text for text, _ in constraints]
    sources = students.verifiers(*(source for _, source in constraints))
    return {
        "id": query,
        "prompt": students.user(" ".join([query, *(f"{text}." for text in texts)])),
        "query_text": query,
        "instruction_text": "\n".join(texts),
        "verifiers": [{**v, "instruction": t} for v, t in zip(sources, texts, strict=True)],
        "pass_rate": 1.0,  # the generator's
        "level": len(texts),
        "soft": [],
        "verifier_ids": [f"v {text}" for text in texts],
        "instruction_ids": [f"i {text}" for text in texts],
        "lang": "en",
        "family": "case" if CAPITALS in dict(map(reversed, constraints)) else "words",  # type: ignore[arg-type]
        "benchmark_type": "",
        "source": "ours",
    }


LOUD, ENDS = ("Write in capital letters", CAPITALS), ("End with an exclamation mark", MARK)
WORD, LONG = ("Use the word blue", BLUE), ("Use three words or more", THREE)
ROWS = [
    row("Name a bird.", LOUD),  # always passed; half of its answers end with a mark
    row("Name a river.", LOUD, WORD),  # never passed; an answer has the word
    row("Name a tree.", ENDS),  # passed by one of four
    row("Name a lake.", WORD),  # never passed, and there is nothing less to ask for
    row("Name a town.", LONG),  # all pass, three by filler
    row("Name a star.", ("Say nothing at all", RAISES)),  # no verdict
    row("Name a road.", ("Do what cannot be done", NEVER), LOUD),  # an answer does the other
]
SCRIPT = [
    {"contains": ["Name a bird.", "exclamation mark"], "replies": ["A FINCH.", "A FINCH!"]},
    {"contains": ["Name a bird."], "replies": ["A FINCH.", "THE WREN!", "A CROW.", "A JAY!"]},
    {"contains": ["Name a river.", "capital"], "replies": ["The Nile.", "The blue Nile, I say."]},
    {"contains": ["Name a river."], "replies": ["The blue Nile.", "The Nile.", "Oh.", "So."]},
    {"contains": ["Name a tree."], "replies": ["An oak!", "An oak.", "An elm.", "A fir."]},
    {"contains": ["Name a lake."], "replies": ["Lake Como."]},
    {"contains": ["Name a town."], "replies": ["x x x x x", "so so so so", "Bern, in Switzerland",
                                               "[Name of a town]"]},
    {"contains": ["Name a star."], "replies": ["Vega."]},
    {"contains": ["Name a road."], "replies": ["THE A1."]},
]  # fmt: skip


@dataclass
class Calibrating:
    folder: Path
    config: Path
    counts: Row
    answered: int
    server: Server

    @property
    def rows(self) -> dict[str, Row]:
        """By the row that each was at first."""
        written = rows(self.folder / "out/data/rlvr.jsonl")
        return {row.get("calibrated_from") or row["id"]: row for row in written}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calibrating]:
    """The command, once, with a student behind a server."""
    folder = tmp_path_factory.mktemp("calibrate")
    students.write(folder / "rlvr.jsonl", ROWS)
    config = folder / "calibrate.toml"
    config.write_text(
        f'model = "openai:student"\ndata = "{folder}/rlvr.jsonl"\nout = "{folder}/out"\n'
        f"[sampling]\nk = {K}\nmax_tokens = 20\n"
    )
    with Server(SCRIPT) as server:
        made = autoif("calibrate", config, "--base-url", server.url, "--json", timeout=300)
        assert made.code == 0, made.err
        yield Calibrating(folder, config, json.loads(made.out), server.stats()["answered"], server)


def test_each_prompt_has_the_pass_rate_of_this_student(done: Calibrating) -> None:
    tree = done.rows["Name a tree."]
    assert (tree["pass_rate"], tree["n_answers"], tree["median_words"]) == (0.25, K, 2.0)
    assert done.rows["Name a lake."]["pass_rate"] == 0.0
    assert done.rows["Name a star."]["n_answers"] == 0  # no verdict is no failure
    assert set(done.rows) == {row["id"] for row in ROWS}
    assert done.answered == done.counts["answers"] + K  # those without a verdict beside
    assert done.answered == K * (len(ROWS) + 3)  # and those that were changed once more


def test_filler_passes_nothing_and_is_counted(done: Calibrating) -> None:
    assert done.rows["Name a town."]["pass_rate"] == 0.25
    assert done.counts["hack_rate"] == pytest.approx(3 / done.counts["answers"])


def test_what_is_always_passed_gets_a_constraint_that_goes_with_it(done: Calibrating) -> None:
    """The one that some of the answers follow by themselves: not that which all follow, nor one
    that none does."""
    bird = done.rows["Name a bird."]
    assert bird["prompt"] == students.user(
        "Name a bird. Write in capital letters. End with an exclamation mark."
    )
    assert [v["checks"] for v in bird["verifiers"]] == [[CAPITALS], [MARK]]
    assert bird["instruction_text"] == "Write in capital letters\nEnd with an exclamation mark"
    assert bird["verifier_ids"] == ["v Write in capital letters", "v End with an exclamation mark"]
    assert (bird["level"], bird["family"]) == (2, "case, words")
    assert (bird["pass_rate"], bird["n_answers"]) == (0.5, K)
    assert bird["id"] != "Name a bird."


def test_what_is_never_passed_asks_for_what_was_followed(done: Calibrating) -> None:
    river = done.rows["Name a river."]
    assert river["prompt"] == students.user("Name a river. Use the word blue.")
    assert [v["checks"] for v in river["verifiers"]] == [[BLUE]]
    assert (river["level"], river["instruction_text"]) == (1, "Use the word blue")
    assert (river["verifier_ids"], river["pass_rate"]) == (["v Use the word blue"], 0.25)
    road = done.rows["Name a road."]
    assert road["prompt"] == students.user("Name a road. Write in capital letters.")
    assert road["pass_rate"] == 1.0  # it is asked once more, and passes always now


def test_what_a_verifier_counts_goes_into_the_row(done: Calibrating) -> None:
    (verifier,) = done.rows["Name a town."]["verifiers"]
    assert (verifier["measure"]["low"], verifier["measure"]["high"]) == (3.0, None)
    (verifier,) = done.rows["Name a lake."]["verifiers"]
    assert verifier["measure"]["low"] == 1.0
    assert done.counts["measured"] == 2


def test_a_training_takes_the_band(done: Calibrating) -> None:
    taken = dataset.load("grpo", [str(done.folder / "out")], band=Calibrated())
    wanted = {"Name a bird.", "Name a river.", "Name a tree.", "Name a town."}
    assert {row["id"] for row in taken.rows} == {done.rows[name]["id"] for name in wanted}
    assert taken.dropped == {"pass rate outside calibrated.pass_rate": 3}
    assert done.counts["in_band"] == 4
    assert {row["median_words"] for row in taken.rows} == {1.5, 2.0, 4.0}
    hard = Calibrated(pass_rate=(0, 0.3))
    assert len(dataset.load("selfplay", [str(done.folder / "out")], band=hard).rows) == 3
    whole = dataset.load("grpo", [str(done.folder / "rlvr.jsonl")], band=Calibrated())
    assert len(whole.rows) == len(ROWS)  # the pass rate of a generator is none of the student's


def test_a_second_run_pays_nothing_and_writes_the_same(done: Calibrating) -> None:
    before = (done.folder / "out/data/rlvr.jsonl").read_bytes()
    again = autoif("calibrate", done.config, "--base-url", done.server.url, timeout=300)
    assert again.code == 0, again.err
    assert "7 rows, 4 in the band: 1 always passed (1 got a constraint more), 3 never" in again.out
    assert done.server.stats()["answered"] == done.answered
    assert (done.folder / "out/data/rlvr.jsonl").read_bytes() == before


def config(data: Path, out: Path, **more: Any) -> TrainConfig:
    values = {"model": f"scripted:{data.parent}/script.jsonl", "data": str(data), "out": str(out)}
    return TrainConfig.of("grpo", values | {"sampling": {"k": K, "max_tokens": 20}} | more)


def scripted(folder: Path, given: list[Row], replies: list[str], **more: Any) -> Calibration:
    students.write(folder / "script.jsonl", [{"contains": [], "replies": replies}])
    data = students.write(folder / "rlvr.jsonl", given)
    return calibrate(config(data, folder / "out", **more))


def test_what_cannot_be_taken_out_of_a_prompt_stays(tmp_path: Path) -> None:
    """The words of one constraint are part of another's, or stand in an earlier turn."""
    within = row("Name a river.", ("Say no", NEVER), ("Begin with: Say no.", THREE))
    turns = row("Name a lake.", LOUD, LONG)
    turns["prompt"] = [*turns["prompt"], *students.assistant("Como."), *students.user("Again.")]
    counts = scripted(tmp_path, [within, turns], ["one two three four"])
    assert (counts.never, counts.relabelled) == (2, 0)
    assert [r["prompt"] for r in rows(tmp_path / "out/data/rlvr.jsonl")] == [
        within["prompt"], turns["prompt"]
    ]  # fmt: skip


def test_one_prompt_states_a_kind_once(tmp_path: Path) -> None:
    more = ("Use 5 words or more", "def evaluate(response):\n    return len(response.split()) >= 5")
    less = ("Use 3 words or more", THREE)
    answers = ["one two three", "one two three four five six"]
    counts = scripted(tmp_path, [row("Name a lake.", less), row("Name a hill.", more)], answers)
    assert (counts.always, counts.appended) == (1, 0)


def test_rows_of_others_may_have_no_columns_but_two(tmp_path: Path) -> None:
    """And columns of ours that hold something else."""
    given: list[Row] = [
        {"prompt": "Name a bird. Write in capital letters.", "soft": 3, "family": None,
         "verifiers": [{"checks": [CAPITALS], "instruction": LOUD[0]}], "verifier_ids": 7},
        {"prompt": "Name a tree. End with an exclamation mark.",
         "verifiers": [{"checks": [MARK], "instruction": {"text": ENDS[0]}}]},
        {"prompt": "Name a lake.", "verifiers": [{"checks": [{"source": BLUE}]}]},
    ]  # fmt: skip
    counts = scripted(tmp_path, given, ["A FINCH.", "A FINCH!"])
    assert (counts.rows, counts.appended, counts.never) == (3, 1, 1)
    bird, *_ = rows(tmp_path / "out/data/rlvr.jsonl")
    assert bird["prompt"][0]["content"].endswith("letters. End with an exclamation mark.")
    assert len(dataset.load("grpo", [str(tmp_path / "out")], band=Calibrated()).rows) == 2


def test_bad_input_is_one_line_and_an_empty_set_no_result(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        calibrate(config(tmp_path / "none.jsonl", tmp_path / "out"))
    with pytest.raises(UsageError, match="no rows with a prompt and verifiers"):
        scripted(tmp_path, [{**ROWS[0], "verifiers": []}], ["A"])
    run = students.write(tmp_path / "run/data/rlvr.jsonl", ROWS[:1])
    with pytest.raises(UsageError, match="is not of a calibration: choose another `out`"):
        calibrate(config(run, tmp_path / "run"))
    (tmp_path / "run/calibration.json").write_text("{}")
    with pytest.raises(UsageError, match="is read, and would be written"):
        calibrate(config(run, tmp_path / "run"))
    assert rows(run) == ROWS[:1]
    bad = students.write(tmp_path / "bad.jsonl", [{**ROWS[0], "n_answers": 4, "pass_rate": "half"}])
    with pytest.raises(UsageError, match='a calibrated row has a number in "pass_rate"'):
        dataset.load("grpo", [str(bad)], band=Calibrated())
    (tmp_path / "c.toml").write_text('model = "m"\ndata = "d"\nout = "o"\n[calibrated]\nrate = 1')
    done = autoif("calibrate", tmp_path / "c.toml")
    assert (done.code, done.out) == (2, "")
    assert "unknown key 'calibrated.rate'" in done.err
