"""Bombs: everything that wants more memory than it is given. All stop by themselves at 2 GiB."""

from __future__ import annotations

from .attack import Attack, nr, reach, vandal


def bomb(name: str, body: str) -> Attack:
    return vandal("memory", name, body)


ATTACKS = [
    reach(
        "memory",
        "hoard-bytes",
        """
        hoard = [bytearray(1 << 20) for _ in range(2048)]
        return len(hoard) == 2048
        """,
    ),
    reach("memory", "one-gigabyte", "return len(bytearray(1 << 30)) == 1 << 30"),
    reach(
        "memory",
        "doubling",
        """
        text = "a"
        while len(text) < 1 << 30:
            text += text
        return True
        """,
    ),
    reach(
        "memory",
        "catch-and-retry",
        """
        hoard = []
        for _ in range(2048):
            try:
                hoard.append(bytearray(1 << 20))
            except MemoryError:
                pass
        return len(hoard) > 1024
        """,
    ),
    reach("memory", "in-generator", "return sum(1 for _ in [0] * (1 << 28)) == 1 << 28"),
    reach(
        "memory",
        "mmap-module",
        """
        area = grab("mmap").mmap(-1, 1 << 30)
        for i in range(0, 1 << 30, 4096):
            area[i] = 1
        return True
        """,
    ),
    reach("memory", "mmap-shared", f"return granted({nr('mmap')}, 0, 1 << 20, 3, 0x21, -1, 0)"),
    reach(
        "memory",
        "mmap-shared-validate",
        f"return granted({nr('mmap')}, 0, 1 << 20, 3, 0x23, -1, 0)",
    ),
    reach(
        "memory",
        "mmap-noreserve",
        f"""
        ctypes = grab("ctypes")
        total = 0
        for _ in range(512):
            address, _ = syscall({nr("mmap")}, 0, 1 << 22, 3, 0x4022, -1, 0)
            if address <= 0:
                break
            ctypes.memset(address, 1, 1 << 22)
            total += 1 << 22
        return total > 1 << 30
        """,
    ),
    bomb("mmap-hugetlb", f"return granted({nr('mmap')}, 0, 1 << 21, 3, 0x40022, -1, 0)"),
    reach(
        "memory",
        "mmap-growsdown",
        f"""
        address, _ = syscall({nr("mmap")}, 0, 1 << 20, 3, 0x0122, -1, 0)
        if address <= 0:
            return False
        grab("ctypes").memset(address - (1 << 30), 1, 1 << 30)
        return True
        """,
    ),
    reach("memory", "remap-file-pages", f"return granted({nr('remap_file_pages')}, 0, 0, 0, 0, 0)"),
    reach(
        "memory",
        "raise-rlimits",
        """
        resource = grab("resource")
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))
        except (ValueError, OSError):
            return False
        return True
        """,
    ),
    reach(
        "memory",
        "prlimit",
        f"""
        ctypes = grab("ctypes")
        limit = (ctypes.c_ulong * 2)(2 ** 64 - 1, 2 ** 64 - 1)
        return syscall({nr("prlimit64")}, 0, 9, limit, 0)[0] == 0
        """,
    ),
    bomb("list-of-lists", "hoard = []\nwhile True: hoard = [hoard, hoard, [0] * 10 ** 5]"),
    bomb("huge-list", "return bool([0] * 10 ** 12)"),
    bomb("huge-range", "return bool(list(range(10 ** 12)))"),
    bomb("zfill", "return bool(response.zfill(1 << 40))"),
    bomb("format-width", "return bool('%0*d' % (1 << 30, 1))"),
    bomb("f-string-precision", "return bool(f'{1.5:.{1 << 30}f}')"),
    bomb("replace-bomb", "t = 'a' * 10 ** 5\nreturn bool(t.replace('a', t))"),
    bomb("regex-sub-bomb", "t = 'a' * 10 ** 5\nreturn bool(re.sub('a', t, t))"),
    bomb("product", "import itertools\nreturn bool(list(itertools.product(range(999), repeat=9)))"),
    bomb(
        "permutations-set", "import itertools\nreturn bool(set(itertools.permutations(range(14))))"
    ),
    bomb("counter", "import itertools\nreturn bool(collections.Counter(itertools.count()))"),
    bomb("expandtabs", "return bool('\\t'.expandtabs(1 << 31 - 1))"),
    bomb("bytes-join", "return bool(b'x' * (1 << 20) * (1 << 20))"),
    bomb(
        "exception-chain",
        """
        error = None
        while True:
            new = ValueError("x" * 10 ** 5)
            new.__cause__ = error
            error = new
        """,
    ),
    bomb(
        "closure-leak",
        """
        cells = []
        while True:
            cells.append(lambda cells=list(cells): cells)
        """,
    ),
    bomb("memory-error-each-call", "raise MemoryError"),
    bomb("array-module", "return bool(grab('array').array('d', [0.0]) * (1 << 34))"),
    vandal(
        "bomb",
        "zip",
        """
        zlib = grab("zlib")
        small = zlib.compress(bytes(1 << 24), 9)
        hoard = [zlib.decompress(small) for _ in range(128)]
        return False
        """,
    ),
    vandal(
        "bomb",
        "zip-nested",
        """
        zlib = grab("zlib")
        data = zlib.compress(zlib.compress(bytes(1 << 24), 9) * 64, 9)
        maker = zlib.decompressobj()
        return bool([zlib.decompress(zlib.decompress(data)) for _ in range(99)])
        """,
    ),
    vandal(
        "bomb",
        "gzip-stream",
        """
        import io
        gzip, hoard = grab("gzip"), []
        data = gzip.compress(bytes(1 << 24)) * 200
        return bool(gzip.GzipFile(fileobj=io.BytesIO(data)).read())
        """,
    ),
    vandal(
        "bomb",
        "zipfile",
        """
        import io
        zipfile, store = grab("zipfile"), io.BytesIO()
        with zipfile.ZipFile(store, "w", zipfile.ZIP_DEFLATED) as archive:
            for i in range(64):
                archive.writestr(str(i), bytes(1 << 22))
        return bool([zipfile.ZipFile(store).read(str(i)) for i in range(64)])
        """,
    ),
    vandal(
        "bomb",
        "billion-laughs",
        """
        import xml.etree.ElementTree as tree
        entities = '<!ENTITY a0 "lol">'
        for i in range(1, 12):
            entities += f'<!ENTITY a{i} "' + f"&a{i - 1};" * 10 + '">'
        return bool(tree.fromstring(f"<!DOCTYPE x [{entities}]><x>&a11;</x>").text)
        """,
    ),
    vandal(
        "bomb",
        "xml-quadratic",
        """
        import xml.etree.ElementTree as tree
        text = f'<!DOCTYPE x [<!ENTITY a "{"A" * 200_000}">]><x>{"&a;" * 20_000}</x>'
        return bool(tree.fromstring(text).text)
        """,
    ),
    vandal(
        "bomb",
        "xml-depth",
        """
        import xml.etree.ElementTree as tree
        return bool(tree.fromstring("<a>" * 500_000 + "</a>" * 500_000))
        """,
    ),
    reach(
        "bomb",
        "xml-external-entity",
        """
        import xml.etree.ElementTree as tree
        text = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'
        return "root" in (tree.fromstring(text).text or "")
        """,
    ),
    vandal(
        "bomb",
        "csv-field",
        """
        import csv
        csv.field_size_limit(2 ** 31 - 1)
        return bool(list(csv.reader(["a" * (1 << 27), '"' * (1 << 26)])))
        """,
    ),
    vandal(
        "bomb",
        "json-numbers",
        "import json\nreturn bool(json.loads('[' + '1e1,' * 10 ** 7 + '1]'))",
    ),
]
