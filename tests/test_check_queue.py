"""The queue of checks: honest ones do not wait for those that loop or sleep."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from autoif.base.records import Status
from autoif.verifier.check_queue import Asked, CheckQueue

SLEEPS = "import time\ndef evaluate(response):\n    time.sleep(99)\n    return True"
LOOPS = "def evaluate(response):\n    while True:\n        pass"
HONEST = "def evaluate(response):\n    return 'yes' in response"
# More than the fast lane gives, and far less than a call may take.
LONG = (
    "def evaluate(response):\n    n = 0\n    while n < 4_000_000:\n        n += 1\n    return True"
)
_numbers = count()


def other(source: str) -> str:
    """The same function as one that nobody has seen."""
    return f"{source}\n# {next(_numbers)}"


class Room:
    """A queue whose slow lane gives a call five seconds; at the end nothing is judged any more."""

    def __init__(self, workers: int = 2) -> None:
        self.queue = CheckQueue(workers, deadline=20.0)
        self.asked: list[Asked] = []

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        for asked in self.asked:
            asked.future.cancel()

    def ask(self, source: str, *texts: str) -> Asked:
        (asked,) = self.queue.ask({source: texts or ("yes",)}).values()
        self.asked.append(asked)
        return asked

    def judge(self, source: str, *texts: str) -> None:
        """Asks, and waits until all have ended."""
        outcomes = self.ask(source, *texts).future.result(60).values()
        assert {outcome and outcome.status for outcome in outcomes} == {Status.TRUE}


@pytest.fixture
def room() -> Iterator[Room]:
    with Room() as room:
        yield room


def ended(asked: list[Asked]) -> int:
    return sum(one.future.done() for one in asked)


def test_a_check_that_has_ended_before_does_not_wait_for_those_that_never_do(room: Room) -> None:
    """Six of them are in the slow lane already, and each would hold a worker for five seconds."""
    room.judge(LONG)
    hostile = [room.ask(other(SLEEPS)) for _ in range(6)]
    room.judge(other(HONEST))  # behind them in the fast lane
    room.judge(LONG, "again")
    assert ended(hostile) == 0


def test_nor_for_those_that_loop(room: Room) -> None:
    room.judge(LONG)
    hostile = [room.ask(other(LOOPS)) for _ in range(12)]
    room.judge(other(HONEST))
    room.judge(LONG, "again")
    assert ended(hostile) <= 4


def test_a_check_that_never_ends_keeps_one_worker_busy_and_no_more() -> None:
    """It ends on other texts; with four workers there is room for a slow check of no fame."""
    sometimes = (
        "import time\ndef evaluate(response):\n    return not ('s' in response and time.sleep(99))"
    )
    with Room(workers=4) as room:
        room.judge(sometimes, "a", "b")
        assert room.ask(sometimes, "s").future.result(60)["s"]
        hostile = [room.ask(sometimes, f"s{n}") for n in range(10)]
        room.judge(other(HONEST))
        room.judge(other(LONG))
        assert ended(hostile) == 0


def test_checks_that_nobody_knows_and_those_that_have_ended_take_turns(room: Room) -> None:
    """Sixteen sleep for a quarter of a second each in the fast lane."""
    room.judge(HONEST)
    for _ in range(16):
        room.ask(other(SLEEPS))
    last = room.ask(other(HONEST))
    room.judge(HONEST, *(f"yes {n}" for n in range(20)))
    assert not last.future.done()


def test_a_check_that_nobody_knows_does_not_wait_for_all_that_have_ended(room: Room) -> None:
    known = [other(HONEST) for _ in range(200)]
    for asked in [room.ask(source) for source in known]:
        asked.future.result(60)
    waiting = [room.ask(source, "yes!") for source in known]
    room.judge(other(HONEST))
    assert ended(waiting) < 100


def test_a_check_that_is_slow_at_last_is_trusted_again(room: Room) -> None:
    """It looped on one text; then it has to end in the slow lane."""
    sometimes = (
        "def evaluate(response):\n    n = 0\n"
        "    while 'loop' in response or n < 4_000_000:\n        n += 1\n    return True"
    )
    (outcome,) = room.ask(sometimes, "loop").future.result(60).values()
    assert outcome
    assert outcome.status is Status.TIMEOUT
    room.judge(sometimes)
    hostile = [room.ask(other(SLEEPS)) for _ in range(8)]
    room.judge(other(HONEST))
    room.judge(sometimes, "again")
    assert ended(hostile) <= 3
