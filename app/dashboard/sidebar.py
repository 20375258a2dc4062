"""The sidebar: which checkpoint, and which photograph."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from analysis.checkpoints import SUFFIXES, Checkpoint, checkpoint_files
from analysis.datasets import splits
from analysis.errors import AnalysisError, closest
from analysis.models import ScaleSpec, Spec
from dashboard import address, photographs
from dashboard.allowed import inside, inside_item, inside_spec, is_inside
from dashboard.opened import key_of, opened_checkpoint, opened_dataset, opened_in_form
from dashboard.photographs import BUNDLED, FIRST, Photograph
from dashboard.shown import plain

FOLDERS = ("data/demo", "runs")
FETCHED = "data/checkpoints"
SOURCES = ("data set", "bundled", "upload")
THIS = "this with "  # another form of the same weights


def choose_checkpoint() -> Checkpoint:
    """Pick a file as :func:`choose_file` does; the checkpoint is opened.

    AnalysisError: nothing there, or what is there is no checkpoint of a known layout.
    """
    checkpoint = opened_checkpoint(choose_file())
    _forget_other_data(checkpoint)
    return checkpoint


def choose_file() -> Path:
    """Pick a directory (or type a path) and a step of its series. AnalysisError: nothing there."""
    known = _directories()
    wanted = address.current().checkpoint or next((p for p in (*FIRST, *known) if p in known), "")
    path = _pick_or_type("Checkpoint", "checkpoint", known, wanted, "a checkpoint file or a run directory")
    if not path:
        raise AnalysisError(f"no checkpoint under {' or '.join(FOLDERS)} of this folder; type a path in the sidebar")
    return inside(_choose_step(path, checkpoint_files(inside(path))))


def choose_other(checkpoint: Checkpoint) -> Checkpoint:
    """Pick what a checkpoint is compared with: itself in another form, or another file, as :func:`choose_file` does."""
    forms = [f"{THIS}{field}={value}" for field, values in _forms(checkpoint.spec).items() for value in values]
    known, asked = [*forms, *_directories()], address.current().against
    if not known:
        raise AnalysisError(f"nothing to compare with: no checkpoint under {' or '.join(FOLDERS)}, and one form only")
    wanted = asked if asked in forms or (asked and not asked.startswith(THIS)) else known[0]
    other = _pick_or_type("Compared with", f"against {key_of(checkpoint)}", known, wanted, "a checkpoint file or a run")
    if other.startswith(THIS):
        if other not in forms:
            raise AnalysisError(f"{other!r} is no form of this checkpoint{closest(other, forms)}")
        address.publish(against=other, against_step="")
        field, _, value = other.removeprefix(THIS).partition("=")
        found = next(one for one in _forms(checkpoint.spec)[field] if str(one) == value)
        return opened_in_form(checkpoint, field, found)
    return opened_checkpoint(inside(_choose_step(other, checkpoint_files(inside(other)), "against", "against_step")))


def _forms(spec: Spec) -> dict[str, tuple[object, ...]]:
    """Fields and values that the same weights can be run with."""
    if isinstance(spec, ScaleSpec):
        return {"fusion": tuple(fusion for fusion in ("average", "max") if fusion != spec.fusion)}
    forms: dict[str, tuple[object, ...]] = {}
    if spec.channel:
        forms = {"form": ("released" if spec.form == "paper" else "paper",), "channel": (False,)}
    return forms | ({"position": (False,)} if spec.position else {})


def choose_photograph(checkpoint: Checkpoint) -> Photograph | None:
    """Pick a photograph; the first is one that suits the checkpoint. None as long as an upload is awaited.

    AnalysisError: a data set or image that cannot be read.
    """
    asked = address.current()
    if not (asked.data or asked.photo or asked.upload):
        address.publish(**photographs.suitable(trained_on(checkpoint)))
        asked = address.current()
    first = "upload" if asked.upload else "bundled" if asked.photo else "data set"
    key = _seeded("source", first, checkpoint)
    source = st.sidebar.segmented_control("Photograph", SOURCES, key=key, required=True, width="stretch")
    choose = {"data set": _from_dataset, "bundled": _bundled, "upload": _upload}[source or first]
    return choose(checkpoint)


def trained_on(checkpoint: Checkpoint) -> str:
    """The name of the data set that a checkpoint was trained on, empty where its origin does not say."""
    return str(checkpoint.provenance.get("dataset", ""))


def _directories() -> list[str]:
    """Every directory with checkpoints, a run as a whole."""
    files = [file for folder in FOLDERS for file in sorted(Path(folder).rglob("*.safetensors"))]
    files += [file for file in sorted(Path(FETCHED).rglob("*")) if file.suffix in (".safetensors", *SUFFIXES)]
    parents = [file.parent.parent if file.parent.name == "checkpoints" else file.parent for file in files]
    parents = [parent for parent in parents if is_inside(parent)]
    return list(dict.fromkeys(parent.as_posix() for parent in parents))


def _choose_step(path: str, files: list[Path], path_name: str = "checkpoint", step_name: str = "step") -> Path:
    """One file of a series; ``path_name`` and ``step_name`` are what the address calls both."""
    stems, asked = [file.stem for file in files], address.current()
    wanted = getattr(asked, step_name) if getattr(asked, path_name) in ("", path) else ""
    if wanted and wanted not in stems:
        st.sidebar.warning(plain(f"no step {wanted!r} in {path}{closest(wanted, stems)}; this is the last one"))
    stem = stems[-1]
    if len(stems) > 1:
        key = address.seeded(f"{step_name} of {path}", wanted if wanted in stems else stem)
        stem = st.sidebar.select_slider("Step of its training", stems, key=key, format_func=_step)
    address.publish(**{path_name: path, step_name: stem if len(stems) > 1 else ""})
    return files[stems.index(stem)]


def _step(stem: str) -> str:
    digits = stem.removeprefix("step_")
    return str(int(digits)) if digits.isdecimal() else stem


def _forget_other_data(checkpoint: Checkpoint) -> None:
    """Start again from a suitable photograph where the last one came from another checkpoint's data set."""
    before = st.session_state.get("trained on")
    st.session_state["trained on"] = trained_on(checkpoint)
    if before not in (None, trained_on(checkpoint)) and address.current().data:
        address.publish(data="", split="", image="", pixel="")


