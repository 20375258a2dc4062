"""One file over HTTP, from a server on this machine that does what bad servers do."""

import hashlib
import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from http_server import Server, serving
from tqdm import tqdm

from analysis.download import DownloadError, download
from analysis.errors import AnalysisError

CONTENT = bytes(range(256)) * 1200
SHA = hashlib.sha256(CONTENT).hexdigest()
QUICK = 0.3  # seconds
FILE = "folder/weights.pth"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "public/folder").mkdir(parents=True)
    (tmp_path / "public" / FILE).write_bytes(CONTENT)
    with serving(tmp_path / "public") as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "here" / "weights.pth"


def fetch(server: Server, path: Path, sha256: str = SHA[:8]) -> None:
    download(f"{server.url}/{FILE}", path, sha256=sha256, timeout=QUICK)


def refused(server: Server, path: Path, sha256: str = SHA[:8]) -> str:
    """The line; nothing is there under the final name."""
    with pytest.raises(DownloadError) as caught:
        fetch(server, path, sha256)
    assert not path.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{server.url}/{FILE}: ")


def part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def test_a_file_comes_whole_and_leaves_nothing_else(server: Server, path: Path) -> None:
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["weights.pth"]


def test_the_bar_counts_bytes_also_of_an_earlier_call(server: Server, path: Path) -> None:
    server.cut[FILE] = [1000, 2000, 3000]
    refused(server, path)
    with tqdm(file=(path.parent / "bar").open("w")) as bar:
        download(f"{server.url}/{FILE}", path, bar=bar)
        assert (bar.initial, bar.n, bar.total) == (3000, len(CONTENT), len(CONTENT))


def test_cut_off_answers_are_continued(server: Server, path: Path) -> None:
    server.cut[FILE] = [1000, 70_000]
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-", "bytes=70000-"]


def test_three_cut_offs_end_the_call_and_the_next_one_goes_on(server: Server, path: Path) -> None:
    server.cut[FILE] = [1000, 2000, 3000]
    assert refused(server, path) == f"cut off after 3000 of {len(CONTENT)} bytes"
    fetch(server, path)
    assert server.asked[-1] == (FILE, "bytes=3000-")
    assert path.read_bytes() == CONTENT


def test_without_ranges_it_starts_again(server: Server, path: Path) -> None:
    server.cut[FILE], server.ranges = [1000], False
    fetch(server, path)
    assert path.read_bytes() == CONTENT


def test_a_stall_ends_after_the_time_it_was_given_and_keeps_what_came(server: Server, path: Path) -> None:
    server.stall[FILE] = [1000, 1500, 1700]
    began = time.monotonic()
    assert refused(server, path) == "no byte for 0.3 s"
    assert time.monotonic() - began < 3 * QUICK + 1
    assert part(path).read_bytes() == CONTENT[:1700]
    server.stall[FILE] = [5000]
    fetch(server, path)
    assert path.read_bytes() == CONTENT


def test_a_server_that_accepts_and_says_nothing(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DownloadError, match=r"no byte for 0\.2 s"):
        download(f"http://127.0.0.1:{silent.getsockname()[1]}/x", path, timeout=0.2)


def test_a_trickle_is_a_stall(server: Server, path: Path) -> None:
    server.trickle[FILE] = 0.02
    began = time.monotonic()
    assert refused(server, path).endswith(" bytes in 0.3 s")
    assert time.monotonic() - began < 3 * QUICK + 1


@pytest.mark.parametrize("ranges", [True, False])
def test_fewer_bytes_than_declared(server: Server, path: Path, ranges: bool) -> None:
    """The whole file is told by its hash where the server can be asked whether there is more, else it is refused."""
    server.declared[FILE], server.ranges = len(CONTENT) + 500, ranges
    if ranges:
        fetch(server, path)
        assert path.read_bytes() == CONTENT
    else:
        assert refused(server, path) == f"cut off after {len(CONTENT)} of {len(CONTENT) + 500} bytes"


def test_more_bytes_than_declared(server: Server, path: Path) -> None:
    server.declared[FILE] = 1000
    wrong = hashlib.sha256(CONTENT[:1000]).hexdigest()[:8]
    assert refused(server, path) == f"the SHA-256 of what came begins with {wrong}, not {SHA[:8]}; deleted"
    assert not part(path).exists()


@pytest.mark.parametrize("declared", [None, -5])
def test_no_usable_length(server: Server, path: Path, declared: int | None) -> None:
    server.declared[FILE] = declared
    fetch(server, path)
    assert path.read_bytes() == CONTENT


def test_no_length_and_cut_off(server: Server, path: Path) -> None:
    server.declared[FILE], server.cut[FILE] = None, [1000]
    assert "deleted" in refused(server, path)
    fetch(server, path)
    assert path.read_bytes() == CONTENT


def test_wrong_bytes_are_deleted_and_asked_for_once(server: Server, path: Path) -> None:
    (server.root / FILE).write_bytes(CONTENT[:-1] + b"x")
    assert "not " + SHA[:8] in refused(server, path)
    assert not part(path).exists()
    assert len(server.asked) == 1


