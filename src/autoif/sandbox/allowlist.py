"""What a function may import: the allowlist, in three profiles, and how they are warmed.

A fork costs what its parent has in memory, so the usual modules stand apart: `core` serves most
functions, `stdlib` has all of the allowlisted standard library, `text` adds third-party modules for
text, as far as they are installed. A function starts in `core` and is run again in the first
profile that has what it imports. Everything is imported before the jail is closed, because
afterwards there is no file to import from.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from types import CodeType
from typing import Any

PROFILES = ("core", "stdlib", "text")

_CORE = """
    __future__ abc builtins collections collections.abc contextlib copy enum errno functools gc
    heapq itertools json json.decoder json.encoder keyword math operator os os.path posixpath re
    reprlib stat string sys textwrap time types typing warnings weakref
"""

_STDLIB = """
    _strptime argparse array ast base64 binascii bisect calendar cmath codecs colorsys configparser
    contextvars copyreg csv dataclasses datetime decimal difflib dis email email.message
    email.parser email.utils encodings fnmatch fractions gettext graphlib hashlib hmac html
    html.entities html.parser http importlib inspect io ipaddress linecache locale logging marshal
    mimetypes numbers opcode pathlib pickle pprint queue quopri random secrets shlex signal
    statistics stringprep struct threading timeit token tokenize tomllib traceback unicodedata
    urllib urllib.parse uuid xml xml.dom xml.dom.expatbuilder xml.dom.minidom xml.etree
    xml.etree.ElementTree xml.parsers.expat xml.sax xml.sax.expatreader xml.sax.saxutils zlib
"""

_TEXT = """
    regex emoji langdetect nltk nltk.tokenize nltk.tokenize.punkt nltk.stem nltk.stem.porter
    nltk.stem.snowball nltk.util nltk.probability nltk.metrics bs4 soupsieve numpy numpy.random
    numpy.linalg
"""


def _tops(names: str) -> frozenset[str]:
    return frozenset(name.partition(".")[0] for name in names.split())


TEXT_NAMES = _tops(_TEXT)
# which top-level modules each profile has
ALLOWED = {
    "core": _tops(_CORE),
    "stdlib": _tops(_CORE + _STDLIB),
    "text": _tops(_CORE + _STDLIB + _TEXT),
}


def profile_of(module: str) -> str | None:
    """The first profile that has this module (a dotted name), or None where none has."""
    top = module.partition(".")[0]
    return next((p for p in PROFILES if top in ALLOWED[p]), None)


def imports(code: CodeType, import_name: int, extended: int) -> list[str]:
    """Modules that compiled source imports, anywhere in it, in order. Nothing is run.

    Read off the bytecode, which says the same as the syntax tree at a tenth of the cost.
    import_name, extended: the numbers of IMPORT_NAME and EXTENDED_ARG in this Python's bytecode.
    """
    modules: list[str] = []
    pending = [code]
    while pending:
        code = pending.pop()
        pending += [c for c in code.co_consts if isinstance(c, CodeType)]
        raw = code.co_code
        at = raw.find(import_name)
        while at >= 0:
            if at % 2 == 0:  # an instruction, not the argument of one
                argument, before = raw[at + 1], at - 2
                while before >= 0 and raw[before] == extended:
                    argument |= raw[before + 1] << 4 * (at - before)
                    before -= 2
                modules.append(code.co_names[argument])
            at = raw.find(import_name, at + 1)
    return modules


def warm(profile: str) -> None:
    """Import everything the profile allows, and all that those modules load only when used."""
    _load(_CORE.split())
    _load(f"encodings.{name}" for name in ("ascii", "latin_1", "utf_8", "utf_16", "utf_32"))
    time.localtime()
    if profile == "core":
        return
    _load(_STDLIB.split())
    import pkgutil

    encodings = importlib.import_module("encodings")
    _load(f"encodings.{module.name}" for module in pkgutil.iter_modules(encodings.__path__))
    "x".encode("idna")
    time.strptime("2000-01-01", "%Y-%m-%d")
    if profile == "text":
        # nltk would load these where they are installed, for features that nobody may use here
        heavy = dict.fromkeys(["scipy", "pandas", "sklearn", "matplotlib", "torch", "tensorflow"])
        sys.modules.update(heavy)  # type: ignore[arg-type]  # None makes an import fail
        _load(_TEXT.split())
        _warm_text()
        for name in heavy:
            del sys.modules[name]


def _load(names: Iterable[str]) -> None:
    for name in names:
        with suppress(Exception):  # not installed, or of another platform: an ERROR when imported
            importlib.import_module(name)


def _warm_text() -> None:
    """Use each library once: most open a data file at their first use. Any may be missing."""
    loaded: dict[str, Any] = dict(sys.modules)
    with suppress(Exception):
        factory = importlib.import_module("langdetect.detector_factory")
        factory.DetectorFactory.seed = 0  # it draws at random otherwise
        factory.detect("a plain English sentence")
    with suppress(Exception):
        loaded["nltk"].word_tokenize("Dr. Low went home. So did I.")
    with suppress(Exception):
        importlib.import_module("nltk.corpus").stopwords.words("english")
    with suppress(Exception):
        loaded["emoji"].demojize(loaded["emoji"].emojize(":red_heart:"))
    with suppress(Exception):
        loaded["bs4"].BeautifulSoup("<p class=a>b</p>", "html.parser").select("p.a")
    with suppress(Exception):
        loaded["numpy"].random.seed(0)
        loaded["numpy"].array([1.0, 2.0]).mean()
