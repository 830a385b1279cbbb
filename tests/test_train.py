"""Trainings: each takes real steps on real rows with tiny models, and its loss falls."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import students
from autoif.base.errors import RunFailed, SetupError, UsageError
from autoif.base.files import alone
from autoif.base.records import Message, Request
from autoif.store import open_store
from autoif.train.config import Sampling, TrainConfig
from autoif.train.policy import policy
from autoif.train.training import out_of_memory
from autoif.verifier.reward import reward_function
from runs import autoif, command

pytest.importorskip("trl", reason='needs `pip install "autoif[train]"`')
torch: Any = pytest.importorskip("torch")
torch.set_num_threads(1)
from autoif.train import dpo, grpo, selfplay, sft  # noqa: E402

PLAIN = {"bf16": "off", "threads": 1, "max_length": 64, "batch": 8, "micro_batch": 8, "lr": 5e-3,
         "warmup": 0.0}  # fmt: skip


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return students.make(tmp_path_factory.mktemp("students") / request.param, request.param)


def config(method: Any, model: Path, data: Path, out: Path, **more: Any) -> TrainConfig:
    train = PLAIN | more.pop("train", {})
    values = {"model": str(model), "data": str(data), "out": str(out), "train": train}
    return TrainConfig.of(method, values | {"lora": {"rank": 0}} | more)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def falls(out: Path, key: str = "loss") -> None:
    values = [row[key] for row in metrics(out)]
    assert statistics.fmean(values[-3:]) < statistics.fmean(values[:3]), values


@pytest.mark.parametrize("rank", [0, 8])
def test_sft_learns(student: Path, tmp_path: Path, rank: int) -> None:
    from transformers import AutoModelForCausalLM

    data = students.write(tmp_path / "sft.jsonl", students.sft_rows())
    c = config("sft", student, data, tmp_path / "out", train={"epochs": 5}, lora={"rank": rank})
    model = sft.train(c)
    falls(tmp_path / "out")
    assert AutoModelForCausalLM.from_pretrained(model).num_parameters() > 0
    assert (model / "README.md").read_text().startswith("---")
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert sft.train(c) == model  # done: nothing more to do


def test_dpo_learns(student: Path, tmp_path: Path) -> None:
    data = students.write(tmp_path / "dpo.jsonl", students.dpo_rows())
    dpo.train(config("dpo", student, data, tmp_path / "out", train={"epochs": 5, "lr": 1e-3}))
    falls(tmp_path / "out")


def test_grpo_is_rewarded_by_the_verifiers(student: Path, tmp_path: Path) -> None:
    data = students.write(tmp_path / "rlvr.jsonl", students.rlvr_rows())
    many = {"max_steps": 12, "lr": 1e-2, "batch": 32, "micro_batch": 32}
    part = {"max_tokens": 4, "generations": 8, "beta": 0.0}
    grpo.train(config("grpo", student, data, tmp_path / "out", train=many, grpo=part))
    rows = metrics(tmp_path / "out")
    rewards = [row["reward"] for row in rows]
    assert statistics.fmean(rewards[-4:]) > statistics.fmean(rewards[:4]) + 0.1, rewards
    assert all(row["verifier/unscored"] == 0 for row in rows)
    assert all("verifier/hack_rate" in row and "frac_reward_zero_std" in row for row in rows)
    assert (tmp_path / "out" / "reward.png").exists()


def test_a_calibrated_student_is_trained_on_its_band(student: Path, tmp_path: Path) -> None:
    """Its own answers say which prompts it can learn from, and how long its answers are."""
    from autoif.engine.calibration import calibrate

    rare = "def evaluate(response):\n    return 'z' in response"
    given = [*students.rlvr_rows(10), *({**row, "id": f"z{row['id']}"}
                                        for row in students.rlvr_rows(4, rare))]  # fmt: skip
    data = students.write(tmp_path / "rlvr.jsonl", given)
    sampling = {"k": 6, "max_tokens": 6, "engine": "hf"}
    counts = calibrate(config("grpo", student, data, tmp_path / "fit", sampling=sampling))
    assert 0 < counts.in_band < counts.rows == 14
    many = {"max_steps": 2, "batch": 16, "micro_batch": 16}
    part = {"max_tokens": 4, "generations": 8, "reward": "graded"}
    said: list[str] = []
    c = config("grpo", student, tmp_path / "fit", tmp_path / "out", train=many, grpo=part)
    grpo.train(c, said.append)
    left_out = f"{counts.rows - counts.in_band} left out (pass rate outside calibrated.pass_rate)"
    assert said[0] == f"{counts.in_band} rows, {left_out}"
    assert said[-1].endswith("of 4 groups had no variance and were not trained on")
    assert all(0 <= row["verifier/hack_rate"] <= 1 for row in metrics(tmp_path / "out"))


def test_a_group_without_variance_is_not_trained_on(student: Path, tmp_path: Path) -> None:
    """None of its tokens is in the loss, the KL's share included."""
    from datasets import Dataset
    from trl import GRPOConfig

    true = students.rlvr_rows(1, "def evaluate(response):\n    return True")
    given = true + students.rlvr_rows(1)
    arguments = GRPOConfig(
        output_dir=str(tmp_path), num_generations=8, per_device_train_batch_size=16, use_cpu=True,
        max_completion_length=4, report_to="none", bf16=False, seed=1,
        activation_checkpointing=False,
    )  # fmt: skip
    trainer = grpo.trainer_class()(
        str(student), args=arguments, train_dataset=Dataset.from_list(given),
        reward_funcs=reward_function(),
    )  # fmt: skip
    scored = trainer._generate_and_score_completions([row for row in given for _ in range(8)])
    tokens = scored["completion_mask"].sum(1).tolist()
    assert tokens[:8] == [0] * 8
    assert any(tokens[8:])
    assert scored["num_items_in_batch"] == sum(tokens)


