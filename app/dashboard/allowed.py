"""Which folders pages may read: no path that is typed, in a URL or behind a link leads out of them.

They are ``data``, ``runs`` and ``../shared`` of the folder in which the dashboard is started, or what the environment
variable ``ATTENTION_ANALYSIS_FOLDERS`` lists, divided as in ``PATH``.
"""

from __future__ import annotations

import os
from pathlib import Path

from analysis.datasets import parse_spec
from analysis.datasets.sample import Dataset
from analysis.errors import AnalysisError

VARIABLE = "ATTENTION_ANALYSIS_FOLDERS"
FOLDERS = ("data", "runs", "../shared")


def folders() -> tuple[str, ...]:
    """As they are configured."""
    return tuple(filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))) or FOLDERS


def is_inside(path: str | Path) -> bool:
    """Whether a path, links followed, lies in one of the folders."""
    try:
        return any(Path(path).resolve().is_relative_to(Path(folder).resolve()) for folder in folders())
    except (OSError, ValueError, RuntimeError):  # no path at all, or links in a circle
        return False


def inside(path: str | Path) -> Path:
    """The path. AnalysisError: it leads out of the folders."""
    if not is_inside(path):
        shown = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}..."
        raise AnalysisError(
            f"{shown} is not in a folder that this dashboard reads ({', '.join(folders())}); move it there, or start "
            f"the dashboard with {VARIABLE}=FOLDER{os.pathsep}FOLDER"
        )
    return Path(path)


def inside_spec(spec: str) -> str:
    """NAME[:PATH] of a data set. AnalysisError: no such data set, or it leads out of the folders."""
    path = parse_spec(spec)[1]
    if path is not None:
        inside(path)
    return spec


def inside_item(dataset: Dataset, name: str) -> None:
    """AnalysisError: no such image, or one whose files lead out of the folders."""
    item = dataset.items[dataset.index(name)]
    for file in (item.image, item.label, item.instances):
        if file is not None:
            inside(file)
