"""What a report was made from, and the sum of every file in it: ``manifest.json``.

The only file that holds a date, in its field ``date``: all others are the same bytes for the same inputs.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analysis.claims import Given
from analysis.download import sha256_of_file
from analysis.store import replacing
from analysis.studies.parts import files_of

NAME = "manifest.json"
SCHEMA = 1
PACKAGES = (
    *("attention-analysis", "torch", "torchvision", "timm", "captum", "numpy", "scipy", "scikit-learn"),
    *("scikit-image", "pandas", "pyarrow", "duckdb", "matplotlib", "jinja2"),
)


def versions() -> dict[str, str]:
    """Of Python and of every package that numbers or figures come from."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def described(given: Given) -> dict[str, Any]:
    """A checkpoint, how it was trained, and the images it was measured on, each with its sum."""
    origin = given.checkpoint.provenance
    trained = {key: origin.get(key) for key in ("recipe", "seed", "step")}
    files = json.dumps(files_of(given.dataset)).encode()
    measured = {
        "dataset": given.dataset.name,
        "split": given.dataset.split,
        "images": len(given.dataset),
        "blocks": len({item.block for item in given.dataset.items}),
        "sha256": hashlib.sha256(files).hexdigest(),
    }
    checkpoint = {"name": given.checkpoint.name, "file": str(given.checkpoint.path), "sha256": origin["sha256"]}
    return {**checkpoint, **trained, "measured_on": measured}


def write(
    out: Path, command: str, options: Mapping[str, Any], given: Sequence[Given], files: Mapping[str, str]
) -> None:
    """``manifest.json`` below ``out``. ``files``: of everything else that was written, with its sum."""
    content = {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "options": dict(options),
        "versions": versions(),
        "checkpoints": [described(one) for one in given],
        "files": dict(sorted(files.items())),
    }
    with replacing(out / NAME) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def remove_stale(out: Path, files: Mapping[str, str]) -> None:
    """Remove what an earlier report wrote below ``out`` and this one does not have: only files its manifest names."""
    try:
        before = json.loads((out / NAME).read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # no earlier report
    for file, sum_ in before.items():
        path = out / file
        inside = path.resolve().is_relative_to(out.resolve())
        if file not in files and inside and path.is_file() and sha256_of_file(path) == sum_:
            path.unlink()
