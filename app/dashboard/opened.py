"""What all sessions share: one model in memory a checkpoint, one forward at a time, and the views they gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from analysis.checkpoints import Checkpoint, open_checkpoint
from analysis.datasets import Dataset, open_dataset
from analysis.forms import in_form
from analysis.inspection import Inspection, inspect
from analysis.models import Model
from analysis.views import View, view
from dashboard.turns import InTurn

FORWARD = InTurn()  # the hooks of one session's forward must not see another's


def opened_checkpoint(file: Path) -> Checkpoint:
    """The checkpoint of a file, opened again where the file has changed. AnalysisError as for ``open_checkpoint``."""
    return _opened(str(file), version_of(file))


def inspected(file: Path) -> Inspection:
    """What is in a checkpoint's file, read again where it has changed. AnalysisError as for ``inspect``."""
    return _inspected(str(file), version_of(file))


def key_of(checkpoint: Checkpoint) -> str:
    """What everything that is computed with a checkpoint depends on: its file's sum, and its form if it was changed."""
    known = checkpoint.provenance
    return f"{known['sha256']} {known.get('changed', '')}"


def version_of(file: Path) -> tuple[int, int] | None:
    """Time and size of a file; None where there is none."""
    stat = file.stat() if file.is_file() else None
    return (stat.st_mtime_ns, stat.st_size) if stat else None


@st.cache_resource(max_entries=8, show_spinner="Reading the file")
def _inspected(file: str, version: tuple[int, int] | None) -> Inspection:
    return inspect(file)


@st.cache_resource(max_entries=8, show_spinner="Opening the checkpoint")
def _opened(file: str, version: tuple[int, int] | None) -> Checkpoint:
    return open_checkpoint(file)


def opened_in_form(checkpoint: Checkpoint, field: str, value: object) -> Checkpoint:
    """A checkpoint in another form. AnalysisError as for :func:`analysis.forms.in_form`."""
    return _in_form(f"{key_of(checkpoint)} {checkpoint.path}", field, value, checkpoint)


@st.cache_resource(max_entries=8, show_spinner=False)
def _in_form(checkpoint_key: str, field: str, value: object, _checkpoint: Checkpoint) -> Checkpoint:
    return in_form(_checkpoint, **{field: value})


@st.cache_resource(max_entries=8, ttl="60s", show_spinner="Opening the data set")
def opened_dataset(spec: str, split: str) -> Dataset:
    """A split of a data set; what changes on disk is seen within a minute. AnalysisError as for ``open_dataset``."""
    return open_dataset(spec, split)


def seen_through(checkpoint: Checkpoint, image: np.ndarray, digest: str) -> View:
    """The view of a photograph with the given SHA-256 through a checkpoint."""
    return _seen(key_of(checkpoint), digest, checkpoint.model, image)


@st.cache_resource(max_entries=32, show_spinner="Running the model")
def _seen(checkpoint_key: str, image_digest: str, _model: Model, _image: np.ndarray) -> View:
    with FORWARD:
        return view(_model, _image)
