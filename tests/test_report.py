"""What pages show of a directory: the run's own figures, whatever is in its files."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import importlib.util
import json
import math
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import autoif
from autoif.base.errors import UsageError
from autoif.evals import evaluate
from autoif.report import html_page, reviewing
from autoif.report.pages import Pages, open_pages, page, report_html
from autoif.report.reviewing import Mark, Share
from autoif.report.synthesis_pages import SynthesisPages
from autoif.report.tables import TableQuery
from autoif.report.viewer import Viewer
from autoif.train.plots import lines
from hostile_texts import INJECTIONS
from runs import Done, Row, report, rows, stages

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def pages(smoke: Path) -> Iterator[SynthesisPages]:
    with opened(smoke) as made:
        yield made


def test_a_report_is_written_from_python(smoke: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    notices: list[str] = []
    said = notices.append
    assert autoif.write_report(smoke, out=str(out), samples=5, on_notice=said) == out
    assert out.read_text("utf-8") == report_html([smoke], 5)
    assert notices == []
    out.write_text("an earlier one")
    for wrong, dirs, settings in (
        ("neither a run", [tmp_path], {"out": out}),
        ("one directory at least", [], {"out": out}),
        ("at least 1", [smoke], {"out": out, "samples": 0}),
        ("cannot be written", [smoke], {"out": tmp_path / "none" / "page.html"}),
        ("cannot be written", [smoke], {"out": tmp_path}),
    ):
        with pytest.raises(autoif.AutoIFError, match=wrong):
            autoif.write_report(*dirs, **settings)
    assert out.read_text() == "an earlier one"


class opened:
    """The pages of a run, read once."""

    def __init__(self, path: Path) -> None:
        made = open_pages(path)
        assert isinstance(made, SynthesisPages)
        self.pages = made

    def __enter__(self) -> SynthesisPages:
        self.pages.refresh()
        return self.pages

    def __exit__(self, *_: object) -> None:
        self.pages.close()


def asked(pages: Pages, table: str, **query: str) -> Row:
    return page(pages, table, TableQuery.of((k.replace("__", "."), v) for k, v in query.items()))


# ---- what the tables say is what the files say ---------------------------------------------------


def test_tables_count_what_the_run_counts(pages: SynthesisPages, smoke: Path) -> None:
    kept = stages(report(smoke))["samples"]["kept"]
    assert asked(pages, "samples", eq__fate="kept")["total"] == kept
    for stage in report(smoke)["stages"]:
        for reason, n in stage["dropped"].items():
            drops = asked(pages, "drops", eq__stage=stage["name"], eq__reason=reason)
            assert drops["total"] == n, (stage["name"], reason)
    assert len(pages.run.pairs) == len(rows(smoke / "data/dpo.jsonl"))
    verified = asked(pages, "instructions", eq__fate="verified")["total"]
    assert verified == stages(report(smoke))["verifiers"]["kept"]


def test_a_question_gets_the_rows_that_a_plain_loop_finds(
    pages: SynthesisPages, smoke: Path
) -> None:
    samples = rows(smoke / "03-samples.jsonl")

    def ids(**query: str) -> list[str]:
        return [row["id"] for row in asked(pages, "samples", limit="200", **query)["rows"]]

    def text(row: Row) -> str:
        return "\n".join([*(m["content"] for m in row["messages"]), row["response"]]).lower()

    word = max(samples[0]["response"].split(), key=len).upper()
    found = [row["id"] for row in samples if word.lower() in text(row)]
    assert 0 < len(found) < len(samples)
    assert ids(q=word) == found
    good = [r for r in samples if r["quality"] is not None and r["quality"] >= 8]
    assert ids(min__quality="8") == [row["id"] for row in good]
    by_score = [r["quality"] for r in sorted(good, key=lambda r: r["quality"])]
    ordered = asked(pages, "samples", sort="quality", min__quality="8", limit="200")["rows"]
    assert [row["quality"] for row in ordered] == by_score
    composed = [r["id"] for r in samples if len(r["verifiers"]) == 3]
    assert ids(eq__level="3") == composed
    assert ids(q="no such words", eq__fate="kept") == []
    first, second = (
        asked(pages, "samples", limit="2"),
        asked(pages, "samples", limit="2", offset="2"),
    )
    assert [r["id"] for r in first["rows"] + second["rows"]] == [r["id"] for r in samples[:4]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sort": "file"},
        {"sort": "nothing"},
        {"eq__at": "1"},
        {"min__fate": "1"},
        {"min__quality": "nan"},
        {"offset": "x"},
        {"other": "1"},
    ],
)
def test_a_question_about_a_column_that_is_not_shown_is_refused(
    pages: SynthesisPages, wrong: dict[str, str]
) -> None:
    with pytest.raises(UsageError):
        asked(pages, "samples", **wrong)


def test_each_sample_has_the_calls_behind_it(pages: SynthesisPages, smoke: Path) -> None:
    for row in rows(smoke / "03-samples.jsonl"):
        record = pages.record("samples", row["id"])
        of = {call["of"]: call for call in record["calls"]}
        assert of["response"]["text"].strip() == row["response"]
        assert row["query"] in of["response"]["messages"][-1]["content"] or row["composition"]
        assert ("judge" in of) == (row["quality"] is not None or row["reason"] == "no_score")
        assert record["verifiers"] == row["verifiers"]


def test_a_dropped_function_is_shown_as_it_was_written(pages: SynthesisPages) -> None:
    drops = asked(pages, "drops", eq__stage="functions", limit="200")["rows"]
    records = [pages.record("drops", row["id"]) for row in drops]
    sources = ["".join(text for _, text in r["pieces"]) for r in records if "pieces" in r]
    assert sources
    assert all("def evaluate" in source for source in sources)
    lost = [r for r in records if "pieces" not in r and r["reason"] == "low_accuracy"]
    assert not lost


def test_functions_are_run_again_on_their_cases(pages: SynthesisPages, smoke: Path) -> None:
    for row in rows(smoke / "02-verifiers.jsonl"):
        record = pages.record("verifiers", row["id"])
        for accuracy, outcomes in zip(row["accuracy"], record["matrix"]["outcomes"], strict=True):
            right = [
                o[0] == str(c["expected"]).upper()
                for o, c in zip(outcomes, row["cases"], strict=True)
            ]
            assert abs(sum(right) / len(right) - accuracy) < 0.35
        instruction = pages.record("instructions", row["instruction"]["id"])
        assert instruction["verifiers"] == [row["id"]]


# ---- files as they are found ---------------------------------------------------------------------


def test_a_file_that_grows_is_read_on(smoke_copy: Path) -> None:
    file = smoke_copy / "03-samples.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:5]) + lines[5][:40])
    with opened(smoke_copy) as pages:
        assert len(pages.run.samples) == 5
        assert not pages.refresh()
        file.write_bytes(b"".join(lines[:5]) + b"not JSON\n" + lines[6])
        assert pages.refresh()
        assert len(pages.run.samples) == 6
        assert any("1 lines are not what a run wrote" in m for m in pages.summary()["missing"])
        file.unlink()
        file.write_bytes(lines[0])
        pages.refresh()
        assert [row["id"] for row in asked(pages, "samples")["rows"]] == [
            json.loads(lines[0])["id"]
        ]


def test_a_run_at_work_is_read_from_its_shards(smoke_copy: Path) -> None:
    whole = len(rows(smoke_copy / "03-samples.jsonl"))
    shard = smoke_copy / "parts/00000-0123456789abcdef.open"
    shutil.rmtree(smoke_copy / "parts")
    (shard / "data").mkdir(parents=True)
    for name in ("02-verifiers", "02-verifiers.dropped", "03-samples", "03-samples.dropped"):
        (smoke_copy / f"{name}.jsonl").rename(shard / f"{name}.jsonl")
    manifest = smoke_copy / "manifest.json"
    (smoke_copy / "progress.json").write_text(
        json.dumps(json.loads(manifest.read_text()) | {"state": "running"})
    )
    manifest.unlink()
    with opened(smoke_copy) as pages:
        assert pages.summary()["report"]["state"] == "running"
        assert len(pages.run.samples) == whole
        shard.rename(shard.with_suffix(""))
        pages.refresh()
        assert len(pages.run.samples) == whole
        assert pages.record("samples", asked(pages, "samples")["rows"][0]["id"])["row"]["response"]


def test_what_is_missing_is_named(smoke_copy: Path, tmp_path: Path) -> None:
    for name in ("04-compositions.jsonl", "02-verifiers.dropped.jsonl", "calls.sqlite"):
        (smoke_copy / name).unlink()
    (smoke_copy / "recipe.toml").write_text("not [ TOML")
    notices: list[str] = []
    report_html([smoke_copy], on_notice=notices.append)
    for name in ("04-compositions", "02-verifiers.dropped", "calls.sqlite"):
        assert any(name in notice for notice in notices), name
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "manifest.json").write_text("{")
    assert "manifest.json" in str(_summary(empty)["report"]["error"])


def _summary(path: Path) -> Row:
    with opened(path) as pages:
        return pages.summary()


def test_an_empty_run_is_sorted_and_searched(smoke_copy: Path) -> None:
    for name in ("01-instructions", "02-verifiers", "03-samples", "data/dpo"):
        (smoke_copy / f"{name}.jsonl").write_bytes(b"")
    with opened(smoke_copy) as pages:
        for table in ("samples", "pairs", "instructions"):
            assert asked(pages, table, sort="family", q="a", eq__lang="en")["total"] == 0
        assert pages.summary()["plots"]["score"] == []


def test_a_record_that_no_run_wrote_hides_no_other(smoke_copy: Path) -> None:
    file = smoke_copy / "03-samples.jsonl"
    lines = rows(file)
    lines[0]["verifiers"], lines[0]["verdicts"] = [], []
    lines[1]["quality"] = "ten"
    lines[2]["messages"] = "none"
    lines[3]["verdicts"] = [{"fraction": 1.0}]
    file.write_text("".join(json.dumps(row) + "\n" for row in lines))
    for name in ("02-verifiers", "02-verifiers.dropped", "data/dpo"):
        with (smoke_copy / f"{name}.jsonl").open("a") as out:
            out.write('{"id": [], "checks": 3}\n[1]\n\xff\n')
    notices: list[str] = []
    html = report_html([smoke_copy], on_notice=notices.append)
    assert len(inside(html, "data")["runs"][0]["tables"]["samples"]) >= len(lines) - 4
    assert any("lines are not what a run wrote" in notice for notice in notices)


def test_a_link_in_a_directory_is_not_followed(smoke_copy: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    shutil.copy(smoke_copy / "03-samples.jsonl", secret)
    (smoke_copy / "03-samples.jsonl").unlink()
    (smoke_copy / "03-samples.jsonl").symlink_to(secret)
    with opened(smoke_copy) as pages:
        assert len(pages.run.samples) == 0
        assert "03-samples.jsonl: not there" in pages.summary()["missing"]


def test_a_directory_of_something_else_is_refused_in_one_line(
    here: Callable[..., Done], tmp_path: Path
) -> None:
    for command in ("report", "view", "review"):
        for path in (tmp_path, tmp_path / "nothing"):
            done = here(command, path)
            assert done.code == 2
            assert done.err.count("\n") == 1
            assert str(path) in done.err


# ---- the page ------------------------------------------------------------------------------------


def inside(html: str, name: str) -> Any:
    """What an element of the page holds."""
    packed = re.search(rf'id="{name}">([A-Za-z0-9+/=]*)</script>', html)
    assert packed
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def hostile(value: Any, texts: Iterator[str]) -> Any:
    """The same value with a hostile text in each text of it that no other file refers to."""
    kept = ("verifiers", "status", "role", "stage", "parent", "record_id", "lang")
    if isinstance(value, str):
        return f"{next(texts)} {value[:40]}"
    if isinstance(value, list):
        return [hostile(v, texts) for v in value]
    if isinstance(value, dict):
        return {k: v if k in kept else hostile(v, texts) for k, v in value.items()}
    return value


def attacked(run: Path) -> Path:
    """Every text of the run's records begins with something that wants to be more than text."""
    from itertools import cycle

    texts = cycle(INJECTIONS)
    for name in ("03-samples", "03-samples.dropped", "02-verifiers.dropped", "data/dpo"):
        file = run / f"{name}.jsonl"
        lines = [json.dumps(hostile(row, texts)) for row in rows(file)]
        file.write_text("\n".join(lines) + "\n")
    for name in ("01-instructions", "02-verifiers"):  # their ids hold the others together
        file = run / f"{name}.jsonl"
        made = []
        for row in rows(file):
            changed = hostile(row, texts) | {"id": row["id"]}
            if "instruction" in row:
                changed["instruction"]["id"] = row["instruction"]["id"]
            made.append(json.dumps(changed))
        file.write_text("\n".join(made) + "\n")
    return run


