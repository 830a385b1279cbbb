"""Priming: no stretch of tokens is computed twice at once, and nothing waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoif.models.openvino.prefix_queue import BLOCK, PrefixQueue


def prompt(*words: int) -> list[int]:
    """A prompt in which each word fills a block."""
    return [word for word in words for _ in range(BLOCK)]


def keys(taken: list[tuple[int, int]]) -> list[int]:
    return [key for key, _ in taken]


def test_one_of_a_group_goes_first_and_the_rest_after_its_first_token() -> None:
    queue = PrefixQueue(100)
    for key in range(5):
        queue.put(key, prompt(1, 2, 3))
    queue.put(9, prompt(7))
    assert queue.take(10) == [(9, 0), (0, 0)]  # the stranger waits for nobody
    assert queue.take(10) == []
    queue.computed(0)
    assert queue.take(3) == [(key, 3 * BLOCK) for key in (1, 2, 3)]
    assert queue.take(10) == [(4, 3 * BLOCK)]
    assert len(queue) == 0


def test_what_is_in_the_cache_goes_before_what_is_not() -> None:
    queue = PrefixQueue(100)
    queue.put(0, prompt(1))
    queue.take(1)
    queue.computed(0)
    queue.put(1, prompt(5, 6))
    queue.put(2, prompt(1, 2))
    assert queue.take(1) == [(2, BLOCK)]


def test_a_prompt_shorter_than_a_block_waits_for_nobody() -> None:
    queue = PrefixQueue(100)
    queue.put(0, [1, 2, 3])
    queue.put(1, [1, 2, 3])
    assert keys(queue.take(5)) == [0, 1]


def test_a_leader_that_is_cancelled_is_replaced() -> None:
    queue = PrefixQueue(100)
    queue.put(0, prompt(1, 2))
    queue.put(1, prompt(1, 2))
    queue.put(2, prompt(1, 2))
    assert keys(queue.take(5)) == [0]
    queue.forget(0)
    queue.forget(2)
    assert keys(queue.take(5)) == [1]
    assert len(queue) == 0


def test_what_fell_out_of_the_cache_is_primed_again() -> None:
    queue = PrefixQueue(2)
    for key, words in enumerate([(1, 2), (3, 4), (1, 2), (1, 2)]):
        queue.put(key, prompt(*words))
        queue.take(1)
        if key < 2:
            queue.computed(key)
    assert len(queue) == 1  # 2 computes (1, 2) once more and 3 waits for it
    queue.computed(2)
    assert queue.take(1) == [(3, 2 * BLOCK)]


words = st.lists(st.integers(0, 2), max_size=4)


@given(
    prompts=st.lists(words, max_size=20),
    room=st.integers(1, 5),
    capacity=st.integers(1, 20),
    data=st.data(),
)
def test_nothing_is_computed_twice_at_once_and_all_get_their_turn(
    prompts: list[list[int]], room: int, capacity: int, data: st.DataObject
) -> None:
    queue = PrefixQueue(capacity)
    for key, blocks in enumerate(prompts):
        queue.put(key, prompt(*blocks))
    started: list[int] = []
    computing: dict[int, set[tuple[int, ...]]] = {}
    while len(queue) or computing:
        for key, cached in queue.take(room - len(computing)):
            blocks = prompts[key]
            cold = {tuple(blocks[: n + 1]) for n in range(cached // BLOCK, len(blocks))}
            for others in computing.values():
                assert not cold & others
            computing[key] = cold
            started.append(key)
        assert computing, "nothing runs and nothing may start"
        done = data.draw(st.sampled_from(sorted(computing)))
        queue.computed(done)
        if data.draw(st.booleans()):
            queue.computed(done)
        queue.forget(done)
        del computing[done]
    assert sorted(started) == list(range(len(prompts)))
