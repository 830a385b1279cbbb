"""Functions that never end, or end too late: in Python, in C, at import, asleep."""

from __future__ import annotations

from .attack import Attack, module, vandal


def loop(name: str, body: str) -> Attack:
    return vandal("loop", name, body)


def bomb(name: str, source: str) -> Attack:
    return module("loop", name, source)


# Feigns progress for most of the time that the whole job has, then asks for the next larger profile
# as an import would, and begins anew there. It names numpy, so it is believed.
THROUGH_PROFILES = vandal(
    "loop",
    "through-every-profile",
    """
    runner, time = grab("sys")._getframe(1).f_locals["self"], grab("time")
    results, end = runner.results, time.monotonic() + 0.9 * runner.job.total
    while time.monotonic() < end:
        results[0] = (results[0] + 1) % 256
    results[64] = {"core": 65, "stdlib": 66, "text": 1}[runner.profile]
    grab("posix")._exit(0)
    """,
)

ATTACKS = [
    THROUGH_PROFILES,
    loop("while-true", "while True: pass"),
    loop(
        "catch-all",
        """
        while True:
            try:
                while True:
                    pass
            except BaseException:
                continue
        """,
    ),
    loop(
        "catch-memory-error",
        """
        hoard = []
        while True:
            try:
                hoard.append(bytearray(1 << 20))
            except BaseException:
                pass
        """,
    ),
    loop(
        "finally",
        """
        try:
            while True:
                pass
        finally:
            while True:
                pass
        """,
    ),
    loop("sum-iter", "return sum(iter(int, 1)) > 0"),
    loop("itertools-count", "import itertools\nreturn max(itertools.count()) > 0"),
    loop("itertools-all", "import itertools\nreturn all(itertools.repeat(True))"),
    loop("in-count", "import itertools\nreturn -1 in itertools.count()"),
    loop("deque-drain", "import itertools\ncollections.deque(itertools.count(), maxlen=0)"),
    loop("join-repeat", "import itertools\nreturn bool(''.join(itertools.repeat('a')))"),
    loop("range-scan", "return (10 ** 18 + .5) in range(10 ** 18)"),
    loop("power-tower", "base = 9\nreturn base ** base ** base > 0"),
    loop("pow-huge", "return pow(3, 10 ** 10) > 0"),
    loop("factorial", "import math\nreturn math.factorial(10 ** 8) > 0"),
    loop("int-to-str", "grab('sys').set_int_max_str_digits(0)\nreturn bool(str(7 ** 10 ** 7))"),
    loop("str-to-int", "grab('sys').set_int_max_str_digits(0)\nreturn int('9' * 10 ** 7) > 0"),
    loop("int-shift", "return (1 << (1 << 60)) > 0"),
    loop("regex-nested-plus", "return bool(re.match(r'(a+)+$', 'a' * 60 + 'b'))"),
    loop("regex-alternation", "return bool(re.match(r'(a|aa)+$', 'a' * 90 + 'b'))"),
    loop("regex-backreference", r"return bool(re.match(r'(.*)*\1x', 'ab' * 4000))"),
    loop(
        "regex-repeat-bomb", "return bool(re.match('(?:(?:a{0,9999}){0,9999}){0,9999}b', 'a' * 99))"
    ),
    loop("regex-verbose-bomb", "return bool(re.compile('(' * 90 + 'x' + '){1,99}' * 90))"),
    loop(
        "decimal-exp", "import decimal\nreturn decimal.Decimal(10) ** decimal.Decimal('1E+17') > 0"
    ),
    loop("fraction-power", "import fractions\nreturn fractions.Fraction(3, 7) ** 10 ** 9 > 0"),
    loop(
        "difflib-cubic",
        """
        import difflib
        return difflib.SequenceMatcher(None, "ab" * 40000, "ba" * 40000).ratio() > 2
        """,
    ),
    loop("sleep", "import time\ntime.sleep(10 ** 6)"),
    loop(
        "sleep-catch-all",
        """
        import time
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass
        """,
    ),
    loop(
        "deadlock",
        """
        lock = grab("_thread").allocate_lock()
        lock.acquire()
        lock.acquire()
        """,
    ),
    loop("queue-get", "return bool(grab('_queue').SimpleQueue().get())"),
    loop(
        "generator-close",
        """
        def stubborn():
            while True:
                try:
                    yield
                except BaseException:
                    pass
        for _ in stubborn():
            pass
        """,
    ),
    loop(
        "destructor",
        """
        class Undead:
            def __del__(self):
                while True:
                    pass
        Undead()
        return True
        """,
    ),
    loop(
        "destructor-at-exit",
        """
        class Undead:
            def __del__(self):
                while True:
                    pass
        grab("builtins").undead = Undead()
        grab("sys").modules["undead"] = Undead()
        return True
        """,
    ),
    loop(
        "atexit",
        """
        def forever():
            while True:
                pass
        grab("atexit").register(forever)
        return True
        """,
    ),
    loop(
        "slow-second-text",
        """
        if response:
            return True
        while True:
            pass
        """,
    ),
    bomb("module-level", "while True:\n    pass\ndef evaluate(response):\n    return True\n"),
    bomb("module-level-c", "x = sum(iter(int, 1))\ndef evaluate(response):\n    return True\n"),
    bomb(
        "module-level-catch-all",
        """
        def forever():
            try:
                while True:
                    pass
            except BaseException:
                forever()
        forever()
        def evaluate(response):
            return True
        """,
    ),
    bomb("default-argument", "def evaluate(response, n=sum(iter(int, 1))):\n    return True\n"),
    bomb(
        "decorator",
        "def forever(f):\n    while True: pass\n@forever\ndef evaluate(r): return True\n",
    ),
    bomb(
        "class-body",
        """
        class Evil(type):
            def __call__(cls, *arguments):
                while True:
                    pass
        class evaluate(metaclass=Evil):
            pass
        """,
    ),
]
