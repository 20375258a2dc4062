"""The frame of the studies: the same table however it was made, whatever was killed, with flat memory."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen, check_output

import brightness_study as example
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from PIL import Image

from analysis.datasets import open_dataset
from analysis.errors import AnalysisError
from analysis.forms import with_precision
from analysis.store import Tables, query, read_provenance, read_table, write_source, write_table
from analysis.studies import parts
from analysis.studies.study import Result, identity, run

IMAGES = 70  # four parts of 16, and one of 6
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def expected() -> Result:
    return example.measure(None, IMAGES)


def same(a: Result, b: Result) -> bool:
    assert sorted(a.tables) == sorted(b.tables)
    for name in b.tables:
        assert_frame_equal(a[name], b[name])
    return True


def start(out: Path, pause: float, rank: int = 0, world: int = 1) -> Popen:
    """Measure in a process of its own, as torchrun would start it: not forked, as threads are not."""
    place = {"RANK": str(rank), "WORLD_SIZE": str(world), "PYTHONPATH": str(ROOT)}
    return Popen([sys.executable, example.__file__, out, str(IMAGES), str(pause)], env={**os.environ, **place})


def marks(out: Path) -> list[Path]:
    return sorted(out.glob("parts/brightness/*/*.done"))


def test_every_row_says_where_it_comes_from(expected: Result) -> None:
    table = expected["pixels"]
    assert len(table) == IMAGES * example.ROWS
    assert table.image.drop_duplicates().tolist() == [f"{i:05d}" for i in range(IMAGES)]
    assert set(table.block) == {f"block {i}" for i in range(7)}
    said = table[["checkpoint", "recipe", "seed", "dataset", "split"]].drop_duplicates().values.tolist()
    assert said == [["shapes-scale/step_000512", "shapes-scale", 0, "tiny", "val"]]


def test_parts_give_the_table_of_memory(expected: Result, tmp_path: Path) -> None:
    assert same(example.measure(tmp_path, IMAGES), expected)
    files = sorted(tmp_path.glob("parts/brightness/*/pixels/*.parquet"))
    assert [f.name for f in files] == [f"part-{i:06d}.parquet" for i in range(5)]
    assert len(read_table(files[4])) == 6 * example.ROWS
    said = read_provenance(files[0])
    assert said["checkpoint_sha256"] == example.demo().provenance["sha256"]
    assert said["options"] == {"threshold": 0.5, "pause": 0.0, "broken": ""} and said["command"] and said["seed"] == 0


def test_a_finished_run_is_not_measured_again(expected: Result, tmp_path: Path) -> None:
    example.measure(tmp_path, IMAGES)
    before = {mark: mark.stat().st_mtime_ns for mark in marks(tmp_path)}
    assert same(example.measure(tmp_path, IMAGES), expected)
    assert {mark: mark.stat().st_mtime_ns for mark in marks(tmp_path)} == before


def test_a_crash_between_two_tables_of_a_part_is_no_finished_part(expected: Result, tmp_path: Path) -> None:
    example.measure(tmp_path, IMAGES)
    marks(tmp_path)[2].unlink()
    (few,) = tmp_path.glob("parts/brightness/*/few")
    (few / "part-000002.parquet").unlink()
    (few / ".part-000002.parquet.77.part").write_bytes(b"half")
    assert same(example.measure(tmp_path, IMAGES), expected)
    assert not list(few.glob(".*"))


def test_a_killed_run_goes_on_and_gives_the_same_table(expected: Result, tmp_path: Path) -> None:
    process = start(tmp_path, pause=0.02)
    while len(marks(tmp_path)) < 2:
        time.sleep(0.01)
        assert process.poll() is None
    process.kill()
    process.wait()
    kept = {mark: mark.stat().st_mtime_ns for mark in marks(tmp_path)}
    assert 2 <= len(kept) < 5
    assert same(example.measure(tmp_path, IMAGES, pause=0.02), expected)
    assert {mark: mark.stat().st_mtime_ns for mark in kept} == kept


def test_processes_share_the_parts_and_each_has_the_whole_table(
    expected: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = start(tmp_path, pause=0.01, rank=1, world=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert same(example.measure(tmp_path, IMAGES, pause=0.01), expected)
    assert other.wait() == 0


def test_a_process_that_died_is_not_waited_for_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(parts, "_PATIENCE", 0.2)
    with pytest.raises(AnalysisError, match="2 parts are missing, and process 1 has given no sign of life"):
        example.measure(tmp_path, IMAGES)


def test_the_error_of_one_process_is_that_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(example.measure, tmp_path, IMAGES, broken="00020")
        while len(marks(tmp_path)) < 3:
            time.sleep(0.01)
        monkeypatch.setenv("RANK", "1")
        with pytest.raises(AnalysisError, match="00020 is broken"):
            example.measure(tmp_path, IMAGES, broken="00020")
        with pytest.raises(AnalysisError, match="00020 is broken"):
            waiting.result()


def test_parts_of_another_measurement_are_refused(tmp_path: Path) -> None:
    example.measure(tmp_path, 20)
    with pytest.raises(AnalysisError, match=r"was measured with threshold 0.5, not 0.7; choose another --out"):
        example.measure(tmp_path, 20, threshold=0.7)
    with pytest.raises(AnalysisError, match="was measured with images 20, not 21"):
        example.measure(tmp_path, 21)


def test_parts_of_the_same_weights_in_another_form_are_refused(tmp_path: Path) -> None:
    dataset = example.tiny_dataset(2)
    run(example.Brightness(), example.demo(), dataset, tmp_path)
    with pytest.raises(AnalysisError, match=r"was measured with changed {}, not {'precision': 'bf16'}"):
        run(example.Brightness(), with_precision(example.demo(), "bf16"), dataset, tmp_path)


def test_parts_of_other_code_are_refused(tmp_path: Path) -> None:
    example.measure(tmp_path, 2)
    (file,) = tmp_path.glob("parts/brightness/*/description.json")
    description = json.loads(file.read_text())
    file.write_text(json.dumps(description | {"code": "another"}))
    with pytest.raises(AnalysisError, match=f"with code another, not {description['code']}; .*description.json"):
        example.measure(tmp_path, 2)


def test_copied_files_are_the_same_and_changed_ones_are_not(tmp_path: Path) -> None:
    """A copy, or a disk that was mounted again, has other times."""
    photographs = [tmp_path / "data" / "images" / f"{i}.png" for i in range(3)]
    photographs[0].parent.mkdir(parents=True)
    (tmp_path / "data" / "classes.txt").write_text("\n".join("abcde"))
    for i, file in enumerate(photographs):
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(file)

    def measure() -> Result:
        dataset = open_dataset(f"folder:{tmp_path / 'data'}", "all")
        return run(example.Brightness(), example.demo(), dataset, tmp_path / "out")

    first = measure()
    os.utime(photographs[1], (1, 1))
    assert same(measure(), first)
    Image.fromarray(np.full((4, 4, 3), 9, np.uint8)).save(photographs[1])  # as many bytes
    with pytest.raises(AnalysisError, match="was measured with files"):
        measure()


def test_what_cannot_be_run_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnalysisError, match="tiny val has no image"):
        example.measure(None, 0)
    with pytest.raises(AnalysisError, match=r"no table 'pixel' in this result; closest: pixels"):
        example.measure(None, 1)["pixel"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(AnalysisError, match="--out"):
        example.measure(None, 1)


def test_sql_answers_without_loading_the_table(expected: Result, tmp_path: Path) -> None:
    sql = "select image, avg(grey) as grey from pixels where above group by image order by image"
    stored = example.measure(tmp_path, IMAGES)
    pixels = expected["pixels"]
    means = pixels[pixels.above].groupby("image", as_index=False).grey.mean()
    assert isinstance(stored.tables, Tables)
    for result in (stored, expected):
        assert_frame_equal(result.summary(sql), means, check_dtype=False)
    assert not stored.tables.loaded()
    assert stored["few"] is stored["few"] and stored.tables.loaded() == {"few"}
    with pytest.raises(AnalysisError, match=r"the query failed: .*nothing"):
        stored.summary("select nothing from pixels")


def test_sums_are_the_same_each_time(tmp_path: Path) -> None:
    parts = [tmp_path / f"{i}.parquet" for i in range(8)]
    for i, part in enumerate(parts):
        write_table(pd.DataFrame({"x": np.random.default_rng(i).lognormal(0, 9, 3000)}), part, {})
    assert len({query("select sum(x) as x from t", {"t": parts}).x[0] for _ in range(20)}) == 1


def test_parts_become_one_file(expected: Result, tmp_path: Path) -> None:
    for name, source in example.measure(tmp_path, IMAGES).sources.items():
        assert not isinstance(source, pd.DataFrame)
        write_source(source, tmp_path / f"{name}.parquet", {"study": "brightness"})
        assert_frame_equal(read_table(tmp_path / f"{name}.parquet"), expected[name])
        assert read_provenance(tmp_path / f"{name}.parquet") == {"study": "brightness"}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """1,000 images have 2,000,000 rows here: 200 MiB, were they kept."""
    program = [sys.executable, str(ROOT / "tests" / "brightness_study.py")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    peaks = [float(check_output([*program, str(tmp_path / n), n, "0"], env=env)) for n in ("100", "1000")]
    assert peaks[1] < peaks[0] + 25


def test_folds_of_one_training_are_one_recipe() -> None:
    checkpoint = example.demo()
    checkpoint.origin["recipe"] = "camvid-scale model.fusion=max split=blocks-even validation=blocks-odd crop=(2, 3)"
    assert identity(checkpoint, example.tiny_dataset(1))["recipe"] == "camvid-scale model.fusion=max crop=(2, 3)"
    del checkpoint.origin["recipe"], checkpoint.origin["seed"]
    said = pd.Series(identity(checkpoint, example.tiny_dataset(1)))
    assert said.recipe == said.checkpoint and said.seed == 0
