"""Bad input of every kind: one line on the page, and the page goes on."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from dashboards import dual, fine, one_line, opened, png, said, save, scale
from PIL import Image
from safetensors.torch import save_file

from analysis.checkpoints import save_checkpoint


def test_an_empty_folder_asks_for_a_path(folder: Path) -> None:
    assert "no checkpoint under data/demo or runs of this folder; type a path" in one_line(opened())
    assert "no checkpoint under data/demo or runs" in one_line(opened("gates"))


@pytest.mark.parametrize("page", ["look", "gates"])
@pytest.mark.parametrize("path", ["runs/oen", "/no/such/place", "runs/one\0", "x" * 5000, "[a](b) $x$ `c`"])
def test_a_path_without_checkpoint(folder: Path, page: str, path: str) -> None:
    save(scale(), folder / "runs" / "one")
    message = one_line(opened(page, checkpoint=path))
    assert "no checkpoint at" in message or "cannot read" in message


def test_what_is_no_checkpoint_of_a_known_layout(folder: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, folder / "model.pth")
    save_file({"weight": torch.zeros(3)}, folder / "foreign.safetensors")
    (folder / "empty").mkdir()
    whole = (save(dual(), folder / "runs" / "one") / "checkpoints" / "step_000000.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "model.pth: has no known layout" in one_line(opened(checkpoint="model.pth"))
    assert "foreign.safetensors: has no known layout" in one_line(opened(checkpoint="foreign.safetensors"))
    assert "no checkpoint file in empty" in one_line(opened(checkpoint="empty"))
    assert "cut.safetensors: " in (said := one_line(opened(checkpoint="cut.safetensors"))) and "fetch it again" in said


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
        ("camvid:nowhere", "nowhere: no CamVid here"),
        ("folder:", "data/folder: no such folder"),
        ("shapes:here", "shapes are made on the fly"),
    ],
)
def test_a_data_set_that_is_not_there_leaves_the_footer(folder: Path, spec: str, message: str) -> None:
    save(scale(), folder / "runs" / "one")
    test = opened(data=spec)
    assert message in one_line(test) and "recipe shapes-test" in said(test.caption)


def test_names_in_the_url_that_are_not_there_are_said_and_replaced(folder: Path) -> None:
    save(dual(), folder / "runs" / "one", steps=(0, 5))
    test = opened(data="shapes", split="val", image="val-99999", step="step_000003", pixel="9999,-1")
    assert fine(test)
    assert "no image 'val-99999' in shapes val" in said(test.warning) and "no step 'step_000003'" in said(test.warning)
    assert test.query_params["image"] == "val-00000" and test.query_params["step"] == "step_000005"
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
