"""Picking a pixel or a box of a picture: analysis/figures/click.js as an inline Streamlit component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from analysis.figures import click

_MOUNT = """
const pickers = new WeakMap();
export default function ({ data, parentElement, setStateValue }) {
  if (!pickers.has(parentElement)) pickers.set(parentElement, mountPicker(parentElement));
  const picker = pickers.get(parentElement);
  picker.show(data, (pixel, box) => setStateValue("picked", [pixel, box]));
  return () => {
    picker.destroy();
    pickers.delete(parentElement);
  };
}
"""
_component = st.components.v2.component("attention_pixel_picker", js=click.SCRIPT + _MOUNT)

Pixel = tuple[int, int]  # y, x
Box = tuple[int, int, int, int]  # top, left, bottom, right, ends included


@dataclass(frozen=True)
class Picked:
    """A pixel of a picture, or a box round it."""

    pixel: Pixel
    box: Box | None = None

    @classmethod
    def parse(cls, pixel: str, box: str, size: tuple[int, ...]) -> Picked:
        """What an address says, as far as it lies in a picture of ``size`` (H, W), else its centre."""
        y, x, *none = _numbers(pixel)
        region = _numbers(box)
        if len(region) == 4 and _is_box(region, size):
            return cls(((region[0] + region[2]) // 2, (region[1] + region[3]) // 2), (*region,))  # ty: ignore
        inside = not none and 0 <= y < size[0] and 0 <= x < size[1]
        return cls((y, x) if inside else (size[0] // 2, size[1] // 2))

    @property
    def text(self) -> tuple[str, str]:
        """Pixel and box as an address has them."""
        return ",".join(map(str, self.pixel)), ",".join(map(str, self.box or ()))


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions that light up: ``map`` int ``[H, W]``, 0 for none, and ``texts[number]``; ``key`` says which they are."""

    map: np.ndarray
    texts: Sequence[str]
    key: tuple[object, ...]


def pick(
    image: np.ndarray,
    start: Picked,
    key: str,
    label: str,
    *,
    digest: str,
    step: int = 1,
    drag: bool = False,
    regions: Regions | None = None,
) -> Picked:
    """Show a picture uint8 ``[H, W, 3]`` with SHA-256 ``digest``; returns what is picked, at first ``start``.

    An arrow key moves the pixel by ``step``, with shift by one; ``drag`` allows boxes. The component keeps what is
    picked: what is sent to the browser stays the same from click to click.
    """
    size, key = image.shape[:2], f"{key} {digest}"
    begun = st.session_state.setdefault(f"start of {key}", start)
    lit = None if regions is None else {"map": _regions(regions.key, regions.map), "texts": list(regions.texts)}
    data = click.shown(_url(digest, image), size, begun.pixel, label, box=begun.box, step=step, drag=drag, regions=lit)
    return _inside(_component(key=key, data=data, on_picked_change=lambda: None).picked, size) or begun


def _inside(sent: object, size: tuple[int, ...]) -> Picked | None:
    """What the browser sent, if it is a pixel of the picture and a box in it, or none."""
    if not isinstance(sent, list) or len(sent) != 2:
        return None
    pixel, box = sent
    if not _whole(pixel, 2) or not (0 <= pixel[0] < size[0] and 0 <= pixel[1] < size[1]):
        return None
    if box is None:
        return Picked((pixel[0], pixel[1]))
    return Picked((pixel[0], pixel[1]), (*box,)) if _whole(box, 4) and _is_box(box, size) else None


def _whole(value: object, n: int) -> bool:
    return isinstance(value, list) and len(value) == n and all(type(number) is int for number in value)


def _is_box(box: Sequence[int], size: tuple[int, ...]) -> bool:
    return 0 <= box[0] <= box[2] < size[0] and 0 <= box[1] <= box[3] < size[1]


def _numbers(text: str) -> list[int]:
    """Whole numbers between commas; two that lie in no picture where there is anything else."""
    parts = text[:40].split(",")
    return [int(part) for part in parts] if len(parts) > 1 and all(map(_is_digits, parts)) else [-1, -1]


def _is_digits(part: str) -> bool:
    return part.isascii() and part.isdigit()


@st.cache_data(max_entries=32, show_spinner=False)
def _url(digest: str, _image: np.ndarray) -> str:
    return click.photograph_url(_image)


@st.cache_data(max_entries=32, show_spinner=False)
def _regions(key: tuple[object, ...], _map: np.ndarray) -> str:
    return click.regions_url(_map)
