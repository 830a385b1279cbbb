"""Processes that ask the same endpoints share what one would ask for, and what they are told."""

from __future__ import annotations

import asyncio

from autoif.models.openai.backend import HttpBackend
from autoif.models.openai.limiter import CEILING, START, CallResult, Limiter

URL = "http://127.0.0.1:1/v1"


def most(limiter: Limiter) -> int:
    """Calls at once where the endpoint answers all of them, over many rounds."""
    now, most = 0.0, 0
    for _ in range(40):
        permits = []
        while limiter.free(now):
            permits.append(limiter.begin(now))
        now += 1
        for permit in permits:
            limiter.end(permit, now, CallResult.ANSWERED)
        most = max(most, len(permits))
    return most


def test_each_begins_with_its_share_and_stays_within_it() -> None:
    limiter = Limiter(URL)
    limiter.share(8)
    assert limiter.limit == START / 8
    assert most(limiter) == CEILING / 8
    limiter.share(4)  # half of them were lost
    assert most(limiter) == CEILING / 4
    limiter.share(16)  # more have joined
    assert limiter.limit == CEILING / 16
    assert most(limiter) == CEILING / 16


def test_more_processes_than_calls_leave_each_one_call() -> None:
    limiter = Limiter(URL)
    limiter.share(10_000)
    assert most(limiter) == 1


async def test_a_silence_that_one_was_asked_for_is_kept_by_all() -> None:
    one, two = (HttpBackend("m", [URL]) for _ in range(2))
    now = asyncio.get_running_loop().time()
    one.admission.limiters[0].silence(now + 30)
    two.admission.pause(one.admission.pauses())
    assert 29 < two.admission.pauses()[URL] <= 30
    assert not two.admission.limiters[0].free(now + 28)
    assert two.admission.limiters[0].free(now + 31)
    two.admission.pause({"http://elsewhere/v1": 90.0})
    assert two.admission.pauses().keys() == {URL}
    for backend in (one, two):
        await backend.close()