def test_selfplay_prefers_what_its_verifiers_accept(student: Path, tmp_path: Path) -> None:
    data = students.write(tmp_path / "rlvr.jsonl", students.rlvr_rows())
    c = config(
        "selfplay", student, data, tmp_path / "out", train={"lr": 5e-3, "epochs": 6},
        sampling={"k": 8, "max_tokens": 4, "engine": "hf"},
        selfplay={"rounds": 2, "heldout": 0.3, "per_prompt": 2},
    )  # fmt: skip
    model = selfplay.train(c)
    rounds = [json.loads(x) for x in (tmp_path / "out" / "rounds.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rounds] == [0, 1, 2]
    assert all(0 <= row["hack_rate"] <= 1 for row in rounds)
    assert rounds[2]["kept"] / rounds[2]["samples"] > rounds[1]["kept"] / rounds[1]["samples"]
    assert (model / "config.json").exists()
    assert (tmp_path / "out" / "guards.png").exists()


def test_a_tracker_gets_the_metrics_or_is_named_where_it_is_missing(
    student: Path, tmp_path: Path
) -> None:
    data = students.write(tmp_path / "sft.jsonl", students.sft_rows())
    train = {"max_steps": 2, "report_to": "tensorboard"}
    c = config("sft", student, data, tmp_path / "out", train=train)
    if importlib.util.find_spec("tensorboard"):
        sft.train(c)
        assert list((tmp_path / "out").rglob("events.out.tfevents.*"))
    else:
        with pytest.raises(SetupError, match=r"report_to.*`pip install tensorboard`"):
            sft.train(c)


# ---- kills, and what users get wrong -------------------------------------------------------------


def write_config(path: Path, model: Path, data: Path, **more: Any) -> Path:
    import tomli_w

    values = {"model": str(model), "data": str(data), "out": str(path.parent / "out")}
    train = PLAIN | more.pop("train", {})
    path.write_text(tomli_w.dumps(values | {"lora": {"rank": 0}, "train": train} | more))
    return path


@pytest.mark.timeout(600)
def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """It ends where one that was left alone ends."""
    student = students.make(tmp_path / "student")
    data = students.write(tmp_path / "sft.jsonl", students.sft_rows())
    part = {"epochs": 4, "save_steps": 2, "batch": 4, "micro_batch": 4}
    file = write_config(tmp_path / "c.toml", student, data, train=part)
    out = tmp_path / "out"
    with command("train", "sft", file) as process:
        deadline = time.monotonic() + 240
        while not list(out.glob("checkpoints/checkpoint-2/trainer_state.json")):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (out / "model").exists()
    done = autoif("train", "sft", file, timeout=250)
    assert done.code == 0, done.err
    assert "going on from" in done.err
    assert done.out == f"{out / 'model'}\n"
    steps = [row["step"] for row in metrics(out)]
    assert steps == list(range(1, 17))
    whole = tmp_path / "whole"
    sft.train(config("sft", student, data, whole, train=part))
    again, alone = ([round(row["loss"], 4) for row in metrics(o)] for o in (out, whole))
    assert again == alone


def test_nan_ends_a_training_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    student = students.make(tmp_path / "student")
    data = students.write(tmp_path / "sft.jsonl", students.sft_rows())
    part = {"epochs": 20, "save_steps": 1, "lr": 1e20, "warmup": 3.0, "grad_norm": 1e30}
    with pytest.raises(
        RunFailed, match=r"lower train\.lr; the last good checkpoint is .*checkpoint"
    ):
        sft.train(config("sft", student, data, tmp_path / "out", train=part))
    assert not (tmp_path / "out" / "model").exists()


def test_another_configuration_is_refused_in_a_directory(tmp_path: Path) -> None:
    student = students.make(tmp_path / "student")
    data = students.write(tmp_path / "sft.jsonl", students.sft_rows(8))
    sft.train(config("sft", student, data, tmp_path / "out", train={"epochs": 1}))
    with pytest.raises(UsageError, match=r"another configuration \(train\.epochs: 1\.0 there, 2"):
        sft.train(config("sft", student, data, tmp_path / "out", train={"epochs": 2}))
    smaller = {"epochs": 1, "micro_batch": 2, "threads": 2}  # how, not what: after memory ran out
    sft.train(config("sft", student, data, tmp_path / "out", train=smaller))


def test_other_rows_and_a_second_training_are_refused_in_a_directory(tmp_path: Path) -> None:
    student = students.make(tmp_path / "student")
    data = students.write(tmp_path / "sft.jsonl", students.sft_rows(8))
    c = config("sft", student, data, tmp_path / "out", train={"epochs": 1})
    with alone(tmp_path / "out", ""), pytest.raises(SetupError, match="in use by another run"):
        sft.train(c)
    sft.train(c)
    (tmp_path / "out" / "model").rename(tmp_path / "model")  # as if killed just before
    students.write(data, students.sft_rows(7))
    with pytest.raises(UsageError, match=r"begun with other rows \(8; now 7"):
        sft.train(c)
    (tmp_path / "model").rename(tmp_path / "out" / "model")
    with pytest.raises(UsageError, match=r"begun with other rows"):  # nor is a made one passed off
        sft.train(c)


def test_a_model_made_of_other_weights_is_not_passed_off_as_made(tmp_path: Path) -> None:
    """SFT anew into the directory that a DPO's configuration names: DPO is not done."""
    student = students.make(tmp_path / "student")
    data = students.write(tmp_path / "dpo.jsonl", students.dpo_rows(8))
    c = config("dpo", student, data, tmp_path / "out", train={"max_steps": 1})
    model = dpo.train(c)
    assert dpo.train(c) == model
    shutil.rmtree(student)
    students.make(student, initializer_range=0.03)  # files of the same sizes
    with pytest.raises(UsageError, match=r"begun with other weights than .*/student has now"):
        dpo.train(c)


def test_a_checkpoint_that_was_cut_short_is_not_gone_on_from(tmp_path: Path) -> None:
    student = students.make(tmp_path / "student")
    data = students.write(tmp_path / "sft.jsonl", students.sft_rows(8))
    part = {"epochs": 4, "batch": 4, "micro_batch": 4, "save_steps": 3}
    c = config("sft", student, data, tmp_path / "out", train=part)
    sft.train(c)
    tokens = [row["num_tokens"] for row in metrics(tmp_path / "out")]
    (tmp_path / "out" / "model").rename(tmp_path / "model")
    last = tmp_path / "out" / "checkpoints" / "checkpoint-8" / "optimizer.pt"
    os.truncate(last, last.stat().st_size // 2)
    said: list[str] = []
    sft.train(c, said.append)
    assert f"going on from {tmp_path}/out/checkpoints/checkpoint-6" in said
    assert [row["num_tokens"] for row in metrics(tmp_path / "out")] == tokens


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"train": {"max_length": 4096}}, "is over the 256 tokens that"),
        ({"train": {"max_length": 8}}, "every row has more than 8 tokens: raise train.max_length"),
        ({"train": {"batch": 9}}, "train.batch \\(9\\) is no multiple of train.micro_batch"),
        ({"model": "{tmp}"}, "not a model directory \\(no config.json in it\\)"),
        ({"model": "{tmp}/none"}, "no such model directory or GGUF file"),
        ({"model": "smollm2-135m-instuct"}, "no such model directory; .*: .*smollm2-135m-instruct"),
        ({"chat_template": "{tmp}/bad.jinja"}, "bad.jinja: not a template for messages: "),
        ({"train": {"packing": True}}, "train.packing wants a GPU"),
        ({"model": "{tmp}/broken"}, "tokenizer cannot be loaded"),
        ({"model": "{tmp}/bare"}, "it has no chat template"),
        ({"data": "{tmp}/none.jsonl"}, "no such file; `data` names files of rows"),
    ],
)
def test_a_wrong_setup_is_one_line(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    student = students.make(tmp_path / "student")
    students.make(tmp_path / "bare", template=None)
    (tmp_path / "broken").mkdir()
    (tmp_path / "bad.jinja").write_text("{% for m in %}")
    (tmp_path / "broken" / "config.json").write_text("{}")
    data = students.write(tmp_path / "sft.jsonl", students.sft_rows(4))
    values = {
        k: v.replace("{tmp}", str(tmp_path)) for k, v in more.items() if isinstance(v, str)
    } | {k: v for k, v in more.items() if not isinstance(v, str)}
    c = config("sft", student, data, tmp_path / "out", train=values.pop("train", {}))
    c = c.model_copy(update=values | ({"data": (values["data"],)} if "data" in values else {}))
    with pytest.raises(UsageError, match=said) as raised:
        sft.train(c)
    assert "\n" not in str(raised.value)


def test_selfplay_wants_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(UsageError, match="one process"):
        selfplay.train(config("selfplay", tmp_path, tmp_path, tmp_path / "out"))


def test_out_of_memory_names_a_knob(tmp_path: Path) -> None:
    c = config("sft", tmp_path, tmp_path, tmp_path)
    assert "lower train.micro_batch (now 8)" in out_of_memory(c)
    c = config("sft", tmp_path, tmp_path, tmp_path, train={"micro_batch": 1})
    assert "train.gradient_checkpointing = true" in out_of_memory(c)


@pytest.mark.timeout(600)
def test_a_killed_round_asks_nothing_again(tmp_path: Path) -> None:
    """What was answered before a kill is read back from the call store."""
    student = students.make(tmp_path / "student")
    data = students.write(tmp_path / "rlvr.jsonl", students.rlvr_rows())
    file = write_config(
        tmp_path / "c.toml", student, data, train={"epochs": 2, "lr": 1e-3},
        sampling={"k": 8, "max_tokens": 4, "engine": "hf"}, selfplay={"rounds": 1},
    )  # fmt: skip
    out = tmp_path / "out"

    def stored() -> int:
        if not (out / "calls.sqlite").exists():
            return 0
        with closing(sqlite3.connect(f"file:{out}/calls.sqlite?mode=ro", uri=True)) as db:
            try:
                return int(db.execute("SELECT count(*) FROM calls").fetchone()[0])
            except sqlite3.OperationalError:
                return 0

    with command("train", "selfplay", file) as process:
        deadline = time.monotonic() + 240
        while stored() < 20:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    before = stored()
    done = autoif("train", "selfplay", file, "--json", timeout=250)
    assert done.code == 0, done.err
    assert stored() == 2 + 14 * 8 + 2  # held out, round 1, held out: each asked once
    assert before < stored()
    assert json.loads(done.out)["last"]["round"] == 1


def test_a_server_may_answer_for_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any command that serves the round's weights; it is shown, asked without a key, and ended with
    the round."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-no")
    notices: list[str] = []
    server = tmp_path / "server.py"
    server.write_text(SERVER)
    sampling = Sampling(serve=(sys.executable, str(server), "{model}", "{port}"))

    model = tmp_path / "model"

    async def ask() -> str:
        async with (
            open_store(tmp_path / "calls.sqlite") as store,
            policy(model, sampling, store, notices.append) as chat,
        ):
            return (await chat(Request((Message("user", "who?"),)))).text

    assert asyncio.run(ask()) == f"I am {model}, asked with the key None"
    assert f"{server} {model}" in notices[0]
    broken = (sys.executable, "-c", "print('no GPU', flush=True); raise SystemExit(3)")
    said = rf"ended with code 3: no GPU \(output: {tmp_path}/server\.log\)"
    with pytest.raises(SetupError, match=said):
        asyncio.run(_enter(Sampling(serve=broken), model))


