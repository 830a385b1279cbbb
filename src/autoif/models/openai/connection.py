"""Kept-alive connections to the endpoints of one model: a POST in, what came of it out."""

from __future__ import annotations

import asyncio
import resource
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp

from autoif.base.errors import ModelUnavailable, one_line
from autoif.models.openai import body as response_body
from autoif.models.openai.limiter import CallResult, Retry
from autoif.models.openai.protocol import error_in_body, parse_json
from autoif.models.openai.stream import STREAM, StreamedReply
from autoif.store.base import canonical

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Response(NamedTuple):
    """status: also of an error that the body of a 200 holds. document: the parsed body, or None."""

    status: int
    headers: Mapping[str, str]
    document: Any
    data: bytes


class Connection:
    """Opened with the first request. timeout: seconds for one request, from its start
    to its last byte."""

    def __init__(self, urls: Sequence[str], key: str, timeout: float) -> None:
        self.timeout = timeout
        self._urls, self._key = urls, key
        self._session: aiohttp.ClientSession | None = None
        self._scopes: set[asyncio.Timeout] = set()  # one per request in flight
        self._id = secrets.token_hex(8)
        self._attempts = 0

    async def post(
        self, url: str, index: int, body: dict[str, Any], stream: StreamedReply | None
    ) -> Response:
        """The response to a request for a chat completion. Raises Retry where there is none,
        ModelUnavailable for a certificate that does not hold."""
        self._attempts += 1
        attempt_id = f"{self._id}-{self._attempts}"
        headers = {"X-Sample-Index": str(index), "X-Request-Id": attempt_id}
        scope = asyncio.timeout(self.timeout)
        try:
            async with scope:
                self._scopes.add(scope)
                async with self._opened().post(
                    f"{url}/chat/completions",
                    data=canonical(body if stream is None else body | STREAM),
                    headers=headers,
                    allow_redirects=False,
                ) as response:
                    if stream is None:
                        data = await response_body.read(response)
                    else:
                        data = await stream.read(response_body.pieces(response))
                    echo = response.headers.get("X-Request-Id", attempt_id)
                    if echo != attempt_id and echo.startswith(self._id):
                        response.close()
                        raise aiohttp.ClientPayloadError("the reply to another request")
        except aiohttp.ClientSSLError as e:
            raise ModelUnavailable(f"{url}: {one_line(e, self._key)}: check its certificate") from e
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as e:
            why = one_line(getattr(e, "os_error", None) or e, self._key)
            raise Retry(CallResult.REFUSED, why) from e
        except TimeoutError as e:
            why = f"no answer within {self.timeout:g} s"
            raise Retry(CallResult.FAILED, why, overload=True, paid=True) from e
        except (aiohttp.ClientError, OSError) as e:
            why = f"connection lost: {one_line(e, self._key)}"
            raise Retry(CallResult.FAILED, why, paid=True) from e
        finally:
            self._scopes.discard(scope)
        document = parse_json(data) if stream is None else stream.document(data)
        status = response.status
        if status == 200:
            status = error_in_body(document) or status
        return Response(status, response.headers, document, data)

    async def get(self, url: str, seconds: float) -> bytes:
        """The body of any answer. Raises aiohttp.ClientError or OSError where there is none."""
        async with asyncio.timeout(seconds), self._opened().get(url) as response:
            return await response_body.read(response)

    def expire(self) -> None:
        """What is in flight times out now."""
        for scope in self._scopes:
            scope.reschedule(asyncio.get_running_loop().time())

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"Content-Type": "application/json", **response_body.PLAIN}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_most_connections(), ttl_dns_cache=300),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                headers=headers,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=not all(urlsplit(url).hostname in LOOPBACK for url in self._urls),
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        self._session = None


def _most_connections() -> int:
    """Half of the files that this process may open; 0 where there is no limit. `autoif` lifts the
    limit for itself (`cli.common.own_process`); a program that calls this library decides alone."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if soft == resource.RLIM_INFINITY else max(1, soft // 2)
