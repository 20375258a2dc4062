"""Twenty people at once for five minutes: nobody sees an error or another's photograph, and memory stays flat."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from dashboard.serving import Server, serving
from dashboard.words.changes import changes_caption
from dashboard.words.position import row_caption
from dashboards import dual, save, scale
from playwright.async_api import Browser, Page, TimeoutError, async_playwright

from analysis.checkpoints import open_checkpoint
from analysis.datasets import Sample, open_dataset, shapes
from analysis.evaluation import compare_predictions
from analysis.models import ScaleAttention
from analysis.studies.object_scale.maps import see_maps
from analysis.views import View, view

SESSIONS, SECONDS, WARM = 20, 300, 90
PATIENCE = 120_000  # milliseconds; all twenty share two cores with the browser
DONE = "[data-testid=stApp][data-test-script-state=notRunning]"


@dataclass
class Session:
    """One browser session with a photograph of its own; what it waited for, in seconds."""

    number: int
    seen: View
    forced: dict[str, str]  # captions by choice of weights, as computed here
    waits: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def looks(self) -> bool:
        """Three of four look at position attention, the others force scale weights."""
        return self.number % 4 != 0

    @property
    def image(self) -> str:
        return f"val-{self.number:05d}"

    def expected(self, y: int, x: int) -> str:
        """The caption of the row at a pixel, as computed here and not by the server."""
        row = self.seen.row((y, x))
        return row_caption(self.seen, row, (y, x), 1, open_dataset("shapes", "val").classes, "row")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("soak")
    save(dual(), home / "runs" / "one", steps=(0, 4))
    save(scale(), home / "runs" / "two")
    yield home


def captions(model: ScaleAttention, sample: Sample) -> dict[str, str]:
    """What the page must say of this photograph with other scale weights."""
    trained, maps = view(model, sample.image).prediction, see_maps(model, sample.image)
    found = {}
    for name, weights in {"uniform": (1, 1, 1), "1.0x branch only": (1, 0, 0), "0.5x branch only": (0, 0, 1)}.items():
        given = (torch.tensor(weights) / sum(weights)).view(-1, 1, 1).expand_as(maps.weights)
        predictions = {"as trained": trained, name: maps.prediction(maps.fused(given))}
        rows = compare_predictions(predictions, sample.label, shapes.CLASSES)
        found[name] = changes_caption(rows, predictions)
    return found


async def click_and_compare(page: Page, session: Session) -> None:
    """A click on the photograph must give the row of this session's photograph at that pixel."""
    photo = page.locator(".photo-picker")
    await photo.scroll_into_view_if_needed()
    box = await photo.bounding_box()
    assert box is not None
    y, x = random.Random(time.time()).randrange(256), random.Random(time.time_ns()).randrange(256)
    begun = time.monotonic()
    await page.mouse.click(box["x"] + (x + 0.5) / 256 * box["width"], box["y"] + (y + 0.5) / 256 * box["height"])
    found = re.findall(r"\d+", await page.locator("output").first.inner_text())
    expected = session.expected(int(found[0]), int(found[1]))
    await expect_text(page, session, expected)
    session.waits.append(time.monotonic() - begun)


async def expect_text(page: Page, session: Session, expected: str) -> None:
    try:
        await page.get_by_text(expected, exact=True).first.wait_for(timeout=PATIENCE)
    except TimeoutError:
        session.wrong.append(f"{session.image}: no {expected!r}")


async def force_weights(page: Page, session: Session) -> None:
    """Another choice of weights must come with this session's photograph."""
    name = random.choice(sorted(session.forced))
    begun = time.monotonic()
    await page.get_by_text(name, exact=True).first.click()
    await expect_text(page, session, session.forced[name])
    session.waits.append(time.monotonic() - begun)


async def enter(browser: Browser, url: str, session: Session) -> Page:
    """A browser session of its own, on its page with its photograph."""
    # No animations: twenty pages that draw a running man take the processor from the server.
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    where = "position?checkpoint=runs/one" if session.looks else "scale-weights?checkpoint=runs/two"
    await page.goto(f"{url}/{where}&data=shapes&split=val&image={session.image}")
    await page.locator(".photo-picker").first.wait_for()
    await page.wait_for_selector(DONE)
    return page


async def live(page: Page, session: Session, until: float) -> None:
    """Click, look at what comes, think for half a second, until the time is over."""
    while time.monotonic() < until:
        await (click_and_compare if session.looks else force_weights)(page, session)
        for bad in ("stException", "stAlertContentError"):
            if await page.get_by_test_id(bad).count():
                session.wrong.append(f"{session.image}: {await page.get_by_test_id(bad).first.inner_text()}")
        await page.wait_for_timeout(500)


def resident(pid: int) -> float:
    """Memory that a process holds, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


async def memory(pid: int, begun: float) -> list[tuple[float, float]]:
    """Seconds and MiB, every five seconds."""
    found = []
    while time.monotonic() < begun + SECONDS:
        found.append((time.monotonic() - begun, resident(pid)))
        await asyncio.sleep(5)
    return found


async def soak(server: Server, sessions: list[Session], chromium: str) -> list[tuple[float, float]]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        pages = [await enter(browser, server.url, session) for session in sessions]
        begun = time.monotonic()
        watched = asyncio.create_task(memory(server.pid, begun))
        pairs = zip(pages, sessions, strict=True)
        await asyncio.gather(*(live(page, session, begun + SECONDS) for page, session in pairs))
        await browser.close()
        return await watched


@pytest.mark.slow
def test_twenty_sessions_for_five_minutes(folder: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the path: twenty sessions were not tried")
    dataset = open_dataset("shapes", "val")
    model = open_checkpoint(folder / "runs" / "one").model
    other = open_checkpoint(folder / "runs" / "two").model
    assert isinstance(other, ScaleAttention)
    sessions = [Session(i, view(model, dataset[i].image), captions(other, dataset[i])) for i in range(SESSIONS)]
    with serving(folder) as server:
        found = asyncio.run(soak(server, sessions, chromium))
    waits = np.array([wait for session in sessions for wait in session.waits])
    wrong = [text for session in sessions for text in session.wrong]
    warm = np.array([mib for seconds, mib in found if WARM <= seconds < WARM + 60])
    end = np.array([mib for seconds, mib in found if seconds >= SECONDS - 60])
    print(f"\n{len(waits)} clicks: median {np.median(waits):.2f} s, 95th percentile {np.percentile(waits, 95):.2f} s")
    print(f"memory {warm.mean():.0f} MiB after {WARM} s, {end.mean():.0f} MiB at the end")
    assert not wrong, "\n".join(wrong[:5])
    assert len(waits) > SESSIONS and end.mean() < 1.1 * warm.mean()
