"""The whole corpus on every kind of machine: {root, nobody} x {open, no namespaces, Docker-like, no
Landlock}. Minutes each, so marked slow. And refusal where seccomp is missing or only pretends to be
there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from .confine import NOBODY, OUTSIDES, USERS
from .corpus import ATTACKS

TESTS = Path(__file__).resolve().parent.parent


def run(outside: str, user: str, *arguments: str) -> list[dict[str, Any]]:
    """The report of `python -m attacks FOLDER ARGUMENTS` on such a machine."""
    if os.geteuid() != 0 and (user == "root" or outside == "docker"):
        pytest.skip("simulating this machine needs root")
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        os.chmod(folder, 0o777)
        _skip_where_unreadable(user, folder)
        command = [sys.executable, "-m", "attacks.confine", outside, user]
        command += [sys.executable, "-m", "attacks", folder, *arguments]
        paths = [p for p in sys.path if p]
        done = subprocess.run(
            command,
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1700,
        )
    report = [json.loads(line) for line in done.stdout.splitlines()]
    assert report, done.stderr[-3000:]
    return report


def _skip_where_unreadable(user: str, folder: str) -> None:
    if user != "nobody" or os.geteuid() != 0:
        return
    try:
        code = "import autoif.base.records, hypothesis"
        subprocess.run(
            [sys.executable, "-c", code], user=NOBODY, group=NOBODY, check=True, cwd=folder
        )
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("an unprivileged user cannot reach this interpreter")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("outside", OUTSIDES)
def test_held_everywhere(outside: str, user: str) -> None:
    report = run(outside, user)
    trials = [row for row in report if "attack" in row]
    broken = {t["attack"]: (t["breaches"], t["verdicts"]) for t in trials if t["breaches"]}
    assert broken == {}
    assert [t["attack"] for t in trials] == [a.name for a in ATTACKS]
    assert report[-1] == {"leftovers": []}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("outside", OUTSIDES)
def test_layers_are_reported_as_they_are(outside: str, user: str) -> None:
    """A missing layer is said to be missing; seccomp and the loss of privileges never are."""
    [report] = run(outside, user, "no such family")
    layers = report["layers"]
    assert layers["seccomp"] == "strict"
    assert layers["no_new_privs"]
    assert layers["no capabilities"]
    assert bool(layers["landlock"]) == (outside != "no-landlock")
    assert bool(layers["namespaces"]) == (outside in ("open", "no-landlock"))


@pytest.mark.parametrize("outside", ["no-seccomp", "lying-seccomp"])
def test_refuses_where_it_cannot_hold(outside: str) -> None:
    """No attack is run there; the one line names the layer that is missing."""
    [refusal] = run(outside, "any", "no such family")
    assert "seccomp" in refusal["unavailable"].lower()
    assert "\n" not in refusal["unavailable"]
