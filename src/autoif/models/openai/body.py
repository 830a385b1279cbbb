"""The body of a response, unpacked by us and never more than a bound."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator

import aiohttp

MOST_BYTES = 64 << 20  # of one answer, unpacked: a hundred thousand streamed tokens and more
AT_ONCE = 1 << 20
PLAIN = {"Accept-Encoding": "identity"}  # for a session with auto_decompress=False


async def pieces(
    response: aiohttp.ClientResponse, most: int = MOST_BYTES
) -> AsyncGenerator[bytes, None]:
    """The bytes as they come. Raises aiohttp.ClientPayloadError where there are more than `most`,
    or they are packed in a way that nobody asked for."""
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("identity", "gzip", "x-gzip", "deflate"):
        raise aiohttp.ClientPayloadError(f"Content-Encoding {packing}, which was not asked for")
    size = 0
    unpacker = None if packing == "identity" else zlib.decompressobj(wbits=47)
    async for data in response.content.iter_any():
        while data:
            piece = data
            if unpacker is None:
                data = b""
            else:
                try:
                    piece = unpacker.decompress(data, AT_ONCE)
                except zlib.error as e:
                    raise aiohttp.ClientPayloadError(f"Content-Encoding {packing}: {e}") from e
                data = unpacker.unconsumed_tail
            size += len(piece)
            if size > most:
                response.close()
                raise aiohttp.ClientPayloadError(f"a body of more than {most >> 20} MB")
            yield piece


async def read(response: aiohttp.ClientResponse, most: int = MOST_BYTES) -> bytes:
    """All of it, with the errors of `pieces`."""
    return b"".join([piece async for piece in pieces(response, most)])
