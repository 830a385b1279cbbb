"""Reference data for the tests: `AUTOIF_DATA`, by default `../shared/data` beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Skips where the data is absent; in CI its absence is a failure."""
    path = Path(os.environ.get("AUTOIF_DATA") or ROOT.parent / "shared" / "data")
    if path.is_dir():
        return path
    message = f"reference data not at {path} (set AUTOIF_DATA)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
