"""One way to change the resolution of a map: bilinear, with corners aligned or not, always said."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def resize(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """``[B, C, H, W]`` to ``[B, C, *size]``; the same tensor where the size is right already."""
    size = (int(size[0]), int(size[1]))
    if x.shape[-2:] == size:
        return x
    return functional.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def scaled_size(size: Sequence[int], scale: float, align_corners: bool) -> tuple[int, int]:
    """Height and width of an image resized by ``scale``.

    With corners aligned a side n becomes (n - 1) * scale + 1, so 321 gives 241 and 161 for 0.75 and 0.5 (Chen et
    al.'s Caffe net); otherwise n * scale, and never less than a pixel.
    """
    corner = 1 if align_corners else 0
    height, width = (max(1, round((n - corner) * scale) + corner) for n in size)
    return height, width
