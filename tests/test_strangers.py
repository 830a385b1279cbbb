"""A run directory, a store, a file from somebody else: nothing outside it is written, cut off or
deleted, and what it says is shown without doing anything."""

from __future__ import annotations

import asyncio
import json
import os
import tomllib
import unicodedata
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from autoif.base.errors import SetupError, UsageError, one_line
from autoif.base.printable import log, markdown, markdown_code, printable, printable_json
from autoif.base.records import Message, Reply, Request, Usage
from autoif.cli import main
from autoif.report import dataset_card, terminal
from autoif.run.directory import ARTEFACTS, RunDir
from autoif.run.progress import Progress
from autoif.run.recipe import Recipe
from autoif.store import open_store
from autoif.store.base import call_key, canonical
from autoif.train.config import TrainConfig
from runs import Done, rows, write_rows

Here = Callable[..., Done]

# ---- paths ---------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Files and a directory of the user's, which nobody may touch."""
    folder = tmp_path / "victim"
    (folder / "keep-me").mkdir(parents=True)
    (folder / "00000-0123456789abcdef").mkdir()
    for name in ("file", "keep-me/file", "00000-0123456789abcdef/file", "funnel.json"):
        (folder / name).write_text("precious")
    return folder


def state(folder: Path) -> dict[str, bytes | None]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


def plant(kind: str, name: Path, victim: Path) -> None:
    name.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(name)
    elif kind == "hard link":
        name.hardlink_to(victim / "file")
    else:
        to = {"folder": victim, "file": victim / "file", "nothing": victim / "new"}
        name.symlink_to(to.get(kind, kind))


NAMES = (
    *("recipe.toml", "progress.json", "manifest.json", "run.lock", "calls.sqlite"),
    *("calls.sqlite-wal", "calls.sqlite-shm", "calls.sqlite.lock", "parts", "data"),
    *("parts/compositions", "parts/00000-0123456789abcdef", "parts/00000-0123456789abcdef.open"),
    *("parts/00000-0123456789abcdef/data", "parts/00000-0123456789abcdef/funnel.json"),
    *("parts/compositions/drawn.jsonl", "data/README.md"),
    *(f"{name}.jsonl" for name in ARTEFACTS),
)


@pytest.mark.parametrize("kind", ["folder", "file", "nothing", "/dev/null", "pipe"])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_directory_with_a_link_is_refused(
    name: str, kind: str, victim: Path, tmp_path: Path
) -> None:
    before, run = state(victim), RunDir(tmp_path / "evil")
    plant(kind, run.path / name, victim)
    with pytest.raises(SetupError, match=r"link"), run.locked():
        run.claim(Recipe.load("smoke"))
    assert state(victim) == before


def test_synth_refuses_it_in_one_line(victim: Path, tmp_path: Path, here: Here) -> None:
    before, evil = state(victim), tmp_path / "evil"
    plant("file", evil / "recipe.toml.tmp", victim)
    plant("nothing", evil / "calls.sqlite.lock", victim)
    plant("folder", evil / "parts", victim)
    done = here("synth", "--preset", "smoke", "--out", evil, "--quiet")
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert state(victim) == before


@pytest.mark.parametrize("name", ["run.lock", "calls.sqlite", "calls.sqlite.lock"])
def test_a_hard_link_to_what_is_written_in_place_is_refused(
    name: str, victim: Path, tmp_path: Path
) -> None:
    before, run = state(victim), RunDir(tmp_path / "evil")
    plant("hard link", run.path / name, victim)

    def start() -> None:
        with run.locked():
            run.claim(Recipe.load("smoke"))
            open_store(run.calls)

    with pytest.raises(SetupError, match="link"):
        start()
    assert state(victim) == before


