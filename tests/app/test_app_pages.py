"""Every page with every kind of checkpoint, and what follows from what is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dashboards import dual, fine, one_line, opened, png, said, save, save_history, scale
from streamlit.testing.v1 import AppTest

from analysis.checkpoints import save_checkpoint
from analysis.datasets import open_dataset, shapes
from analysis.store import read_table, write_table
from analysis.studies.gates import gates_of_series, reliance
from analysis.studies.study import evenly_spaced

SCALE = {
    "attention": ("Weight maps", "Winning branch", "Other weights", "Objects"),
    "average": ("Weight maps",),
    "max": ("Winning branch",),
}
LINKS = {
    "scale": [
        "Its scale weights",
        "Attributions beside its attention",
        "Beside another checkpoint or form",
        "What is in its file",
    ],
    "position": ["Its position attention"],
    "channel": ["Its channel attention"],
    "gates": ["Its gates over the training"],
    "attribution": ["Attributions beside its attention"],
    "dual": ["Beside another checkpoint or form", "What is in its file"],
}


def sections(test: AppTest) -> list[str]:
    return [m.value.removeprefix("#### ") for m in test.main.markdown if m.value.startswith("#### ")]


def pictures(test: AppTest) -> int:
    return len(test.get("image"))


def links(test: AppTest) -> list[str]:
    return [link.proto.label for link in test.get("page_link")]


@pytest.mark.parametrize("fusion", SCALE)
def test_scale_weights_of_every_fusion(folder: Path, fusion: str) -> None:
    save(scale(fusion=fusion), folder / "runs" / "one")
    test = opened("scale_weights")
    assert fine(test) and tuple(sections(test)) == SCALE[fusion]
    captions = said(test.caption)
    assert "1.0x branch, 0.75x branch, 0.5x branch" in captions and "mIoU" in captions
    assert ("the 1.0x branch wins" in captions) == (fusion != "average")
    assert "recipe shapes-test · step 0 · seed 0 · trained on shapes train" in captions


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["position", "channel", "gates", "attribution", "dual"]),
        ({"position": False}, ["channel", "gates", "dual"]),
        ({"channel": False}, ["position", "gates", "attribution", "dual"]),
        ({"position": False, "channel": False}, ["dual"]),
    ],
)
def test_pages_of_a_dual_model_say_what_it_lacks(folder: Path, fields: dict[str, Any], expected: list[str]) -> None:
    save(dual(**fields), folder / "runs" / "one")
    wanted = [label for name in expected for label in LINKS[name]]
    look = opened()
    assert fine(look) and links(look) == wanted
    assert ("Gates" in sections(look)) == (len(expected) > 1)
    for page, kind in (("position", "position"), ("channels", "channel"), ("scale_weights", "scale")):
        test = opened(page)
        assert fine(test) and (links(test) == []) == (kind in expected)
        if kind not in expected:
            assert "This checkpoint (Dual attention" in said(test.info) and links(test) == wanted


def test_a_scale_model_has_no_channels(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    for page in ("position", "channels"):
        test = opened(page)
        assert fine(test) and links(test) == LINKS["scale"] and "Attention to Scale, tiny" in said(test.info)


@pytest.mark.parametrize(
    ("form", "text"), [("paper", "The paper's form is in"), ("released", "The released form is in")]
)
def test_the_form_in_force_is_said(folder: Path, form: str, text: str) -> None:
    save(dual(form=form), folder / "runs" / "one")
    test = opened("channels")
    assert text in said(test.markdown) and f"channel attention ({form} form)" in said(test.caption)


def test_gates_of_a_dual_model(folder: Path) -> None:
    save_history(save(dual(), folder / "runs" / "one", steps=(0, 10)))
    test = opened("gates", step="step_000010", trainings="none")
    assert fine(test) and "At step 10 of 19: α = +0.1000; β = +0.1000" in said(test.caption)
    assert sections(test) == [
        "Beside other trainings",
        "Without the gates, along the training",
        "Attention at the marked step",
    ]
    assert "It is that of step 10." in said(test.markdown) and "Its row peaks at" in said(test.caption)


def test_gates_of_other_trainings_and_seeds_lie_beside(folder: Path) -> None:
    run = save(dual(), folder / "runs" / "one", steps=(0, 10))
    save_history(run, 60)
    history = read_table(run / "history.parquet")
    seeds = [history.assign(checkpoint=f"one-{seed}", recipe="r", seed=seed, alpha=seed * 0.1) for seed in range(3)]
    write_table(pd.concat(seeds), folder / "data" / "reproduction" / "history.parquet", {})
    test = opened("gates")
    words = "α never moved in 3 of 3 trainings; β added more than 1 % in 3 of 3 trainings, first at step 11"
    assert fine(test) and words in said(test.caption)
    (movements,) = (one.value for one in test.dataframe if "says" in one.value)
    assert len(movements) == 6 and set(movements["gate"]) == {"alpha", "beta"}
    assert "not in a folder" in one_line(opened("gates", trainings="/etc/history.parquet"))


def test_reliance_on_the_gates_is_measured_at_every_checkpoint(folder: Path) -> None:
    run = save(dual(), folder / "runs" / "one", steps=(0, 5, 10))
    save_history(run)
    test = opened("gates", trainings="none")
    assert "Measure 3 checkpoints on 8 images" in [toggle.label for toggle in test.toggle]
    test.toggle[0].set_value(True).run()
    assert fine(test) and test.query_params["along"] == "yes"
    found = gates_of_series(run, evenly_spaced(open_dataset("shapes", "val"), 8))["gates"]
    rows = reliance(found).set_index(["step", "zeroed"])["miou"]
    assert rows[0, "both"] == rows[0, "none"]  # all gates are 0 there
    assert f"mIoU {100 * rows[10, 'none']:.1f} %" in said(test.caption)
    assert f"{100 * (rows[10, 'none'] - rows[10, 'both']):+.1f} with both at 0" in said(test.caption)


def test_reliance_of_checkpoints_without_a_step_is_said(folder: Path) -> None:
    save_checkpoint(dual(), folder / "runs" / "one" / "a.safetensors", shapes.CLASSES, {"dataset": "shapes"})
    test = opened("gates", trainings="none", along="yes")
    assert not test.exception and "does not say its step" in said(test.error)


def test_reliance_needs_labels(folder: Path) -> None:
    save_history(save(dual(), folder / "runs" / "one"))
    assert "This needs labels of the model's classes" in said(opened("gates", photo="coffee").info)


@pytest.mark.parametrize("model", [scale(), dual(position=False, channel=False)])
def test_gates_of_a_model_without_lead_elsewhere(folder: Path, model: Any) -> None:
    save(model, folder / "runs" / "one")
    test = opened("gates")
    assert fine(test) and pictures(test) == 0
    assert "has no gates" in said(test.info)
    assert "What is in its file" in links(test)


def test_gates_without_a_history_say_so_and_the_rest_is_there(folder: Path) -> None:
    run = save(dual(), folder / "runs" / "one")
    test = opened("gates", trainings="none")
    assert "no table at runs/one/history.parquet" in one_line(test) and "Its row peaks at" in said(test.caption)
    (run / "history.parquet").write_bytes(b"PAR1 and nothing else")
    assert "not a readable Parquet file" in one_line(opened("gates", trainings="none"))


def test_captions_follow_the_step_and_the_page_keeps_it(folder: Path) -> None:
    save_history(save(dual(), folder / "runs" / "one", steps=(0, 5, 10)))
    test = opened()
    assert test.query_params["step"] == "step_000010" and "α = +0.5000 adds" in said(test.caption)
    test.select_slider[0].set_value("step_000000").run()
    assert "α is exactly 0: its path is the identity" in said(test.caption)
    assert fine(test) and test.query_params["step"] == "step_000000"
    test.switch_page("dashboard/gates.py").run()
    assert test.select_slider[0].value == "step_000000" and "At step 0 of 19" in said(test.caption)
    test.switch_page("dashboard/look.py").run()
    assert test.select_slider[0].value == "step_000000"


def test_another_image_is_another_view(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    test = opened()
    before = said(test.caption)
    test.selectbox[3].set_value("val-00007").run()
    assert fine(test) and test.query_params["image"] == "val-00007" and said(test.caption) != before


def test_a_checkpoint_of_other_data_brings_its_own_photograph(folder: Path) -> None:
    save(dual(), folder / "runs" / "a")
    save(dual(), folder / "runs" / "b", dataset="camvid")
    test = opened(image="val-00003", data="shapes", split="val")
    assert test.selectbox[3].value == "val-00003"
    test.selectbox[0].set_value("runs/b").run()
    assert fine(test) and test.query_params["photo"] == "china" and "image" not in test.query_params
    test.selectbox[0].set_value("runs/a").run()
    assert fine(test) and test.query_params["photo"] == "china"  # a bundled photograph suits every model


def test_the_demo_comes_first(folder: Path) -> None:
    save(scale(), folder / "runs" / "a")
    save_checkpoint(dual(), folder / "data/demo/shapes-dual/shapes-dual.safetensors", list("abcde"), {})
    test = opened()
    assert test.selectbox[0].value == "data/demo/shapes-dual"
    assert test.selectbox[0].options == ["data/demo/shapes-dual", "runs/a"]


def test_a_bundled_photograph_has_no_truth(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    test = opened(photo="coffee")
    assert fine(test) and pictures(test) == 2
    assert "coffee (skimage). Beside each class: its share" in said(test.caption)


def test_labels_of_other_classes_are_no_truth(folder: Path) -> None:
    save_checkpoint(scale(), folder / "runs/one/a.safetensors", list("abcde"), {"dataset": "shapes"})
    test = opened()
    assert fine(test) and pictures(test) == 2 and "Its labels have other classes than the model" in said(test.caption)


def test_an_upload_is_looked_at_and_kept_while_the_session_lasts(folder: Path) -> None:
    save_history(save(dual(), folder / "runs" / "one"))
    test = opened()
    test.button_group[0].set_value("upload").run()
    assert "Upload a photograph" in said(test.info)
    test.file_uploader[0].upload("<b>street</b>.png", png(np.full((90, 120, 3), 200, np.uint8)), "image/png").run()
    assert fine(test) and "<b>street</b>.png (upload)" in said(test.caption)
    test.switch_page("dashboard/position.py").run()
    assert fine(test) and test.query_params["pixel"] == "45,60"
    test.switch_page("dashboard/gates.py").run().switch_page("dashboard/look.py").run()
    assert fine(test) and "<b>street</b>.png (upload)" in said(test.caption)
    elsewhere = opened(upload=test.query_params["upload"])
    assert fine(elsewhere) and "upload the photograph again" in said(elsewhere.info)


def test_a_large_upload_is_made_smaller(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    test = opened()
    test.button_group[0].set_value("upload").run()
    test.file_uploader[0].upload("large.png", png(np.zeros((2000, 3000, 3), np.uint8)), "image/png").run()
    assert fine(test) and "shown at 1773 x 1182 pixels, made smaller from 3000 x 2000" in said(test.caption)
