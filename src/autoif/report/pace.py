"""How fast work goes, and when it will be through; from what is seen of it every second."""

from __future__ import annotations

from collections import deque

from autoif.base.printable import duration
from autoif.run.progress import Progress

WINDOW = 10.0  # seconds that a rate is measured over, at least
LONGEST_STEP = 30.0  # seconds without growth after which the rate is 0
EARLY = 0.15  # share of a planned run's tokens, before which its pace says nothing


class Rate:
    """Of something that grows in steps, per second: from one growth to another, so that it does not
    sink within a step, however long that takes."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()  # the start, and each growth

    def at(self, now: float, amount: float) -> float:
        marks = self._marks
        if not marks or amount > marks[-1][1]:
            marks.append((now, amount))
        last, most = marks[-1]
        while len(marks) > 2 and marks[1][0] <= last - WINDOW:
            marks.popleft()
        then, before = marks[0]
        return (most - before) / (last - then) if now - last <= LONGEST_STEP and last > then else 0


class Pace:
    """When something that grows will be whole, at the pace of the later half of its time."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()  # the start, and each change
        self._begun: float | None = None

    def left(self, now: float, done: float, whole: float) -> float | None:
        """Seconds; None where nothing has grown yet, or all is there."""
        marks = self._marks
        if self._begun is None:
            self._begun = now
        if not marks or done != marks[-1][1]:
            marks.append((now, done))
        while len(marks) > 2 and marks[1][0] <= (self._begun + now) / 2:
            marks.popleft()
        then, before = marks[0]
        if now <= then or done <= before or whole <= done:
            return None
        return (whole - done) * (now - then) / (done - before)


class TimeLeft:
    """Of a run: by its units of work or by its target, whichever ends it; by tokens as long as few
    units are through; by the plan of a run that was sized, as long as few tokens are generated: a
    run begins with prompts to be read."""

    def __init__(self) -> None:
        self._units, self._target, self._tokens = Pace(), Pace(), Pace()
        self._planned: float | None = None  # when a run that was sized should end

    def at(self, now: float, progress: Progress) -> float | None:
        """Seconds; None where it cannot be known."""
        if not progress.calls()["asked"]:  # what was there from the start says nothing of the pace
            self._units, self._target = Pace(), Pace()
        activity, generated = progress.activity(), progress.generated()
        if not generated and not (activity and activity.running):  # it is downloaded, or loads
            self._tokens = Pace()
        through, units = progress.units()
        by_units = self._units.left(now, through, units)
        if progress.recipe.target and progress.phase != "composition":
            kept = progress.total().counts["samples"].kept
            by_target = self._target.left(now, kept, progress.recipe.target)
            by_units = min((x for x in (by_units, by_target) if x is not None), default=None)
        replayed = progress.usage().completion - progress.usage(paid=True).completion
        expected = max(0, progress.expected_tokens - replayed)
        by_tokens = self._tokens.left(now, generated, expected)
        if self._planned is None and progress.expected_seconds:
            self._planned = now + progress.expected_seconds
        if self._planned is not None and now < self._planned and generated < EARLY * expected:
            by_tokens = self._planned - now
        if units and through >= units:
            return None  # what remains has no units
        if by_units is None or by_tokens is None:
            return by_tokens if by_units is None else by_units
        share = through / units
        return share * by_units + (1 - share) * by_tokens


def in_words(seconds: float) -> str:
    return "less than a minute left" if seconds < 60 else f"about {duration(seconds)} left"
