"""The audit of published checkers: its page is that of its findings, and they are as it says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FINDINGS = [
    json.loads(line) for line in (ROOT / "benchmarks/audit.jsonl").read_text("utf-8").splitlines()
]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "benchmarks/audit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_findings(audit: ModuleType) -> None:
    page = (ROOT / "docs/audit.md").read_text("utf-8")
    assert page == audit.page(), "run `python benchmarks/audit.py page`"
    assert f"Of the {len(FINDINGS)} texts below" in page


@pytest.mark.crosscheck
@pytest.mark.filterwarnings("default")  # theirs
@pytest.mark.parametrize("finding", FINDINGS, ids=lambda one: f"{one['package']}:{one['id']}")
def test_the_published_code_says_so(finding: dict[str, Any], audit: ModuleType) -> None:
    pytest.importorskip(finding["package"], reason="the package that is audited is not here")
    assert audit.says(finding) == finding["says"]


@pytest.mark.parametrize(
    "finding",
    [one for one in FINDINGS if one["package"].startswith("if_verifiable")],
    ids=lambda one: str(one["id"]),
)
def test_our_checkers_differ_where_the_page_says_so(finding: dict[str, Any]) -> None:
    from autoif.constraints.checkers import check

    page = (ROOT / "docs/audit.md").read_text("utf-8")
    ours = check(finding["id"], finding["text"], **finding["kwargs"])
    differ = page.partition("They differ on ")[2].partition("whole words")[0]
    assert (ours != finding["says"]) == (f"`{finding['id']}`" in differ)
