"""Screenshots of every page, light and dark, from the running dashboard: ``python app/screenshots.py``.

Started in the project's folder; needs Chromium on the path. What has no checkpoint there is left out, and said.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from urllib.parse import urlencode

from dashboard.serving import serving
from playwright.sync_api import Browser, Page, sync_playwright

CHINA = {"photo": "china"}  # scikit-learn's; photographs of CamVid are not to be copied into the project
STEPS = {"against": "data/demo/shapes-dual", "against_step": "step_000128"}
#: Name, page, checkpoint and further parameters.
SHOTS = (
    ("look-camvid-scale", "", "data/demo/camvid-scale", CHINA),
    ("look-camvid-dual", "", "data/demo/camvid-dual", CHINA),
    ("scale-weights-camvid", "scale-weights", "data/demo/camvid-scale", {**CHINA, "weights": "0.5x branch only"}),
    ("scale-weights-shapes", "scale-weights", "data/demo/shapes-scale", {}),
    ("position-camvid", "position", "data/demo/camvid-dual", {**CHINA, "pixel": "60,500"}),
    ("position-shapes", "position", "data/demo/shapes-dual", {"see": "column", "removed": "yes"}),
    ("channels-camvid", "channels", "data/demo/camvid-dual", {**CHINA, "group": "0"}),
    ("no-channels-in-a-scale-model", "channels", "data/demo/camvid-scale", CHINA),
    ("claims", "claims", "data/demo/shapes-dual", {}),
    ("gates-shapes-dual", "gates", "data/demo/shapes-dual", {"along": "yes"}),
    ("gates-of-a-scale-model", "gates", "data/demo/shapes-scale", {}),
    ("attribution-shapes-dual", "attribution", "data/demo/shapes-dual", {"tests": "curves,randomised"}),
    ("attribution-camvid", "attribution", "data/demo/camvid-scale", CHINA),
    ("compare-forms-camvid", "compare", "data/demo/camvid-dual", {**CHINA, "pixel": "60,500"}),
    ("compare-steps-shapes", "compare", "data/demo/shapes-dual", STEPS),
    ("checkpoint-camvid-scale", "checkpoint", "data/demo/camvid-scale", {}),
    ("checkpoint-shapes-dual", "checkpoint", "data/demo/shapes-dual", {}),
    ("no-such-checkpoint", "", "data/demo/camvid-scael", {}),
)


_DRAWN = """
!document.querySelector("[data-testid=stSkeleton]") && [...document.images].every((image) => image.complete)
"""


def main() -> int:
    """Take every shot in every width and theme; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    parser.add_argument("--width", type=int, nargs="+", default=[1280], help="of the window, in pixels")
    parser.add_argument("--only", nargs="+", default=[shot[0] for shot in SHOTS], help="names of shots")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("screenshots: no chromium on the path; install it (apt-get install chromium)", file=sys.stderr)
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    with serving(Path.cwd()) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            take(browser, server.url, arguments.out, arguments.width, arguments.only)
        finally:
            browser.close()
    return 0


def take(browser: Browser, url: str, out: Path, widths: list[int], names: list[str]) -> None:
    """Write NAME-THEME-WIDTH.png for every shot that is asked for."""
    for name, path, checkpoint, more in SHOTS:
        if name not in names:
            continue
        if not Path(checkpoint).exists() and not name.startswith("no-such"):
            print(f"left out: {name} (no {checkpoint})")
            continue
        for theme in ("light", "dark"):
            for width in widths:
                file = out / f"{name}-{theme}-{width}.png"
                page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)
                page.goto(f"{url}/{path}?{urlencode({'checkpoint': checkpoint, **more})}")
                settle(page)
                page.screenshot(path=file)
                page.close()
                print(file)


def settle(page: Page) -> None:
    """Wait until the page has run and its pictures are there, and make the window as high as the page."""
    page.wait_for_selector("[data-testid=stAppViewContainer]")
    done = "[data-testid=stApp][data-test-script-state=notRunning]"
    page.wait_for_selector(f"{done} :is([data-testid=stAlert], [data-testid=stExpander], hr)", timeout=120_000)
    page.wait_for_function(_DRAWN)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": max(800, height)})  # ty: ignore
    page.wait_for_timeout(500)  # pictures are laid out anew


if __name__ == "__main__":
    sys.exit(main())
