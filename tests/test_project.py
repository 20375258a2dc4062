"""What holds the project together: import arrows, environments, sizes."""

import ast
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]

#: DESIGN 4: a module imports from its own level or from levels further down.
LEVELS = [
    {"cli", "__main__"},
    {"widgets", "report"},
    {"figures", "claims"},
    {"studies"},
    {"training"},
    {"evaluation", "views", "inspection", "forms", "planted"},
    {"modules"},
    {"checkpoints", "published"},
    {"taps", "tap_names", "datasets", "store", "download", "reading", "statistics", "measures"},
    {"models"},
    {"errors"},
]
#: Inside a level only these.
SIDEWAYS = {
    ("taps", "tap_names"),
    ("measures", "datasets"),
    ("datasets", "download"),
    ("published", "download"),
    ("__main__", "cli"),
}


def imports(file: Path) -> set[str]:
    """Names of the parts of ``analysis`` that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "analysis":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {a.name for a in node.names if a.name not in PUBLIC}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("analysis.")}
    return found


def part(file: Path) -> str:
    return file.relative_to(ROOT / "analysis").parts[0].removesuffix(".py")


def level(name: str) -> int:
    return next(i for i, names in enumerate(LEVELS) if name in names)


#: What ``from analysis import`` gives besides its parts.
PUBLIC = {"capture", "intervene", "open_checkpoint", "open_module"}

FILES = [f for f in sorted((ROOT / "analysis").rglob("*.py")) if f.parent != ROOT / "analysis" or f.stem != "__init__"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_arrows_point_one_way(file: Path) -> None:
    here = part(file)
    for there in imports(file) - {here}:
        assert level(there) > level(here) or (here, there) in SIDEWAYS, f"{here} must not import {there}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_the_package_knows_no_front_end_but_in_widgets(file: Path) -> None:
    text = file.read_text()
    front_ends = set(re.findall(r"^\s*(?:import|from) (streamlit|IPython|ipywidgets|anywidget)", text, re.MULTILINE))
    assert front_ends <= ({"ipywidgets", "anywidget"} if part(file) == "widgets" else set())
    assert "matplotlib.pyplot" not in text


def test_only_notebooks_and_tests_import_the_widgets() -> None:
    files = [file for folder in ("analysis", "app", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    assert not [file for file in files if "widgets" in imports(file)]


def test_import_is_quick_and_lazy() -> None:
    heavy = ["captum", "sklearn", "duckdb", "matplotlib", "pandas", "timm", "scipy"]
    code = f"import sys, analysis; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_public_names() -> None:
    import analysis

    assert all(callable(getattr(analysis, name)) for name in analysis.__all__)
    with pytest.raises(AttributeError):
        analysis.nothing  # noqa: B018


def requirements() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    everything = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    return {f"py{r}" if r.startswith("torch>") else r for r in everything}


def test_environment_yml_is_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in environment if isinstance(entry, dict))
    names = {entry for entry in environment if isinstance(entry, str)} | set(pip)
    assert names - {"pip", "python>=3.11"} == requirements()


def test_the_lock_has_every_requirement_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    locked = {line.split("==")[0].lower() for line in lock.splitlines() if "==" in line}
    wanted = {re.split(r"[>=]", r)[0].lower() for r in requirements()}
    assert {"torch" if name == "pytorch" else name for name in wanted} <= locked


def test_the_core_stays_small() -> None:
    parts = ("models", "taps", "tap_names", "measures", "checkpoints")
    lines = sum(len(f.read_text().splitlines()) for f in FILES if part(f) in parts)
    assert lines < 2800  # 2,500 before position attention had a backward, bf16, and rows of some cells alone


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_files_fit_on_a_few_screens(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 300
