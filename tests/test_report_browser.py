"""The page in a real browser: Chromium of the system, driven by Playwright."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from autoif.report.pages import report_html
from runs import command, rows
from test_report import attacked

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDE, NARROW = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Skips where there is none; in CI that is a failure."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright is not installed")
    if CHROMIUM is None:
        missing("no Chromium on this system (apt-get install chromium)")
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium's own sandbox does not start.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def missing(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def file(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    out.write_text(report_html([smoke], on_notice=lambda line: None), "utf-8")
    return out.as_uri()


@contextmanager
def opened(
    browser: Browser, address: str, size: tuple[int, int] = WIDE, scheme: Any = "light"
) -> Iterator[Page]:
    """The page, which must say nothing on the console and ask nobody else for anything."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.set_default_timeout(60_000)  # a busy machine
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#main > *")
    try:
        yield page
        own = address.split("#")[0]
        assert said == []
        assert [url for url in asked if not url.startswith(own)] == []
        assert page.evaluate("window.pwned") is None
    finally:
        page.close()


@contextmanager
def view(run: Path) -> Iterator[str]:
    """The address of `autoif view`."""
    with command("view", run) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def test_from_the_funnel_to_a_dropped_text(browser: Browser, file: str, smoke: Path) -> None:
    with opened(browser, file) as page:
        page.get_by_role("link", name="failed_check").click()
        page.wait_for_selector(".detail-pane h2")
        drop = rows(smoke / "03-samples.dropped.jsonl")
        first = next(d for d in drop if d["reason"] == "failed_check" and d["stage"] == "responses")
        sample = next(s for s in rows(smoke / "03-samples.jsonl") if s["id"] == first["record_id"])
        detail = page.locator(".detail-pane")
        assert sample["response"] in detail.inner_text()
        assert "too few functions accepted the response" in detail.inner_text()
        assert detail.locator(".verdict.false").count() >= 1
        assert "def evaluate" in detail.inner_text()


def test_search_filters_and_keys(browser: Browser, file: str, smoke: Path) -> None:
    samples = rows(smoke / "03-samples.jsonl")
    kept = [s for s in samples if s["kept"]]
    with opened(browser, f"{file}#/0/samples") as page:
        page.wait_for_selector(".items li.chosen")
        page.get_by_label("Outcome").select_option("kept")
        page.locator(".counter", has_text=f"{len(kept)} of").wait_for()
        ids = page.eval_on_selector_all(".items li", "items => items.map(i => i.dataset.id)")
        assert ids == [s["id"] for s in kept][: len(ids)]
        page.keyboard.press("j")
        page.locator(f"li.chosen[data-id='{ids[1]}']").wait_for()
        page.keyboard.press("k")
        page.locator(f"li.chosen[data-id='{ids[0]}']").wait_for()
        page.keyboard.press("/")
        word = kept[3]["response"].split()[0]
        page.keyboard.type(f"{word} no such text")
        page.locator(".counter", has_text="Nothing fits").wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        assert page.locator("dialog[open]").count() == 1
        page.keyboard.press("Escape")
        address = f"{file}#/0/samples?id={kept[5]['id']}"
    with opened(browser, address) as page:  # a link leads to the sample itself
        page.wait_for_selector(".detail-pane h2")
        assert kept[5]["response"] in page.locator(".detail-pane").inner_text()


def test_the_back_button_leads_to_the_list_and_out_of_a_search(browser: Browser, file: str) -> None:
    with opened(browser, file, NARROW) as page:
        page.get_by_role("link", name="Samples").click()
        page.locator(".items a").first.click()
        page.keyboard.press("j")
        page.wait_for_selector(".detail-pane h2")
        page.go_back()
        page.locator(".items a").first.wait_for()
        for letters in ("a", "an"):
            page.get_by_label("Search texts").fill(letters)
            page.wait_for_url(f"**q={letters}")
        page.go_back()
        page.wait_for_url("**#/0/samples")


def test_a_search_waits_until_chinese_is_typed(
    browser: Browser, smoke_copy: Path, tmp_path: Path
) -> None:
    samples = rows(smoke_copy / "03-samples.jsonl")
    samples[3]["response"] = "\u5e26\u4e0a\u6307\u5357\u9488\u3002"
    lines = "".join(json.dumps(sample) + "\n" for sample in samples)
    (smoke_copy / "03-samples.jsonl").write_text(lines)
    out = tmp_path / "chinese.html"
    out.write_text(report_html([smoke_copy], on_notice=lambda line: None), "utf-8")
    with opened(browser, f"{out.as_uri()}#/0/samples") as page:
        page.wait_for_selector(".items li.chosen")
        page.keyboard.press("/")
        keyboard = page.context.new_cdp_session(page)
        typed = {"text": "zhi nan", "selectionStart": 7, "selectionEnd": 7}
        keyboard.send("Input.imeSetComposition", typed)
        page.wait_for_timeout(400)  # longer than the search waits for the next letter
        assert "q=" not in page.url
        keyboard.send("Input.insertText", {"text": "\u6307\u5357\u9488"})
        page.locator(".counter", has_text="1 of").wait_for()
        assert page.locator(".items li").get_attribute("data-id") == samples[3]["id"]


