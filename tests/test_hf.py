"""Models run by transformers, on tiny ones with random weights, made here."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import students
from autoif.base.errors import CallFailed, ModelUnavailable
from autoif.base.records import Message, Reply, Request
from autoif.models import weights as models
from autoif.models.open import open_backend
from autoif.models.transformers.backend import HFBackend
from autoif.models.transformers.batcher import draw

torch: Any = pytest.importorskip("torch", reason='needs `pip install "autoif[hf]"`')
transformers: Any = pytest.importorskip("transformers", reason='needs `pip install "autoif[hf]"`')
torch.set_num_threads(1)  # these models are too small to share the work

LINES = [
    "the quick brown fox jumps over the lazy dog",
    "every answer ends somewhere, and every question begins with a word",
    "numbers such as 1, 2 and 34567 have digits",
    "Ünïcödé is text too: 你好, мир!",
]
PROMPTS = [" ".join(LINES[i % 4].split()[: i % 7 + 1] * (i % 3 + 1)) for i in range(10)]
CONTEXT = 256
CHAT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def make(folder: Path, *, template: str | None = CHAT, context: int = CONTEXT) -> Path:
    """A llama that knows `LINES`, and can say any byte."""
    from tokenizers.pre_tokenizers import ByteLevel

    return students.make(
        folder,
        template=template,
        context=context,
        texts=LINES,
        alphabet=ByteLevel.alphabet(),
        initializer_range=0.3,  # wide, so that what it says depends on all that it read
    )


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models") / "student")


def ask(text: str, **options: Any) -> Request:
    return Request((Message("user", text),), **{"max_tokens": 24, **options})


async def together(backend: HFBackend, requests: list[Request]) -> list[Reply]:
    return await asyncio.gather(*map(backend, requests))


def likeliest(folder: Path, prompt: str, length: int) -> tuple[list[int], list[int]]:
    """Ids of prompt and greedy answer, in the plainest way: the whole text through the model again
    for each token."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    text = f"<|start|>user\n{prompt}<|end|>\n<|start|>assistant\n"
    ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    new: list[int] = []
    while len(new) < length and tokenizer.eos_token_id not in new:
        with torch.inference_mode():
            new.append(int(model(torch.tensor([ids + new])).logits[0, -1].argmax()))
    return ids, new


@contextmanager
def before_each_step(backend: HFBackend, hook: Callable[[int], None]) -> Iterator[None]:
    """Calls `hook(rows in the batch)` before each step of the model."""
    assert backend._model is not None
    handle = backend._model._model.register_forward_pre_hook(
        lambda _, __, inputs: hook(len(inputs["input_ids"])), with_kwargs=True
    )
    try:
        yield
    finally:
        handle.remove()


# ---- answers -------------------------------------------------------------------------------------


async def test_an_answer_does_not_depend_on_company_or_order(student: Path) -> None:
    warm = {"temperature": 0.8, "top_p": 0.9}
    requests = [ask(p, **(warm if i % 3 == 0 else {})) for i, p in enumerate(PROMPTS)]
    requests += [ask(PROMPTS[0], temperature=1.0, index=i, max_tokens=9 + i % 2) for i in range(6)]
    alone = HFBackend(str(student))
    expected = [await alone(request) for request in requests]
    crowd = HFBackend(str(student), batch_size=5)
    assert await together(crowd, requests) == expected
    assert (await together(crowd, requests[::-1]))[::-1] == expected
    assert len({reply.text for reply in expected}) > 10
    await alone.close()
    await crowd.close()


async def test_greedy_answers_are_the_likeliest_tokens(student: Path) -> None:
    backend = HFBackend(str(student))
    tokenizer = transformers.AutoTokenizer.from_pretrained(student)
    replies = await together(backend, [ask(p, max_tokens=12) for p in PROMPTS])
    for prompt, reply in zip(PROMPTS, replies, strict=True):
        ids, new = likeliest(student, prompt, 12)
        assert reply.text == tokenizer.decode(new, skip_special_tokens=True)
        assert (reply.usage.prompt, reply.usage.completion) == (len(ids), len(new))
    await backend.close()


