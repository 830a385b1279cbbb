"""Kept-alive connections that can be trusted."""

from __future__ import annotations

import ctypes
import resource
import select
from typing import Any

import aiohttp
from aiohttp.connector import Connection

# Not select.poll, which lets go of the interpreter's lock: the store's writer takes it, and this
# thread has to wait for it. That is a twelfth of a call's time: `store_on_vs_bare` of
# benchmarks/calls.py would miss its floor.
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


def most_connections() -> int:
    """Half of the files that this process may open; 0 where there is no limit. `autoif` lifts the
    limit for itself (`cli.common.own_process`); a program that calls this library decides alone."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if soft == resource.RLIM_INFINITY else max(1, soft // 2)


def _has_unread(connection: Connection) -> bool:
    """Whether the kernel holds bytes that nobody asked for. (Under TLS there may rightly be some:
    session tickets.)"""
    transport = connection.transport
    if transport is None or transport.get_extra_info("ssl_object") is not None:
        return False
    fd = transport.get_extra_info("socket").fileno()
    return bool(_poll(ctypes.byref(_Pollfd(fd, select.POLLIN)), 1, 0))
