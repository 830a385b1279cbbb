"""The reward, the rows and the guards of training: what needs no torch."""

from __future__ import annotations

import asyncio
import inspect
import time
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import students
from autoif.base.errors import UsageError
from autoif.base.records import Sample, Verdict
from autoif.base.toml import flat
from autoif.train import dataset as data
from autoif.train import guards
from autoif.train.config import PRESETS, Guards, Method, TrainConfig
from autoif.train.selfplay import best_round, draw, split
from autoif.verifier import reward

YES = "def evaluate(response):\n    return 'yes' in response"
LONG = "def evaluate(response):\n    return len(response) > 10"
RAISES = "def evaluate(response):\n    return 1 / 0"
ENDLESS = "def evaluate(response):\n    while True:\n        pass"
METHODS: tuple[Method, ...] = get_args(Method)
BROKEN = "def evaluate(response:\n    return True"


def rewards(completions: list[Any], verifiers: list[Any], **settings: Any) -> list[float | None]:
    function = reward.reward_function(**settings)
    prompts = [students.user("?")] * len(completions)
    result: list[float | None] = asyncio.run(
        function(prompts=prompts, completions=completions, verifiers=verifiers, trainer_state=None)
    )
    return result


def test_a_reward_is_the_share_of_constraints_that_hold_or_all_of_them() -> None:
    both = students.verifiers(YES, LONG)
    texts = ["yes", "yes, certainly so", "no"]
    completions = [students.assistant(text) for text in texts]
    assert rewards(completions, [both] * 3) == [0.5, 1.0, 0.0]
    assert rewards(completions, [both] * 3, partial=False) == [0.0, 1.0, 0.0]
    assert rewards(texts, [both] * 3) == [0.5, 1.0, 0.0]  # plain texts, too


def test_what_no_check_concluded_on_is_no_reward() -> None:
    assert rewards(["yes"], [students.verifiers(RAISES)]) == [None]
    assert rewards(["yes"], [students.verifiers(YES, RAISES)]) == [None]
    assert rewards(["no"], [students.verifiers(YES, RAISES)], partial=False) == [0.0]
    assert rewards(["yes"], [[]]) == [None]
    assert rewards([], []) == []


def test_what_was_not_said_is_no_reward_and_parts_are_joined() -> None:
    no_comma = students.verifiers("def evaluate(response):\n    return ',' not in response")
    silent: list[Any] = [None, [], [{"role": "assistant", "content": None}]]
    assert rewards(silent, [no_comma] * 3) == [None] * 3
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"text": ", b"}]}]
    assert rewards([parts, "a b"], [no_comma] * 2) == [0.0, 1.0]


def test_rows_without_verifiers_get_none_and_missing_rows_are_an_error() -> None:
    row = students.verifiers(YES)
    assert rewards(["yes", "yes"], [None, row]) == [None, 1.0]
    with pytest.raises(ValueError, match="2 completions and 1 rows of verifiers"):
        rewards(["yes", "yes"], [row])


def test_a_verifier_accepts_from_its_least_fraction_on() -> None:
    half = [{"checks": [YES, LONG], "min_fraction": 0.5}]
    whole = [{"checks": [YES, LONG], "min_fraction": 1.0}]
    assert rewards(["yes", "yes"], [half, whole]) == [1.0, 0.0]
    assert rewards(["yes"], [[{"checks": [YES, LONG], "min_fraction": None}]]) == [1.0]


def test_the_deadline_holds_whatever_a_function_does() -> None:
    rows = [students.verifiers(YES)] + [
        students.verifiers(ENDLESS + f"  # {n}") for n in range(40)
    ]  # each would use its own half second, twice
    begun = time.perf_counter()
    found = rewards(["yes"] * 41, rows, deadline=2.0)
    assert time.perf_counter() - begun < 4
    assert found[0] == 1.0
    assert found[1:] == [None] * 40
    assert rewards(["yes"], [students.verifiers(YES)], deadline=2.0) == [1.0]  # and goes on


