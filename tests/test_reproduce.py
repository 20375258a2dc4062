"""The script behind data/reproduction: what it would train, and that tables are added to and never lost."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis.store import read_provenance, read_table, write_table
from analysis.training.recipe import find_recipe

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))  # as for a script of that folder; last, for it has a dashboard too
REPRODUCE = runpy.run_path(str(ROOT / "benchmarks" / "reproduce.py"))
STORED = ROOT / "data" / "reproduction"


def test_every_training_is_once_in_the_grid_and_paired_ones_stand_together() -> None:
    names = [one.name for one in REPRODUCE["trainings"]()]
    assert len(names) == len(set(names)) == 6 * len(REPRODUCE["RECIPES"])
    assert names.index("scale-average-per_scale-even-2") < names.index("scale-average-per_scale-odd-0")


def test_recipes_differ_from_ones_that_exist() -> None:
    for recipe, *flags in REPRODUCE["RECIPES"].values():
        find_recipe(recipe)
        assert all(flag.startswith("--model.") for flag in flags if flag.startswith("--"))


def test_what_is_stored_is_not_trained_again() -> None:
    assert {"scale-per_scale-even-0", "dual-paper-odd-2"} <= REPRODUCE["stored"](STORED)


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    """A run of the grid as training leaves it, its numbers those of a stored one."""
    table = read_table(STORED / "metrics.parquet").query("checkpoint == 'scale-per_scale-even-0'")
    recipe = table["recipe"].str.replace("camvid-scale", "camvid-scale model.fusion=max")
    run = tmp_path / "runs" / "scale-max-per_scale-even-0"
    write_table(table.assign(checkpoint=run.name, recipe=recipe, iou=table["iou"] - 0.01), run / "metrics.parquet", {})
    for name in ("history", "scores"):
        rows = read_table(STORED / f"{name}.parquet").iloc[:3]
        provenance = {"checkpoint": {"command": "attention-analysis train camvid-scale --model.fusion max"}}
        write_table(rows.assign(checkpoint=run.name, recipe=recipe.iloc[0]), run / f"{name}.parquet", provenance)
    return tmp_path / "runs"


def test_new_runs_are_kept_beside_the_stored_ones(tmp_path: Path, finished_run: Path) -> None:
    before = read_table(STORED / "metrics.parquet")
    for name in ("metrics", "history"):
        write_table(read_table(STORED / f"{name}.parquet"), tmp_path / "kept" / f"{name}.parquet", {})
    for _ in range(2):  # the second time nothing is added twice
        REPRODUCE["store"](finished_run, tmp_path / "no-claims", tmp_path / "kept")
    after = read_table(tmp_path / "kept" / "metrics.parquet")
    assert set(after["checkpoint"]) == {*before["checkpoint"], "scale-max-per_scale-even-0"}
    assert len(after) == len(before) + len(before.query("checkpoint == 'scale-per_scale-even-0'"))
    pd.testing.assert_frame_equal(after.iloc[: len(before)].reset_index(drop=True), before, check_dtype=False)
    page = (tmp_path / "kept" / "README.md").read_text()
    assert "| scale-max-per_scale | 1 of 6 |" in page
    commands = read_provenance(tmp_path / "kept" / "metrics.parquet")["trainings"]
    assert commands == {"scale-max-per_scale-even-0": "attention-analysis train camvid-scale --model.fusion max"}
    assert "attention less max | +1.00 no interval |" in page


def test_the_stored_page_is_what_the_tables_say() -> None:
    progress = REPRODUCE["_progress"](REPRODUCE["stored"](STORED))
    assert (STORED / "README.md").read_text() == REPRODUCE["card"](STORED, progress)


def test_the_front_page_has_the_verdicts_as_found() -> None:
    page = (ROOT / "README.md").read_text()
    assert REPRODUCE["verdicts"](read_table(STORED / "claims.parquet")) in page
    assert f"Tested on {len(read_provenance(STORED / 'claims.parquet')['checkpoints'])} small trainings" in page
    trained, grid = len(REPRODUCE["stored"](STORED)), len(list(REPRODUCE["trainings"]()))
    assert f"{trained} of the {grid} trainings" in page


def test_verdicts_of_fewer_trainings_do_not_take_the_place_of_stored_ones(tmp_path: Path, finished_run: Path) -> None:
    for name in ("metrics", "claims"):
        source = STORED / f"{name}.parquet"
        write_table(read_table(source), tmp_path / "kept" / source.name, read_provenance(source))
    before = read_table(STORED / "claims.parquet")
    tested = read_provenance(STORED / "claims.parquet")["checkpoints"]
    fewer = dict(list(tested.items())[1:])
    write_table(before.iloc[1:], tmp_path / "claimed" / "claims.parquet", {"checkpoints": fewer})
    with pytest.raises(SystemExit, match=r"without 1 of the 24 trainings .* `train --again`"):
        REPRODUCE["store"](finished_run, tmp_path / "claimed", tmp_path / "kept")
    assert len(read_table(tmp_path / "kept" / "claims.parquet")) == len(before)
    write_table(before.iloc[1:], tmp_path / "claimed" / "claims.parquet", {"checkpoints": tested})
    REPRODUCE["store"](finished_run, tmp_path / "claimed", tmp_path / "kept")
    assert len(read_table(tmp_path / "kept" / "claims.parquet")) == len(before) - 1


def test_a_run_that_was_killed_before_its_scores_is_not_finished(finished_run: Path) -> None:
    assert len(REPRODUCE["finished"](finished_run)) == 1
    next(finished_run.glob("*/scores.parquet")).unlink()
    assert not REPRODUCE["finished"](finished_run)


def test_every_stored_training_has_its_command() -> None:
    for name in REPRODUCE["KEPT"]:
        commands = read_provenance(STORED / f"{name}.parquet")["trainings"]
        assert set(commands) == set(read_table(STORED / f"{name}.parquet")["checkpoint"])
        for run, command in commands.items():
            assert command.startswith("attention-analysis train camvid-") and f"{run} " in command


def test_nothing_to_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no finished run"):
        REPRODUCE["store"](tmp_path, tmp_path, tmp_path / "kept")
