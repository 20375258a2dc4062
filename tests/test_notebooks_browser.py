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
from playwright.sync_api import Locator, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
PATIENCE = 120_000
CELL = """
from analysis import open_checkpoint
from analysis.datasets import open_dataset
from analysis.widgets import {explorer}
{explorer}(open_checkpoint({checkpoint!r}), open_dataset("shapes", "val"))
"""
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
EXPLORERS = {"explore_scales": "shapes-scale", "explore_rows": "shapes-dual"}


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
    """A notebook with an explorer in each of its cells, both run."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; .ci/run installs it")
    folder = tmp_path_factory.mktemp("lab")
    demo = ROOT / "data" / "demo"
    sources = [CELL.format(explorer=one, checkpoint=str(demo / name)) for one, name in EXPLORERS.items()]
    nbformat.write(new_notebook(cells=[*map(new_code_cell, sources)], metadata=KERNEL), folder / "explorers.ipynb")
    with lab(folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(base_url=url, viewport={"width": 1400, "height": 2400})
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto("/lab/tree/explorers.ipynb")
        page.get_by_text("| Idle").wait_for()  # before, keys are not listened to
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
        for _ in EXPLORERS:
            page.keyboard.press("Shift+Enter")
        yield page
        browser.close()


@pytest.fixture
def scales(page: Page) -> Locator:
    return explorer(page, 0)


@pytest.fixture
def rows(page: Page) -> Locator:
    return explorer(page, 1)


def explorer(page: Page, cell: int) -> Locator:
    """What stands below a cell, once there is a picture."""
    output = page.locator(".jp-CodeCell").nth(cell).locator(".jp-OutputArea-output")
    picture(output).wait_for()
    return output


def picture(output: Locator, nth: int = 0) -> Locator:
    return output.locator("img.jupyter-widgets").nth(nth)


@contextmanager
def changing(picture: Locator) -> Generator[None]:
    """What is done inside makes it another picture."""
    before = picture.get_attribute("src") or ""
    assert before.startswith("blob:")
    yield
    expect(picture).not_to_have_attribute("src", before, timeout=PATIENCE)


def test_a_slider_moves_to_another_photograph(page: Page, scales: Locator) -> None:
    with changing(picture(scales)):
        scales.locator(".noUi-handle").focus()
        page.keyboard.press("ArrowRight")
    expect(scales.get_by_text("val-00001: prediction")).to_be_visible()


def test_other_weights_change_the_prediction(scales: Locator) -> None:
    with changing(picture(scales, 1)):
        scales.locator("select").select_option("0.5x branch only")
    expect(scales.get_by_text("0.5x branch only, mIoU")).to_be_visible()


def test_a_pixel_is_picked_by_click_and_by_key(page: Page, rows: Locator) -> None:
    photo = rows.locator(".photo-picker")
    box = photo.bounding_box()
    assert box is not None
    with changing(picture(rows)):
        photo.click(position={"x": box["width"] * (60 + 0.5) / 256, "y": box["height"] * (200 + 0.5) / 256})
    expect(rows.get_by_text("row 200, column 60, predicted")).to_be_visible()
    photo.focus()
    with changing(picture(rows)):
        page.keyboard.press("Shift+ArrowDown")
    expect(rows.get_by_text("row 201, column 60, predicted")).to_be_visible()
