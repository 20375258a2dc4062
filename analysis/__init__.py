"""See and test what attention does inside segmentation networks.

    from analysis import capture, intervene, open_checkpoint, open_module

    checkpoint = open_checkpoint("data/demo/camvid-scale")
    with capture(checkpoint.model, "scale.weights") as taps:
        predict(checkpoint.model, image)
    taps["scale.weights"]                                   # [1, S, h, w]

Nothing heavy is imported here: a name is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.checkpoints import open_checkpoint
    from analysis.modules import open_module
    from analysis.taps import capture, intervene

__all__ = ["capture", "intervene", "open_checkpoint", "open_module"]

_HOMES = {
    "capture": "analysis.taps",
    "intervene": "analysis.taps",
    "open_checkpoint": "analysis.checkpoints",
    "open_module": "analysis.modules",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
