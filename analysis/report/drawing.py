"""Figures as papers print them: exact column widths, 8 pt, fonts embedded, and the same bytes for the same inputs.

    written = write(Picture("weight-by-size", weight_by_size, (rows,), COLUMN, "Mean weights ..."), out, kept)
    written.files                       figures/weight-by-size.pdf, .svg, .png and their sums

A figure is drawn again only where its inputs, or the code that draws, have changed since.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

import analysis.figures
from analysis.download import sha256_of_file
from analysis.store import replacing

COLUMN, PAGE = 3.25, 6.875  # inches: one column of a CVPR paper, and both
TEXT = 8.0  # points
FOLDER, MEASURED = "figures", "measured"
_DPI = 300
#: No date, no version: nothing that differs between two runs.
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
_STYLE: dict[Any, Any] = {
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.handlelength": 1.6,
    "pdf.fonttype": 42,  # TrueType: text stays text
    "svg.fonttype": "path",
    "svg.hashsalt": "attention-analysis",
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure to be written: ``draw(*arguments)``, ``width`` inches wide.

    ``height`` in inches, in proportion where left out. ``caption`` is plain text. ``table``: the numbers behind it.
    """

    name: str
    draw: Callable[..., Figure]
    arguments: tuple[Any, ...]
    width: float
    caption: str
    height: float | None = None
    table: pd.DataFrame | None = None

    def figure(self) -> Figure:
        """Drawn at its size, all text of 8 points."""
        with matplotlib.rc_context(_STYLE):
            figure = self.draw(*self.arguments)
            width, height = figure.get_size_inches()
            figure.set_size_inches(self.width, self.height or height * self.width / width)
            for text in figure.findobj(Text):
                text.set_fontsize(TEXT)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, so that all formats are alike
            return figure

    def key(self) -> str:
        """What the files depend on."""
        return digest(_code(), matplotlib.__version__, self.draw, self.arguments, self.width, self.height)


def write(picture: Picture, out: Path) -> dict[str, str]:
    """The files of a figure below ``out`` with their SHA-256 sums; kept where they are those of the same inputs."""
    note, key = out / MEASURED / "parts" / FOLDER / f"{picture.name}.json", picture.key()
    files = [f"{FOLDER}/{picture.name}.{kind}" for kind in _METADATA]
    if (kept := _kept(note, key, out)) is not None:
        return kept
    with matplotlib.rc_context(_STYLE):
        figure = picture.figure()
        for file, (kind, metadata) in zip(files, _METADATA.items(), strict=True):
            with replacing(out / file) as temporary:
                figure.savefig(temporary, format=kind, dpi=_DPI, metadata=metadata)
    sums = {file: sha256_of_file(out / file) for file in files}
    with replacing(note) as temporary:
        temporary.write_text(json.dumps({"key": key, "files": sums}), encoding="utf-8")
    return sums


def digest(*values: Any) -> str:
    """One sum of tables, arrays, and plain values, nested as they may be; the same in every process."""
    whole = hashlib.sha256()
    for value in values:
        whole.update(hashlib.sha256(_bytes(value)).digest())
    return whole.hexdigest()


def _bytes(value: Any) -> bytes:
    if isinstance(value, pd.DataFrame):
        return value.to_csv(index=False).encode()
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}".encode() + value.tobytes()
    if isinstance(value, Mapping):
        return digest(*(part for item in value.items() for part in item)).encode()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return digest(*value).encode()
    if inspect.isfunction(value):
        return f"{value.__module__}.{value.__qualname__}".encode()
    return repr(value).encode()


@cache
def _code() -> str:
    """Of what draws; all else that a figure follows from is in its arguments."""
    files = [Path(__file__), *sorted(Path(analysis.figures.__file__).parent.glob("*.py"))]
    return digest(*(file.read_text("utf-8") for file in files))


def _kept(note: Path, key: str, out: Path) -> dict[str, str] | None:
    """The sums of files that are as they were written from the same inputs."""
    try:
        known = json.loads(note.read_text("utf-8"))
        same = all(sha256_of_file(out / file) == sum_ for file, sum_ in known["files"].items())
    except (OSError, ValueError, KeyError):
        return None  # none, or one that something else left: drawn again
    return known["files"] if same and known["key"] == key else None
