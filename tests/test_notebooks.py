"""Every notebook runs from top to bottom without a browser: on the embedded demo, and on CamVid where it is."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
CAMVID = ROOT.parent / "shared" / "camvid"
FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST = 12  # lines of a cell: more is logic, which belongs where a test reaches it
NAMES = [
    "00_quickstart",
    "01_attention_to_scale",
    "02_small_objects",
    "03_extra_supervision",
    "04_dual_attention",
    "05_where_a_pixel_looks",
    "06_channel_groups",
    "07_alpha_beta",
    "08_attention_or_explanation",
    "09_reproduction",
    "10_your_own_checkpoint",
]


def read(file: Path) -> Any:
    return nbformat.read(file, as_version=4)


def parameters(notebook: Any) -> Any:
    return next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))


def on_camvid(source: str) -> str:
    """The same parameters with the CamVid checkpoints and data."""
    return source.replace("demo/shapes-", "demo/camvid-").replace('"shapes"', f'"camvid:{CAMVID}"')


def execute(notebook: Any, **environment: str) -> Any:
    where = {"metadata": {"path": str(ROOT / "notebooks")}}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where)
    return client.execute(env={**os.environ, **environment})


@pytest.fixture(scope="module")
def on_demo(request: pytest.FixtureRequest) -> Iterator[Mapping[Path, Future[Any]]]:
    """The executed notebooks of the tests that were chosen: two run at a time, on a core each.

    Half of a notebook's time is the start of a kernel and imports, which take one core.
    """
    tests = [item for item in request.session.items if item.originalname == "test_it_runs_on_the_embedded_demo"]
    with ThreadPoolExecutor(max_workers=2) as pool:
        files = [item.callspec.params["file"] for item in tests]
        yield {file: pool.submit(execute, read(file), OMP_NUM_THREADS="1") for file in files}
        pool.shutdown(cancel_futures=True)


def mime_types(notebook: Any) -> set[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return {kind for output in outputs for kind in output.get("data", {})}


def test_they_are_all_there_in_reading_order() -> None:
    assert [file.stem for file in FILES] == NAMES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_committed_without_outputs(file: Path) -> None:
    notebook = read(file)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert "widgets" not in notebook.metadata


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_has_no_logic_that_a_test_cannot_reach(file: Path) -> None:
    for cell in read(file).cells:
        if cell.cell_type == "code":
            source = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
            assert len(source.splitlines()) <= LONGEST, source
            functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
            assert all((node.end_lineno or 0) - node.lineno < 8 for node in functions), source


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_runs_on_the_embedded_demo(file: Path, on_demo: Mapping[Path, Future[Any]]) -> None:
    assert "image/png" in mime_types(on_demo[file].result())


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_runs_on_camvid(file: Path) -> None:
    if not CAMVID.is_dir():
        pytest.skip(f"{CAMVID} is not here: CamVid's photographs are not part of the project")
    notebook = read(file)
    cell = parameters(notebook)
    if on_camvid(cell.source) == cell.source:
        pytest.skip(f"{file.stem} has no parameter that names a data set: it reads stored tables")
    cell.source = on_camvid(cell.source)
    execute(notebook)
    assert "image/png" in mime_types(notebook)
