"""A tap: the identity, placed where a tensor worth seeing exists.

An ordinary forward hook on it reads or replaces the tensor; nothing is paid when nobody looks. Its name is that of
the table of taps (DESIGN 3), so it stays the same wherever in a model the tap sits.
"""

from __future__ import annotations

from torch import nn


class Tap(nn.Identity):
    """Identity submodule known to :mod:`analysis.taps` as ``name``, for example ``scale.weights``.

    What a model of this package does to a tensor after its tap is never in place, so a captured tap needs no copy.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def extra_repr(self) -> str:
        """The name, where a module is printed."""
        return self.name
