"""One engine against another on the same weights and the same tokens:

    python benchmarks/engines.py openvino FOLDER [KEY=VALUE ...]   pip install openvino-genai
    python benchmarks/engines.py llama.cpp FILE.gguf               pip install xllamacpp
    python benchmarks/engines.py ctranslate2 FOLDER                pip install ctranslate2
    python benchmarks/engines.py onnx FOLDER                       pip install onnxruntime-genai

FOLDER holds the weights in the engine's own form: openvino's is the `...-openvino-...` directory in
the cache, the others are made by `ct2-transformers-converter --quantization int8` and by
`onnxruntime_genai.models.builder -p int4 -e cpu --extra_options int4_accuracy_level=4`. A KEY that
openvino's scheduler knows (max_num_batched_tokens, ...) is set there, any other is a property of
its CPU plugin. Printed are medians: tokens/s of a prompt of 384 tokens that is read; and of a batch
of prompts of 32 tokens, each answered with 32, those of the whole and of the answers alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tokens = list[int]
Generate = Callable[[list[Tokens], int], int]  # prompts, tokens of each answer -> tokens answered
THREADS = len(os.sched_getaffinity(0))


def openvino(folder: str, settings: dict[str, str]) -> Generate:
    import numpy as np
    import openvino as ov  # type: ignore[import-not-found]
    import openvino_genai as engine

    scheduler = engine.SchedulerConfig()
    scheduler.num_kv_blocks = 1024
    known = {key: value for key, value in settings.items() if hasattr(scheduler, key)}
    for key, value in known.items():
        setattr(scheduler, key, type(getattr(scheduler, key))(int(value)))
    properties = {key: value for key, value in settings.items() if key not in known}
    pipeline = engine.ContinuousBatchingPipeline(folder, scheduler, "CPU", properties)
    config = pipeline.get_config()
    config.ignore_eos = config.do_sample = True

    def generate(prompts: list[Tokens], tokens: int) -> int:
        config.max_new_tokens = tokens
        handles = []  # a request whose handle is gone is given up
        for n, prompt in enumerate(prompts):
            ids = ov.Tensor(np.array([prompt], dtype=np.int64))
            handles.append(pipeline.add_request(n, ids, config))
        while pipeline.has_non_finished_requests():
            pipeline.step()
        return sum(len(handle.read_all()[0].generated_ids) for handle in handles)

    return generate


def llama_cpp(file: str, settings: dict[str, str]) -> Generate:
    import xllamacpp  # type: ignore[import-not-found]

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx, params.n_parallel, params.kv_unified = 16_384, 64, True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    server = xllamacpp.Server(params)

    def generate(prompts: list[Tokens], tokens: int) -> int:
        counts: list[int] = []

        def one(prompt: Tokens) -> None:
            body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 1.0}
            counts.append(server.handle_completions(body)["usage"]["completion_tokens"])

        threads = [threading.Thread(target=one, args=(prompt,)) for prompt in prompts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts)

    return generate


def ctranslate2(folder: str, settings: dict[str, str]) -> Generate:
    import ctranslate2 as engine  # type: ignore[import-not-found]

    model = engine.Generator(folder, device="cpu", compute_type="int8", intra_threads=THREADS)
    names = json.loads((Path(folder) / "vocabulary.json").read_text("utf-8"))

    def generate(prompts: list[Tokens], tokens: int) -> int:
        results = model.generate_batch(
            [[names[token] for token in prompt] for prompt in prompts],
            max_length=tokens,
            min_length=tokens,
            sampling_topk=0,
            include_prompt_in_result=False,
        )
        return sum(len(result.sequences_ids[0]) for result in results)

    return generate


def onnx(folder: str, settings: dict[str, str]) -> Generate:
    import numpy as np
    import onnxruntime_genai as engine  # type: ignore[import-not-found]

    model = engine.Model(folder)

    def generate(prompts: list[Tokens], tokens: int) -> int:
        params = engine.GeneratorParams(model)
        length = len(prompts[0]) + tokens
        options: dict[str, Any] = {"max_length": length, "min_length": length}
        params.set_search_options(**options, do_sample=True, batch_size=len(prompts))
        generator = engine.Generator(model, params)
        generator.append_tokens(np.array(prompts, dtype=np.int32))
        for _ in range(tokens):
            generator.generate_next_token()
        return len(prompts) * tokens

    return generate


ENGINES = {"openvino": openvino, "llama.cpp": llama_cpp, "ctranslate2": ctranslate2, "onnx": onnx}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    began = time.perf_counter()
    settings = dict(setting.split("=", 1) for setting in options.settings)
    generate = ENGINES[options.engine](options.model, settings)
    loaded = time.perf_counter() - began
    draw = random.Random(0)

    def prompts(n: int, length: int) -> list[Tokens]:
        return [[draw.randrange(100, 100_000) for _ in range(length)] for _ in range(n)]

    def seconds(n: int, length: int, tokens: int) -> float:
        began = time.perf_counter()
        assert generate(prompts(n, length), tokens) == n * tokens
        return time.perf_counter() - began

    seconds(1, 384, 1)  # kernels are compiled
    read = 384 / statistics.median(seconds(1, 384, 1) for _ in range(options.repeat))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{options.engine}: loaded in {loaded:.1f} s, {memory:.1f} GB; prompt {read:.0f} tokens/s"
    )
    for batch in options.batches:
        first = statistics.median(seconds(batch, 32, 1) for _ in range(options.repeat))
        whole = statistics.median(seconds(batch, 32, 32) for _ in range(options.repeat))
        answers = batch * 31 / max(whole - first, 1e-9)
        print(
            f"batch {batch}: {batch * 64 / whole:.1f} tokens/s read and answered, answers alone "
            f"{answers:.1f} tokens/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
