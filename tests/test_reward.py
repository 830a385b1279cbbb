"""The reward, the rows and the guards of training: what needs no torch."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import students
from attacks.scene import descendants
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


NO_COMMA = "def evaluate(response):\n    return ',' not in response"


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\t\u3000", "<|im_end|>", " <|im_end|>\n<|endoftext|>", "</s>", "<\uff5cend\uff5c>",
     "<think>no commas, then</think>\n", "no commas, then</think>",
     "\u200b", "\ufeff", "\u3164 \u2060\u00ad\u180e", "\x00\x7f", "\u2800", "\U0001d173",
     "<think>no commas, then</think>\u200b", "\ufeff<think>no commas, then</think>",
     "\u200b<|im_end|>\u2060<|endoftext|>\u200b", "<|im_end|>\ufeff"],
)  # fmt: skip
def test_an_empty_answer_earns_nothing(text: str) -> None:
    row = students.verifiers(NO_COMMA)
    assert rewards([text, students.assistant(text)], [row] * 2) == [0.0, 0.0]
    assert rewards([text], [row], partial=False) == [0.0]
    assert reward.score(text, row) == 0.0
    assert reward.holds(text, row) == [False]
    assert reward.score(text, []) is None


def test_reasoning_and_end_tokens_are_no_part_of_the_answer() -> None:
    row = students.verifiers(NO_COMMA)
    thought = "<think>One, two.</think>\nThree."
    assert rewards([thought], [row]) == [1.0]
    assert rewards([thought], [row], keep_reasoning=True) == [0.0]
    ends = students.verifiers("def evaluate(response):\n    return response.endswith('.')")
    assert rewards(["Three.<|im_end|>\n", "Three <|im_end|>."], [ends] * 2) == [1.0, 1.0]


def test_characters_that_are_not_seen_stay_where_an_answer_has_them() -> None:
    row = students.verifiers(
        "def evaluate(response):\n    return response.endswith('\u2764\ufe0f')"
    )
    texts = ["I \u2764\ufe0f", "<think>so</think>\nI \u2764\ufe0f", "\ufeffI \u2764\ufe0f"]
    assert rewards(texts, [row] * 3) == [1.0] * 3
    hidden = "\u200b<think>no, no</think>yes"
    assert reward.score(hidden, students.verifiers(NO_COMMA)) == 1.0


SHORT = "def evaluate(response):\n    return len(response) < 9"


@pytest.mark.parametrize(
    ("completion", "earns"),
    [
        ({"role": "assistant", "content": ""}, 0.0),
        ({"role": "assistant", "content": "short"}, 1.0),
        ({"role": "assistant", "content": "it is too long"}, 0.0),
        ({"content": "short"}, 1.0),
        ({"role": "assistant", "content": None, "tool_calls": []}, None),
        ({"role": "user", "content": "short"}, None),
        (({"role": "assistant", "content": "short"},), 1.0),
        ((), None),
        ([{"role": "assistant", "content": "it is too long"}, *students.user("short")], 0.0),
        ([{"role": "assistant", "content": None}, {"role": "tool", "content": "short"}], None),
        ([{"role": "user", "content": "short"}], None),
        ({"role": "assistant", "content": ({"type": "text", "text": "short"},)}, 1.0),
        ({"role": "assistant", "content": [
            {"type": "thinking", "thinking": "what it is, at length"},
            {"type": "reasoning", "text": "what it is, at length"},
            {"text": "what it is, at length", "thought": True},
            {"type": "text", "text": "short"}]}, 1.0),
        ({"role": "assistant", "content": [{"type": "thinking", "text": "short"}]}, 0.0),
    ],
)  # fmt: skip
def test_what_of_messages_is_judged(completion: Any, earns: float | None) -> None:
    row = students.verifiers(SHORT)
    assert reward.score(completion, row) == earns
    assert rewards([completion], [row]) == [earns]


@pytest.mark.parametrize(
    ("completion", "wrong"),
    [
        (b"short", "bytes is no completion"),
        (3, "int is no completion"),
        (["x"], "list of str is no completion"),
        ([[{"role": "assistant", "content": "x"}]], "list of list is no completion"),
        ({"text": "x"}, "dict is no completion"),
        ({"role": "assistant", "content": 3}, "int is no content of a message"),
        ([{"role": "assistant", "content": {"text": "x"}}], "dict is no content of a message"),
        ({"content": [{"type": "text", "text": 3}]}, "int is no text of a part"),
        ({"content": [b"x"]}, "bytes is no text of a part"),
    ],
)
def test_what_is_no_completion_is_one_line(completion: Any, wrong: str) -> None:
    row = students.verifiers(SHORT)
    with pytest.raises(UsageError, match=f"completion: {wrong}; a completion is a text, a message"):
        reward.score(completion, row)
    with pytest.raises(UsageError, match=f"completion 2: {wrong}") as raised:
        rewards(["x", completion], [row] * 2)
    assert "\n" not in str(raised.value)


def test_what_was_not_said_is_no_reward_and_parts_are_joined() -> None:
    no_comma = students.verifiers(NO_COMMA)
    silent: list[Any] = [None, [], [{"role": "assistant", "content": None}]]
    assert rewards(silent, [no_comma] * 3) == [None] * 3
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"text": ", b"}]}]
    assert rewards([parts, "a b"], [no_comma] * 2) == [0.0, 1.0]


def test_rows_without_verifiers_get_none_and_missing_rows_are_an_error() -> None:
    row = students.verifiers(YES)
    assert rewards(["yes", "yes"], [None, row]) == [None, 1.0]
    with pytest.raises(ValueError, match="2 completions and 1 rows of verifiers"):
        rewards(["yes", "yes"], [row])


@pytest.mark.parametrize("least", [0, -1, True, "0.5", float("nan")])
def test_a_row_cannot_lower_its_bar_to_nothing(least: Any) -> None:
    row = [{"checks": [YES], "min_fraction": least}]
    with pytest.raises(UsageError, match="above 0 and up to 1"):
        rewards(["no"], [row])
    with pytest.raises(UsageError, match="row 1: verifiers are a list"):
        rewards(["no"], ["[]"])


def test_a_verifier_accepts_from_its_least_fraction_on() -> None:
    half = [{"checks": [YES, LONG], "min_fraction": 0.5}]
    whole = [{"checks": [YES, LONG], "min_fraction": 1.0}]
    assert rewards(["yes", "yes"], [half, whole]) == [1.0, 0.0]
    assert rewards(["yes"], [[{"checks": [YES, LONG], "min_fraction": None}]]) == [1.0]


SLEEPS = "import time\ndef evaluate(response):\n    time.sleep(99)\n    return True"


def test_what_is_slow_gives_no_reward_and_takes_none() -> None:
    """Checks that loop, sleep or fail stand before the honest ones, more than there are workers."""
    slow = [f"{source}  # {n}" for n in range(4) for source in (ENDLESS, SLEEPS)]
    rows = [students.verifiers(source) for source in (*slow, YES, YES)]
    rewarded = rewards(["yes"] * 9 + ["no"], rows, deadline=1.0)
    assert rewarded == [None] * 8 + [1.0, 0.0]
    assert rewards(["yes"] * 9 + ["no"], rows, deadline=1.0) == rewarded  # known to be slow


def test_calls_of_one_sample_from_threads_and_loops_take_nothing_from_one_another() -> None:
    """Two of five loop: every check on its own, and one check on these texts alone."""
    some = "def evaluate(response):\n    while 'loop' in response:\n        pass\n    return True"
    settings = reward.RewardSettings(deadline=2.0)
    asked: list[tuple[str, list[dict[str, Any]]]] = [
        (f"loop {n}" if n % 5 == 0 else f"text {n}",
         students.verifiers(f"{ENDLESS}  # {n}" if n % 5 == 1 else some))
        for n in range(40)
    ]  # fmt: skip

    async def of_loop(part: list[tuple[str, list[dict[str, Any]]]]) -> list[float | None]:
        calls = (reward.ascore(text, row, settings) for text, row in part)
        return list(await asyncio.gather(*calls))

    with ThreadPoolExecutor(12) as threads:
        loops = [threads.submit(asyncio.run, of_loop(asked[n:20:2])) for n in (0, 1)]
        single = [threads.submit(reward.score, *one, settings) for one in asked[20:]]
        done = [f.result() for f in single]
        even, odd = (loop.result() for loop in loops)
    rewarded = [r for pair in zip(even, odd, strict=True) for r in pair] + done
    assert rewarded == [None if n % 5 < 2 else 1.0 for n in range(40)]


def test_calls_that_arrive_together_are_judged_as_a_batch() -> None:
    """The function counts how often its process has called it."""
    counts = "N = []\ndef evaluate(response):\n    N.append(1)\n    return len(N) > 1"

    async def at_once() -> list[float | None]:
        calls = (reward.ascore(f"text {n}", students.verifiers(counts)) for n in range(100))
        return list(await asyncio.gather(*calls))

    assert asyncio.run(at_once()).count(0.0) < 20


SOMETIMES = "import re\ndef evaluate(response):\n    re.match(r'(a+)+$', response)\n    return True"
CAUGHT = [f"{'a' * 30}b{n}!" for n in range(40)]


def test_texts_on_which_a_check_loops_take_nothing_from_its_others_at_any_step() -> None:
    """Many in one batch; a check that has had no verdict for long; slow ones among the good."""
    row = students.verifiers(SOMETIMES)
    good = [f"good {n}" for n in range(6)]
    assert rewards(CAUGHT[:20] + good, [row] * 26, deadline=2.0) == [None] * 20 + [1.0] * 6
    settings = reward.RewardSettings(deadline=2.0)
    with ThreadPoolExecutor(9) as threads:
        assert not any(threads.map(lambda text: reward.score(text, row, settings), CAUGHT[20:29]))
    for step in range(2):
        texts = CAUGHT[30 + 2 * step :][:2] + [f"{text} {step}" for text in good]
        assert rewards(texts, [row] * 8, deadline=2.0) == [None] * 2 + [1.0] * 6


def test_slow_texts_of_a_check_are_judged_beside_those_on_which_it_loops() -> None:
    check = (
        "def evaluate(response):\n"
        "    n = 0\n"
        "    while 'loop' in response or ('long' in response and n < 2_000_000):\n"
        "        n += 1\n"
        "    return True"
    )
    texts = ["loop 1", "loop 2", "long 1", "long 2", "short"]
    assert rewards(texts, [students.verifiers(check)] * 5) == [None] * 2 + [1.0] * 3


def test_a_text_on_which_memory_ends_takes_nothing_from_the_others() -> None:
    check = (
        "def evaluate(response):\n    return len(bytearray(1 << 40 if 'x' in response else 1)) == 1"
    )
    texts = ["x1", "x2", "x3", "a", "b"]
    assert rewards(texts, [students.verifiers(check)] * 5) == [None] * 3 + [1.0] * 2


def test_a_call_that_is_given_up_leaves_the_others_their_rewards() -> None:
    async def abandon() -> float | None:
        slow = asyncio.create_task(reward.ascore("yes", students.verifiers(ENDLESS)))
        await asyncio.sleep(0)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        return await reward.ascore("yes", students.verifiers(YES))

    assert asyncio.run(abandon()) == 1.0


def test_which_constraint_fails() -> None:
    row = students.verifiers(YES, LONG, RAISES)
    assert reward.holds(students.assistant("yes"), row) == [True, False, None]
    assert asyncio.run(reward.aholds("yes", row)) == [True, False, None]
    strict = reward.RewardSettings(partial=False)
    assert (reward.score("yes", row), reward.score("yes", row, strict)) == (None, 0.0)


def test_a_reward_can_be_sent_to_another_process() -> None:
    function = pickle.loads(pickle.dumps(reward.reward_function(partial=False)))
    assert inspect.iscoroutinefunction(function)
    assert function.__name__ == "verifier_reward"
    both = students.verifiers(YES, LONG)
    assert asyncio.run(function(prompts=[""], completions=["yes"], verifiers=[both])) == [0.0]


FORKS = """
import os, signal, sys, threading, time
from autoif.base.records import Check
from autoif.verifier import reward, verify
SOURCE = "def evaluate(response):\\n    return True"
ROW = [{"checks": [SOURCE]}]
def judge():
    assert reward.score("x", ROW) == 1.0
    assert verify.verify([Check(SOURCE)], ["x"])[0].fraction == 1.0
