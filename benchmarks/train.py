"""Speed of training: python benchmarks/train.py [--model DIR] [--json FILE] [--only NAME ...]

reward    verdicts/s of the reward function on GRPO-shaped batches against calling the same
          functions bare in this process, and the latency of a batch
sampling  tokens/s of `hf:` (batched, sorted by length, left-padded) against `generate` one by one
grpo      share of a GRPO step that waits for rewards
step      tokens/s of SFT and DPO here against the plain trainers of TRL
bare      tokens/s of an optimiser step on 2 x 512 tokens, adapters and all weights, both precisions
engines   tokens/s of 64 answers: transformers, and the embedded engine from a GGUF file (no GPU)

With no --model, all but the first use SmolLM2-135M-Instruct, unpacked from its GGUF file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from autoif.base.records import Message, Request, dump_line

Row = dict[str, Any]
CHECKS = [
    "def evaluate(response):\n    return len(response.split()) < 40",
    "def evaluate(response):\n    return response.count(',') >= 2",
    "import re\n\ndef evaluate(response):\n    return bool(re.search(r'^- ', response, re.M))",
    "def evaluate(response):\n    return response.strip().endswith('.')",
    "import re\n\ndef evaluate(response):\n    return len(re.findall(r'[A-Z]{2,}', response)) > 0",
    "def evaluate(response):\n    words = response.lower().split()\n"
    "    return len(set(words)) > len(words) / 2",
    "import json\n\ndef evaluate(response):\n    try:\n        json.loads(response)\n"
    "        return True\n    except ValueError:\n        return False",
    "def evaluate(response):\n    return sum(c.isdigit() for c in response) == 0",
]
WORDS = ["river", "stone", "apple", "cloud", "engine", "paper", "forest", "glass", "winter", "sea"]


def text(n: int, words: int) -> str:
    return " ".join(WORDS[(n * 7 + i * (1 + n % 5)) % len(WORDS)] for i in range(words)) + "."


def reward(prompts: int = 64, generations: int = 8, rounds: int = 5) -> Row:
    """A batch as GRPO makes it: 64 prompts, each of two constraints, 8 completions of 150 words."""
    from autoif.verifier.reward import verifier_reward

    verifiers, completions = [], []
    for p in range(prompts):
        two = [f"{CHECKS[(p + k) % len(CHECKS)]}\n# {p}" for k in (0, 1)]
        row = [{"checks": [source], "min_fraction": 1.0} for source in two]
        for g in range(generations):
            verifiers.append(row)
            completions.append(text(p * 31 + g, 150))
    verdicts = 2 * len(completions)

    async def ours() -> list[float]:
        took = []
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            said = await verifier_reward([None] * len(completions), completions, verifiers)
            took.append(time.perf_counter() - begun)
            assert None not in said
        return took[1:]

    def bare() -> float:
        """Compiled once each, called directly: no containment, no deadline."""
        begun = time.perf_counter()
        compiled: dict[str, Callable[[str], bool]] = {}
        for row, completion in zip(verifiers, completions, strict=True):
            for verifier in row:
                source = verifier["checks"][0]
                if source not in compiled:
                    space: Row = {}
                    exec(source, space)  # our own functions above
                    compiled[source] = space["evaluate"]
                compiled[source](completion)
        return time.perf_counter() - begun

    batch = statistics.median(asyncio.run(ours()))
    plain = statistics.median(bare() for _ in range(rounds))
    return {
        "verdicts": verdicts,
        "verdicts/s": round(verdicts / batch),
        "bare verdicts/s": round(verdicts / plain),
        "seconds a batch": round(batch, 3),
    }


def sampling(model: str, n: int = 32, tokens: int = 64) -> Row:
    """The same prompts, greedy, of mixed length."""
    from autoif.models.transformers.backend import HFBackend

    prompts = [f"Write about {text(i, 5 + 11 * (i % 7))}" for i in range(n)]

    async def batched() -> tuple[int, float]:
        backend = HFBackend(model, batch_size=32)
        await backend(Request((Message("user", "hi"),), max_tokens=2))
        begun = time.perf_counter()
        requests = [Request((Message("user", p),), max_tokens=tokens) for p in prompts]
        replies = await asyncio.gather(*map(backend, requests))
        took = time.perf_counter() - begun
        await backend.close()
        return sum(reply.usage.completion for reply in replies), took

    def naive(few: int = 6) -> tuple[int, float]:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        tokenizer = AutoTokenizer.from_pretrained(model)
        net = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).to(device).eval()
        made, begun = 0, time.perf_counter()
        for prompt in prompts[:: max(1, n // few)]:
            turns = [{"role": "user", "content": prompt}]
            ids = tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
            ).to(device)
            with torch.inference_mode():
                out = net.generate(**ids, max_new_tokens=tokens, do_sample=False)
            made += out.shape[1] - ids["input_ids"].shape[1]
        return made, time.perf_counter() - begun

    ours, plain = asyncio.run(batched()), naive()
    a, b = ours[0] / ours[1], plain[0] / plain[1]
    return {"tokens/s": round(a, 1), "naive tokens/s": round(b, 1), "times": round(a / b, 2)}


def rows_of(method: str, n: int) -> list[Row]:
    def turn(role: str, words: str) -> list[Row]:
        return [{"role": role, "content": words}]

    out: list[Row] = []
    for i in range(n):
        ask = turn("user", f"Write about {text(i, 12)}")
        good, bad = turn("assistant", text(i, 120)), turn("assistant", text(i + 1, 120))
        if method == "sft":
            out.append({"messages": ask + good})
        elif method == "dpo":
            out.append({"prompt": ask, "chosen": good, "rejected": bad})
        else:
            two = [{"checks": [CHECKS[(i + k) % 8]], "min_fraction": 1.0} for k in (0, 1)]
            out.append({"id": f"{i:016x}", "prompt": ask, "verifiers": two})
    return out


def trained(method: Any, model: str, out: Path, steps: int, **more: Any) -> list[Row]:
    from autoif.engine.train_and_evaluate import train
    from autoif.train.config import TrainConfig
    from autoif.train.plots import read

    file = out / f"{method}.jsonl"
    file.write_bytes(b"".join(map(dump_line, rows_of(method, 64))))
    part = {"max_steps": steps, "epochs": 9, "save_steps": 10_000} | more.pop("train", {})
    values = {"model": model, "data": str(file), "out": str(out / method), "train": part} | more
    train(TrainConfig.of(method, values))
    return read(out / method / "metrics.jsonl")


def grpo(model: str, steps: int = 3) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        part = {"max_tokens": 64}
        history = trained("grpo", model, Path(folder), steps, grpo=part)
    later = history[1:]
    return {
        "seconds a step": round(statistics.fmean(r["step_time"] for r in later), 2),
        "seconds for rewards": round(statistics.fmean(r["verifier/seconds"] for r in later), 4),
        "share": round(statistics.fmean(r["verifier/share"] for r in later), 5),
    }


def step(model: str) -> Row:
    """Each in a process of its own: what one tells the allocator must not help the other."""
    out: Row = {}
    for method in ("sft", "dpo"):
        tokens, ours = alone(our_step, method, model)
        plain = alone(plain_trl, method, model)
        out[method] = {
            "tokens/s": round(tokens / ours, 1),
            "plain TRL tokens/s": round(tokens / plain, 1),
            "times": round(plain / ours, 2),
        }
    return out


def alone(function: Callable[..., Any], *args: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def our_step(method: str, model: str, steps: int = 5) -> tuple[float, float]:
    """Tokens and seconds of a step, from the second one on: the first one warms up."""
    from autoif.train.process import own_training_process

    own_training_process()
    with tempfile.TemporaryDirectory() as folder:
        history = trained(method, model, Path(folder), steps, train={"batch": 8})
    first, last = history[0], history[-1]
    tokens, seconds = (last[k] - first[k] for k in ("num_tokens", "seconds"))
    return tokens / (steps - 1), seconds / (steps - 1)


def plain_trl(method: str, model: str, steps: int = 5) -> float:
    """Seconds a step of TRL's trainer with the same sizes and none of our callbacks."""
    import datasets
    import trl
    from transformers import TrainerCallback

    from autoif.train.config import TrainConfig
    from autoif.train.training import has_bf16, lora

    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    same: Any = method
    config = TrainConfig.of(same, {"model": model, "data": "d", "out": "o", "train": {"batch": 8}})
    rows = rows_of(method, 64)
    if method == "sft":
        rows = [{"prompt": r["messages"][:1], "completion": r["messages"][1:]} for r in rows]
    arguments = getattr(trl, f"{method.upper()}Config")(
        output_dir=tempfile.gettempdir(),  # nothing is saved
        per_device_train_batch_size=config.train.micro_batch,
        gradient_accumulation_steps=8 // config.train.micro_batch,
        max_steps=steps,
        max_length=config.train.max_length,
        bf16=has_bf16(),
        use_cpu=not __import__("torch").cuda.is_available(),
        activation_checkpointing=False,
        save_strategy="no",
        report_to="none",
    )
    trainer = getattr(trl, f"{method.upper()}Trainer")(
        model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        peft_config=lora(config),
        callbacks=[Clock()],
    )
    trainer.train()
    return (ends[-1] - ends[0]) / (steps - 1)