def choose_spec(checkpoint: Checkpoint) -> str:
    """Pick a data set, or type NAME[:PATH]; first that of the address, or one that suits the checkpoint."""
    known = photographs.datasets()
    wanted = address.current().data or photographs.suitable(trained_on(checkpoint)).get("data", known[0])
    return _pick_or_type("Data set", f"data {trained_on(checkpoint)}", known, wanted, "NAME[:PATH]")


def _from_dataset(checkpoint: Checkpoint) -> Photograph:
    asked, spec = address.current(), choose_spec(checkpoint)
    names = splits(inside_spec(spec))
    split = asked.split if spec == asked.data and asked.split in names else photographs.first_split(names)
    split = st.sidebar.selectbox("Split", names, key=address.seeded(f"split of {spec}", split))
    images = [item.name for item in opened_dataset(spec, split).items]
    first = images[0]
    if spec == asked.data and asked.split in ("", split) and asked.image:
        first = asked.image if asked.image in images else images[0]
        if first != asked.image:
            st.sidebar.warning(plain(f"no image {asked.image!r} in {spec} {split}; this is the first one"))
    image = st.sidebar.selectbox("Image", images, key=address.seeded(f"image of {spec} {split}", first))
    address.publish(data=spec, split=split, image=image, photo="", upload="")
    inside_item(opened_dataset(spec, split), image)
    return photographs.from_dataset(opened_dataset(spec, split), image, spec)


def _bundled(checkpoint: Checkpoint) -> Photograph:
    asked = address.current().photo
    if asked and asked not in BUNDLED:
        st.sidebar.warning(plain(f"no bundled photograph {asked!r}; this is another"))
    key = _seeded("photo", asked if asked in BUNDLED else "china", checkpoint)
    name = st.sidebar.selectbox("Photograph", list(BUNDLED), key=key, label_visibility="collapsed")
    address.publish(data="", split="", image="", photo=name, upload="")
    return photographs.bundled(name)


def _upload(checkpoint: Checkpoint) -> Photograph | None:
    """The upload lives in this session only; its page says so where an address names one that is not here."""
    file = st.sidebar.file_uploader("Upload", ["jpg", "jpeg", "png", "webp"], label_visibility="collapsed")
    if file is not None:
        st.session_state["upload"] = photographs.uploaded(file.name, file.getvalue())
    photo = st.session_state.get("upload")
    asked = address.current().upload
    if asked and (photo is None or not photo.digest.startswith(asked)) and file is None:
        st.info("This address shows an upload of another session, which was not kept: upload the photograph again.")
        return None
    if photo is None:
        st.info("Upload a photograph in the sidebar: JPEG, PNG or WebP.")
        return None
    address.publish(data="", split="", image="", photo="", upload=photo.digest[:12])
    return photo


def _seeded(name: str, value: str, checkpoint: Checkpoint) -> str:
    return address.seeded(f"{name} {trained_on(checkpoint)}", value)


def _pick_or_type(label: str, name: str, known: list[str], wanted: str, what: str) -> str:
    options = known if wanted in known or not wanted else [wanted, *known]
    key = address.seeded(name, wanted or None)
    typed = st.session_state[key]
    options = options if typed in options or not typed else [typed, *options]
    return st.sidebar.selectbox(
        label, options, key=key, accept_new_options=True, placeholder=f"type {what}", help=f"Pick one, or type {what}."
    )
