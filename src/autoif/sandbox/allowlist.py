"""What a function may import: the allowlist, in two profiles, and how it is warmed.

`stdlib` is always there. `text` adds third-party modules for text, as far as they are installed;
a function gets that profile when it imports one of them. Everything is imported before the jail is
closed, because afterwards there is no file to import from.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from types import CodeType
from typing import Any

_STDLIB = """
    __future__ _strptime abc argparse array ast base64 binascii bisect builtins calendar cmath
    codecs collections collections.abc colorsys concurrent.futures configparser contextlib
    contextvars copy copyreg csv dataclasses datetime decimal difflib dis email email.message
    email.parser email.policy email.utils encodings enum errno fnmatch fractions functools gc
    getopt gettext graphlib gzip hashlib heapq hmac html html.entities html.parser http http.client
    importlib inspect io ipaddress itertools json json.decoder json.encoder keyword linecache
    locale logging lzma marshal math mimetypes numbers opcode operator os os.path pathlib pickle
    platform posixpath pprint queue quopri random re reprlib sched secrets shlex shutil signal
    stat statistics string stringprep struct symtable sys tempfile textwrap threading time timeit
    token tokenize tomllib traceback types typing unicodedata unittest urllib urllib.error
    urllib.parse urllib.request uuid warnings weakref xml xml.dom xml.dom.expatbuilder
    xml.dom.minidom xml.etree xml.etree.ElementTree xml.parsers.expat xml.sax xml.sax.expatreader
    xml.sax.saxutils zlib
"""

_TEXT = """
    regex emoji langdetect nltk nltk.tokenize nltk.tokenize.punkt nltk.stem nltk.stem.porter
    nltk.stem.snowball nltk.util nltk.probability nltk.metrics bs4 soupsieve numpy numpy.random
    numpy.linalg
"""

STDLIB_NAMES = frozenset(name.partition(".")[0] for name in _STDLIB.split())
TEXT_NAMES = frozenset(name.partition(".")[0] for name in _TEXT.split())


def imports(code: CodeType) -> list[str]:
    """Modules that compiled source imports, anywhere in it, in order. Nothing is run.

    Read off the bytecode, which says the same as the syntax tree at a tenth of the cost.
    """
    import opcode

    import_name, extended = opcode.opmap["IMPORT_NAME"], opcode.opmap["EXTENDED_ARG"]
    found: list[str] = []
    pending = [code]
    while pending:
        code = pending.pop()
        pending += [c for c in code.co_consts if isinstance(c, CodeType)]
        raw = code.co_code
        if import_name not in raw[::2]:
            continue
        argument = 0
        for i in range(0, len(raw), 2):
            argument = argument << 8 | raw[i + 1]
            if raw[i] == import_name:
                found.append(code.co_names[argument])
            if raw[i] != extended:
                argument = 0
    return found


def warm(text: bool) -> None:
    """Import everything the profile allows, and all that those modules load only when used."""
    _load(_STDLIB.split())
    import encodings

    for module in pkgutil.iter_modules(encodings.__path__):
        _load([f"encodings.{module.name}"])
    "x".encode("idna")
    import time

    time.strptime("2000-01-01", "%Y-%m-%d")
    time.localtime()
    if text:
        _load(_TEXT.split())
        _warm_text()


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
