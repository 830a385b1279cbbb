"""The second pass of `check_order`: which calls it makes, and what both passes come to."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from autoif.base.records import Outcome, Status

# The copies of texts that `check_order` adds, and their characters, at most. The number shares no
# factor with a period that it might hide; all copies fit beside a full batch.
MORE, COPY = 31, 4000
_FICKLE = Outcome(Status.ERROR, "nondeterministic")


class SecondPass:
    """The calls of `check_order`: every text that concluded, and MORE copies of those, in an order
    drawn by their content, so that a replay is the same.

    A copy counts as its text where it is not cut. So each text has another place, mostly several,
    and what counts the calls, in whatever period, does not meet all of them with one verdict.
    """

    def __init__(self, source: str, batch: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        self.batch, self.outcomes = batch, outcomes
        whole = [i for i, o in enumerate(outcomes) if not o.status.machine_dependent]
        draw = Random("\0".join((source, *batch)).encode("utf-8", "surrogatepass"))
        copied = [i for i in whole if len(batch[i]) <= COPY] or list(whole)
        draw.shuffle(copied)
        copies = (copied[:MORE] * MORE)[:MORE]
        self.calls = [(i, batch[i]) for i in whole] + [(i, batch[i][:COPY]) for i in copies]
        draw.shuffle(self.calls)
        if len(whole) > 1:  # a verdict of the first call alone shows for certain
            first = next(at for at, (i, _) in enumerate(self.calls) if i != whole[0])
            self.calls[0], self.calls[first] = self.calls[first], self.calls[0]

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.calls]

    def agreed(self, second: Sequence[Outcome]) -> list[Outcome]:
        """One outcome per text of the batch. A function that is nondeterministic on one text is so
        on all that it concluded on: none of its verdicts says anything of a text alone.

        What a busy machine may cause is no proof of it.
        """
        agreed = list(self.outcomes)
        for (i, text), again in zip(self.calls, second, strict=True):
            if again.status is self.outcomes[i].status or text != self.batch[i]:
                continue
            if not again.status.machine_dependent:
                return [o if o.status.machine_dependent else _FICKLE for o in self.outcomes]
            agreed[i] = again
        return agreed
