"""No secret of the environment, no neighbour's source, text, verdict or message is found inside.

The hunt for planted canaries is the family `theft` of the corpus; here stands the proof that the
hunters can see, and a long hunt behind many neighbours.
"""

from __future__ import annotations

import secrets

import pytest

from autoif.base.records import Status
from autoif.sandbox import Limits, Sandbox

from .corpus import ATTACKS
from .corpus.theft import THIEVES

ROOMY = Limits(cpu_seconds=5.0, wall_seconds=20.0, total_seconds=40.0, memory_mb=512, strikes=1)
STEALING = {a.name.removeprefix("theft-"): a for a in ATTACKS if a.family == "theft"}


def canary() -> str:
    return "CANARY-" + secrets.token_hex(16)


@pytest.mark.parametrize("name", THIEVES)
def test_the_thief_can_see(name: str) -> None:
    """Control: what his own memory holds, a thief finds; else the hunts below prove nothing."""
    thief = STEALING[name]
    texts = [canary(), canary() * 40, canary() + " " * 9000, "nothing"]
    with Sandbox(workers=1, limits=ROOMY) as sandbox:
        outcomes = sandbox.evaluate(thief.source, texts)
    if all(o.status is Status.ERROR and "no route" in o.detail for o in outcomes):
        pytest.skip(f"{name}: this sandbox leaves no way to look at memory at all")
    assert Status.TRUE in {o.status for o in outcomes}, outcomes


@pytest.mark.parametrize("name", STEALING)
def test_nothing_of_a_neighbour_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOIF_TEST_API_KEY", canary())
    thief = STEALING[name]
    with Sandbox(workers=1, limits=ROOMY) as sandbox:
        for size in (1, 30, 700):
            source = (
                f"NOTE = '{canary()}'\n# {canary()}\n"
                + f"FILL = '{canary() * size}'\n"
                + "def evaluate(r):\n    assert 'raise' not in r, NOTE + r\n    return True\n"
            )
            sandbox.evaluate(source, [canary(), "raise " + canary(), canary() * size])
            outcomes = sandbox.transform(
                "def comply(r):\n    return r + r\n", [canary() * size, canary()]
            )
            assert [o.status for o in outcomes] == [Status.TRUE, Status.TRUE]
            sandbox.evaluate("def evaluate(r:\n", [canary()])
            assert [
                o.status for o in sandbox.evaluate(thief.source.replace("@HOST@", "1"), ["", "x"])
            ].count(Status.TRUE) == 0
