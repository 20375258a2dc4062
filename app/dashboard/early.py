"""The photograph that a page will open with, shown while the packages that open checkpoints are still being imported.

That takes seconds, and only the first sessions after a start see it: nothing here may import torch.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from analysis.datasets import open_dataset, splits
from analysis.errors import AnalysisError
from dashboard import address, photographs, warm
from dashboard.allowed import inside_item, inside_spec, is_inside
from dashboard.photographs import FIRST, Photograph


@contextmanager
def while_importing(title: str) -> Generator[None]:
    """Show a page's title and photograph until the block, which imports what the page needs, is through."""
    place = st.empty()
    if not warm.READY.is_set():
        warm.start()
        with place.container():
            _show(title)
    try:
        yield
    finally:  # also where the page fails
        place.empty()


def _show(title: str) -> None:
    st.markdown(f"### {title}")
    st.caption("The libraries behind this page are being loaded; what the model makes of the photograph comes next.")
    try:
        photo = _photograph()
    except (AnalysisError, OSError):
        return  # the page itself says in a moment what is wrong with it
    if photo is not None:
        st.image(photo.image, photo.name, width=480, output_format="JPEG", alt=f"Photograph, {photo.name}")


def _photograph() -> Photograph | None:
    """The photograph of the address, or the first; None where the address names an upload."""
    asked = address.current()
    if asked.upload:
        return None
    known = {"data": asked.data} if asked.data else {"photo": asked.photo} if asked.photo else _first()
    if "photo" in known:
        return photographs.bundled(known["photo"])
    split = asked.split or photographs.first_split(splits(inside_spec(known["data"])))
    dataset = open_dataset(known["data"], split)
    name = asked.image or dataset.items[0].name
    inside_item(dataset, name)
    return photographs.from_dataset(dataset, name, known["data"])


def _first() -> dict[str, str]:
    """What suits the checkpoint of the address, or the first that is there, by what its training has noted."""
    asked = address.current().checkpoint
    runs = [Path(one) for one in (asked, *FIRST) if one and is_inside(one)]
    config = next((run / "config.json" for run in runs if (run / "config.json").is_file()), None)
    return photographs.suitable("" if config is None else _trained_on(config))


def _trained_on(config: Path) -> str:
    try:
        known = json.loads(config.read_text("utf-8"))
    except ValueError:  # damaged; the page says so
        return ""
    return str(known.get("dataset", "")) if isinstance(known, dict) else ""
