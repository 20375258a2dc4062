"""The explorers in JupyterLab, in a real browser: a slider is moved, a pixel clicked, and the picture changes."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
PATIENCE = 120_000
CELL = """
from analysis import open_checkpoint
from analysis.datasets import open_dataset
from analysis.widgets import {explorer}
{explorer}(open_checkpoint({checkpoint!r}), open_dataset("shapes", "val"))
"""
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
PICTURE = ".jp-OutputArea img.jupyter-widgets"


@contextmanager
def lab(folder: Path) -> Generator[str]:
    """JupyterLab on 127.0.0.1 over ``folder``, with settings and state of its own; ended by its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": "",
        "LabApp.user_settings_dir": folder / "settings",
        "LabApp.workspaces_dir": folder / "workspaces",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", *(f"--{k}={v}" for k, v in options.items())]
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield _answering(f"http://127.0.0.1:{port}", server)
    finally:
        server.terminate()
        server.wait(timeout=30)
        log.close()


def _answering(url: str, server: subprocess.Popen[bytes]) -> str:
    for _ in range(120):
        assert server.poll() is None, "JupyterLab ended by itself"
        try:
            urlopen(f"{url}/api", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return url
    raise TimeoutError(f"JupyterLab did not answer at {url}")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; .ci/run installs it")
    folder = tmp_path_factory.mktemp("lab")
    for explorer, name in (("explore_scales", "shapes-scale"), ("explore_rows", "shapes-dual")):
        cell = new_code_cell(CELL.format(explorer=explorer, checkpoint=str(ROOT / "data" / "demo" / name)))
        nbformat.write(new_notebook(cells=[cell], metadata=KERNEL), folder / f"{explorer}.ipynb")
    with lab(folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(base_url=url, viewport={"width": 1400, "height": 1400})
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def run(page: Page, explorer: str) -> None:
    """Open the notebook and run its one cell."""
    page.goto(f"/lab/tree/{explorer}.ipynb")
    page.get_by_text("| Idle").wait_for()  # before, keys are not listened to
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Control+Enter")
    page.locator(PICTURE).first.wait_for()


def source(page: Page, nth: int = 0) -> str:
    return page.locator(PICTURE).nth(nth).get_attribute("src") or ""


def changed(page: Page, before: str, nth: int = 0) -> None:
    """Wait until a picture is another than before."""
    page.wait_for_function(
        "([selector, nth, before]) => document.querySelectorAll(selector)[nth]?.src !== before",
        arg=[PICTURE, nth, before],
    )


def test_a_slider_moves_to_another_photograph(page: Page) -> None:
    run(page, "explore_scales")
    before = source(page)
    slider = page.locator(".noUi-handle").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    changed(page, before)
    assert page.get_by_text("val-00001: prediction").is_visible()


def test_other_weights_change_the_prediction(page: Page) -> None:
    run(page, "explore_scales")
    before = source(page, 1)
    page.locator("select").last.select_option("0.5x branch only")
    changed(page, before, 1)
    assert page.get_by_text("0.5x branch only, mIoU").is_visible()


def test_a_clicked_pixel_shows_its_row(page: Page) -> None:
    run(page, "explore_rows")
    before = source(page)
    photo = page.locator(".photo-picker")
    box = photo.bounding_box()
    assert box is not None
    photo.click(position={"x": box["width"] * (60 + 0.5) / 256, "y": box["height"] * (200 + 0.5) / 256})
    changed(page, before)
    assert page.get_by_text("row 200, column 60, predicted").is_visible()


def test_arrow_keys_move_the_pixel(page: Page) -> None:
    run(page, "explore_rows")
    before = source(page)
    page.locator(".photo-picker").focus()
    page.keyboard.press("Shift+ArrowDown")
    changed(page, before)
    assert page.get_by_text("row 129, column 128, predicted").is_visible()
