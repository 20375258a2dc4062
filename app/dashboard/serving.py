"""The dashboard as a server of its own process, for screenshots and tests in a browser."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

APP = Path(__file__).parents[1]


@dataclass(frozen=True)
class Server:
    """A running dashboard: its address, and the number of its process."""

    url: str
    pid: int


@contextmanager
def serving(folder: Path, seconds: float = 90) -> Generator[Server]:
    """Run the dashboard on 127.0.0.1 and a free port, started in ``folder``; yielded once it answers.

    RuntimeError with what the server printed where it ends, or does not answer within ``seconds``.
    """
    port = _free_port()
    options = ["--server.port", str(port), "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    command = [sys.executable, str(APP), *options]
    with tempfile.TemporaryFile("w+") as output:
        server = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            if not _answers(server, f"http://127.0.0.1:{port}/_stcore/health", seconds):
                output.seek(0)
                raise RuntimeError(f"the dashboard did not start: {output.read()[-2000:]}")
            yield Server(f"http://127.0.0.1:{port}", server.pid)
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def _answers(server: subprocess.Popen[bytes], url: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=2) as reply:
                return reply.status == 200
        except (URLError, OSError):
            time.sleep(0.2)
    return False
