"""A real HTTP server on this machine that can cut off, stall, lie and refuse: for everything that downloads."""

import http.server
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of ``root`` with byte ranges, unless one of the dicts (by file name) says otherwise.

    ``cut``, ``stall``: the next answers end, or pause for good, before these byte numbers of the file. ``trickle``: it
    sends one byte every so many seconds. ``declared``: the Content-Length it claims, None for no such header.
    ``extent``: the Content-Range it claims, None likewise. ``refused``: the status it answers. ``moved``: where it
    redirects to. ``kind``: the Content-Type.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root, self.ranges = root, True
        self.cut: dict[str, list[int]] = {}
        self.stall: dict[str, list[int]] = {}
        self.trickle: dict[str, float] = {}
        self.declared: dict[str, int | None] = {}
        self.extent: dict[str, str | None] = {}
        self.refused: dict[str, int] = {}
        self.moved: dict[str, str] = {}
        self.kind: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what these tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server, name, asked = self.server, self.path.strip("/"), self.headers.get("Range")
        assert isinstance(server, Server)
        server.asked.append((name, asked))
        if name in server.moved:
            self.answer(302, {"Location": server.moved[name], "Content-Length": "0"})
        elif name in server.refused or not (server.root / name).is_file():
            self.send_error(server.refused.get(name, 404))
        else:
            self.send(server, name, (server.root / name).read_bytes(), asked if server.ranges else None)

    def send(self, server: Server, name: str, content: bytes, asked: str | None) -> None:
        size = len(content)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= size > 0:
            self.answer(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        extent = server.extent.get(name, f"bytes {start}-{size - 1}/{size}") if asked else None
        length = server.declared.get(name, size - start)
        headers = {"Content-Length": length, "Content-Range": extent, "Content-Type": server.kind.get(name)}
        self.answer(206 if asked else 200, {key: str(value) for key, value in headers.items() if value is not None})
        stalls, stops = bool(server.stall.get(name)), server.stall.get(name) or server.cut.get(name)
        for piece in self.pieces(content[start : stops.pop(0) if stops else size], server.trickle.get(name, 0)):
            self.wfile.write(piece)
        if stalls:
            server.closing.wait()

    def pieces(self, content: bytes, pause: float) -> Iterator[bytes]:
        assert isinstance(self.server, Server)
        for i in range(len(content) if pause else 1):
            yield content[i : i + 1] if pause else content
            self.server.closing.wait(pause)

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@contextmanager
def serving(root: Path) -> Generator[Server]:
    """A server of that folder, running until the block ends."""
    server = Server(root)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("no_proxy", "127.0.0.1")
            yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
