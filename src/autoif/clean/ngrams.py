"""What two texts share: runs of thirteen words, and how near they are to being the same."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from zlib import crc32

from autoif.base.conversations import CHAT_COLUMNS, all_texts, user_texts
from autoif.base.errors import UsageError
from autoif.base.inputs import Where, read_rows, without_text
from autoif.base.jsonl import Row
from autoif.base.language import words
from autoif.base.records import Filtered

RUN = 13  # words; arXiv 2406.13542 and the reports before it count a shared run of so many
PROMPTS = ("prompt", "question", "instruction", "query", "text")  # columns of benchmark files
STAGE = "benchmarks"
SHINGLE = 3  # words that make one feature of a text
BANDS, ROWS = 16, 4  # 0.8 alike: found with 99.98%; 0.5: with 64%; 0.3: with 12%


class Runs:
    """The runs of thirteen words in some texts. A shorter text is found where it is all there is:
    its words are too common to mean anything within a longer one.

    read: the rows of benchmark files that the texts are from, and those that hold no words.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        # Hashes, not words: some 10 MB for the prompts of five benchmarks.
        self._runs = {hash(run) for text in texts for run in _runs(words(text))}
        self.read: Filtered[Where] = Filtered(STAGE, [])

    @classmethod
    def of_files(cls, sources: Iterable[str]) -> Runs:
        """The rows of benchmark files (JSONL, JSON, CSV, ...), all columns and turns of them. What
        is shorter than a run counts where it is a prompt: see `PROMPTS` for its columns.

        Raises UsageError for a file that cannot be read or holds no words.
        """
        runs = cls(())
        for source in sources:
            before = len(runs.read.kept)
            for where, row in read_rows(source, PROMPTS[0]):
                own = {hash(run) for text in _texts(row) for run in _runs(words(text))}
                if own:
                    runs.read.kept.append(where)
                    runs._runs |= own
                else:
                    runs.read.dropped.append(without_text(STAGE, row))
            if len(runs.read.kept) == before:
                raise UsageError(f"{source}: empty, no text in it")
        return runs

    def shared(self, text: str) -> str:
        """The first run of the text that is one of these, or ""."""
        if not self._runs:
            return ""
        return next((" ".join(run) for run in _runs(words(text)) if hash(run) in self._runs), "")


def _texts(row: Row) -> Iterator[str]:
    """The whole row where it is long enough, and each prompt, alone and with its input."""
    whole = "\n".join(all_texts(row))
    if len(words(whole)) >= RUN:
        yield whole
    for name in (*PROMPTS, *CHAT_COLUMNS):
        for text in user_texts(row.get(name), name):
            yield text
            if isinstance(row.get("input"), str):
                yield f"{text}\n{row['input']}"


def _runs(tokens: list[str]) -> Iterable[tuple[str, ...]]:
    if 0 < len(tokens) < RUN:
        return [tuple(tokens)]
    return (tuple(tokens[i : i + RUN]) for i in range(len(tokens) - RUN + 1))


def shingles(text: str) -> frozenset[int]:
    """The text's runs of three words, as numbers that are the same on every machine."""
    tokens = words(text)
    last = max(len(tokens) - SHINGLE, 0)
    return frozenset(
        crc32(" ".join(tokens[i : i + SHINGLE]).encode("utf-8", "replace")) for i in range(last + 1)
    )


def alike(a: str, b: str) -> float:
    """Jaccard similarity of their shingles, 0 to 1."""
    if a == b:
        return 1.0
    mine, theirs = shingles(a), shingles(b)
    return len(mine & theirs) / len(mine | theirs)


def bands(text: str) -> list[int]:
    """16 numbers of 64 bits; texts that have one in common may be near-duplicates.

    MinHash by one permutation (Li, Owen and Zhang 2012): the shingles fall into 64 bins, the least
    of each bin counts, an empty bin takes that of the next (Shrivastava and Li 2014).
    """
    size = BANDS * ROWS
    least: list[int] = [-1] * size
    for number in shingles(text):
        place, value = number % size, number // size
        if least[place] < 0 or value < least[place]:
            least[place] = value
    filled = [n for n, value in enumerate(least) if value >= 0]
    for place in range(size):
        if least[place] < 0:
            step = min((n - place) % size for n in filled)
            least[place] = -1 - least[(place + step) % size] * size - step
    # What was taken is written as a negative number, so that it is never taken again.
    out = []
    for n in range(0, size, ROWS):
        chunk = array("q", least[n : n + ROWS])
        out.append(int.from_bytes(blake2b(chunk.tobytes(), digest_size=8).digest(), "little"))
    return out
