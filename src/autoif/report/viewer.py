"""`autoif view`: the page over HTTP, on this machine alone.

    GET  /                             the page, without data
    GET  /api/runs                     the summary of each directory
    GET  /api/compare?a=N&b=N          what one has that the other lacks
    GET  /api/N/TABLE?...              rows of directory N: see `tables.TableQuery`
    GET  /api/N/TABLE/ID               one record
    GET  /api/N/review?reviewer=...    the samples that are drawn, and the reviewer's marks
    POST /api/N/review                 a mark

A request names no path, so none outside the directories is read. Every /api request brings the
token of this start; `Host` has to be the loopback address, so that no stranger's name can stand for
it, and `Origin`, where there is one, this page. The page is the same for everyone.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from aiohttp import web

from autoif.base.errors import AutoIFError, SetupError, UsageError
from autoif.report import html_page, reviewing
from autoif.report.pages import Pages, open_pages, page
from autoif.report.side_by_side import compare
from autoif.report.synthesis_pages import SynthesisPages
from autoif.report.tables import TableQuery

HOST = "127.0.0.1"
EVERY = 1.0  # seconds between two looks at the files
LONGEST = 16 << 10  # bytes of what is posted
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Row = dict[str, Any]
Handler = Callable[[web.Request], Any]


class Viewer:
    """A server over these directories."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._opened: list[Pages] = []
        self.token = secrets.token_urlsafe(24)
        self._port = 0
        self._page = html_page.build()
        self._version = 0
        self._summaries: list[Row] = []

    async def serve(self, port: int, on_ready: Callable[[str], None]) -> None:
        """Until it is cancelled. port: 0 for any. on_ready: hears the address to open. Raises
        SetupError where the port is taken, UsageError where a directory is none of AutoIF's."""
        with ExitStack() as ends:
            self._opened = [ends.enter_context(closing(open_pages(p))) for p in self._paths]
            await self._serve(port, on_ready)

    async def _serve(self, port: int, on_ready: Callable[[str], None]) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=LONGEST)
        app.router.add_get("/", self._get_page)
        app.router.add_get("/api/runs", self._get_runs)
        app.router.add_get("/api/compare", self._get_comparison)
        app.router.add_get("/api/{n}/review", self._get_review)
        app.router.add_post("/api/{n}/review", self._post_review)
        app.router.add_get("/api/{n}/{table}", self._get_rows)
        app.router.add_get("/api/{n}/{table}/{id}", self._get_record)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, port)
            try:
                await site.start()
            except OSError as error:
                raise SetupError(f"port {port}: {error.strerror}; choose another --port") from None
            self._port = runner.addresses[0][1]
            on_ready(f"http://{HOST}:{self._port}/#token={self.token}")
            await self._follow()
        finally:
            await runner.cleanup()

    async def _follow(self) -> None:
        """Reads what there is, and then what the runs write, for ever."""
        while True:
            changed = await asyncio.to_thread(self._refresh)
            if changed:
                self._version += 1
            else:
                await asyncio.sleep(EVERY)

    def _refresh(self) -> bool:
        changed = [pages.refresh() for pages in self._opened]
        if any(changed):
            self._summaries = [pages.summary() for pages in self._opened]
        return any(changed)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        own = (f"{HOST}:{self._port}", f"localhost:{self._port}")
        origin = request.headers.get("Origin")
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        response: web.StreamResponse
        if request.host not in own:
            response = _refused(403, "this address is not that of `autoif view`")
        elif origin is not None and origin not in [f"http://{host}" for host in own]:
            response = _refused(403, "another page asks")
        elif request.path != "/" and not hmac.compare_digest(
            given.encode("utf-8", "replace"), self.token.encode()
        ):
            response = _refused(401, "open the address that `autoif view` printed")
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = _refused(error.status, error.reason)
            except UsageError as error:
                response = _refused(404, str(error))
            except AutoIFError as error:
                response = _refused(500, str(error))
        response.headers.update(HEADERS)
        policy = f"{self._page.policy}; frame-ancestors 'none'"
        response.headers["Content-Security-Policy"] = policy
        return response

    async def _get_page(self, request: web.Request) -> web.Response:
        return web.Response(text=self._page.html, content_type="text/html")

    async def _get_runs(self, request: web.Request) -> web.Response:
        return _json({"version": self._version, "runs": self._summaries})

    async def _get_comparison(self, request: web.Request) -> web.Response:
        a, b = (self._numbered(request.query.get(side, "")) for side in ("a", "b"))
        return _json(await asyncio.to_thread(compare, a, b))

    async def _get_rows(self, request: web.Request) -> web.Response:
        pages, table = self._pages(request), request.match_info["table"]
        query = TableQuery.of(request.query.items())
        return _json(await asyncio.to_thread(page, pages, table, query))

    async def _get_record(self, request: web.Request) -> web.Response:
        pages, table = self._pages(request), request.match_info["table"]
        return _json(await asyncio.to_thread(pages.record, table, request.match_info["id"]))

    async def _get_review(self, request: web.Request) -> web.Response:
        pages = self._synthesis(request)
        n, seed = (_whole(request.query.get(k, d)) for k, d in (("n", "30"), ("seed", "1")))
        drawn = await asyncio.to_thread(pages.run.drawn, n, seed)
        marks = await asyncio.to_thread(reviewing.read, pages.path)
        result = await asyncio.to_thread(pages.review)
        own = marks.get(request.query.get("reviewer", ""), {})
        return _json(
            {
                "drawn": drawn,
                "marks": {name: mark.to_json() for name, mark in own.items()},
                "result": result,
            }
        )

    async def _post_review(self, request: web.Request) -> web.Response:
        pages = self._synthesis(request)
        try:
            row = await request.json()
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UsageError("a mark is a JSON object")
        mark = reviewing.Mark.of(row)
        if not pages.run.samples.find("id", mark.sample):
            raise UsageError(f"{pages.path.name}: no sample with the id {mark.sample}")
        await asyncio.to_thread(reviewing.append, pages.path, mark)
        return _json(mark.to_json())

    def _pages(self, request: web.Request) -> Pages:
        return self._numbered(request.match_info["n"])

    def _numbered(self, number: str) -> Pages:
        if not (number.isascii() and number.isdigit() and int(number) < len(self._opened)):
            raise UsageError("no such directory")
        return self._opened[int(number)]

    def _synthesis(self, request: web.Request) -> SynthesisPages:
        pages = self._pages(request)
        if not isinstance(pages, SynthesisPages):
            raise UsageError("samples of `autoif synth` alone are reviewed")
        return pages


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError("a whole number is wanted")
    return int(text)


def _refused(status: int, why: str) -> web.Response:
    return _json({"error": why}, status)


def _json(value: Any, status: int = 200) -> web.Response:
    """With JSON's escapes for all that is not ASCII: lone surrogates have no UTF-8."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    response = web.Response(text=text, status=status, content_type="application/json")
    response.enable_compression()
    return response
