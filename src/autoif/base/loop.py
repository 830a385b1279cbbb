"""Event loops: uvloop, where it can be had (a sixth less time for a call), and how a function that
blocks runs a coroutine, also where a loop is running already (a notebook)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:  # Windows, which has no sandbox either
    from asyncio import new_event_loop

P = ParamSpec("P")
T = TypeVar("T")


def asyncio_run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on that loop."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def run_blocking(main: Coroutine[Any, Any, T], stop: Callable[[], None] | None = None) -> T:
    """Runs `main` to its end in a loop of its own: in a thread where this one has a loop already.

    stop: called in the loop of `main` at the first Ctrl-C; `main` then ends by itself, with a
    result or an exception. Without it, Ctrl-C cancels `main` and raises KeyboardInterrupt.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio_run(_stoppable(main, stop) if stop else main)
    return _in_thread(main, stop)


def blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The coroutine function as one that blocks, with the same parameters and documentation."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_blocking(function(*args, **kwargs))

    return call


async def _stoppable(main: Coroutine[Any, Any, T], stop: Callable[[], None]) -> T:
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop()
        loop.remove_signal_handler(signal.SIGINT)  # the next one is Python's own again

    with suppress(RuntimeError, ValueError):  # signals are the main thread's
        loop.add_signal_handler(signal.SIGINT, interrupted)
    return await main


def _in_thread(main: Coroutine[Any, Any, T], stop: Callable[[], None] | None) -> T:
    interrupt: list[Callable[[], object]] = []

    async def execute() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task
        interrupt.append(lambda: loop.call_soon_threadsafe(stop or task.cancel))
        return await main

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(asyncio_run, execute())
        try:
            while not done.done():  # a signal may not wake a lock, so it is asked now and then
                wait([done], timeout=0.2)
        except KeyboardInterrupt:
            with suppress(IndexError, RuntimeError):  # not begun, or over
                interrupt[0]()
            if stop is None:
                raise
        return done.result()
