"""Getting out of the process: forks, threads, programs, signals to others.

Every act is small, so that on a machine where the sandbox failed it would do no lasting harm.
"""

from __future__ import annotations

from .attack import Attack, nr, reach, vandal

_CLONE = 17  # SIGCHLD


def spawn(name: str, body: str) -> Attack:
    return reach("spawn", name, body)


def kill(name: str, body: str) -> Attack:
    return reach("kill", name, body)


_PERMITTED = """
        try:
            {}
        except OSError:
            return False
        return True
        """


def attempt(statement: str) -> str:
    """A body that is True where the statement did not raise OSError."""
    return _PERMITTED.format(statement)


ATTACKS = [
    spawn(
        "fork",
        """
        posix = grab("posix")
        child = posix.fork()
        if child == 0:
            posix._exit(0)
        return True
        """,
    ),
    spawn(
        "fork-bomb",
        """
        posix, time, born = grab("posix"), grab("time"), 0
        for _ in range(200):
            try:
                if posix.fork() == 0:
                    time.sleep(3)
                    posix._exit(0)
                born += 1
            except OSError:
                pass
        return born > 0
        """,
    ),
    spawn(
        "daemon",
        """
        posix, time = grab("posix"), grab("time")
        if posix.fork():
            return True
        posix.setsid()
        if posix.fork() == 0:
            time.sleep(30)
        posix._exit(0)
        """,
    ),
    spawn("vfork-libc", "return grab('ctypes').CDLL(None).fork() >= 0"),
    spawn(
        "clone",
        f"""
        result, errno = syscall({nr("clone")}, {_CLONE}, 0, 0, 0, 0)
        if result == 0:
            syscall({nr("exit_group")}, 0)
        return result > 0
        """,
    ),
    spawn(
        "clone3",
        f"""
        ctypes = grab("ctypes")
        fields = (ctypes.c_uint64 * 11)(0, 0, 0, 0, {_CLONE})
        result, errno = syscall({nr("clone3")}, fields, ctypes.sizeof(fields))
        if result == 0:
            syscall({nr("exit_group")}, 0)
        return result > 0
        """,
    ),
    spawn(
        "thread",
        """
        try:
            grab("_thread").start_new_thread(lambda: None, ())
        except RuntimeError:
            return False
        return True
        """,
    ),
    spawn(
        "threading",
        """
        try:
            thread = grab("threading").Thread(target=len, args=((),))
            thread.start()
        except RuntimeError:
            return False
        return thread.is_alive() or True
        """,
    ),
    spawn(
        "pool",
        """
        futures = grab("concurrent.futures")
        with futures.ThreadPoolExecutor(4) as pool:
            return sum(pool.map(len, ["a"] * 9)) == 9
        """,
    ),
    spawn(
        "multiprocessing",
        """
        context = grab("multiprocessing").get_context("fork")
        process = context.Process(target=len, args=((),))
        process.start()
        return process.pid is not None
        """,
    ),
    spawn("system", "return grab('posix').system('true') == 0"),
    spawn("popen", "return grab('os').popen('echo hello').read() == 'hello\\n'"),
    spawn("subprocess", "return grab('subprocess').run(['/bin/true']).returncode == 0"),
    spawn("posix-spawn", attempt("grab('posix').posix_spawn('/bin/true', ['true'], {})")),
    spawn("exec", attempt("grab('posix').execv('/bin/true', ['true'])")),
    spawn("exec-self", attempt("grab('os').execv(grab('sys').executable, ['python', '-c', ''])")),
    spawn(
        "execve-raw",
        f"""
        ctypes = grab("ctypes")
        return granted({nr("execve")}, ctypes.c_char_p(b"/nowhere"), 0, 0)
        """,
    ),
    spawn(
        "execveat",
        f"return granted({nr('execveat')}, -1, grab('ctypes').c_char_p(b'/no'), 0, 0, 0)",
    ),
    spawn(
        "execve-memfd",
        f"""
        ctypes = grab("ctypes")
        fd, errno = syscall({nr("memfd_create")}, ctypes.c_char_p(b"x"), 0)
        return fd >= 0
        """,
    ),
    spawn("setsid", f"return granted({nr('setsid')})"),
    spawn("pty", attempt("grab('posix').openpty()")),
    kill("parent", attempt("grab('posix').kill(parent(), 9)")),
    kill("parent-stop", attempt("grab('posix').kill(parent(), 19)")),
    kill("host", attempt("grab('posix').kill(@HOST@, 23)")),
    kill("init", attempt("grab('posix').kill(1, 23)")),
    kill("all", attempt("grab('posix').kill(-1, 0)")),
    kill("group", attempt("grab('posix').killpg(0, 23)")),
    kill("self-stop", attempt("grab('posix').kill(grab('posix').getpid(), 19)")),
    kill("raise", attempt("grab('signal').raise_signal(19)")),
    kill("tgkill", f"return granted({nr('tgkill')}, @HOST@, @HOST@, 23)"),
    kill(
        "sigqueue",
        f"""
        ctypes = grab("ctypes")
        info = (ctypes.c_char * 128)()
        return granted({nr("rt_sigqueueinfo")}, @HOST@, 23, info)
        """,
    ),
    kill("pidfd-open", f"return granted({nr('pidfd_open')}, parent(), 0)"),
    kill("pidfd-open-host", f"return granted({nr('pidfd_open')}, @HOST@, 0)"),
    kill(
        "pidfd-signal-any",
        f"""
        return any(granted({nr("pidfd_send_signal")}, fd, 9, 0, 0) for fd in range(64))
        """,
    ),
    kill(
        "pidfd-getfd",
        f"""
        return any(granted({nr("pidfd_getfd")}, fd, 0, 0) for fd in range(64))
        """,
    ),
    kill("ptrace-me", f"return granted({nr('ptrace')}, 0, 0, 0, 0)"),
    kill("ptrace-parent", f"return granted({nr('ptrace')}, 0x4206, parent(), 0, 0)"),
    kill(
        "process-vm-readv",
        f"""
        ctypes = grab("ctypes")
        buffer = ctypes.create_string_buffer(8)
        here = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
        there = (ctypes.c_void_p * 2)(id(None), 8)
        return granted({nr("process_vm_readv")}, parent(), here, 1, there, 1, 0)
        """,
    ),
    kill(
        "process-vm-writev",
        f"""
        ctypes = grab("ctypes")
        buffer = ctypes.create_string_buffer(8)
        here = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
        there = (ctypes.c_void_p * 2)(id(None), 8)
        return granted({nr("process_vm_writev")}, parent(), here, 1, there, 1, 0)
        """,
    ),
    kill("priority", attempt("grab('posix').setpriority(0, 0, -20)")),
    kill("scheduler", f"return granted({nr('sched_setaffinity')}, 0, 0, 0)"),
    vandal(
        "signal",
        "ignore-all",
        """
        signal = grab("signal")
        for number in range(1, 65):
            try:
                signal.signal(number, lambda *_: None)
            except (OSError, ValueError):
                pass
        while True:
            pass
        """,
    ),
    vandal(
        "signal",
        "block-all",
        """
        signal = grab("signal")
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        except OSError:
            pass
        while True:
            pass
        """,
    ),
    vandal(
        "signal",
        "handler-loops",
        """
        signal = grab("signal")
        def handler(*_):
            while True:
                pass
        signal.signal(signal.SIGTERM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        return True
        """,
    ),
    reach("signal", "alarm", attempt("grab('signal').setitimer(0, 100)")),
    reach("signal", "timer-create", f"return granted({nr('timer_create')}, 0, 0, 0)"),
    vandal("signal", "sigaction-raw", f"return granted({nr('rt_sigaction')}, 9, 0, 0, 8)"),
    vandal(
        "signal",
        "faulthandler",
        "grab('faulthandler').dump_traceback_later(0.01, repeat=True)\nwhile True: pass",
    ),
    vandal("signal", "wakeup-fd", "grab('signal').set_wakeup_fd(1)\nreturn True"),
]
