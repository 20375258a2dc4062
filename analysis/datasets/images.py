"""Reading photographs and index masks, with one clear line for whatever is wrong with a file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from analysis.errors import AnalysisError

IGNORED = 255
MAX_MEGAPIXELS = 100
#: What is decoded at all: an upload must not reach Pillow's rarer readers, one of which runs an outside program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# What Pillow raises for a file that is no image, cut off or damaged.
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, KeyError, IndexError, TypeError)


def read_image(source: Path | BinaryIO, name: str | None = None, formats: tuple[str, ...] = FORMATS) -> np.ndarray:
    """A photograph as uint8 ``[H, W, 3]`` RGB, turned upright by its EXIF orientation.

    ``source`` is a file or an open binary stream (an upload); ``name`` is what an error calls it. Only ``formats``, of
    :data:`FORMATS`, are decoded.
    AnalysisError: missing, no image, cut off, or over 100 megapixels (seen in the header, before decoding).
    """
    shown = name or str(getattr(source, "name", "the upload") if not isinstance(source, Path) else source)
    _require_file(source, shown, "image")
    try:
        with _open(source, shown, formats) as image:
            return np.array(_eight_bit_rgb(ImageOps.exif_transpose(image)))
    except _BROKEN as error:
        raise _unreadable(error, shown, "image") from None


def read_mask(
    path: Path,
    n_classes: int,
    size: tuple[int, int],
    void: tuple[int, ...] = (IGNORED,),
    values: Sequence[int] | None = None,
) -> np.ndarray:
    """An index mask as uint8 ``[H, W]``: class numbers below ``n_classes``, and 255 wherever it says ``void``.

    The mask is a PNG of mode L or P whose *stored values* are the classes, or stand for them: ``values[k]`` for class
    k. Palette colours are never looked at. ``size`` is the image's (H, W).
    AnalysisError: missing, damaged, colours, another size, an unknown value.
    """
    values = range(n_classes) if values is None else values
    stored = read_indices(path)
    if stored.shape != tuple(size):
        raise AnalysisError(
            f"{path}: the mask is {stored.shape[0]} x {stored.shape[1]} pixels (height x width) and its image "
            f"{size[0]} x {size[1]}; make the mask at the image's size"
        )
    present = np.flatnonzero(np.bincount(stored.ravel(), minlength=256))
    unknown = [int(value) for value in present if value not in values and value not in void]
    if unknown:
        raise AnalysisError(
            f"{path}: unknown label value {', '.join(map(str, unknown[:5]))}; known are {_shown(values)} "
            f"and {_shown(void)} for ignored pixels"
        )
    classes = np.full(256, IGNORED, np.uint8)
    classes[list(values)] = range(len(values))
    return classes[stored]


def _shown(values: Sequence[int]) -> str:
    """``"0 to 10"`` where the values are that, else each of them."""
    straight = len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1))
    return f"{values[0]} to {values[-1]}" if straight else ", ".join(map(str, values))


def read_indices(path: Path) -> np.ndarray:
    """The stored values of an index PNG, uint8 ``[H, W]``, unchecked. AnalysisError as for :func:`read_mask`."""
    return _stored(path, ("L", "P", "1"), np.uint8)


def read_ids(path: Path) -> np.ndarray:
    """The stored values of an index PNG of 8 or 16 bits, int32 ``[H, W]``. AnalysisError as for :func:`read_mask`."""
    return _stored(path, ("L", "P", "1", "I;16", "I"), np.int32)


def _stored(path: Path, modes: tuple[str, ...], dtype: type[np.generic]) -> np.ndarray:
    _require_file(path, str(path), "mask")
    try:
        with _open(path, str(path)) as image:
            if image.mode not in modes:
                raise AnalysisError(
                    f"{path}: a mask of mode {image.mode} holds colours; index masks are needed "
                    "(8-bit PNG, mode L or P, whose pixel value is the class number)"
                )
            step = _grey_step(image)
            return np.array(image).astype(dtype) // dtype(step)
    except _BROKEN as error:
        raise _unreadable(error, str(path), "mask") from None


def require_all(paths: Sequence[Path], what: str, advice: str) -> None:
    """AnalysisError that names the first missing file, how many more are missing, and what to do."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f", as are {len(missing) - 1} more of {len(paths)}" if len(missing) > 1 else ""
        raise AnalysisError(f"{missing[0]}: {what} missing{more}; {advice}")


def _require_file(source: Path | BinaryIO, shown: str, what: str) -> None:
    if isinstance(source, Path) and not source.is_file():
        raise AnalysisError(f"{shown}: no such {what} file; check the path")


def _unreadable(error: Exception, shown: str, what: str) -> AnalysisError:
    if isinstance(error, AnalysisError):
        return error
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return AnalysisError(f"{shown}: not a readable {what}, or cut off ({reason}); replace the file")


def _open(source: Path | BinaryIO, shown: str, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Open without decoding, and refuse by the header's size."""
    try:
        image = Image.open(source, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise AnalysisError(_too_large(shown, "far")) from None
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        image.close()
        raise AnalysisError(_too_large(shown, f"{megapixels:.0f} megapixels,"))
    return image


def _too_large(shown: str, size: str) -> str:
    return f"{shown}: {size} more than the {MAX_MEGAPIXELS} megapixels that are read; make the image smaller first"


def _eight_bit_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip at 255 instead of scaling
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    return image.convert("RGB")


def _grey_step(image: Image.Image) -> int:
    """Pillow stretches 2- and 4-bit grey to 0..255; this is the stretch, so that the stored value can be had back."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    rawmode = arguments if isinstance(arguments, str) else (arguments or ("",))[0]
    return {"L;2": 85, "L;4": 17}.get(str(rawmode), 1)
