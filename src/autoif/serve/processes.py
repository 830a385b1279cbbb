"""The processes of a server: each takes connections of the same port and judges on its own.

The parent reads the rows, forks, and waits; it has no thread and no loop. A process that is lost is
started again. SIGTERM, SIGINT, or the parent's own end: no new connections, what was taken is
answered, exit.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from aiohttp import web

from autoif.base.errors import AutoIFError, SetupError
from autoif.base.loop import asyncio_run
from autoif.base.printable import log
from autoif.serve.counters import Counters
from autoif.serve.protocols import PROTOCOLS
from autoif.serve.reward_server import RewardServer, ServerSettings
from autoif.serve.row_index import RowIndex
from autoif.verifier.reward import ascore

ENDS = (signal.SIGTERM, signal.SIGINT)
SHORT = 10.0  # seconds; a process that lives less is not started again
PROBE = [{"checks": ["def evaluate(response):\n    return True"]}]
Ready = Callable[[str], None]


def serve(settings: ServerSettings, rows: RowIndex, ready: Ready) -> Counters:
    """Serves until a signal ends it; then what it has done. ready: called with the URL.

    Raises SetupError where the port cannot be had, SandboxUnavailable where this machine cannot
    contain hostile code.
    """
    counters = Counters([protocol.path for protocol in PROTOCOLS], settings.processes)
    if settings.processes == 1:
        with _bound(settings.host, settings.port, shared=False) as listener:
            url = _url(listener)
            server = RewardServer(settings, rows, counters)
            asyncio_run(_serve(server, listener, lambda: ready(url), None))
        return counters
    with _bound(settings.host, settings.port, shared=False) as first:  # nobody else has it
        host, port = first.getsockname()[:2]
    with _bound(host, port, shared=True) as place:  # held, never listened on
        gc.freeze()  # else looking for garbage would copy what the processes share
        _Family(settings, rows, counters, (host, port)).run(lambda: ready(_url(place)))
    return counters


async def _serve(
    server: RewardServer, listener: socket.socket, ready: Callable[[], object], parent: int | None
) -> None:
    """parent: a descriptor that ends when the parent does."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in ENDS:
        loop.add_signal_handler(number, stop.set)
    if parent is not None:
        loop.add_reader(parent, stop.set)
    await ascore("x", PROBE)  # the first worker of the sandbox, or why there is none
    runner = web.AppRunner(
        server.app(),
        access_log=None,
        handler_cancellation=True,  # who has gone is not judged for
        shutdown_timeout=server.settings.deadline + 5,
    )
    await runner.setup()
    await web.SockSite(runner, listener, backlog=1024).start()
    ready()
    await stop.wait()
    server.ending = True
    if parent is not None:
        loop.remove_reader(parent)
    for number in ENDS:  # once more: at once
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    await runner.cleanup()


class _Family:
    """The parent and its processes."""

    def __init__(
        self,
        settings: ServerSettings,
        rows: RowIndex,
        counters: Counters,
        address: tuple[str, int],
    ) -> None:
        self.settings, self.rows, self.counters, self.address = settings, rows, counters, address
        self.alive, self.mine = os.pipe()  # nothing is written: it ends when the parent does
        self.children: dict[int, tuple[int, float]] = {}  # pid: number, when it began
        self.ending = False

    def run(self, ready: Callable[[], object]) -> None:
        for number in ENDS:
            signal.signal(number, self._end)
        for process in range(self.settings.processes):
            self._start(process)
        if not self.ending:
            ready()
        failed = ""
        while self.children:
            pid, status = os.wait()
            process, begun = self.children.pop(pid)
            if self.ending:
                continue
            code = os.waitstatus_to_exitcode(status)
            log(f"process {process} ended ({code}); it is started again")
            if time.monotonic() - begun < SHORT:
                failed = failed or f"a process of the server ended at once ({code})"
                self._end()
            else:
                self._start(process)
        if failed:
            raise SetupError(failed)

    def _end(self, *_: object) -> None:
        self.ending = True
        for pid in self.children:
            os.kill(pid, signal.SIGTERM)

    def _start(self, process: int) -> None:
        """Returns when it listens. Raises SetupError with what it says where it cannot."""
        report, say = os.pipe()
        # A signal between the fork and the note of it would not reach the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(report)
                self._child(process, say)
            self.children[pid] = process, time.monotonic()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        os.close(say)
        with open(report, "rb") as reader:
            said = reader.read().decode()
        if said != "ready" and not self.ending:
            self.ending = True
            self._end()
            raise SetupError(said or "a process of the server ended before it listened")

    def _child(self, process: int, say: int) -> NoReturn:
        code = 1
        try:
            os.close(self.mine)
            os.setsid()  # the terminal's Ctrl-C reaches the parent alone, which passes it on
            for number in ENDS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
            self.counters.become(process)

            def ready() -> None:
                os.write(say, b"ready")
                os.close(say)

            with _bound(*self.address, shared=True) as listener:
                server = RewardServer(self.settings, self.rows, self.counters)
                asyncio_run(_serve(server, listener, ready, self.alive))
            code = 0
        except AutoIFError as error:
            os.write(say, str(error).encode())
        finally:
            sys.stderr.flush()
            os._exit(code)


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SetupError(f"{host}: no such address here ({error.strerror})") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise SetupError(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port"
        ) from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
