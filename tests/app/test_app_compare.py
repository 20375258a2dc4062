"""Two checkpoints, or two forms of one, on the same photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dashboards import dual, fine, one_line, opened, said, save, scale
from streamlit.testing.v1 import AppTest

from analysis.checkpoints import save_checkpoint
from analysis.evaluation import compare_predictions
from analysis.forms import in_form
from analysis.views import view


def changes(test: AppTest) -> float:
    """The pixels that the second model changes, in per cent."""
    (line,) = (text for text in said(test.caption).splitlines() if "of the pixels change" in text)
    return float(line.removeprefix("second: ").split(" %")[0])


@pytest.mark.parametrize(("model", "form"), [("dual", "form=paper"), ("scale", "fusion=average")])
def test_at_first_a_model_is_compared_with_its_other_form(folder: Path, model: str, form: str) -> None:
    save(dual() if model == "dual" else scale(), folder / "runs" / "one", steps=(0, 5) if model == "dual" else (0,))
    test = opened("compare")
    assert fine(test) and test.query_params["against"] == f"this with {form}"
    assert f"in another form: {form}" in said(test.caption)
    (shown,) = test.code
    left: dict = {}
    exec(shown.value, left)
    name, value = form.split("=")
    changed = in_form(left["checkpoint"], **{name: value})
    seen = [view(one.model, left["sample"].image).prediction for one in (left["checkpoint"], changed)]
    assert changes(test) == pytest.approx(100 * float((seen[0] != seen[1]).mean()), abs=0.006)


def test_two_steps_of_one_training_share_their_channels(folder: Path) -> None:
    save(dual(), folder / "runs" / "one", steps=(0, 5, 9))
    test = opened("compare", against="runs/one", against_step="step_000005", pixel="40,40")
    assert fine(test) and "step 9" in said(test.caption) and "step 5" in said(test.caption)
    assert "channel by channel" in said(test.markdown) and "100% of their attention" in said(test.caption)
    test.query_params.update({"against_step": "step_000000"})
    sliders = [slider for slider in test.select_slider if slider.label == "Step of its training"]
    sliders[1].set_value("step_000000").run()
    assert fine(test) and test.query_params["against_step"] == "step_000000" and changes(test) >= 0


def test_channels_of_two_trainings_are_not_subtracted(folder: Path) -> None:
    for name in ("one", "two"):
        save(dual(), folder / "runs" / name, steps=(0, 5))
    test = opened("compare", against="runs/two")
    assert fine(test) and "no common numbering" in said(test.markdown) and "exp of its entropy" in said(test.caption)


def test_what_only_one_has_is_said(folder: Path) -> None:
    save(dual(), folder / "runs" / "one")
    save(scale(), folder / "runs" / "two")
    test = opened("compare", checkpoint="runs/one", against="runs/two")
    assert fine(test)
    assert "Only the second has scale weights. Only the first has position attention." in said(test.info)


def test_models_of_other_classes_are_not_counted_by_class(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    file = folder / "runs" / "two" / "checkpoints" / "step_000000.safetensors"
    save_checkpoint(scale(), file, tuple("abcde"), {"dataset": "letters"})
    test = opened("compare", checkpoint="runs/one", against="runs/two")
    assert fine(test) and "know other classes" in said(test.caption)


def test_what_it_cannot_be_compared_with_is_one_line(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    assert "no checkpoint at runs/twoo" in one_line(opened("compare", against="runs/twoo"))
    assert "not in a folder that this dashboard reads" in one_line(opened("compare", against="/etc"))
    test = opened("compare", against="this with fusion=other")
    assert fine(test) and test.query_params["against"] == "this with fusion=average"


def test_ious_are_beside_each_other_and_their_mean_is_last() -> None:
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    right, wrong = np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]])
    rows = compare_predictions({"a": right, "b": wrong}, truth, tuple("xyzw"))
    assert rows["class"].tolist() == ["x", "y", "z", "mean of all classes"]
    np.testing.assert_allclose(rows["IoU a"], [100, 100, np.nan, 100])
    np.testing.assert_allclose(rows["IoU b"], [50, 100, 0, 50])
    assert rows["change b"].iloc[-1] == -50
    rows = compare_predictions({"a": right, "b": wrong}, None, tuple("xyzw"))
    assert rows["class"].tolist() == list("xyz") and rows["share b"].tolist() == [25, 50, 25]