threads = [threading.Thread(target=judge) for _ in range(2)]
[thread.start() for thread in threads]
children = []
for _ in range(4):
    if (pid := os.fork()) == 0:
        signal.alarm(60)
        judge()
        os._exit(0)
    children.append(pid)
    time.sleep(0.05)
sys.exit(any([os.waitpid(pid, 0)[1] for pid in children]))
"""


def test_a_process_forked_while_a_sandbox_starts_judges_on_its_own() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr.decode()


def test_a_spawned_process_judges_on_its_own() -> None:
    """As trainers start their rollout workers."""
    row = students.verifiers(YES, LONG)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        assert processes.submit(reward.score, "yes", row).result(60) == 0.5


DIES = """
import os, sys, threading
from autoif.verifier import reward
def row(source):
    return [{"checks": [source]}]
before = len(os.listdir("/proc/self/fd"))
assert reward.score("x", row("def evaluate(response): return True")) == 1.0
if os.fork() == 0:
    print("descriptors", len(os.listdir("/proc/self/fd")) - before, flush=True)
    os._exit(0)
os.wait()
endless = row("def evaluate(response):\\n    while True: pass")
threading.Thread(target=reward.score, args=("x", endless)).start()
print("judging", flush=True)
"""


def test_a_trainer_that_dies_leaves_no_process_and_its_children_no_descriptor() -> None:
    with subprocess.Popen([sys.executable, "-c", DIES], stdout=subprocess.PIPE) as trainer:
        assert trainer.stdout
        assert trainer.stdout.readline() == b"descriptors 0\n"
        assert trainer.stdout.readline() == b"judging\n"
        left = set(descendants(trainer.pid))
        assert left  # the sandbox's
        trainer.kill()
    end = time.monotonic() + 20
    while left := {pid for pid in left if Path(f"/proc/{pid}/exe").exists()}:
        assert time.monotonic() < end, left
        time.sleep(0.02)


def test_the_reward_is_light_to_import() -> None:
    code = (
        "import sys, autoif.verifier.reward\n"
        "print(sorted(sys.modules.keys() & {'torch', 'transformers', 'trl', 'polars', 'aiohttp', "
        "'pydantic', 'rich', 'numpy'}), len(sys.modules) < 300)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "[] True\n", ran.stderr


@pytest.mark.parametrize("name", ["AUTOIF_REWARD_WORKERS", "AUTOIF_REWARD_DEADLINE"])
def test_settings_of_the_environment(name: str) -> None:
    """Both are read when the first reward is asked for."""
    code = (
        "from autoif.verifier.reward import score\n"
        "source = 'def evaluate(response):\\n    while True: pass'\n"
        "print(score('yes', [{'checks': [source]}]))"
    )
    for value, answer in (("1", "None"), ("many", f"{name}=many: it has to be a number above 0")):
        environment = os.environ | {"AUTOIF_REWARD_DEADLINE": "1", name: value}
        ran = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert answer in ran.stdout + ran.stderr


@pytest.mark.parametrize("deadline", [float("nan"), 0, -1, float("inf"), "soon"])
def test_a_deadline_is_a_number_above_0(deadline: Any) -> None:
    with pytest.raises(UsageError, match=f"deadline={deadline}: it has to be a number above 0"):
        reward.RewardSettings(deadline=deadline)
    with pytest.raises(UsageError, match="deadline"):
        reward.reward_function(deadline=deadline)


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
    assert logged.keys() == {"verifier/seconds", "verifier/unscored", "verifier/empty"}


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
        ("sft", {"messages": students.user("a") + students.assistant("\u3164")}, "out .empty"),
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


ANSWER = students.assistant("a b c")
SEVERAL = students.user("Hello.") + students.assistant("Hi.") + students.user("Say a b c.")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Say a b c.", "chosen": students.user("Say a b c.") + ANSWER},
        {"prompt": students.user("Say a b c."), "chosen": ANSWER[0]},
        {"prompt": [{"role": "system", "content": "s"}, *students.user("Say a b c.")],
         "chosen": students.user("Say a b c. ") + ANSWER},
        {"prompt": SEVERAL, "chosen": SEVERAL + ANSWER},
    ],
)  # fmt: skip
def test_a_preference_holds_its_prompt_once(tmp_path: Path, row: dict[str, Any]) -> None:
    file = students.write(tmp_path / "dpo.jsonl", [row | {"rejected": "d"}])
    (found,) = data.load("dpo", [str(file)]).rows
    assert found["chosen"] == ANSWER
    assert found["prompt"][-1]["content"] == "Say a b c."


def test_a_preference_that_is_another_conversation_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "a", "chosen": students.user("b") + students.assistant("c"), "rejected": "d"}
    with pytest.raises(UsageError, match=r'rows.jsonl:1: "chosen" is a conversation that does not'):
        data.load("dpo", [str(students.write(tmp_path / "rows.jsonl", [row]))])
    whole = {"prompt": "Say a b.", "chosen": "Say a b. Yes: a b.", "rejected": "Say a b. No."}
    with pytest.raises(UsageError, match=r"1 left out \(both replies begin with the prompt\)"):
        data.load("dpo", [str(students.write(tmp_path / "rows.jsonl", [whole]))])


def test_rows_with_a_low_bar_are_counted(tmp_path: Path) -> None:
    rows = students.rlvr_rows(2, YES)
    rows[0]["verifiers"][0]["min_fraction"] = 0.2
    found = data.load("grpo", [str(students.write(tmp_path / "rlvr.jsonl", rows))])
    assert found.account() == "2 rows, 1 that ask for less than half of a verifier's checks"


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
    told = guards.describe(
        asked, ["I'm sorry, I can't help with that.", prose, "海很大" * 10, "\u200b"]
    )
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


def test_self_play_keeps_no_empty_answer() -> None:
    from autoif.train.selfplay import judged
    from autoif.verifier.verify import shared_sandbox

    row = data._shape("grpo", students.rlvr_rows(1, NO_COMMA)[0], "")
    assert isinstance(row, dict)
    samples = asyncio.run(judged(row, ["yes", "", " \n"], shared_sandbox()))
    assert [s.kept for s in samples] == [True, False, False]


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
