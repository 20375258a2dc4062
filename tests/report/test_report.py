"""A report as its reader gets it: files of exact size, the same bytes again, nothing foreign in the page."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from analysis import open_checkpoint
from analysis.cli import COMMANDS, main
from analysis.download import sha256_of_file
from analysis.report import IMAGES, default_split
from analysis.report.tables import as_latex
from analysis.store import read_table

DEMO = Path(__file__).parents[2] / "data" / "demo"
CAMVID = Path(__file__).parents[3] / "shared" / "camvid"
SCALE = str(DEMO / "shapes-scale")
WIDTHS = {"small-objects-by-size": 3.25, "small-objects-maps": 6.875, "small-objects-effects": 6.875, "claims": 6.875}
#: Of six images: their six blocks are just enough for intervals.
COMMAND = ["report", SCALE, "--data", "shapes", "--images", "6", "--only", "small-objects", "--out", "report"]


def written(folder: Path, *arguments: str) -> Path:
    """The report of :data:`COMMAND`, or of ``arguments``, written in a folder of its own."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*(arguments or COMMAND)]) == 0
    return folder / "report"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("first"))


class Page(HTMLParser):
    """The tags and addresses of a page, and its text."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but what studies go on from; the manifest without its date."""
    files = {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
    kept = {name: data for name, data in files.items() if not name.startswith("measured")}
    kept["manifest.json"] = re.sub(rb'"date": "[^"]+"', b"", kept["manifest.json"])
    return kept


def test_figures_have_the_widths_of_columns(report: Path) -> None:
    drawn = {file.stem for file in (report / "figures").iterdir()}
    assert drawn == set(WIDTHS)
    for name, inches in WIDTHS.items():
        pdf, svg = ((report / "figures" / f"{name}.{kind}").read_bytes() for kind in ("pdf", "svg"))
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
        assert box and float(box[1]) == 72 * inches
        width = re.search(rb'<svg[^>]* width="([\d.]+)pt"', svg)
        assert width and float(width[1]) == 72 * inches
        assert Image.open(report / "figures" / f"{name}.png").width == int(300 * inches)


def test_fonts_are_embedded_and_no_file_has_a_date(report: Path) -> None:
    for file in (report / "figures").glob("*.pdf"):
        pdf = file.read_bytes()
        assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"CreationDate" not in pdf
    for file in (report / "figures").glob("*.svg"):
        svg = file.read_text()
        assert "<text" not in svg and "<dc:date>" not in svg and "font-family" not in svg


def test_the_page_needs_nothing_else(report: Path) -> None:
    page = Page(report / "report.html")
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    for address in page.addresses:
        inside = address.startswith(("data:image/svg+xml;base64,", "#")) or (report / address).is_file()
        assert inside, address
    assert page.tags.count("img") == len(WIDTHS)
    assert "://" not in re.sub(r"data:[^\"]+", "", (report / "report.html").read_text())


def test_the_page_says_what_was_measured(report: Path) -> None:
    text = " ".join(Page(report / "report.html").text.split())
    row = read_table(report / "measured/claims.parquet").iloc[0]
    assert "Of 1 sentence:" in text and f"1 {row.verdict}".replace(" ", "") in text.replace(" ", "")
    assert "The 1.0x branch carries the weight on small objects" in text and "Chen fig. 1, §4.1" in text
    assert "6 of the 128 images of shapes val, in 6 blocks, evenly spaced" in text
    assert "No recipe has 3 seeds" in text and "Attention heads drawn anew" in text
    assert "the smallest that matters is 0.05 weight" in text
    assert "6 objects, 6 blocks, 1 seed: it speaks of this checkpoint" in text


def test_tables_have_every_digit_and_latex_is_escaped(report: Path) -> None:
    stored, table = read_table(report / "measured/claims.parquet"), pd.read_csv(report / "tables/claims.csv")
    pd.testing.assert_series_equal(table["effect"], stored["effect"], check_exact=True)
    latex = (report / "tables/claims.tex").read_text()
    assert "\\toprule" in latex and "95 \\% interval" in latex and "small-objects" in latex
    sizes = pd.read_csv(report / "tables/small-objects-by-size.csv")
    assert set(sizes["value"]) == {"weight_inside", "weight_placebo"} and sizes["mean"].between(0, 1).all()
    assert "weight\\_inside" in (report / "tables/small-objects-by-size.tex").read_text()


def test_the_manifest_has_the_sum_of_everything(report: Path) -> None:
    manifest = json.loads((report / "manifest.json").read_text())
    there = {str(f.relative_to(report)) for f in report.rglob("*") if f.is_file()}
    assert set(manifest["files"]) == {f for f in there if "/parts/" not in f and f != "manifest.json"}
    assert all(sha256_of_file(report / name) == known for name, known in manifest["files"].items())
    (checkpoint,) = manifest["checkpoints"]
    assert checkpoint["sha256"] == sha256_of_file(open_checkpoint(SCALE).path)
    assert (checkpoint["seed"], checkpoint["measured_on"]["images"], manifest["schema"]) == (0, 6, 1)
    assert "--images 6 --only small-objects --out report" in manifest["command"] and "torch" in manifest["versions"]


def test_the_same_inputs_give_the_same_bytes(report: Path, tmp_path: Path) -> None:
    assert contents(written(tmp_path)) == contents(report)


def test_a_second_run_keeps_figures_and_mends_what_is_damaged(report: Path, tmp_path: Path) -> None:
    copy = tmp_path / "report"
    shutil.copytree(report, copy)
    before = contents(copy)
    (copy / "figures/claims.pdf").write_bytes(b"half")
    (copy / "report.html").unlink()
    (copy / "figures/mine.pdf").write_bytes(b"a figure of the user's own")
    times = {f: f.stat().st_mtime_ns for f in (copy / "figures").iterdir() if f.stem != "claims"}
    written(tmp_path)
    assert {f: f.stat().st_mtime_ns for f in times} == times
    assert contents(copy) == {**before, "figures/mine.pdf": b"a figure of the user's own"}


@pytest.mark.slow
def test_what_an_earlier_report_had_more_is_removed(report: Path, tmp_path: Path) -> None:
    copy = tmp_path / "report"
    shutil.copytree(report, copy)
    written(tmp_path, *COMMAND[:-4], "--only", "attention-fusion", "--out", "report")
    names = {file.stem for file in (copy / "figures").iterdir()}
    assert names == {"claims", "attention-fusion-scores", "attention-fusion-effects"}


def test_other_measurements_in_its_folder_are_not_written_over(
    report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(report, tmp_path / "report")
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, *["7" if word == "6" else word for word in COMMAND[1:]])
    assert "was measured with images 6, not 7; choose another --out" in said
    assert contents(tmp_path / "report") == contents(report)


def test_the_command_and_the_function_take_as_many_images() -> None:
    assert inspect.signature(COMMANDS["report"]).parameters["images"].default == IMAGES


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["report", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_be_reported_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "report"))
    asked = refused(capsys, SCALE, "--data", "shapes", *out, "--only", "small-object")
    assert "there is no claim 'small-object'; closest: small-objects" in asked
    assert "a report of 0 images says nothing" in refused(capsys, SCALE, "--data", "shapes", *out, "--images", "0")
    other = refused(capsys, str(DEMO / "camvid-scale"), "--data", "shapes", *out)
    assert "has 11 classes and data set shapes 5" in other
    assert "trained on" in refused(capsys, SCALE, "--data", "shapes", *out, "--split", "train")
    assert not (tmp_path / "report/report.html").exists()


