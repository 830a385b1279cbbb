"""Walks over the object graph to what no allowlist grants, and imports that should not be had."""

from __future__ import annotations

from .attack import NEVER_TRUE, Attack, module, reach


def graph(name: str, body: str) -> Attack:
    return reach("graph", name, body)


ATTACKS = [
    graph(
        "own-verdict-leak",
        """
        # Is there a channel to the host that outlives the call?
        grab("sys").modules["autoif_was_here_before"] = response
        grab("builtins").autoif_was_here_before = 1
        return False
        """,
    ),
    module(
        "import", "os", "import os\ndef evaluate(r): return os.system('true') == 0\n", NEVER_TRUE
    ),
    module(
        "import",
        "subprocess",
        "from subprocess import run\ndef evaluate(r): return True\n",
        NEVER_TRUE,
    ),
    module(
        "import", "ctypes-as", "import ctypes as re\ndef evaluate(r): return True\n", NEVER_TRUE
    ),
    module(
        "import",
        "dotted",
        "import os.path\ndef evaluate(r): return bool(os.listdir('/'))\n",
        NEVER_TRUE,
    ),
    graph("neighbour-state", "return hasattr(grab('builtins'), 'autoif_was_here_before')"),
    graph(
        "subclasses-popen",
        """
        for cls in object.__subclasses__():
            if cls.__name__ == "Popen":
                return cls(["/bin/true"]).wait() == 0
        return False
        """,
    ),
    graph(
        "subclasses-fileio",
        """
        for cls in object.__subclasses__():
            for sub in type.__subclasses__(cls):
                for leaf in type.__subclasses__(sub):
                    if leaf.__name__ == "FileIO":
                        return bool(leaf("/etc/passwd").read(1))
        return False
        """,
    ),
    graph(
        "wrap-close",
        """
        for cls in object.__subclasses__():
            if cls.__name__ == "_wrap_close":
                return cls.__init__.__globals__["system"]("true") == 0
        return False
        """,
    ),
    graph(
        "catch-warnings",
        """
        import warnings
        sys = warnings.catch_warnings()._module.sys
        return sys.modules["os"].system("true") == 0
        """,
    ),
    graph(
        "function-globals",
        "return re.compile.__globals__['__builtins__']['open']('/etc/passwd').read(1) != ''",
    ),
    graph(
        "builtins-of-module", "return bool(collections.__builtins__['open']('/etc/passwd').read(1))"
    ),
    graph(
        "builtins-name",
        """
        found = __builtins__
        opener = found["open"] if isinstance(found, dict) else found.open
        return bool(opener("/etc/passwd").read(1))
        """,
    ),
    graph(
        "loader-get-data",
        """
        loader = re.__loader__
        return bool(loader.get_data("/etc/passwd"))
        """,
    ),
    graph(
        "spec-loader-exec",
        """
        machinery = grab("importlib").machinery
        loader = machinery.SourceFileLoader("x", "/etc/hostname")
        return bool(loader.get_source("x"))
        """,
    ),
    graph(
        "extension-loader",
        """
        machinery = grab("importlib").machinery
        spec = machinery.ModuleSpec("evil", None, origin="/proc/self/exe")
        return grab("_imp").create_dynamic(spec) is not None
        """,
    ),
    graph("dlopen", "return bool(grab('ctypes').CDLL('/lib/x86_64-linux-gnu/libcrypt.so.1'))"),
    graph("enum-sys", "return re.enum.sys.modules['posix'].getppid() > 0"),
    graph("typing-chain", "import typing\nreturn bool(typing.sys.modules['os'].listdir('/etc'))"),
    graph(
        "string-formatter",
        """
        import string
        text = "{0.__init__.__globals__[__builtins__][open]}"
        return string.Formatter().vformat(text, [string.Template("")], {})("/etc/passwd") is None
        """,
    ),
    graph(
        "pickle-reduce",
        """
        class Shell:
            def __reduce__(self):
                return grab("posix").system, ("true",)
        pickle = grab("pickle")
        return pickle.loads(pickle.dumps(Shell())) == 0
        """,
    ),
    graph(
        "namedtuple-exec",
        "return bool(collections.namedtuple.__globals__['_sys'].modules['posix'].listdir('/etc'))",
    ),
    graph("fstring-eval", "return bool(eval(f'{chr(111)}pen')('/etc/passwd').read(1))"),
    module("import", "relative", "from . import x\ndef evaluate(r): return True\n", NEVER_TRUE),
    module(
        "import", "relative-deep", "from ..... import x\ndef evaluate(r): return True\n", NEVER_TRUE
    ),
    module("import", "autoif", "import autoif.sandbox\ndef evaluate(r): return True\n", NEVER_TRUE),
    module("import", "main", "import __main__\ndef evaluate(r): return True\n", NEVER_TRUE),
    module(
        "import",
        "hidden",
        "exec('import socket')\ndef evaluate(r): return bool(socket.socket())\n",
        NEVER_TRUE,
    ),
    module(
        "import",
        "in-function",
        "def evaluate(r):\n    import socket\n    return True\n",
        NEVER_TRUE,
    ),
    module("import", "torch", "import torch\ndef evaluate(r): return True\n", NEVER_TRUE),
    module(
        "import",
        "antigravity",
        "import antigravity, this\ndef evaluate(r): return True\n",
        NEVER_TRUE,
    ),
    module("import", "none", "import None\ndef evaluate(r): return True\n", NEVER_TRUE),
    module(
        "import",
        "dynamic",
        """
        def evaluate(response):
            made = 0
            for name in ("socket", "ssl", "sqlite3", "multiprocessing", "pty", "curses", "cffi"):
                try:
                    made += __import__(name).__name__ != name
                except Exception:
                    pass
            return made > 0
        """,
        NEVER_TRUE,
    ),
]
