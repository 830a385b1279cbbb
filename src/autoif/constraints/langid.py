"""Which language a text is in: langdetect's answer with seed 0, the same on every machine.

langdetect (Nakatani, 2010) draws n-grams of the text at random and multiplies their frequencies in
55 languages until one stands out. Its own loop costs about 10 ms a text, takes the profiles in the
file system's order and is unseeded unless every caller sets a global. Here the same draws are made
from the same profiles in sorted order, with the n-grams taken in one pass over the text.
"""

from __future__ import annotations

import random
import re
from functools import cache, lru_cache
from math import fsum
from pathlib import Path
from typing import NamedTuple

from autoif.constraints.text import from_extra

TRIALS = 7
MAX_STEPS = 1000
CONVERGED = 0.99999
ALPHA, ALPHA_WIDTH = 0.5, 0.05
BASE_FREQUENCY = 10_000
LOWEST = 0.1  # a language less likely than this is no answer
MAX_LENGTH = 10_000  # characters that are looked at

_SPACES = re.compile(" +")
_LATIN = re.compile("[A-z]")
_NOT_LATIN = re.compile("[\u0300-\U0010ffff]")


class _Profiles(NamedTuple):
    languages: list[str]
    frequency: dict[str, list[float]]  # n-gram -> its frequency in each language


@lru_cache(maxsize=64)
def language(text: str) -> str | None:
    """The ISO 639-1 code that langdetect gives, "unknown" where none stands out, None where the
    text has nothing to go by (digits, symbols, nothing)."""
    languages, frequency = _profiles()
    grams = _ngrams(_clean(text))
    if not grams:
        return None
    generator = random.Random(0)
    bits = len(grams).bit_length()

    def draw() -> list[float]:
        """The frequencies of an n-gram drawn as `generator.choice` draws it, only faster."""
        while (i := generator.getrandbits(bits)) >= len(grams):
            pass
        return frequency[grams[i]]

    total = [0.0] * len(languages)
    for left in reversed(range(TRIALS)):
        smooth = (ALPHA + generator.gauss(0.0, 1.0) * ALPHA_WIDTH) / BASE_FREQUENCY
        probability = [(smooth + f) / len(total) for f in draw()]
        probability = _normal(probability)
        for _ in range(MAX_STEPS // 5):
            if max(probability) > CONVERGED:
                break
            # five draws at once: they are looked at only after every fifth
            five = [draw() for _ in range(5)]
            probability = _normal(
                [
                    p * (smooth + a) * (smooth + b) * (smooth + c) * (smooth + d) * (smooth + e)
                    for p, a, b, c, d, e in zip(probability, *five, strict=True)
                ]
            )
        total = [t + p / TRIALS for t, p in zip(total, probability, strict=True)]
        *_, second, best = sorted(total)
        if best - second > (left + 0.001) / TRIALS:
            break  # the trials that are left cannot change the answer
    return languages[total.index(best)] if best > LOWEST else "unknown"


def _normal(probability: list[float]) -> list[float]:
    whole = fsum(probability)
    return [p / whole for p in probability]


def _clean(text: str) -> str:
    """Without addresses, double spaces and (in a text that is not Latin) Latin letters."""
    from langdetect.detector import Detector
    from langdetect.utils.ngram import NGram

    if "://" in text:
        text = Detector.URL_RE.sub(" ", text)
    if "@" in text:
        text = Detector.MAIL_RE.sub(" ", text)
    text = _SPACES.sub(" ", NGram.normalize_vi(text)[:MAX_LENGTH])
    if not text.isascii():
        latin = len(_LATIN.findall(text))
        if latin * 2 < len(_NOT_LATIN.findall(text)):
            text = _LATIN.sub("", text)
    return text


def _ngrams(text: str) -> list[str]:
    """The 1-, 2- and 3-grams that any profile knows, in the order of their last character."""
    *words, last = text.translate(_letters()).split(" ")
    grams: list[str] = []
    for word in words:
        grams += _ngrams_of(word + " ")
    return grams + _ngrams_of(last)


@lru_cache(maxsize=1 << 16)
def _ngrams_of(word: str) -> list[str]:
    """Those of one word and the space after it: none reaches over the start of a word, and none
    ends in two capitals."""
    known = _profiles().frequency
    text = " " + word
    grams: list[str] = []
    for i, last in enumerate(word, 1):
        before = text[i - 1]
        if i > 1 and last.isupper() and before.isupper():
            continue
        if last != " " and last in known:
            grams.append(last)
        if (pair := before + last) in known and pair != "  ":
            grams.append(pair)
        if i > 1 and (triple := text[i - 2 : i + 1]) in known:
            grams.append(triple)
    return grams


class _Letters(dict[int, str]):
    """For `str.translate`: langdetect's normal form of each character, worked out once."""

    def __missing__(self, code: int) -> str:
        from langdetect.utils.ngram import NGram

        self[code] = NGram.normalize(chr(code))
        return self[code]


@cache
def _letters() -> _Letters:
    return _Letters()


@cache
def _profiles() -> _Profiles:
    with from_extra():
        from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    files = sorted(p for p in Path(PROFILES_DIRECTORY).iterdir() if not p.name.startswith("."))
    factory = DetectorFactory()
    factory.load_json_profile([f.read_text("utf-8") for f in files])
    return _Profiles(list(factory.langlist), factory.word_lang_prob_map)
