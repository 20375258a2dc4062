"""What all sessions share besides views: what the studies measure of one photograph, or of a series of checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from analysis.checkpoints import Checkpoint, open_checkpoint
from analysis.datasets import Dataset, things_of
from analysis.models import DualAttention, Model, ScaleAttention
from analysis.studies.attribution.maps import Method
from analysis.studies.attribution.one_image import Scene, curves, maps_of, randomised, scene_of
from analysis.studies.attribution.regions import Region
from analysis.studies.channel_groups.one_image import ChannelsOf, channels_of
from analysis.studies.dual_paths import dual_model
from analysis.studies.gates import Gates
from analysis.studies.object_scale.one_image import ObjectsOf, objects_of
from analysis.studies.object_scale.probe import probe_object
from analysis.studies.position_context import removed
from analysis.studies.study import evenly_spaced, run
from dashboard.allowed import inside_item
from dashboard.opened import FORWARD, key_of, opened_dataset, version_of
from dashboard.photographs import Photograph

Key = tuple[object, ...]


def gates_at(file: Path, spec: str, split: str, most: int) -> pd.DataFrame:
    """The table ``gates`` of one checkpoint of a series, on ``most`` evenly spaced images. AnalysisError as there."""
    few = evenly_spaced(opened_dataset(spec, split), most)
    for item in few.items:
        inside_item(few, item.name)
    versions = tuple(version_of(path) for item in few.items for path in (item.image, item.label) if path is not None)
    names = (few.name, few.split, *(item.name for item in few.items))
    return _gates_at(str(file), (version_of(file), *versions), names, few)


@st.cache_data(max_entries=256, show_spinner=False)
def _gates_at(file: str, versions: Key, names: tuple[str, ...], _few: Dataset) -> pd.DataFrame:
    checkpoint = open_checkpoint(file)
    with FORWARD:
        return run(Gates(checkpoint, _few), checkpoint, _few)["gates"]


def predictions_without_keys(checkpoint: Checkpoint, photo: Photograph, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Predictions as trained, without each query's keys of its own class, and without as many others."""
    model = dual_model(checkpoint.model)
    return _without_keys(key_of(checkpoint), photo.digest, labels, model, photo.image)


@st.cache_data(max_entries=16, show_spinner="Taking keys away")
def _without_keys(
    checkpoint_key: str, image_digest: str, labels: np.ndarray, _model: DualAttention, _image: np.ndarray
) -> dict[str, np.ndarray]:
    with FORWARD:
        return removed(_model, _image, labels, _model.spec.classes)


def objects_in(checkpoint: Checkpoint, photo: Photograph, labels: np.ndarray) -> ObjectsOf:
    """The objects of a photograph by its labels, or by a prediction in their place, and the score maps."""
    return _objects_in(key_of(checkpoint), photo.digest, labels, checkpoint, photo)


@st.cache_resource(max_entries=16, show_spinner="Measuring the objects")
def _objects_in(
    checkpoint_key: str, image_digest: str, labels: np.ndarray, _checkpoint: Checkpoint, _photo: Photograph
) -> ObjectsOf:
    model = _checkpoint.model
    assert isinstance(model, ScaleAttention)
    with FORWARD:
        return objects_of(model, _photo.sample, labels, things_of(_checkpoint.classes), _checkpoint.classes)


def probed(checkpoint: Checkpoint, photo: Photograph, seen: ObjectsOf, k: int) -> tuple[pd.DataFrame, int]:
    """One object at several sizes. AnalysisError: it cannot be probed."""
    mask = (seen.objects.map == k).tobytes()
    return _probed(key_of(checkpoint), photo.digest, k, mask, checkpoint, seen)


@st.cache_data(max_entries=64, show_spinner="Resizing the object: ten forwards")
def _probed(
    checkpoint_key: str, image_digest: str, k: int, mask: bytes, _checkpoint: Checkpoint, _seen: ObjectsOf
) -> tuple[pd.DataFrame, int]:
    model = _checkpoint.model
    assert isinstance(model, ScaleAttention)
    with FORWARD:
        return probe_object(model, _seen.sample, k, _checkpoint.classes, _seen.maps.cell)


def channels_in(checkpoint: Checkpoint, photo: Photograph) -> ChannelsOf:
    """The channels of a photograph. AnalysisError: none of them responds."""
    return _channels_in(key_of(checkpoint), photo.digest, dual_model(checkpoint.model), photo.image)


@st.cache_resource(max_entries=8, show_spinner="Running the model")
def _channels_in(checkpoint_key: str, image_digest: str, _model: DualAttention, _image: np.ndarray) -> ChannelsOf:
    with FORWARD:
        return channels_of(_model, _image)


def scene_in(checkpoint: Checkpoint, photo: Photograph, region: Region, along: int) -> Scene:
    """An object of a photograph whose score is attributed, on ``along`` cells."""
    mask = region.mask.tobytes()
    return _scene_in(
        key_of(checkpoint), photo.digest, mask, region.class_, along, checkpoint.model, photo.image, region
    )


@st.cache_resource(max_entries=16, show_spinner="Running the model")
def _scene_in(
    checkpoint_key: str,
    image_digest: str,
    mask: bytes,
    class_: int,
    along: int,
    _model: Model,
    _image: np.ndarray,
    _region: Region,
) -> Scene:
    with FORWARD:
        return scene_of(_model, _image, _region, along)


@st.cache_data(max_entries=64, show_spinner="Attributing")
def attributed(key: Key, method: Method, _scene: Scene) -> dict[str, np.ndarray]:
    """Maps of one method; ``key`` says what the scene depends on."""
    with FORWARD:
        return maps_of(_scene, method)


@st.cache_data(max_entries=64, show_spinner="Taking cells away, and putting them in")
def curves_in(key: Key, _scene: Scene, _maps: dict[str, np.ndarray]) -> pd.DataFrame:
    """Deletion and insertion in the order of each map; ``key`` says what scene and maps depend on."""
    with FORWARD:
        return curves(_scene, _maps)


@st.cache_data(max_entries=64, show_spinner="Drawing the weights anew")
def randomised_in(key: Key, _scene: Scene, _maps: dict[str, np.ndarray]) -> pd.DataFrame:
    """What is left of each map when weights are re-drawn; ``key`` says what scene and maps depend on."""
    with FORWARD:
        return randomised(_scene, _maps)
