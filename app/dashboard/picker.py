"""Clicking a pixel: analysis/figures/click.js as an inline Streamlit component."""

from __future__ import annotations

import base64
from importlib.resources import files
from io import BytesIO

import numpy as np
import streamlit as st
from PIL import Image

from dashboard.photographs import Photograph

SHOWN = 1280  # pixels; the longer side of the photograph that is sent to the browser

_MOUNT = """
const pickers = new WeakMap();
export default function ({ data, parentElement, setStateValue }) {
  if (!pickers.has(parentElement)) pickers.set(parentElement, mountPicker(parentElement));
  const picker = pickers.get(parentElement);
  picker.show(data, (pixel) => setStateValue("pixel", pixel));
  return () => {
    picker.destroy();
    pickers.delete(parentElement);
  };
}
"""
_JS = files("analysis.figures").joinpath("click.js").read_text("utf-8") + _MOUNT
_component = st.components.v2.component("attention_pixel_picker", js=_JS)


def pick_pixel(photo: Photograph, start: tuple[int, int], step: int, key: str) -> tuple[int, int]:
    """Show a photograph and return its picked pixel (y, x), at first ``start``.

    An arrow key moves it by ``step`` pixels, with shift by one. The component keeps the pixel: what is sent to the
    browser stays the same from click to click.
    """
    height, width = photo.image.shape[:2]
    key = f"{key} {photo.digest}"
    begun = st.session_state.setdefault(f"start of {key}", start)
    data = {
        "image": _url(photo.digest, photo.image),
        "height": height,
        "width": width,
        "pixel": begun,
        "step": step,
        "label": _LABEL,
    }
    picked = _component(key=key, data=data, on_pixel_change=lambda: None).pixel
    return picked if (picked := _inside(picked, height, width)) else begun


_LABEL = "Photograph: click a pixel, or move the picked one with the arrow keys, with shift by one pixel"


def _inside(picked: object, height: int, width: int) -> tuple[int, int] | None:
    """What the browser sent, if it is a pixel of the photograph."""
    if not (isinstance(picked, list) and len(picked) == 2 and all(isinstance(n, int) for n in picked)):
        return None
    y, x = picked
    return (y, x) if 0 <= y < height and 0 <= x < width else None


@st.cache_data(max_entries=32, show_spinner=False)
def _url(digest: str, _image: np.ndarray) -> str:
    shown = Image.fromarray(_image)
    shown.thumbnail((SHOWN, SHOWN))
    stream = BytesIO()
    shown.save(stream, "JPEG", quality=92)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
