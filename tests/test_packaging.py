"""What is installed is whole: data, prompts, types; on every Python that is here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import metadata, version
from pathlib import Path

import pytest

import autoif

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
INSIDE = (
    "py.typed",
    "data/seeds.en.jsonl",
    "data/smoke/script.jsonl",
    "synthesis/prompts/zh/nli.md",
)


def call(*command: str | Path, where: Path) -> str:
    done = subprocess.run(
        [str(c) for c in command], cwd=where, text=True, capture_output=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_metadata_says_what_it_is() -> None:
    assert version("autoif") == autoif.__version__
    about = metadata("autoif")
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.11"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and the sdist, built."""
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--outdir", out, where=ROOT)
    return out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_wheel_and_sdist_hold_what_is_needed(dist: Path) -> None:
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"autoif/{name}" for name in INSIDE} <= names
    assert not {n for n in names if n.startswith(("tests/", "docs/"))}
    here = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src/autoif").rglob("*.py")}
    assert here <= names
    with tarfile.open(sdist) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "docs/first-run.md", "tests/test_packaging.py"} <= source
    assert not {n for n in source if "__pycache__" in n or n.endswith(".sqlite")}
    assert {"SECURITY.md", "mkdocs.yml", "benchmarks/audit.jsonl", "Containerfile"} <= source
    assert wheel.stat().st_size < 1_500_000
    assert sdist.stat().st_size < 6_000_000
    call(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, where=ROOT)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_commit_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    digests = []
    for name in ("one", "two"):
        out = tmp_path / name
        call(sys.executable, "-m", "build", "--outdir", out, where=ROOT)
        digests.append({p.name: hashlib.sha256(p.read_bytes()).digest() for p in out.iterdir()})
    assert digests[0] == digests[1]
    assert len(digests[0]) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_container_builds_from_what_its_recipe_copies(tmp_path: Path) -> None:
    """There is no engine here: its steps are taken from the recipe, and the first is run."""
    lines = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in steps} <= known
    for word, rest in steps:
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, tmp_path / target)
                else:
                    shutil.copy(ROOT / source, tmp_path / target)
    (build,) = [rest for word, rest in steps if word == "RUN" and rest.startswith("pip wheel")]
    assert build.endswith("--wheel-dir /wheels .")
    call(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
        *("--wheel-dir", tmp_path / "wheels", "."),
        where=tmp_path,
    )
    assert len(list((tmp_path / "wheels").glob("autoif-*.whl"))) == 1
    assert [rest for word, rest in steps if word == "USER"] == ["autoif"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("python", PYTHONS)
def test_it_installs_and_runs(python: str, dist: Path, tmp_path: Path) -> None:
    interpreter = f"python{python}"
    try:
        call(interpreter, "--version", where=tmp_path)
    except (FileNotFoundError, AssertionError):
        pytest.skip(f"{interpreter} is not on this machine")
    call(interpreter, "-m", "venv", "venv", where=tmp_path)
    bin = tmp_path / "venv/bin"
    (wheel,) = dist.glob("*.whl")
    call(bin / "pip", "install", "--quiet", f"{wheel}[test]", where=tmp_path)
    call(bin / "autoif", "doctor", where=tmp_path)
    call(bin / "autoif", "synth", "--preset", "smoke", "--quiet", where=tmp_path)
    again = call(bin / "autoif", "synth", "--preset", "smoke", "--json", where=tmp_path)
    assert '"asked": 0,' in again
    quick = ("test_api.py", "test_prompts.py", "test_scripted.py", "test_sandbox.py")
    tests = [str(ROOT / "tests" / name) for name in quick]
    # -P and the plain -c: the installed package is tested, not the tree beside the tests.
    call(
        bin / "python", "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, where=tmp_path
    )