def test_links_of_the_users_own_do_not_matter(victim: Path, tmp_path: Path) -> None:
    """Beside our names, above the directory, and copies that share what is never written in
    place."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to("disk")
    run = RunDir(tmp_path / "runs" / "mine")
    plant("file", run.path / "notes.txt", victim)
    plant("nothing", run.path / ".#recipe.toml", victim)
    plant("hard link", run.path / "parts/00000-0123456789abcdef/03-samples.jsonl", victim)
    with run.locked():
        run.claim(Recipe.load("smoke"))
    assert (tmp_path / "disk/mine/recipe.toml").is_file()


def test_only_what_a_run_made_is_removed(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for name in ("00000-0123456789abcdef", "my-notes", "1-x", "00000-0123456789abcdef.open"):
        (parts / name).mkdir(parents=True)
    RunDir(tmp_path).drop_shards("", "f" * 16)
    assert sorted(os.listdir(parts)) == ["1-x", "my-notes"]


async def _store(path: Path, text: str) -> None:
    async with open_store(path) as store:
        request = Request((Message("user", text),), stage=text, record=text)
        body = canonical({"messages": [{"role": "user", "content": text}]})
        key = call_key(text, body, 0)
        await store.put(key, request, body, text, Reply(text, "stop", Usage(1, 0, 1, 0)))
        await store.mark(text)


@pytest.mark.parametrize("kind", ["file", "nothing"])
@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal", ".lock"])
def test_no_command_writes_through_a_link_of_a_store(
    end: str, kind: str, victim: Path, tmp_path: Path, here: Here
) -> None:
    """Reading too writes to what SQLite keeps beside the store."""
    evil, own = tmp_path / "evil", tmp_path / "own.jsonl"
    evil.mkdir()
    asyncio.run(_store(evil / "calls.sqlite", "x"))
    if end == "":
        (evil / "calls.sqlite").rename(victim / "file")
    own.write_text("")
    before = state(victim)
    (evil / f"calls.sqlite{end}").unlink(missing_ok=True)
    plant(kind, evil / f"calls.sqlite{end}", victim)
    for command in (["gc"], ["import"], ["inspect"], ["export"]):
        more = [own] if command == ["import"] else []
        done = here("calls", *command, evil, *more)
        reads = end == ".lock" and command[0] in ("inspect", "export")
        if (end, kind) != ("", "nothing"):  # a new store takes the place of such a link
            assert done.code == (0 if reads else 1), (command, done)
        assert len(done.err.splitlines()) <= 1
    assert state(victim) == before


def test_a_store_is_for_its_user_alone(smoke: Path) -> None:
    assert smoke.stat().st_mode & 0o777 == 0o700
    assert (smoke / "calls.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["folder", "file", "nothing", "pipe", "hard link"])
@pytest.mark.parametrize(
    "name",
    ["config.toml", "inputs.json", "metrics.jsonl", "rounds.jsonl", "run.lock", "calls.sqlite-shm",
     "checkpoints", "checkpoints/checkpoint-1/optimizer.pt", "adapter", "trained", "round-1",
     "round-0/server.log", "round-1/model.gguf", "adapter/adapter_model.safetensors"],
)  # fmt: skip
def test_a_training_directory_with_a_link_is_refused(
    name: str, kind: str, victim: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trl", reason='needs `pip install "autoif[train]"`')
    from autoif.train.training import TrainingRun

    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    before = state(victim)
    plant(kind, tmp_path / "out" / name, victim)
    values = {"model": str(model), "data": "x.jsonl", "out": str(tmp_path / "out")}
    with pytest.raises(SetupError, match="link"):
        TrainingRun(TrainConfig.of("sft", values), lambda line: None)
    assert state(victim) == before


def test_results_replace_the_links_that_bear_their_names(
    victim: Path, tmp_path: Path, here: Here
) -> None:
    before, out = state(victim), tmp_path / "eval"
    verifiers = write_rows(
        tmp_path / "v.jsonl", [{"id": "v", "checks": ["def evaluate(response):\n return True"]}]
    )
    responses = write_rows(tmp_path / "r.jsonl", [{"id": "v", "responses": ["a"]}])
    for name in ("scores.json", "verdicts.jsonl", "F.tmp", "F"):
        plant("file", out / name, victim)
    bench, answers = (
        write_rows(tmp_path / name, [row])
        for name, row in (
            ("d.jsonl", {"question": "1+1?", "answer": "#### 2"}),
            ("a.jsonl", {"prompt": "1+1?", "response": "2"}),
        )
    )
    scored = here("eval", "gsm8k", "--data", bench, "--responses", answers, "--out", out)
    assert scored.code == 0, scored.err
    assert here("verify", "--verifiers", verifiers, "--responses", responses, "--out",
                out / "F").code == 0  # fmt: skip
    assert state(victim) == before
    assert json.loads((out / "scores.json").read_text())["benchmark"] == "gsm8k"


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path, here: Here) -> None:
    row = {"id": "v", "checks": ["def evaluate(response):\n return True"]}
    verifiers = write_rows(tmp_path / "v.jsonl", [row])
    responses = write_rows(tmp_path / "r.jsonl", [{"id": "v", "responses": ["a"]}])
    assert here("verify", "--verifiers", verifiers, "--responses", responses, "--out",
                "/dev/null").code == 0  # fmt: skip
    assert Path("/dev/null").is_char_device()


@pytest.fixture
def verdicts(tmp_path: Path, here: Here) -> Callable[[Path], Done]:
    row = {"id": "v", "checks": ["def evaluate(response):\n return True"]}
    verifiers = write_rows(tmp_path / "v.jsonl", [row])
    responses = write_rows(tmp_path / "r.jsonl", [{"id": "v", "responses": ["a"]}])
    args = ("verify", "--verifiers", verifiers, "--responses", responses, "--quiet")
    return lambda out: here(*args, "--out", out)


def test_a_link_to_a_device_or_a_pipe_gives_its_place_to_the_file(
    verdicts: Callable[[Path], Done], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, to in (("a", "/dev/null"), ("b", str(tmp_path / "pipe"))):
        (tmp_path / name).symlink_to(to)
        assert verdicts(tmp_path / name).code == 0
        assert not (tmp_path / name).is_symlink()
        assert json.loads((tmp_path / name).read_text())["id"] == "v"


def test_an_output_that_cannot_be_written_is_one_line_that_names_it(
    verdicts: Callable[[Path], Done], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, why in (
        ("pipe", "nobody reads from it"), ("folder", "is a directory"), ("no/F", "no directory"),
    ):  # fmt: skip
        done = verdicts(tmp_path / name)
        assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
        assert f"{tmp_path / name}" in done.err
        assert why in done.err
        assert ".tmp" not in done.err


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("01-instructions", [{"id": "a1"}]),
        ("01-instructions", [{"id": 7}, {"id": "a1", "text": 3, "parents": 4}]),
        ("02-verifiers", [{"id": "a1", "instruction": "text", "checks": 3}]),
        ("03-samples", [{"id": "a1"}]),
        ("03-samples", [{"id": "a1", "composition": "", "verifiers": []}]),
        ("01-instructions.dropped", [{"record_id": "a1", "parent": "p"}]),
    ],
)
def test_rows_that_no_run_wrote_are_one_line_to_show(
    name: str, rows: list[object], tmp_path: Path, here: Here
) -> None:
    write_rows(tmp_path / f"{name}.jsonl", rows)
    done = here("show", tmp_path, "a1")
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert str(tmp_path) in done.err


@pytest.mark.parametrize("name", ["manifest.json", "recipe.toml"])
def test_a_report_of_any_size_is_not_read(name: str, tmp_path: Path, here: Here) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)  # a hole
    (args) = ("status", tmp_path) if name == "manifest.json" else ("recipe", tmp_path / name)
    done = here(*args)
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert name in done.err


# ---- text ----------------------------------------------------------------------------------------

OBEYED = {"Cc", "Cf", "Zl", "Zp"}
EVERY = "".join(
    c for c in map(chr, [*range(0xD800), *range(0xE000, 0xE1000)])
    if unicodedata.category(c) in OBEYED and c not in "\n\t"
)  # fmt: skip
HOSTILE = (
    "\x1b]52;c;ZXZpbA==\x07\x1b[8m\x1b]0;pwned\x07\u202e\x9b2J\0\x0b\r\x7f\x85\xad\u061c\u200b\u200d\u2028\u2029\u2066\ufeff\U000e0041"
    "[bold red]x[/] [link=http://evil]y[/link] :smile:"
)


def leaks(text: str) -> set[str]:
    """Characters that a terminal would obey or that hide."""
    return {c for c in text if c not in "\n\t" and unicodedata.category(c) in {*OBEYED, "Cs"}}


def hostile(value: Any) -> Any:
    """The value with HOSTILE in every string of it; equal strings stay equal."""
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, list):
        return [hostile(v) for v in value]
    return {k: hostile(v) for k, v in value.items()} if isinstance(value, dict) else value


def test_what_a_terminal_obeys_or_hides_is_escaped() -> None:
    surrogates = "".join(map(chr, range(0xD800, 0xE000)))
    assert not leaks(printable(EVERY + surrogates))
    assert printable("\x1b[8m\u202e\U000e0041") == "\\u001b[8m\\u202e\\U000e0041"
    honest = "naïve 中文 한국어 \t| tab\nline ❤️ é [x] \\ ` <b>"
    assert printable(honest) == honest


@given(st.text(max_size=20), st.text(max_size=50))
@settings(max_examples=30)
def test_json_says_the_same_in_other_letters(key: str, text: str) -> None:
    try:
        shown = printable_json(orjson.dumps({key: text + EVERY}).decode())
    except TypeError:  # a lone surrogate, which orjson refuses
        return
    assert not leaks(shown)
    assert json.loads(shown) == {key: text + EVERY}


def test_messages_are_clean_where_they_are_made(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "autoif")
    log(HOSTILE)
    assert not leaks(caplog.text)
    assert not leaks(str(UsageError(HOSTILE)))
    assert not leaks(one_line(ValueError(HOSTILE), "key"))


def test_nothing_that_is_rendered_does_anything(smoke: Path) -> None:
    """By whoever renders it: a console with markup, as rich makes it."""
    out = StringIO()
    console = Console(file=out, width=200, force_terminal=False)
    report = RunDir(smoke).report()
    for stage in report["stages"]:
        stage["dropped"] = hostile_keys(stage["dropped"])
    console.print(terminal.funnel(report))
    sft = [hostile(row) for row in rows(smoke / "data/sft.jsonl")[:2]]
    console.print(terminal.samples(sft))
    terminal.Watch(console, Progress(Recipe.load("smoke")), quiet=False).notice(HOSTILE)
    assert not leaks(out.getvalue())
    assert out.getvalue().count("[link=http://evil]y[/link] :smile:") > 4


def hostile_keys(value: dict[str, Any]) -> dict[str, Any]:
    return {k + HOSTILE: v for k, v in value.items()}


@pytest.fixture
def strange(smoke_copy: Path) -> Path:
    """A run directory in which every string is hostile, ids and the store's too."""
    for name in ARTEFACTS:
        file = smoke_copy / f"{name}.jsonl"
        write_rows(file, map(hostile, rows(file)))
    file = smoke_copy / "manifest.json"
    report = json.loads(file.read_text())
    for stage in report["stages"]:
        stage["dropped"] = hostile_keys(stage["dropped"])
    report |= {"state": "done" + HOSTILE, "error": HOSTILE, "phase": HOSTILE}
    file.write_text(json.dumps(report))
    recipe = Recipe.load("smoke", None, {"instructions": {"seeds": HOSTILE}})
    (smoke_copy / "recipe.toml").write_text(recipe.toml())
    (smoke_copy / "calls.sqlite").unlink()
    asyncio.run(_store(smoke_copy / "calls.sqlite", HOSTILE))
    return smoke_copy


