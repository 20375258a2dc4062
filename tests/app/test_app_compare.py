"""Two checkpoints, or two forms of one, on the same photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dashboard import sidebar
from dashboard.words.changes import changes_caption
from dashboards import dual, fine, one_line, opened, said, save, scale
from streamlit.testing.v1 import AppTest

from analysis.checkpoints import open_checkpoint, save_checkpoint
from analysis.datasets import open_dataset
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
    files = [folder / "runs" / "one" / "checkpoints" / f"step_{step:06d}.safetensors" for step in (9, 0)]
    image = open_dataset("shapes", "val")[0].image
    last, first = (view(open_checkpoint(file).model, image).prediction for file in files)
    assert fine(test) and test.query_params["against_step"] == "step_000000"
    assert changes(test) == pytest.approx(100 * float((last != first).mean()), abs=0.006) != 0


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


@pytest.mark.parametrize("typed", ["this with classes=5", "this with fusion=", "this with head_width=8", "this with "])
def test_a_typed_form_that_is_none_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    """AppTest picks listed options only, so the text stands in for what the widget returns."""
    save(scale(), folder / "runs" / "one")
    pick = sidebar._pick_or_type
    monkeypatch.setattr(
        sidebar, "_pick_or_type", lambda label, *rest: typed if label == "Compared with" else pick(label, *rest)
    )
    assert f"{typed!r} is no form of this checkpoint" in one_line(opened("compare"))


def test_ious_are_beside_each_other_and_their_mean_is_last() -> None:
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    right, wrong = np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]])
    rows = compare_predictions({"a": right, "b": wrong}, truth, tuple("xyzw"))
    assert rows["class"].tolist() == ["x", "y", "z", "mean of all classes"]
    np.testing.assert_allclose(rows["IoU a"], [100, 100, np.nan, 100])
    np.testing.assert_allclose(rows["IoU b"], [50, 100, 0, 50])
    assert rows["change b"].iloc[-1] == -50
    void = compare_predictions({"a": right, "b": wrong}, np.full((1, 4), 255, np.uint8), tuple("xyzw"))
    assert void["class"].iloc[-1] == "mean of all classes" and np.isnan(void["IoU a"].iloc[-1])
    assert "no pixel of this photograph is labelled" in changes_caption(void, {"a": right, "b": wrong})
    rows = compare_predictions({"a": right, "b": wrong}, None, tuple("xyzw"))
    assert rows["class"].tolist() == list("xyz") and rows["share b"].tolist() == [25, 50, 25]
