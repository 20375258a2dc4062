"""The photograph to click in, for any front end: what ``click.js``, which lies beside this file, is given to show."""

from __future__ import annotations

import base64
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

SHOWN = 1280  # pixels; the longer side of the picture that is sent to the browser
#: Exports ``mountPicker(root)``.
SCRIPT = files("analysis.figures").joinpath("click.js").read_text("utf-8")


def photograph_url(image: np.ndarray) -> str:
    """A photograph uint8 ``[H, W, 3]`` as a data URL, made smaller where it is large."""
    shown = Image.fromarray(image)
    shown.thumbnail((SHOWN, SHOWN))
    return _data_url(shown, "JPEG", quality=92)


def regions_url(regions: np.ndarray) -> str:
    """Numbered regions int ``[H, W]``, 0 for none, as the red and green of a PNG."""
    colours = np.stack([regions % 256, regions // 256, np.zeros_like(regions)], axis=2).astype(np.uint8)
    return _data_url(Image.fromarray(colours), "PNG")


def shown(
    url: str,
    size: tuple[int, ...],
    pixel: tuple[int, int],
    label: str,
    *,
    box: tuple[int, int, int, int] | None = None,
    step: int = 1,
    drag: bool = False,
    regions: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What ``picker.show`` takes for a photograph of ``size`` (H, W); ``click.js`` explains every field."""
    keys = "or move the picked one with the arrow keys, with shift by one pixel"
    place = {"height": size[0], "width": size[1], "pixel": pixel, "box": box}
    return {"image": url, **place, "step": step, "drag": drag, "regions": regions, "label": f"{label}, {keys}"}


def _data_url(image: Image.Image, kind: str, **options: int) -> str:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