def ids(run: Path) -> list[str]:
    """One of each artefact."""
    named = [rows(run / f"{name}.jsonl")[:1] for name in ARTEFACTS]
    return [row.get("id") or row["record_id"] for first in named for row in first]


def test_no_command_shows_what_a_terminal_would_obey(
    strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rows(tmp_path / "own.jsonl", [{"id": HOSTILE, "text": HOSTILE}])
    checks = ["def evaluate(response):\n raise ValueError(response)"]
    verifiers = write_rows(tmp_path / "v.jsonl", [{"id": HOSTILE, "checks": checks}])
    texts = write_rows(tmp_path / "r.jsonl", [{"id": HOSTILE, "responses": [HOSTILE]}])
    bench = write_rows(tmp_path / "d.jsonl", [{"question": HOSTILE, "answer": "#### 2"}])
    answers = write_rows(tmp_path / "a.jsonl", [{"prompt": HOSTILE, "response": HOSTILE}])
    scripted = f"scripted:{HOSTILE.replace(chr(0), '')}"
    sft = strange / "data/sft.jsonl"
    commands: list[list[object]] = [
        ["status", strange], ["status", strange, "--json"],
        *(["show", strange, i] for i in ids(strange)), ["show", strange, ids(strange)[0], "--json"],
        ["show", strange, HOSTILE],
        ["calls", "inspect", strange], ["calls", "inspect", strange, "--json"],
        ["calls", "export", strange], ["calls", "gc", strange, "--forget", HOSTILE],
        ["calls", "import", strange, file],
        ["verify", "--rows", sft], ["verify", "--verifiers", verifiers, "--responses", texts],
        ["diagnose", "--verifiers", verifiers], ["decontaminate", "--instructions", file],
        ["decontaminate", "--rows", sft, "--against", file],
        ["eval", "gsm8k", "--data", bench, "--responses", answers, "--out", tmp_path / "e"],
        ["compare", tmp_path / "e", tmp_path / "e"], ["compare", strange, strange],
        ["synth", "--preset", "smoke", "--out", strange],
        ["synth", "--preset", "smoke", "--set", f"seed={HOSTILE}", "--dry-run"],
        ["recipe", "--set", f"models.default={scripted}"],
    ]  # fmt: skip
    seen = ""
    for command in commands:
        capsys.readouterr()
        main([str(word) for word in command])
        done = capsys.readouterr()
        assert not leaks(done.out + done.err), command
        seen += done.out + done.err
        if "--json" in command:
            json.loads(done.out)
    assert seen.count("[link=http://evil]y[/link]") > 100


def test_a_recipe_that_is_printed_can_still_be_read(here: Here) -> None:
    value = "x" + EVERY.replace("\0", "")
    done = here("recipe", "--preset", "smoke", "--set", f"instructions.seeds={value}")
    assert not leaks(done.out)
    assert tomllib.loads(done.out)["instructions"]["seeds"] == value


OTHER: list[dict[str, Any]] = [
    {"stages": 1},
    {"stages": [{"name": "x"}]},
    {"seconds": "1"},
    {"calls": {"asked": HOSTILE, "replayed": 0}},
]


@pytest.mark.parametrize("change", OTHER)
def test_a_report_of_another_shape_is_one_line(
    change: dict[str, Any], smoke_copy: Path, here: Here
) -> None:
    file = smoke_copy / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    done = here("status", smoke_copy)
    assert (done.code, len(done.err.splitlines())) == (2, 1)


# ---- the card ------------------------------------------------------------------------------------

MARKUP = (
    "x | y\n\n<script>alert(1)</script><img src=//evil> ![i](//evil) [l](http://evil) `code` "
    "<http://evil> &lt; ``` ~~~ # head \\ **b** | \x1b[8m\u202e"
)


def test_the_card_holds_strangers_words_as_words(smoke_copy: Path) -> None:
    from markdown_it import MarkdownIt

    data = smoke_copy / "data"
    for name in dataset_card.FILES:
        file = data / f"{name}.jsonl"
        strange = rows(file)
        for row in strange:
            row |= {k: f"{row[k]}{MARKUP}" for k in ("id", "family", "source") if k in row}
        write_rows(file, strange)
    recipe = Recipe.load("smoke", None, {"models": {"default": f"openai:m`{MARKUP}"}})
    card = dataset_card.render(recipe, RunDir(smoke_copy).report(), data, "")
    assert not leaks(card)
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("\n---\n", 1)[1])
    inline = [t for token in tokens for t in token.children or ()]
    kinds = {t.type for t in (*tokens, *inline)}
    assert not kinds & {"html_block", "html_inline", "image", "link_open", "fence"}
    assert "".join(t.content for t in inline).count("<img src=//evil>") > 5
    plain = MarkdownIt("commonmark").enable("table").render(markdown(MARKUP))
    assert "evil" in plain
    assert "<a" not in plain + MarkdownIt().render(markdown_code(MARKUP))
