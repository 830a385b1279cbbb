"""Kept-alive connections that can be trusted."""

from __future__ import annotations

import select
from typing import Any

import aiohttp
from aiohttp.connector import Connection


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


def _has_unread(connection: Connection) -> bool:
    """Whether the kernel holds bytes that nobody asked for. (Under TLS there may rightly be some:
    session tickets.)"""
    transport = connection.transport
    if transport is None or transport.get_extra_info("ssl_object") is not None:
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
