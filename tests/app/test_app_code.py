"""The code that pages show gives what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dashboards import dual, fine, opened, said, save, save_history, scale
from streamlit.testing.v1 import AppTest

from analysis.views import view


def executed(test: AppTest) -> list[dict[str, Any]]:
    """What the lines of every fold leave behind, each in a namespace of its own."""
    assert fine(test) and test.code
    found = []
    for shown in test.code:
        namespace: dict[str, Any] = {}
        exec(shown.value, namespace)
        found.append(namespace)
    return found


@pytest.mark.parametrize("photo", [{}, {"photo": "coffee"}])
@pytest.mark.parametrize("see", ["row", "column"])
def test_position_attention(folder: Path, see: str, photo: dict[str, str]) -> None:
    save(dual(), folder / "runs" / "one", steps=(0, 5))
    (left,) = executed(opened("position", see=see, box="60,60,90,100", **photo))
    seen = view(left["checkpoint"].model, left["sample"].image)
    cells = seen.cells_in((60, 60, 90, 100))
    wanted = seen.mean_row(cells) if see == "row" else seen.mean_column(cells)
    np.testing.assert_allclose(left[see], wanted, rtol=1e-4)


@pytest.mark.parametrize("photo", [{}, {"photo": "coffee"}])
def test_scale_weights(folder: Path, photo: dict[str, str]) -> None:
    save(scale(), folder / "runs" / "one")
    test = opened("scale_weights", weights="a mix", mix="0.20,0.20,0.60", **photo)
    forced, objects = executed(test)
    maps = forced["maps"]
    np.testing.assert_allclose(forced["weights"][:, 0, 0], [0.2, 0.2, 0.6], atol=1e-4)
    trained = maps.prediction(maps.fused(maps.weights))
    changed = 100 * float((forced["prediction"] != trained).mean())
    assert f"{changed:.2f} % of the pixels change" in said(test.caption)
    (shown,) = (table.value for table in test.dataframe if "shapley" in table.value)
    np.testing.assert_allclose(shown["weight_inside"], objects["seen"].table["weight_inside"], atol=1e-3)


@pytest.mark.parametrize("photo", [{}, {"photo": "coffee"}])
def test_look(folder: Path, photo: dict[str, str]) -> None:
    save(dual(), folder / "runs" / "one", steps=(0, 5))
    (left,) = executed(opened(**photo))
    seen = view(left["checkpoint"].model, left["sample"].image)
    assert (left["prediction"] == seen.prediction).all() and left["gates"] == seen.gates


def test_gates_over_the_training(folder: Path) -> None:
    save_history(save(dual(), folder / "runs" / "one", steps=(0, 10)))
    (left,) = executed(opened("gates", trainings="none"))
    assert len(left["figures"]) == 3 and left["history"]["alpha"].iloc[-1] == pytest.approx(0.19)


def test_one_channel(folder: Path) -> None:
    save(dual(), folder / "runs" / "one")
    test = opened("channels", channel="7", groups="3")
    (left,) = executed(test)
    row = next(table.value for table in test.dataframe if "enters the softmax" in table.value)
    assert row["weight"].iloc[0] == pytest.approx(left["weights"].max(), abs=1e-4)
    assert left["weights"].sum() == pytest.approx(1, abs=1e-4)
    assert test.query_params["channel"] == "7" and "Channel 7 puts" in said(test.caption)
