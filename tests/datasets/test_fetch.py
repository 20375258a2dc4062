"""Fetching and checking, against a real server on this machine that can cut off, lie and refuse."""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_server import Server, serving

from analysis.datasets import open_dataset
from analysis.datasets.check import check
from analysis.datasets.fetch import fetch
from analysis.datasets.manifest import MANIFESTS, read_manifest, sha256_of_file, sha256_of_pixels
from analysis.errors import AnalysisError

from .shared import public_layout, shared

FRAMES = {"train": ["0001TP_000030", "0001TP_000060"], "val": ["0016E5_00390"], "test": ["Seq05VD_f00000"]}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(public_layout(tmp_path / "public", FRAMES)) as running:
        yield running


@pytest.fixture
def manifest(server: Server) -> Path:
    """One file by its bytes, labels of train by their pixels, the rest by decoding: as the project's manifest does."""
    how = {"train/0001TP_000030.png": "sha256:" + sha256_of_file(server.root / "train" / "0001TP_000030.png")}
    for name in FRAMES["train"]:
        how[f"trainannot/{name}.png"] = "pixels:" + sha256_of_pixels(server.root / "trainannot" / f"{name}.png")
    names = sorted(path.relative_to(server.root).as_posix() for path in server.root.rglob("*.png"))
    path = server.root.parent / "manifest.txt"
    path.write_text("# a comment\n" + "".join(f"{how.get(name, 'decodes')}  {name}\n" for name in names))
    return path


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_fetch_installs_what_is_right(server: Server, manifest: Path, tmp_path: Path) -> None:
    installed = fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)
    assert installed == tmp_path / "data" / "camvid"
    assert {k: v for k, v in tree(installed).items() if k != "MANIFEST"} == tree(server.root)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["camvid"]
    assert check(f"camvid:{installed}", manifest) == []
    assert len(open_dataset(f"camvid:{installed}", "train")) == 2
    server.asked.clear()
    assert fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest) == installed
    assert server.asked == []


def test_a_cut_off_download_goes_on_where_it_stopped(server: Server, manifest: Path, tmp_path: Path) -> None:
    """Three tries are cut off, which ends the fetch; the next one asks for nothing else than the rest of that file."""
    name = "train/0001TP_000060.png"
    server.cut[name] = [20, 25, 30]
    with pytest.raises(AnalysisError, match=r"cut off after 30 of \d+ bytes; run again to go on, or put train"):
        fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)
    assert [asked for file, asked in server.asked if file == name] == [None, "bytes=20-", "bytes=25-"]
    assert not (tmp_path / "data" / "camvid").exists()
    finished = {path.relative_to(tmp_path / "data/camvid.part").as_posix() for path in tmp_path.glob("data/*/*/*.png")}
    assert name not in finished
    server.asked.clear()
    installed = fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)
    assert {k: v for k, v in tree(installed).items() if k != "MANIFEST"} == tree(server.root)
    assert (name, "bytes=30-") in server.asked
    assert {file for file, _ in server.asked} == set(tree(server.root)) - finished


def test_a_connection_that_drops_is_tried_again_at_once(server: Server, manifest: Path, tmp_path: Path) -> None:
    server.cut = {name: [30, 60] for name in tree(server.root)}
    installed = fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)
    assert check(f"camvid:{installed}", manifest) == []


def test_a_server_without_ranges_starts_the_file_again(server: Server, manifest: Path, tmp_path: Path) -> None:
    server.cut["test/Seq05VD_f00000.png"], server.ranges = [30], False
    installed = fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)
    assert {k: v for k, v in tree(installed).items() if k != "MANIFEST"} == tree(server.root)


@pytest.mark.parametrize("name", ["train/0001TP_000030.png", "trainannot/0001TP_000060.png", "val/0016E5_00390.png"])
def test_wrong_bytes_are_not_installed(name: str, server: Server, manifest: Path, tmp_path: Path) -> None:
    """Another image where bytes are known, another label where pixels are, a cut-off file where nothing is."""
    right = (server.root / name).read_bytes()
    other = server.root / ("val" if name.startswith("train/") else "valannot") / "0016E5_00390.png"
    (server.root / name).write_bytes(right[:60] if name.startswith("val") else other.read_bytes())
    with pytest.raises(AnalysisError, match=rf"{name}: what came is not what manifest\.txt says; deleted"):
        fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)
    assert not (tmp_path / "data" / "camvid").exists()
    (server.root / name).write_bytes(right)
    server.asked.clear()
    fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)
    assert [file for file, _ in server.asked] == [name]


def test_a_label_with_an_unknown_value_is_not_installed(server: Server, manifest: Path, tmp_path: Path) -> None:
    """Where neither bytes nor pixels are known, the file is at least read as in a training."""
    shutil.copy(server.root / "test" / "Seq05VD_f00000.png", server.root / "testannot" / "Seq05VD_f00000.png")
    with pytest.raises(AnalysisError, match="holds colours; index masks are needed"):
        fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)
    assert not (tmp_path / "data" / "camvid").exists()


