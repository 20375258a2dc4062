"""What a page shows, as the URL's parameters: a copied URL shows the same in another browser.

The session keeps the address and writes it to the URL; it reads the URL when it starts, and when the browser's back or
forward button changed it. (Any other rerun may still carry the URL of a moment ago.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx


@dataclass(frozen=True)
class Address:
    """The URL's parameters, all as text and empty where absent."""

    checkpoint: str = ""  # a file, or a directory with a series
    step: str = ""  # which file of the series, by its stem
    data: str = ""  # NAME[:PATH] of a data set, with
    split: str = ""
    image: str = ""
    photo: str = ""  # or the name of a bundled photograph
    upload: str = ""  # or the first digits of an upload's SHA-256
    pixel: str = ""  # y,x
    box: str = ""  # y,x,y,x of a dragged region, ends included
    pixel2: str = ""  # of the second picture
    box2: str = ""
    see: str = ""  # row or column of position attention
    removed: str = ""  # yes: keys of the own class are taken away
    panels: str = ""  # range of the weight maps
    weights: str = ""  # forced scale weights
    mix: str = ""  # a weight a branch, of a mix by hand
    object: str = ""  # number of the selected object
    branch: str = ""  # whose weights the scatter shows
    measure: str = ""  # and where it is measured
    factor: str = ""  # of the resized object
    channel: str = ""
    groups: str = ""  # how many groups of channels
    group: str = ""
    claims: str = ""  # a table of claims
    rows: str = ""  # which of its rows
    cells: str = ""  # along the longer side, of attributions
    methods: str = ""  # of attribution, besides Grad-CAM
    tests: str = ""  # of the maps: curves, randomised
    trainings: str = ""  # a table of histories beside the checkpoint's own
    quantity: str = ""  # of their gates
    along: str = ""  # yes: mIoU without gates at every checkpoint
    against: str = ""  # the other checkpoint or form of a comparison
    against_step: str = ""


def adopt(page: str) -> None:
    """Take over what the URL says, in a session's first run and after back or forward; ``page`` is about to run."""
    st.session_state["page"] = page
    context = get_script_run_ctx()
    went_back = context is not None and context.is_history_navigation
    if "address" in st.session_state and not (went_back and st.query_params):
        return
    names = {field.name for field in fields(Address)}
    st.session_state["address"] = Address(**{k: v for k, v in st.query_params.items() if k in names})
    st.session_state["adoptions"] = st.session_state.get("adoptions", 0) + 1


def current() -> Address:
    """The address of this session."""
    return st.session_state["address"]


def publish(**changes: str) -> None:
    """Change the address, and the URL to it."""
    address = replace(current(), **changes)
    st.session_state["address"] = address
    asked = {name: value for name, value in asdict(address).items() if value}
    if asked != st.query_params.to_dict():
        st.query_params.from_dict(asked)


def key(name: str) -> str:
    """A widget's key, another one on every page and after every adoption: there it starts again from the address."""
    return f"{name} {st.session_state['page']} {st.session_state['adoptions']}"


def choose(name: str, options: Sequence[str], show: Callable[[str], str | None]) -> str:
    """The option that the widget ``show`` picks; at first that of the address, and kept there unless the first."""
    asked = getattr(current(), name)
    picked = show(seeded(name, asked if asked in options else options[0])) or options[0]
    publish(**{name: "" if picked == options[0] else picked})
    return picked


def seeded(name: str, value: object) -> str:
    """The key of a widget that starts at ``value``."""
    st.session_state.setdefault(key(name), value)
    return key(name)


def choose_some(name: str, options: Sequence[str], show: Callable[[str], Sequence[str]]) -> list[str]:
    """Any of the options, as the widget ``show`` has them; at first those of the address."""
    asked = [option for option in getattr(current(), name).split(",") if option in options]
    shown = show(seeded(name, asked))
    picked = [option for option in options if option in shown]
    publish(**{name: ",".join(picked)})
    return picked
