"""The objects of a photograph, outlined, to pick one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import streamlit as st

from analysis.datasets.sample import Objects
from analysis.figures.overlay import outlined
from dashboard import address
from dashboard.picker import Picked, Regions, pick
from dashboard.pictures import Look


def pick_object(look: Look, objects: Objects, texts: Sequence[str]) -> int:
    """The number of the picked object, 0 for none; at first that of the address, else the largest.

    ``texts[number]`` is what the pointer shows; there is at least one object.
    """
    numbers = objects.map
    asked = address.current().object
    k = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 0
    areas = np.bincount(numbers.ravel())
    k = k if 0 < k < len(areas) and areas[k] else 1 + int(areas[1:].argmax())
    places = np.argwhere(numbers == k)
    start = Picked((int(places[len(places) // 2][0]), int(places[len(places) // 2][1])))
    key = (look.photo.digest, hashlib.sha256(numbers.tobytes()).hexdigest())
    digest = " ".join(key)
    picture = _outlined(digest, look.photo.image, numbers)
    label = "Photograph with its objects: click one"
    regions = Regions(numbers, texts, key)
    name = f"objects {st.session_state.get('object moves', 0)}"
    picked = pick(picture, start, address.key(name), label, digest=f"{digest} outlined", regions=regions)
    chosen = int(numbers[picked.pixel])
    address.publish(object=str(chosen) if chosen else "")
    return chosen


def move_to(number: int) -> None:
    """In the next run the picture starts at this object."""
    address.publish(object=str(number))
    st.session_state["object moves"] = st.session_state.get("object moves", 0) + 1


@st.cache_data(max_entries=16, show_spinner=False)
def _outlined(digest: str, _image: np.ndarray, _numbers: np.ndarray) -> np.ndarray:
    return outlined(_image, _numbers)