def test_a_file_that_is_not_there_and_no_network(server: Server, manifest: Path, tmp_path: Path) -> None:
    (server.root / "val" / "0016E5_00390.png").unlink()
    with pytest.raises(
        AnalysisError, match=r"val/0016E5_00390\.png: the server says 404 Not Found; run again"
    ) as caught:
        fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)
    assert "\n" not in str(caught.value)
    with pytest.raises(AnalysisError, match=r"cannot download voc: .*refused.*put VOCtrainval_11-May-2012\.tar into"):
        fetch("voc", tmp_path / "data", url="http://127.0.0.1:1")


def test_an_unknown_name_and_a_folder_that_cannot_be_written(server: Server, manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"nothing to fetch for data set 'shapes'; .*camvid"):
        fetch("shapes", tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AnalysisError, match=r"Not a directory|File exists"):
        fetch("camvid", tmp_path / "file", url=server.url, manifest=manifest)


def test_check_finds_later_damage(server: Server, manifest: Path, tmp_path: Path) -> None:
    """Also in a file for which the project has no sum: the fetch recorded one."""
    installed = fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)
    image = installed / "test" / "Seq05VD_f00000.png"
    image.write_bytes((installed / "val" / "0016E5_00390.png").read_bytes())
    (installed / "valannot" / "0016E5_00390.png").unlink()
    problems = check(f"camvid:{installed}", manifest)
    assert problems == [
        f"missing: {installed / 'valannot' / '0016E5_00390.png'}",
        f"damaged: {image} (not what sha256 says)",
    ]
    with pytest.raises(AnalysisError, match=r"\(2 problems in .*move .* away and fetch again"):
        fetch("camvid", tmp_path / "data", url=server.url, manifest=manifest)


def test_an_archive_is_verified_resumed_and_unpacked(server: Server, tmp_path: Path) -> None:
    real = shared("voc_sample") / "VOCdevkit"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(real, "VOCdevkit")
    (server.root / "voc.tar").write_bytes(buffer.getvalue())
    manifest = tmp_path / "archive.txt"
    manifest.write_text(f"sha256:{hashlib.sha256(buffer.getvalue()).hexdigest()}  voc.tar\n")
    server.cut["voc.tar"] = [100_000]
    installed = fetch("voc", tmp_path / "data", url=server.url, manifest=manifest)
    assert server.asked == [("voc.tar", None), ("voc.tar", "bytes=100000-")]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["voc"]
    assert len(open_dataset(f"voc:{installed}", "trainval")[0].objects) == 3
    assert check(f"voc:{installed}") == []
    (installed / "VOCdevkit/VOC2012/JPEGImages/2011_000003.jpg").write_bytes(b"nothing")
    assert len(check(f"voc:{installed}")) == 1


def test_the_projects_manifests() -> None:
    public = read_manifest(MANIFESTS / "camvid-png.txt")
    folders = [name.split("/")[0] for name in public]
    assert {folder: folders.count(folder) for folder in folders} == {
        **{"train": 367, "trainannot": 367, "val": 101, "valannot": 101, "test": 233, "testannot": 233}
    }
    assert sum(how.startswith("pixels:") for how in public.values()) == 468
    assert list(read_manifest(MANIFESTS / "voc-archive.txt")) == ["VOCtrainval_11-May-2012.tar"]


def test_the_real_copy_is_whole_and_its_damage_is_found(tmp_path: Path) -> None:
    real = shared("camvid")
    assert check(f"camvid:{real}") == []
    copy = Path(shutil.copytree(real, tmp_path / "camvid"))
    broken = copy / "val" / "images" / "0016E5_07959.jpg"
    content = bytearray(broken.read_bytes())
    content[-5000] ^= 1  # still decodes
    broken.write_bytes(content)
    (copy / "train" / "labels" / "0001TP_006690.png").unlink()
    shutil.rmtree(copy / "train" / "images")
    (copy / "train" / "images").mkdir()
    assert check(f"camvid:{copy}") == [
        f"missing: {copy / 'train/images'}: all 367 files",
        f"missing: {copy / 'train/labels/0001TP_006690.png'}",
        f"damaged: {broken} (not what sha256 says)",
    ]


def test_check_reads_what_no_sum_covers(tmp_path: Path) -> None:
    assert check("shapes") == []
    assert check(f"voc:{shared('voc_sample')}") == []
    copy = Path(shutil.copytree(shared("voc_sample"), tmp_path / "voc"))
    image = copy / "VOCdevkit/VOC2012/JPEGImages/2011_000006.jpg"
    image.write_bytes(image.read_bytes()[:5000])
    (problem,) = check(f"voc:{copy}")
    assert "2011_000006.jpg: not a readable image" in problem
    assert check(f"camvid:{tmp_path / 'none'}") == [
        f"missing: {tmp_path / 'none'}; attention-analysis data fetch camvid"
    ]
