"""What all sessions share: one model in memory a checkpoint, one forward at a time, and the views they gave."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import streamlit as st

from analysis.checkpoints import Checkpoint, open_checkpoint
from analysis.datasets import Dataset, open_dataset
from analysis.inspection import Inspection, inspect
from analysis.models import Model
from analysis.views import View, view

_FORWARD = threading.Lock()  # the hooks of one session's forward must not see another's


def opened_checkpoint(file: Path) -> Checkpoint:
    """The checkpoint of a file, opened again where the file has changed. AnalysisError as for ``open_checkpoint``."""
    return _opened(str(file), _version(file))


def inspected(file: Path) -> Inspection:
    """What is in a checkpoint's file, read again where it has changed. AnalysisError as for ``inspect``."""
    return _inspected(str(file), _version(file))


def _version(file: Path) -> tuple[int, int] | None:
    stat = file.stat() if file.is_file() else None
    return (stat.st_mtime_ns, stat.st_size) if stat else None


@st.cache_resource(max_entries=8, show_spinner="Reading the file")
def _inspected(file: str, version: tuple[int, int] | None) -> Inspection:
    return inspect(file)


@st.cache_resource(max_entries=8, show_spinner="Opening the checkpoint")
def _opened(file: str, version: tuple[int, int] | None) -> Checkpoint:
    return open_checkpoint(file)


@st.cache_resource(max_entries=8, ttl="60s", show_spinner="Opening the data set")
def opened_dataset(spec: str, split: str) -> Dataset:
    """A split of a data set; what changes on disk is seen within a minute. AnalysisError as for ``open_dataset``."""
    return open_dataset(spec, split)


def seen_through(checkpoint: Checkpoint, image: np.ndarray, digest: str) -> View:
    """The view of a photograph with the given SHA-256 through a checkpoint."""
    return _seen(checkpoint.provenance["sha256"], digest, checkpoint.model, image)


@st.cache_data(max_entries=32, show_spinner="Running the model")
def _seen(checkpoint_digest: str, image_digest: str, _model: Model, _image: np.ndarray) -> View:
    with _FORWARD:
        return view(_model, _image)
