"""The explorers of notebooks without a front end: what a control changes, and what nbconvert gets to see."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from analysis import open_checkpoint
from analysis.datasets import open_dataset
from analysis.errors import AnalysisError
from analysis.measures import confusion, mean_iou
from analysis.studies.object_scale.maps import see_maps
from analysis.views import view
from analysis.widgets import Explorer, explore_channels, explore_gates, explore_rows, explore_scales

DEMO = Path(__file__).parents[1] / "data" / "demo"
VAL = open_dataset("shapes", "val")
EXPLORERS = [
    (explore_scales, "shapes-scale", {"panels": "each its own range", "weight": "uniform"}),
    (explore_rows, "shapes-dual", {"see": "who looks at it", "pixel": (3, 250)}),
    (explore_channels, "shapes-dual", {"channel": 5, "groups": 3}),
]


@pytest.mark.parametrize(("explore", "name", "changes"), EXPLORERS, ids=[one[0].__name__ for one in EXPLORERS])
def test_every_control_changes_the_picture(explore: Callable[..., Explorer], name: str, changes: dict) -> None:
    explorer = explore(open_checkpoint(DEMO / name), VAL)
    for control, value in {"photograph": 3, **changes}.items():
        before = explorer.png
        explorer.controls[control].value = value
        assert explorer.png != before, control


@pytest.mark.parametrize(("explore", "name", "changes"), EXPLORERS, ids=[one[0].__name__ for one in EXPLORERS])
def test_without_a_front_end_there_is_a_picture(explore: Callable[..., Explorer], name: str, changes: dict) -> None:
    bundle = explore(open_checkpoint(DEMO / name), VAL)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    picture = Image.open(BytesIO(base64.b64decode(bundle["image/png"])))
    assert min(picture.size) > 200


def test_the_caption_is_of_the_picked_pixel() -> None:
    checkpoint = open_checkpoint(DEMO / "shapes-dual")
    explorer = explore_rows(checkpoint, VAL)
    explorer.controls["photograph"].value = 2
    explorer.controls["pixel"].value = (40, 200)
    seen = view(checkpoint.model, VAL[2].image)
    row = seen.row((40, 200))
    assert explorer.caption.value == (
        f"val-00002, row 40, column 200, predicted {VAL.classes[seen.prediction[40, 200]]}: at most "
        f"{row.max() * row.size:.1f} times uniform attention"
    )


def test_another_photograph_starts_at_its_centre() -> None:
    explorer = explore_rows(open_checkpoint(DEMO / "shapes-dual"), VAL)
    explorer.controls["pixel"].value = (0, 0)
    explorer.controls["photograph"].value = 1
    assert explorer.controls["pixel"].value == (128, 128)
    assert explorer.controls["pixel"].picture["pixel"] == (128, 128)


def test_forced_weights_are_scored_on_the_photograph() -> None:
    checkpoint = open_checkpoint(DEMO / "shapes-scale")
    explorer = explore_scales(checkpoint, VAL)
    explorer.controls["weight"].value = "0.5x branch only"
    maps = see_maps(checkpoint.model, VAL[0].image)
    score = mean_iou(confusion(maps.prediction(maps.scores[2]), VAL[0].label, len(VAL.classes)))
    assert explorer.caption.value.endswith(f"0.5x branch only, mIoU {100 * score:.1f} % on this photograph")


def test_the_checkpoints_of_a_training() -> None:
    explorer = explore_gates(DEMO / "shapes-dual", VAL)
    assert explorer.caption.value == "val-00000, shapes-dual/step_000512, 9 of 9"
    trained = explorer.png
    for control, value in {"checkpoint": 0, "photograph": 3}.items():
        before = explorer.png
        explorer.controls[control].value = value
        assert explorer.png != before, control
    assert explorer.caption.value == "val-00003, shapes-dual/step_000000, 1 of 9"
    explorer.controls["photograph"].value, explorer.controls["checkpoint"].value = 0, 8
    assert explorer.png == trained


def test_gates_need_position_attention() -> None:
    with pytest.raises(AnalysisError, match="no position attention"):
        explore_gates(DEMO / "shapes-scale", VAL)


@pytest.mark.parametrize(
    ("explore", "name", "lack"),
    [
        (explore_scales, "shapes-dual", "no scale weights"),
        (explore_rows, "shapes-scale", "no position attention"),
        (explore_channels, "shapes-scale", "no channel attention"),
    ],
)
def test_the_wrong_model_is_one_line(explore: Callable[..., Explorer], name: str, lack: str) -> None:
    with pytest.raises(AnalysisError, match=lack) as error:
        explore(open_checkpoint(DEMO / name), VAL)
    assert "\n" not in str(error.value)