def bare(model: str) -> Row:
    import torch
    from peft import LoraConfig, get_peft_model

    from autoif.train.model_files import load_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    out: Row = {}
    for rank in (32, 0):
        net = load_model(model).to(device).train()
        if rank:
            net = get_peft_model(net, LoraConfig(r=rank, target_modules="all-linear"))
        weights = [p for p in net.parameters() if p.requires_grad]
        for name, low in (("float32", False), ("bfloat16", True)):
            optimiser = torch.optim.AdamW(weights, lr=1e-6)
            ids = torch.randint(5, 1000, (2, 512), device=device)
            took = []
            for _ in range(3):
                begun = time.perf_counter()
                with torch.autocast(device, dtype=torch.bfloat16, enabled=low):
                    loss = net(input_ids=ids, labels=ids).loss
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()
                if device == "cuda":
                    torch.cuda.synchronize()
                took.append(time.perf_counter() - begun)
            out[f"{'adapters' if rank else 'all weights'}, {name}"] = round(1024 / min(took), 1)
    return out


def engines(model: str, n: int = 64, tokens: int = 256) -> Row:
    from autoif.models.open import open_backend
    from autoif.models.weights import fetch
    from autoif.train.gguf_file import write_gguf

    async def speed(spec: str) -> float:
        backend = open_backend(spec)
        await backend(Request((Message("user", "hi"),), max_tokens=2))
        asked = [
            Request((Message("user", f"Tell a story about {text(i, 30)}"),), max_tokens=tokens)
            for i in range(n)
        ]
        begun = time.perf_counter()
        replies = await asyncio.gather(*map(backend, asked))
        took = time.perf_counter() - begun
        await backend.close()
        return round(sum(reply.usage.completion for reply in replies) / took, 1)

    with tempfile.TemporaryDirectory() as folder:
        origin = fetch("smollm2-135m-instruct")
        file = write_gguf(Path(model), origin, Path(folder) / "model.gguf")
        specs = {"embedded": f"local:{file}", "hf": f"hf:{model}"}
        return {kind: asyncio.run(speed(spec)) for kind, spec in specs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of training")
    parser.add_argument("--model", help="a model directory")
    parser.add_argument(
        "--only", nargs="+", default=["reward", "sampling", "grpo", "step", "bare", "engines"]
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results: Row = {"command": "python benchmarks/train.py", "cores": len(os.sched_getaffinity(0))}
    model = args.model
    if model is None and set(args.only) != {"reward"}:
        from autoif.train.model_files import find

        model = find("smollm2-135m-instruct")[0]
    parts: dict[str, Callable[[], Row]] = {
        "reward": reward,
        "sampling": lambda: sampling(model),
        "grpo": lambda: grpo(model),
        "step": lambda: step(model),
        "bare": lambda: bare(model),
        "engines": lambda: engines(model),
    }
    for name in args.only:
        results[name] = parts[name]()
        print(name, json.dumps(results[name]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