def test_names_from_outside_are_text(tmp_path: Path, shapes_folder: Callable[[Sequence[int]], Path]) -> None:
    data, hostile = shapes_folder([0, 0, 0, 0, 0, 0]), tmp_path / "<img src=x onerror=alert(1)>"
    shutil.copytree(SCALE, hostile)
    (data / "classes.txt").write_text("sky\nground\ncircle*\n<script>alert(1)</script>*\ncross*\n")
    options = ("--only", "attention-fusion", "--out", "report")  # whose numbers are by class, and quick
    report = written(tmp_path, "report", str(hostile), "--data", f"folder:{data}", *options)
    page = Page(report / "report.html")
    assert "script" not in page.tags and "<img src=x onerror=alert(1)>" in page.text
    assert "<script>alert(1)</script>" in page.text and page.tags.count("img") >= 2
    latex = as_latex(pd.DataFrame({"class": ["sq_u&are", "cr%oss"]}))
    assert "sq\\_u\\&are" in latex and "cr\\%oss" in latex


def test_the_split_that_is_taken(tmp_path: Path, shapes_folder: Callable[[Sequence[int]], Path]) -> None:
    scale = open_checkpoint(SCALE)
    assert default_split([scale], "shapes") == "val"
    assert default_split([scale], f"folder:{shapes_folder([0])}") == "all"


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"no CamVid at {CAMVID}")
def test_folds_are_measured_on_the_other(tmp_path: Path) -> None:
    checkpoint, data = open_checkpoint(DEMO / "camvid-scale"), f"camvid:{CAMVID}"
    assert default_split([checkpoint], data) == "val"
    checkpoint.origin["split"] = "blocks-even"
    assert default_split([checkpoint], data) == "blocks"
    assert default_split([checkpoint], "shapes") == "val"


@pytest.mark.slow
def test_a_killed_report_goes_on(report: Path, tmp_path: Path) -> None:
    """Killed in the measurements, then in the figures: no half file, and in the end the same bytes."""
    command = [sys.executable, "-m", "analysis", *COMMAND]
    root = str(DEMO.parents[1])
    out = tmp_path / "report"
    for sign in ("measured/parts/object_scale/*/description.json", "figures/*.svg"):
        with subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}) as process:
            deadline = time.monotonic() + 300
            while not list(out.glob(sign)) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL and not (out / "report.html").exists()
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}, check=True, timeout=600)
    mine, whole = contents(out), contents(report)
    for made in (mine, whole):  # the tables of studies name the program that they were measured with, here pytest
        made["manifest.json"] = re.sub(rb'"measured/[^"]+": "[^"]+"', b"", made["manifest.json"])
    assert mine == whole and not list(out.rglob(".*.part"))


@pytest.mark.slow
def test_every_sentence_has_a_section(tmp_path: Path) -> None:
    dual = str(DEMO / "shapes-dual")
    report = written(tmp_path, "report", SCALE, dual, "--data", "shapes", "--images", "8", "--out", "report")
    page = Page(report / "report.html")
    text = " ".join(page.text.split())
    assert "Of 12 sentences:" in text
    drawn = {file.stem for file in (report / "figures").iterdir()}
    assert {
        *("claims", "small-objects-maps", "small-objects-by-size", "large-objects-by-class"),
        *("weights-matter-iou-by-size", "attention-fusion-scores", "distinct-scales-similarity"),
        *("same-class-context-rows", "same-class-context-mass", "class-channels-clusters"),
        *("gates-grow-values", "gates-grow-contributions", "gates-grow-effects"),
    } <= drawn
    assert page.tags.count("img") == len(drawn)
