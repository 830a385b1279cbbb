"""One client making CALLS different chat calls to URL, CONCURRENCY at a time, in this process.

    python call_clients.py CLIENT URL CALLS CONCURRENCY

Prints {"calls", "seconds", "cpu_ms_per_call"}: wall time and CPU (children included) from the first
request to the last answer, imports and set-up apart. It is run by the interpreter of whichever
environment holds the client, so it imports nothing before it is told which.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROMPT = "Write a Python function that checks whether a reply keeps to this instruction. " * 20
Ask = Callable[[int], Awaitable[Any]]


def cpu() -> float:
    own, children = (
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


@contextmanager
def measured(calls: int) -> Iterator[None]:
    wall, used = time.perf_counter(), cpu()
    yield
    wall, used = time.perf_counter() - wall, cpu() - used
    print(json.dumps({"calls": calls, "seconds": wall, "cpu_ms_per_call": used / calls * 1e3}))


async def workers(ask: Ask, calls: int, concurrency: int) -> None:
    """So many tasks that each take the next number, as an engine bounds its work."""
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            await ask(number)

    with measured(calls):
        await asyncio.gather(*(work() for _ in range(concurrency)))


async def bare_aiohttp(url: str, calls: int, concurrency: int) -> None:
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> None:
            messages = [{"role": "user", "content": f"{PROMPT}{number}"}]
            body = {"model": "m", "messages": messages, "temperature": 0.7, "top_p": 1.0}
            data = orjson.dumps(body | {"max_tokens": 1024})
            headers = {"Content-Type": "application/json"}
            async with session.post(f"{url}/chat/completions", data=data, headers=headers) as r:
                answer = orjson.loads(await r.read())
            assert answer["choices"][0]["message"]["content"]

        await workers(ask, calls, concurrency)


async def autoif(url: str, calls: int, concurrency: int, replay: bool = False) -> None:
    """With the store, as every run has it; `replay`: the store knows every answer already."""
    from autoif.base.records import Message, Request
    from autoif.cli.common import own_process
    from autoif.models.cached import CachedChat
    from autoif.models.openai.backend import HttpBackend
    from autoif.store import open_store

    own_process()
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(Path(folder) / "calls") as store:

            async def ask(number: int) -> None:
                message = Message("user", f"{PROMPT}{number}")
                request = Request(
                    (message,), temperature=0.7, stage="code", record=str(number // 16)
                )
                assert (await chat(request)).text

            for again in (True, False) if replay else (False,):
                chat = CachedChat(HttpBackend("m", [url]), store)
                if again:
                    numbers = iter(range(calls))
                    await asyncio.gather(*(fill(ask, numbers) for _ in range(256)))
                else:
                    await workers(ask, calls, concurrency)
                await chat.close()
            assert chat.counts["code"].replayed == (calls if replay else 0)


async def fill(ask: Ask, numbers: Iterator[int]) -> None:
    for number in numbers:
        await ask(number)


async def openai_sdk(url: str, calls: int, concurrency: int, *, over_aiohttp: bool = False) -> None:
    import openai

    transport = openai.DefaultAioHttpClient() if over_aiohttp else None
    async with openai.AsyncOpenAI(base_url=url, api_key="x", http_client=transport) as client:

        async def ask(number: int) -> None:
            answer = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": f"{PROMPT}{number}"}]
            )
            assert answer.choices[0].message.content

        await workers(ask, calls, concurrency)


async def litellm(url: str, calls: int, concurrency: int) -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no look at the internet
    import litellm

    async def ask(number: int) -> None:
        messages = [{"role": "user", "content": f"{PROMPT}{number}"}]
        answer = await litellm.acompletion("openai/m", messages, base_url=url, api_key="x")
        assert answer.choices[0].message.content

    await workers(ask, calls, concurrency)


def curator(url: str, calls: int, concurrency: int) -> None:
    os.environ |= {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "CURATOR_DISABLE_CACHE": "1",
        "TELEMETRY_ENABLED": "0",
        "OPENAI_API_KEY": "x",
    }
    os.environ |= {"CURATOR_CACHE_DIR": tempfile.mkdtemp(), "HF_HUB_OFFLINE": "1"}
    from bespokelabs import curator
    from datasets import Dataset

    class Ask(curator.LLM):  # type: ignore[misc]
        def prompt(self, row: dict[str, Any]) -> str:
            return str(row["prompt"])

        def parse(self, row: dict[str, Any], response: str) -> dict[str, str]:
            return {"answer": response}

    rows = Dataset.from_dict({"prompt": [f"{PROMPT}{i}" for i in range(calls)]})
    llm = Ask(
        model_name="openai/m",
        backend="litellm",
        backend_params={
            "base_url": url, "api_key": "x", "max_concurrent_requests": concurrency,
            "max_requests_per_minute": 10**8, "max_tokens_per_minute": 10**11,
        },
    )  # fmt: skip
    with measured(calls):
        answers = llm(rows)
    assert len(getattr(answers, "dataset", answers)) == calls


def distilabel(url: str, calls: int, concurrency: int) -> None:
    from distilabel.models import OpenAILLM

    llm = OpenAILLM(model="m", base_url=url, api_key="x")
    llm.load()
    with measured(calls):
        for start in range(0, calls, concurrency):  # it takes its concurrency in batches
            numbers = range(start, min(start + concurrency, calls))
            inputs = [[{"role": "user", "content": f"{PROMPT}{i}"}] for i in numbers]
            assert len(llm.generate_outputs(inputs)) == len(inputs)


def data_designer(url: str, calls: int, concurrency: int) -> None:
    os.environ |= {"KEY": "x", "NEMO_TELEMETRY_ENABLED": "false"}
    import data_designer.config as dd
    from data_designer.interface import DataDesigner

    parameters = dd.ChatCompletionInferenceParams(max_parallel_requests=concurrency)
    provider = dd.ModelProvider(name="here", endpoint=url, provider_type="openai", api_key="KEY")
    model = dd.ModelConfig(
        alias="m", model="m", provider="here", inference_parameters=parameters,
        skip_health_check=True,
    )  # fmt: skip
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    uuid = dd.SamplerColumnConfig(
        name="number", sampler_type=dd.SamplerType.UUID, params=dd.UUIDSamplerParams()
    )
    builder.add_column(uuid)
    builder.add_column(
        dd.LLMTextColumnConfig(name="answer", prompt=PROMPT + "{{ number }}", model_alias="m")
    )
    with tempfile.TemporaryDirectory() as folder:
        designer = DataDesigner(artifact_path=folder, model_providers=[provider])
        with measured(calls):
            made = designer.create(builder, num_records=calls)
        assert len(made.load_dataset()) == calls


def main() -> None:
    _, client, url, calls, concurrency = sys.argv
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    n, at_once = int(calls), int(concurrency)
    match client:
        case "aiohttp":
            asyncio.run(bare_aiohttp(url, n, at_once))
        case "autoif" | "autoif-replay":
            from autoif.base.loop import asyncio_run

            asyncio_run(autoif(url, n, at_once, client == "autoif-replay"))
        case "openai" | "openai-aiohttp":
            asyncio.run(openai_sdk(url, n, at_once, over_aiohttp=client == "openai-aiohttp"))
        case "litellm":
            asyncio.run(litellm(url, n, at_once))
        case "curator":
            curator(url, n, at_once)
        case "data-designer":
            data_designer(url, n, at_once)
        case "distilabel":
            distilabel(url, n, at_once)


if __name__ == "__main__":
    main()
