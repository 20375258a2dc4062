"""Published checkpoints: the list, and fetching from a server on this machine."""

import json
import shlex
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_server import Server, serving

from analysis.cli import main
from analysis.download import sha256_of_file
from analysis.errors import AnalysisError
from analysis.published import fetch_published, find_published, published, write_card

SHARED = Path(__file__).parents[1].parent / "shared"
NAME = "mmseg-danet-r50-voc12aug-512x512-20k"


def stand_in() -> bytes:
    """A safetensors file of two scalars. The second was searched so that the SHA-256 begins as that of NAME's file."""
    header = {
        "decode_head.cam.gamma.scale": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "backbone.bn1.num_batches_tracked": {"dtype": "I64", "shape": [], "data_offsets": [4, 12]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + struct.pack("<fq", 0.5, 315632102)


RIGHT = stand_in()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "public").mkdir()
    (tmp_path / "public/weights.pth").write_bytes(RIGHT)
    with serving(tmp_path / "public") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "here"


@pytest.fixture
def path(folder: Path) -> Path:
    """Where NAME's file belongs."""
    return folder / NAME / "danet_r50-d8_512x512_20k_voc12aug_20200618_070026-9e9e3ab3.pth"


def refused(folder: Path, url: str) -> str:
    with pytest.raises(AnalysisError) as caught:
        fetch_published(NAME, folder, url=url)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_list_is_the_published_one() -> None:
    assert len({one.name for one in published()}) == 16
    for one in published():
        assert one.url.endswith(f"-{one.sha256_prefix}.pth")
        assert len(one.sha256_prefix) == 8
        assert one.miou_multiscale_flip is None or one.miou < one.miou_multiscale_flip < 100
    if not (SHARED / "published_checkpoints.json").is_file():
        pytest.skip("the list to compare with is not beside this checkout")
    rows = json.loads((SHARED / "published_checkpoints.json").read_text())
    assert [one.__dict__ for one in published()] == rows


def test_an_unknown_name_gives_the_closest() -> None:
    with pytest.raises(AnalysisError, match=rf"no published checkpoint 'r50-voc-20k'; closest: .*{NAME}"):
        find_published("r50-voc-20k")


def test_fetching(server: Server, folder: Path, path: Path) -> None:
    assert fetch_published(NAME, folder, url=f"{server.url}/weights.pth") == path
    assert path.read_bytes() == RIGHT
    assert list(path.parent.iterdir()) == [path]
    server.asked.clear()
    assert fetch_published(NAME, folder, url=f"{server.url}/weights.pth") == path
    assert server.asked == []


def test_an_interrupted_fetch_goes_on(server: Server, folder: Path, path: Path) -> None:
    server.cut["weights.pth"] = [50, 100, 150]
    line = refused(folder, f"{server.url}/weights.pth")
    assert f"cannot fetch {NAME}: {server.url}/weights.pth: cut off after 150 of 204 bytes; run again to go on" in line
    assert not path.exists()
    fetch_published(NAME, folder, url=f"{server.url}/weights.pth")
    assert server.asked[-1] == ("weights.pth", "bytes=150-")
    assert path.read_bytes() == RIGHT


def test_wrong_bytes_are_deleted(server: Server, folder: Path, path: Path) -> None:
    (server.root / "weights.pth").write_bytes(RIGHT[:-1] + b"x")
    assert "not 9e9e3ab3; deleted; run again" in refused(folder, f"{server.url}/weights.pth")
    assert list(path.parent.iterdir()) == []


def test_without_a_network_a_file_put_there_by_hand_does(
    folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    command = f"attention-analysis checkpoints fetch {NAME} --root {shlex.quote(str(folder))}"
    line = refused(folder, "http://127.0.0.1:1/weights.pth")
    assert line.endswith(f"or put {find_published(NAME).url} at {path} by hand and run: {command}")
    path.write_bytes(RIGHT)
    assert fetch_published(NAME, folder, url="http://127.0.0.1:1/weights.pth") == path


def test_another_file_put_there_by_hand_is_refused_and_left(server: Server, folder: Path, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    line = refused(folder, f"{server.url}/weights.pth")
    assert f"{path} is another file: its SHA-256 begins with {sha256_of_file(path)[:8]}, the published one" in line
    assert path.read_bytes() == b"something else"
    path.unlink()
    path.mkdir()
    assert f"cannot read {path}: Is a directory; move it away and run: " in refused(folder, server.url)


def test_the_card_says_where_it_is_from_and_how_to_open_it(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(RIGHT)
    card = write_card(find_published(NAME), path, "layout: mmsegmentation\ngates: 0.5")
    assert card == path.parent / "README.md"
    text = card.read_text()
    for part in (sha256_of_file(path), find_published(NAME).url, "74.45", "75.69", "Apache-2.0", "VOC 2012 val", "r50"):
        assert part in text
    assert f'open_checkpoint("{path}")' in text
    assert "    layout: mmsegmentation\n    gates: 0.5\n" in text


def test_the_card_of_large_crops_says_what_their_tensors_do_not(path: Path) -> None:
    """mmsegmentation's configs for crops of 769 align corners and score in sliding windows; the others do neither."""
    path.parent.mkdir(parents=True)
    path.write_bytes(RIGHT)
    for one in published():
        text = write_card(one, path, "").read_text()
        assert ("align_corners=True" in text) == ("stride 513" in text) == (one.crop == "769x769")


def test_the_list_command(capsys: pytest.CaptureFixture[str], folder: Path, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(RIGHT)
    assert main(["checkpoints", "list", "--root", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "layout", "data", "set", "backbone", "mIoU", "here"]
    assert [line.split() for line in lines if "yes" in line] == [
        [NAME, "mmsegmentation", "voc12aug", "r50", "74.45", "yes"]
    ]
    assert len(lines) == 18
    assert "configs/danet/README.md" in lines[-1]
    assert main(["checkpoints", "list", "--root", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows if row["here"]] == [NAME]
    assert rows[0]["url"] == published()[0].url


def test_the_fetch_command(server: Server, capsys: pytest.CaptureFixture[str], folder: Path, path: Path) -> None:
    arguments = ["checkpoints", "fetch", NAME, "--root", str(folder), "--url", f"{server.url}/weights.pth"]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert "decode_head.cam.gamma.scale" in output
    assert output.endswith(f"\nfetched: {path}\ncard: {path.parent / 'README.md'}\n")
    assert "decode_head.cam.gamma.scale" in (path.parent / "README.md").read_text()
    assert main(["checkpoints", "fetch", "nothing"]) == 2
    assert "no published checkpoint 'nothing'" in capsys.readouterr().err