def test_a_file_that_changed_between_two_calls_is_started_again(server: Server, path: Path) -> None:
    (server.root / FILE).write_bytes(CONTENT[::-1])
    server.cut[FILE] = [1000, 2000, 3000]
    refused(server, path)
    (server.root / FILE).write_bytes(CONTENT)
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked[3:]] == ["bytes=3000-", None]


@pytest.mark.parametrize("extra", [0, 1, 500])
def test_what_lies_there_is_as_long_as_the_file_or_longer(server: Server, path: Path, extra: int) -> None:
    """A call was killed just before the renaming; or another file's piece lies there."""
    part(path).parent.mkdir()
    part(path).write_bytes(CONTENT + bytes(extra))
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked][1:] == ([None] if extra else [])


@pytest.mark.parametrize("extent", [None, "bytes 0-307199/307200", "bytes 500-307199/307200", "nonsense"])
def test_another_piece_than_asked_for_is_not_appended(server: Server, path: Path, extent: str | None) -> None:
    server.cut[FILE], server.extent[FILE] = [1000], extent
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-", None]


def test_a_size_that_the_server_does_not_know(server: Server, path: Path) -> None:
    server.cut[FILE], server.extent[FILE] = [1000], f"bytes 1000-{len(CONTENT) - 1}/*"
    fetch(server, path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (410, 1), (204, 1), (500, 3), (503, 3), (429, 3)])
def test_refusals(server: Server, path: Path, status: int, tries: int) -> None:
    server.refused[FILE] = status
    assert refused(server, path).startswith(f"the server says {status} ")
    assert len(server.asked) == tries


def test_a_web_page_is_not_the_file_and_spoils_nothing(server: Server, path: Path) -> None:
    server.cut[FILE] = [1000, 2000, 3000]
    refused(server, path)
    server.kind[FILE], server.ranges = "text/html; charset=utf-8", False
    assert refused(server, path, sha256="") == "a web page came instead of the file"
    assert part(path).stat().st_size == 3000


def test_redirects(server: Server, path: Path) -> None:
    server.moved["old.pth"] = f"{server.url}/{FILE}"
    download(f"{server.url}/old.pth", path, sha256=SHA)
    assert path.read_bytes() == CONTENT
    for there, where in (("loop", f"{server.url}/loop"), ("local", "file:///etc/hostname")):
        server.moved[there] = where
        with pytest.raises(DownloadError, match=r"^\S+: the server says 302 [^\n]*$"):
            download(f"{server.url}/{there}", path.with_name("none"))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1/x", "Connection refused"),
        ("file:///etc/hostname", "not an http"),
        ("weights.pth", "not an http"),
        ("http://", "no host given"),
        ("http://127.0.0.1:port/x", "nonnumeric port"),
        ("http://[/x", "not an address"),
        ("http://127.0.0.1/a b", "control characters"),
    ],
)
def test_addresses_where_nothing_is(url: str, why: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match=why) as caught:
        download(url, path, timeout=QUICK)
    assert "\n" not in str(caught.value)


@contextmanager
def raw_answers(*answers: bytes) -> Generator[str]:
    """The address of a server that answers with these bytes, whether they are HTTP or not, one for each connection."""

    def answer(listening: socket.socket) -> None:
        for content in answers:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(content)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("no_proxy", "127.0.0.1")
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        thread.join()


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        HEAD + b"A: " + b"x" * 70_000,
        HEAD + b"A: b\r\n" * 200,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-9/" + b"9" * 5000 + b"\r\n\r\n",
    ],
    ids=["nothing", "ssh", "long line", "many headers", "chunk cut off", "no chunk", "huge number"],
)
def test_answers_that_are_no_sound_http(answer: bytes, path: Path) -> None:
    with raw_answers(answer, answer) as url, pytest.raises(DownloadError) as caught:
        download(url, path, timeout=QUICK, attempts=2)
    assert len(str(caught.value).splitlines()) == 1
    assert not path.exists()


def test_chunks_without_a_length(path: Path) -> None:
    with raw_answers(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") as url:
        download(url, path, sha256=hashlib.sha256(b"abcde").hexdigest())
    assert path.read_bytes() == b"abcde"


def test_a_folder_that_cannot_be_written(server: Server, path: Path) -> None:
    path.parent.write_text("a file in the way")
    with pytest.raises(AnalysisError, match=r"^cannot write .*here: (File exists|Not a directory); make room"):
        fetch(server, path)
    with pytest.raises(AnalysisError, match=r"^cannot write .*: Is a directory; make room"):
        fetch(server, server.root / "folder")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the disk that is always full is a Linux device")
def test_a_full_disk(server: Server, path: Path) -> None:
    path.parent.mkdir()
    part(path).symlink_to("/dev/full")
    with pytest.raises(AnalysisError, match=r"^cannot write .*\.part: No space left on device; make room"):
        fetch(server, path)
    assert not path.exists()
