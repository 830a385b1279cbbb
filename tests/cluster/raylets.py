"""Ray on a network of the tests' own, which nothing outside reaches and which reaches nothing: a
namespace with `lo` alone. Ray would give a node on loopback the address of the host elsewhere."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

PORT = 6399
WAIT = 90  # seconds for whatever is to happen


def until(true: Callable[[], object], what: str, seconds: float = WAIT) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


class Raylets:
    """A head that lends `cpus`, and nodes that join; ended by `close`, all that they began too."""

    def __init__(self, cpus: int = 1) -> None:
        self.where = Path(tempfile.mkdtemp(prefix="autoif-ray-"))
        self.environment = {
            **os.environ,
            "RAY_TMPDIR": str(self.where),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
        }
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._namespace = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep infinity"]
        )
        time.sleep(0.3)
        try:
            self.head = self.start(
                "--head", f"--port={PORT}", "--include-dashboard=false", cpus=cpus
            )
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        return f"ray:127.0.0.1:{PORT}"

    def inside(self, *args: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """A process on that network, in a process group of its own."""
        return subprocess.Popen(
            ["nsenter", "-t", str(self._namespace.pid), "-n", *map(str, args)],
            env={**self.environment, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def join(self, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A node more, with one CPU."""
        return self.start(f"--address=127.0.0.1:{PORT}", env=env)

    def start(
        self, *options: str, cpus: int = 1, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        command = [
            *("nsenter", "-t", str(self._namespace.pid), "-n"),
            *(str(Path(sys.executable).with_name("ray")), "start", "--block", *options),
            *(f"--num-cpus={cpus}", "--object-store-memory=80000000"),
        ]
        said = self.where / f"node{len(self._nodes)}.log"
        with said.open("wb") as log:
            node = subprocess.Popen(
                command,
                env={**self.environment, **(env or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._nodes.append(node)
        until(
            lambda: "Ray runtime started" in said.read_text() or node.poll() is not None, "a node"
        )
        assert node.poll() is None, said.read_text()
        return node

    def workers(self) -> list[int]:
        """Processes that work shards through."""
        return [pid for pid, line in self._processes() if line.startswith("ray::ShardWorker")]

    def rest(self) -> list[str]:
        """Whatever runs on that network but the nodes that are up."""
        nodes = {pid for node in self._nodes for pid in family(node.pid)}
        return [line for pid, line in self._processes() if pid not in nodes]

    def _processes(self) -> Iterator[tuple[int, str]]:
        ours = os.readlink(f"/proc/{self._namespace.pid}/ns/net")
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.readlink(folder / "ns/net") != ours or folder.name == str(
                    self._namespace.pid
                ):
                    continue
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if line:
                    yield int(folder.name), line

    def close(self) -> None:
        for node in reversed(self._nodes):
            for pid in reversed(family(node.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            node.wait()
        for pid, _ in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._namespace.kill()
        self._namespace.wait()
        shutil.rmtree(self.where, ignore_errors=True)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    members = [pid]
    for one in members:
        with suppress(OSError):
            children = Path(f"/proc/{one}/task/{one}/children").read_text().split()
            members += map(int, children)
    return members


def raylet(node: subprocess.Popen[bytes]) -> int | None:
    """The process of a node that Ray calls its raylet."""
    for pid in family(node.pid):
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet":
                return pid
    return None
