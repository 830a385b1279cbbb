"""The commands as a user types them: options, looking at a run, exit codes."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from autoif import cli
from autoif.base.inputs import BUILTIN
from autoif.base.toml import parse_settings
from autoif.cli import main
from autoif.cli.doctor import examine
from autoif.run.recipe import PRESETS, Recipe, describe
from autoif.synthesis.instructions import propose
from autoif.synthesis.responses.queries import load as load_queries
from runs import FEW, SMOKE, Row, artefacts, balanced, command, rows, stages, write_rows

Capture = pytest.CaptureFixture[str]


def synth(*args: object) -> int:
    return main(["synth", "--preset", "smoke", "--quiet", *map(str, args)])


def told(capsys: Capture, *args: object) -> Row:
    """What a command says with --json."""
    capsys.readouterr()
    assert main([*map(str, args), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: Capture, *args: object) -> str:
    """The one line of a command that fails for what the user asked."""
    capsys.readouterr()
    assert main([str(a) for a in args]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


# ---- making data -------------------------------------------------------------------------------


def test_an_update_keeps_the_answers_and_pays_for_the_change(
    smoke: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "run"
    (tmp_path / "run").mkdir()
    for name in ("recipe.toml", "calls.sqlite", "01-instructions.jsonl"):
        (out / name).write_bytes((smoke / name).read_bytes())
    change = ("--out", out, "--set", "judge.threshold=9.5")
    line = refused(capsys, "synth", "--preset", "smoke", "--quiet", *change)
    assert "judge.threshold: 8.0 there, 9.5 here" in line
    assert "--update" in line
    assert synth(*change, "--update") == 1  # the script's best score is 9
    found = told(capsys, "status", out)
    assert 0 < found["calls"]["asked"] < 50  # second waves; all the rest is read back
    assert balanced(found)
    assert synth("--out", out, "--update") == 0
    assert artefacts(out) == artefacts(smoke)


def test_a_directory_in_which_nothing_was_made_refuses_nothing(
    tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "run"
    assert synth("--out", out, "--queries", tmp_path / "absent.txt") == 2
    assert synth("--out", out, *FEW) == 0


def test_two_runs_share_one_store(
    smoke: Path, smoke_copy: Path, tmp_path: Path, capsys: Capture
) -> None:
    store = smoke_copy / "calls.sqlite"
    assert synth("--out", tmp_path / "b", "--calls", store) == 0
    assert told(capsys, "status", tmp_path / "b")["calls"]["asked"] == 0
    assert not (tmp_path / "b/calls.sqlite").exists()
    assert artefacts(tmp_path / "b") == artefacts(smoke)


def test_one_run_at_a_time(tmp_path: Path, capsys: Capture) -> None:
    script = write_rows(tmp_path / "script.jsonl", [{"latency_ms": 3000}, *rows(SMOKE)])
    out = tmp_path / "run"
    first = command(
        "synth", "--preset", "smoke", "--model", f"scripted:{script}", "--out", out, "--quiet"
    )
    try:
        while not (out / "progress.json").exists():
            assert first.poll() is None
            time.sleep(0.02)
        assert synth("--out", out, "--update") == 1
        assert "in use by another run" in capsys.readouterr().err
        # Nor may another directory have its store.
        assert synth("--out", tmp_path / "b", "--calls", out / "calls.sqlite") == 1
        assert "in use by another run" in capsys.readouterr().err
        found = told(capsys, "status", out)
        assert found["state"] == "running"
        assert found["calls"]["asked"] == 0
    finally:
        first.kill()
        first.communicate()


def test_own_instructions_are_taken_as_they_are(tmp_path: Path, capsys: Capture) -> None:
    seed = rows(BUILTIN / "smoke" / "seeds.en.jsonl")[0]["text"]
    own = write_rows(tmp_path / "own.jsonl", [{"instruction": seed}])
    assert synth("--out", tmp_path / "run", "--instructions", own) == 0
    (instruction,) = rows(tmp_path / "run/01-instructions.jsonl")
    assert (instruction["text"], instruction["origin"]) == (seed, "user")
    assert rows(tmp_path / "run/data/sft.jsonl")


def test_own_verifiers_cost_no_functions(smoke: Path, tmp_path: Path, capsys: Capture) -> None:
    own = write_rows(
        tmp_path / "own.jsonl",
        [
            {
                "instruction": "End every line of your reply with a semicolon.",
                "checks": ["def evaluate(r):\n    return r.rstrip().endswith(';')"],
            },
            {"instruction": "Auf Deutsch.", "checks": ["x"], "lang": "de"},
            {"instruction": "Be brief.", "checks": ["def evaluate(r) return True"]},
        ],
    )
    assert synth("--out", tmp_path / "run", "--verifiers", own) == 0
    found = stages(told(capsys, "status", tmp_path / "run"))
    assert found["functions"]["in"] == found["cases"]["in"] == 0
    assert found["verifiers"]["dropped"]["broken"] == 1  # and no response was paid for it
    assert rows(tmp_path / "run/data/sft.jsonl")[0]["verifiers"][0]["checks"] == [
        "def evaluate(r):\n    return r.rstrip().endswith(';')"
    ]


def test_a_runs_own_verifiers_can_be_brought_to_another(
    smoke: Path, smoke_copy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    own = ("--verifiers", smoke / "02-verifiers.jsonl", "--calls", smoke_copy / "calls.sqlite")
    assert synth("--out", out, *own) == 0
    for name in ("02-verifiers.jsonl", "03-samples.jsonl", "data/sft.jsonl", "data/dpo.jsonl"):
        assert (out / name).read_bytes() == (smoke / name).read_bytes(), name


def test_seeds_and_queries_in_every_format(smoke: Path, tmp_path: Path) -> None:
    """The same content, whatever it is wrapped in, gives the same data."""
    shipped = rows(BUILTIN / "smoke" / "seeds.en.jsonl")
    seeds = [row["text"] for row in shipped if "params" not in row]
    queries = [row["query"] for row in rows(BUILTIN / "smoke" / "queries.en.jsonl")]
    (tmp_path / "s.txt").write_text("\n".join(seeds) + "\n\n")
    (tmp_path / "q.txt").write_text("\ufeff" + "\r\n".join(queries), "utf-8")
    write_rows(tmp_path / "s.jsonl", [{"text": s, "other": 1} for s in seeds])
    system = {"role": "system", "content": "x"}
    chats = [{"messages": [system, {"role": "user", "content": q}]} for q in queries]
    write_rows(tmp_path / "q.jsonl", chats)
    pl.DataFrame({"instruction": seeds}).write_csv(tmp_path / "s.csv")
    pl.DataFrame({"question": queries}).write_csv(tmp_path / "q.tsv", separator="\t")
    pl.DataFrame({"prompt": seeds}).write_parquet(tmp_path / "s.parquet")
    turns = [[{"from": "human", "value": q}, {"from": "gpt", "value": "yes"}] for q in queries]
    pl.DataFrame({"conversations": turns}).write_parquet(tmp_path / "q.parquet")
    read = []
    for s, q in (
        ("s.txt", "q.jsonl"), ("s.jsonl", "q.tsv"), ("s.csv", "q.parquet"), ("s.parquet", "q.txt")
    ):  # fmt: skip
        files = {"instructions.seeds": str(tmp_path / s), "queries.source": str(tmp_path / q)}
        recipe = Recipe.load("smoke", None, files)
        read.append((propose.load(recipe), load_queries(recipe)))
    assert read[0] == read[1] == read[2] == read[3]
    own = ("--seeds", tmp_path / "s.csv", "--queries", tmp_path / "q.parquet")
    assert synth("--out", tmp_path / "run", *own) == 0
    numbered = {r["id"] for r in rows(smoke / "01-instructions.jsonl") if r["template"]}
    single = [
        [r["id"] for r in rows(run / "data/sft.jsonl")
         if not r["composition"] and not numbered & set(r["instruction_ids"])]
        for run in (smoke, tmp_path / "run")
    ]  # fmt: skip
    assert len(single[0]) == len(single[1]) > 0


def test_a_dataset_of_the_hub_or_a_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra [hub]")
    queries = [row["query"] for row in rows(BUILTIN / "smoke" / "queries.en.jsonl")]
    folder = tmp_path / "dataset"
    folder.mkdir()
    pl.DataFrame({"asked": queries}).write_parquet(folder / "train.parquet")
    assert datasets
    assert synth("--out", tmp_path / "run", "--queries", f"hf:{folder}:train:asked", *FEW) == 0


def test_a_recipe_file_and_settings_lie_over_one_another(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "recipe.toml"
    few = "[instructions]\nlimit = 2\nrounds = 0\n"
    file.write_text(f'preset = "smoke"\nseed = 5\n{few}[judge]\nthreshold = 7.0\n')
    out = tmp_path / "run"
    args = ["synth", str(file), "--set", "judge.threshold=6", "--out", str(out), "--quiet"]
    assert main(args) == 0
    text = (out / "recipe.toml").read_text()
    assert "seed = 5" in text
    assert "threshold = 6.0" in text
    assert main(["synth", str(out / "recipe.toml"), "--out", str(out), "--quiet"]) == 0


# ---- the dry run -------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_a_dry_run_asks_nothing_and_likely_is_at_most_most(
    preset: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = told(capsys, "synth", "--preset", preset, "--dry-run")
    assert list(tmp_path.iterdir()) == []
    for row in [*plan["stages"], plan["total"]]:
        for key in ("calls", "prompt_tokens", "completion_tokens"):
            assert 0 <= row[key]["likely"] <= row[key]["most"], (row.get("name"), key)
    assert plan["instructions"]["likely"] <= plan["instructions"]["most"]


def test_no_run_exceeds_what_the_dry_run_called_most(smoke: Path, capsys: Capture) -> None:
    plan = told(capsys, "synth", "--preset", "smoke", "--dry-run")
    report = told(capsys, "status", smoke)
    assert report["calls"]["asked"] <= plan["total"]["calls"]["most"]
    assert report["calls"]["asked"] / 2 < plan["total"]["calls"]["likely"]
    assert report["calls"]["asked"] * 2 > plan["total"]["calls"]["likely"]
    assert report["tokens"]["completion"] <= plan["total"]["completion_tokens"]["most"]


@pytest.mark.parametrize(
    "settings",
    [
        {
            "verifiers.k=2": ("functions", 28 + 28),  # each may be repaired
            "verifiers.comply=5": ("programs", 14 * 5),
            "verifiers.case_asks=3": ("cases", 14 * 3 + 6),  # and 6 plain replies
        },
        {
            "verifiers.repair=0": ("functions", 14 * 3),
            "backtranslate.judge=off": ("backtranslate", 0),
            "responses.waves=[1]": ("responses", 14 * 3 + 18),  # and 18 turns of compositions
            "judge.style=off": ("judge", 0),
        },
    ],
)
def test_the_dry_run_counts_what_the_flow_asks(
    settings: dict[str, tuple[str, int]], capsys: Capture
) -> None:
    options = [word for setting in settings for word in ("--set", setting)]
    plan = told(capsys, "synth", "--preset", "smoke", *options, "--dry-run")
    for row, calls in settings.values():
        assert sum(s["calls"]["most"] for s in plan["stages"] if s["name"] == row) == calls, row


def test_a_dry_run_knows_how_long_proposals_may_be(capsys: Capture) -> None:
    long = ("--set", "instructions.max_tokens=4000", "--dry-run", "--preset", "smoke")
    (row, *_) = told(capsys, "synth", *long)["stages"]
    assert (row["name"], row["completion_tokens"]["most"]) == ("instructions", 4000)


def test_prices_make_costs(capsys: Capture) -> None:
    model = ("--model", "openai:some", "--dry-run", "--preset", "smoke")
    assert main(["synth", *model]) == 0
    assert "total" in (table := capsys.readouterr().out)
    assert "cost: unknown" in table
    priced = told(capsys, "synth", *model, "--set", 'models.prices={"openai:some"=[1.0, 4.0]}')
    total = priced["total"]
    for kind in ("likely", "most"):
        wanted = total["prompt_tokens"][kind] + 4 * total["completion_tokens"][kind]
        assert total["cost"][kind] == pytest.approx(wanted / 1e6, abs=1e-3)


# ---- looking -----------------------------------------------------------------------------------


def kinds(out: Path) -> dict[str, str]:
    """An id of every kind that a run directory holds."""
    verifier = rows(out / "02-verifiers.jsonl")[0]
    found = {
        "instruction": verifier["instruction"]["id"],
        "verifier": verifier["id"],
        "check": verifier["checks"][0]["id"],
        "case": verifier["cases"][0]["id"],
        "sample": rows(out / "03-samples.jsonl")[0]["id"],
        "pair": rows(out / "data/dpo.jsonl")[0]["id"],
        "rlvr": rows(out / "data/rlvr.jsonl")[0]["id"],
    }
    found["composition"] = rows(out / "04-compositions.jsonl")[0]["id"]
    for n in (1, 2, 3, 4):
        (name,) = out.glob(f"0{n}-*.dropped.jsonl")
        found |= {f"drop of {r['stage']}: {r['reason']}": r["record_id"] for r in rows(name)}
    return found


def test_every_id_has_its_story(smoke: Path, capsys: Capture) -> None:
    for kind, name in kinds(smoke).items():
        story = told(capsys, "show", smoke, name)
        assert story["wanted"] == name
        assert story["found"], kind
        if not kind.startswith("drop of instructions"):
            assert story["instruction"] or story["composition"], kind
            assert story["calls"] or "already_followed" in kind, kind
        assert main(["show", str(smoke), name]) == 0
        assert name in capsys.readouterr().out, kind


def test_the_beginning_of_an_id_will_do_if_it_is_the_only_one(smoke: Path, capsys: Capture) -> None:
    name = kinds(smoke)["sample"]
    assert told(capsys, "show", smoke, name[:12])["wanted"] == name
    ambiguous = next(c for c in "0123456789abcdef" if sum(
        i.startswith(c) for i in kinds(smoke).values()) > 1)  # fmt: skip
    assert "give more digits" in refused(capsys, "show", smoke, ambiguous)
    assert "no record and no drop" in refused(capsys, "show", smoke, "zzzz")
    assert "which record" in refused(capsys, "show", smoke, "")


def test_status_is_a_table_or_json(smoke: Path, tmp_path: Path, capsys: Capture) -> None:
    found = told(capsys, "status", smoke)
    assert {"stages", "calls", "tokens", "cost", "state"} <= found.keys()
    assert set(found["calls"]) == {"asked", "replayed"}
    for stage in found["stages"]:
        assert set(stage) == {"name", "in", "kept", "dropped"}
    assert main(["status", str(smoke)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{smoke}: done, preset smoke\n")
    assert all(stage["name"] in said for stage in found["stages"])
    assert "not a run directory" in refused(capsys, "status", tmp_path)
    assert "not a run directory" in refused(capsys, "show", tmp_path, "0123")


def test_a_directory_may_be_called_anything(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "[bold] ü 100%"
    assert main(["synth", "--preset", "smoke", "--out", str(out), *FEW]) == 0
    assert "[bold] ü 100%" in capsys.readouterr().out.replace("\n", "")
    assert main(["status", str(out)]) == 0


# ---- verify and doctor -------------------------------------------------------------------------


def test_verify_gives_the_rows_that_the_design_names(tmp_path: Path, capsys: Capture) -> None:
    checks = [
        "def evaluate(r):\n    return 'a' in r",
        "def evaluate(r):\n    return 1 / len(r) > 0",
    ]
    verifiers = write_rows(tmp_path / "v.jsonl", [{"id": "v", "checks": checks}])
    responses = write_rows(tmp_path / "r.jsonl", [{"id": "v", "responses": ["a", "b", ""]}])
    args = ["verify", "--verifiers", str(verifiers), "--responses", str(responses)]
    out = tmp_path / "out.jsonl"
    why = "ERROR: ZeroDivisionError: division by zero"
    assert main([*args, "--out", str(out)]) == 0
    assert f"no verdict, 1 times: {why}\n" in capsys.readouterr().err
    assert told(capsys, *args, "--out", out)["reasons"] == {why: 1}
    wanted = [
        {"fraction": 1.0, "outcomes": ["TRUE", "TRUE"], "reasons": ["", ""]},
        {"fraction": 0.5, "outcomes": ["FALSE", "TRUE"], "reasons": ["", ""]},
        {"fraction": 0.0, "outcomes": ["FALSE", "ERROR"], "reasons": ["", why]},
    ]
    assert rows(out) == [{"id": "v", "verdicts": wanted}]


def test_counts_as_json_leave_the_rows_to_a_file(
    smoke: Path, tmp_path: Path, capsys: Capture
) -> None:
    data, out = smoke / "data/sft.jsonl", tmp_path / "out.jsonl"
    assert "--out F" in refused(capsys, "verify", "--rows", data, "--json")
    found = told(capsys, "verify", "--rows", data, "--out", out)
    assert (found["rows"], found["disagreed"]) == (len(rows(data)), 0)
    assert sum(found["reproduced_by_level"].values()) == len(rows(out)) == found["rows"]
    own = [{"id": "v", "checks": ["def evaluate(response):\n    return True"]}]
    verifiers = write_rows(tmp_path / "v.jsonl", own)
    found = told(capsys, "diagnose", "--verifiers", verifiers, "--out", out)
    assert found["without_a_flag"] == 0
    assert found["flags"]["accept_all"] == 1


def test_verify_runs_data_rows_again(smoke: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.jsonl"
    assert main(["verify", "--rows", str(smoke / "data/sft.jsonl"), "--out", str(out)]) == 0
    assert all(row["agrees"] for row in rows(out))


@pytest.mark.parametrize(
    "args", [[], ["--rows", "x", "--verifiers", "y"], ["--verifiers", "absent"]]
)
def test_verify_says_what_it_needs(args: list[str], capsys: Capture) -> None:
    assert refused(capsys, "verify", *args).startswith("autoif: ")


def test_doctor_says_what_works(capsys: Capture) -> None:
    code = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    bad = [f for f in found if f["required"] and not f["holds"]]
    assert code == (1 if bad else 0)
    assert any(f["name"].startswith("sandbox") for f in found)
    assert len(found) == len(examine())
    assert main(["doctor"]) == code


def parsers(
    parser: argparse.ArgumentParser, name: str = "autoif"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, inner in action.choices.items():
                yield from parsers(inner, f"{name} {verb}")


PARSERS = dict(parsers(cli._parser()))


@pytest.mark.parametrize("name", PARSERS)
def test_every_help_has_groups_and_examples_that_can_be_typed(name: str) -> None:
    text = PARSERS[name].format_help()
    titles = {group.title for group in PARSERS[name]._action_groups if group._group_actions}
    assert titles - {"positional arguments", "options"}, "no group of its own"
    assert "positional arguments" not in titles
    _, _, examples = text.partition("\nexamples:\n")
    shown = [line.strip() for line in examples.splitlines()]
    assert any(line.startswith(name) for line in shown), "no example"
    for line in shown:
        words = shlex.split(line.partition(" > ")[0], comments=True)
        if words[1:] != ["COMMAND", "--help"]:
            assert cli._parser().parse_args(words[1:]).run


@pytest.mark.parametrize(
    ("option", "commands"),
    [
        ("--json", ["calls export x", "recipe"]),
        ("--quiet", ["status x", "show x y", "doctor", "compare a b", "calls inspect x", "recipe"]),
    ],
)
def test_no_command_takes_an_option_that_it_ignores(
    option: str, commands: list[str], capsys: Capture
) -> None:
    for words in commands:
        with pytest.raises(SystemExit):
            main([*words.split(), option])
        assert f"unrecognized arguments: {option}" in capsys.readouterr().err


@pytest.mark.parametrize("args", [[], ["calls"]])
def test_without_a_command_the_help_is_shown_as_wrong_usage(
    args: list[str], capsys: Capture
) -> None:
    assert main(args) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "examples:" in said.err


def test_a_misspelt_command_names_the_nearest_one(capsys: Capture) -> None:
    for args, near in ((["synht"], "synth"), (["train", "stf", "x.toml"], "sft")):
        with pytest.raises(SystemExit):
            main(args)
        assert f"did you mean {near}?" in capsys.readouterr().err


@pytest.mark.parametrize("preset", PRESETS)
def test_a_recipe_is_printed_whole_and_can_be_read_again(
    preset: str, tmp_path: Path, capsys: Capture
) -> None:
    prices = 'models.prices={"openai:some"=[1.0, 4.0]}'
    assert main(["recipe", "--preset", preset, "--set", prices, "--set", "seed=7"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "recipe.toml").write_text(text)
    wanted = Recipe.load(preset, None, parse_settings([prices, "seed=7"]))
    assert Recipe.load(None, tmp_path / "recipe.toml") == wanted
    for key, _, _, meaning in describe():
        assert f"# {meaning}\n" in text, key


@pytest.mark.parametrize("args", [["--version"], ["--help"], ["synth", "--help"]])
def test_help_is_no_failure(args: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(args)
    assert leaving.value.code == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("args", [["nonsense"], ["synth", "--nonsense"], ["show"]])
def test_wrong_usage_is_exit_2(args: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(args)
    assert leaving.value.code == 2
