"""The dashboard's modules lie beside its main script, as Streamlit finds them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "app"
sys.path.insert(0, str(APP))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the dashboard is started."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
