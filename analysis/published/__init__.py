"""Published DANet checkpoints: which there are, what was reported for them, and how to get one.

They are listed in published.json, from the model zoo of mmsegmentation, whose file names end in the first eight digits
of the SHA-256. All mIoU are per cent, as the publisher reports them.
"""

from __future__ import annotations

import json
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from analysis.download import DownloadError, download, sha256_of_file
from analysis.errors import AnalysisError, closest
from analysis.store import replacing

FOLDER = Path("data/checkpoints")
_SCORED_ON = {
    "cityscapes": "Cityscapes val (500 images, 19 classes)",
    "ade20k": "ADE20K val (2,000 images, 150 classes)",
    "voc12aug": "PASCAL VOC 2012 val (1,449 images, 21 classes), trained with the augmented split",
}


@dataclass(frozen=True)
class Published:
    """One published checkpoint. ``crop`` is height x width; ``miou`` single-scale, in per cent."""

    name: str
    layout: str
    dataset: str
    backbone: str
    crop: str
    iterations: str
    miou: float
    miou_multiscale_flip: float | None
    url: str
    sha256_prefix: str
    source: str

    def path(self, folder: Path = FOLDER) -> Path:
        """Where the file belongs."""
        return folder / self.name / self.url.rpartition("/")[2]


def published() -> tuple[Published, ...]:
    """All of them, in the order of the model zoo."""
    return tuple(Published(**row) for row in json.loads(Path(__file__).with_name("published.json").read_bytes()))


def find_published(name: str) -> Published:
    """The one of that name. AnalysisError: there is none; the line gives the closest."""
    known = {one.name: one for one in published()}
    if name not in known:
        raise AnalysisError(f"no published checkpoint {name!r}{closest(name, known)}")
    return known[name]


def fetch_published(name: str, folder: Path = FOLDER, *, url: str | None = None) -> Path:
    """Bring a published checkpoint to ``folder``/NAME/FILE, unless the right file is there, and return that path.

    ``url`` takes the place of the publisher's. A file put there by hand does as well. AnalysisError, with what to do
    next: an unknown name, a file of another SHA-256, no network, a folder that is not writable.
    """
    one = find_published(name)
    path = one.path(folder)
    command = f"attention-analysis checkpoints fetch {name}"
    command += "" if folder == FOLDER else f" --root {shlex.quote(str(folder))}"
    if _is_there(path, one.sha256_prefix, command):
        return path
    try:
        with tqdm(desc=name, unit="B", unit_scale=True) as bar:
            download(url or one.url, path, sha256=one.sha256_prefix, bar=bar)
    except DownloadError as error:
        by_hand = f"put {'that file' if url is None else one.url} at {path} by hand and run: {command}"
        raise AnalysisError(f"cannot fetch {name}: {error}; run again to go on, or {by_hand}") from None
    return path


def write_card(one: Published, path: Path, inspection: str) -> Path:
    """Write README.md beside the file: what it is, where it is from, what it scored, what ``inspection`` says of it."""
    both = "" if one.miou_multiscale_flip is None else f", {one.miou_multiscale_flip} with several scales and flips"
    large = one.crop == "769x769"  # the only configs of the zoo that differ in these two
    window = "in windows of 769 x 769, stride 513" if large else "on whole images"
    call = f'open_checkpoint("{path}"{", align_corners=True" if large else ""})'
    card = f"""# {one.name}

DANet (Fu et al., 2019) with backbone {one.backbone}, in the layout of {one.layout}; not trained by this project.

* File: `{path.name}`, SHA-256 `{sha256_of_file(path)}`
* Published at: {one.url}
* Source: {one.source}
* Training: {one.dataset}, crops of {one.crop}, {one.iterations} iterations.
* Scores, the publisher's: mIoU **{one.miou}** % at one scale{both}, {window}, on {_SCORED_ON[one.dataset]}.
* Licence: {one.layout}'s code is Apache-2.0. For the weights see the source, and the terms of the training images.

Open it with `from analysis import open_checkpoint` and `{call}`.

What `attention-analysis inspect` says of it:

{textwrap.indent(inspection.strip(), "    ")}
"""
    with replacing(path.with_name("README.md")) as temporary:
        temporary.write_text(card, encoding="utf-8")
    return path.with_name("README.md")


def _is_there(path: Path, sha256: str, command: str) -> bool:
    try:
        if not path.exists():
            return False
        found = sha256_of_file(path)
    except OSError as error:
        raise AnalysisError(f"cannot read {path}: {error.strerror}; move it away and run: {command}") from None
    if not found.startswith(sha256):
        why = f"its SHA-256 begins with {found[:8]}, the published one with {sha256}"
        raise AnalysisError(f"{path} is another file: {why}; move it away and run: {command}")
    return True
