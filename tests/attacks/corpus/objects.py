"""Tricks with Python itself: patched builtins and modules, tracing, hooks, finalizers."""

from __future__ import annotations

from .attack import Attack, vandal


def patch(name: str, body: str) -> Attack:
    return vandal("patch", name, body)


def trick(name: str, body: str) -> Attack:
    return vandal("trick", name, body)


ATTACKS = [
    patch("builtins-len", "grab('builtins').len = lambda _: 1 << 62\nreturn True"),
    patch("builtins-bool", "grab('builtins').bool = lambda _: True\nreturn True"),
    patch("builtins-isinstance", "grab('builtins').isinstance = lambda *_: True\nreturn response"),
    patch("builtins-type", "grab('builtins').type = lambda *_: bool\nreturn response"),
    patch(
        "builtins-exceptions",
        """
        builtins = grab("builtins")
        builtins.BaseException = builtins.Exception = builtins.MemoryError = int
        raise ValueError("caught?")
        """,
    ),
    patch("builtins-clear", "vars(grab('builtins')).clear()\nreturn True"),
    patch("builtins-import", "grab('builtins').__import__ = lambda *_: None\nreturn True"),
    patch("modules-clear", "grab('sys').modules.clear()\nreturn True"),
    patch(
        "modules-poison",
        """
        sys = grab("sys")
        for name in list(sys.modules):
            if name not in ("builtins", "sys"):
                sys.modules[name] = None
        return True
        """,
    ),
    patch("re", "re.match = re.search = re.findall = re.compile = lambda *_: True\nreturn True"),
    patch("json", "import json\njson.loads = json.dumps = lambda *_: 7\nreturn True"),
    patch("counter", "collections.Counter.most_common = lambda *_: []\nreturn True"),
    patch(
        "str-by-ctypes",
        """
        ctypes = grab("ctypes")
        get = ctypes.pythonapi._PyObject_GetDictPtr
        get.restype = ctypes.POINTER(ctypes.py_object)
        get.argtypes = [ctypes.py_object]
        get(str).contents.value["lower"] = str.upper
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(str))
        return "a".lower() == "A"
        """,
    ),
    patch("posix-exit", "grab('posix')._exit = grab('os')._exit = lambda _: None\nreturn True"),
    patch(
        "posix-all",
        """
        posix = grab("posix")
        for name in dir(posix):
            if not name.startswith("__"):
                setattr(posix, name, lambda *_, **__: 0)
        return True
        """,
    ),
    patch(
        "struct-and-mmap",
        """
        for name in ("struct", "_struct", "mmap", "select", "time", "marshal", "pickle", "signal"):
            try:
                for key in dir(grab(name)):
                    setattr(grab(name), key, lambda *_, **__: 0)
            except Exception:
                pass
        return True
        """,
    ),
    patch(
        "regex-cache",
        """
        for space in (re._cache, getattr(re, "_cache2", {})):
            for key in list(space):
                space[key] = None
        return True
        """,
    ),
    patch(
        "interned-constants",
        "string = grab('string')\nstring.ascii_letters = string.punctuation = ''\nreturn True",
    ),
    patch("random-seed", "import random\nrandom.seed(1)\nrandom.random = lambda: 0.5\nreturn True"),
    patch("locale", "grab('locale').setlocale(0, 'tr_TR.UTF-8')\nreturn True"),
    patch("decimal-context", "import decimal\ndecimal.getcontext().prec = 1\nreturn True"),
    patch("recursion-limit", "grab('sys').setrecursionlimit(60)\nreturn True"),
    patch("int-digits", "grab('sys').set_int_max_str_digits(640)\nreturn True"),
    patch("warnings-error", "import warnings\nwarnings.simplefilter('error')\nreturn True"),
    patch(
        "codec-registry",
        """
        import codecs
        codecs.register(lambda _: 7)
        codecs.register_error("strict", len)
        return True
        """,
    ),
    patch(
        "hooks",
        """
        sys = grab("sys")
        def hook(*_):
            while True:
                pass
        sys.excepthook = sys.unraisablehook = sys.displayhook = hook
        raise ValueError
        """,
    ),
    patch(
        "abc-registry",
        """
        import collections.abc
        collections.abc.Sized.register(type(None))
        collections.abc.Sized.__subclasshook__ = classmethod(lambda *_: True)
        return True
        """,
    ),
    patch(
        "environment",
        """
        grab("os").environ["PYTHONPATH"] = "/tmp"
        grab("posix").putenv(b"LD_PRELOAD", b"x")
        return True
        """,
    ),
    trick(
        "settrace",
        """
        sys = grab("sys")
        def tracer(*_):
            while True:
                pass
        sys.settrace(tracer)
        return True
        """,
    ),
    trick(
        "setprofile",
        """
        sys = grab("sys")
        sys.setprofile(lambda *_: grab("posix")._exit(0))
        return True
        """,
    ),
    trick(
        "settrace-all-threads",
        "grab('threading').settrace_all_threads(lambda *_: 1 / 0)\nreturn True",
    ),
    trick(
        "monitoring",
        """
        watch = grab("sys").monitoring
        watch.use_tool_id(3, "evil")
        watch.register_callback(3, watch.events.PY_RETURN, lambda *_: 1 / 0)
        watch.set_events(3, watch.events.PY_RETURN)
        return True
        """,
    ),
    trick(
        "audit-hook",
        """
        def hook(event, arguments):
            raise SystemExit(0)
        grab("sys").addaudithook(hook)
        return True
        """,
    ),
    trick(
        "gc-callbacks",
        """
        gc = grab("gc")
        gc.callbacks.append(lambda *_: grab("posix")._exit(0))
        gc.set_threshold(1)
        gc.collect()
        return True
        """,
    ),
    trick("gc-unfreeze", "gc = grab('gc')\ngc.unfreeze()\ngc.collect()\nreturn True"),
    trick(
        "gc-clear-all",
        """
        for thing in grab("gc").get_objects():
            if isinstance(thing, (dict, list, set)):
                try:
                    thing.clear()
                except Exception:
                    pass
        return True
        """,
    ),
    trick("switch-interval", "grab('sys').setswitchinterval(1e9)\nreturn True"),
    trick(
        "import-hook",
        """
        class Finder:
            def find_spec(self, *_):
                while True:
                    pass
        grab("sys").meta_path.insert(0, Finder())
        import statistics, textwrap, no_such_module
        return True
        """,
    ),
    trick("import-lock", "grab('_imp').acquire_lock()\nreturn True"),
    trick(
        "weakref-callback",
        """
        import weakref
        class Thing:
            pass
        thing = Thing()
        grab("sys").kept = weakref.ref(thing, lambda _: grab("posix")._exit(0))
        del thing
        return True
        """,
    ),
    trick(
        "frame-clear",
        """
        frame = grab("sys")._getframe(1)
        while frame is not None:
            try:
                frame.clear()
            except RuntimeError:
                pass
            frame = frame.f_back
        return True
        """,
    ),
    trick(
        "frame-line-jump",
        """
        sys = grab("sys")
        frame = sys._getframe(1)
        frame.f_trace = lambda f, *_: setattr(f, "f_lineno", f.f_lineno + 1)
        sys.settrace(lambda *_: None)
        return True
        """,
    ),
    trick(
        "async-exception",
        """
        ctypes = grab("ctypes")
        me = grab("_thread").get_ident()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(me), ctypes.py_object(SystemExit))
        return True
        """,
    ),
    trick(
        "pending-call",
        """
        ctypes = grab("ctypes")
        ctypes.pythonapi.Py_AddPendingCall(ctypes.c_void_p(1), None)
        return True
        """,
    ),
    trick("interrupt-main", "grab('_thread').interrupt_main(9)\nreturn True"),
    trick(
        "subinterpreter",
        """
        for name in ("_xxsubinterpreters", "_interpreters"):
            try:
                grab(name).create()
            except LookupError:
                pass
        return True
        """,
    ),
    trick("finalize", "grab('ctypes').pythonapi.Py_Finalize()\nreturn True"),
    trick(
        "remember",
        """
        # State of one's own may last; state for a neighbour must not.
        builtins = grab("builtins")
        seen = getattr(builtins, "autoif_was_here", 0)
        builtins.autoif_was_here = seen + 1
        str_subclass = type("str", (str,), {"lower": str.upper})
        builtins.str = str_subclass
        return seen > 3
        """,
    ),
]
