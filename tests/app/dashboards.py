"""Small runs with random weights, and the dashboard under Streamlit's AppTest."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from analysis.checkpoints import save_checkpoint
from analysis.datasets import shapes
from analysis.models import DualAttention, InputSpec, Model, PositionAttention, ScaleAttention, gates
from analysis.store import write_table

MAIN = Path(__file__).parents[2] / "app" / "main.py"
SMALL = InputSpec(short_side=96)


def scale(**fields: Any) -> ScaleAttention:
    torch.manual_seed(0)
    model = ScaleAttention(5, **{"backbone": "tiny", "head_width": 8, "input": SMALL, **fields})
    model.classifier.weight.data.mul_(100)
    return model


def dual(**fields: Any) -> DualAttention:
    """Queries and keys are large, so that rows differ from pixel to pixel."""
    torch.manual_seed(0)
    model = DualAttention(5, **{"backbone": "tiny", "input": SMALL, **fields})
    if isinstance(model.pam, PositionAttention):
        for convolution in (model.pam.query, model.pam.key):
            convolution.weight.data.mul_(1000)
    for gate in gates(model).values():
        gate.data.fill_(0.25)
    return model


def save(model: Model, run: Path, steps: tuple[int, ...] = (0,), dataset: str = "shapes", **more: Any) -> Path:
    """A run directory as training writes it; every checkpoint of the series has other gates."""
    for number, step in enumerate(steps):
        for gate in gates(model).values():
            gate.data.fill_(0.25 * number)
        origin = {"recipe": "shapes-test", "seed": 0, "step": step, "dataset": dataset, "split": "train", **more}
        save_checkpoint(model, run / "checkpoints" / f"step_{step:06d}.safetensors", shapes.CLASSES, origin)
    return run


def save_history(run: Path, steps: int = 20) -> None:
    rows = pd.DataFrame({"step": range(steps), "epoch": 0, "loss": 1.0, "learning_rate": 0.1})
    for gate in ("alpha", "beta"):
        rows = rows.assign(**{gate: rows.step * 0.01, f"{gate}_grad": 0.5, f"{gate}_contribution": rows.step * 0.001})
    write_table(rows, run / "history.parquet", {})


def opened(page: str = "look", **parameters: str) -> AppTest:
    """The dashboard as a new session sees it at a URL."""
    test = AppTest.from_file(str(MAIN), default_timeout=120)
    test.query_params.update(parameters)
    test.run()
    return test if page == "look" else test.switch_page(f"dashboard/{page}.py").run()


def said(elements: Any) -> str:
    """The text of elements, without the backslashes that keep it from being Markdown."""
    return "\n".join(re.sub(r"\\(.)", r"\1", element.value) for element in elements)


def fine(test: AppTest) -> bool:
    return not test.exception and not test.error


def one_line(test: AppTest) -> str:
    """The one error of a page, which is one line and no traceback."""
    assert not test.exception
    (error,) = test.error
    assert "\n" not in error.value
    return said([error])


def png(image: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
