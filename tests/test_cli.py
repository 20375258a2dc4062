"""The command line as a user meets it: results, and one line with status 2 for bad input."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import conformance
import numpy as np
import pytest
import torch
from PIL import Image

from analysis import open_checkpoint
from analysis.checkpoints import save_checkpoint
from analysis.cli import COMMANDS, main
from analysis.datasets import open_dataset
from analysis.models import DualAttention, ScaleAttention
from analysis.store import read_provenance, read_table

FolderWriter = Callable[[Sequence[int]], Path]
CLASSES = ("sky", "ground", "circle", "square", "cross")
CAMVID = Path(__file__).parents[2] / "shared" / "camvid"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    for name, model in (
        ("scale", ScaleAttention(5, backbone="tiny")),
        ("max", ScaleAttention(5, backbone="tiny", fusion="max")),
        ("dual", DualAttention(5, backbone="tiny")),
    ):
        save_checkpoint(model, folder / f"{name}.safetensors", CLASSES, {"step": 0, "recipe": name, "seed": 0})
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "scene.png"
    Image.fromarray(open_dataset("shapes", "val")[0].image).save(path)
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(a) for a in arguments]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("attention-analysis: ")
    assert output.err.count("\n") == 1
    assert "Traceback" not in output.err
    return output.err


def test_help_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for command in ("train", *COMMANDS):
        assert f"  {command} " in overview
    assert max(map(len, overview.splitlines())) <= 120
    assert main(["checkpoints"]) == 2
    group = capsys.readouterr().out
    assert "checkpoints fetch" in group
    assert "  publish " not in group
    assert main(["train", "--help"]) == 0
    assert "cityscapes-dual-resnet101" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["train", "camvid-scale", "--help"])
    assert stopped.value.code == 0
    assert "--model.extra-supervision" in capsys.readouterr().out


def test_evaluate_prints_json_and_writes_a_table(
    models: Path, tmp_path: Path, shapes_folder: FolderWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shapes_folder([0, 0, 0])
    out = tmp_path / "scores.parquet"
    arguments = [models / "scale.safetensors", "--data", f"folder:{folder}", "--split", "all", "--out", out, "--json"]
    assert main(["evaluate", *map(str, arguments)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["images"] == 3
    assert set(printed["iou"]) == set(CLASSES)
    table = read_table(out)
    assert {"checkpoint", "recipe", "seed", "dataset", "split", "block", "class", "size_bin", "iou"} <= set(table)
    whole = table[table.size_bin == "all"]
    assert whole.iou.mean() == pytest.approx(printed["miou"])
    assert read_provenance(out)["sha256"]
    assert "changed" not in read_provenance(out)
    assert main(["evaluate", *map(str, arguments), "--precision", "bf16"]) == 0
    assert json.loads(capsys.readouterr().out)["miou"] == pytest.approx(printed["miou"], abs=0.05)
    assert read_provenance(out)["changed"] == {"precision": "bf16"}


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("scale", {"prediction", "weights", "winner"}),
        ("max", {"prediction", "winner"}),
        ("dual", {"prediction", "attention_row", "channel_affinity", "channel_energy", "gates"}),
    ],
)
def test_look_writes_the_figures_a_model_has(
    name: str, figures: set[str], models: Path, photo: Path, tmp_path: Path
) -> None:
    assert main(["look", str(models / f"{name}.safetensors"), str(photo), "--out", str(tmp_path)]) == 0
    assert {p.stem for p in tmp_path.glob("*.png")} == figures
    for path in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(path)).std() > 1


def test_bad_input_is_one_line(models: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scale = models / "scale.safetensors"
    cut = tmp_path / "cut.png"
    cut.write_bytes(photo.read_bytes()[:4000])
    empty = tmp_path / "empty"
    empty.mkdir()
    file = tmp_path / "file"
    file.write_text("")
    assert "closest: train" in refused(capsys, "trian")
    assert "closest: camvid-scale" in refused(capsys, "train", "camvid-scal", "--data", "shapes", "--out", "x")
    assert "closest: shapes" in refused(capsys, "train", "shapes-dual", "--data", "shape", "--out", empty)
    assert "cut" in refused(capsys, "look", scale, cut, "--out", tmp_path / "out")
    assert "none.png" in refused(capsys, "look", scale, tmp_path / "none.png", "--out", tmp_path / "out")
    assert "no checkpoint at" in refused(capsys, "look", models / "none.safetensors", photo, "--out", tmp_path / "out")
    assert "position attention" in refused(capsys, "look", scale, photo, "--out", tmp_path, "--pixel", 3, 3)
    assert "pixel" in refused(capsys, "look", models / "dual.safetensors", photo, "--out", tmp_path, "--pixel", 900, 3)
    assert str(empty) in refused(capsys, "evaluate", scale, "--data", f"folder:{empty}")
    assert "splits" in refused(capsys, "evaluate", scale, "--data", "shapes", "--split", "vla")
    assert "cannot write" in refused(capsys, "look", scale, photo, "--out", file / "out")
    assert "at least 1" in refused(capsys, "train", "shapes-dual", "--data", "shapes", "--out", empty, "--epochs", 0)
    assert "it is a file" in refused(capsys, "train", "shapes-dual", "--data", "shapes", "--out", file)
    assert "unknown device" in refused(capsys, "look", scale, photo, "--out", tmp_path / "out", "--device", "gpu")
    assert "GPU" in refused(capsys, "look", scale, photo, "--out", tmp_path / "out", "--device", "cuda:9")
    assert "cannot write" in refused(capsys, "train", "shapes-dual", "--data", "shapes", "--out", file / "run")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_other_classes_is_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not CAMVID.is_dir():
        pytest.skip("shared/camvid is not beside the project: this test needs its real photographs")
    data = f"camvid:{CAMVID}"
    assert "classes" in refused(capsys, "evaluate", models / "scale.safetensors", "--data", data)


def test_data_check_reports_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not CAMVID.is_dir():
        pytest.skip("shared/camvid is not beside the project: this test needs its real photographs")
    import shutil

    copy = tmp_path / "camvid"
    shutil.copytree(CAMVID, copy)
    victim = next((copy / "val" / "images").glob("*.jpg"))
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[:-10])
    line = refused(capsys, "data", "check", f"camvid:{copy}")
    assert "1 files missing or damaged" in line


def test_publish_makes_a_small_copy_with_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "demo"
    flags = ["--epochs", "1", "--crop", "33", "33", "--batch-size", "128", "--checkpoints", "1", "--workers", "0"]
    assert main(["train", "shapes-dual", "--data", "shapes", "--out", str(run), *flags, "--device", "cpu"]) == 0
    assert main(["publish", str(run), str(out), "--half", "--series"]) == 0
    assert len(list(out.glob("*.safetensors"))) == 2
    card = (out / "README.md").read_text()
    assert "mIoU **0." in card
    assert "* Command: `" in card
    capsys.readouterr()
    assert "is not a finished run" in refused(capsys, "publish", tmp_path, tmp_path / "x")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Somebody's DANet on the tiny backbone, with tensors that have no place in it."""
    torch.manual_seed(0)
    tensors = DualAttention(5, backbone="tiny").state_dict() | {
        "ema.0.decay": torch.ones(2),
        "ema.1.decay": torch.ones(2),
    }
    torch.save(
        {"state_dict": {f"module.{name}": t for name, t in tensors.items()}, "epoch": 3}, tmp_path / "theirs.pth"
    )
    return tmp_path / "theirs.pth"


