"""Machines unlike this one, simulated from outside: the kernel refuses what it would refuse there.

    python -m attacks.confine OUTSIDE USER COMMAND...

OUTSIDE: open; no-namespaces (user namespaces switched off); docker (Docker's default filter and
capabilities); no-landlock (a kernel before 5.13); no-seccomp (a kernel built without);
lying-seccomp, lying-landlock (success is reported, nothing is done). USER: root, nobody, or any
(left as it is). Then COMMAND is exec'd.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

NOBODY = 65534
_CLONE_NEW = 0x7E020000  # every namespace flag
_DOCKER_CAPABILITIES = 0xA80425FB

_NUMBERS = {  # name: (x86-64, aarch64)
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fsopen": (430, 430),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "request_key": (249, 218),
    "seccomp": (317, 277),
    "setns": (308, 268),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_NAMESPACES = ("unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount")
_DOCKER = (
    *_NAMESPACES, "add_key", "bpf", "fsopen", "io_uring_setup", "kcmp", "kexec_load", "keyctl",
    "mount_setattr", "open_by_handle_at", "perf_event_open", "request_key", "userfaultfd",
)  # fmt: skip
_LANDLOCK = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
OUTSIDES = ("open", "no-namespaces", "docker", "no-landlock")  # where the sandbox must hold
USERS = ("root", "nobody")


def confine(outside: str, user: str) -> None:
    """Become `user` on such a machine; for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    if outside == "docker":
        _drop_capabilities(libc)
    if user == "nobody":
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    refused = {
        "open": {},
        "no-namespaces": dict.fromkeys(_NAMESPACES, errno.EPERM),
        "docker": dict.fromkeys(_DOCKER, errno.EPERM),
        "no-landlock": dict.fromkeys(_LANDLOCK, errno.ENOSYS),
        "no-seccomp": {"seccomp": errno.ENOSYS},
        "lying-seccomp": {"seccomp": 0},
        "lying-landlock": {"landlock_restrict_self": 0},
    }[outside]
    if refused:
        _install(libc, refused)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    pr_capbset_drop, version_3 = 24, 0x20080522
    for capability in range(64):
        if not _DOCKER_CAPABILITIES >> capability & 1:
            libc.prctl(pr_capbset_drop, capability, 0, 0, 0)
    low, high = _DOCKER_CAPABILITIES & 0xFFFFFFFF, _DOCKER_CAPABILITIES >> 32
    header = struct.pack("Ii", version_3, 0)
    if libc.capset(header, struct.pack("6I", low, low, 0, high, high, 0)):
        raise OSError(ctypes.get_errno(), "capset")


def _install(libc: ctypes.CDLL, refused: dict[str, int]) -> None:
    """A filter that refuses these calls with these errors, and by their arguments: clone with a
    namespace flag (clone3 hides its flags, so it is ENOSYS, as in Docker), prctl for seccomp."""
    arm = platform.machine() == "aarch64"
    load, equal, any_bit, ret = 0x20, 0x15, 0x45, 0x06
    give, allow, argument_0 = 0x00050000, 0x7FFF0000, 16
    pr_set_no_new_privs, pr_set_seccomp, mode_filter = 38, 22, 2
    code = [(load, 0, 0, 0)]
    for name, error in refused.items():
        code += [(equal, 0, 1, _NUMBERS[name][arm]), (ret, 0, 0, give | error)]
    if "unshare" in refused:
        code += [(equal, 0, 1, _NUMBERS["clone3"][arm]), (ret, 0, 0, give | errno.ENOSYS)]
        code += [(equal, 0, 3, _NUMBERS["clone"][arm]), (load, 0, 0, argument_0)]
        code += [(any_bit, 0, 1, _CLONE_NEW), (ret, 0, 0, give | errno.EPERM)]
    if "seccomp" in refused:
        code += [(equal, 0, 3, _NUMBERS["prctl"][arm]), (load, 0, 0, argument_0)]
        code += [(equal, 0, 1, pr_set_seccomp), (ret, 0, 0, give | refused["seccomp"])]
    code += [(ret, 0, 0, allow)]
    program = b"".join(struct.pack("HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
    if libc.prctl(pr_set_no_new_privs, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if libc.prctl(pr_set_seccomp, mode_filter, head, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    confine(sys.argv[1], sys.argv[2])
    os.execv(sys.argv[3], sys.argv[3:])
