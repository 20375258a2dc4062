"""Long lists of classes, kept as text: ``classes/NAME.txt`` holds a class a line, in the order of class numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_LINE = re.compile(r"(\d+) (\d+) (\d+) (\d+) (.+?)( \*)?")


@dataclass(frozen=True, eq=False)
class ClassTable:
    """K classes: ``values[k]`` is what the data set's files say for class k; ``palette`` uint8 ``[K, 3]`` RGB."""

    values: tuple[int, ...]
    names: tuple[str, ...]
    things: frozenset[int]
    palette: np.ndarray


def read_table(name: str) -> ClassTable:
    """The table of data set ``name``: lines of value, red, green, blue, name, and a * after the name of a thing."""
    text = (Path(__file__).parent / "classes" / f"{name}.txt").read_text(encoding="utf-8")
    rows = [row.groups() for row in map(_LINE.fullmatch, text.splitlines()) if row]
    return ClassTable(
        values=tuple(int(row[0]) for row in rows),
        names=tuple(row[4] for row in rows),
        things=frozenset(k for k, row in enumerate(rows) if row[5]),
        palette=np.array([row[1:4] for row in rows]).astype(np.uint8),
    )
