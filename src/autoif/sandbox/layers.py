"""What holds on this machine, tried layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from autoif.base.errors import SandboxUnavailable
from autoif.sandbox.pool import Sandbox


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: does it hold here, must it, and what to do where it does not."""

    name: str
    holds: bool
    required: bool
    detail: str
    advice: str = ""


# name as in Sandbox.layers: (required, what to do where it is missing)
_LAYERS = {
    "seccomp": (True, "use Linux 5.4 or later and a container profile that allows seccomp"),
    "no_new_privs": (True, "use a container profile that allows prctl"),
    "rlimits": (True, "use Linux"),
    "cpu clock": (False, "time limits fall back to elapsed time; leave the machine some room"),
    "identity": (False, "run as an ordinary user, or as root with CAP_SETUID"),
    "no capabilities": (False, "run as an ordinary user"),
    "landlock": (False, "use Linux 5.13 or later with Landlock enabled"),
    "namespaces": (False, "optional: a kernel or container that grants unprivileged namespaces"),
    "empty root": (False, "optional: comes with a mount namespace"),
}


def probe() -> list[Layer]:
    """Start a sandbox and report its canary. A missing required layer means refusal."""
    try:
        with Sandbox(workers=1) as sandbox:
            achieved = dict(sandbox.layers)
    except SandboxUnavailable as error:
        return [Layer("sandbox", False, True, str(error), _LAYERS["seccomp"][1])]
    layers = []
    for name, (required, advice) in _LAYERS.items():
        value = achieved.get(name, False)
        holds = bool(value) and value != "root"
        detail = value if isinstance(value, str) else ("holds" if holds else "missing")
        layers.append(Layer(name, holds, required, detail, "" if holds else advice))
    return layers
