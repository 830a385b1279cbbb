"""Kept-alive connections that can be trusted."""

from __future__ import annotations

import ctypes
import gc
import resource
import select
from typing import Any

import aiohttp
from aiohttp.connector import Connection

# Not select.poll, which lets go of the interpreter's lock: the store's writer takes it, and this
# thread has to wait for it (a twelfth of a call's time, benchmarks/calls.py).
_poll = ctypes.PyDLL(None).poll


class _Pollfd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class Connector(aiohttp.TCPConnector):
    """Drops a kept-alive connection on which something came unasked: a reply that was sent twice
    would otherwise be taken for the answer to the next request."""

    async def connect(self, *args: Any, **more: Any) -> Connection:
        while True:
            connection = await super().connect(*args, **more)
            protocol = connection.protocol
            if protocol is not None and not protocol.should_close and not _has_unread(connection):
                return connection
            connection.close()


def allow_connections() -> None:
    """Lift this process's own limit on open files, often 1,024, to what the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def spare_collector() -> None:
    """Let Python look for reference cycles more rarely. Calls leave next to none, and with a
    thousand in flight the default rhythm costs a fifth of all CPU time (benchmarks/calls.py)."""
    if 0 < gc.get_threshold()[0] < 20_000:
        gc.set_threshold(20_000, 20, 20)


def _has_unread(connection: Connection) -> bool:
    """Whether the kernel holds bytes that nobody asked for. (Under TLS there may rightly be some:
    session tickets.)"""
    transport = connection.transport
    if transport is None or transport.get_extra_info("ssl_object") is not None:
        return False
    fd = transport.get_extra_info("socket").fileno()
    return bool(_poll(ctypes.byref(_Pollfd(fd, select.POLLIN)), 1, 0))
