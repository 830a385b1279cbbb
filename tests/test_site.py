"""The documentation as a site: it builds with every link and anchor right, lists itself for models,
and is read in a browser from a disk, wide and narrow, with nothing fetched from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import autoif

ROOT = Path(__file__).parents[1]


def test_the_pictures_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs/pictures.py")
    assert spec
    assert spec.loader
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    for path, content in pictures.pictures():
        assert path.read_text("utf-8") == content, "run `python docs/pictures.py`"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason='needs `pip install "autoif[docs]"`')
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, text=True, timeout=250,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return out


def test_every_public_name_and_every_command_has_its_place(site: Path) -> None:
    reference = (site / "reference.html").read_text("utf-8")
    for name, home in autoif._HOME.items():
        assert f'id="{home}.{name}"' in reference
    commands = (site / "commands.html").read_text("utf-8")
    for name in ("synth", "push", "calls inspect", "train"):
        assert f"autoif {name}<" in commands
    assert "--budget" in commands


def test_a_model_finds_every_page_in_llms_txt(site: Path) -> None:
    listed = re.findall(r"^- \[.+\]\((\S+)\): \S", (site / "llms.txt").read_text("utf-8"), re.M)
    pages = {path.name for path in site.glob("*.html")} - {"404.html"}
    assert sorted(listed) == sorted(pages)


def test_no_fence_and_no_mark_of_the_sources_is_shown(site: Path) -> None:
    for path in site.glob("*.html"):
        text = re.sub(r"<code.*?</code>", "", path.read_text("utf-8"), flags=re.DOTALL)
        assert "```" not in text, path.name
        assert "skip: " not in text, path.name


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_read_from_a_disk(site: Path, browser: Any, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: failed.append(request.url))
    for name in ("concepts.html", "recipe.html"):
        page.goto(f"file://{site}/{name}")
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wider) <= 0, f"{name} is wider than the window"
        assert page.locator("h1").is_visible()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))]
    assert failed == []
    page.close()


def test_search_works_in_pages_from_a_disk(site: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"file://{site}/index.html")
    # Typed: what is set at once, before the index is there, is not looked for.
    page.locator('input[name="query"]').press_sequentially("decontaminate", delay=50)
    page.locator(".md-search-result__item").first.wait_for(timeout=60_000)
    page.close()
