"""Bad input of every kind: one line on the page, and the page goes on."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
import torch
from dashboards import dual, fine, one_line, opened, png, said, save, scale
from PIL import Image
from safetensors.torch import save_file

from analysis.checkpoints import save_checkpoint
from analysis.datasets import shapes


def test_an_empty_folder_asks_for_a_path(folder: Path) -> None:
    assert "no checkpoint under data/demo or runs of this folder; type a path" in one_line(opened())
    assert "no checkpoint under data/demo or runs" in one_line(opened("gates"))


PAGES = ("look", "scale_weights", "position", "channels", "gates", "attribution", "compare", "checkpoint")


@pytest.mark.parametrize("page", PAGES)
def test_a_path_without_checkpoint(folder: Path, page: str) -> None:
    save(scale(), folder / "runs" / "one")
    assert "no checkpoint at runs/oen; closest: runs/one" in one_line(opened(page, checkpoint="runs/oen"))


@pytest.mark.parametrize(
    "path",
    ["/no/such/place", "..", "runs/../secret.pth", "runs/one\0", "x" * 5000, "[a](b) $x$ `c`", "~/.ssh", "runs/link"],
)
def test_no_path_leads_out_of_the_folders(folder: Path, path: str) -> None:
    save(scale(), folder / "runs" / "one")
    save(scale(), folder / "elsewhere")
    (folder / "runs" / "link").symlink_to(folder / "elsewhere")
    test = opened(checkpoint=path)
    assert "is not in a folder that this dashboard reads (data, runs, ../shared)" in one_line(test)
    assert "runs/link" not in test.selectbox[0].options[1:]


def test_links_inside_a_run_do_not_lead_out_either(folder: Path) -> None:
    file = save(scale(), folder / "elsewhere") / "checkpoints" / "step_000000.safetensors"
    (folder / "runs" / "one").mkdir(parents=True)
    (folder / "runs" / "one" / "model.safetensors").symlink_to(file)
    assert "is not in a folder that this dashboard reads" in one_line(opened(checkpoint="runs/one"))


def test_images_of_a_data_set_do_not_lead_out(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    for part in ("images", "labels"):
        (folder / "data" / "mine" / part).mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "secret.png")
    (folder / "data/mine/images/a.png").symlink_to(folder / "secret.png")
    Image.new("L", (64, 64)).save(folder / "data/mine/labels/a.png")
    test = opened(data="folder:data/mine")
    assert (test.error and "is not in a folder" in said(test.error)) or "no such" in said(test.error)


def test_other_folders_can_be_configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(scale(), folder / "elsewhere")
    monkeypatch.setenv("ATTENTION_ANALYSIS_FOLDERS", str(folder / "elsewhere"))
    assert fine(opened(checkpoint="elsewhere"))


def test_what_is_no_checkpoint_of_a_known_layout(folder: Path) -> None:
    whole = (save(dual(), folder / "runs" / "one") / "checkpoints" / "step_000000.safetensors").read_bytes()
    torch.save({"weight": torch.zeros(3)}, folder / "runs/model.pth")
    save_file({"weight": torch.zeros(3)}, folder / "runs/foreign.safetensors")
    (folder / "runs/empty").mkdir()
    (folder / "runs/cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "model.pth: has no known layout" in one_line(opened(checkpoint="runs/model.pth"))
    assert "foreign.safetensors: has no known layout" in one_line(opened(checkpoint="runs/foreign.safetensors"))
    assert "no checkpoint file in runs/empty" in one_line(opened(checkpoint="runs/empty"))
    message = one_line(opened(checkpoint="runs/cut.safetensors"))
    assert "cut.safetensors: " in message and "fetch it again" in message


def test_after_an_error_another_checkpoint_can_be_chosen(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    test = opened(checkpoint="runs/oen")
    assert "closest: runs/one" in one_line(test)
    test.selectbox[0].set_value("runs/one").run()
    assert fine(test) and test.query_params["checkpoint"] == "runs/one"


def test_a_checkpoint_that_disappears_or_changes(folder: Path) -> None:
    run = save(scale(), folder / "runs" / "one")
    test = opened()
    assert fine(test) and "attention fusion" in said(test.caption)
    save(scale(fusion="average"), folder / "runs" / "one")
    assert fine(test.run()) and "average fusion" in said(test.caption)
    (run / "checkpoints" / "step_000000.safetensors").unlink()
    assert "no checkpoint file in runs/one" in one_line(test.run())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("camvdi", "no data set 'camvdi'; closest: camvid"),
        ("camvid:data/nowhere", "nowhere: no CamVid here"),
        ("camvid:nowhere", "nowhere is not in a folder that this dashboard reads"),
        ("folder:", "data/folder: no such folder"),
        ("shapes:here", "shapes are made on the fly"),
    ],
)
def test_a_data_set_that_is_not_there_leaves_the_footer(folder: Path, spec: str, message: str) -> None:
    save(scale(), folder / "runs" / "one")
    test = opened(data=spec)
    assert message in one_line(test) and "recipe shapes-test" in said(test.caption)


def own_data(folder: Path, names: tuple[str, ...] = ("a", "b")) -> Path:
    """Photographs and masks of the five classes of shapes."""
    st.cache_resource.clear()  # of another folder's data set of this name
    home = folder / "data" / "mine"
    for kind in ("images", "masks"):
        (home / kind).mkdir(parents=True)
    (home / "classes.txt").write_text("\n".join(shapes.CLASSES))
    for name in names:
        Image.new("RGB", (96, 64), "grey").save(home / "images" / f"{name}.png")
        Image.new("L", (96, 64), 1).save(home / "masks" / f"{name}.png")
    return home


def test_a_data_set_with_holes_says_what_is_missing_and_the_rest_is_there(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    home = own_data(folder)
    test = opened(data="folder:data/mine")
    assert fine(test)
    (home / "masks" / "a.png").unlink()  # listed when the data set was opened
    assert "a.png: " in one_line(test.run()) and "recipe shapes-test" in said(test.caption)
    next(box for box in test.selectbox if box.label == "Image").set_value("b").run()
    assert fine(test)
    (home / "images" / "b.png").write_bytes(b"\x89PNG cut off")
    assert "b.png: not a readable image" in one_line(test.run())
    st.cache_resource.clear()
    assert "masks: no mask for a.png" in one_line(opened(data="folder:data/mine"))


def test_an_empty_split_is_said(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    own_data(folder, names=())
    test = opened(data="folder:data/mine")
    assert "holds no image" in one_line(test) and "recipe shapes-test" in said(test.caption)


def test_a_damaged_run_directory_is_one_line_where_it_matters(folder: Path) -> None:
    run = save(dual(), folder / "runs" / "one", steps=(0, 5))
    (run / "config.json").write_text("{ not json")
    (run / "history.parquet").write_bytes(b"PAR1")
    (run / "checkpoints" / "step_000003.safetensors").write_bytes(b"no header")
    assert fine(opened()) and fine(opened("checkpoint")) and fine(opened("compare"))
    test = opened("gates", trainings="none", along="yes")
    messages = said(test.error)
    assert not test.exception and "history.parquet is not a readable" in messages and "step_000003" in messages
    assert "Its row peaks at" in said(test.caption)


def test_names_in_the_url_that_are_not_there_are_said_and_replaced(folder: Path) -> None:
    save(dual(), folder / "runs" / "one", steps=(0, 5))
    test = opened(data="shapes", split="val", image="val-99999", step="step_000003", pixel="9999,-1")
    assert fine(test)
    assert "no image 'val-99999' in shapes val" in said(test.warning) and "no step 'step_000003'" in said(test.warning)
    assert test.query_params["image"] == "val-00000" and test.query_params["step"] == "step_000005"
    test.switch_page("dashboard/position.py").run()
    assert test.query_params["pixel"] == "128,128"
    test = opened(photo="cofee", pixel="1" * 6000)
    assert fine(test) and "no bundled photograph 'cofee'" in said(test.warning)


def of_200_megapixels() -> bytes:
    stream = BytesIO()
    Image.new("1", (20_000, 10_000)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (of_200_megapixels(), "street.png: far more than the 100 megapixels"),
        (
            png(np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8))[:3000],
            "not a readable image, or cut off",
        ),
        (b"GIF87a is not a picture", "not a readable image"),
        (b"", "not a readable image"),
    ],
)
def test_an_upload_that_cannot_be_read(folder: Path, content: bytes, message: str) -> None:
    save(scale(), folder / "runs" / "one")
    test = opened()
    test.button_group[0].set_value("upload").run()
    test.file_uploader[0].upload("street.png", content, "image/png").run()
    assert message in one_line(test)
    test.file_uploader[0].set_value(("street.png", png(np.zeros((64, 64, 3), np.uint8)), "image/png")).run()
    assert fine(test)


def test_names_from_a_checkpoint_are_shown_as_text(folder: Path) -> None:
    hostile = ["<img src=x onerror=alert(1)>", "[a](javascript:1)", "$x$", "`d`", ":red[e]"]
    save_checkpoint(scale(), folder / "runs/one/a.safetensors", hostile, {"recipe": "<b>$r$</b>", "step": None})
    test = opened()
    assert fine(test)
    shown = "".join(element.proto.body for element in test.get("html"))
    assert "<img" not in shown and "&lt;img" in shown
    assert "recipe <b>$r$</b>" in said(test.caption) and r"\<b\>\$r\$" in test.caption[-1].value
