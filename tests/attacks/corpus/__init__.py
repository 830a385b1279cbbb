"""Every attack there is, by family. See `attack.py` for what one is made of."""

from __future__ import annotations

from . import (
    compiling,
    files,
    forging,
    graphs,
    kernel,
    loops,
    memory,
    objects,
    output,
    packages,
    processes,
    residue,
    theft,
    transforms,
)
from .attack import Attack as Attack

ATTACKS: tuple[Attack, ...] = tuple(
    attack
    for family in (
        loops,
        compiling,
        memory,
        processes,
        files,
        kernel,
        output,
        forging,
        objects,
        graphs,
        packages,
        residue,
        theft,
        transforms,
    )
    for attack in family.ATTACKS
)
