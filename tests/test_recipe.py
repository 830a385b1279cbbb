"""The recipe: layers, identity, round trips, and every preset whole."""

from __future__ import annotations

import tomllib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.base.errors import UsageError
from autoif.base.toml import merge, parse_settings
from autoif.run.recipe import PRESETS, TRANSPORT, Recipe, describe


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_survives_being_written_down(preset: str) -> None:
    recipe = Recipe.load(preset)
    again = Recipe.of(tomllib.loads(recipe.toml()))
    assert again == recipe
    assert again.hash == recipe.hash
    assert not again.differs(recipe)


def test_presets_differ() -> None:
    assert len({Recipe.load(p).hash for p in PRESETS}) == len(PRESETS)


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
