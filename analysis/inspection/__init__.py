"""What is in a checkpoint, whoever's it is, and what of it is understood.

    inspection = inspect("DANet101.pth.tar")
    print(inspection.text())
    json.dumps(inspection.to_dict())

Nothing of the file is run, and no more of it than its largest tensor is in memory at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from analysis.checkpoints import checkpoint_files
from analysis.checkpoints.layouts import Match, own, recognise
from analysis.download import sha256_of_file
from analysis.inspection.dead import DeadChannels, dead_anywhere, dead_in_head
from analysis.inspection.statistics import statistics
from analysis.inspection.tree import Entry, is_learned
from analysis.models import DualSpec
from analysis.reading import Stored, read_file

_GATES = {
    "alpha": "pam.gate",
    "beta": "cam.gate",
    "alpha_permuted": "pam.permuted_gate",
    "beta_permuted": "cam.permuted_gate",
}
_LONGEST = 100  # characters of a value beside the tensors that is worth repeating


@dataclass(frozen=True)
class Gate:
    """A learned gate. ``start`` is its value before training: pytorchcv's are made with 1, all others with 0."""

    symbol: str
    name: str
    value: float
    start: float


@dataclass(frozen=True, eq=False)
class Inspection:
    """What :func:`inspect` found.

    ``container`` and ``inside``: the kind of file, and where in it the tensors were. ``beside``: plain values beside
    them. ``match``: how they fit the best layout. ``tensors``: all of them, with their statistics. ``dead``: channels
    that their weights keep at 0, by convolution of DANet's two paths; ``dead_anywhere``: over all batch norms.
    """

    path: Path
    size: int
    sha256: str
    container: str
    inside: str
    beside: dict[str, Any]
    match: Match
    tensors: tuple[Entry, ...]
    gates: tuple[Gate, ...]
    dead: dict[str, DeadChannels]
    dead_anywhere: DeadChannels

    @property
    def channel_form(self) -> tuple[str, str] | None:
        """The form of channel attention, and how it is known; None for a model without."""
        spec = self.match.spec
        if not isinstance(spec, DualSpec) or not spec.channel:
            return None
        if self.match.layout == own.NAME:
            return spec.form, "stored in the file"
        if self.match.source == "this project":
            return spec.form, "our default; nothing in the file tells"
        return spec.form, "as in the layout's code; weights don't tell"

    def text(self) -> str:
        """For people: at most 120 columns, alike tensors folded into one line."""
        from analysis.inspection.text import as_text

        return as_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold, every tensor among them."""
        from analysis.inspection.plain import as_dict

        return as_dict(self)


def inspect(path: str | Path) -> Inspection:
    """Read, recognise and measure a checkpoint, or the last one of a run or demo directory.

    AnalysisError, in one line: there is none, or it is damaged or unsafe. A file of no known layout is no error.
    """
    file = checkpoint_files(path)[-1]
    stored = read_file(file)
    match = recognise(stored)
    return Inspection(
        file,
        file.stat().st_size,
        sha256_of_file(file),
        stored.container,
        stored.inside,
        dict(_plain(provenance(stored.metadata) or stored.metadata)),
        match,
        tuple(_measured(stored)),
        tuple(_gates(stored, match)),
        dead_in_head(stored.tensors, match.names),
        dead_anywhere(stored.tensors),
    )


def provenance(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What this project stored of a checkpoint's origin; empty for anyone else's."""
    try:
        return dict(json.loads(metadata["provenance"]))
    except (KeyError, RecursionError, TypeError, ValueError):
        return {}


def _measured(stored: Stored) -> Iterable[Entry]:
    total = sum(tensor.nbytes for tensor in stored.tensors.values())
    with tqdm(total=total, desc=stored.path.name, unit="B", unit_scale=True, leave=False, delay=1) as bar:
        for name, tensor in stored.tensors.items():
            yield _entry(name, tensor)
            bar.update(tensor.nbytes)


def _entry(name: str, tensor: Tensor) -> Entry:
    dtype = str(tensor.dtype).removeprefix("torch.")
    learned = tensor.numel() if is_learned(name) else 0
    return Entry(name, tuple(tensor.shape), dtype, statistics(tensor), learned, tensor.nbytes)


def _gates(stored: Stored, match: Match) -> Iterable[Gate]:
    start = 1.0 if match.layout == "pytorchcv" else 0.0
    for symbol, ours in _GATES.items():
        if ours in match.names:
            yield Gate(symbol, match.names[ours], stored.tensors[match.names[ours]].item(), start)


def _plain(metadata: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted name and value of what is a short plain value, at most two mappings deep."""
    for key, value in metadata.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and prefix.count(".") < 2:
            yield from _plain(value, f"{name}.")
        elif isinstance(value, bool | int | float | None) or (isinstance(value, str) and len(value) <= _LONGEST):
            yield name, value
