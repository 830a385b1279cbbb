"""A file is whole or as it was; a lock is held by one process and dies with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autoif.base.errors import SetupError
from autoif.base.files import (
    InUseError,
    alone,
    appending,
    in_place_of,
    is_plain,
    make_folder,
    new_file,
    remove,
    remove_temporaries,
    replacing,
    take_lock,
    write_whole,
)


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]


def test_an_error_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_new_file_can_be_read_as_any_other(tmp_path: Path) -> None:
    write_whole(tmp_path / "ours", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_is_replaced_and_what_it_names_is_kept(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"kept"
    assert not (tmp_path / "link").is_symlink()


KILLED = """
import os, sys
from pathlib import Path
from autoif.base.files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_writer_left_can_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    (left,) = os.listdir(tmp_path)
    (tmp_path / ".f.other.tmp").touch()  # none of ours
    remove_temporaries(path)
    assert os.listdir(tmp_path) == [".f.other.tmp"]
    assert left != ".f.other.tmp"


HOLDER = """
import sys, time
from pathlib import Path
from autoif.base.files import take_lock
take_lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_names_its_owner_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        with pytest.raises(InUseError) as error:
            take_lock(path)
        assert error.value.owner == str(owner.pid)
        in_use = rf"in use by another run \(pid {owner.pid}\): .* or go away"
        with pytest.raises(SetupError, match=in_use), alone(tmp_path, "go away"):
            pass
        owner.kill()
    with alone(tmp_path, "go away"):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupError, match="cannot be written"), alone(tmp_path, ""):
        pass
    assert not (tmp_path / "elsewhere").exists()


# ---- a directory of somebody else's ------------------------------------------------------------


@pytest.fixture(params=["link", "dangling", "hard link", "pipe", "device"])
def planted(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A name under which writing would end up elsewhere."""
    victim, path = tmp_path / "victim", tmp_path / "ours" / "f"
    path.parent.mkdir()
    victim.write_bytes(b"precious")
    if request.param == "hard link":
        path.hardlink_to(victim)
    elif request.param == "pipe":
        os.mkfifo(path)
    else:
        targets = {"link": victim, "device": Path("/dev/null"), "dangling": tmp_path / "new"}
        path.symlink_to(targets[request.param])
    return path


def untouched(planted: Path) -> bool:
    folder = planted.parent.parent
    return (folder / "victim").read_bytes() == b"precious" and not (folder / "new").exists()


@pytest.mark.parametrize("opens", [appending, take_lock])
def test_what_is_written_in_place_is_a_plain_file(
    opens: Callable[[Path], object], planted: Path
) -> None:
    with pytest.raises(OSError, match="link or not a plain file"):
        opens(planted)
    assert not is_plain(planted)
    assert untouched(planted)


def test_what_is_new_takes_the_place_of_anything(planted: Path) -> None:
    for _ in range(2):
        with new_file(planted) as file:
            file.write(b"x")
        write_whole(planted, b"x")
        assert is_plain(planted)
    assert untouched(planted)
    with in_place_of(planted) as folder:
        folder.mkdir()
    with in_place_of(planted) as folder:  # of a directory
        folder.mkdir()
        (folder / "x").touch()
    assert os.listdir(planted) == ["x"]


def test_of_a_link_the_link_alone_is_removed(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "ours").mkdir()
    for name in ("link", "ours/link"):
        (tmp_path / name).symlink_to(tmp_path / "victim")
    for name in ("link", "ours", "not there", "victim/not/there"):
        remove(tmp_path / name)
    assert os.listdir(tmp_path) == ["victim"]


def test_a_file_is_added_to(tmp_path: Path) -> None:
    for _ in range(2):
        with appending(tmp_path / "f") as file:
            file.write(b"x")
    assert (tmp_path / "f").read_bytes() == b"xx"


def test_a_folder_of_ours_is_its_users_alone(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "c").mkdir(0o755)
    make_folder(tmp_path / "c")
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o755