def test_a_record_is_printed_whole_and_alone(browser: Browser, file: str, smoke: Path) -> None:
    instruction = rows(smoke / "02-verifiers.jsonl")[0]["instruction"]["id"]
    with opened(browser, f"{file}#/0/instructions?id={instruction}") as page:
        page.wait_for_selector(".matrix")
        page.emulate_media(media="print")
        assert not page.locator(".list-pane").is_visible()
        detail = page.locator(".detail-pane")
        cut = "pane => pane.scrollHeight - pane.clientHeight"
        assert detail.evaluate(cut) == 0
        assert detail.bounding_box()["height"] > WIDE[1]


def test_names_of_the_language_are_no_names_of_the_page(
    browser: Browser, smoke_copy: Path, tmp_path: Path
) -> None:
    drops = rows(smoke_copy / "03-samples.dropped.jsonl")
    for drop, name in zip(drops, ("constructor", "toString", "__proto__"), strict=False):
        drop["reason"] = drop["stage"] = name
    lines = "".join(json.dumps(drop) + "\n" for drop in drops)
    (smoke_copy / "03-samples.dropped.jsonl").write_text(lines)
    out = tmp_path / "names.html"
    out.write_text(report_html([smoke_copy], on_notice=lambda line: None), "utf-8")
    with opened(browser, out.as_uri()) as page:
        for name in ("constructor", "toString", "__proto__"):
            page.evaluate(f"location.hash = '#/0/drops?eq.stage={name}&eq.reason={name}'")
            page.locator(".detail-pane h2", has_text=name).wait_for()
            assert "native code" not in page.content()
            assert "[object" not in page.content()
        page.evaluate("location.hash = '#/0/constructor'")
        page.get_by_role("heading", name="Where candidates were lost").wait_for()


def test_instructions_without_a_verifier_come_first_in_a_large_run(
    browser: Browser, smoke_copy: Path
) -> None:
    verifier = rows(smoke_copy / "02-verifiers.jsonl")[0]
    samples = rows(smoke_copy / "03-samples.jsonl")
    sample = next(s for s in samples if s["verifiers"] == [verifier["id"]])
    more: dict[str, list[dict[str, Any]]] = {"01-instructions": [], "02-verifiers": []}
    more["03-samples"] = []
    for n in range(201):  # more than an answer of `autoif view` holds
        own = f"{n:016x}"
        instruction = verifier["instruction"] | {"id": own, "text": f"Write {n} words."}
        more["01-instructions"].append(instruction)
        more["02-verifiers"].append(verifier | {"id": own, "instruction": instruction})
        more["03-samples"].append(sample | {"id": own, "verifiers": [own]})
    for name, added in more.items():
        with (smoke_copy / f"{name}.jsonl").open("a") as out:
            out.writelines(json.dumps(row) + "\n" for row in added)
    with view(smoke_copy) as address, opened(browser, address) as page:
        page.get_by_role("link", name="Instructions 2").wait_for()
        table = page.locator("table.instructions tbody tr")
        fates = table.locator(".fate").all_inner_texts()
        assert fates[0].startswith("✗")
        assert fates == sorted(fates, key=lambda fate: fate == "✓ verified")
        assert fates[-1] == "✓ verified"


def test_a_viewer_that_has_ended_is_named(browser: Browser, smoke: Path) -> None:
    page = browser.new_page()
    with view(smoke) as address:
        page.goto(address)
        page.get_by_role("link", name="Samples").wait_for()
    page.get_by_role("link", name="Samples").click()
    page.get_by_role("alert").filter(has_text="`autoif view` does not answer").wait_for()
    page.close()


def test_a_pair_stands_side_by_side_with_what_differs(browser: Browser, file: str) -> None:
    with opened(browser, f"{file}#/0/pairs") as page:
        page.wait_for_selector(".sides")
        chosen, rejected = page.locator(".side").all()
        assert chosen.bounding_box()["x"] < rejected.bounding_box()["x"]
        assert page.locator(".side mark").count() >= 1