def test_the_signature_is_what_trl_calls() -> None:
    for function in (reward.verifier_reward, reward.strict_verifier_reward):
        assert inspect.iscoroutinefunction(function)
    logged: dict[str, float] = {}
    done = asyncio.run(
        reward.verifier_reward(
            prompts=[[]],
            completions=[students.assistant("yes")],
            completion_ids=[[1]],
            verifiers=[students.verifiers(YES)],
            id=["a"],
            trainer_state=None,
            log_extra=lambda *_: None,
            log_metric=logged.__setitem__,
        )
    )
    assert done == [1.0]
    assert logged.keys() == {"verifier/seconds", "verifier/unscored"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_load(preset: str, method: Any) -> None:
    values = {"preset": preset, "model": "m", "data": "d", "out": "o"}
    config = TrainConfig.of(method, values)
    assert config.train.batch % config.train.micro_batch == 0
    assert method != "grpo" or config.train.batch % config.grpo.generations == 0


def test_the_papers_hyperparameters() -> None:
    values = {"preset": "paper", "model": "m", "data": "d", "out": "o"}
    sft, dpo = TrainConfig.of("sft", values), TrainConfig.of("dpo", values)
    a, b = sft.train, dpo.train
    assert (a.lr, a.schedule, a.warmup, a.weight_decay) == (7e-6, "linear", 20, 0.1)
    assert (a.epochs, a.batch, a.max_length, sft.lora.rank) == (3, 128, 8192, 0)
    assert (b.lr, b.schedule, b.warmup, dpo.dpo.beta) == (5e-7, "cosine", 0.1, 0.3)
    assert (b.epochs, b.batch, b.max_length) == (2, 64, 4096)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model = 'm'\ndata = 'd'", "'out' is missing"),
        ("modell = 'm'", "unknown key 'modell'"),
        ("[train]\nlr = -1", "train.lr: "),
        ("train = 3", "train: input should be a valid table"),
        ("data = 3", "data: input should be a valid list"),
        ("preset = 'huge'", "no preset 'huge'; there are: paper, tiny"),
        ("[train", "not a TOML file"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said.replace("[", "\\[")) as raised:
        TrainConfig.load("sft", file)
    assert "\n" not in str(raised.value)


def test_settings_lie_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("model = 'm'\ndata = 'd'\n[train]\nlr = 0.5\nbatch = 4")
    settings = {"train.lr": 0.25, "out": "o", "train.report_to": "wandb"}
    config = TrainConfig.load("sft", file, settings)
    assert (config.train.lr, config.train.batch, config.out) == (0.25, 4, "o")
    assert config.train.report_to == "wandb"
    with pytest.raises(UsageError, match=r"unknown key 'train.rl'.*did you mean train.lr\?"):
        TrainConfig.load("sft", file, {"train.rl": 1, "out": "o"})
    without = TrainConfig.load("sft", file, {"out": "o", "train.lr": 0.25})
    assert not config.differs(without)  # a tracker changes nothing in what is trained


@pytest.mark.parametrize(
    ("method", "row", "said"),
    [
        ("sft", {"text": "a"}, "sft wants the column 'messages'; it has: text"),
        ("dpo", {"messages": []}, "dpo wants the column 'prompt'; it has: messages"),
        ("grpo", {"prompt": "a"}, "grpo wants the column 'verifiers'"),
        ("grpo", {"prompt": "a", "verifiers": "b"}, '"verifiers" has to be a list'),
        ("sft", {"messages": [{"role": "user"}]}, "messages are a list"),
        ("sft", {"messages": students.user("a")}, "nothing to train on: 0 rows, 1 left out"),
        ("sft", {"messages": students.user("a") + students.assistant(" ")}, r"left out \(empty\)"),
    ],
)
def test_wrong_rows_are_one_line(tmp_path: Path, method: Any, row: Any, said: str) -> None:
    file = students.write(tmp_path / "rows.jsonl", [row])
    with pytest.raises(UsageError, match=said) as raised:
        data.load(method, [str(file)])
    assert "\n" not in str(raised.value)


def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    rows = students.rlvr_rows(3, YES) + students.rlvr_rows(2, BROKEN) + students.rlvr_rows(1, "x=1")
    rows += [{"prompt": " ", "verifiers": students.verifiers(YES)}]
    found = data.load("grpo", [str(students.write(tmp_path / "rlvr.jsonl", rows))])
    assert len(found.rows) == 3
    assert found.dropped == {"verifier does not compile": 3, "empty": 1}
    assert found.account() == "3 rows, 1 left out (empty), 3 left out (verifier does not compile)"


def test_a_run_directory_gives_the_file_of_the_method(tmp_path: Path) -> None:
    students.write(tmp_path / "data" / "sft.jsonl", students.sft_rows(2))
    students.write(tmp_path / "data" / "dpo.jsonl", students.dpo_rows(3))
    assert len(data.load("sft", [str(tmp_path)]).rows) == 2
    assert len(data.load("dpo", [str(tmp_path)]).rows) == 3
    with pytest.raises(UsageError, match=r"rlvr\.jsonl: no such file"):
        data.load("grpo", [str(tmp_path)])


def hear(history: list[dict[str, float]]) -> None:
    guard = guards.Guard(Guards())
    for step, figures in enumerate(history):
        guard.hear(step, figures)


def test_guards_end_what_diverges() -> None:
    guard = guards.Guard(Guards())
    with pytest.raises(guards.Diverged, match=r"loss is nan at step 3: lower train\.lr"):
        guard.hear(3, {"loss": float("nan")})
    with pytest.raises(guards.Diverged, match="grad_norm is inf"):
        guard.hear(3, {"loss": 1.0, "grad_norm": float("inf")})
    with pytest.raises(guards.Diverged, match=r"guards\.max_kl"):
        guard.hear(3, {"loss": 1.0, "kl": 2.0})
    with pytest.raises(guards.Diverged, match=r"guards\.loss_factor"):
        hear([{"loss": 1.0 + step} for step in range(20)])
    with pytest.raises(guards.Diverged, match=r"guards\.loss_factor"):
        hear([{"loss": loss} for loss in (5.0, *[300.0] * 20)])  # gone before there is a normal
    with pytest.raises(guards.Diverged, match=r"guards\.min_length"):
        hear([{"reward": 1.0, "completions/mean_length": 99 / (1 + n)} for n in range(20)])
    hear([{"loss": 2.0 / (1 + step), "grad_norm": 1.0} for step in range(99)])


def test_figures_of_texts() -> None:
    asked = ["Tell me of the sea."] * 4
    prose = "The sea covers most of the planet, and nobody has seen all of its floor; " * 2
    told = guards.describe(asked, ["I'm sorry, I can't help with that.", prose, "海很大" * 10, ""])
    assert told["refusals"] == told["drift"] == told["empty"] == 0.25
    assert guards.repetition("again and " * 100) > 0.8
    assert guards.repetition(Path(guards.__file__).read_text()[:800]) < 0.2
    assert guards.describe([], []) == {}


@given(st.text(), st.text())
def test_figures_of_any_text_are_shares(prompt: str, response: str) -> None:
    told = guards.describe([prompt], [response])
    assert all(0 <= told[k] <= 1 for k in ("repetition", "drift", "refusals", "empty"))


@given(st.integers(2, 60), st.floats(0.01, 0.9), st.integers(0, 9))
def test_held_out_prompts_are_never_played(n: int, share: float, seed: int) -> None:
    rows = students.rlvr_rows(n)
    values = {"model": "m", "data": "d", "out": "o", "seed": seed}
    config = TrainConfig.of("selfplay", values | {"selfplay": {"heldout": share, "prompts": 7}})
    play, held = split(rows, config)
    assert play
    assert held
    assert len(play) + len(held) == n
    assert not {r["id"] for r in play} & {r["id"] for r in held}
    drawn = draw(play, config, 2)
    assert len(drawn) == min(7, len(play))
    assert split(rows[::-1], config) == (play, held)  # by content, not by order


def test_the_best_round_is_not_one_that_does_harm() -> None:
    config = TrainConfig.of("selfplay", {"model": "m", "data": "d", "out": "o"})
    history = [
        {"round": 0, "pass_rate": 0.1, "words_median": 100.0, "kl": 0.0},
        {"round": 1, "pass_rate": 0.3, "words_median": 90.0, "kl": 0.1},
        {"round": 2, "pass_rate": 0.3, "words_median": 80.0, "kl": 0.2},
        {"round": 3, "pass_rate": 0.9, "words_median": 3.0, "kl": 0.3},
        {"round": 4, "pass_rate": 0.8, "words_median": 80.0, "kl": 9.0},
    ]
    assert best_round(history, config)["round"] == 1


def test_a_sample_that_a_verifier_says_nothing_of_is_left_out() -> None:
    from autoif.train.selfplay import judged
    from autoif.verifier.verify import shared_sandbox

    row = data._shape("grpo", students.rlvr_rows(1, YES)[0], "")
    assert isinstance(row, dict)
    samples: list[Sample] = asyncio.run(judged(row, ["yes", "no"], shared_sandbox()))
    assert [s.kept for s in samples] == [True, False]
    assert all(isinstance(v, Verdict) for s in samples for v in s.verdicts)
    row["verifiers"] = [{"checks": [RAISES], "min_fraction": 1.0}]
    assert asyncio.run(judged(row, ["yes"], shared_sandbox())) == []


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "train.md").read_text("utf-8")
    for name, info in TrainConfig.model_fields.items():
        inner = getattr(info.annotation, "model_fields", None)
        for key in [name] if inner is None else [f"{name}.{k}" for k in inner]:
            assert key in ("method", "eval") or f"| `{key}` |" in page, key


def test_what_the_presets_change_is_documented_as_it_is() -> None:
    page = (Path(__file__).parent.parent / "docs" / "train.md").read_text("utf-8")
    table = page[page.index("| changed key |") :].partition("\n\n")[0].splitlines()
    (_, *names), _, *rows = [[c.strip(" `") for c in line.strip("|").split("|")] for line in table]
    assert len(names) == len(PRESETS) * len(METHODS)
    values: list[dict[str, Any]] = []
    for preset, called in map(str.split, names):
        method = next(m for m in METHODS if m == called)
        config = TrainConfig.of(method, {"preset": preset, "model": "m", "data": "d", "out": "o"})
        values.append(flat(config.model_dump(mode="json")))
    changed = {key for key in values[0] if len({str(v[key]) for v in values}) > 1}
    assert {row[0] for row in rows} == changed - {"preset", "method"}
    for key, *cells in rows:
        assert cells == [v[key] if isinstance(v[key], str) else f"{v[key]:g}" for v in values], key
