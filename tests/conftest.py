"""Settings of all tests: no deadline and one thread, so that a busy machine changes nothing but the time."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from analysis.datasets import open_dataset

settings.register_profile("patient", deadline=None, max_examples=50)
settings.load_profile("patient")
torch.set_num_threads(1)


@pytest.fixture
def shapes_folder(tmp_path: Path) -> Callable[[Sequence[int]], Path]:
    """Writes scenes in the layout of ``folder``, one for each number, which is added to its labels: 0 keeps them."""

    def write(added: Sequence[int]) -> Path:
        folder, scenes = tmp_path / "set", open_dataset("shapes", "val")
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        for i, more in enumerate(added):
            Image.fromarray(scenes[i].image).save(folder / "images" / f"{i}.png")
            Image.fromarray(scenes[i].label + np.uint8(more)).save(folder / "masks" / f"{i}.png")
        (folder / "classes.txt").write_text("sky\nground\ncircle*\nsquare*\ncross*\n")
        return folder

    return write
