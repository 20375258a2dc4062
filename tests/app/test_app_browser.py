"""The running dashboard in Chromium: a click, the keyboard, a copied address, a download."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboard.serving import serving
from dashboards import dual, save
from playwright.sync_api import Browser, Page, expect, sync_playwright

PATIENCE = 60_000  # milliseconds
expect.set_options(timeout=PATIENCE)
ROW = "[data-testid=stImage] img[alt^='attention row']"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("dashboard")
    save(dual(), folder / "runs" / "one", steps=(0, 4))
    with serving(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the path: the dashboard was not tested in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def visit(browser: Browser, url: str) -> Page:
    """A new session at an address, once its attention row is drawn."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.locator(ROW).wait_for()
    return page


def row(page: Page) -> str:
    """The address of the attention picture, made of a hash of its content."""
    return page.locator(ROW).get_attribute("src") or ""


def click(page: Page, y: float, x: float) -> None:
    """Click at a share of the photograph's height and width."""
    photo = page.locator(".photo-picker")
    photo.scroll_into_view_if_needed()
    box = photo.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def test_a_click_shows_another_row_and_its_address_shows_it_again(browser: Browser, url: str) -> None:
    page = visit(browser, url)
    outside = []
    page.on(
        "request", lambda asked: None if asked.url.startswith((url, "data:", "blob:")) else outside.append(asked.url)
    )
    expect(page.locator("output")).to_have_text("row 128, column 128")
    before = row(page)
    click(page, 0.25, 0.75)
    expect(page.locator(ROW)).not_to_have_attribute("src", before)
    picked = page.locator("output").inner_text()
    y, x = map(int, re.findall(r"\d+", picked))
    assert abs(y - 64) <= 1 and abs(x - 192) <= 1  # pixels of the photograph, not of the screen
    expect(page).to_have_url(re.compile(f"pixel={y}%2C{x}"))

    again = visit(browser, page.url)
    expect(again.locator("output")).to_have_text(picked)
    assert row(again) == row(page)
    assert not outside


def test_arrow_keys_move_the_pixel_and_back_undoes_it(browser: Browser, url: str) -> None:
    page = visit(browser, f"{url}/?pixel=100,100")
    before = row(page)
    page.locator(".photo-picker").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    expect(page.locator("output")).to_have_text("row 99, column 121")
    page.wait_for_url(re.compile("pixel=99%2C121"))
    expect(page.locator(ROW)).not_to_have_attribute("src", before)
    page.go_back()
    page.get_by_text("row 100, column 100").wait_for()
    expect(page.locator("output")).to_have_count(1)  # what the address shows no longer is gone
    expect(page.locator(ROW)).to_have_attribute("src", before)


def test_a_figure_is_downloaded(browser: Browser, url: str, tmp_path: Path) -> None:
    page = visit(browser, url)
    page.get_by_role("button", name="Download").first.click()
    for kind, start in (("PNG", b"\x89PNG"), ("PDF", b"%PDF-")):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind, exact=True).click()
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        assert file.name == f"attention-row.{kind.lower()}" and file.read_bytes().startswith(start)