async def test_an_answer_ends_at_its_length_or_at_a_stop_string(student: Path) -> None:
    backend = HFBackend(str(student))
    whole = await backend(ask(LINES[0]))
    assert (whole.finish_reason, whole.usage.completion) == ("length", 24)
    stop = whole.text[len(whole.text) // 2 :][:3]
    cut, other = await together(backend, [ask(LINES[0], stop=("never", stop)), ask(LINES[1])])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.usage.completion < 24
    assert other.usage.completion == 24
    await backend.close()


@pytest.mark.parametrize("names_it", ["generation config", "tokenizer"])
async def test_either_end_token_ends_an_answer(
    student: Path, tmp_path: Path, names_it: str
) -> None:
    """Those of the generation config, whose sampling habits are not used, and the tokenizer's."""
    _, new = likeliest(student, LINES[0], 24)
    tuned = shutil.copytree(student, tmp_path / "tuned")
    tokenizer = transformers.AutoTokenizer.from_pretrained(student)
    if names_it == "tokenizer":
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(new[9])
        tokenizer.save_pretrained(tuned)
    else:
        habits = {"eos_token_id": [new[9]], "repetition_penalty": 9.0, "top_k": 3}
        (tuned / "generation_config.json").write_text(json.dumps(habits))
    backend = HFBackend(str(tuned))
    reply = await backend(ask(LINES[0]))
    assert reply.finish_reason == "stop"
    assert reply.usage.completion == new.index(new[9]) + 1
    assert tokenizer.decode(new).startswith(reply.text)
    await backend.close()


async def test_sampling_is_repeatable_and_differs_by_index(student: Path) -> None:
    texts = []
    for _ in range(2):
        backend = HFBackend(str(student))
        requests = [ask("hello", temperature=1.0, index=i) for i in range(8)]
        texts.append([reply.text for reply in await together(backend, requests)])
        await backend.close()
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 8


def test_a_token_is_drawn_as_often_as_is_its_chance() -> None:
    logits = torch.tensor([1.0, 3.0, float("-inf"), 2.0, 0.0])
    numbers = [i / 4000 for i in range(4000)]

    def shares(temperature: float, top_p: float) -> Any:
        drawn = [int(draw(logits, temperature, top_p, number)) for number in numbers]
        return torch.bincount(torch.tensor(drawn), minlength=5) / len(numbers)

    for temperature in (0.5, 1.0, 2.0):
        chances = (logits / temperature).softmax(-1)
        assert torch.allclose(shares(temperature, 1.0), chances, atol=1e-3)
    chances = logits.softmax(-1)  # 0.09 0.64 0 0.24 0.03: two of them make up 0.7
    two = torch.tensor([0.0, chances[1], 0.0, chances[3], 0.0])
    assert torch.allclose(shares(1.0, 0.7), two / two.sum(), atol=1e-3)
    assert shares(1.0, 0.0)[1] == 1
    assert int(draw(logits, 1.0, 1.0, 1 - 2**-53)) == 4


async def test_what_leaves_too_little_room(student: Path) -> None:
    backend = HFBackend(str(student))
    long = "word " * CONTEXT
    ok, lost, short = await asyncio.gather(
        backend(ask("hi")),
        backend(ask(long)),
        backend(ask("hi", max_tokens=10_000)),
        return_exceptions=True,
    )
    assert isinstance(ok, Reply)
    assert isinstance(lost, CallFailed)
    assert lost.reason == "length"
    assert isinstance(short, Reply)
    assert short.usage.prompt + short.usage.completion <= CONTEXT
    await backend.close()


async def test_prompts_as_the_tokenizer_would_have_them(student: Path, tmp_path: Path) -> None:
    backend = HFBackend(str(student))
    system = Request((Message("system", "be brief"), Message("user", "hi")), max_tokens=4)
    refused, odd = await asyncio.gather(
        backend(system), backend(ask("\ud800 lone")), return_exceptions=True
    )
    assert isinstance(refused, CallFailed)
    assert (refused.reason, refused.detail) == ("bad_request", "no system role")
    assert isinstance(odd, Reply)
    plain = make(tmp_path / "plain", template=None)
    base = HFBackend(str(plain))
    tokenizer = transformers.AutoTokenizer.from_pretrained(plain)
    reply = await base(system)
    assert reply.usage.prompt == len(tokenizer("be brief\n\nhi").input_ids)
    with pytest.raises(CallFailed, match="empty"):
        await base(ask(""))
    await backend.close()
    await base.close()


# ---- identity ------------------------------------------------------------------------------------


def test_the_namespace_changes_with_the_model_alone(student: Path, tmp_path: Path) -> None:
    namespace = HFBackend(str(student)).namespace
    moved = shutil.copytree(student, tmp_path / "student")
    (moved / "README.md").write_text("a student")
    (moved / "optimizer.pt").write_bytes(b"state")
    assert HFBackend(str(moved)).namespace == namespace
    weights = moved / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    retrained = HFBackend(str(moved)).namespace
    (moved / "chat_template.jinja").write_text("{{ messages }}")
    assert len({namespace, retrained, HFBackend(str(moved)).namespace}) == 3


def test_the_body_is_all_that_decides_the_answer(student: Path) -> None:
    backend = HFBackend(str(student))
    request = ask("hi", temperature=0.5, stop=("x",), schema={"type": "object"})
    assert backend.body(request) == {
        "model": "student",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "top_p": 1.0,
        "max_tokens": 24,
        "stop": ["x"],
    }
    assert backend.body(ask("hi", index=3, stage="s", record="r")) == backend.body(ask("hi"))


# ---- what is wrong -------------------------------------------------------------------------------


def test_a_wrong_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no such directory"):
        open_backend(f"hf:{tmp_path / 'absent'}")
    with pytest.raises(ModelUnavailable, match="no model in it"):
        open_backend(f"hf:{tmp_path}")
    for name in "ab":
        (tmp_path / f"{name}.gguf").touch()
    with pytest.raises(ModelUnavailable, match=r"name one of its files.*a\.gguf"):
        open_backend(f"hf:{tmp_path}")


async def test_damaged_weights_are_one_line_to_everybody(student: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(student, tmp_path / "broken")
    with (broken / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    notices: list[str] = []
    backend = HFBackend(str(broken), on_notice=notices.append)
    answers = await asyncio.gather(*(backend(ask(t)) for t in "abc"), return_exceptions=True)
    for answer in answers:
        assert isinstance(answer, ModelUnavailable)
        assert "broken: cannot be loaded" in str(answer)
        assert "\n" not in str(answer)
    with pytest.raises(ModelUnavailable):
        await backend(ask("d"))
    assert notices == ["loading broken"]
    await backend.close()


async def test_a_failure_in_mid_run_reaches_everybody(student: Path) -> None:
    backend = HFBackend(str(student), batch_size=2)
    await backend(ask("first"))

    def fail(rows: int) -> None:
        raise ValueError("the device\nis gone")

    with before_each_step(backend, fail):
        answers = await asyncio.gather(*(backend(ask(p)) for p in PROMPTS), return_exceptions=True)
    assert {str(answer) for answer in answers} == {"hf:student: the device is gone"}
    assert {type(answer) for answer in answers} == {ModelUnavailable}
    await backend.close()


async def test_memory_that_does_not_suffice_makes_batches_smaller(student: Path) -> None:
    notices: list[str] = []
    backend = HFBackend(str(student), batch_size=8, on_notice=notices.append)
    requests = [ask(p, max_tokens=4) for p in PROMPTS]
    expected = await together(backend, requests)
    room = 3

    def allocate(rows: int) -> None:
        if rows > room:
            raise torch.OutOfMemoryError

    with before_each_step(backend, allocate):
        assert await together(backend, requests) == expected
        assert "2 answers at a time" in notices[-1]
        room = 0
        with pytest.raises(CallFailed, match="length"):
            await backend(requests[0])
    await backend.close()


async def test_who_leaves_does_not_disturb_the_others(student: Path) -> None:
    backend = HFBackend(str(student))
    expected = await backend(ask(LINES[0]))
    tasks = [asyncio.create_task(backend(ask(LINES[0]))) for _ in range(3)]
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def step(rows: int) -> None:
        loop.call_soon_threadsafe(started.set)

    with before_each_step(backend, step):
        await started.wait()
        tasks[1].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[0] == answers[2] == expected
    assert isinstance(answers[1], asyncio.CancelledError)
    await backend.close()


async def test_closing_ends_what_is_under_way(tmp_path: Path) -> None:
    backend = HFBackend(str(make(tmp_path / "endless", context=1_000_000)))
    await backend(ask("hi"))
    long = [ask(f"hi {n}", max_tokens=900_000, temperature=5.0) for n in range(12)]
    tasks = [asyncio.create_task(backend(request)) for request in long]
    await asyncio.sleep(0.2)
    await asyncio.wait_for(backend.close(), 20)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    closed = [e for e in ended if isinstance(e, ModelUnavailable) and "it was closed" in str(e)]
    assert closed  # one or another may have said its end by then, at random
    assert all(isinstance(e, Reply) for e in ended if e not in closed)
    with pytest.raises(ModelUnavailable, match="it was closed"):
        await backend(ask("hi"))


# ---- the hub, the command ------------------------------------------------------------------------


def autoif(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "autoif", *args]
    return subprocess.run(command, env=env, text=True, capture_output=True, timeout=110)


def test_the_command_evaluates_an_id_of_the_hub(student: Path, tmp_path: Path) -> None:
    """From the hub's cache, as after a download."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--some--student"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    shutil.copytree(student, cached / "snapshots" / commit)
    prompts = [
        {
            "key": key,
            "prompt": f"Say {key} things, without commas.",
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": [{}],
        }
        for key in range(3)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in prompts))
    out = tmp_path / "out"
    options = ("--data", str(data), "--out", str(out), "--max-tokens", "8")
    ran = autoif(tmp_path, "eval", "ifeval", "--model", "hf:some/student", *options)
    assert ran.returncode == 0, ran.stderr
    assert json.loads((out / "scores.json").read_text())["n"]["prompt_strict"] == 3
    assert len((out / "responses.jsonl").read_text().splitlines()) == 3
    (cached / "snapshots" / commit / "model.safetensors").unlink()  # a replay needs no weights
    pinned = f"hf:some/student@{commit}"
    again = autoif(tmp_path, "eval", "ifeval", "--model", pinned, *options)
    assert (again.returncode, again.stdout) == (0, ran.stdout), again.stderr


def test_an_unknown_id_is_one_line(tmp_path: Path) -> None:
    row = {
        "key": 1,
        "prompt": "Hi",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    }
    (tmp_path / "data.jsonl").write_text(json.dumps(row))
    model = ("--model", "hf:no/body", "--data", str(tmp_path / "data.jsonl"))
    ran = autoif(tmp_path, "eval", "ifeval", *model, "--out", str(tmp_path / "o"))
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1
    assert "hf:no/body: no such directory, and the hub does not serve it" in ran.stderr


@pytest.mark.model
async def test_a_gguf_file_answers() -> None:
    path = await asyncio.to_thread(models.fetch, "smollm2-135m-instruct")
    backend = HFBackend(str(path))
    one, two = await together(
        backend,
        [ask("What is the capital of France?"), ask("Count from 1 to 5, digits only.")],
    )
    assert "Paris" in one.text
    assert one.finish_reason == "stop"
    assert "3" in two.text
    await backend.close()
