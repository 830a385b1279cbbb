"""A process that makes calls through a store and says so, for tests that kill it or its server.

    python tests/store_worker.py STORE LOG NAME CALLS [PATIENCE]

LOG gets a line when a call is paid ("paid NUMBER") and when its answer may be used ("used NUMBER
ANSWER"), each by one write(2), which a kill leaves whole. Notices go to stderr.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from autoif.base.errors import StoreError
from autoif.base.loop import asyncio_run
from autoif.base.records import Message, Reply, Request, Usage
from autoif.models.cached import CachedChat
from autoif.models.scripted import ScriptedBackend
from autoif.store import open_store

IN_FLIGHT = 32
RUN = "run"


def question(number: int) -> Request:
    return Request((Message("user", str(number)),), stage="s", record=str(number % 10))


async def main(where: str, log: str, name: str, calls: str, patience: str = "30") -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def answer(request: Request) -> Reply:
        await asyncio.sleep(random.uniform(0.001, 0.01))
        number = request.messages[0].content
        os.write(file, f"paid {number}\n".encode())
        return Reply(f"{name}-{number}-" + "x" * 3000, usage=Usage(1, 0, 2))

    async def one(number: int) -> None:
        async with slots:
            reply = await chat(question(number))
            os.write(file, f"used {number} {reply.text.rstrip('x')}\n".encode())

    def notice(line: str) -> None:
        print(line, file=sys.stderr)

    async with open_store(where, run=RUN, patience=float(patience), on_notice=notice) as store:
        chat = CachedChat(ScriptedBackend(answer), store)
        await asyncio.gather(*map(one, range(int(calls))))


if __name__ == "__main__":
    try:
        asyncio_run(main(*sys.argv[1:]))
    except StoreError as error:
        sys.exit(f"StoreError: {error}")
