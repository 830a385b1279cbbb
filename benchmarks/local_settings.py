"""One setting of the engine against another, on a prepared copy of the embedded model:

    python benchmarks/local_settings.py FOLDER [KEY=VALUE ...] [--batches 64] [--tokens 24]

FOLDER is the `...-openvino-...` directory in the cache. A KEY that the scheduler knows
(max_num_batched_tokens, ...) is set there, any other is a property of the CPU plugin
(INFERENCE_PRECISION_HINT, ...). Figures are tokens per CPU second times the number of cores.
"""

from __future__ import annotations

import argparse
import os
import time

import openvino_genai as engine

CORES = len(os.sched_getaffinity(0))
WORDS = ("river", "stone", "apple", "cloud", "engine", "paper", "forest", "glass", "winter", "sea")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--batches", nargs="+", type=int, default=[64])
    parser.add_argument("--tokens", type=int, default=24)
    options = parser.parse_args()

    scheduler = engine.SchedulerConfig()
    scheduler.num_kv_blocks = 4096
    scheduler.enable_prefix_caching = True
    properties = {}
    for key, value in (setting.split("=", 1) for setting in options.settings):
        if hasattr(scheduler, key):
            setattr(scheduler, key, type(getattr(scheduler, key))(int(value)))
        else:
            properties[key] = value
    pipeline = engine.ContinuousBatchingPipeline(options.folder, scheduler, "CPU", properties)
    tokenizer = pipeline.get_tokenizer()
    config = pipeline.get_config()
    config.do_sample, config.temperature, config.top_p = True, 0.8, 0.95
    config.ignore_eos = True

    def ask(words: int, note: int, tokens: int):  # type: ignore[no-untyped-def]
        text = " ".join(WORDS[i * (1 + words % 7) % len(WORDS)] for i in range(words))
        messages = [{"role": "user", "content": f"{text}: write about these. {note}"}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        ids = tokenizer.encode(prompt, add_special_tokens=False).input_ids
        config.max_new_tokens = tokens
        return pipeline.add_request(note, ids, config), ids.shape[1]

    def finish() -> None:
        while pipeline.has_non_finished_requests():
            pipeline.step()

    ask(20, 0, 4)
    finish()  # the engine compiles its kernels

    started = time.process_time()
    _, prompt_tokens = ask(900, 1, 1)
    finish()
    prefill = prompt_tokens * CORES / (time.process_time() - started)
    print(f"prefill of {prompt_tokens}: {prefill:.0f} tokens/s")

    for batch in options.batches:
        handles = [ask(20, note, options.tokens)[0] for note in range(batch)]
        while not all(handle.can_read() for handle in handles):
            pipeline.step()
        early = sum(len(handle.read()[0].generated_ids) for handle in handles)
        started = time.process_time()
        finish()
        rate = (batch * options.tokens - early) * CORES / (time.process_time() - started)
        print(f"batch {batch}: {rate:.0f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
