"""The running dashboard in Chromium: a click, the keyboard, a copied address, a download."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboard.serving import serving
from dashboards import dual, save, scale
from playwright.sync_api import Browser, Page, expect, sync_playwright

from analysis.datasets import open_dataset

PATIENCE = 60_000  # milliseconds
expect.set_options(timeout=PATIENCE)
ROW = "[data-testid=stImage] img[alt^='attention row:']"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("dashboard")
    save(dual(), folder / "runs" / "one", steps=(0, 4))
    save(scale(), folder / "runs" / "two")
    with serving(folder) as server:
        yield server.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the path: the dashboard was not tested in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def visit(browser: Browser, url: str, drawn: str = ROW) -> Page:
    """A new session at an address, once its attention row, or what else is waited for, is drawn."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.locator(drawn).first.wait_for()
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
    page = visit(browser, f"{url}/position")
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
    page = visit(browser, f"{url}/position?pixel=100,100")
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


def test_a_drag_picks_a_box_and_its_address_shows_it_again(browser: Browser, url: str) -> None:
    page = visit(browser, f"{url}/position")
    before, photo = row(page), page.locator(".photo-picker")
    photo.scroll_into_view_if_needed()
    box = photo.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"], steps=5)
    page.mouse.up()
    expect(page.locator("output")).to_have_text(re.compile(r"rows 6\d to 12\d, columns 6\d to 19\d"))
    expect(page.locator(ROW)).not_to_have_attribute("src", before)
    page.wait_for_url(re.compile("box=6"))
    again = visit(browser, page.url)
    expect(again.locator("output")).to_have_text(page.locator("output").inner_text())
    assert row(again) == row(page)
    click(page, 0.5, 0.5)
    expect(page.locator("output")).to_have_text(re.compile("row 12"))
    expect(page).not_to_have_url(re.compile("box="))


def test_objects_light_up_are_picked_and_selected_in_the_scatter(browser: Browser, url: str) -> None:
    dataset = open_dataset("shapes", "val")
    name = max(dataset.items[:40], key=lambda item: len(dataset[dataset.index(item.name)].objects)).name
    where = f"scale-weights?checkpoint=runs/two&data=shapes&split=val&image={name}"
    page = visit(browser, f"{url}/{where}", "[data-testid=stVegaLiteChart]")
    photo, tip = page.locator(".photo-picker"), page.locator(".photo-picker .tip")
    photo.scroll_into_view_if_needed()
    picked = page.locator("output").inner_text()
    y, x = map(int, re.findall(r"\d+", picked))
    box = photo.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + (x + 0.5) / 256 * box["width"], box["y"] + (y + 0.5) / 256 * box["height"])
    expect(tip).to_be_visible()
    expect(tip).to_have_text(re.compile(r"pixels.*1\.0x branch: weight 0\.\d\d, Shapley", re.DOTALL))
    page.mouse.move(box["x"] + 1, box["y"] + 1)
    page.mouse.click(box["x"] + 1, box["y"] + 1)
    expect(page.locator("output")).to_have_text(re.compile("row 0|row 1"))
    expect(page).not_to_have_url(re.compile("object="))
    chart = page.locator("[data-testid=stVegaLiteChart]")
    chart.scroll_into_view_if_needed()
    area = chart.bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + 0.3 * area["width"], area["y"] + 20)
    page.mouse.down()
    page.mouse.move(area["x"] + 0.98 * area["width"], area["y"] + 0.7 * area["height"], steps=5)
    page.mouse.up()
    page.get_by_text(re.compile(r"\d+ objects selected, by area")).wait_for()


def test_a_clicked_point_moves_the_mark_to_its_object(browser: Browser, url: str) -> None:
    dataset = open_dataset("shapes", "val")
    where = f"scale-weights?checkpoint=runs/two&data=shapes&split=val&image={dataset.items[0].name}"
    point = "[data-testid=stVegaLiteChart] path[aria-label*='object: 1']"  # not that of the legend
    page = visit(browser, f"{url}/{where}", point)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.locator(".photo-picker").scroll_into_view_if_needed()
    click(page, 0.002, 0.002)
    expect(page).not_to_have_url(re.compile("object="))
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.wait_for_timeout(1000)  # the chart is drawn anew, and its old points vanish
    mark = page.locator(point).last
    mark.scroll_into_view_if_needed()
    place = mark.bounding_box()
    assert place is not None
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    expect(page).to_have_url(re.compile("object=1(&|$)"))
    expect(page.get_by_text(re.compile("^Object 1:"))).to_be_visible()
    expect(page.locator("output")).to_have_count(1)
    y, x = map(int, re.findall(r"\d+", page.locator("output").inner_text()))
    assert dataset[0].objects.map[y, x] == 1


def test_forced_weights_are_in_the_address(browser: Browser, url: str) -> None:
    page = visit(browser, f"{url}/scale-weights?checkpoint=runs/two", "text=Other weights")
    page.get_by_role("radio", name="0.5x branch only").or_(page.get_by_role("button", name="0.5x branch only")).click()
    page.get_by_text("0.5x branch only").nth(1).wait_for()
    expect(page).to_have_url(re.compile(r"weights=0\.5x\+branch\+only"))


def downloaded(page: Page, column: int, kinds: tuple[str, ...], folder: Path) -> dict[str, bytes]:
    """What the menu of a column of the page gives: names of files, and how they begin."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.get_by_test_id("stColumn").nth(column).get_by_role("button", name="Download").click()
    saved = {}
    for kind in kinds:
        with page.expect_download() as download:
            page.get_by_role("button", name=kind, exact=True).click()
        file = folder / download.value.suggested_filename
        download.value.save_as(file)
        saved[file.name] = file.read_bytes()[:200]
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="PNG", exact=True)).to_have_count(0)
    return saved


def test_a_figure_and_its_numbers_are_downloaded(browser: Browser, url: str, tmp_path: Path) -> None:
    page = visit(browser, f"{url}/position")
    expect(page.get_by_role("button", name="Download")).to_have_count(2)
    figures = downloaded(page, 1, ("PNG", "SVG", "PDF"), tmp_path)
    starts = {"attention-row.png": b"\x89PNG", "attention-row.svg": b"<?xml", "attention-row.pdf": b"%PDF-"}
    assert set(figures) == set(starts) and all(figures[name].startswith(start) for name, start in starts.items())
    numbers = downloaded(page, 0, ("CSV",), tmp_path)
    assert numbers["attention-row-by-class.csv"].startswith(b"# runs/one/checkpoints/step_000004.safetensors")
