"""Manifests: what every file of a data set must be.

One line a file, ``HOW  PATH``, where HOW is one of

* ``sha256:HEX``: the SHA-256 of the file's bytes;
* ``pixels:HEX``: the SHA-256 of an index PNG's decoded values, headed by ``HEIGHTxWIDTH``, whatever its compression;
* ``decodes``: no sum is known; the file must decode as an image from its first byte to its last.

Those of this folder are kept in the project; :data:`RECORDED` is written into a data set when it is fetched, so that
whatever changes later is found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from analysis.datasets.images import read_image, read_indices
from analysis.download import sha256_of_file
from analysis.errors import AnalysisError

MANIFESTS = Path(__file__).parent / "manifests"
RECORDED = "MANIFEST"


def read_manifest(path: Path) -> dict[str, str]:
    """HOW by PATH. AnalysisError for a file that is no manifest."""
    lines = [
        line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#")
    ]
    if any(len(line) != 2 or line[0].split(":")[0] not in ("sha256", "pixels", "decodes") for line in lines):
        raise AnalysisError(f"{path}: not a manifest (lines of 'sha256:HEX  PATH'); restore the file")
    return {name: how for how, name in lines}


def record(root: Path) -> None:
    """Write the SHA-256 of every file under ``root`` into its own manifest."""
    paths = sorted(path for path in root.rglob("*") if path.is_file() and path != root / RECORDED)
    with ThreadPoolExecutor() as pool:
        sums = list(pool.map(sha256_of_file, paths))
    names = [path.relative_to(root).as_posix() for path in paths]
    lines = [f"sha256:{digest}  {name}\n" for name, digest in zip(names, sums, strict=True)]
    unfinished = root / f"{RECORDED}.part"
    unfinished.write_text("".join(lines), encoding="utf-8")
    unfinished.replace(root / RECORDED)


def damaged(root: Path, expected: Mapping[str, str]) -> list[str]:
    """The files under ``root``, as far as they are there, that are not as ``expected``, in its order."""
    there = [name for name in expected if (root / name).is_file()]
    with ThreadPoolExecutor() as pool:
        right = pool.map(lambda name: _is_right(root / name, expected[name]), there)
        return [name for name, good in zip(there, right, strict=True) if not good]


def missing(root: Path, expected: Iterable[str]) -> list[str]:
    """The files of ``expected`` that are not under ``root``."""
    return [name for name in expected if not (root / name).is_file()]


def sha256_of_pixels(path: Path) -> str:
    """SHA-256 of an index PNG's size and decoded values, in hexadecimal. AnalysisError for a damaged PNG."""
    values = read_indices(path)
    return hashlib.sha256(f"{values.shape[0]}x{values.shape[1]}".encode() + values.tobytes()).hexdigest()


def _is_right(path: Path, how: str) -> bool:
    kind, _, digest = how.partition(":")
    try:
        if kind == "decodes":
            return read_image(path).size > 0
        return digest == (sha256_of_file(path) if kind == "sha256" else sha256_of_pixels(path))
    except AnalysisError:
        return False
