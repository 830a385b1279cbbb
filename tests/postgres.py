"""A PostgreSQL of the tests' own, from the system's packages, in a directory and on a socket of its
own. It refuses root, so it runs as the user `postgres` where the tests run as root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

USER = "postgres"
LOCKED = "locked"  # a user who needs a password, once a test makes it
SETTINGS = {
    "listen_addresses": "''",
    "max_connections": 40,
    "shared_buffers": "'32MB'",
    "max_locks_per_transaction": 256,
    "autovacuum": "off",
}


def binaries() -> Path | None:
    """Where the newest `postgres` is, or None."""
    homes = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(homes, key=lambda file: int(file.parts[-3].split(".")[0]), default=None)
    on_path = shutil.which("postgres")
    found = newest or (Path(on_path) if on_path else None)
    return found.parent if found else None


class Postgres:
    """Running from the beginning to `close`. `where`: its directory, made where not given."""

    def __init__(self, bin: Path, where: Path | None = None, **settings: object) -> None:
        self.bin = bin
        self.where = where or Path(tempfile.mkdtemp(prefix="autoif-pg-"))
        self.data = self.where / "data"
        self._databases = 0
        if os.geteuid() == 0:
            shutil.chown(self.where, USER, USER)
        self._as_user("initdb", "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8",
                      "--no-locale", "--no-sync")  # fmt: skip
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"local all {LOCKED} scram-sha-256\n{rules.read_text()}")
        lines = SETTINGS | {"unix_socket_directories": f"'{self.where}'"} | settings
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{key} = {value}\n" for key, value in lines.items())
        self.start()

    def start(self) -> None:
        """For some seconds after `kill` it finds old processes at work and refuses."""
        until = time.monotonic() + 30
        log = self.where / "log"
        while self._as_user(
            "pg_ctl", "start", "-w", "-D", self.data, "-l", log, check=time.monotonic() > until
        ):
            time.sleep(0.2)

    def stop(self, mode: str = "fast") -> None:
        self._as_user("pg_ctl", "stop", "-w", "-m", mode, "-D", self.data)

    def kill(self) -> None:
        """SIGKILL, its children too: what a host does that loses power."""
        pid = self.pid()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)

    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@/{database}?host={self.where}"

    def new_url(self, *options: str) -> str:
        """Of a new empty database."""
        self._databases += 1
        name = f"db{self._databases}"
        self._as_user("createdb", "-h", self.where, "-U", USER, *options, name)
        return self.url(name)

    def psql(self, url: str, statement: str) -> str:
        """What it prints, bare."""
        done = subprocess.run(
            [self.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", url, "-c", statement],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):  # a test has killed it
            self.stop("immediate")
        shutil.rmtree(self.where, ignore_errors=True)

    def _as_user(self, program: str, *args: object, check: bool = True) -> int:
        command: Sequence[object] = (self.bin / program, *args)
        if os.geteuid() == 0:
            command = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *command)
        return subprocess.run(
            list(map(str, command)), check=check, cwd="/", stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ).returncode  # fmt: skip


def name_of(url: str) -> str:
    """The database of a `url`."""
    return url.split("/")[3].partition("?")[0]