def test_an_instruction_shows_functions_and_cases(browser: Browser, file: str, smoke: Path) -> None:
    verifier = rows(smoke / "02-verifiers.jsonl")[0]
    where = f"{file}#/0/instructions?id={verifier['instruction']['id']}"
    with opened(browser, where) as page:
        page.wait_for_selector(".matrix")
        assert page.locator(".matrix tbody tr").count() == len(verifier["cases"])
        columns = len(verifier["checks"])
        assert page.locator(".matrix thead th").count() == 3 + columns
        assert verifier["back_translations"][0] in page.locator(".detail-pane").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_is_wider_than_the_window(
    browser: Browser, file: str, size: tuple[int, int], scheme: str
) -> None:
    with opened(browser, file, size, scheme) as page:
        for place in ("overview", "samples", "instructions", "pairs", "drops"):
            page.evaluate(f"location.hash = '#/0/{place}'")
            page.wait_for_selector(".page, .items li")
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], place


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, file: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(browser, file, WIDE, scheme) as page:
        for place in ("overview", "samples", "instructions", "pairs", "drops"):
            page.evaluate(f"location.hash = '#/0/{place}'")
            page.wait_for_selector(".page, .detail-pane h2")
            found = axe.run(page).response["violations"]
            serious = [v for v in found if v["impact"] in ("serious", "critical")]
            assert not serious, json.dumps(serious, indent=1)[:2000]


def test_hostile_texts_are_shown_and_do_nothing(
    browser: Browser, smoke_copy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "attacked <b>.html"
    out.write_text(report_html([attacked(smoke_copy)], on_notice=lambda line: None), "utf-8")
    with opened(browser, out.as_uri()) as page:
        for place in ("samples", "pairs", "drops", "instructions"):
            page.evaluate(f"location.hash = '#/0/{place}'")
            page.wait_for_selector(".detail-pane h2")
            for _ in range(21):  # each of the corpus comes first in some record
                page.keyboard.press("j")
            assert page.locator("#main script, #main img, #main iframe, #main style").count() == 0
            links = page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
            assert all(link.startswith("#") for link in links)
        page.evaluate("location.hash = '#/0/samples?q=window.pwned'")
        page.wait_for_selector(".detail-pane h2")
        assert "window.pwned" in page.locator(".detail-pane").inner_text()
        page.evaluate("location.hash = '#/0/samples?q=evil'")
        page.wait_for_selector(".items .unseen-character")
        assert "U+202E" in page.locator("#main").inner_text()


def test_marks_survive_a_reload_and_the_judge_is_hidden_until_then(
    browser: Browser, smoke_copy: Path
) -> None:
    with view(smoke_copy) as address, opened(browser, address) as page:
        page.get_by_role("link", name="Review").click()
        page.get_by_label("Your name").fill("Ann")
        page.get_by_label("samples").fill("5")
        page.get_by_role("button", name="Begin").click()
        page.wait_for_selector(".questions")
        assert "judge" not in page.locator("#main").inner_text().lower()
        page.keyboard.press("y")
        page.keyboard.press("a")
        page.keyboard.press("a")
        page.keyboard.press("n")
        page.keyboard.type("answers too little")
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        page.get_by_text("What the run says of it").wait_for()
        assert "judge" in page.locator("#main").inner_text().lower()
        page.keyboard.press("Enter")  # marks nothing a second time
        page.get_by_role("heading", name="Sample 2 of 5").wait_for()
        page.reload()
        page.get_by_text("1 marked by Ann").wait_for()
        page.get_by_role("heading", name="Sample 2 of 5").wait_for()
        page.keyboard.press("k")
        page.get_by_role("heading", name="Sample 1 of 5").wait_for()
        assert page.locator("textarea").input_value() == "answers too little"
    with view(smoke_copy) as address, opened(browser, address) as page:  # at another port
        page.get_by_role("link", name="Review").click()
        page.get_by_label("Your name").wait_for()
        assert page.locator("datalist option").get_attribute("value") == "Ann"
    (marked,) = rows(smoke_copy / "review.jsonl")
    assert (marked["follows"], marked["answers"], marked["sensible"]) == (True, True, True)
    assert marked["reviewer"] == "Ann"


def test_a_run_at_work_shows_what_is_new(browser: Browser, smoke_copy: Path) -> None:
    file = smoke_copy / "03-samples.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:10]))
    manifest = smoke_copy / "manifest.json"
    report = json.loads(manifest.read_text()) | {"state": "running"}
    shutil.rmtree(smoke_copy / "parts")
    (smoke_copy / "progress.json").write_text(json.dumps(report))
    with view(smoke_copy) as address, opened(browser, address) as page:
        page.get_by_text("At work").wait_for()
        page.get_by_role("link", name="Samples 10").wait_for()
        with file.open("ab") as out:
            out.writelines(lines[10:14])
        page.get_by_role("link", name="Samples 14").wait_for()
        manifest.write_text(json.dumps(report | {"state": "done"}))
        (smoke_copy / "progress.json").unlink()
        page.locator(".state.done").wait_for()
