"""Files, directories and sockets: reading what is there, leaving something behind."""

from __future__ import annotations

from .attack import Attack, nr, reach
from .processes import attempt


def file(name: str, body: str) -> Attack:
    return reach("file", name, body)


def net(name: str, body: str) -> Attack:
    return reach("net", name, body)


_PLACES = "('/tmp', '/dev/shm', '/var/tmp', '.', '/', grab('os').path.dirname('@VICTIM@'))"

ATTACKS = [
    file("read-passwd", "return 'root' in open('/etc/passwd').read()"),
    file("read-victim", "return len(open('@VICTIM@').read()) > 0"),
    file("read-shadow", attempt("grab('_io').FileIO('/etc/shadow').read()")),
    file("read-environ", "return b'=' in open('/proc/self/environ', 'rb').read()"),
    file(
        "read-parent-environ",
        "return b'=' in open(f'/proc/{parent()}/environ', 'rb').read()",
    ),
    file("read-host-environ", "return b'=' in open('/proc/@HOST@/environ', 'rb').read()"),
    file("read-mem", "return bool(open('/proc/self/mem', 'rb'))"),
    file("read-maps", "return bool(open('/proc/self/maps').read())"),
    file("write-this-module", "return bool(open(re.__file__, 'r+'))"),
    file("read-io-open", "import io\nreturn bool(io.open_code('/etc/hostname').read())"),
    file("read-linecache", "return bool(grab('linecache').getlines('/etc/passwd'))"),
    file("read-codecs", "import codecs\nreturn bool(codecs.open('/etc/passwd').read())"),
    file("read-pathlib", "return bool(grab('pathlib').Path('/etc/passwd').read_text())"),
    file("read-tokenize", "return bool(grab('tokenize').open('/etc/passwd').read())"),
    file("read-posix-open", attempt("grab('posix').open('/etc/passwd', 0)")),
    file(
        "read-path-only",
        f"""
        return granted({nr("openat")}, -100, grab("ctypes").c_char_p(b"/etc/passwd"), 0o10000000, 0)
        """,
    ),
    file(
        "openat2",
        f"""
        ctypes = grab("ctypes")
        how = (ctypes.c_uint64 * 3)(0, 0, 0)
        return granted({nr("openat2")}, -100, ctypes.c_char_p(b"/etc/passwd"), how, 24)
        """,
    ),
    file("listdir", attempt("grab('posix').listdir('/etc')")),
    file("listdir-root", "return bool(set(grab('posix').listdir('/')) & {'etc', 'home', 'root'})"),
    file("listdir-home", "return bool(grab('os').listdir(grab('os').path.expanduser('~')))"),
    file("walk-up", "return bool(grab('posix').listdir('../../../../../../etc'))"),
    file("proc-list", "return bool(grab('posix').listdir('/proc'))"),
    file("proc-fd", "return bool(grab('posix').listdir('/proc/self/fd'))"),
    file("proc-root", "return bool(grab('posix').listdir('/proc/1/root/etc'))"),
    file(
        "write",
        f"""
        made = 0
        for place in {_PLACES}:
            try:
                open(place + "/autoif-attack", "w").write("was here")
                made += 1
            except OSError:
                pass
        return made > 0
        """,
    ),
    file(
        "create-raw",
        f"""
        posix, made = grab("posix"), 0
        for place in {_PLACES}:
            try:
                posix.open(place + "/autoif-attack-raw", posix.O_CREAT | posix.O_WRONLY, 0o777)
                made += 1
            except OSError:
                pass
        return made > 0
        """,
    ),
    file("read-only-truncate", attempt("grab('posix').open('@VICTIM@', grab('posix').O_TRUNC)")),
    file("read-only-create", attempt("grab('posix').open('@VICTIM@-new', grab('posix').O_CREAT)")),
    file("unnamed", attempt("grab('posix').open('/tmp', 0o20200002, 0o600)")),
    file("fcntl-dup", f"return any(granted({nr('fcntl')}, fd, 0, 300) for fd in range(8))"),
    file("fcntl-owner", f"return any(granted({nr('fcntl')}, fd, 8, @HOST@) for fd in range(8))"),
    file("fcntl-lock", f"return any(granted({nr('fcntl')}, fd, 6, 0) for fd in range(8))"),
    file("fcntl-lease", f"return any(granted({nr('fcntl')}, fd, 1024, 1) for fd in range(8))"),
    file("fcntl-notify", f"return any(granted({nr('fcntl')}, fd, 1026, 63) for fd in range(8))"),
    file("fcntl-pipe-size", f"return any(granted({nr('fcntl')}, fd, 1031, 99) for fd in range(8))"),
    file("fcntl-seals", f"return any(granted({nr('fcntl')}, fd, 1033, 0) for fd in range(8))"),
    file("tempfile", attempt("grab('tempfile').mkstemp(prefix='autoif-attack')")),
    file(
        "mkdir",
        f"""
        posix, made = grab("posix"), 0
        for place in {_PLACES}:
            try:
                posix.mkdir(place + "/autoif-attack-dir")
                made += 1
            except OSError:
                pass
        return made > 0
        """,
    ),
    file("mkfifo", attempt("grab('posix').mkfifo('/tmp/autoif-attack-fifo')")),
    file("mknod", attempt("grab('posix').mknod('/tmp/autoif-attack-node', 0o20666, 0x103)")),
    file("symlink", attempt("grab('posix').symlink('/etc', '/tmp/autoif-attack-link')")),
    file("hard-link", attempt("grab('posix').link('@VICTIM@', '@VICTIM@-link')")),
    file("append-victim", attempt("open('@VICTIM@', 'a').write('x')")),
    file("truncate-victim", attempt("grab('posix').truncate('@VICTIM@', 0)")),
    file("unlink-victim", attempt("grab('posix').unlink('@VICTIM@')")),
    file("rename-victim", attempt("grab('posix').rename('@VICTIM@', '@VICTIM@-gone')")),
    file("chmod-victim", attempt("grab('posix').chmod('@VICTIM@', 0o777)")),
    file("chown-victim", attempt("grab('posix').chown('@VICTIM@', 0, 0)")),
    file("utime-victim", attempt("grab('posix').utime('@VICTIM@', (0, 0))")),
    file("setxattr-victim", attempt("grab('posix').setxattr('@VICTIM@', 'user.x', b'x')")),
    file("rmtree", "grab('shutil').rmtree(grab('os').path.dirname('@VICTIM@'))\nreturn True"),
    file("chdir", attempt("grab('posix').chdir('/proc')")),
    file("chroot", f"return granted({nr('chroot')}, grab('ctypes').c_char_p(b'/autoif-none'))"),
    file("mount", f"return granted({nr('mount')}, 0, 0, 0, 0, 0)"),
    file("open-tree", f"return granted({nr('open_tree')}, -100, grab('ctypes').c_char_p(b'/'), 0)"),
    file(
        "handle",
        f"return granted({nr('name_to_handle_at')}, -100, grab('ctypes').c_char_p(b'/'), 0, 0, 0)",
    ),
    file("by-handle", f"return granted({nr('open_by_handle_at')}, 3, 0, 0)"),
    file("inotify", f"return granted({nr('inotify_init1')}, 0)"),
    file("fanotify", f"return granted({nr('fanotify_init')}, 0, 0)"),
    file(
        "sqlite",
        """
        base = grab("sqlite3").connect("/tmp/autoif-attack.sqlite")
        base.execute("create table x (y)")
        base.commit()
        return True
        """,
    ),
    file("shelve", "grab('dbm.dumb').open('/tmp/autoif-attack-dbm', 'c')['a'] = b'b'\nreturn True"),
    file(
        "zipapp-import",
        """
        grab("sys").path.insert(0, "/tmp")
        grab("importlib").invalidate_caches()
        __import__("this_module_does_not_exist")
        return True
        """,
    ),
    net("socket", attempt("grab('_socket').socket()")),
    net("socket-unix", attempt("grab('_socket').socket(1, 1)")),
    net("socket-raw", f"return granted({nr('socket')}, 17, 3, 0)"),
    net("socket-netlink", f"return granted({nr('socket')}, 16, 3, 0)"),
    net("socket-vsock", f"return granted({nr('socket')}, 40, 1, 0)"),
    net("socket-alg", f"return granted({nr('socket')}, 38, 5, 0)"),
    net("socketpair", f"return granted({nr('socketpair')}, 1, 1, 0, 0)"),
    net("resolve", "return bool(grab('socket').gethostbyname('localhost'))"),
    net("connect", attempt("grab('socket').create_connection(('127.0.0.1', 9), 0.1)")),
    net("http", "return bool(grab('urllib.request').urlopen('http://127.0.0.1:9/', timeout=0.1))"),
    net("asyncio", "grab('asyncio').run(grab('asyncio').sleep(0))\nreturn True"),
]
