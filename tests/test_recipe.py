"""The recipe: layers, identity, round trips, and every preset whole."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.base.errors import UsageError
from autoif.base.toml import merge, parse_settings
from autoif.engine.resources import open_model
from autoif.models.openai.backend import HttpBackend
from autoif.run.recipe import PRESETS, TRANSPORT, Recipe, describe, files_outside


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_survives_being_written_down(preset: str) -> None:
    recipe = Recipe.load(preset)
    again = Recipe.of(tomllib.loads(recipe.toml()))
    assert again == recipe
    assert again.hash == recipe.hash
    assert not again.differs(recipe)


def test_presets_differ() -> None:
    assert len({Recipe.load(p).hash for p in PRESETS}) == len(PRESETS)


@pytest.mark.parametrize(
    ("key", "preset", "least", "passes_itself"),
    [
        ("crossval.accuracy", "paper", 0.5, False),
        ("crossval.accuracy", "reference", 0.8, True),
        *[("crossval.accuracy", p, 0.8, True) for p in ("strict", "composed", "demo", "smoke")],
        ("responses.accuracy", "paper", 0.5, False),
        ("responses.accuracy", "reference", 0.0, False),
        *[("responses.accuracy", p, 1.0, True) for p in ("strict", "composed", "demo", "smoke")],
        ("judge.threshold", "paper", 8.0, True),
        ("judge.threshold", "reference", 8.0, False),
        *[("judge.threshold", p, 8.0, True) for p in ("strict", "composed", "smoke")],
        ("judge.threshold", "demo", 9.0, True),
    ],
)
def test_what_a_threshold_of_a_preset_lets_pass(
    key: str, preset: str, least: float, passes_itself: bool
) -> None:
    section, _, name = key.partition(".")
    recipe = Recipe.load(preset)
    threshold = getattr(getattr(recipe, section), name)
    assert not threshold.met(least - 0.001)
    assert threshold.met(least) is passes_itself
    assert threshold.met(least + 0.001)
    value = least if passes_itself else f"above {least}"
    assert recipe.identity()[section][name] == value
    assert Recipe.load(preset, None, {key: value}) == recipe


@pytest.mark.parametrize(
    "value", ["above", "above ", "above 2", "below 0.5", -0.1, 1.1, True, None, [0.5], "above nan"]
)
def test_what_is_no_threshold_is_refused(value: object) -> None:
    with pytest.raises(
        UsageError, match=r'crossval\.accuracy: wants a number from 0 to 1, or "above'
    ):
        Recipe.load("paper", None, {"crossval.accuracy": value})


def test_what_carries_the_calls_is_no_part_of_the_identity() -> None:
    one = Recipe.load("smoke")
    settings = {
        "models.base_url": ["http://127.0.0.1:1/v1"],
        "models.api_key_env": "OTHER",
        "models.timeout": 1.0,
        "models.patience": 2.0,
        "models.prices": {"x": [1.0, 2.0]},
        "engine.in_flight": 3,
    }
    assert {k.partition(".")[2] for k in settings if k.startswith("models")} == set(TRANSPORT)
    assert Recipe.load("smoke", None, settings).hash == one.hash
    for key, value in {"seed": 2, "judge.threshold": 9.0, "models.judge": "openai:x"}.items():
        other = Recipe.load("smoke", None, {key: value})
        assert other.hash != one.hash
        (line,) = other.differs(one)
        assert line.startswith(f"{key}: ")


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_a_preset_is_called_by_its_name(preset: str) -> None:
    assert Recipe.load(preset).profile == (preset or "defaults")


def test_a_recipe_of_its_own_is_the_defaults_and_says_so() -> None:
    recipe = Recipe()
    assert (recipe.preset, recipe.profile) == ("", "defaults")
    assert recipe == Recipe.load("")
    with pytest.raises(UsageError, match=r"unknown preset 'papr'.*did you mean paper\?"):
        Recipe(preset="papr")


@pytest.mark.parametrize(
    ("settings", "profile"),
    [
        ({"responses.accuracy": 0.9}, "paper + responses.accuracy"),
        ({"prompts": {"judge": "mine.md"}}, "paper + prompts"),
        ({"verifiers.own": "v.jsonl"}, "paper + verifiers.own"),
        ({"responses.accuracy": 0.9, "judge.votes": 3}, "paper, 2 keys changed"),
        (
            {
                "seed": 2,
                "target": 9,
                "langs": ["zh"],
                "models.default": "openai:x",
                "models.timeout": 1.0,
                "engine.in_flight": 2,
                "queries.source": "q.jsonl",
                "hygiene.against": ["b.jsonl"],
            },
            "paper",
        ),
    ],
)
def test_a_changed_preset_is_called_changed(settings: dict[str, object], profile: str) -> None:
    assert Recipe.load("paper", None, settings).profile == profile


def test_every_key_is_described_once() -> None:
    names = [name for name, *_ in describe()]
    assert len(set(names)) == len(names)
    for name in names:
        section, _, key = name.partition(".")
        value = getattr(Recipe(), section)
        assert hasattr(value, key) if key else True


def test_settings_are_toml_or_words() -> None:
    pairs = ["a=1", "b = [1, 2]", 'c="x"', "d=words as they are", "e=true", "f=x=y", "g="]
    assert parse_settings(pairs) == {
        "a": 1, "b": [1, 2], "c": "x", "d": "words as they are", "e": True, "f": "x=y", "g": "",
    }  # fmt: skip


@given(st.text(max_size=30))
def test_no_setting_can_do_worse_than_be_refused(text: str) -> None:
    with suppress(UsageError):
        Recipe.load("smoke", None, parse_settings([text]))


VALUES = st.recursive(
    st.integers(), lambda v: st.dictionaries(st.sampled_from("abc"), v, max_size=3), max_leaves=8
)
SECTIONS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@given(SECTIONS, SECTIONS, SECTIONS)
def test_laying_one_over_another(
    low: dict[str, object], middle: dict[str, object], high: dict[str, object]
) -> None:
    assert merge(low, {}) == low
    assert merge({}, high) == high
    assert merge(high, high) == high
    laid = merge(low, high)
    assert set(laid) == set(low) | set(high)
    assert all(laid[k] == v for k, v in high.items() if not isinstance(v, dict))


SHARED = """preset = "smoke"
[models]
default = "openai:any"
base_url = ["{url}"]
api_key_env = "{variable}"
"""


def key_of(recipe: Recipe) -> str:
    """The key that would be sent."""
    backend = open_model(recipe, "openai:any", lambda line: None)
    assert isinstance(backend, HttpBackend)
    return backend._key


@pytest.mark.parametrize(
    ("url", "variable", "sent"),
    [
        ("http://evil.example/v1", "AWS_SECRET", None),
        ("http://evil.example/v1", "OPENAI_API_KEY", None),
        ("https://api.openai.com.evil.example/v1", "OPENAI_API_KEY", None),
        ("http://api.openai.com/v1", "OPENAI_API_KEY", None),  # in the clear
        ("https://api.openai.com/v1", "AWS_SECRET", None),
        ("https://api.openai.com/v1", "OPENAI_API_KEY", "secret"),
        ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "secret"),
        ("http://127.0.0.1:8000/v1", "OPENAI_API_KEY", ""),
        ("http://evil.example/v1", "UNSET", ""),
    ],
)
def test_a_key_goes_to_no_host_that_only_a_file_named(
    url: str, variable: str, sent: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET", "OPENAI_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, "secret")
    file = tmp_path / "recipe.toml"
    file.write_text(SHARED.format(url=url, variable=variable))
    recipe = Recipe.load(None, file)
    for same in (recipe, recipe.changed({"target": 3})):
        if sent is None:
            host = url.split("/")[2]
            with pytest.raises(UsageError, match=f"{variable} to {host}.*--api-key-env"):
                key_of(same)
        else:
            assert key_of(same) == sent
    if sent is None:  # a person may say so
        server = {"models.base_url": [url]}
        for said in ({"models.api_key_env": variable}, server):
            made = [Recipe.load(None, file, said), recipe.changed(said)]
            if said is server and variable != "OPENAI_API_KEY":  # which key, only the file says
                for same in made:
                    with pytest.raises(UsageError, match=f"--api-key-env {variable}$"):
                        key_of(same)
            else:
                assert [key_of(same) for same in made] == ["secret"] * 2


def test_a_recipe_that_spells_the_defaults_out_names_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://chosen.example/v1")
    (tmp_path / "recipe.toml").write_text(Recipe.load("smoke").toml())
    assert key_of(Recipe.load(None, tmp_path / "recipe.toml")) == "secret"


def test_files_that_a_recipe_reads_from_elsewhere_are_named(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(
        'instructions.seeds = "/home/you/notes.txt"\nqueries.source = "builtin"\n'
        f'hygiene.against = ["../x.jsonl", "{tmp_path}/here.jsonl"]\nprompts.respond = "/p.txt"\n'
    )
    assert [key for key, _ in files_outside(file)] == [
        "prompts.respond", "instructions.seeds", "hygiene.against",
    ]  # fmt: skip
