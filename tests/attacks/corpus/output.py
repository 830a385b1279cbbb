"""Standard streams, ways to exit, and exceptions that bite whoever reports them."""

from __future__ import annotations

from .attack import NEVER_TRUE, Attack, module, nr, reach, vandal


def exits(name: str, body: str) -> Attack:
    return vandal("exit", name, body, NEVER_TRUE)


def evil(name: str, body: str) -> Attack:
    return vandal("evil", name, body)


ATTACKS = [
    vandal("stdio", "print-gigabytes", "while True: print('x' * (1 << 20))"),
    vandal("stdio", "print-flush", "for _ in range(10 ** 7): print('x', flush=True)"),
    vandal("stdio", "stderr-gigabytes", "while True: print('x' * 65536, file=grab('sys').stderr)"),
    vandal(
        "stdio", "warnings", "import warnings\nwhile True: warnings.warn('x' * 65536 + str(id([])))"
    ),
    vandal("stdio", "buffer", "grab('sys').__stdout__.buffer.write(b'x' * (1 << 28))\nreturn True"),
    reach(
        "stdio",
        "write-fds",
        """
        posix, written = grab("posix"), 0
        for fd in range(256):
            try:
                written += posix.write(fd, b"\\x01" * 64) > 0
            except OSError:
                pass
        return written > 0
        """,
    ),
    reach("stdio", "input", "return input() != ''"),
    reach("stdio", "read-stdin", "return len(grab('sys').stdin.read()) > 0"),
    reach(
        "stdio",
        "read-fds",
        """
        posix, got = grab("posix"), b""
        for fd in range(256):
            try:
                got += posix.read(fd, 4096)
            except OSError:
                pass
        return len(got) > 0
        """,
    ),
    vandal(
        "stdio",
        "close-all",
        """
        for fd in range(4096):
            try:
                grab("posix").close(fd)
            except OSError:
                pass
        return True
        """,
    ),
    vandal("stdio", "close-range", "grab('posix').closerange(0, 1 << 20)\nreturn True"),
    vandal(
        "stdio",
        "no-stdout",
        "grab('sys').stdout = None\ngrab('sys').stderr = 7\nprint('x')\nreturn True",
    ),
    vandal(
        "stdio",
        "evil-stdout",
        """
        class Stream:
            def write(self, text):
                while True:
                    pass
            flush = write
        grab("sys").stdout = grab("sys").stderr = Stream()
        raise ValueError("reported through my stream")
        """,
    ),
    vandal("stdio", "breakpoint", "breakpoint()\nreturn True"),
    vandal("stdio", "help", "help()\nreturn True"),
    exits("os-exit", "grab('posix')._exit(0)"),
    exits("os-exit-1", "grab('posix')._exit(1)"),
    exits("os-exit-77", "grab('posix')._exit(77)"),
    exits("exit-group", f"syscall({nr('exit_group')}, 0)"),
    exits("exit-thread", f"syscall({nr('exit')}, 0)"),
    exits("sys-exit", "grab('sys').exit(0)"),
    exits("sys-exit-object", "grab('sys').exit(['long', 'story'])"),
    exits("system-exit", "raise SystemExit"),
    exits("system-exit-true", "raise SystemExit(True)"),
    exits("quit", "quit()"),
    exits("keyboard-interrupt", "raise KeyboardInterrupt"),
    exits("generator-exit", "raise GeneratorExit"),
    exits("stop-iteration", "raise StopIteration(True)"),
    exits("base-exception", "raise type('Out', (BaseException,), {})()"),
    exits("cancelled", "raise grab('asyncio').CancelledError"),
    exits("group", "raise BaseExceptionGroup('g', [SystemExit(0), KeyboardInterrupt()])"),
    exits(
        "finalizer",
        """
        class Leave:
            def __del__(self):
                grab("posix")._exit(0)
        Leave()
        raise ValueError
        """,
    ),
    exits("py-exit", "grab('ctypes').pythonapi.Py_Exit(0)"),
    exits("fatal-error", "grab('ctypes').pythonapi.Py_FatalError(b'the end')"),
    module(
        "exit", "module-level", "raise SystemExit(0)\ndef evaluate(r): return True\n", NEVER_TRUE
    ),
    module("exit", "module-quit", "quit()\ndef evaluate(r): return True\n", NEVER_TRUE),
    vandal("exit", "atexit-exit", "grab('atexit').register(grab('posix')._exit, 0)\nreturn True"),
    evil(
        "str-loops",
        """
        class Error(Exception):
            def __str__(self):
                while True:
                    pass
            __repr__ = __str__
        raise Error
        """,
    ),
    evil(
        "str-exits",
        """
        class Error(Exception):
            def __str__(self):
                raise SystemExit(0)
            __repr__ = __str__
        raise Error
        """,
    ),
    evil(
        "str-hard-exit",
        """
        class Error(Exception):
            def __str__(self):
                grab("posix")._exit(0)
        raise Error
        """,
    ),
    evil("str-huge", "raise ValueError('x' * (1 << 26))"),
    evil(
        "str-of-str",
        """
        class Text(str):
            def __str__(self): return self
            def encode(self, *_): return b"\\xff" * 10 ** 6
            def __getitem__(self, _): return self
            def __len__(self): return 1 << 60
        raise ValueError(Text("sweet"))
        """,
    ),
    evil(
        "str-not-str",
        """
        class Error(Exception):
            def __str__(self): return 7
        raise Error
        """,
    ),
    evil("str-surrogates", "raise ValueError('\\ud800\\udfff\\x00\\n\\r\\x1b[2J')"),
    evil("name-huge", "raise type('E' * 10 ** 6, (Exception,), {})('x')"),
    evil("name-surrogate", "raise type('E\\ud800', (Exception,), {})('x')"),
    evil(
        "metaclass-name",
        """
        class Meta(type):
            @property
            def __name__(cls):
                while True:
                    pass
            __qualname__ = __module__ = __name__
        class Error(Exception, metaclass=Meta):
            pass
        raise Error
        """,
    ),
    evil("notes", "error = ValueError('x')\nerror.__notes__ = ['n' * 10 ** 6] * 99\nraise error"),
    evil(
        "cause-cycle",
        """
        one, two = ValueError(1), ValueError(2)
        one.__cause__, two.__cause__ = two, one
        one.__context__, two.__context__ = two, one
        raise one
        """,
    ),
    evil(
        "group-deep",
        """
        error = ValueError("x")
        for _ in range(10 ** 5):
            error = ExceptionGroup("g", [error])
        raise error
        """,
    ),
    evil(
        "syntax-error-forged",
        "raise SyntaxError('m' * 10 ** 6, ('\\x00', -9, 1 << 62, 't' * 10 ** 6))",
    ),
    evil(
        "unicode-error", "raise UnicodeDecodeError('utf-8', b'x' * 10 ** 6, -5, 1 << 40, 'because')"
    ),
    evil(
        "bool-loops",
        """
        class Answer:
            def __bool__(self):
                while True:
                    pass
        return Answer()
        """,
    ),
    evil(
        "bool-exits",
        """
        class Answer:
            def __bool__(self):
                grab("posix")._exit(0)
        return Answer()
        """,
    ),
    evil(
        "class-lies",
        """
        class Answer:
            @property
            def __class__(self): return bool
            def __bool__(self): return True
            def __eq__(self, _): return True
            def __hash__(self): return 1
        return Answer()
        """,
    ),
    evil(
        "int-subclass",
        """
        class Answer(int):
            def __eq__(self, _):
                while True:
                    pass
            __bool__ = __index__ = __int__ = __hash__ = __eq__
        return Answer(1)
        """,
    ),
    evil(
        "eq-raises",
        """
        class Answer:
            def __eq__(self, _): raise SystemExit(0)
            __ne__ = __hash__ = __repr__ = __bool__ = __eq__
        return Answer()
        """,
    ),
    evil(
        "getattribute",
        """
        class Answer:
            def __getattribute__(self, _): grab("posix")._exit(0)
        return Answer()
        """,
    ),
    evil(
        "metaclass-instancecheck",
        """
        class Meta(type):
            def __getattribute__(cls, name):
                while True:
                    pass
        class Answer(metaclass=Meta):
            pass
        return Answer()
        """,
    ),
    evil("huge-result", "return 'x' * (1 << 25)"),
    evil("unlikely-int", "return 1 << 10 ** 6"),
    evil("nan", "return float('nan')"),
    evil("not-implemented", "return NotImplemented"),
    evil("generator", "yield True"),
    module("evil", "coroutine", "async def evaluate(response):\n    return True\n"),
    module("evil", "async-generator", "async def evaluate(response):\n    yield True\n"),
    module("evil", "not-a-function", "evaluate = 5\n"),
    module("evil", "deleted", "def evaluate(r): return True\ndel evaluate\n"),
    module("evil", "missing", "def evaluation(r): return True\n"),
    module("evil", "no-parameter", "def evaluate(): return True\n"),
    module(
        "evil",
        "callable",
        "class E:\n    def __call__(self, r): raise SystemExit\nevaluate = E()\n",
    ),
    module("evil", "builtin", "evaluate = exit\n"),
    module("evil", "print", "evaluate = print\n"),
    module("evil", "exec", "evaluate = exec\n"),
    module(
        "evil",
        "globals-subclass",
        """
        class Space(dict):
            def __getitem__(self, key):
                while True:
                    pass
        evaluate = type(lambda: 0)((lambda r: missing).__code__, dict(__builtins__=Space()))
        """,
    ),
]
