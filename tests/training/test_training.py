"""The training loop: determinism, resuming, several processes, histories, errors."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.checkpoints import checkpoint_files, open_checkpoint
from analysis.datasets import open_dataset
from analysis.datasets.sample import Dataset
from analysis.errors import AnalysisError
from analysis.store import read_provenance, read_table
from analysis.training.loop import Trainer, make_optimizer, train
from analysis.training.publish import publish
from analysis.training.recipe import RECIPES, Recipe, find_recipe, learning_rate_factor, recipe_label

SMALL = {"epochs": 2, "batch_size": 4, "checkpoints": 2, "save_every": 2, "class_weights": "none", "crop": (64, 64)}


def first(dataset: Dataset, n: int) -> Dataset:
    return dataclasses.replace(dataset, items=dataset.items[:n])


def small(name: str, **fields: object) -> Recipe:
    return dataclasses.replace(find_recipe(name), **{**SMALL, **fields})


@pytest.fixture(scope="module")
def scenes() -> tuple[Dataset, Dataset]:
    return first(open_dataset("shapes", "train"), 12), first(open_dataset("shapes", "val"), 3)


def run(
    recipe: Recipe, scenes: tuple[Dataset, Dataset], out: Path, name: str = "shapes-dual", **options: object
) -> Path:
    return train(name, recipe, *scenes, out, **{"workers": 0, "device": "cpu", **options})


def weights(out: Path) -> dict[str, torch.Tensor]:
    return open_checkpoint(out).model.state_dict()


def test_a_run_directory_holds_what_the_design_says(scenes: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    out = run(small("shapes-dual"), scenes, tmp_path / "run", seed=3)
    history, metrics = read_table(out / "history.parquet"), read_table(out / "metrics.parquet")
    gates = [f"{gate}{part}" for gate in ("alpha", "beta") for part in ("", "_grad", "_contribution")]
    losses = ["loss", "loss_fused", "loss_position", "loss_channel"]
    identity = ["checkpoint", "recipe", "seed", "dataset", "split", "block"]
    assert set(history.columns) == {"step", "epoch", "learning_rate", *gates, *losses, *identity}
    assert history.step.tolist() == list(range(6))
    np.testing.assert_allclose(history.loss, history[losses[1:]].sum(axis=1))
    assert history.alpha[0] == history.alpha_contribution[0] == 0.0
    assert history.alpha_grad[0] != 0
    assert history.alpha.iloc[-1] != 0
    assert history.alpha_contribution.iloc[-1] > 0
    assert sorted(metrics.step.unique()) == [3, 6]
    assert set(metrics["class"]) == set(scenes[0].classes)
    assert [f.stem for f in checkpoint_files(out)] == ["step_000000", "step_000003", "step_000006"]
    assert read_provenance(out / "history.parquet")["seed"] == 3
    assert json.loads((out / "config.json").read_text())["recipe"].startswith("shapes-dual ")
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize("name", ["shapes-scale", "shapes-dual"])
def test_the_same_seed_gives_the_same_weights(name: str, scenes: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    a, b, other = (run(small(name), scenes, tmp_path / out, name, seed=s) for out, s in (("a", 1), ("b", 1), ("c", 2)))
    assert all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))
    assert any(not torch.equal(x, y) for x, y in zip(weights(a).values(), weights(other).values(), strict=True))


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_a_stopped_run_resumes_to_the_same_weights(
    stop_at: int, scenes: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(small("shapes-scale"), scenes, tmp_path / "whole", "shapes-scale")
    step = Trainer.step

    def stopping(self: Trainer, number: int, *rest: object) -> dict[str, float]:
        if number == stop_at:
            raise Stop
        return step(self, number, *rest)

    monkeypatch.setattr(Trainer, "step", stopping)
    with pytest.raises(Stop):
        run(small("shapes-scale"), scenes, tmp_path / "cut", "shapes-scale")
    monkeypatch.setattr(Trainer, "step", step)
    cut = run(small("shapes-scale"), scenes, tmp_path / "cut", "shapes-scale", resume=True)
    assert all(torch.equal(x, y) for x, y in zip(weights(whole).values(), weights(cut).values(), strict=True))
    for table in ("history.parquet", "metrics.parquet"):
        a, b = (read_table(out / table).drop(columns="checkpoint") for out in (whole, cut))
        pd.testing.assert_frame_equal(a, b)


class Kill(BaseException):
    pass


@pytest.mark.parametrize("after", [False, True], ids=["before the rename", "after the rename"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_a_run_killed_at_any_write_goes_on_to_the_same_weights(
    n: int, after: bool, scenes: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small("shapes-scale", epochs=1, save_every=3)
    whole = run(recipe, scenes, tmp_path / "whole", "shapes-scale")
    calls, replace = iter(range(1, 100)), Path.replace

    def killing(self: Path, target: Path) -> Path:
        killed = next(calls) == n
        if killed and not after:
            raise Kill
        result = replace(self, target)
        if killed:
            raise Kill
        return result

    monkeypatch.setattr(Path, "replace", killing)
    with pytest.raises(Kill):
        run(recipe, scenes, tmp_path / "cut", "shapes-scale")
    monkeypatch.setattr(Path, "replace", replace)
    begun = (tmp_path / "cut" / "config.json").is_file()
    cut = run(recipe, scenes, tmp_path / "cut", "shapes-scale", resume=begun)
    assert all(torch.equal(x, y) for x, y in zip(weights(whole).values(), weights(cut).values(), strict=True))
    assert len(read_table(cut / "history.parquet")) == 3
    assert not list(cut.rglob("*.part"))


@pytest.mark.slow
def test_kill_9_and_resume_from_the_command_line(tmp_path: Path) -> None:
    flags = ["--epochs", "1", "--batch-size", "4", "--crop", "64", "64", "--class-weights", "none"]
    flags += ["--checkpoints", "1", "--save-every", "5", "--workers", "1", "--device", "cpu"]
    command = [sys.executable, "-m", "analysis", "train", "shapes-dual", "--data", "shapes", *flags, "--out"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([*command, whole], check=True, capture_output=True)
    process = subprocess.Popen([*command, cut], stderr=subprocess.DEVNULL, start_new_session=True)
    while not (cut / "resume.pt").is_file():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([*command, cut, "--resume"], check=True, capture_output=True)
    assert all(torch.equal(x, y) for x, y in zip(weights(whole).values(), weights(cut).values(), strict=True))


@pytest.mark.slow
def test_two_processes_give_the_loss_of_one(tmp_path: Path) -> None:
    flags = ["--epochs", "1", "--batch-size", "8", "--crop", "64", "64", "--model.fusion", "average"]
    flags += ["--freeze-batch-norm", "--checkpoints", "1", "--workers", "0", "--device", "cpu"]
    arguments = ["-m", "analysis", "train", "shapes-scale", "--data", "shapes", *flags, "--out"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for launcher, out in (([], "one"), (torchrun, "two")):
        command = [sys.executable, *launcher, *arguments, str(tmp_path / out)]
        subprocess.run(command, check=True, capture_output=True, env=environment)
    one, two = (read_table(tmp_path / out / "history.parquet") for out in ("one", "two"))
    np.testing.assert_allclose(one.loss, two.loss, rtol=2e-3)
    np.testing.assert_allclose(one.loss[:8], two.loss[:8], rtol=1e-5)


def test_nothing_is_written_where_weights_are_missing(scenes: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no weights at"):
        run(small("shapes-dual", pretrained=str(tmp_path / "none.pth")), scenes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_broken_mask_found_by_a_loading_process_is_one_line(
    scenes: tuple[Dataset, Dataset], shapes_folder: Callable[[Sequence[int]], Path], tmp_path: Path
) -> None:
    folder = shapes_folder([9, 0, 0, 0])
    data = open_dataset(f"folder:{folder}", "all")
    with pytest.raises(AnalysisError, match=r"0\.png") as caught:
        run(small("shapes-dual"), (data, scenes[1]), tmp_path / "run", workers=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["epochs", "checkpoints", "batch_size", "step_every"])
def test_counts_below_one_are_refused(field: str, scenes: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="must be at least 1"):
        run(small("shapes-dual", **{field: 0}), scenes, tmp_path / "run")


def test_publishing_a_run_onto_itself_is_refused(scenes: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    out = run(small("shapes-dual"), scenes, tmp_path / "run")
    with pytest.raises(AnalysisError, match="publish it into another folder"):
        publish(out, out)
    assert len(checkpoint_files(out)) == 3
    (out / "checkpoints" / "step_000006.safetensors").unlink()
    with pytest.raises(AnalysisError, match="not a finished run"):
        publish(out, tmp_path / "demo")


def test_a_nan_loss_names_step_and_part(
    scenes: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small("shapes-scale", learning_rate=1e30)
    with pytest.raises(AnalysisError, match=r"step \d+: loss part '\w+' is (nan|inf)") as caught:
        run(recipe, scenes, tmp_path / "run", "shapes-scale")
    assert "\n" not in str(caught.value)


def test_wrong_folders_are_one_line(scenes: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    recipe = small("shapes-dual", epochs=1)
    with pytest.raises(AnalysisError, match="holds no run to resume"):
        run(recipe, scenes, tmp_path / "none", resume=True)
    out = run(recipe, scenes, tmp_path / "run")
    with pytest.raises(AnalysisError, match="is not empty; continue it with --resume"):
        run(recipe, scenes, out)
    with pytest.raises(AnalysisError, match="was trained with seed 0, not 1"):
        run(recipe, scenes, out, seed=1, resume=True)
    with pytest.raises(AnalysisError, match=r"was trained with learning_rate 0\.01, not 0\.5"):
        run(dataclasses.replace(recipe, learning_rate=0.5), scenes, out, resume=True)


def test_data_that_do_not_fit_are_refused_before_anything_is_written(
    scenes: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    recipe = small("shapes-dual", model=dataclasses.replace(RECIPES["shapes-dual"].model, classes=7))
    with pytest.raises(AnalysisError, match=r"model\.classes is 7, data set shapes has 5"):
        run(recipe, scenes, tmp_path / "run")
    with pytest.raises(AnalysisError, match="fewer than one batch"):
        run(small("shapes-dual", batch_size=100), scenes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_gates_carry_no_weight_decay_and_factors_follow_the_recipe() -> None:
    from analysis.models import build

    recipe = RECIPES["cityscapes-dual-resnet101"]
    spec = dataclasses.replace(recipe.model, classes=3, backbone="resnet50")
    model = build(spec)
    optimizer = make_optimizer(model, recipe)
    options = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert options[id(model.pam.gate)]["weight_decay"] == 0
    assert options[id(model.pam.query.weight)]["weight_decay"] == recipe.weight_decay
    assert options[id(model.backbone.conv1.weight)]["factor"] == 1
    assert options[id(model.pam.query.weight)]["factor"] == 10
    assert len(options) == len(list(model.parameters()))


def test_schedules() -> None:
    poly, step = RECIPES["cityscapes-dual-resnet101"], RECIPES["voc-scale-vgg16"]
    assert learning_rate_factor(poly, 50, 100) == pytest.approx(0.5**0.9)
    assert [learning_rate_factor(step, s, 6000) for s in (0, 1999, 2000, 4000)] == pytest.approx([1, 1, 0.1, 0.01])
    cycle = [learning_rate_factor(RECIPES["camvid-scale"], s, 100) for s in range(100)]
    assert max(cycle) > 0.99
    assert cycle[0] < 0.01
    assert cycle[-1] < 0.01


def test_recipe_label_names_what_differs() -> None:
    recipe = RECIPES["camvid-scale"]
    changed = dataclasses.replace(recipe, epochs=2, model=dataclasses.replace(recipe.model, fusion="max", classes=11))
    assert recipe_label("camvid-scale", changed) == "camvid-scale model.fusion=max epochs=2"


def test_unknown_recipe_lists_the_closest() -> None:
    with pytest.raises(AnalysisError, match="closest: camvid-scale"):
        find_recipe("camvid-scal")