def test_inspect_prints_text_and_json(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(foreign)]) == 0
    assert "never moved" in capsys.readouterr().out
    assert main(["inspect", str(foreign), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["beside"] == {"epoch": 3}
    assert printed["left_over"] == {"module.ema.0.decay": [2], "module.ema.1.decay": [2]}
    assert main(["inspect", str(Path(__file__).parents[1] / "data" / "demo" / "shapes-dual")]) == 0
    assert "step_000512.safetensors" in capsys.readouterr().out


def test_convert_keeps_every_bit_and_says_where_it_is_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = "mmseg_danet_resnetv1c50"
    file, out = conformance.write(case, tmp_path), tmp_path / "ours.safetensors"
    theirs = open_checkpoint(file)
    assert main(["convert", str(file), str(out)]) == 0
    assert "written" in capsys.readouterr().out
    ours = open_checkpoint(out)
    assert (ours.spec, ours.classes) == (theirs.spec, theirs.classes)
    for name, tensor in theirs.model.state_dict().items():
        assert torch.equal(tensor, ours.model.state_dict()[name]), name
    source = ours.provenance["converted_from"]
    assert source.pop("command")
    assert source == {"file": file.name, "sha256": theirs.provenance["sha256"], "layout": "mmsegmentation"}
    assert ours.provenance["classes"] == "assumed from their number, 19"


def test_convert_takes_what_weights_do_not_show(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, names = tmp_path / "ours.safetensors", tmp_path / "names.txt"
    names.write_text("\n".join(CLASSES))
    flags = ["--no-align-corners", "--form", "paper", "--classes-file", str(names), "--half"]
    assert main(["convert", str(foreign), str(out), *flags]) == 0
    assert "module.ema.0-1.decay  2, 2 alike" in capsys.readouterr().out
    opened = open_checkpoint(out)
    assert (opened.spec.form, opened.spec.input.align_corners, opened.classes) == ("paper", False, CLASSES)
    assert out.stat().st_size < foreign.stat().st_size * 0.7
    assert main(["convert", str(foreign), str(out), "--align-corners"]) == 0
    assert open_checkpoint(out).spec.input.align_corners


def test_convert_refuses_in_one_line(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, few, junk = tmp_path / "ours.safetensors", tmp_path / "few.txt", tmp_path / "junk.pth"
    few.write_text("sky\n")
    junk.write_bytes(b"junk")
    assert "class names" in refused(capsys, "convert", foreign, out, "--classes-file", few)
    assert "exclude" in refused(capsys, "convert", foreign, out, "--align-corners", "--no-align-corners")
    assert "ends in .safetensors" in refused(capsys, "convert", foreign, tmp_path / "ours.pth")
    assert "no list of class names" in refused(capsys, "convert", foreign, out, "--classes-file", tmp_path / "none")
    assert "multi_grid" in refused(capsys, "convert", foreign, out, "--multi-grid", 4, 8, 16)
    assert "junk.pth" in refused(capsys, "convert", junk, out)
    assert "no checkpoint at" in refused(capsys, "convert", tmp_path / "none.pth", out)
    assert not out.exists()
    assert main(["convert", str(foreign), str(out)]) == 0
    capsys.readouterr()
    assert "give another name" in refused(capsys, "convert", out, out)


def test_history_writes_a_table_and_prints_the_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series, out = tmp_path / "series", tmp_path / "history.parquet"
    series.mkdir()
    for step in (900, 1000):
        tensors = {"head.sa.gamma": torch.tensor([step / 1000]), "head.sc.gamma": torch.tensor([0.25])}
        torch.save(tensors, series / f"step_{step}.pth")
    (series / "step_950.pth").write_bytes(b"junk")
    assert main(["history", str(series), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "alpha 0.9000 1.0000   0.9000   1.0000" in printed.out
    assert printed.err.count("\n") == 1
    assert "step_950.pth" in printed.err
    assert read_table(out).alpha.tolist() == pytest.approx([0.9, 1.0])
    provenance = read_provenance(out)
    assert provenance["source"] == str(series)
    assert provenance["columns"] == {"alpha": "head.sa.gamma", "beta": "head.sc.gamma"}
    assert len(provenance["files"]) == 2
    assert provenance["command"]
    assert "nothing at" in refused(capsys, "history", tmp_path / "none", "--out", out)
