"""What is shown while the packages behind a page are still being imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
from dashboard import warm
from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[2] / "app"
ROOT = APP.parent


#: A page that fails half-way.
FAILS = """
import streamlit as st
from dashboard import address, early
address.adopt("look")
with early.while_importing("Look"):
    st.session_state["drawn"] = True
    raise ValueError
"""


def shown(parameters: dict[str, str]) -> list[str]:
    """The captions of the pictures that are shown before the page takes them away."""
    script = 'from dashboard import address, early\naddress.adopt("look")\nearly._show("Look")'
    test = AppTest.from_string(script, default_timeout=60)
    for name, value in parameters.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception
    return [image.captions[0] for image in test.get("image")]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_nothing_slow_is_imported_for_it() -> None:
    slow = {"torch", "timm", "torchvision", "matplotlib", "pandas"}
    code = f"import sys; sys.path.insert(0, {str(APP)!r}); import dashboard.early; print({slow} & sys.modules.keys())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


def test_the_photograph_of_the_address_is_shown() -> None:
    assert shown({"photo": "flower"}) == ["flower (sklearn)"]
    assert shown({"data": "shapes", "split": "val", "image": "val-00003"}) == ["val-00003 (shapes, val)"]


def test_without_an_address_it_is_the_one_that_the_page_opens() -> None:
    assert len(shown({})) == 1
    assert shown({"checkpoint": "data/demo/shapes-dual"}) == ["val-00000 (shapes, val)"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"photo": "no-such"},
        {"data": "shapes", "split": "no-such"},
        {"data": "folder:/etc"},
        {"data": "camvid:../../.."},
        {"checkpoint": "/etc", "photo": "no-such"},
        {"upload": "0123456789ab"},
    ],
    ids=str,
)
def test_what_is_wrong_is_left_to_the_page(wrong: dict[str, str]) -> None:
    assert shown(wrong) == []


def test_a_damaged_or_foreign_configuration_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    for text in ("{", "[1]", '{"dataset": 3}'):
        (run / "config.json").write_text(text)
        assert shown({"checkpoint": "runs/mine"}) == ["china (sklearn)"]


def test_it_is_gone_once_the_page_is_there_also_where_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "READY", Event())
    monkeypatch.setattr(warm, "start", lambda: None)
    test = AppTest.from_string(FAILS, default_timeout=60).run()
    assert len(test.exception) == 1
    assert test.session_state["drawn"]
    assert len(test.get("image")) == 0


def test_what_was_imported_early_is_left_out_when_garbage_is_collected() -> None:
    code = "import gc; from dashboard import warm; warm.start(); warm.READY.wait(120); print(gc.get_freeze_count())"
    done = subprocess.run([sys.executable, "-c", code], cwd=APP, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100_000
