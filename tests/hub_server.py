"""What huggingface_hub's client asks of the hub when a dataset is uploaded, on loopback:
repositories in memory, large files through the LFS protocol. It refuses uploads on request."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import yaml

TOKEN = "hf_" + "T3stT0ken" * 4


@dataclass
class HubRepo:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)  # of commits


@dataclass
class HubServer:
    """puts: how often each large file was sent. refuse_puts_after: so many are taken."""

    url: str = ""
    repos: dict[str, HubRepo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    refuse_puts_after: int = 1_000
    validated: list[str] = field(default_factory=list)

    def env(self, token: str = TOKEN) -> dict[str, str]:
        """For a process that is to talk to this hub alone."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            private = asked.get("visibility") == "private" or asked.get("private") is True
            self.repos[name] = HubRepo(private)
            return 200, {"url": f"{self.url}/datasets/{name}"}, {}
        if path == "/api/validate-yaml":
            content = json.loads(body)["content"]
            self.validated.append(content)
            head = yaml.safe_load(content.split("---\n")[1])
            wrong = [] if isinstance(head, dict) else [{"message": "no head"}]
            return (400 if wrong else 200), {"errors": wrong, "warnings": []}, {}
        if path.startswith("/large/"):
            if len(self.puts) >= self.refuse_puts_after:
                return 403, {"error": "storage is full"}, {}
            oid = path.removeprefix("/large/")
            assert hashlib.sha256(body).hexdigest() == oid
            self.puts.append(oid)
            self.large[oid] = body
            return 200, {}, {}
        if path.endswith("/info/lfs/objects/batch"):
            return (
                200,
                {"transfer": "basic", "objects": [*map(self._lfs, json.loads(body)["objects"])]},
                {},
            )
        _, _, _, org, repo, *rest = [*path.split("/"), ""]
        name = f"{org}/{repo}"
        if name not in self.repos:
            return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        return self._of_repo(name, rest[0], body)

    def _lfs(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = asked["oid"] in self.large
        upload = {"actions": {"upload": {"href": f"{self.url}/large/{asked['oid']}"}}}
        return {"oid": asked["oid"], "size": asked["size"], **({} if known else upload)}

    def _of_repo(self, name: str, verb: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        repo = self.repos[name]
        if verb == "preupload":
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".parquet") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return 200, {"files": files}, {}
        if verb == "tree":
            tree = [
                {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
                for path, content in repo.files.items()
            ]
            return 200, tree, {}
        if verb == "commit":
            for line in body.splitlines():
                self._apply(repo, json.loads(line))
            url = f"{self.url}/datasets/{name}/commit/{'1' * 40}"
            return 200, {"commitUrl": url, "commitOid": "1" * 40, "pullRequestUrl": None}, {}
        siblings = [{"rfilename": path} for path in repo.files]
        info = {"id": name, "sha": "1" * 40, "private": repo.private, "siblings": siblings}
        return 200, {**info, "tags": [], "downloads": 0, "likes": 0}, {}

    def _apply(self, repo: HubRepo, line: dict[str, Any]) -> None:
        value = line["value"]
        match line["key"]:
            case "header":
                repo.messages.append(value["summary"])
            case "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                repo.files[value["path"]] = self.large[value["oid"]]
            case "deletedFile":
                del repo.files[value["path"]]


@contextmanager
def hub_server() -> Iterator[HubServer]:
    hub = HubServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            path = urlsplit(self.path).path
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if path.startswith("/api/") and self.headers["Authorization"] != f"Bearer {TOKEN}":
                status, value, headers = 401, {"error": "Invalid credentials"}, dict[str, str]()
            else:
                status, value, headers = hub.answer(self.command, path, body)
            content = json.dumps(value).encode()
            self.send_response(status)
            for key, text in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(key, text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = serve

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
