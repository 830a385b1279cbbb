"""Whether a directory may be replaced: it holds what an export wrote, as it was left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.files import is_plain, read_small
from autoif.export.layout import MANIFEST, entries, hashes


def refuse_what_is_not_ours(folder: Path) -> None:
    """Raises UsageError where `folder` is no directory, or holds anything that no export wrote, or
    that was changed since."""
    if not folder.is_symlink() and not folder.exists():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UsageError(f"{folder} is there and no directory; choose another --out")
    theirs = _manifest(folder / MANIFEST)
    for name, path in entries(folder):
        if not is_plain(path, hard_links=True) or name not in {*theirs, MANIFEST}:
            raise UsageError(
                f"{path} was not written by an export and would be lost; choose another --out, or "
                "move it away"
            )
    for name, digest in hashes(folder).items():
        if name in theirs and theirs[name] != digest:
            raise UsageError(
                f"{folder / name} was changed since it was written, and would be lost; choose "
                "another --out, or move it away"
            )


def _manifest(path: Path) -> dict[str, Any]:
    """The files that it names, with their hashes; none where it is not ours."""
    try:
        value = jsonl.loads(read_small(path))
    except (OSError, ValueError):
        return {}
    files = value.get("files") if isinstance(value, dict) else None
    return files if isinstance(files, dict) else {}
