"""The packages of the text profile as weapons. Where one is missing, its attacks are ERRORs."""

from __future__ import annotations

from .attack import Attack, reach, vandal


def vandal_with(name: str, body: str) -> Attack:
    return vandal("packages", name, body)


def reach_with(name: str, body: str) -> Attack:
    return reach("packages", name, body)


ATTACKS = [
    vandal_with("numpy-huge", "import numpy\nreturn bool(numpy.ones(1 << 34).sum())"),
    vandal_with(
        "numpy-hoard", "import numpy\nreturn bool([numpy.ones(1 << 20) for _ in range(999)])"
    ),
    vandal_with(
        "numpy-matmul", "import numpy\na = numpy.ones((4000, 4000))\nreturn bool((a @ a).any())"
    ),
    vandal_with(
        "numpy-inverse", "import numpy\nreturn bool(numpy.linalg.inv(numpy.eye(3000)).any())"
    ),
    vandal_with(
        "numpy-strided",
        """
        import numpy
        wild = numpy.lib.stride_tricks.as_strided(numpy.zeros(1), (1 << 30,), (4096,))
        wild[:] = 1
        return True
        """,
    ),
    reach_with("numpy-memmap", "import numpy\nreturn bool(numpy.memmap('@VICTIM@').size)"),
    reach_with(
        "numpy-fromfile", "import numpy\nreturn bool(numpy.fromfile('@VICTIM@', 'u1').size)"
    ),
    reach_with(
        "numpy-tofile", "import numpy\nnumpy.ones(9).tofile('/tmp/autoif-attack-np')\nreturn True"
    ),
    reach_with(
        "numpy-load-pickle",
        """
        import io
        import numpy
        class Shell:
            def __reduce__(self):
                return grab("posix").system, ("true",)
        store = io.BytesIO()
        numpy.save(store, numpy.array([Shell()], dtype=object), allow_pickle=True)
        store.seek(0)
        return numpy.load(store, allow_pickle=True)[0] == 0
        """,
    ),
    reach_with(
        "numpy-ctypes",
        """
        import numpy
        return bool(numpy.ctypeslib.load_library("libcrypt.so.1", "/lib/x86_64-linux-gnu"))
        """,
    ),
    reach_with(
        "numpy-open", "import numpy\nreturn bool(numpy.genfromtxt('@VICTIM@', dtype=str).size)"
    ),
    reach_with(
        "numpy-stale-memory",
        """
        # What an array that nobody cleared still holds of the worker's earlier life.
        import numpy
        pattern = re.compile(b"CANARY-[0-9a-f]{32}")
        sizes = list(range(16, 4096, 16)) + [1 << n for n in range(12, 23)]
        return any(pattern.search(numpy.empty(n, "u1").tobytes()) for n in sizes * 8)
        """,
    ),
    vandal_with(
        "regex-catastrophe",
        "import regex\nreturn bool(regex.match(r'(a|a)*+b|(a+)+$', 'a' * 99 + 'c'))",
    ),
    vandal_with(
        "regex-fuzzy",
        "import regex\nreturn bool(regex.search('(?:abcdefgh){e<=6}' * 9, 'hgfe' * 999))",
    ),
    vandal_with(
        "regex-threads",
        "import regex\nreturn bool(regex.match('a', 'a', concurrent=True, timeout=9))",
    ),
    vandal_with(
        "regex-recursion",
        "import regex\nreturn bool(regex.match(r'(a(?R)?b|a)*+$', 'a' * 10 ** 6))",
    ),
    vandal_with(
        "bs4-depth",
        "import bs4\nreturn bool(str(bs4.BeautifulSoup('<a>' * 10 ** 5, 'html.parser')))",
    ),
    vandal_with(
        "bs4-wide", "import bs4\nreturn bool(bs4.BeautifulSoup('<a/>' * 10 ** 6, 'html.parser').a)"
    ),
    vandal_with("emoji-poison", "import emoji\nemoji.EMOJI_DATA.clear()\nreturn True"),
    reach_with("nltk-path", "import nltk\nreturn bool(nltk.data.load('file:@VICTIM@', 'text'))"),
    reach_with("nltk-download", "import nltk\nreturn bool(nltk.download('punkt'))"),
]