def test_a_server_ends_with_a_killed_training(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    holder = (
        "import pathlib, sys\nfrom autoif.train.policy import _served\n"
        "command = (sys.executable, 'server.py', '{model}', '{port}')\n"
        "with _served(pathlib.Path('m'), command, lambda line: None):\n"
        "    print('up', flush=True)\n    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert len(children) == 1
    end = time.monotonic() + 20
    while Path(f"/proc/{children[0]}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


async def _enter(sampling: Sampling, model: Path) -> None:
    async with (
        open_store(model.parent / "calls.sqlite") as store,
        policy(model, sampling, store, lambda line: None),
    ):
        pass


SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer({"data": [{"id": sys.argv[1]}]})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Authorization"]
        said = f"I am {asked['model']}, asked with the key {key}"
        message = {"role": "assistant", "content": said}
        self.answer({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {}})
HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


# ---- GGUF ----------------------------------------------------------------------------------------


def gguf_origin(student: Path, path: Path) -> Path:
    """The frame that `write_gguf` fills: a GGUF file of this shape, with zeros for weights."""
    import gguf
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(student)
    c = model.config
    writer = gguf.GGUFWriter(path, arch=c.model_type)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(c.hidden_size // c.num_attention_heads)
    writer.add_vocab_size(c.vocab_size)
    writer.add_token_list([f"t{n}" for n in range(c.vocab_size)])
    names = gguf.get_tensor_name_map(
        getattr(gguf.MODEL_ARCH, c.model_type.upper()), c.num_hidden_layers
    )
    for key, tensor in model.state_dict().items():
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(name, 0 * tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_trained_model_as_gguf_says_the_same(student: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from autoif.train.gguf_file import write_gguf

    origin = gguf_origin(student, tmp_path / "origin.gguf")
    file = write_gguf(student, origin, tmp_path / "model.gguf")
    again = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32)
    here = AutoModelForCausalLM.from_pretrained(student)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        a, b = (net.eval()(ids).logits.float().log_softmax(-1) for net in (here, again))
    assert float((a - b).abs().max()) < 0.02  # 8 bits a weight
    other = students.make(tmp_path / "other", context=64)
    (other / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="no weights for"):
        write_gguf(other, origin, tmp_path / "none.gguf")


def test_a_gguf_file_that_is_none_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoif.train import model_files

    monkeypatch.setenv("AUTOIF_CACHE", str(tmp_path / "not" / "there"))
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\0" * 64)
    with pytest.raises(UsageError, match="cannot be read as a model"):
        model_files.find(str(bad))


# ---- what somebody else left in the directory ---------------------------------------------------


@pytest.mark.parametrize("content", [b"[]", b"{}", b"\xff\xfe", b'{"model": 3, "rows": 1}', b"3"])
def test_inputs_that_no_training_wrote_are_one_line(content: bytes, tmp_path: Path) -> None:
    from autoif.train.training import _inputs

    (tmp_path / "inputs.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"inputs\.json: not what a training wrote"):
        _inputs(tmp_path / "inputs.json")


def test_a_checkpoint_without_a_number_is_none(tmp_path: Path) -> None:
    from autoif.train.training import last_checkpoint

    for name in ("checkpoint-abc", "checkpoint-", "checkpoint-7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-7"


def test_metrics_without_a_step_are_left_out(tmp_path: Path) -> None:
    from autoif.train import plots

    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n{"step": "x"}\n{"step": 2, "loss": 1}\n')
    assert plots.read(tmp_path / "metrics.jsonl", "step") == [{"step": 2, "loss": 1}]