def test_no_text_becomes_markup(smoke_copy: Path) -> None:
    html = report_html([attacked(smoke_copy)], on_notice=lambda line: None)
    assert "pwned" not in html
    scripts = re.findall(r"<script[^>]*>", html)
    assert len(scripts) == 3
    data = inside(html, "data")
    shown = json.dumps(data["runs"][0]["records"]["samples"])
    assert "window.pwned=1" in shown  # nothing of it is lost


def test_the_page_runs_its_own_script_alone() -> None:
    for html, said in (html_page.build(), html_page.build({"runs": []})):
        policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
        assert policy
        for tag in ("script", "style"):
            body = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
            assert len(body) == 1
            digest = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy[1]
        assert "default-src 'none'" in policy[1]
        assert "unsafe" not in policy[1]
        assert policy[1] == said
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert "connect-src 'none'" in said


def test_a_report_says_how_much_it_holds(
    smoke: Path, here: Callable[..., Done], tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    done = here("report", smoke, "--out", out, "--samples", "10")
    assert done.code == 0
    run = inside(out.read_text(), "data")["runs"][0]
    assert len(run["tables"]["samples"]) == 10
    assert run["summary"]["totals"]["samples"] == len(rows(smoke / "03-samples.jsonl"))
    dropped = {(r["stage"], r["reason"]) for r in run["records"]["drops"].values()}
    assert dropped == {
        (s["name"], reason) for s in report(smoke)["stages"] for reason in s["dropped"]
    }
    assert here("report", smoke, "--out", out, "--samples", "0").code == 2
    again = tmp_path / "again.html"
    assert here("report", smoke, "--out", again, "--samples", "10", "--quiet").out == ""
    assert again.read_bytes() == out.read_bytes()


def test_the_sentences_are_those_of_the_documentation() -> None:
    spec = importlib.util.spec_from_file_location("reasons", ROOT / "docs/reasons.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.FILE.read_text("utf-8") == made.reasons(), "run: python docs/reasons.py"
    said = json.loads(made.reasons())["reasons"]
    assert said["responses"]["failed_check"].startswith("too few functions accepted")
    assert said["any"]["truncated"]


def test_two_runs_are_compared(smoke: Path, smoke_copy: Path) -> None:
    lines = rows(smoke_copy / "02-verifiers.jsonl")
    (smoke_copy / "02-verifiers.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in lines[1:])
    )
    html = report_html([smoke, smoke_copy], on_notice=lambda line: None)
    found = inside(html, "data")["comparisons"]["0-1"]["instructions"]
    assert [name for name, _ in found["lost"]] == [lines[0]["instruction"]["id"]]
    assert found["won"] == []
    assert found["both"] == len(lines) - 1


# ---- evaluations and trainings -------------------------------------------------------------------


def test_an_evaluation_shows_each_response_with_its_verdicts(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    prompts = [
        ("Say it without commas.", "punctuation:no_comma"),
        ("in lowercase", "change_case:english_lowercase"),
    ]
    data.write_text(
        "".join(
            json.dumps({"key": n, "prompt": p, "instruction_id_list": [i], "kwargs": [{}]}) + "\n"
            for n, (p, i) in enumerate(prompts)
        )
    )
    answers = [
        {"key": 0, "response": "One, two."},
        {
            "key": 1,
            "response": "this is a whole reply in english, and all of it is in small letters.",
        },
    ]
    scores = evaluate("ifeval", responses=answers, data=data, out=tmp_path / "eval")
    made = open_pages(tmp_path / "eval")
    made.refresh()
    summary = made.summary()
    shown = {m["name"]: m["value"] for m in summary["metrics"]}
    assert shown["prompt_strict"] == scores["prompt_strict"].value == 50
    assert asked(made, "prompts", eq__verdict="followed")["rows"][0]["id"] == "1"
    assert asked(made, "prompts", eq__types="punctuation:no_comma")["rows"][0]["id"] == "0"
    assert summary["missing"] == ["responses.jsonl: not there"]
    assert made.record("prompts", "0")["row"]["verdict"]["strict"] == [False]


def test_a_training_shows_its_series(tmp_path: Path) -> None:
    steps = [{"step": n, "loss": 2.0 / n, "note": "text"} for n in range(1, 6)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in steps) + '{"st')
    rounds = [{"round": 0, "pass_rate": 0.4, "n": 100}, {"round": 1, "pass_rate": 0.5, "n": 541}]
    (tmp_path / "rounds.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rounds))
    made = open_pages(tmp_path)
    made.refresh()
    series = made.summary()["series"]
    assert series["step"][0] == {
        "name": "loss",
        "points": [[n, 2.0 / n, None] for n in range(1, 6)],
    }
    of_round = {one["name"]: one["points"] for one in series["round"]}
    assert of_round["pass_rate"] == [[0, 0.4, 100], [1, 0.5, 541]]


def test_points_that_rest_on_different_numbers_are_not_joined() -> None:
    history = [
        {"x": 1.0, "n": {"x": 300}},
        {"x": 2.0, "n": {"x": 100}},
        {"x": 3.0, "n": {"x": 300}},
    ]
    of_300 = lines(history, "x")[300]
    assert (of_300[0], math.isnan(of_300[1]), of_300[2]) == (1.0, True, 3.0)
    assert lines([{"x": 1.0}, {"x": 2.0}], "x") == {None: [1.0, 2.0]}


# ---- judging by hand -----------------------------------------------------------------------------


def mark(sample: str, reviewer: str, good: bool = True) -> Mark:
    return Mark(sample, reviewer, good, True, True)


def test_intervals_and_agreement_are_those_of_the_textbook() -> None:
    low, high = Share(24, 30).interval or (0, 0)  # Wilson 1927
    assert (round(low, 4), round(high, 4)) == (0.6269, 0.9049)
    assert Share(0, 0).interval is None
    both, a_alone, b_alone, neither = 20, 5, 10, 15  # Cohen's kappa 0.4
    goods = [(1, 1)] * both + [(1, 0)] * a_alone + [(0, 1)] * b_alone + [(0, 0)] * neither
    a = {str(n): mark(str(n), "a", bool(x)) for n, (x, _) in enumerate(goods)}
    b = {str(n): mark(str(n), "b", bool(y)) for n, (_, y) in enumerate(goods)}
    agreed = reviewing.agreement(a, b)
    assert (agreed["k"], agreed["n"], round(agreed["kappa"], 6)) == (35, 50, 0.4)


def test_the_draw_does_not_depend_on_the_order() -> None:
    ids = [f"{n:016x}" for n in range(500)]
    drawn = reviewing.draw(ids, 30, 1)
    assert reviewing.draw(reversed(ids), 30, 1) == drawn
    assert reviewing.draw(ids, 30, 2) != drawn
    assert reviewing.draw(ids, 40, 1)[:30] == drawn


def test_marks_are_appended_and_the_last_one_counts(tmp_path: Path) -> None:
    for one in (mark("s", "Ann"), mark("s", "Bob"), mark("s", "Ann", False)):
        reviewing.append(tmp_path, one)
    assert len(rows(tmp_path / "review.jsonl")) == 3
    with (tmp_path / "review.jsonl").open("ab") as file:
        file.write(b'{"sample": "cut sho')
    read = reviewing.read(tmp_path)
    assert (read["Ann"]["s"].good, read["Bob"]["s"].good) == (False, True)
    reviewing.append(tmp_path, mark("t", "Ann"))  # is no part of the line before it
    assert reviewing.read(tmp_path)["Ann"]["t"].good
    (tmp_path / "review.jsonl").write_text('{"sample": 1}\n')
    with pytest.raises(UsageError, match=r"review\.jsonl:1"):
        reviewing.read(tmp_path)


def test_files_that_cannot_be_read_are_named(smoke_copy: Path) -> None:
    (smoke_copy / "review.jsonl").write_text('{"sample": 1}\n')
    (smoke_copy / "calls.sqlite").write_bytes(b"no database " * 1000)
    (smoke_copy / "recipe.toml").write_text("preset = [")
    with opened(smoke_copy) as pages:
        for _ in range(2):
            summary = pages.summary()
            assert (summary["review"], summary["tokens"], summary["recipe"]) == (None, [], {})
            for name in ("review.jsonl:1", "calls.sqlite", "recipe.toml"):
                assert sum(name in line for line in summary["missing"]) == 1, name


def test_review_says_the_precision_of_kept_samples(
    smoke_copy: Path, here: Callable[..., Done]
) -> None:
    drawn = json.loads(here("review", smoke_copy, "--n", "10", "--json").out)["ids"]
    assert len(drawn) == 10
    kept = {row["id"] for row in rows(smoke_copy / "data/sft.jsonl")}
    assert set(drawn) <= kept
    for n, name in enumerate(drawn):
        reviewing.append(smoke_copy, mark(name, "Ann", n > 1))
        reviewing.append(smoke_copy, mark(name, "Bob", n > 0))
    reviewing.append(smoke_copy, mark("no such sample", "Ann", False))
    done = here("review", smoke_copy, "--n", "10")
    assert "Ann marked 10" in done.out
    assert "all three: precision: 8 of 10, 80% (95%: 49% to 94%)" in done.out
    assert "Ann and Bob agree on 9 of 10" in done.out
    card = (smoke_copy / "data/README.md").read_text()
    assert "| Ann | 8 of 10, 80% (95%: 49% to 94%) |" in card
    (smoke_copy / "review.jsonl").unlink()
    assert here("review", smoke_copy).code == 0


# ---- the server ----------------------------------------------------------------------------------


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[tuple[str, dict[str, str], aiohttp.ClientSession]]:
    """The address, the headers that let in, and a client."""
    viewer = Viewer([path])
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(viewer.serve(0, ready.set_result))
    address, token = (await ready).split("#token=")
    try:
        async with aiohttp.ClientSession() as client:
            yield address, {"Authorization": f"Bearer {token}"}, client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_server_lets_in_its_own_page_alone(smoke: Path) -> None:
    async with served(smoke) as (address, own, client):

        async def status(path: str, **headers: str) -> int:
            async with client.get(f"{address}{path}", headers=headers) as answer:
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; script-src 'sha256-")
                assert "frame-ancestors 'none'" in policy
                return answer.status

        assert address.startswith("http://127.0.0.1:")
        assert await status("") == 200
        assert await status("api/runs") == 401
        assert await status("api/runs", Authorization="Bearer wrong") == 401
        assert await status("api/runs", **own) == 200
        assert await status("api/runs", **own, Host="evil.example") == 403
        assert await status("", Host="evil.example") == 403
        assert await status("api/runs", **own, Origin="http://evil.example") == 403
        assert await status("api/runs", **own, Origin="null") == 403
        assert await status("api/runs", **own, Origin=address.rstrip("/")) == 200
        for path in ("api/1/samples", "api/-1/samples", "api/0/secrets", "api/0/samples/x", "etc"):
            assert await status(path, **own) == 404, path
        for path in ("api/0/samples/..%2f..%2frecipe.toml", "api/..%2f0/samples", "%2e%2e/x"):
            assert await status(path, **own) == 404, path
        assert await status("api/0/samples?sort=file", **own) == 404


async def test_a_mark_is_on_the_disk_when_it_is_answered(smoke_copy: Path) -> None:
    name = rows(smoke_copy / "data/sft.jsonl")[0]["id"]
    async with served(smoke_copy) as (address, own, client):

        async def post(body: object) -> int:
            where = f"{address}api/0/review"
            async with client.post(where, headers=own, json=body) as answer:
                return answer.status

        while True:  # the first look at the files takes its time
            async with client.get(f"{address}api/runs", headers=own) as answer:
                if (await answer.json())["runs"]:
                    break
            await asyncio.sleep(0.02)
        assert await post(mark(name, "Ann").to_json()) == 200
        assert rows(smoke_copy / "review.jsonl") == [mark(name, "Ann").to_json()]
        assert await post(mark("0" * 16, "Ann").to_json()) == 404
        assert await post(mark(name, " ").to_json()) == 404
        assert await post(mark(name, "Ann").to_json() | {"follows": "yes"}) == 404
        assert await post([]) == 404
        assert await post(mark(name, "A" * 20_000).to_json()) == 413
        (smoke_copy / "review.jsonl").unlink()
        (smoke_copy / "review.jsonl").symlink_to(smoke_copy / "recipe.toml")
        before = (smoke_copy / "recipe.toml").read_bytes()
        assert await post(mark(name, "Ann").to_json()) == 500
        assert (smoke_copy / "recipe.toml").read_bytes() == before
